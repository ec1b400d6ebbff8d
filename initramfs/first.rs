// SPDX-License-Identifier: MIT OR Apache-2.0
//! Process 1: starts the others, buries the dead, and comes last.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::panic;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use dacapo::error::Request;
use dacapo::media::command_line::CommandLine;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::{RebootMode, set_cad_enabled};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::consoles::{self, Consoles};
use crate::{children, console, log, mounts, shutdown, unattended};

/// How long the first screen waits for the drivers at most. Drives that appear
/// later are seen by the screen as well.
const FOR_DRIVERS: Duration = Duration::from_secs(3);
/// Where the kernel looks for the program that loads modules.
const MODPROBE: &str = "/sbin/modprobe";
/// How often a part that ends by itself is started again.
const RESTARTS: u32 = 20;

/// The parts that are kept running.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Devices,
    Console(String),
    Unattended,
}

/// Runs until the machine is powered off.
pub(crate) fn run() -> ! {
    panic::set_hook(Box::new(|what| survive(&what.to_string())));
    // Before any thread or child: from now on signals wait to be taken.
    let _ = signals().thread_block();
    // Ctrl-Alt-Del is a signal to this process, and no restart on the spot.
    let _ = set_cad_enabled(false);
    mounts::mount_all();
    prepare();
    let command_line = CommandLine::of_kernel();
    let mut household = Household::new(&command_line);
    household.start_devices();
    // Only in a test's own build: how this file behaves when it is wrong.
    assert!(
        !cfg!(debug_assertions) || command_line.value("dacapo.test") != Some("panic"),
        "a panic that the command line asked for"
    );
    if command_line.value("dacapo.restore").is_some() {
        household.start(&Part::Unattended, None);
    } else {
        household.start_consoles(None);
        set_up_network(&command_line);
    }
    household.keep()
}

/// As the command line asks for; the unattended restore does it by itself.
fn set_up_network(command_line: &CommandLine) {
    let Some(setting) = command_line.value("dacapo.ip") else { return };
    let mut command = children::command(children::DACAPO);
    command.args(["network", "set", setting]).stdin(Stdio::null()).stdout(Stdio::null());
    if let Ok(errors) = OpenOptions::new().append(true).create(true).open(log::SCREEN) {
        command.stderr(errors);
    }
    // Nobody waits for it: a screen shows what became of it.
    if let Err(error) = command.spawn() {
        log::event(&format!("setting up the network: {error}"));
    }
}

fn signals() -> SigSet {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGPWR,
    ] {
        signals.add(signal);
    }
    signals
}

/// The last way on: process 1 must not end, so after a panic it goes on with
/// nothing but consoles, which say what happened.
fn survive(what: &str) -> ! {
    log::event(what);
    let mut household = Household::new(&CommandLine::of_kernel());
    household.start_consoles(Some(&format!(
        "The first program of the rescue system failed. A save or restore that was running may \
         not be complete.\n\n{what}"
    )));
    household.keep()
}

fn prepare() {
    // Only what says that the kernel itself is lost may scribble over a screen.
    let _ = fs::write("/proc/sys/kernel/printk", "1 4 1 7");
    let _ = fs::create_dir_all("/sbin");
    if let Ok(this) = std::env::current_exe() {
        let _ = fs::remove_file(MODPROBE);
        let _ = symlink(this, MODPROBE);
        let _ = fs::write("/proc/sys/kernel/modprobe", MODPROBE);
    }
    let _ = nix::unistd::sethostname("dacapo");
    let _ = children::command("/bin/busybox")
        .args(["ip", "link", "set", "lo", "up"])
        .stderr(Stdio::null())
        .status();
}

struct Household {
    consoles: Vec<String>,
    parts: HashMap<Pid, Part>,
    starts: HashMap<Part, u32>,
}

impl Household {
    fn new(command_line: &CommandLine) -> Self {
        Self {
            consoles: consoles::present(command_line),
            parts: HashMap::new(),
            starts: HashMap::new(),
        }
    }

