// SPDX-License-Identifier: MIT OR Apache-2.0
//! An optical drive: what it says of itself and of the disc in it, and sectors
//! with all their bytes.
//!
//! Specification: MMC-6 for the commands, SPC-4 for sense data,
//! linux/cdrom.h for what the kernel does itself.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;

use super::sysfs::System;
use super::toc::{Toc, Track};
use super::volumes::is_disc;
use super::{DeviceNumber, DiskIdentity, Source, identity, ioctl};
use crate::error::{Context, Error, Result};
use crate::io::ReadAt;
use crate::ondisk::Fields;
use crate::units::SectorSize;

/// The bytes of a sector of a CD with its header and its error correction.
pub const RAW_SECTOR: usize = 2352;

/// The number of the driver of optical drives.
const SR_MAJOR: u32 = 11;
/// A drive tries long to read a bad sector.
const SECONDS: u32 = 120;
/// Sectors a READ CD asks for at once: 64 KiB is what every adapter takes.
const AT_ONCE: usize = 27;

/// A drive with a disc in it.
#[derive(Debug)]
pub struct OpticalDrive {
    source: Source,
    file: File,
}

/// The kinds of discs that are told apart, by the number of their profile.
const PROFILES: [(u16, &str); 17] = [
    (0x08, "CD-ROM"),
    (0x09, "CD-R"),
    (0x0a, "CD-RW"),
    (0x10, "DVD-ROM"),
    (0x11, "DVD-R"),
    (0x12, "DVD-RAM"),
    (0x13, "DVD-RW"),
    (0x14, "DVD-RW"),
    (0x15, "DVD-R DL"),
    (0x16, "DVD-R DL"),
    (0x1a, "DVD+RW"),
    (0x1b, "DVD+R"),
    (0x2b, "DVD+R DL"),
    (0x40, "BD-ROM"),
    (0x41, "BD-R"),
    (0x42, "BD-R"),
    (0x43, "BD-RE"),
];

/// How far a disc was written (MMC-6, "READ DISC INFORMATION").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiscState {
    /// Nothing was ever written to it.
    Blank,
    /// Its last session was begun and not closed, or is damaged.
    Open,
    /// All that was begun was closed.
    Closed,
}

impl DiscState {
    /// That of two bits for the disc, and two for its last session.
    const fn parse(byte: u8) -> Option<Self> {
        match (byte & 3, byte >> 2 & 3) {
            (0, _) => Some(Self::Blank),
            (1, 1 | 2) => Some(Self::Open),
            // What is written at any place has no sessions.
            (3, _) => None,
            _ => Some(Self::Closed),
        }
    }
}

/// True for the path of an optical drive.
#[must_use]
pub fn is_optical(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| {
        found.file_type().is_block_device()
            && DeviceNumber::from_raw(found.rdev()).major == SR_MAJOR
    })
}

/// The optical drives of this machine, with a disc or without.
#[must_use]
pub fn optical_drives() -> Vec<DiskIdentity> {
    optical_drives_of(&System::running())
}

fn optical_drives_of(system: &System) -> Vec<DiskIdentity> {
    let blocks = system.disks().into_iter().filter(is_disc);
    blocks
        .map(|block| DiskIdentity { path: block.device_path(), ..identity::of(system, &block) })
        .collect()
}

/// What a drive says of its tray. Another value means another disc.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tray {
    /// A number of linux/cdrom.h; none if the drive does not answer.
    status: Option<i32>,
    /// Counts the discs since the start, on newer kernels.
    sequence: Option<u64>,
    /// The size of the disc in bytes.
    len: u64,
}

impl Tray {
    /// Asks a drive; what it does not tell is left out.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        // The kernel looks for a new disc when the drive is opened.
        let file = open_drive(path);
        let status = file.as_ref().ok().and_then(|file| ioctl::drive_status(file).ok());
        let block = System::running().by_path(path);
        Self {
            status,
            sequence: block.as_ref().and_then(|block| block.number_attribute("diskseq")),
            len: block.map_or(0, |block| block.len()),
        }
    }

    /// One with a disc of this size, for tests.
    #[cfg(test)]
    pub(crate) fn with_size(len: u64) -> Self {
        Self { len, ..Self::default() }
    }

    /// Why there is no disc that could be read, and what to do. Some drives
    /// cannot tell; opening the disc will.
    #[must_use]
    pub const fn why_not(self) -> Option<(&'static str, &'static str)> {
        Self::why_not_of(self.status)
    }

    const fn why_not_of(status: Option<i32>) -> Option<(&'static str, &'static str)> {
        match status {
            Some(1) => Some(("there is no disc in the drive", "put one in")),
            Some(2) => Some(("the tray is open", "put the disc in and close it")),
            Some(3) => Some(("the drive is not ready", "wait until its lamp goes out")),
            _ => None,
        }
    }
}

