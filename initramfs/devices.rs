// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads the drivers of the hardware: first of all that is there, then of what
//! the loaded drivers find, and of what is plugged in later.
//!
//! Standard output is closed as soon as the hardware has come to rest; process
//! 1 waits for that before it shows a screen.

use std::collections::HashSet;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::modules::Modules;
use crate::power_button::PowerButton;
use crate::uevents::{Event, Received, Uevents};
use crate::{children, log, mounts};

/// The hardware is at rest if nothing new appeared for this long.
const REST: Duration = Duration::from_millis(250);
/// After this it counts as at rest in any case.
const LONGEST: Duration = Duration::from_secs(8);
/// How many drivers look for their hardware at once: each waits for it most
/// of the time.
const AT_ONCE: usize = 4;

/// Runs until the machine is powered off.
pub(crate) fn run() -> ExitCode {
    let _ = children::unblock_signals();
    let mut devices = Devices {
        modules: Modules::of_running_kernel(),
        done: HashSet::new(),
        buttons: Vec::new(),
    };
    // Listening first: what appears while all is walked through is not missed.
    let uevents = match Uevents::listen() {
        Ok(uevents) => uevents,
        Err(error) => {
            log::event(&format!("listening for new devices: {error}"));
            devices.walk();
            return ExitCode::FAILURE;
        }
    };
    devices.walk();
    devices.make_nodes();
    let started = Instant::now();
    while devices.follow(&uevents, Some(REST)) && started.elapsed() < LONGEST {}
    mounts::mount_efi_variables();
    report_orphans();
    // What waits on the other end goes on.
    let _ = nix::unistd::close(1);
    loop {
        devices.follow(&uevents, None);
    }
}

struct Devices {
    modules: Modules,
    /// Aliases that were looked up already.
    done: HashSet<String>,
    buttons: Vec<PowerButton>,
}

impl Devices {
    /// Everything that the kernel knows now.
    fn walk(&mut self) {
        let mut aliases = Vec::new();
        let mut folders = vec![PathBuf::from("/sys/devices")];
        while let Some(folder) = folders.pop() {
            if let Ok(alias) = fs::read_to_string(folder.join("modalias")) {
                aliases.push(alias.trim().to_owned());
            }
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            // Links lead back to where one came from, and are no folders here.
            let inside = entries.flatten().filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
            folders.extend(inside.map(|entry| entry.path()));
        }
        self.load_for_all(aliases);
        for name in names_in(Path::new("/sys/class/input")) {
            self.buttons.extend(PowerButton::open(&format!("input/{name}")));
        }
    }

    fn load_for_all(&mut self, mut aliases: Vec<String>) {
        aliases.retain(|alias| !alias.is_empty() && self.done.insert(alias.clone()));
        let (modules, waiting) = (&self.modules, &Mutex::new(aliases));
        let work = || {
            let next = || waiting.lock().ok()?.pop();
            while let Some(alias) = next() {
                for module in modules.resolve(&alias) {
                    modules.load(&module);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(work);
            }
        });
    }

    /// Nodes through which the kernel loads a driver when they are opened.
    fn make_nodes(&self) {
        for (name, major, minor) in self.modules.node_names() {
            let path = Path::new("/dev").join(name);
            if let Some(folder) = path.parent() {
                let _ = fs::create_dir_all(folder);
            }
            // One that is there is of a driver that is loaded.
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            let _ = mknod(&path, SFlag::S_IFCHR, mode, makedev(major, minor));
        }
    }

    /// Waits for something to happen, at most this long, and does what there
    /// is to do. False if nothing happened.
    fn follow(&mut self, uevents: &Uevents, patience: Option<Duration>) -> bool {
        let timeout = patience.map_or(PollTimeout::NONE, |patience| {
            PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)
        });
        let mut watched = vec![PollFd::new(uevents.as_fd(), PollFlags::POLLIN)];
        watched.extend(self.buttons.iter().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, timeout) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(_) => return true,
        }
        self.buttons.retain_mut(PowerButton::look);
        loop {
            match uevents.receive() {
                Ok(Received::Event(event)) => self.take(&event),
                Ok(Received::Nothing) => return true,
                Ok(Received::Lost) => self.walk(),
                Err(error) => {
                    log::event(&format!("listening for new devices: {error}"));
                    thread::sleep(Duration::from_secs(5));
                    return true;
                }
            }
        }
    }

    fn take(&mut self, event: &Event) {
        if !matches!(event.value("ACTION"), Some("add" | "change" | "bind")) {
            return;
        }
        if let Some(alias) = event.value("MODALIAS") {
            self.load_for_all(vec![alias.to_owned()]);
        }
        if event.value("SUBSYSTEM") == Some("input")
            && event.value("ACTION") == Some("add")
            && let Some(name) = event.value("DEVNAME")
        {
            self.buttons.extend(PowerButton::open(name));
        }
    }
}

/// Classes of PCI devices without which a rescue system is of little use.
const WANTED_CLASSES: [(&str, &str); 3] =
    [("0x01", "drives"), ("0x02", "network"), ("0x0c03", "USB")];

/// Logs which hardware has no driver, so that one can see what is missing.
fn report_orphans() {
    for name in names_in(Path::new("/sys/bus/pci/devices")) {
        let folder = Path::new("/sys/bus/pci/devices").join(&name);
        let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        let class = text("class");
        let wanted = WANTED_CLASSES.iter().find(|(start, _)| class.starts_with(start));
        if let Some((_, what)) = wanted
            && !folder.join("driver").exists()
        {
            log::event(&format!(
                "no driver for the PCI device {name} ({what}): class {}, vendor {}, device {}, {}",
                class.trim(),
                text("vendor").trim(),
                text("device").trim(),
                text("modalias").trim(),
            ));
        }
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}
