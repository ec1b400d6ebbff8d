// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is mounted and what is swapped to, as /proc shows it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::sysfs::{Block, DeviceNumber, System};
use crate::error::{Context, Result};

/// A mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The device, or a number of no device (major 0) that btrfs and all
    /// filesystems without a device have.
    pub(super) number: DeviceNumber,
    /// Which folder of the filesystem is mounted: "/", or of btrfs a subvolume.
    pub(super) root: PathBuf,
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// The type of the filesystem.
    pub(super) fstype: String,
    /// What it was mounted from: a path for most, but any text is possible.
    pub(super) source: PathBuf,
    /// The options of the filesystem, not of this one mount: a bind mount
    /// may be read-only while the filesystem is written elsewhere.
    pub(super) options: Vec<String>,
    /// The process in whose namespace it is, if not in this one.
    pub(super) process: Option<u32>,
}

impl Mount {
    /// True if the filesystem is not written through any of its mounts.
    pub(super) fn is_read_only(&self) -> bool {
        self.options.iter().any(|option| option == "ro")
    }

    /// The value of an option: of "lowerdir=/a:/b", "/a:/b".
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    /// Every device the filesystem is on.
    pub(super) fn devices(&self, system: &System) -> Vec<Block> {
        let mut devices: Vec<Block> = system.by_number(self.number).into_iter().collect();
        // A filesystem with a device of its own may have any text as source.
        if devices.is_empty() && self.source.starts_with("/dev") {
            devices.extend(system.by_path(&self.source));
        }
        if devices.is_empty() && self.fstype == "bcachefs" {
            let source = self.source.to_string_lossy();
            devices.extend(source.split(':').filter_map(|path| system.by_path(Path::new(path))));
        }
        if self.fstype == "btrfs" {
            devices = with_btrfs_members(system, devices);
        }
        for option in ["logdev", "rtdev"] {
            let device = self.option(option).and_then(|path| system.by_path(Path::new(path)));
            devices.extend(device);
        }
        devices
    }
}

/// Adds all devices of each btrfs that one of the devices belongs to; only
/// one of them is shown as mounted.
fn with_btrfs_members(system: &System, devices: Vec<Block>) -> Vec<Block> {
    let mut members = devices;
    for filesystem in system.names("sys/fs/btrfs") {
        let folder = PathBuf::from("sys/fs/btrfs").join(filesystem).join("devices");
        let found: Vec<Block> = system
            .names(&folder)
            .iter()
            .filter_map(|name| Block::in_folder(&system.path(folder.join(name))))
            .collect();
        if found.iter().any(|member| members.contains(member)) {
            let new: Vec<Block> =
                found.into_iter().filter(|member| !members.contains(member)).collect();
            members.extend(new);
        }
    }
    members
}

/// Everything mounted in this namespace, in the order of mounting.
pub(super) fn mounts(system: &System) -> Result<Vec<Mount>> {
    let path = system.path("proc/self/mountinfo");
    let text = fs::read(&path).context(|| format!("reading {}", path.display()))?;
    Ok(parse_mountinfo(&text, None))
}

/// What is mounted in the namespaces of other processes (containers, services
/// with private mounts) and not in this one.
pub(super) fn foreign_mounts(system: &System, own: &[Mount]) -> Vec<Mount> {
    let namespace =
        |process: &str| fs::read_link(system.path("proc").join(process).join("ns/mnt")).ok();
    let mut seen = vec![namespace("self")];
    let mut foreign: Vec<Mount> = Vec::new();
    for name in system.names("proc") {
        let Ok(process) = name.parse::<u32>() else { continue };
        let namespace = namespace(&name);
        if namespace.is_none() || seen.contains(&namespace) {
            continue;
        }
        // A process may end at any time.
        let Ok(text) = fs::read(system.path("proc").join(&name).join("mountinfo")) else {
            continue;
        };
        seen.push(namespace);
        for mount in parse_mountinfo(&text, Some(process)) {
            let known = |other: &Mount| other.number == mount.number;
            if !own.iter().any(known) && !foreign.iter().any(known) {
                foreign.push(mount);
            }
        }
    }
    foreign
}

