// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which consoles there are, and saying something on all of them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use dacapo::media::command_line::CommandLine;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::tcdrain;

/// The nodes of the consoles that get a screen: that of the machine itself,
/// and every serial one that the kernel's command line names.
pub(crate) fn present(command_line: &CommandLine) -> Vec<String> {
    let mut found: Vec<String> =
        wanted(command_line).into_iter().filter(|path| Path::new(path).exists()).collect();
    if found.is_empty() {
        found.push("/dev/console".into());
    }
    found
}

fn wanted(command_line: &CommandLine) -> Vec<String> {
    let mut paths = vec!["/dev/tty1".to_owned()];
    for value in command_line.values("console") {
        let name = value.split(',').next().unwrap_or_default();
        let path = format!("/dev/{name}");
        if !name.is_empty() && name != "null" && !is_virtual(name) && !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// True for "tty0" and "tty3", which all are the one screen of the machine.
fn is_virtual(name: &str) -> bool {
    name.strip_prefix("tty").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// True if the console is the machine's own screen, not a line to elsewhere.
pub(crate) fn is_own_screen(path: &str) -> bool {
    path.strip_prefix("/dev/").is_some_and(is_virtual)
}

/// How long a console that takes no more is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long what was written may take to leave: more than a page of the kernel
/// at 9600 bits a second.
const TO_LEAVE: Duration = Duration::from_secs(6);

/// All consoles, to be written to.
#[derive(Debug)]
pub(crate) struct Consoles {
    lines: Vec<Line>,
}

/// One of them.
#[derive(Debug)]
struct Line {
    path: String,
    file: File,
    /// Its other end has stopped it: nothing more is waited for.
    is_stopped: bool,
}

impl Line {
    fn open(path: &str) -> io::Result<Self> {
        // A line that was stopped by its other end must not stop us.
        let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let file = OpenOptions::new().write(true).custom_flags(flags.bits()).open(path)?;
        Ok(Self { path: path.to_owned(), file, is_stopped: false })
    }

    /// Opens it anew. The end of the program whose terminal it was has hung it
    /// up, for everybody who had it open.
    fn reopen(&mut self) -> bool {
        let opened = Self::open(&self.path);
        opened.map(|line| self.file = line.file).is_ok()
    }

    /// Writes as fast as the line takes it, and drops what it does not take.
    fn write(&mut self, mut bytes: &[u8]) {
        let mut is_new = false;
        let patience = if self.is_stopped { Duration::ZERO } else { PATIENCE };
        let end = Instant::now() + patience;
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = end.saturating_duration_since(Instant::now());
                    self.is_stopped = left.is_zero();
                    if self.is_stopped {
                        return;
                    }
                    let mut watched = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
                    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                    let _ = poll(&mut watched, timeout);
                }
                Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) && !is_new => {
                    is_new = true;
                    if !self.reopen() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
        self.is_stopped = false;
    }
}

impl Consoles {
    /// Opens them; one that cannot be opened is left out.
    pub(crate) fn open(paths: &[String]) -> Self {
        Self { lines: paths.iter().filter_map(|path| Line::open(path).ok()).collect() }
    }

    /// Writes a line to each of them.
    pub(crate) fn say(&mut self, line: &str) {
        for console in &mut self.lines {
            console.write(format!("{line}\r\n").as_bytes());
        }
    }

    /// Waits until all that was said has left the machine. What is still on its
    /// way when a line is hung up, or the machine goes off, is lost.
    pub(crate) fn drain(&mut self) {
        let (sender, receiver) = mpsc::channel();
        let mut waiting = 0;
        for (number, line) in self.lines.iter_mut().enumerate().filter(|it| !it.1.is_stopped) {
            let Ok(file) = line.file.try_clone() else { continue };
            let sender = sender.clone();
            // A line that was stopped by its other end never lets it return.
            let started = thread::Builder::new().spawn(move || {
                let _ = tcdrain(&file);
                let _ = sender.send(number);
            });
            if started.is_ok() {
                waiting += 1;
                // Until it has all left.
                line.is_stopped = true;
            }
        }
        let end = Instant::now() + TO_LEAVE;
        while waiting > 0 {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(number) = receiver.recv_timeout(left) else { return };
            waiting -= 1;
            if let Some(line) = self.lines.get_mut(number) {
                line.is_stopped = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_and_each_serial_line_get_one() {
        let wanted = |line: &str| wanted(&CommandLine::parse(line));
        assert_eq!(wanted("quiet"), ["/dev/tty1"]);
        assert_eq!(wanted("console=tty0 console=tty1 console=tty"), ["/dev/tty1"]);
        assert_eq!(
            wanted("console=ttyS0,115200n8 console=tty0 console=ttyS0 console=hvc0"),
            ["/dev/tty1", "/dev/ttyS0", "/dev/hvc0"]
        );
        assert_eq!(wanted("console= console=null"), ["/dev/tty1"]);
        assert!(is_own_screen("/dev/tty1") && !is_own_screen("/dev/ttyS0"));
        assert!(!is_own_screen("/dev/console"));
    }

    /// A console and its other end.
    fn pipe() -> (Consoles, File) {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::empty());
        nix::fcntl::fcntl(&reader, flags).unwrap();
        let line = Line { path: String::new(), file: File::from(writer), is_stopped: false };
        (Consoles { lines: vec![line] }, File::from(reader))
    }

    #[test]
    fn a_slow_line_gets_every_word() {
        let (mut consoles, mut reader) = pipe();
        let said = std::thread::spawn(move || {
            let (mut said, mut piece) = (Vec::new(), [0; 4096]);
            loop {
                match io::Read::read(&mut reader, &mut piece).unwrap() {
                    0 => return String::from_utf8(said).unwrap(),
                    count => said.extend_from_slice(&piece[..count]),
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let words = "it is read and written and read back ".repeat(2);
        let lines: Vec<String> = (0..3000).map(|number| format!("{number} {words}")).collect();
        lines.iter().for_each(|line| consoles.say(line));
        drop(consoles);
        assert!(said.join().unwrap().lines().eq(&lines));
    }

    #[test]
    fn a_line_that_was_stopped_keeps_nobody_waiting_twice() {
        let (mut consoles, reader) = pipe();
        let started = Instant::now();
        (0..100).for_each(|_| consoles.say(&"x".repeat(4000)));
        assert!(started.elapsed() < Duration::from_secs(5));
        drop(reader);
        consoles.say("to nobody");
    }

    #[test]
    #[allow(unsafe_code, reason = "nobody has wrapped TIOCVHANGUP")]
    fn a_line_that_was_hung_up_is_opened_again() {
        use std::os::fd::AsRawFd as _;

        use nix::libc;

        let pty = nix::pty::openpty(None, None).unwrap();
        let path = nix::unistd::ttyname(&pty.slave).unwrap();
        let mut consoles = Consoles::open(&[path.to_str().unwrap().to_owned()]);
        let master = File::from(pty.master);
        let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(&master, flags).unwrap();
        let arrives = |wanted: &str| {
            let (mut said, mut piece) = (Vec::new(), [0; 100]);
            for _ in 0..100 {
                if let Ok(len) = io::Read::read(&mut &master, &mut piece) {
                    said.extend_from_slice(&piece[..len]);
                }
                if said.ends_with(b"\n") {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(String::from_utf8_lossy(&said).trim_end(), wanted);
        };
        consoles.say("before");
        consoles.drain();
        arrives("before");
        // As when the session ends whose terminal it is; that of a pseudo
        // terminal leaves it open.
        // SAFETY: TIOCVHANGUP takes nothing.
        if unsafe { libc::ioctl(pty.slave.as_raw_fd(), libc::TIOCVHANGUP) } != 0 {
            eprintln!("not tried: only root hangs up a terminal");
            return;
        }
        consoles.say("after");
        consoles.drain();
        arrives("after");
    }
}
