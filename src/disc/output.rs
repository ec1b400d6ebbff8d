// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files that a disc becomes: the one with its bytes has another name until
//! it is whole; what was read of it until then is in the map beside it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::missing;
use super::record::{self, Record};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::io::ReadAt;
use crate::io::rescue::{Blocks, Mapfile, RawFile};
use crate::store;
use crate::units::SectorSize;

/// The files of a disc that is being read.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    partial: PathBuf,
    map: PathBuf,
    file: Arc<RawFile>,
    /// True if it is left where it is when it does not get whole.
    keeps: bool,
    is_named: bool,
}

impl Output {
    /// Makes the files for a disc of `len` bytes that will be called `path`;
    /// `source` is what is read.
    pub(super) fn create(path: &Path, source: &Path, len: u64) -> Result<Self> {
        check_name(path, None)?;
        store::refuse_device(path)?;
        refuse_source(path, source)?;
        for taken in [path.to_owned(), record::path_of(path), record::map_of(path)] {
            refuse_existing(&taken)?;
        }
        let partial = store::partial_path(path);
        if partial.symlink_metadata().is_ok() {
            return Err(Error::refused(format!("{} exists already", partial.display())).hint(
                "it is left of a disc that was interrupted: go on with --resume, or delete it",
            ));
        }
        let file = RawFile::create(&partial, len, SectorSize::B512)?;
        Ok(Self::of(path, file, false))
    }

    /// Opens those of a disc that was found to go on with.
    pub(super) fn resume(path: &Path, begun: &Begun, len: u64) -> Result<Self> {
        let partial = store::partial_path(path);
        let what = || format!("opening {}", begun.file.display());
        // One with something behind the end that is known now keeps it.
        let len = begun.file.metadata().context(what)?.len().max(len);
        // An archived disc keeps its name until it is sure that it can be gone
        // on with.
        let file = RawFile::open_unchanged(&begun.file, len, SectorSize::B512)?;
        let finished = Blocks::new(len, &begun.map.blocks).finished();
        file.check_reaches(finished.iter().last().map_or(0, |last| last.end()))?;
        file.extend()?;
        if begun.file != partial {
            store::rename_new(&begun.file, &partial)?;
        }
        Ok(Self::of(path, file, true))
    }

    fn of(path: &Path, file: RawFile, keeps: bool) -> Self {
        Self {
            path: path.to_owned(),
            partial: store::partial_path(path),
            map: record::map_of(path),
            file: Arc::new(file),
            keeps,
            is_named: false,
        }
    }

    /// The file with the bytes of the disc.
    pub(super) const fn file(&self) -> &Arc<RawFile> {
        &self.file
    }

    /// Its name while it is not whole.
    pub(super) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Writes down what was read, so that it is known after a power cut, too.
    pub(super) fn save_map(&mut self, map: &Mapfile) -> Result<()> {
        use crate::io::WriteAt as _;
        self.file.flush()?;
        store::replace(&self.map, |out| map.write(out))?;
        self.keeps = true;
        Ok(())
    }

    /// Cuts the file.
    pub(super) fn set_len(&self, len: u64) -> Result<()> {
        let what = || format!("cutting {}", self.partial.display());
        let file = File::options().write(true).open(&self.partial).context(what)?;
        file.set_len(len).context(what)
    }

