// SPDX-License-Identifier: MIT OR Apache-2.0
//! The small JSON file beside an archived disc: what it is, where it came from,
//! and the hashes by which it is checked in years to come.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::digest::Digests;
use super::volume::{Sizes, Volume};
use crate::device::{DiskIdentity, Toc};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::store;

/// The version of these files.
const VERSION: u32 = 1;
/// The largest record that is read: lists of sectors and files are cut before.
const MOST_BYTES: u64 = 64 << 20;

/// Sectors that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sectors {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// What lies behind the end of all filesystems.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// The bytes of it that were read and kept.
    pub bytes: u64,
    /// True if all of them are zero, as padding is.
    pub is_zero: bool,
    /// The sectors at the very end that no drive can read: a disc written track
    /// at once has two of them.
    pub run_out_sectors: u64,
}

/// What is known of an archived disc.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The version of this file: 1.
    pub dacapo_disc: u32,
    /// The name of the file with the bytes of the disc.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its sectors: of 2048 bytes, or of 2352 if it was read raw.
    pub sector_size: u32,
    /// The name of the cue sheet of a disc that was read raw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cue: Option<String>,
    /// The title that the user gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A remark of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The serial number of what is on it, given by the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// When it was read.
    pub read_at: String,
    /// What it was read with.
    pub program: String,
    /// The hashes of the file.
    #[serde(flatten)]
    pub digests: Digests,
    /// What the disc says of itself.
    pub volume: Volume,
    /// What each structure says about its length.
    pub sizes: Sizes,
    /// What lies behind the end of all filesystems.
    pub behind: Behind,
    /// Of a disc that was read raw: sectors at the ends of tracks with data that
    /// nobody can read; they are zero in the file, or as they came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub run_out: Vec<Sectors>,
    /// Sectors that could not be read; they are zero in the file.
    pub unreadable: Vec<Sectors>,
    /// The files in them, as far as that can be told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged_files: Vec<String>,
    /// What the pattern of the unreadable sectors looks like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<String>,
    /// How films on it are encrypted, which are so in the file, too: "AACS".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protection: Option<String>,
    /// Other copies of the disc that have filled what could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merged_from: Vec<String>,
    /// The kind of disc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
    /// The drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drive: Option<DiskIdentity>,
    /// The table of contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toc: Option<Toc>,
}

impl Record {
    /// A record of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            dacapo_disc: VERSION,
            program: format!("dacapo {}", env!("CARGO_PKG_VERSION")),
            ..Self::default()
        }
    }

    /// Reads a record. None if the file is other JSON.
    ///
    /// # Errors
    /// If it cannot be read; damaged if it is no JSON, or contradicts itself;
    /// unsupported if it is newer than this program.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let what = || format!("reading {}", path.display());
        let file = File::open(path).context(what)?;
        let mut text = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut text).context(what)?;
        Self::parse(&text).context(what)
    }

    /// As [`Record::read`], of the bytes of a record.
    ///
    /// # Errors
    /// Damaged or unsupported.
    pub fn parse(text: &[u8]) -> Result<Option<Self>> {
        /// As little as makes a file one of ours.
        #[derive(Deserialize)]
        struct Head {
            dacapo_disc: u32,
        }
        let Ok(head) = serde_json::from_slice::<Head>(text) else {
            let is_json = serde_json::from_slice::<IgnoredAny>(text).is_ok();
            if text.len() as u64 >= MOST_BYTES || is_meant(text) || !is_json {
                return Err(Error::damaged("this record of a disc is cut or damaged"));
            }
            return Ok(None);
        };
        if head.dacapo_disc != VERSION {
            return Err(Error::unsupported(format!(
                "this record of a disc has version {}",
                head.dacapo_disc
            ))
            .hint("it was made by a newer version of dacapo: use that"));
        }
        let record: Self = serde_json::from_slice(text).map_err(|error| {
            Error::new(ErrorKind::Damaged, format!("this record of a disc: {error}"))
        })?;
        let is_name = Path::new(&record.file).file_name().is_some_and(|it| *it == *record.file);
        if !is_name || ![2048, 2352].contains(&record.sector_size) {
            return Err(Error::damaged("this record of a disc names no file beside it"));
        }
        Ok(Some(record))
    }

    /// Writes the record beside its file; one that is there is replaced.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::failed(format!("writing {}: {error}", path.display())))?;
        text.push(b'\n');
        store::replace(path, |out| out.write_all(&text))
    }

    /// True if it belongs to the file that it is beside: it has its name, or the
    /// file that it names is gone, and both have got another one.
    #[must_use]
    pub fn is_of(&self, image: &Path) -> bool {
        let named = image.with_file_name(&self.file);
        named == image || named.symlink_metadata().is_err()
    }

    /// The sectors that are missing.
    #[must_use]
    pub fn missing_sectors(&self) -> u64 {
        self.unreadable.iter().fold(0, |sum, it| sum.saturating_add(it.count))
    }

    /// What a disc is best called.
    #[must_use]
    pub fn name(&self) -> &str {
        let title = self.title.as_deref().or(self.volume.label.as_deref());
        title.filter(|title| !title.is_empty()).unwrap_or(&self.file)
    }
}

