// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file that is written: under another name until it is whole.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::store;

/// A file that is being written; gone if it does not get its name.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    partial: PathBuf,
    overwrite: bool,
    is_named: bool,
}

impl Destination {
    /// Makes the file that will be called `path`; `source` is what is read.
    ///
    /// # Errors
    /// Refused if it is there and may not be replaced, is the source, or is no
    /// file.
    pub fn create(path: &Path, source: &Path, overwrite: bool) -> Result<Self> {
        refuse(path, source, overwrite)?;
        let mut partial = OsString::from(path);
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        match File::options().read(true).write(true).create_new(true).open(&partial) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::refused(format!("{} exists already", partial.display())).hint(
                    "if no other export is writing it, it is left of one that was killed: \
                     delete it",
                ));
            }
            Err(error) => return Err(Error::io(format!("making {}", partial.display()), error)),
        }
        Ok(Self { path: path.to_owned(), partial, overwrite, is_named: false })
    }

    /// The name while it is not whole.
    #[must_use]
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Brings it to the medium and gives it its name.
    ///
    /// # Errors
    /// If it cannot be flushed or renamed; refused if the name was taken
    /// meanwhile.
    pub fn commit(mut self) -> Result<()> {
        let name = self.partial.display();
        File::open(&self.partial)
            .and_then(|file| file.sync_all())
            .context(|| format!("flushing {name}"))?;
        if self.overwrite {
            let what = || format!("renaming {name} to {}", self.path.display());
            std::fs::rename(&self.partial, &self.path).context(what)?;
        } else {
            store::rename_new(&self.partial, &self.path)?;
        }
        self.is_named = true;
        store::flush_folder(&self.path)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if !self.is_named {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

fn refuse(path: &Path, source: &Path, overwrite: bool) -> Result<()> {
    let shown = path.display();
    let Ok(found) = path.symlink_metadata() else {
        // A mistyped device must not become a file in memory.
        if path.parent() == Some(Path::new("/dev")) {
            return Err(Error::refused(format!(
                "{shown} does not exist, and is no place for files"
            ))
            .hint("give the name of a file on another disk"));
        }
        return Ok(());
    };
    let (target, read) = (path.metadata().ok(), source.metadata().ok());
    if let (Some(target), Some(read)) = (&target, &read)
        && (target.dev(), target.ino()) == (read.dev(), read.ino())
    {
        return Err(
            Error::refused(format!("{shown} is the image itself")).hint("choose another name")
        );
    }
    if target.is_some_and(|target| !target.is_file()) {
        return Err(Error::refused(format!("{shown} is no file"))
            .hint("to write an image to a disk, use dacapo restore"));
    }
    if !overwrite {
        return Err(Error::refused(format!("{shown} exists already"))
            .hint("choose another name, or replace it with --overwrite"));
    }
    if found.is_symlink() {
        return Err(Error::refused(format!("{shown} is a link"))
            .hint("give the name of the file that it leads to"));
    }
    Ok(())
}
