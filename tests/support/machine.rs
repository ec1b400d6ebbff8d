// SPDX-License-Identifier: MIT OR Apache-2.0
//! A computer: QEMU under software emulation, with a person at its serial
//! port. Its disks are raw files; what was stored in its firmware is kept from
//! one start to the next.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::screen::Screen;
use super::search_path;

/// Where Debian's package ovmf has the firmware.
const OVMF: &str = "/usr/share/OVMF";

/// What the computer does before a disk or stick gets its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    Bios,
    Uefi,
    /// UEFI that starts only what Microsoft has signed.
    SecureBoot,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    Virtio,
    Ahci,
    Nvme,
    Usb,
}

/// A disk of the computer.
#[derive(Debug, Clone)]
pub struct Drive {
    pub file: PathBuf,
    pub bus: Bus,
    pub serial: String,
    pub sector: u32,
    /// Settings of QEMU's blkdebug, which makes reads and writes fail.
    pub faults: Option<PathBuf>,
}

impl Drive {
    pub fn new(file: &Path, bus: Bus, serial: &str) -> Self {
        Self { file: file.to_owned(), bus, serial: serial.to_owned(), sector: 512, faults: None }
    }
}

/// What the computer is told to start from first.
#[derive(Debug, Clone)]
pub enum Boot {
    /// Its first disk.
    Disk,
    /// A disc in its optical drive.
    Cd(PathBuf),
    /// A stick in a USB port.
    Stick(PathBuf),
    /// No medium: QEMU itself loads the kernel, with what it is told.
    Kernel {
        /// The folder with `vmlinuz` and `initramfs`.
        folder: PathBuf,
        /// The command line.
        line: String,
    },
}

/// A computer that is off.
#[derive(Debug)]
pub struct Machine {
    pub firmware: Firmware,
    pub memory_mib: u32,
    pub boot: Boot,
    pub drives: Vec<Drive>,
    /// True for a network card that reaches this machine at 10.0.2.2.
    pub network: bool,
    /// The network namespace that its card is in; else that of the tests.
    pub namespace: Option<PathBuf>,
    /// More arguments of QEMU.
    pub more: Vec<String>,
    folder: Arc<TempDir>,
}

impl Machine {
    /// A computer without any disk.
    pub fn new(firmware: Firmware, boot: Boot) -> Self {
        let folder = tempfile::Builder::new().prefix("dacapo-machine-").tempdir().unwrap();
        let variables = match firmware {
            Firmware::Bios => None,
            Firmware::Uefi => Some("OVMF_VARS_4M.fd"),
            // With the keys that PCs are sold with, and Secure Boot on.
            Firmware::SecureBoot => Some("OVMF_VARS_4M.ms.fd"),
        };
        if let Some(name) = variables {
            fs::copy(Path::new(OVMF).join(name), folder.path().join("variables.fd")).unwrap();
        }
        let (memory_mib, drives, folder) = (768, Vec::new(), Arc::new(folder));
        let (network, namespace, more) = (false, None, Vec::new());
        Self { firmware, memory_mib, boot, drives, network, namespace, more, folder }
    }

    /// With one more disk.
    #[must_use]
    pub fn with(mut self, drive: Drive) -> Self {
        self.drives.push(drive);
        self
    }

