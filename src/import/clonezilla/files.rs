// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a folder, by their names.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::input::{is_first_ending, pieces_of};
use super::MAX_TEXT;
use crate::error::{Context, Error, Result};

/// The names in a folder.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    names: BTreeSet<String>,
}

/// A small text file.
pub(super) fn text(path: &Path) -> Result<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .context(|| format!("opening {shown}"))?
        .take(MAX_TEXT)
        .read_to_end(&mut bytes)
        .context(|| format!("reading {shown}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Files {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let what = || format!("listing {}", folder.display());
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(folder).context(what)? {
            if let Ok(name) = entry.context(what)?.file_name().into_string() {
                names.insert(name);
            }
        }
        Ok(Self { folder: folder.to_owned(), names })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a file, if there is one of that name.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.names.contains(name).then(|| self.folder.join(name))
    }

    /// True if there is such a file and it is not empty.
    pub(super) fn has_content(&self, name: &str) -> bool {
        let path = self.path(name);
        path.and_then(|path| std::fs::metadata(path).ok()).is_some_and(|found| found.len() > 0)
    }

    /// The text of a file.
    pub(super) fn text(&self, name: &str) -> Result<String> {
        let path = self.path(name).ok_or_else(|| {
            Error::damaged(format!("{} is missing in {}", name, self.folder.display()))
                .hint("look for the rest of the folder")
        })?;
        text(&path)
    }

    /// The lines of a file that say something.
    pub(super) fn lines(&self, name: &str) -> Result<Vec<String>> {
        let text = self.text(name)?;
        let lines = text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#'));
        Ok(lines.map(str::to_owned).collect())
    }

    /// The words of a file, without `/dev/`.
    pub(super) fn words(&self, name: &str) -> Result<Vec<String>> {
        let text = self.text(name)?;
        let words = text.split_whitespace().map(|word| word.trim_start_matches("/dev/"));
        Ok(words.map(|word| word.replace('/', "-")).collect())
    }

    /// The disks of which there is a partition table.
    pub(super) fn disks_with_tables(&self) -> Vec<String> {
        self.names.iter().filter_map(|name| Some(name.strip_suffix("-pt.sf")?.to_owned())).collect()
    }

    /// What has an image, by the names of the files.
    pub(super) fn partitions_with_images(&self) -> Vec<String> {
        let part = |name: &String| {
            let (part, rest) = name.split_once('.')?;
            is_image(rest).then(|| part.to_owned())
        };
        self.names.iter().filter_map(part).collect()
    }

    /// The files of the image of a partition, in order.
    pub(super) fn image_of(&self, part: &str) -> Result<Option<Vec<PathBuf>>> {
        let start = format!("{part}.");
        let firsts: Vec<&String> = self
            .names
            .range(start.clone()..)
            .take_while(|name| name.starts_with(&start))
            .filter(|name| is_image(name.get(start.len()..).unwrap_or_default()))
            .collect();
        let Some((first, others)) = firsts.split_first() else { return Ok(None) };
        let pieces = pieces_of(first, |name| self.names.contains(name))
            .context(|| format!("looking into {}", self.folder.display()))?;
        // The 182nd piece of `sda1.ext4-ptcl-img.xz` ends with `.gz`.
        if let Some(second) = others.iter().find(|other| !pieces.contains(other)) {
            return Err(Error::damaged(format!(
                "{} has two images of {part}: {first} and {second}",
                self.folder.display()
            ))
            .hint("move the one that is not wanted out of the folder"));
        }
        Ok(Some(pieces.iter().map(|name| self.folder.join(name)).collect()))
    }
}

/// True if `rest`, what is behind `sda1.` in a name, is that of an image or of
/// the first piece of one: `ext4-ptcl-img.gz.aa`, `ntfs-img`, `dd-img.aa`,
/// `000`.
fn is_image(rest: &str) -> bool {
    if rest == "000" {
        return true;
    }
    let Some((kind, ending)) = rest.split_once("-img") else { return false };
    if kind.contains('.') || ending.ends_with(".info") || ending.ends_with(".info.gz") {
        return false;
    }
    // Later pieces are found from the first.
    let last = ending.rsplit('.').next().unwrap_or_default();
    let is_later = (2..=4).contains(&last.len())
        && last.bytes().all(|b| b.is_ascii_lowercase())
        && !is_first_ending(last)
        && !["gz", "bz2", "xz", "zst", "lz4", "lz", "lzo", "lzma", "lzip", "lrz"].contains(&last);
    !is_later
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_from_what_stands_beside_them() {
        for image in [
            "ext4-ptcl-img.gz.aa",
            "ext4-ptcl-img.gz",
            "ntfs-img.aaa",
            "dd-img.aa",
            "dd-img",
            "vfat-ptcl-img.zst",
            "000",
            "ntfs-ptcl-img.uncomp",
        ] {
            assert!(is_image(image), "{image}");
        }
        for other in [
            "ext4-ptcl-img.gz.ab",
            "dd-img.info",
            "001",
            "info",
            "files-md5sum.info.gz",
            "ntfs-img.aab",
        ] {
            assert!(!is_image(other), "{other}");
        }
    }
}
