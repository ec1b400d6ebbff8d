// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of the rescue system, and the archive that the kernel unpacks
//! them from.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cpio::newc;

/// Files, folders, links and devices by their paths, without the first slash.
/// In the order of the paths, so that the same files are the same archive.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
enum Node {
    Folder,
    File { executable: bool, bytes: Vec<u8> },
    Link(String),
    Device { major: u32, minor: u32 },
}

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTERS: u32 = 0o020_600;

impl Tree {
    /// A file.
    pub(super) fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.add(path, Node::File { executable: false, bytes: bytes.into() });
    }

    /// A file that can be run.
    pub(super) fn program(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.add(path, Node::File { executable: true, bytes: bytes.into() });
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, to: &str) {
        self.add(path, Node::Link(to.to_owned()));
    }

    /// An empty folder; those above a file are made with it.
    pub(super) fn folder(&mut self, path: &str) {
        self.add(path, Node::Folder);
    }

    /// A device of characters.
    pub(super) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.add(path, Node::Device { major, minor });
    }

    /// True if there is something at the path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let len = |node: &Node| match node {
            Node::File { bytes, .. } => bytes.len() as u64,
            _ => 0,
        };
        self.nodes.values().map(len).sum()
    }

    fn add(&mut self, path: &str, node: Node) {
        let mut above = path;
        while let Some((folder, _)) = above.rsplit_once('/') {
            self.nodes.entry(folder.to_owned()).or_insert(Node::Folder);
            above = folder;
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Writes the archive; all times in it are `date`, in seconds since 1970.
    ///
    /// # Errors
    /// If `out` cannot be written to, or a file is too large for the format.
    pub(super) fn write(&self, mut out: impl Write, date: u32) -> io::Result<()> {
        for (number, (path, node)) in (1..).zip(&self.nodes) {
            let entry = newc::Builder::new(path).ino(number).mtime(date);
            let (entry, content): (_, &[u8]) = match node {
                Node::Folder => (entry.mode(FOLDER).nlink(2), &[]),
                Node::File { executable, bytes } => {
                    (entry.mode(if *executable { PROGRAM } else { FILE }), bytes)
                }
                Node::Link(to) => (entry.mode(LINK), to.as_bytes()),
                Node::Device { major, minor } => {
                    (entry.mode(CHARACTERS).rdev_major(*major).rdev_minor(*minor), &[])
                }
            };
            let len = u32::try_from(content.len())
                .map_err(|_| io::Error::other(format!("{path} is too large")))?;
            let mut writer = entry.write(&mut out, len);
            writer.write_all(content)?;
            writer.finish()?;
        }
        newc::trailer(&mut out)?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.program("bin/x", *b"program");
        tree.file("etc/deep/er/file", *b"12345");
        tree.link("init", "bin/x");
        tree.device("dev/console", 5, 1);
        tree.folder("proc");
        tree
    }

    #[test]
    fn the_archive_has_what_was_put_in_and_the_folders_first() {
        let mut archive = Vec::new();
        tree().write(&mut archive, 7).unwrap();
        let mut rest = archive.as_slice();
        let mut found = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = Vec::new();
            io::Read::read_to_end(&mut reader, &mut content).unwrap();
            let entry = reader.entry();
            assert_eq!(entry.mtime(), 7);
            found.push(format!(
                "{:o} {} {}",
                entry.mode(),
                entry.name(),
                String::from_utf8(content).unwrap()
            ));
            rest = reader.finish().unwrap();
        }
        assert_eq!(
            found,
            [
                "40755 bin ",
                "100755 bin/x program",
                "40755 dev ",
                "20600 dev/console ",
                "40755 etc ",
                "40755 etc/deep ",
                "40755 etc/deep/er ",
                "100644 etc/deep/er/file 12345",
                "120777 init bin/x",
                "40755 proc ",
            ]
        );
    }

    #[test]
    fn the_same_files_are_the_same_archive() {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        tree().write(&mut first, 1).unwrap();
        tree().write(&mut second, 1).unwrap();
        assert_eq!(first, second);
        assert_eq!(tree().bytes(), 12);
        assert!(tree().has("etc/deep"));
    }
}
