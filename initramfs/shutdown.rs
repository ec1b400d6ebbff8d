// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end: every program stopped, everything written, everything unmounted,
//! then power off or restart. Only process 1 comes here.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::consoles::Consoles;
use crate::{log, mounts};

/// The signals by which process 1 is asked, as `busybox poweroff` and
/// `busybox reboot` send them, too.
pub(crate) const POWER_OFF: Signal = Signal::SIGUSR2;
pub(crate) const RESTART: Signal = Signal::SIGTERM;

/// How long programs may take to stop by themselves, and to die.
const TO_STOP: Duration = Duration::from_secs(10);
const TO_DIE: Duration = Duration::from_secs(5);
/// Data that gets no less for this long will never be written: its drive is
/// gone, or its server.
const STUCK: Duration = Duration::from_secs(90);
/// How often unmounting is tried again.
const ROUNDS: u32 = 20;

/// Mounts that hold nothing of a disk, and are needed until the end.
const KEPT: [&str; 8] =
    ["/", "/proc", "/sys", "/dev", "/dev/pts", "/run", "/tmp", "/sys/firmware/efi/efivars"];

/// Ends everything.
pub(crate) fn run(how: RebootMode, consoles: &mut Consoles) -> ! {
    let doing = if how == RebootMode::RB_AUTOBOOT { "restarting" } else { "powering off" };
    log::event(doing);
    consoles.say("");
    consoles.say(&format!("dacapo: {doing}"));
    // The end of whoever has a console as terminal hangs it up, and throws away
    // what is on its way.
    consoles.drain();
    stop_all();
    let writing = "writing what is left to the drives";
    let is_written = patiently(writing, consoles, nix::unistd::sync)
        & patiently("unmounting", consoles, unmount_all)
        & patiently(writing, consoles, nix::unistd::sync);
    if is_written {
        consoles.say("dacapo: everything is written");
    }
    consoles.drain();
    for how in [how, RebootMode::RB_HALT_SYSTEM] {
        let Err(error): Result<Infallible, Errno> = reboot(how);
        consoles.say(&format!("dacapo: the machine does not go off ({error}); switch it off"));
        consoles.drain();
    }
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

/// First asks, then ends, every process but this one.
fn stop_all() {
    for (signal, patience) in [(Signal::SIGTERM, TO_STOP), (Signal::SIGKILL, TO_DIE)] {
        let all = Pid::from_raw(-1);
        // A stopped process cannot take a signal before it goes on.
        let _ = kill(all, signal);
        let _ = kill(all, Signal::SIGCONT);
        let started = Instant::now();
        while started.elapsed() < patience {
            match waitpid(all, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => thread::sleep(Duration::from_millis(20)),
                Err(Errno::ECHILD) => return,
                _ => {}
            }
        }
    }
}

/// Does something that may take long, or never end, and says so. False if it
/// has not ended.
fn patiently(what: &str, consoles: &mut Consoles, work: impl FnOnce() + Send + 'static) -> bool {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        work();
        let _ = sender.send(());
    });
    let (mut least, mut since) = (u64::MAX, Instant::now());
    loop {
        match receiver.recv_timeout(Duration::from_secs(3)) {
            Ok(()) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let waiting = fs::read_to_string("/proc/meminfo").map_or(0, |text| unwritten(&text));
        if waiting < least {
            (least, since) = (waiting, Instant::now());
        }
        if since.elapsed() > STUCK {
            consoles
                .say(&format!("dacapo: {what}: nothing moves any more; {waiting} KiB are lost"));
            return false;
        }
        consoles.say(&format!("dacapo: {what}, please wait: {waiting} KiB left"));
    }
}

/// What the kernel has not written yet, in KiB.
fn unwritten(meminfo: &str) -> u64 {
    let amount = |line: &str| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok();
    let is_waiting = |line: &&str| line.starts_with("Dirty:") || line.starts_with("Writeback:");
    meminfo.lines().filter(is_waiting).filter_map(amount).sum()
}

/// Unmounts all but the kernel's own, the last mounted first; what stays is at
/// least made read-only, so that its filesystem is marked as clean.
fn unmount_all() {
    for round in 0..ROUNDS {
        let points = mounted();
        if points.is_empty() {
            return;
        }
        for point in points.iter().rev() {
            let _ = umount(point);
        }
        // A filesystem in a file is busy until the one in it has gone.
        thread::sleep(Duration::from_millis(20 * u64::from(round)));
    }
    for point in mounted().iter().rev() {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let _ = mount(None::<&str>, point, None::<&str>, flags, None::<&str>);
    }
}

fn mounted() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts::points(&text).filter(|point| !KEPT.contains(point)).map(unescape).collect()
}

/// "\040" is a blank.
fn unescape(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|it| it.iter().all(|byte| matches!(byte, b'0'..=b'7')));
        match digits {
            Some(digits) if *first == b'\\' => {
                let value =
                    digits.iter().fold(0_u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
                // Three octal digits of a byte.
                bytes.push(value as u8);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_have_their_blanks_back() {
        assert_eq!(
            unescape("/run/dacapo/media/My\\040Stick"),
            PathBuf::from("/run/dacapo/media/My Stick")
        );
        assert_eq!(unescape("/a\\134b\\"), PathBuf::from("/a\\b\\"));
    }

    #[test]
    fn what_is_unwritten_is_counted() {
        let text = "MemTotal:  1000 kB\nDirty:   12 kB\nWriteback:   30 kB\nWritebackTmp: 5 kB\n";
        assert_eq!(unwritten(text), 42);
        assert_eq!(unwritten(""), 0);
    }
}
