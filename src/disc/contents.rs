// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disc is, by its drive and by its own structures, and whether it can be
//! kept as a plain file.

use serde::Serialize;

use super::drive::Drive;
use super::encryption;
use super::volume::{self, SECTOR, Sizes, Volume};
use crate::device::{DiscState, DiskIdentity, Toc};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};

/// What is known of a disc before it is read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Contents {
    /// What its descriptors say.
    pub volume: Volume,
    /// What each structure says about its length.
    pub sizes: Sizes,
    /// The kind of disc, by the drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
    /// The drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drive: Option<DiskIdentity>,
    /// The table of contents, by the drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toc: Option<Toc>,
    /// How it is protected: "CSS", "CPRM", "AACS".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protection: Option<String>,
    /// How far it was written, by the drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<DiscState>,
    /// True if it was looked at in a drive.
    #[serde(skip)]
    pub is_in_drive: bool,
}

impl Contents {
    /// Looks at a disc. What its drive does not tell is left out.
    #[must_use]
    pub fn of(drive: &dyn Drive) -> Self {
        let state = drive.state();
        if state == Some(DiscState::Blank) {
            // Kernels make up a size and tracks for it.
            let (medium, identity) = (drive.medium(), drive.identity());
            let is_in_drive = identity.is_some();
            return Self { medium, drive: identity, is_in_drive, state, ..Self::default() };
        }
        let toc = drive.toc();
        let session = toc.as_ref().and_then(Toc::last_session).unwrap_or(0);
        let has_data = toc.as_ref().is_none_or(|toc| toc.data_end().is_some());
        let (volume, mut sizes) = if has_data {
            volume::read(drive, session)
        } else {
            (Volume::default(), Sizes { capacity: drive.len(), ..Sizes::default() })
        };
        let data_end = toc.as_ref().and_then(Toc::data_end);
        sizes.lead_out = data_end.map(|end| u64::from(end) * SECTOR);
        let medium = drive.medium();
        sizes.most = Some(volume::most_of(medium.as_deref()));
        let is_udf = volume.formats.iter().any(|format| format.starts_with("UDF"));
        let encrypted = || if is_udf { encryption::of(drive) } else { None };
        let protection = match drive.copyright() {
            Some(1) => Some("CSS".to_owned()),
            Some(2) => Some("CPRM".to_owned()),
            None | Some(0) => encrypted(),
            Some(0x10) => encrypted().or_else(|| Some(encryption::AACS.to_owned())),
            Some(other) => Some(format!("of kind {other}")),
        };
        let identity = drive.identity();
        Self {
            volume,
            sizes,
            medium,
            is_in_drive: identity.is_some(),
            drive: identity,
            toc,
            protection,
            state,
        }
    }

    /// How many tracks are sound, and how many there are.
    fn tracks(&self) -> (usize, usize) {
        self.toc.as_ref().map_or((0, 0), |toc| (toc.audio_tracks(), toc.tracks.len()))
    }

    /// True if there is sound on it, which no plain file can hold.
    #[must_use]
    pub fn has_sound(&self) -> bool {
        self.tracks().0 > 0
    }

    /// The protection of which a copy is exact, and films cannot be played from it.
    #[must_use]
    pub fn encryption(&self) -> Option<&str> {
        self.protection.as_deref().filter(|it| it.starts_with(encryption::AACS))
    }

