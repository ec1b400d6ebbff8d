// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads the drivers of the hardware: first of all that is there, then of what
//! the loaded drivers find, and of what is plugged in later.
//!
//! Standard output is closed as soon as the hardware has come to rest; process
//! 1 waits for that before it shows a screen.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::modules::Modules;
use crate::power_button::{self, PowerButton};
use crate::uevents::{Event, Received, Uevents};
use crate::{children, log, mounts};

/// The hardware is at rest if nothing new appeared for this long.
const REST: Duration = Duration::from_millis(250);
/// After this it counts as at rest in any case.
const LONGEST: Duration = Duration::from_secs(30);
/// How many drivers look for their hardware at once: each waits for it most
/// of the time.
const AT_ONCE: usize = 4;

/// Runs until the machine is powered off.
pub(crate) fn run() -> ExitCode {
    let _ = children::unblock_signals();
    // Listening first: what appears while all is walked through is not missed.
    let uevents = match Uevents::listen() {
        Ok(uevents) => uevents,
        Err(error) => {
            log::event(&format!("listening for new devices: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let (modules, work) = (Modules::of_running_kernel(), Work::default());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| work.load(&modules));
        }
        let mut devices = Devices { work: &work, done: HashSet::new(), buttons: Vec::new() };
        devices.walk();
        make_nodes(&modules);
        let started = Instant::now();
        while (devices.follow(&uevents, Some(REST)) || !work.is_done())
            && started.elapsed() < LONGEST
        {}
        let seconds = started.elapsed().as_secs_f32();
        log::event(&format!("the hardware is at rest after {seconds:.1} s"));
        mounts::mount_efi_variables();
        report_orphans();
        // What waits on the other end goes on.
        let _ = nix::unistd::close(1);
        loop {
            devices.follow(&uevents, None);
        }
    })
}

/// Aliases for which a driver has to be loaded.
#[derive(Default)]
struct Work {
    state: Mutex<WorkState>,
    changed: Condvar,
}

#[derive(Default)]
struct WorkState {
    waiting: VecDeque<String>,
    /// How many are being loaded.
    running: usize,
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, WorkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, alias: String) {
        let mut state = self.lock();
        if is_urgent(&alias) {
            state.waiting.push_front(alias);
        } else {
            state.waiting.push_back(alias);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn is_done(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.running == 0
    }

    /// Loads drivers for ever, one after the other.
    fn load(&self, modules: &Modules) {
        let mut state = self.lock();
        loop {
            let Some(alias) = state.waiting.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.running += 1;
            drop(state);
            for module in modules.resolve(&alias) {
                modules.load(&module);
            }
            state = self.lock();
            state.running -= 1;
        }
    }
}

/// True for drives and for what they are behind, for which people wait.
fn is_urgent(alias: &str) -> bool {
    ["usb:", "scsi:", "virtio:", "nvme:", "mmc:"].iter().any(|bus| alias.starts_with(bus))
        || (alias.starts_with("pci:") && (alias.contains("bc01") || alias.contains("bc0Csc03")))
}

/// True for drivers that make calculations faster: the kernel loads them by
/// itself when it calculates.
fn is_left_out(alias: &str) -> bool {
    alias.is_empty() || alias.starts_with("cpu:")
}

struct Devices<'a> {
    work: &'a Work,
    /// Aliases that were looked up already.
    done: HashSet<String>,
    buttons: Vec<PowerButton>,
}

impl Devices<'_> {
    /// Everything that the kernel knows now.
    fn walk(&mut self) {
        let mut folders = vec![PathBuf::from("/sys/devices")];
        while let Some(folder) = folders.pop() {
            if let Ok(alias) = fs::read_to_string(folder.join("modalias")) {
                self.load_for(alias.trim());
            }
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            // Links lead back to where one came from, and are no folders here.
            let inside = entries.flatten().filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
            folders.extend(inside.map(|entry| entry.path()));
        }
        for name in names_in(Path::new("/sys/class/input")) {
            power_button::add(&mut self.buttons, &format!("input/{name}"), PowerButton::open);
        }
    }

    fn load_for(&mut self, alias: &str) {
        if !is_left_out(alias) && self.done.insert(alias.to_owned()) {
            self.work.add(alias.to_owned());
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
            self.load_for(alias);
        }
        if event.value("SUBSYSTEM") == Some("input")
            && event.value("ACTION") == Some("add")
            && let Some(name) = event.value("DEVNAME")
        {
            power_button::add(&mut self.buttons, name, PowerButton::open);
        }
    }
}

/// Nodes through which the kernel loads a driver when they are opened.
fn make_nodes(modules: &Modules) {
    for (name, major, minor) in modules.node_names() {
        let path = Path::new("/dev").join(name);
        if let Some(folder) = path.parent() {
            let _ = fs::create_dir_all(folder);
        }
        // One that is there is of a driver that is loaded.
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let _ = mknod(&path, SFlag::S_IFCHR, mode, makedev(major, minor));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_come_first_and_calculation_is_left_out() {
        let work = Work::default();
        let mut devices = Devices { work: &work, done: HashSet::new(), buttons: Vec::new() };
        for alias in [
            "acpi:PNP0C0C:",
            "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
            "cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,0001",
            "acpi:PNP0C0C:",
            "",
        ] {
            devices.load_for(alias);
        }
        let waiting: Vec<String> = work.lock().waiting.iter().cloned().collect();
        assert_eq!(waiting.len(), 2);
        assert!(waiting[0].starts_with("pci:") && waiting[1].starts_with("acpi:"));
        assert!(!work.is_done());
    }
}
