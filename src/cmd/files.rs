// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files as the commands that look into images show them: a line of text, or a
//! JSON line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::browse::names::shown;
use crate::browse::{How, OpenDisk, OpenVolume, Trouble};
use crate::device::check_source;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::files::{Attributes, NodeKind};
use crate::units::human;

use super::open::BesideArgs;
use super::output::Output;
use super::text::hex;

/// Opens an image or a disk to be looked at, and says what is unusual about it.
///
/// # Errors
/// If it is not there or damaged.
pub(super) fn open_disk(path: &Path, output: &Output) -> Result<OpenDisk> {
    let disk = open(path, false, output)?;
    if disk.image.is_none()
        && let Err(error) = check_source(path)
    {
        output.note(&format!("{error}; what is shown may be older than what is there"));
    }
    Ok(disk)
}

/// Opens an image or a disk to copy from it, and says what is unusual about it.
///
/// # Errors
/// If it is not there, damaged, or a disk that somebody writes to.
pub(super) fn open_to_copy(path: &Path, output: &Output) -> Result<OpenDisk> {
    open(path, true, output)
}

fn open(path: &Path, claim: bool, output: &Output) -> Result<OpenDisk> {
    if super::open::is_standard_stream(path) {
        return Err(Error::usage("files are not read from standard input")
            .hint("looking into an image needs one that can be read at any position"));
    }
    let how = How { claim, ..How::default() };
    let disk = OpenDisk::open_with(path, how, |file| file)?;
    if let Some(note) = disk.note() {
        output.note(&note);
    }
    Ok(disk)
}

/// The same, with others beside it over which what is on it may be spread.
///
/// # Errors
/// As [`open_disk`]; usage if one is given twice.
pub(super) fn open_disks(path: &Path, set: &BesideArgs, output: &Output) -> Result<OpenDisk> {
    set.beside(path, open_disk(path, output)?, |other| open_disk(other, output))
}

/// Says of each volume, once, why its files may not be as their system would
/// show them.
pub(super) fn tell_notices<'a>(volumes: impl IntoIterator<Item = &'a OpenVolume>, output: &Output) {
    let mut told: Vec<&str> = Vec::new();
    for volume in volumes {
        if !told.contains(&volume.name.as_str()) {
            told.push(&volume.name);
            if let Some(notice) = volume.notice() {
                output.note(&notice);
            }
        }
    }
}

/// The bytes of an argument.
pub(super) fn bytes(text: &OsStr) -> &[u8] {
    text.as_bytes()
}

/// The word for a kind, as JSON has it.
pub(super) const fn kind_word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Folder => "folder",
        NodeKind::Link => "link",
        NodeKind::Device { is_block: true, .. } => "block-device",
        NodeKind::Device { is_block: false, .. } => "character-device",
        NodeKind::Pipe => "pipe",
        NodeKind::Socket => "socket",
        NodeKind::Other(_) => "other",
    }
}

/// A path as JSON has it: as text, and exactly if it is none.
#[derive(Debug, Serialize)]
pub(super) struct JsonPath {
    volume: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl JsonPath {
    pub(super) fn new(volume: &OpenVolume, path: &[u8]) -> Self {
        let is_text = std::str::from_utf8(path).is_ok();
        Self {
            volume: volume.name.clone(),
            path: String::from_utf8_lossy(path).into_owned(),
            path_hex: (!is_text).then(|| hex(path)),
        }
    }
}

/// A file and all that is known of it, as a JSON line.
#[derive(Debug, Serialize)]
pub(super) struct JsonFile {
    #[serde(flatten)]
    path: JsonPath,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocated: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accessed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    links: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    dos: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_hex: Option<String>,
}

impl JsonFile {
    pub(super) fn new(
        volume: &OpenVolume,
        path: &[u8],
        attributes: &Attributes,
        target: Option<&[u8]>,
    ) -> Self {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let times = &attributes.times;
        let is_text = target.is_none_or(|target| std::str::from_utf8(target).is_ok());
        Self {
            path: JsonPath::new(volume, path),
            kind: kind_word(attributes.kind),
            what: match attributes.kind {
                NodeKind::Other(what) => Some(what),
                _ => None,
            },
            device: match attributes.kind {
                NodeKind::Device { major, minor, .. } => Some(format!("{major}:{minor}")),
                _ => None,
            },
            size: attributes.size,
            allocated: attributes.allocated,
            modified: time(times.modified),
            accessed: time(times.accessed),
            changed: time(times.changed),
            created: time(times.created),
            mode: attributes.mode.map(|mode| format!("{mode:04o}")),
            user: attributes.owner.map(|(user, _)| user),
            group: attributes.owner.map(|(_, group)| group),
            links: attributes.links,
            dos: attributes.dos.map(|_| dos_letters(attributes)),
            target: target.map(|target| String::from_utf8_lossy(target).into_owned()),
            target_hex: target.filter(|_| !is_text).map(hex),
        }
    }
}

/// "rhsa", of those that are set.
fn dos_letters(attributes: &Attributes) -> String {
    let Some(dos) = attributes.dos else { return String::new() };
    let all = [(dos.read_only, 'r'), (dos.hidden, 'h'), (dos.system, 's'), (dos.archive, 'a')];
    all.iter().filter(|(is_set, _)| *is_set).map(|(_, letter)| *letter).collect()
}

/// "drwxr-xr-x", or "drhsa" with a dash for what is not set.
pub(super) fn permissions(attributes: &Attributes) -> String {
    let kind = match attributes.kind {
        NodeKind::File => '-',
        NodeKind::Folder => 'd',
        NodeKind::Link => 'l',
        NodeKind::Device { is_block: true, .. } => 'b',
        NodeKind::Device { is_block: false, .. } => 'c',
        NodeKind::Pipe => 'p',
        NodeKind::Socket => 's',
        NodeKind::Other(_) => '?',
    };
    let mut text = String::from(kind);
    if let Some(mode) = attributes.mode {
        for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
            let bits = mode >> shift;
            text.push(if bits & 4 == 0 { '-' } else { 'r' });
            text.push(if bits & 2 == 0 { '-' } else { 'w' });
            text.push(match (bits & 1 != 0, mode & special != 0) {
                (true, true) => letter,
                (false, true) => letter.to_ascii_uppercase(),
                (true, false) => 'x',
                (false, false) => '-',
            });
        }
    } else {
        let set = dos_letters(attributes);
        text.extend("rhsa".chars().map(|c| if set.contains(c) { c } else { '-' }));
    }
    text
}

