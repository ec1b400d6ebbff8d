// SPDX-License-Identifier: MIT OR Apache-2.0
//! A console as the controlling terminal of a session: opening it, bringing
//! it back to how it should be, and reading a key.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices as Special,
    Termios, cfmakeraw, tcgetattr, tcsetattr,
};
use nix::unistd::{getpgrp, setsid, tcsetpgrp};

/// What a serial line gets that does not say how large its terminal is: the
/// size of the first terminals, which every one since then has had.
static USUAL_SIZE: libc::winsize =
    libc::winsize { ws_row: 25, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// A console that belongs to this process.
#[derive(Debug)]
pub(crate) struct Terminal {
    file: File,
}

impl Terminal {
    /// Opens the console and makes it the terminal of a new session.
    ///
    /// # Errors
    /// If there is no such console, or nothing answers behind it.
    pub(crate) fn take(path: &str) -> io::Result<Self> {
        // Fails if this process leads a session already, which is as good.
        let _ = setsid();
        // Without O_NONBLOCK, a serial line waits for its other end.
        let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)?;
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
        // A serial port that is not there can be opened, but has no settings.
        tcgetattr(&file)?;
        // SAFETY: TIOCSCTTY takes a number.
        if unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCSCTTY, 1) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let terminal = Self { file };
        terminal.give_size();
        terminal.make_sane();
        Ok(terminal)
    }

    /// The console as the input or output of a program.
    ///
    /// # Errors
    /// If there are no more files to be had.
    pub(crate) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    fn give_size(&self) {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCGWINSZ writes a winsize, to which the pointer points.
        let asked = unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
        if asked == 0 && (size.ws_row == 0 || size.ws_col == 0) {
            // SAFETY: TIOCSWINSZ reads a winsize, to which the pointer points.
            unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TIOCSWINSZ, &raw const USUAL_SIZE) };
        }
    }

    /// Undoes whatever a program that ended suddenly left behind.
    pub(crate) fn make_sane(&self) {
        if let Ok(mut settings) = tcgetattr(&self.file) {
            make_sane(&mut settings);
            let _ = tcsetattr(&self.file, SetArg::TCSANOW, &settings);
        }
        // Who is not in the foreground is stopped when it asks to be.
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTTOU);
        let _ = stop.thread_block();
        let _ = tcsetpgrp(&self.file, getpgrp());
        let _ = stop.thread_unblock();
    }

    /// Leaves the second page of the screen, shows the cursor, ends colours.
    pub(crate) fn leave_screen(&self) {
        self.write("\x1b[?1049l\x1b[0m\x1b[?25h\r\n");
    }

    /// Writes text; that nobody can read it is nothing to stop for.
    pub(crate) fn write(&self, text: &str) {
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        let _ = (&self.file).write_all(text.as_bytes());
    }

    /// Asks a question and waits until one of the keys is pressed. What was
    /// typed before it was asked is no answer.
    pub(crate) fn ask(&self, question: &str, keys: &[u8]) -> u8 {
        let before = tcgetattr(&self.file).ok();
        if let Some(mut settings) = before.clone() {
            cfmakeraw(&mut settings);
            settings.output_flags |= OutputFlags::OPOST | OutputFlags::ONLCR;
            // Before the question can be read: what answers it must not be lost.
            let _ = tcsetattr(&self.file, SetArg::TCSAFLUSH, &settings);
        }
        self.write(question);
        let pressed = loop {
            let mut key = [0];
            match (&self.file).read(&mut key) {
                Ok(1) if keys.contains(&key[0]) => break key[0],
                Ok(1..) => {}
                // A line that was hung up ends at once, again and again.
                Ok(0) | Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
        };
        if let Some(settings) = before {
            let _ = tcsetattr(&self.file, SetArg::TCSANOW, &settings);
        }
        pressed
    }
}

/// The settings of a terminal that a person types at. The speed stays.
fn make_sane(settings: &mut Termios) {
    settings.input_flags = InputFlags::ICRNL | InputFlags::IXON | InputFlags::IUTF8;
    settings.output_flags = OutputFlags::OPOST | OutputFlags::ONLCR;
    settings.control_flags |= ControlFlags::CS8 | ControlFlags::CREAD | ControlFlags::CLOCAL;
    settings.control_flags &= !(ControlFlags::PARENB | ControlFlags::HUPCL);
    settings.local_flags = LocalFlags::ISIG
        | LocalFlags::ICANON
        | LocalFlags::IEXTEN
        | LocalFlags::ECHO
        | LocalFlags::ECHOE
        | LocalFlags::ECHOK
        | LocalFlags::ECHOCTL
        | LocalFlags::ECHOKE;
    for (special, key) in [
        (Special::VINTR, 3),
        (Special::VQUIT, 28),
        (Special::VERASE, 127),
        (Special::VKILL, 21),
        (Special::VEOF, 4),
        (Special::VMIN, 1),
        (Special::VTIME, 0),
        (Special::VSTART, 17),
        (Special::VSTOP, 19),
        (Special::VSUSP, 26),
    ] {
        settings.control_chars[special as usize] = key;
    }
}