    fn arguments(&self) -> Vec<String> {
        let folder = self.folder.path().display();
        let mut all: Vec<String> = [
            "-accel",
            "tcg,thread=multi",
            "-smp",
            "2",
            "-nodefaults",
            "-vga",
            "std",
            "-display",
            "none",
            "-device",
            "virtio-rng-pci",
            "-device",
            "qemu-xhci,id=xhci",
            "-no-reboot",
        ]
        .map(str::to_owned)
        .into();
        let mut add = |option: &str, value: String| all.extend([option.to_owned(), value]);
        add("-m", self.memory_mib.to_string());
        // Both wait for this side: not a byte of either is lost.
        add("-serial", format!("unix:{folder}/serial,server=on,wait=on"));
        add("-monitor", format!("unix:{folder}/monitor,server=on,wait=on"));
        let code = match self.firmware {
            Firmware::Bios => None,
            Firmware::Uefi => Some("OVMF_CODE_4M.fd"),
            Firmware::SecureBoot => Some("OVMF_CODE_4M.secboot.fd"),
        };
        let smm = if self.firmware == Firmware::SecureBoot { "on" } else { "off" };
        add("-machine", format!("q35,smm={smm}"));
        if let Some(code) = code {
            let flash = |unit, rest: &str| format!("if=pflash,unit={unit},format=raw,{rest}");
            add("-drive", flash(0, &format!("readonly=on,file={OVMF}/{code}")));
            add("-drive", flash(1, &format!("file={folder}/variables.fd")));
        }
        if self.firmware == Firmware::SecureBoot {
            add("-global", "driver=cfi.pflash01,property=secure,value=on".into());
        }
        match &self.boot {
            Boot::Disk => {}
            Boot::Kernel { folder, line } => {
                add("-kernel", folder.join("vmlinuz").to_str().unwrap().into());
                add("-initrd", folder.join("initramfs").to_str().unwrap().into());
                add("-append", line.clone());
            }
            Boot::Cd(file) => {
                add(
                    "-drive",
                    format!("if=none,id=cd,format=raw,readonly=on,file={}", escaped(file)),
                );
                add("-device", "ide-cd,id=cd,drive=cd,bootindex=0,bus=ide.5".into());
            }
            Boot::Stick(file) => {
                add(
                    "-drive",
                    format!("if=none,id=stick,format=raw,cache=unsafe,file={}", escaped(file)),
                );
                let device =
                    "usb-storage,id=stick,drive=stick,bootindex=0,removable=on,serial=STICK1";
                add("-device", device.into());
            }
        }
        for (number, drive) in self.drives.iter().enumerate() {
            let file = match &drive.faults {
                Some(settings) => {
                    format!("blkdebug:{}:{}", escaped(settings), escaped(&drive.file))
                }
                None => escaped(&drive.file),
            };
            let unmap = "discard=unmap,detect-zeroes=off";
            add(
                "-drive",
                format!("if=none,id=d{number},format=raw,cache=unsafe,{unmap},file={file}"),
            );
            let kind = match drive.bus {
                Bus::Virtio => "virtio-blk-pci",
                Bus::Ahci => "ide-hd",
                Bus::Nvme => "nvme",
                Bus::Usb => "usb-storage",
            };
            let mut device = format!("{kind},id=d{number},drive=d{number},serial={}", drive.serial);
            device += &format!(",bootindex={}", number + 1);
            if drive.bus == Bus::Ahci {
                // The optical drive has the last port.
                device += &format!(",bus=ide.{number}");
            }
            if drive.sector != 512 {
                let sector = drive.sector;
                device += &format!(",logical_block_size={sector},physical_block_size={sector}");
            }
            add("-device", device);
        }
        if self.network {
            add("-netdev", "user,id=net".into());
            add("-device", "virtio-net-pci,netdev=net,romfile=".into());
        }
        all.extend(self.more.iter().cloned());
        all
    }