/// Opens a drive, also one without a disc.
fn open_drive(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

impl OpticalDrive {
    /// Opens a drive.
    ///
    /// # Errors
    /// If there is no disc in it, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open_drive(path).context(|| format!("opening {}", path.display()))?;
        if let Some((text, hint)) = Tray::why_not_of(ioctl::drive_status(&file).ok()) {
            return Err(Error::failed(format!("{}: {text}", path.display())).hint(hint));
        }
        Ok(Self { source: Source::open(path)?, file })
    }

    /// What the drive says of itself.
    #[must_use]
    pub fn identity(&self) -> DiskIdentity {
        self.source.identity()
    }

    /// The kind of disc: "CD-R", "DVD-ROM".
    #[must_use]
    pub fn medium(&self) -> Option<&'static str> {
        let mut header = [0; 8];
        // GET CONFIGURATION, of which the head has the current profile.
        self.command(&[0x46, 2, 0, 0, 0, 0, 0, 0, 8, 0], &mut header).ok()?;
        let profile = header.as_slice().u16_be(6)?;
        PROFILES.iter().find(|(number, _)| *number == profile).map(|(_, name)| *name)
    }

    /// How far the disc was written; None if the drive does not tell.
    #[must_use]
    pub fn state(&self) -> Option<DiscState> {
        let mut answer = [0; 8];
        // READ DISC INFORMATION, of which the start has the state.
        let len = self.command(&[0x51, 0, 0, 0, 0, 0, 0, 0, 8, 0], &mut answer).ok()?;
        DiscState::parse(answer.get(..len)?.u8_at(2)?)
    }

    /// The table of contents; None if the drive gives none that makes sense.
    #[must_use]
    pub fn toc(&self) -> Option<Toc> {
        self.full_toc().or_else(|| self.toc_of_kernel())
    }

    fn full_toc(&self) -> Option<Toc> {
        let mut answer = vec![0; 2048];
        let command = [0x43, 2, 2, 0, 0, 0, 1, 0x08, 0, 0];
        let len = self.command(&command, &mut answer).ok()?;
        Toc::of_full(answer.get(..len)?)
    }

    fn toc_of_kernel(&self) -> Option<Toc> {
        const LEAD_OUT: u8 = 0xaa;
        let (first, last) = ioctl::track_numbers(&self.file).ok()?;
        let mut tracks = Vec::new();
        for number in first.max(1)..=last.min(99) {
            let (start, control) = ioctl::track_entry(&self.file, number).ok()?;
            tracks.push(Track { number, session: 1, start: start.try_into().ok()?, control });
        }
        let lead_out = ioctl::track_entry(&self.file, LEAD_OUT).ok()?.0.try_into().ok()?;
        let session = ioctl::last_session(&self.file).ok().flatten();
        Toc::of_tracks(tracks, lead_out, session.and_then(|start| start.try_into().ok()))
    }

    /// The byte with which a DVD says how it is protected: 0 not at all,
    /// 1 CSS, 2 CPRM, 16 AACS; None of other discs.
    #[must_use]
    pub fn copyright(&self) -> Option<u8> {
        let mut answer = [0; 8];
        // READ DVD STRUCTURE, format 1.
        let command = [0xad, 0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0];
        let len = self.command(&command, &mut answer).ok()?;
        answer.get(..len)?.u8_at(4)
    }

    /// Reads sectors of a CD with all their bytes.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read_raw(&self, sector: u32, buf: &mut [u8]) -> Result<()> {
        let mut position = sector;
        for piece in buf.chunks_mut(AT_ONCE * RAW_SECTOR) {
            // At most AT_ONCE.
            let count = (piece.len() / RAW_SECTOR) as u8;
            let [a, b, c, d] = position.to_be_bytes();
            // READ CD: any kind of sector, with sync, headers, user data and
            // error correction.
            let command = [0xbe, 0, a, b, c, d, 0, 0, count, 0xf8, 0, 0];
            let len = self
                .command(&command, piece)
                .context(|| format!("reading sector {position} of {}", self.source.path()))?;
            if len < piece.len() {
                return Err(Error::failed(format!(
                    "reading sector {position} of {}: the drive gave {len} bytes of {}",
                    self.source.path(),
                    piece.len()
                )));
            }
            position = position.saturating_add(u32::from(count));
        }
        Ok(())
    }

    /// Sends a command, and returns how many bytes came.
    fn command(&self, command: &[u8], data: &mut [u8]) -> Result<usize> {
        let what = || format!("asking {} by SCSI", self.source.path());
        let answer = ioctl::scsi_read(&self.file, command, data, SECONDS).context(what)?;
        if answer.status == 0 && answer.transport == 0 {
            return Ok(answer.len);
        }
        let said = sense(&answer.sense);
        let text = match said {
            Some([key, code, qualifier]) => {
                format!("sense {key:x}/{code:02x}/{qualifier:02x}")
            }
            None => format!("status {:#x}, host {:#x}", answer.status, answer.transport),
        };
        // What is wrong with the medium or the reading of it is an unreadable
        // sector; all else would be the same anywhere.
        let is_medium = said.is_some_and(|[key, _, _]| matches!(key, 3 | 4 | 0xb))
            || matches!(said, Some([5, 0x64 | 0x6f, _]));
        if is_medium {
            let cause = std::io::Error::from_raw_os_error(libc::EIO);
            return Err(Error::io(format!("{}: {text}", what()), cause));
        }
        Err(Error::failed(format!("{}: {text}", what())))
    }
}

