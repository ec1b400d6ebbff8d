// SPDX-License-Identifier: MIT OR Apache-2.0
//! All archived discs of a folder and the folders in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::record::{Record, was_record};
use super::verify::{self, Checked};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::pipeline::Cancel;
use crate::progress::Progress;

/// How deep folders are looked into; links are not followed.
const MOST_DEPTH: usize = 32;
/// The ends of names that files of discs have; one of raw sectors has a cue
/// sheet beside it.
const EXTENSIONS: [&str; 2] = ["iso", "udf"];
const RAW_EXTENSION: &str = "bin";

/// A disc of a folder.
#[derive(Debug)]
pub struct Shelved {
    /// The file with its bytes, which may be missing.
    pub image: PathBuf,
    /// What the record beside it says; None if there is none.
    pub record: Option<Record>,
    /// Why its record cannot be read.
    pub trouble: Option<Error>,
}

impl Shelved {
    /// True if the file with its bytes is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.image.is_file()
    }

    /// What it is best called.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.record {
            Some(record) => record.name().to_owned(),
            None => self.image.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// Is it what it was?
    ///
    /// # Errors
    /// Damaged if its file is gone; if its record, or it itself, cannot be read.
    /// That its bytes are damaged is no error here.
    pub fn check(&self, cancel: &Cancel, progress: &dyn Progress) -> Result<Checked> {
        if !self.is_there() {
            return Err(Error::damaged(format!("{} is missing", self.image.display()))
                .hint("its .json file is still there; read the disc again while you have it"));
        }
        if let Some(trouble) = &self.trouble {
            let error = Error::new(trouble.kind(), trouble.to_string());
            return Err(match trouble.hint_text() {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
        verify::run(&self.image, cancel, progress)
    }
}

/// All discs of a folder and the folders in it.
#[derive(Debug)]
pub struct Shelf {
    /// The discs, by their path.
    pub discs: Vec<Shelved>,
    /// Folders in it that cannot be read, of which nobody knows what is there.
    pub failures: Vec<Error>,
}

/// Finds all discs of a folder.
///
/// # Errors
/// If the folder itself cannot be read.
pub fn find(folder: &Path, cancel: &Cancel) -> Result<Shelf> {
    let (mut found, mut failures) = (BTreeMap::new(), Vec::new());
    look(folder, 0, &mut found, &mut failures, cancel)?;
    Ok(Shelf { discs: found.into_values().collect(), failures })
}

fn look(
    folder: &Path,
    depth: usize,
    found: &mut BTreeMap<PathBuf, Shelved>,
    failures: &mut Vec<Error>,
    cancel: &Cancel,
) -> Result<()> {
    let what = || format!("reading the folder {}", folder.display());
    if depth > MOST_DEPTH {
        return Err(Error::failed(format!("{}: it is too deep", what())));
    }
    for entry in fs::read_dir(folder).context(what)? {
        cancel.check()?;
        let entry = entry.context(what)?;
        let (path, kind) = (entry.path(), entry.file_type().context(what)?);
        let extension = path.extension().map(|it| it.to_string_lossy().to_ascii_lowercase());
        if kind.is_dir() {
            match look(&path, depth + 1, found, failures, cancel) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => failures.push(error),
            }
        } else if !kind.is_file() {
            continue;
        } else if extension.as_deref() == Some("json") {
            let (image, record, trouble) = match Record::read(&path) {
                Ok(None) => continue,
                Ok(Some(record)) => {
                    let named = folder.join(&record.file);
                    // Both may have got another name.
                    let image = if named.is_file() { None } else { image_beside(&path) };
                    (image.unwrap_or(named), Some(record), None)
                }
                Err(error) => match image_beside(&path) {
                    Some(image) => (image, None, Some(error)),
                    None if was_record(&path) => (path.with_extension("iso"), None, Some(error)),
                    None => continue,
                },
            };
            found.insert(image.clone(), Shelved { image, record, trouble });
        } else if extension.as_deref().is_some_and(|it| {
            EXTENSIONS.contains(&it)
                || (it == RAW_EXTENSION && path.with_extension("cue").is_file())
        }) {
            let image = path.clone();
            let plain = || Shelved { image: path, record: None, trouble: None };
            found.entry(image).or_insert_with(plain);
        }
    }
    Ok(())
}

/// The file that a record belongs to by its own name.
fn image_beside(record: &Path) -> Option<PathBuf> {
    let mut all = EXTENSIONS.into_iter().chain([RAW_EXTENSION]);
    all.find_map(|extension| Some(record.with_extension(extension)).filter(|path| path.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discs_are_found_by_their_records_and_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("mac")).unwrap();
        for name in
            ["a.iso", "b.ISO", "notes.txt", "x.bin", "mac/c.iso", "d.iso", "e.iso", "new.iso"]
        {
            fs::write(at(name), b"x").unwrap();
        }
        fs::write(at("other.json"), b"{}").unwrap();
        fs::write(at("d.json"), b"{\"dacapo_disc\": 1, \"fi").unwrap();
        fs::write(at("notes.json"), b"// none").unwrap();
        // One that was emptied, and one that has got another name with its file.
        fs::write(at("e.json"), b"").unwrap();
        fs::create_dir_all(at(&"deep/".repeat(MOST_DEPTH + 1))).unwrap();
        let names = [("a.json", "a.iso"), ("mac/gone.json", "gone.iso"), ("new.json", "old.iso")];
        for (record, file) in names {
            let record_path = at(record);
            let record = Record { file: file.into(), sector_size: 2048, ..Record::new() };
            record.write(&record_path).unwrap();
        }
        let shelf = find(folder.path(), &Cancel::default()).unwrap();
        // What cannot be looked into is told, and all else is found.
        assert_eq!(shelf.failures.len(), 1);
        assert!(shelf.failures[0].to_string().contains("too deep"));
        let found = shelf.discs;
        let shown: Vec<(String, bool, bool, bool)> = found
            .iter()
            .map(|it| {
                let name = it.image.strip_prefix(folder.path()).unwrap().display().to_string();
                (name, it.is_there(), it.record.is_some(), it.trouble.is_some())
            })
            .collect();
        let row = |name: &str, there, record, trouble| (name.to_owned(), there, record, trouble);
        assert_eq!(
            shown,
            [
                row("a.iso", true, true, false),
                row("b.ISO", true, false, false),
                row("d.iso", true, false, true),
                row("e.iso", true, false, true),
                row("mac/c.iso", true, false, false),
                row("mac/gone.iso", false, true, false),
                row("new.iso", true, true, false),
            ]
        );
    }
}