    /// Switches it on.
    #[track_caller]
    pub fn start(&self) -> Guest {
        let folder = self.folder.path().to_owned();
        let log = File::create(folder.join("log")).unwrap();
        for socket in ["serial", "monitor"] {
            let _ = fs::remove_file(folder.join(socket));
        }
        let mut command = match &self.namespace {
            None => Command::new("qemu-system-x86_64"),
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", namespace.display())).arg("qemu-system-x86_64");
                command
            }
        };
        let child = command
            .args(self.arguments())
            .env("PATH", search_path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut child = Some(child);
        // QEMU opens them in this order, and waits at each.
        let [mut monitor, serial] = ["monitor", "serial"].map(|name| {
            let end = Instant::now() + Duration::from_secs(20);
            loop {
                if let Ok(stream) = UnixStream::connect(folder.join(name)) {
                    return stream;
                }
                let running = child.as_mut().is_some_and(|it| it.try_wait().unwrap().is_none());
                if !running || Instant::now() > end {
                    let _ = child.take().map(|mut it| it.kill());
                    panic!("QEMU: {}", fs::read_to_string(folder.join("log")).unwrap_or_default());
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        monitor.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        read_prompt(&mut monitor);
        let screen = Screen::new(serial.try_clone().unwrap(), serial, 80, 25);
        let folder = Arc::clone(&self.folder);
        Guest { child: child.take().unwrap(), screen, monitor, folder }
    }
}

/// A computer that is on. Switched off the hard way if the test ends before.
pub struct Guest {
    child: Child,
    /// What its serial port shows, and the keyboard there.
    pub screen: Screen,
    monitor: UnixStream,
    folder: Arc<TempDir>,
}

impl Guest {
    /// What QEMU says of itself.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until it has switched itself off, or wants to start again.
    #[track_caller]
    pub fn wait_off(&mut self, timeout: Duration) {
        let end = Instant::now() + timeout;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "still on after {timeout:?}\n{}", self.screen.dump());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A command of QEMU's monitor, and its answer.
    #[track_caller]
    pub fn monitor(&mut self, command: &str) -> String {
        self.monitor.write_all(format!("{command}\n").as_bytes()).unwrap();
        read_prompt(&mut self.monitor)
    }

    /// Pulls a disk or stick out: "d0" is the first disk, "stick" the stick.
    #[track_caller]
    pub fn unplug(&mut self, id: &str) {
        let answer = self.monitor(&format!("device_del {id}"));
        assert!(!answer.contains("Error"), "{answer}");
    }

    /// Presses keys of its own keyboard, by QEMU's names: "down", "ret", "a".
    #[track_caller]
    pub fn press(&mut self, keys: &str) {
        for key in keys.split_whitespace() {
            let answer = self.monitor(&format!("sendkey {key}"));
            assert!(!answer.contains("unknown") && !answer.contains("invalid"), "{answer}");
            thread::sleep(Duration::from_millis(150));
        }
    }

    /// The lines that its monitor shows, as long as that shows text: 80 letters and
    /// their colours each, in the memory of the card, with what has scrolled off it.
    #[track_caller]
    pub fn shown(&mut self) -> String {
        let taken = self.folder.path().join("shown");
        // Without quotes the number would be divided by what follows.
        let answer = self.monitor(&format!("pmemsave 0xb8000 0x8000 \"{}\"", taken.display()));
        assert!(taken.exists(), "{answer}");
        let letter = |cell: &[u8]| if cell[0].is_ascii_graphic() { cell[0].into() } else { ' ' };
        let memory = fs::read(&taken).unwrap();
        let lines = memory.chunks(160).map(|line| line.chunks(2).map(letter).collect::<String>());
        lines.map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// Waits until its monitor shows all of this.
    #[track_caller]
    pub fn wait_until_shown(&mut self, parts: &[&str], timeout: Duration) {
        let end = Instant::now() + timeout;
        loop {
            let shown = self.shown();
            let missing = parts.iter().find(|part| !shown.contains(**part));
            let Some(missing) = missing else { return };
            assert!(Instant::now() < end, "no '{missing}' in\n{shown}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// A picture of what its monitor shows.
    #[track_caller]
    pub fn picture(&mut self, png: &Path) {
        let taken = self.folder.path().join("picture.png");
        let answer = self.monitor(&format!("screendump {} -f png", taken.display()));
        assert!(!answer.contains("Error"), "{answer}");
        fs::copy(&taken, png).unwrap();
    }

    /// Pulls the plug.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("QEMU said: {}", self.log());
        }
        self.kill();
    }
}

/// QEMU's options take a comma as the end of a value.
fn escaped(path: &Path) -> String {
    path.to_str().unwrap().replace(',', ",,")
}

/// All that the monitor says before it waits for the next command.
fn read_prompt(monitor: &mut UnixStream) -> String {
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(b"(qemu) ") {
        match monitor.read(&mut byte) {
            Ok(1) => said.push(byte[0]),
            // It has switched itself off.
            _ => break,
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}