    /// True if all of a range is zero.
    pub(super) fn is_zero(&self, range: Extent) -> Result<bool> {
        let mut bytes = vec![0; 64 << 10];
        for piece in range.pieces(64 << 10) {
            let bytes = &mut bytes[..piece.len() as usize];
            self.file.read_at(piece.start(), bytes)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives the file its name and writes the record beside it; without a map,
    /// nothing is missing.
    pub(super) fn commit(mut self, record: &Record, map: Option<&Mapfile>) -> Result<()> {
        if let Some(map) = map {
            self.save_map(map)?;
        }
        let what = || format!("flushing {}", self.partial.display());
        File::open(&self.partial).and_then(|file| file.sync_all()).context(what)?;
        store::rename_new(&self.partial, &self.path)?;
        self.is_named = true;
        store::flush_folder(&self.path)?;
        let beside = record::path_of(&self.path);
        record.write(&beside)?;
        // Until now it was for its owner alone. Some filesystems have no such
        // thing, and nothing is lost by that.
        if let Ok(found) = beside.metadata() {
            let _ = fs::set_permissions(&self.path, found.permissions());
        }
        if map.is_none() && self.map.exists() {
            let what = || format!("deleting {}", self.map.display());
            fs::remove_file(&self.map).context(what)?;
        }
        Ok(())
    }
}

/// A disc that was interrupted, or of which something is missing.
#[derive(Debug)]
pub(super) struct Begun {
    /// Where its bytes are now.
    pub(super) file: PathBuf,
    /// What was read of it.
    pub(super) map: Mapfile,
    /// What is known of it, if it was read to its end before.
    pub(super) record: Option<Record>,
}

impl Begun {
    /// Finds what there is of the disc that will be called `path`.
    pub(super) fn find(path: &Path, source: &Path) -> Result<Self> {
        check_name(path, None)?;
        refuse_source(path, source)?;
        let (partial, map) = (store::partial_path(path), record::map_of(path));
        let shown = path.display();
        if partial.exists() && path.exists() {
            return Err(Error::refused(format!(
                "{shown} and {} are both there, and only one can be gone on with",
                partial.display()
            ))
            .hint("move one of them to another folder"));
        }
        let file = if partial.exists() { partial } else { path.to_owned() };
        if !file.exists() {
            return Err(Error::failed(format!("there is nothing to go on with for {shown}"))
                .hint("leave --resume out"));
        }
        if !map.exists() {
            let text = if file == path {
                format!("{shown} is complete: there is no map of what is missing")
            } else {
                format!("{} is missing, which says what was read", map.display())
            };
            return Err(Error::refused(text).hint("read it anew, to another name"));
        }
        Ok(Self { file, map: missing::read_map(&map)?, record: record_of(path)? })
    }
}

/// The record of a disc that is gone on with. What the user has said in it is
/// nowhere else, so that none is replaced that is not understood.
fn record_of(path: &Path) -> Result<Option<Record>> {
    let beside = record::path_of(path);
    if beside.symlink_metadata().is_err() {
        return Ok(None);
    }
    let shown = beside.display();
    let why = match Record::read(&beside) {
        Ok(Some(record)) if record.is_of(path) => return Ok(Some(record)),
        Ok(Some(record)) => format!("{shown} belongs to {}", record.file),
        Ok(None) => format!("{shown} is no record of a disc"),
        Err(error) => format!("{error}, and would be replaced"),
    };
    Err(Error::refused(why).hint("move it to another folder"))
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.is_named && !self.keeps {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Refuses a name that one of the files beside it has, too, or that says that
/// it is not whole.
pub(super) fn check_name(path: &Path, cue: Option<&Path>) -> Result<()> {
    let (record, map) = (record::path_of(path), record::map_of(path));
    // Some filesystems do not tell large letters from small ones.
    let folded = |it: &Path| it.as_os_str().to_ascii_lowercase();
    let beside = [Some(record.as_path()), Some(map.as_path()), cue];
    if let Some(taken) = beside.into_iter().flatten().find(|it| folded(it) == folded(path)) {
        return Err(Error::usage(format!(
            "{} is the name of a file that is written beside the disc",
            taken.display()
        ))
        .hint("give the disc another extension, such as .iso"));
    }
    if record::is_partial(path) {
        let text = format!("{} is the name of a disc that is not whole", path.display());
        return Err(Error::usage(text).hint("leave .partial out"));
    }
    Ok(())
}

fn refuse_source(path: &Path, source: &Path) -> Result<()> {
    let id = |it: &Path| it.metadata().map(|it| (it.dev(), it.ino())).ok();
    let source = id(source);
    for taken in [path.to_owned(), store::partial_path(path)] {
        if source.is_some() && id(&taken) == source {
            return Err(Error::refused(format!("{} is what is read", taken.display()))
                .hint("give another name for what is written"));
        }
    }
    Ok(())
}

/// Refuses a name that is taken.
pub(super) fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::refused(format!("{} exists already", path.display()))
        .hint("an archived disc is never overwritten: give another name, or delete it first"))
}