    /// Starts loading drivers and waits for the hardware to come to rest.
    fn start_devices(&mut self) {
        let mut command = Self::command(&Part::Devices, None);
        let Some(mut child) = self.spawn(&Part::Devices, command.stdout(Stdio::piped())) else {
            return;
        };
        if let Some(output) = child.stdout.take() {
            // It is closed, not written to.
            let mut watched = [PollFd::new(output.as_fd(), PollFlags::empty())];
            let timeout = PollTimeout::try_from(FOR_DRIVERS).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut watched, timeout);
        }
    }

    fn start_consoles(&mut self, trouble: Option<&str>) {
        for path in self.consoles.clone() {
            self.start(&Part::Console(path), trouble);
        }
    }

    fn command(part: &Part, trouble: Option<&str>) -> Command {
        let mut words = match part {
            Part::Devices => vec!["devices"],
            Part::Console(path) => vec!["console", path],
            Part::Unattended => vec!["unattended"],
        };
        words.extend(trouble);
        let mut command = children::part(&words);
        command.stdin(Stdio::null());
        command
    }

    fn start(&mut self, part: &Part, trouble: Option<&str>) {
        self.spawn(part, &mut Self::command(part, trouble));
    }

    fn spawn(&mut self, part: &Part, command: &mut Command) -> Option<std::process::Child> {
        *self.starts.entry(part.clone()).or_default() += 1;
        match command.spawn() {
            Ok(child) => {
                // A process number is positive.
                self.parts.insert(Pid::from_raw(child.id() as i32), part.clone());
                Some(child)
            }
            Err(error) => {
                log::event(&format!("starting {part:?}: {error}"));
                None
            }
        }
    }

    /// Does what the signals ask for, for ever.
    fn keep(&mut self) -> ! {
        loop {
            match signals().wait() {
                Ok(Signal::SIGCHLD) => self.bury(),
                Ok(Signal::SIGINT | shutdown::RESTART) => self.end(RebootMode::RB_AUTOBOOT),
                Ok(_) => self.end(RebootMode::RB_POWER_OFF),
                Err(_) => thread::sleep(Duration::from_secs(1)),
            }
        }
    }

    fn end(&self, how: RebootMode) -> ! {
        shutdown::run(how, &mut Consoles::open(&self.consoles))
    }

    /// Takes the exit codes of all that ended: those of our own parts, and of
    /// whatever lost its parent.
    fn bury(&mut self) {
        use std::os::unix::process::ExitStatusExt;
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, ExitStatus::from_raw(code << 8)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid, ExitStatus::from_raw(signal as i32))
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if let Some(part) = self.parts.remove(&pid) {
                self.go_on(&part, status);
            }
        }
    }

    fn go_on(&mut self, part: &Part, status: ExitStatus) {
        let code = status.code();
        match part {
            Part::Unattended => match code.and_then(Request::of) {
                Some(Request::PowerOff) => self.end(RebootMode::RB_POWER_OFF),
                Some(Request::Restart) => self.end(RebootMode::RB_AUTOBOOT),
                _ => {
                    let ended =
                        format!("The unattended restore ended: {}", children::ending(status));
                    let notice = fs::read_to_string(unattended::NOTICE).unwrap_or(ended);
                    self.start_consoles(Some(&notice));
                }
            },
            Part::Console(_) if code == Some(console::NO_CONSOLE.into()) => {}
            _ => self.start_again(part, status),
        }
    }

    fn start_again(&mut self, part: &Part, status: ExitStatus) {
        let ending = children::ending(status);
        log::event(&format!("{part:?} ended: {ending}"));
        if self.starts.get(part).copied().unwrap_or(0) > RESTARTS {
            return;
        }
        // Whatever made it end may last for a while.
        thread::sleep(Duration::from_millis(500));
        let trouble = format!("The program that keeps this console ended ({ending}).");
        let trouble = matches!(part, Part::Console(_)).then_some(trouble);
        self.start(part, trouble.as_deref());
    }
}