    /// True if all that is known of another disc is the same.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        self.volume == other.volume && self.sizes == other.sizes && self.toc == other.toc
    }

    /// An error if the disc cannot be kept as one plain file.
    ///
    /// # Errors
    /// Unsupported, with what can be done; refused of a file that is no disc.
    pub fn check_plain(&self) -> Result<()> {
        self.check_written()?;
        let (sound, tracks) = self.tracks();
        let raw = "store it raw, with a cue sheet: dacapo disc read --raw";
        if sound > 0 && sound == tracks {
            return Err(Error::unsupported(format!(
                "this is an audio disc with {sound} tracks, which no .iso can hold"
            ))
            .hint(raw));
        }
        if sound > 0 {
            return Err(Error::unsupported(format!(
                "of the {tracks} tracks of this disc {sound} are sound, which no .iso can hold"
            ))
            .hint(raw));
        }
        if let Some(protection) = &self.protection
            && self.encryption().is_none()
        {
            return Err(Error::unsupported(format!(
                "the disc says that it is copy-protected ({protection}): its copy would be \
                 unreadable, because the keys are where no drive gives them as data"
            ))
            .hint("keep the disc itself; nothing was written"));
        }
        if !self.is_in_drive && self.volume.formats.is_empty() {
            return Err(Error::refused(
                "this file holds no filesystem of a disc (ISO 9660, UDF, HFS)".to_owned(),
            )
            .hint("the image of a disk, a USB stick or a floppy is saved with 'dacapo save'"));
        }
        Ok(())
    }

    /// An error if there is nothing on the disc.
    ///
    /// # Errors
    /// Failed.
    pub(super) fn check_written(&self) -> Result<()> {
        if self.state == Some(DiscState::Blank) || self.is_in_drive && self.is_empty() {
            return Err(Error::failed(
                "nothing is on the disc in the drive: it was never written to",
            )
            .hint(
                "a disc that was burnt and is called empty was never closed: burn programs \
                     may be able to close it in the drive that wrote it",
            ));
        }
        Ok(())
    }

    /// The first sector of the last session.
    #[must_use]
    pub fn session(&self) -> u32 {
        self.toc.as_ref().and_then(Toc::last_session).unwrap_or(0)
    }

    /// Checks that another disc is a copy of this one.
    ///
    /// # Errors
    /// What is different.
    pub fn check_same(&self, other: &Self) -> Result<(), String> {
        if self.volume.label != other.volume.label {
            let label = |it: &Self| it.volume.label.clone().unwrap_or_default();
            return Err(format!("its label is '{}', not '{}'", label(other), label(self)));
        }
        let hashes = [&self.volume, &other.volume].map(|it| it.descriptors_blake3.as_ref());
        if hashes == [None, None] {
            return Err("they have no descriptors that could be compared".to_owned());
        }
        if !self.volume.is_of_same_disc(&other.volume) {
            return Err("its volume descriptors differ".to_owned());
        }
        // The end of a file that is too short is no reason.
        let (one, two) = (self.sizes.filesystems(), other.sizes.filesystems());
        if self.sizes.primary != other.sizes.primary {
            return Err(format!("its filesystem has {two} bytes, not {one}"));
        }
        Ok(())
    }

    /// What of the disc cannot be there: between sessions.
    #[must_use]
    pub fn gaps(&self) -> ExtentSet {
        let gaps = self.toc.iter().flat_map(Toc::gaps);
        gaps.map(|(start, end)| Extent::new(u64::from(start) * SECTOR, u64::from(end) * SECTOR))
            .collect()
    }

    /// How long the disc is, by whatever says the most that such a disc can hold:
    /// nothing that is on it ends behind that.
    #[must_use]
    pub fn len(&self) -> u64 {
        // Tables of contents of DVDs are made up by their drives.
        let is_cd = self.medium.as_deref().is_some_and(|medium| medium.starts_with("CD"));
        let lead_out = self.sizes.lead_out.filter(|end| is_cd && self.sizes.is_possible(*end));
        let lead_out = lead_out.unwrap_or(0);
        self.sizes.filesystems().max(self.sizes.capacity).max(lead_out)
    }

    /// True if nothing is known to be on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of a file for it, without its extension, from the label.
    #[must_use]
    pub fn stem(&self) -> String {
        stem_of(self.volume.label.as_deref().unwrap_or_default())
    }
}

/// A name that is safe on every filesystem.
fn stem_of(label: &str) -> String {
    /// What is left of the 255 bytes of a name for an extension and a number.
    const MOST: usize = 120;
    let mut stem = String::new();
    for c in label.trim().chars() {
        let c = if c.is_alphanumeric() || "-_.+".contains(c) { c } else { '_' };
        if stem.len() + c.len_utf8() > MOST {
            break;
        }
        stem.push(c);
    }
    let stem = stem.trim_matches(['.', '_', '-']);
    let upper = stem.to_ascii_uppercase();
    let device = upper.split('.').next().unwrap_or_default();
    let is_device = ["CON", "PRN", "AUX", "NUL"].contains(&device)
        || (device.len() == 4
            && (device.starts_with("COM") || device.starts_with("LPT"))
            && device.ends_with(|c: char| c.is_ascii_digit()));
    match stem {
        "" => "disc".to_owned(),
        stem if is_device => format!("disc-{stem}"),
        stem => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_whatever_the_label_is() {
        for (label, stem) in [
            ("STUDIO_ONE", "STUDIO_ONE"),
            ("Sample Library 3", "Sample_Library_3"),
            ("../../etc/passwd", "etc_passwd"),
            ("a\0b\nc\u{1b}[2J", "a_b_c__2J"),
            ("", "disc"),
            ("...", "disc"),
            ("con", "disc-con"),
            ("LPT1.x", "disc-LPT1.x"),
            ("COMPUTER", "COMPUTER"),
            ("M\u{fc}nchen", "M\u{fc}nchen"),
        ] {
            assert_eq!(stem_of(label), stem, "{label:?}");
        }
        assert!(stem_of(&"\u{1f600}x\u{e4}".repeat(200)).len() <= 120);
    }
}