/// Key, code and qualifier of sense data, of either form.
fn sense(bytes: &[u8]) -> Option<[u8; 3]> {
    match bytes.u8_at(0)? & 0x7f {
        0x70 | 0x71 => Some([bytes.u8_at(2)? & 0x0f, bytes.u8_at(12)?, bytes.u8_at(13)?]),
        0x72 | 0x73 => Some([bytes.u8_at(1)? & 0x0f, bytes.u8_at(2)?, bytes.u8_at(3)?]),
        _ => None,
    }
}

impl ReadAt for OpticalDrive {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.source.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.source.read_at(offset, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sense_data_of_both_forms_is_read() {
        let fixed = [0xf0, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 5, 0, 0, 0, 0];
        assert_eq!(sense(&fixed), Some([3, 0x11, 5]));
        assert_eq!(sense(&[0x72, 5, 0x64, 0, 0, 0, 0, 0]), Some([5, 0x64, 0]));
        assert_eq!(sense(&[0x70, 0, 3]), None);
        assert_eq!(sense(&[]), None);
    }

    #[test]
    fn the_state_of_a_disc_is_read() {
        for (byte, state) in [
            (0, Some(DiscState::Blank)),
            // Closed, and another session can follow.
            (0b0001, Some(DiscState::Closed)),
            (0b0101, Some(DiscState::Open)),
            (0b1001, Some(DiscState::Open)),
            // As QEMU has it.
            (0b1110, Some(DiscState::Closed)),
            (0b1111, None),
        ] {
            assert_eq!(DiscState::parse(byte), state, "{byte:#06b}");
        }
    }

    #[test]
    fn drives_are_listed_with_a_disc_and_without() {
        let machine = crate::device::fake::Machine::new();
        machine.disk("virtual", "sda", "8:0", 1 << 21);
        machine.disk("virtual", "sr0", "11:0", 4096);
        machine.disk("virtual", "sr1", "11:1", 0);
        let drives = optical_drives_of(&machine.system());
        let paths: Vec<&str> = drives.iter().map(|drive| drive.path.as_str()).collect();
        assert_eq!(paths, ["/dev/sr0", "/dev/sr1"]);
    }

    #[test]
    fn only_a_tray_that_is_known_to_have_no_disc_is_a_reason() {
        let why_not = |status| Tray { status, ..Tray::default() }.why_not();
        assert_eq!([None, Some(0), Some(4)].map(why_not), [None; 3]);
        let reasons: Vec<&str> = (1..4).filter_map(|it| Some(why_not(Some(it))?.0)).collect();
        assert_eq!(reasons.len(), 3, "{reasons:?}");
    }

    #[test]
    fn only_optical_drives_are_such() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_optical(file.path()));
        assert!(!is_optical(Path::new("/dev/null")));
        assert!(!is_optical(Path::new("/dev/nowhere")));
    }
}
