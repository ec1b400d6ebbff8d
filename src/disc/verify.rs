// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is an archived disc what it was? Everything that says so is asked in one
//! pass: the hashes of its record, the MD5 that its maker has implanted, and
//! the checksums of raw sectors.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::digest::{self, Digests, PIECE};
use super::implanted::Implanted;
use super::missing;
use super::read::{KEEP_DISC, encrypted};
use super::record;
use super::sector::{self, Found};
use super::volume;
use crate::device::{RAW_SECTOR, Source};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::units::human;

/// How many damaged sectors are kept by their number.
const MOST_NAMED: usize = 1000;

/// What is known of an archived disc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is what it was.
    Good,
    /// It is what it was, and that was incomplete.
    Incomplete,
    /// It has no record, and nothing in it that says whether it is good.
    Unknown,
    /// It is not what it was.
    Damaged,
}

/// What was found out about an archived disc.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The file with its bytes.
    pub file: PathBuf,
    /// What is to be made of all this.
    pub state: State,
    /// Its length.
    pub bytes: u64,
    /// What is wrong with it.
    pub problems: Vec<String>,
    /// True if the hashes of its record are right; None without a record.
    pub record: Option<bool>,
    /// True if the implanted MD5 is right; None without one.
    pub implanted_md5: Option<bool>,
    /// How many raw sectors have the right checksums; None of plain files.
    pub good_sectors: Option<u64>,
    /// The numbers of raw sectors that have not.
    pub damaged_sectors: Vec<u64>,
    /// Sectors that were missing when the disc was read.
    pub missing_sectors: u64,
    /// How films on it are encrypted, by its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protection: Option<String>,
    /// The hashes it has now.
    #[serde(flatten)]
    pub digests: Digests,
    /// The name by which people know it.
    pub name: String,
    /// The name that its record has for the file, if that is another.
    pub recorded_file: Option<String>,
}