/// The devices and files that are swapped to.
pub(super) fn swaps(system: &System) -> Result<Vec<PathBuf>> {
    let path = system.path("proc/swaps");
    match fs::read(&path) {
        Ok(text) => Ok(parse_swaps(&text)),
        // A kernel without swap does not have the file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).context(|| format!("reading {}", path.display())),
    }
}

fn parse_mountinfo(text: &[u8], process: Option<u32>) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(|line| parse_mount(line, process)).collect()
}

/// One line: id, parent, device, root, point, options, tags, "-", type,
/// source, options of the filesystem.
fn parse_mount(line: &[u8], process: Option<u32>) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ').map(unescape);
    let number = DeviceNumber::parse(fields.nth(2)?.to_str()?)?;
    let root = PathBuf::from(fields.next()?);
    let point = PathBuf::from(fields.next()?);
    let mut fields = fields.skip_while(|field| field != "-").skip(1);
    let fstype = fields.next()?.to_string_lossy().into_owned();
    let source = PathBuf::from(fields.next()?);
    let options = fields.next()?.to_string_lossy().split(',').map(str::to_owned).collect();
    Some(Mount { number, root, point, fstype, source, options, process })
}

fn parse_swaps(text: &[u8]) -> Vec<PathBuf> {
    text.split(|byte| *byte == b'\n')
        .skip(1)
        .filter_map(|line| line.split(u8::is_ascii_whitespace).next())
        .filter(|field| !field.is_empty())
        .map(|field| PathBuf::from(unescape(field)))
        .collect()
}

/// The kernel writes space, tab, newline and backslash as "\040" and so on.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| std::str::from_utf8(after.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read_with_and_without_tags() {
        let text = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
            36 35 98:0 /mnt1 /mnt\\0402 ro,noatime master:1 shared:2 - btrfs /dev/a\\134b ro,x=/y\n\
            broken line\n";
        let mounts = parse_mountinfo(text, None);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, Path::new("/"));
        assert_eq!(mounts[0].fstype, "ext4");
        assert!(!mounts[0].is_read_only());
        assert_eq!(mounts[1].root, Path::new("/mnt1"));
        assert_eq!(mounts[1].point, Path::new("/mnt 2"));
        assert_eq!(mounts[1].source, Path::new("/dev/a\\b"));
        assert!(mounts[1].is_read_only());
        assert_eq!(mounts[1].option("x"), Some("/y"));
        assert_eq!(mounts[1].option("xy"), None);
    }

    #[test]
    fn a_bind_mount_that_is_read_only_does_not_hide_a_writable_filesystem() {
        let text = b"30 27 8:1 / /backup ro,relatime - ext4 /dev/sda1 rw\n";
        assert!(!parse_mountinfo(text, None)[0].is_read_only());
    }

    #[test]
    fn swaps_are_read() {
        let text = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
            /dev/sda2                               partition\t8388604\t\t0\t\t-2\n\
            /var/swap\\040file                      file\t\t1024\t\t0\t\t-3\n";
        assert_eq!(parse_swaps(text), [Path::new("/dev/sda2"), Path::new("/var/swap file")]);
    }

    #[test]
    fn only_whole_escapes_are_replaced() {
        assert_eq!(unescape(b"a\\011b\\0"), "a\tb\\0");
        assert_eq!(unescape(b"\\999\\134"), "\\999\\");
    }

    #[test]
    fn without_the_list_of_mounts_nothing_is_said_to_be_free() {
        let folder = tempfile::tempdir().unwrap();
        let system = System::at(folder.path());
        assert!(mounts(&system).unwrap_err().to_string().contains("mountinfo"));
        assert!(swaps(&system).unwrap().is_empty());
    }
}