/// "2026-11-21 10:30:05", on the clock of this machine.
pub(super) fn date(volume: &OpenVolume, time: Option<Timestamp>) -> String {
    let Some(time) = time else { return "-".into() };
    let zone = if volume.has_local_times() { TimeZone::UTC } else { TimeZone::system() };
    time.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// "1.50 KiB", or exactly.
pub(super) fn size(attributes: &Attributes, bytes: bool) -> String {
    match attributes.kind {
        NodeKind::Device { major, minor, .. } => format!("{major}, {minor}"),
        NodeKind::Folder => "-".into(),
        _ if bytes => attributes.size.to_string(),
        _ => human(attributes.size),
    }
}

/// A name with what its kind adds: "home/", "bin -> usr/bin".
pub(super) fn name_of(path: &str, kind: NodeKind, target: Option<&[u8]>) -> String {
    match (kind, target) {
        (NodeKind::Folder, _) if !path.ends_with('/') => format!("{path}/"),
        (NodeKind::Link, Some(target)) => format!("{path} -> {}", shown(target)),
        (NodeKind::Other(what), _) => format!("{path} ({what})"),
        _ => path.to_owned(),
    }
}

/// Things that could not be read, told one by one as they are met.
#[derive(Debug)]
pub(super) struct Losses<'a> {
    output: &'a Output,
    count: u64,
}

impl<'a> Losses<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self { output, count: 0 }
    }

    /// Tells of a volume whose files cannot be read.
    pub(super) fn tell_volume(&mut self, volume: &OpenVolume, trouble: &Trouble) {
        let error = Error::new(trouble.kind, trouble.why.clone());
        self.tell(&volume.shown(b"/"), &error);
    }

    /// Tells of one.
    pub(super) fn tell(&mut self, path: &str, error: &Error) {
        self.count += 1;
        self.output.error(&Error::new(ErrorKind::Losses, format!("{path}: {error}")));
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// # Errors
    /// Losses if there were any.
    pub(super) fn finding(&self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let s = if self.count == 1 { "" } else { "s" };
        Err(Error::new(
            ErrorKind::Losses,
            format!("{} thing{s} could not be read; all others are above", self.count),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::files::{DosAttributes, Times};

    #[test]
    fn permissions_read_as_those_of_ls() {
        let with = |kind, mode| Attributes {
            kind,
            size: 0,
            allocated: None,
            times: Times::default(),
            mode,
            owner: None,
            links: 1,
            dos: None,
        };
        for (kind, mode, text) in [
            (NodeKind::Folder, 0o1777, "drwxrwxrwt"),
            (NodeKind::File, 0o4755, "-rwsr-xr-x"),
            (NodeKind::File, 0o6644, "-rwSr-Sr--"),
            (NodeKind::Link, 0o777, "lrwxrwxrwx"),
        ] {
            assert_eq!(permissions(&with(kind, Some(mode))), text);
        }
        let dos = DosAttributes { read_only: true, system: true, ..DosAttributes::default() };
        let file = Attributes { dos: Some(dos), ..with(NodeKind::File, None) };
        assert_eq!(permissions(&file), "-r-s-");
    }
}
