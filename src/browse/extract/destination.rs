// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where what is extracted goes, by the rules of cp: into a folder that is
//! there, or under a new name. The content of a whole volume goes into the
//! folder itself.

use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::super::names::shown;
use super::super::path::Place;
use super::folder::Folder;
use crate::error::{Context, Error, Result};
use crate::fs::files::NodeKind;

/// Where what is extracted goes.
#[derive(Debug)]
pub struct Destination {
    folder: PathBuf,
    is_new: bool,
    /// Nothing of the user's is in it.
    is_empty: bool,
    /// The name of each source there; `None` for one whose content goes into
    /// the folder itself.
    names: Vec<Option<Vec<u8>>>,
}

impl Destination {
    /// Puts `sources` to `path`, and checks that nothing is in the way.
    ///
    /// # Errors
    /// Usage if they cannot go there; refused if something is there already and
    /// is not to be overwritten.
    pub fn plan(path: &Path, sources: &[Place], overwrite: bool) -> Result<Self> {
        let shown_path = path.display();
        let found = match std::fs::metadata(path) {
            Ok(found) => Some(found.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(format!("looking at {shown_path}"), error)),
        };
        let ends_in_slash = path.as_os_str().as_bytes().ends_with(b"/");
        let own_names = || {
            sources
                .iter()
                .map(|source| Some(source.name().to_vec()).filter(|name| !name.is_empty()))
                .collect()
        };
        let one = match sources {
            [source] => Some(source),
            _ => None,
        };
        let mut plan = match (found, one) {
            (Some(true), _) => {
                Self { folder: path.to_owned(), is_new: false, is_empty: false, names: own_names() }
            }
            (Some(false), Some(source)) if source.kind != NodeKind::Folder => Self::renamed(path)?,
            (Some(false), _) => {
                return Err(Error::usage(format!("{shown_path} is no folder")));
            }
            (None, Some(source)) if !ends_in_slash && source.path != b"/" => Self::renamed(path)?,
            (None, _) => {
                Self { folder: path.to_owned(), is_new: true, is_empty: true, names: own_names() }
            }
        };
        plan.check(overwrite)?;
        // Otherwise it was refused just now.
        plan.is_empty |= !overwrite && plan.names.contains(&None);
        Ok(plan)
    }

    /// Under the last part of `path`, in the folder in front of it.
    fn renamed(path: &Path) -> Result<Self> {
        let wrong = || Error::usage(format!("{} can be no name", path.display()));
        let name = path.file_name().ok_or_else(wrong)?.as_bytes().to_vec();
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if !folder.is_dir() {
            return Err(Error::usage(format!("there is no folder {}", folder.display())));
        }
        Ok(Self { folder, is_new: false, is_empty: false, names: vec![Some(name)] })
    }

    fn check(&self, overwrite: bool) -> Result<()> {
        let mut seen = HashSet::new();
        for name in &self.names {
            if !seen.insert(name) {
                let name = name.as_deref().map_or("/".into(), shown);
                return Err(Error::usage(format!(
                    "two of what is to be extracted are named {name}"
                ))
                .hint("extract them one after the other, to different folders"));
            }
        }
        if self.is_new || overwrite {
            return Ok(());
        }
        let refused =
            |what: String| Err(Error::refused(what).hint("choose another place, or --overwrite"));
        let shown_folder = self.folder.display();
        for name in &self.names {
            let Some(name) = name else {
                let mut inside = std::fs::read_dir(&self.folder)
                    .context(|| format!("looking into {shown_folder}"))?;
                if inside.next().is_some() {
                    return refused(format!("{shown_folder} is not empty"));
                }
                continue;
            };
            let path = self.folder.join(std::ffi::OsStr::from_bytes(name));
            if path.symlink_metadata().is_ok() {
                return refused(format!("{} is there already", shown(path.as_os_str().as_bytes())));
            }
        }
        Ok(())
    }

    /// The names of the sources there.
    pub(super) fn names(&self) -> &[Option<Vec<u8>>] {
        &self.names
    }

    /// True if the folder is made for what goes into it.
    pub(super) const fn is_new(&self) -> bool {
        self.is_new
    }

    /// True if the folder is made for the content of one volume, whose root it
    /// then is.
    pub(super) fn is_a_root(&self) -> bool {
        self.is_new && self.names == [None]
    }

    /// The folder, as the user named it.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Opens the folder, and makes it if it is new: nobody else enters it before
    /// it is complete and has its own permissions.
    pub(super) fn open(&self) -> Result<Folder> {
        let shown = self.folder.display();
        if self.is_new {
            let made = std::fs::DirBuilder::new().mode(0o700).create(&self.folder);
            made.context(|| format!("making {shown}"))?;
        }
        let mut folder = Folder::open(&self.folder).context(|| format!("opening {shown}"))?;
        folder.is_new = self.is_empty;
        Ok(folder)
    }
}