/// True if a text names itself a record of a disc, however it goes on.
fn is_meant(text: &[u8]) -> bool {
    text.windows(13).take(64).any(|part| part == b"\"dacapo_disc\"")
}

/// True if a file that is no record may have been one.
pub(super) fn was_record(path: &Path) -> bool {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(1024).read_to_end(&mut text));
    read.is_err() || is_meant(&text)
}

/// The record that is beside the file of a disc and names it.
///
/// # Errors
/// If there is one that is damaged or newer.
pub fn beside(image: &Path) -> Result<Option<Record>> {
    let image = &*followed(image);
    let path = path_of(image);
    // The record of a disc that is gone on with is of what it was before.
    if is_partial(image) || path == image || !path.exists() {
        return Ok(None);
    }
    Ok(Record::read(&path)?.filter(|record| record.is_of(image)))
}

/// A file itself, if this is a link to it: what belongs to it is beside it.
pub(super) fn followed(image: &Path) -> PathBuf {
    image.canonicalize().unwrap_or_else(|_| image.to_owned())
}

/// True of a file that is not whole yet, by its name.
pub(super) fn is_partial(image: &Path) -> bool {
    whole_of(image) != image
}

/// The name that a file has when it is whole.
fn whole_of(image: &Path) -> PathBuf {
    let plain = image.with_extension("");
    if store::partial_path(&plain) == image { plain } else { image.to_owned() }
}

/// The record that belongs to the file of a disc, whole or not.
#[must_use]
pub fn path_of(image: &Path) -> PathBuf {
    whole_of(image).with_extension("json")
}

/// The map of what was read that belongs to the file of a disc, whole or not.
#[must_use]
pub fn map_of(image: &Path) -> PathBuf {
    whole_of(image).with_extension("map")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_other_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let record = Record {
            file: "a.iso".into(),
            sector_size: 2048,
            title: Some("\"Synth\" \u{e4}".into()),
            unreadable: vec![Sectors { first: 5, count: 2 }],
            ..Record::new()
        };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), Some(record.clone()));
        assert_eq!(record.missing_sectors(), 2);
        for other in [&b"{}"[..], b"[]", b"{\"disc\": 1}"] {
            assert_eq!(Record::parse(other).unwrap(), None);
        }
        for lost in [&b""[..], b"no json", &[0; 100], b"{\"dacapo_disc\":\"x\"}", b"{\"a\":"] {
            assert_eq!(Record::parse(lost).unwrap_err().kind(), ErrorKind::Damaged);
        }
        let text = std::fs::read(&path).unwrap();
        assert_eq!(Record::parse(&text[..text.len() / 2]).unwrap_err().kind(), ErrorKind::Damaged);
        let newer = String::from_utf8(text.clone()).unwrap().replace(": 1,", ": 2,");
        assert_eq!(Record::parse(newer.as_bytes()).unwrap_err().kind(), ErrorKind::Unsupported);
        let away = String::from_utf8(text).unwrap().replace("a.iso", "../a.iso");
        assert_eq!(Record::parse(away.as_bytes()).unwrap_err().kind(), ErrorKind::Damaged);
    }
}
