// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state in which a volume was left, and its name.

use super::hibernation::{self, Sleep};
use super::log_file::{self, Log};
use super::mft::{Mft, file};
use super::record::kind;
use crate::ondisk::{Fields, FormatError, text};

/// `$VOLUME_INFORMATION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Information {
    pub(super) major: u8,
    pub(super) minor: u8,
    pub(super) flags: u16,
}

impl Information {
    /// An error unless the version is known.
    pub(super) fn check_version(self) -> Result<(), FormatError> {
        match (self.major, self.minor) {
            (1, 2) | (3, 0 | 1) => Ok(()),
            (major, minor) => {
                let what = format!("NTFS version {major}.{minor} is not known");
                Err(FormatError::unsupported(what))
            }
        }
    }
}

/// Not unmounted, or errors were found.
pub(super) const DIRTY: u16 = 0x0001;

/// Flags that leave the maps as true as they are without: resize the log,
/// upgrade on mount, mounted on NT 4, the change journal is being deleted,
/// repair object identifiers, no short names.
const HARMLESS: u16 = 0x0002 | 0x0004 | 0x0008 | 0x0010 | 0x0020 | 0x0080;

/// Why the maps of a volume may not be the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    Asleep(Sleep),
    Log(Log),
    Dirty,
    /// Flags that this driver does not know, or knows to be set during a check.
    Flags(u16),
}

impl Doubt {
    /// In a few words, for lists.
    pub(super) const fn few_words(self) -> &'static str {
        match self {
            Self::Asleep(Sleep::Unknown) => "perhaps hibernated",
            Self::Asleep(_) => "hibernated",
            Self::Log(Log::InUse) | Self::Dirty => "not shut down cleanly",
            Self::Log(_) => "log not clean",
            Self::Flags(_) => "being checked",
        }
    }

    /// Why all of the volume is stored.
    pub(super) fn why(self) -> String {
        match self {
            Self::Asleep(Sleep::FastStartup) => {
                "Windows is hibernated (Fast Startup): the image is exact and complete".into()
            }
            Self::Asleep(Sleep::Hibernated) => {
                "Windows is hibernated: the image is exact and complete".into()
            }
            Self::Asleep(Sleep::Either) => {
                "Windows is hibernated (by Fast Startup or by its user): the image is exact and \
                 complete"
                    .into()
            }
            Self::Asleep(Sleep::Resuming) => {
                "Windows was hibernated and had begun to resume, and may do so again: the image \
                 is exact and complete"
                    .into()
            }
            Self::Asleep(Sleep::Unknown) => {
                "hiberfil.sys holds something unknown, so Windows may be hibernated: the image is \
                 exact and complete"
                    .into()
            }
            Self::Log(Log::InUse) => {
                "Windows was not shut down, or by Fast Startup, which leaves disks as they are: \
                 the image is exact and complete"
                    .into()
            }
            Self::Log(_) => {
                "the log of the NTFS filesystem has work left to do, so what is free is not \
                 certain: the image is exact and complete"
                    .into()
            }
            Self::Dirty => {
                "the NTFS filesystem was not unmounted cleanly or has errors, so what is free is \
                 not certain: the image is exact and complete"
                    .into()
            }
            Self::Flags(flags) => format!(
                "the NTFS filesystem is marked as being checked or changed (flags {flags:#06x}): \
                 the image is exact and complete"
            ),
        }
    }

    /// What became of the volume, for who reads its files.
    pub(super) fn what(self) -> String {
        match self {
            Self::Asleep(Sleep::Unknown) => "Windows may be hibernated in it".into(),
            Self::Asleep(_) => "Windows is hibernated in it".into(),
            Self::Log(_) | Self::Dirty => {
                "it was not shut down cleanly, and its log was not replayed".into()
            }
            Self::Flags(_) => "it is marked as being checked or changed".into(),
        }
    }

    /// What the user can do.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::Asleep(Sleep::FastStartup) => "to make it smaller, shut down with Shift held",
            Self::Asleep(_) | Self::Log(Log::InUse) => {
                "to make it smaller, start Windows and shut it down with Shift held"
            }
            Self::Log(_) => {
                "to make it smaller, attach it to Windows and shut Windows down with Shift held"
            }
            Self::Dirty | Self::Flags(_) => {
                "to make it smaller, let Windows check the disk (chkdsk) and shut it down with \
                 Shift held"
            }
        }
    }
}

/// Reads `$VOLUME_INFORMATION`.
pub(super) fn information(mft: &Mft) -> Result<Information, FormatError> {
    let value = mft.value("$Volume", file::VOLUME, kind::VOLUME_INFORMATION, 256)?;
    let value = value.unwrap_or_default();
    let (Some(major), Some(minor), Some(flags)) =
        (value.u8_at(0x08), value.u8_at(0x09), value.u16_le(0x0a))
    else {
        return Err(FormatError::corrupt("$Volume", 0, "the version of the volume", "none"));
    };
    Ok(Information { major, minor, flags })
}

/// The name that people gave the volume.
pub(super) fn label(mft: &Mft) -> Result<Option<String>, FormatError> {
    let value = mft.value("$Volume", file::VOLUME, kind::VOLUME_NAME, 1024)?.unwrap_or_default();
    let units: Vec<u16> = value.chunks_exact(2).filter_map(|unit| unit.u16_le(0)).collect();
    Ok(Some(text(String::from_utf16_lossy(&units).as_bytes())).filter(|label| !label.is_empty()))
}

/// Why the maps may not be the last word, the strongest reason first. The log
/// is read to its end only if `thorough`.
pub(super) fn doubt(mft: &Mft, thorough: bool) -> Result<Option<Doubt>, FormatError> {
    let information = information(mft)?;
    information.check_version()?;
    if let Some(sleep) = hibernation::find(mft)? {
        return Ok(Some(Doubt::Asleep(sleep)));
    }
    if information.flags & DIRTY != 0 {
        return Ok(Some(Doubt::Dirty));
    }
    let log = log_file::read(mft, thorough)?;
    if log != Log::Clean {
        return Ok(Some(Doubt::Log(log)));
    }
    let unknown = information.flags & !HARMLESS;
    Ok((unknown != 0).then_some(Doubt::Flags(unknown)))
}