/// Checks an archived disc; one of raw sectors, too.
///
/// # Errors
/// If it cannot be read at all. That it is damaged is no error here.
pub fn run(path: &Path, cancel: &Cancel, progress: &dyn Progress) -> Result<Checked> {
    let source = Source::open(path)?;
    if source.is_device() {
        return Err(Error::usage(format!("{} is a device", path.display()))
            .hint("only archived discs are verified; read the disc to a file first"));
    }
    let record = record::beside(path)?;
    let missing = missing::of(path, source.len(), record.as_ref())?;
    let mut problems = Vec::new();
    let is_raw = match &record {
        Some(record) => record.sector_size as usize == RAW_SECTOR,
        None => is_raw(&source),
    };
    let mut implanted = (!is_raw).then(|| Implanted::of(&source)).flatten();
    let mut sectors = is_raw.then(|| {
        let size = RAW_SECTOR as u64;
        let bad = missing.align_outwards(size, u64::MAX);
        let mut known: ExtentSet =
            bad.iter().map(|it| Extent::new(it.start() / size, it.end() / size)).collect();
        let run_out = record.iter().flat_map(|record| &record.run_out);
        run_out.for_each(|it| known.insert(Extent::at(it.first, it.count)));
        Raw { known, ..Raw::default() }
    });
    progress.stage("verifying", source.len());
    let ((), digests) = digest::hash(|feed| {
        // Whole sectors of either kind.
        let piece = PIECE - PIECE % if is_raw { RAW_SECTOR as u64 } else { 1 };
        let mut position = 0;
        while position < source.len() {
            cancel.check()?;
            let len = piece.min(source.len() - position);
            // At most PIECE.
            let mut bytes = vec![0; len as usize];
            source.read_at(position, &mut bytes).context(|| "verifying".into())?;
            if let Some(implanted) = &mut implanted {
                implanted.feed(&bytes);
            }
            if let Some(sectors) = &mut sectors {
                sectors.feed(&bytes);
            }
            feed.bytes(bytes)?;
            progress.advance(len);
            position += len;
        }
        Ok(())
    })?;

    let missing_sectors = missing::count(&missing, record.as_ref());
    let has_right_hashes = record.as_ref().map(|record| {
        let was = record.bytes;
        if was != source.len() {
            problems.push(format!(
                "it has {} bytes, and had {was} when the disc was read",
                source.len()
            ));
        }
        if record.digests != digests {
            problems.push("its content is not what was read: its hashes differ".to_owned());
        }
        was == source.len() && record.digests == digests
    });
    if record.is_none() && !is_raw {
        let sizes = volume::read(&source, 0).1;
        let needed = sizes.filesystems();
        if let Some(end) = sizes.impossible() {
            problems.push(format!(
                "what it says of its size is damaged: {}, more than any disc holds",
                human(end)
            ));
        }
        if needed > source.len() {
            problems.push(format!(
                "its end is missing: its filesystem has {needed} bytes, and the file {}",
                source.len()
            ));
        }
    }
    // Of a disc with gaps, the implanted MD5 cannot be right.
    let implanted = implanted.map(Implanted::is_good);
    if implanted == Some(false) && missing_sectors == 0 {
        problems.push("the MD5 that its maker has implanted does not fit its content".to_owned());
    }
    let (good_sectors, damaged_sectors) = match sectors {
        None => (None, Vec::new()),
        Some(raw) => {
            if raw.damaged > 0 {
                let first = raw.named.first().copied().unwrap_or_default();
                problems.push(format!(
                    "the checksums of {} of its raw sectors are wrong, the first is sector {first}",
                    raw.damaged
                ));
            }
            (Some(raw.good), raw.named)
        }
    };
    let protection = record.as_ref().and_then(|record| record.protection.clone());
    let state = if !problems.is_empty() {
        State::Damaged
    } else if missing_sectors > 0 || protection.is_some() {
        State::Incomplete
    } else if has_right_hashes.is_none() && implanted.is_none() && good_sectors.unwrap_or(0) == 0 {
        State::Unknown
    } else {
        State::Good
    };
    let name = record.as_ref().map(|record| record.name().to_owned());
    let recorded_file =
        record.map(|record| record.file).filter(|file| *file != file_name(&record::followed(path)));
    Ok(Checked {
        file: path.to_owned(),
        state,
        bytes: source.len(),
        problems,
        record: has_right_hashes,
        implanted_md5: implanted,
        good_sectors,
        damaged_sectors,
        missing_sectors,
        protection,
        digests,
        name: name.unwrap_or_else(|| file_name(path)),
        recorded_file,
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// True of a file of raw sectors: the first is data with all its bytes.
fn is_raw(source: &Source) -> bool {
    let mut first = vec![0; RAW_SECTOR];
    source.len().is_multiple_of(RAW_SECTOR as u64)
        && source.read_at(0, &mut first).is_ok()
        && sector::mode(&first).is_some()
}

#[derive(Default)]
struct Raw {
    /// Those that were wrong when the disc was read.
    known: ExtentSet,
    position: u64,
    good: u64,
    damaged: u64,
    named: Vec<u64>,
}

impl Raw {
    fn feed(&mut self, bytes: &[u8]) {
        for sector in bytes.chunks(RAW_SECTOR) {
            match sector::check(sector) {
                Found::Plain => {}
                Found::Good => self.good += 1,
                Found::Damaged if self.known.touches(Extent::at(self.position, 1)) => {}
                Found::Damaged => {
                    self.damaged += 1;
                    if self.named.len() < MOST_NAMED {
                        self.named.push(self.position);
                    }
                }
            }
            self.position += 1;
        }
    }
}

impl Checked {
    /// The error with which a verification ends that was finished.
    ///
    /// # Errors
    /// Damaged, or with losses.
    pub fn check(&self) -> Result<()> {
        let shown = self.file.display();
        match self.state {
            State::Good | State::Unknown => Ok(()),
            State::Damaged => Err(Error::damaged(format!("{shown}: {}", self.problems.join("; ")))
                .hint("read the disc again while you have it, or take another copy of the file")),
            State::Incomplete => {
                let (what, hint) = match &self.protection {
                    Some(protection) if self.missing_sectors == 0 => {
                        (encrypted(protection), KEEP_DISC)
                    }
                    _ => (
                        format!("{} of its sectors could not be read then", self.missing_sectors),
                        "another drive may read them, or another copy of the disc",
                    ),
                };
                let text = format!("{shown}: as it was read, and {what}");
                Err(Error::new(ErrorKind::Losses, text).hint(hint))
            }
        }
    }

    /// What was checked, in words.
    #[must_use]
    pub fn evidence(&self) -> String {
        let mut found = Vec::new();
        if self.record.is_some() {
            let mut text = "the hashes of its record".to_owned();
            if let Some(file) = &self.recorded_file {
                text += &format!(", in which it is called {file}");
            }
            found.push(text);
        }
        if self.implanted_md5.is_some() {
            found.push("the MD5 implanted by its maker".to_owned());
        }
        if let Some(count) = self.good_sectors {
            found.push(format!("the checksums of {count} raw sectors"));
        }
        match found.as_slice() {
            [] => format!("{}, nothing to compare it with", human(self.bytes)),
            found => format!("{} by {}", human(self.bytes), found.join(", ")),
        }
    }
}
