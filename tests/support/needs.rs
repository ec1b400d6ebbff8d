// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a test needs of the machine. A test that cannot run says so, and
//! fails where nothing may be skipped (`DACAPO_NO_SKIP=1`).

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// True if this machine has all of `needs`; else prints why the test is
/// skipped. A need is:
///
/// - `root`: the tests run as root;
/// - `loop`: loop devices can be made;
/// - `kvm`: /dev/kvm can be opened;
/// - `network`: the mirror that apt is set up for can be reached;
/// - `kernel:NAME`: the kernel mounts the filesystem NAME;
/// - anything else: a program of that name.
///
/// ```ignore
/// if !requires(&["root", "loop", "kernel:ext4", "mkfs.ext4"]) {
///     return;
/// }
/// ```
#[must_use]
pub fn requires(needs: &[&str]) -> bool {
    let missing: Vec<&str> = needs.iter().copied().filter(|need| !has(need)).collect();
    if missing.is_empty() {
        return true;
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let text = format!("skipped: {test} needs {}\n", missing.join(", "));
    let may_not_skip = std::env::var_os("DACAPO_NO_SKIP").is_some_and(|value| value == "1");
    assert!(!may_not_skip, "{text}and DACAPO_NO_SKIP=1 forbids to skip it");
    // Past the capture of the test runner, which hides what passing tests
    // print.
    let _ = std::io::stderr().write_all(text.as_bytes());
    false
}

/// True if the slower matrices are asked for, too (`scripts/test --all`).
#[must_use]
pub fn all() -> bool {
    std::env::var_os("DACAPO_TEST_ALL").is_some_and(|value| value == "1")
}

fn has(need: &str) -> bool {
    match need {
        "root" => is_root(),
        "loop" => is_root() && fs::metadata("/dev/loop-control").is_ok(),
        "network" => reaches_mirror(),
        "kvm" => fs::File::options().read(true).write(true).open("/dev/kvm").is_ok(),
        _ => match need.strip_prefix("kernel:") {
            Some(name) => kernel_mounts(name),
            None => find_program(need).is_some(),
        },
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn kernel_mounts(name: &str) -> bool {
    let listed = || {
        fs::read_to_string("/proc/filesystems")
            .is_ok_and(|text| text.split_whitespace().any(|word| word == name))
    };
    // It may be a module that is not loaded yet.
    let load = || {
        Command::new("modprobe")
            .args(["--quiet", name])
            .env("PATH", search_path())
            .status()
            .is_ok_and(|status| status.success())
    };
    listed() || (is_root() && load() && listed())
}

/// Asks apt itself, which knows the proxy and the mirror of this machine.
fn reaches_mirror() -> bool {
    let Ok(listed) = Command::new("apt-get").args(["update", "--print-uris"]).output() else {
        return false;
    };
    // Each line begins with 'ADDRESS' in quotes.
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let Some(address) = listed.split('\'').nth(1) else { return false };
    let folder = super::temp_dir();
    Command::new("/usr/lib/apt/apt-helper")
        .args(["download-file", address, &folder.join("answer")])
        .output()
        .is_ok_and(|ran| ran.status.success())
}

/// The path of a program.
pub fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// PATH with the folders where mkfs and losetup are on Debian.
pub fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}
