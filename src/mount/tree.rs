// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in a mounted folder.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::inodes::{Inodes, Place};
use super::listing::{Listing, Recent};
use super::names::Names;
use super::opened;
use crate::browse::{OpenDisk, OpenImage};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::fs::files::{Files, Node};
use crate::image::cached::Piece;
use crate::io::{ReadAt, Scratch, WriteAt};

/// How deep a path is followed to its start.
const MAX_PATH: usize = 4096;
/// For how many nodes it is kept which folder they are in.
const MAX_PARENTS: usize = 4 << 20;

/// The bytes of a disk or a volume, shown as a file.
pub struct ImageFile {
    /// Its name: `disk.img`, `2-Windows.img`.
    pub name: String,
    /// Its bytes.
    pub reader: Arc<dyn ReadAt>,
    /// Where it lies on the disk, if that is one piece.
    pub extent: Option<Extent>,
    /// The image that they are in one piece of, and where in it they begin.
    direct: Option<(Arc<OpenImage>, u64)>,
    /// What takes changes, if it may be changed.
    pub(super) writer: Option<Arc<dyn WriteAt>>,
    /// Which of them are not known to be zeros.
    data: OnceLock<ExtentSet>,
}

impl fmt::Debug for ImageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A volume whose files are shown as a folder in `files`.
pub struct Volume {
    /// The name of the folder.
    pub name: String,
    /// Its files.
    pub files: Arc<dyn Files>,
    /// Its times are those of a clock on some wall: they are shown as if that
    /// hung in the zone of this machine.
    pub has_local_times: bool,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is in a mounted folder: a file for the disk and each volume, and the
/// volumes' files.
#[derive(Debug)]
pub struct Tree {
    pub(super) images: Vec<ImageFile>,
    pub(super) volumes: Vec<Volume>,
    pub(super) inodes: Inodes,
    pub(super) recent: Recent,
    /// The time that what is ours shows.
    pub(super) time: SystemTime,
    /// Which folder a node was found in, to name it if it cannot be read.
    parents: Mutex<HashMap<u64, u64>>,
}

/// What a volume is shown as.
#[derive(Debug)]
pub struct Shown {
    /// The name of its file.
    pub image: String,
    /// How long it is in bytes.
    pub len: u64,
    /// What fills it: `NTFS`.
    pub content: Option<String>,
    /// The folder with its files, or why there is none.
    pub files: std::result::Result<String, String>,
    /// Why the files may not be as their system would show them.
    pub notice: Option<String>,
}

impl Tree {
    /// A disk and its volumes.
    pub fn of_disk(opened: &OpenDisk) -> (Self, Vec<Shown>) {
        let disk = &opened.reader;
        let time = opened::time_of(opened);
        let mut tree = Self { time, ..Self::of_parts(Vec::new(), Vec::new()) };
        let mut names = Names::default();
        let whole = Extent::new(0, disk.len());
        // No volume may have its name; one that is all of the disk is it.
        let disk_name = names.name("disk", None);
        tree.add_image(&disk_name, Arc::clone(disk), Some(whole));
        let mut shown = Vec::new();
        for volume in opened.volumes() {
            let is_disk = volume.extent == Some(whole) && volume.name == "disk";
            let name = match is_disk {
                true => disk_name.clone(),
                false => names.name(&volume.name, volume.any_label()),
            };
            if !is_disk {
                tree.add_image(&name, Arc::clone(&volume.reader), volume.extent);
            }
            let files = match volume.files() {
                Ok(files) => {
                    let has_local_times = volume.has_local_times();
                    tree.volumes.push(Volume { name: name.clone(), files, has_local_times });
                    Ok(format!("files/{name}"))
                }
                Err(error) => Err(error.to_string()),
            };
            shown.push(Shown {
                image: format!("{name}.img"),
                len: volume.reader.len(),
                content: volume.identity.as_ref().map(|identity| identity.name.to_string()),
                files,
                notice: volume.notice(),
            });
        }
        if let Some(image) = &opened.image {
            for file in &mut tree.images {
                file.direct = file.extent.map(|extent| (Arc::clone(image), extent.start()));
            }
        }
        (tree, shown)
    }

    /// Images and volumes as they are.
    #[must_use]
    pub fn of_parts(images: Vec<(String, Arc<dyn ReadAt>)>, volumes: Vec<Volume>) -> Self {
        let mut tree = Self {
            images: Vec::new(),
            volumes,
            inodes: Inodes::default(),
            recent: Recent::default(),
            time: UNIX_EPOCH,
            parents: Mutex::default(),
        };
        for (name, reader) in images {
            tree.add_image(&name, reader, None);
        }
        tree
    }

    fn add_image(&mut self, name: &str, reader: Arc<dyn ReadAt>, extent: Option<Extent>) {
        let name = format!("{name}.img");
        self.images.push(ImageFile {
            name,
            reader,
            extent,
            direct: None,
            writer: None,
            data: OnceLock::new(),
        });
    }

    /// Lets the images be written to. What is written goes to files in
    /// `folder` that have no names and are gone with this program. Each image
    /// has its own: what is written to one is not seen in another.
    ///
    /// # Errors
    /// If no such files can be made there.
    pub fn make_writable(&mut self, folder: &Path) -> Result<()> {
        for image in &mut self.images {
            let scratch = Arc::new(Scratch::new(Arc::clone(&image.reader), folder)?);
            image.reader = Arc::clone(&scratch) as Arc<dyn ReadAt>;
            image.direct = None;
            image.writer = Some(scratch);
        }
        Ok(())
    }

    /// How many bytes the disk has.
    pub(super) fn len(&self) -> u64 {
        self.images.first().map_or(0, |disk| disk.reader.len())
    }

    /// The ranges of an image that are not known to be zeros; `None` for one
    /// that is written to.
    pub(super) fn data<'a>(&self, image: &'a ImageFile) -> Option<&'a ExtentSet> {
        if image.writer.is_some() {
            return None;
        }
        Some(image.data.get_or_init(|| {
            let disk = self.images.first().map(|disk| &disk.reader);
            let (Some(extent), Some(disk)) = (image.extent, disk) else {
                return image.reader.known_zeros().complement(image.reader.len());
            };
            let data = disk.known_zeros();
            let data = data.holes_within(extent);
            data.map(|it| Extent::new(it.start() - extent.start(), it.end() - extent.start()))
                .collect()
        }))
    }

    /// These bytes of an image as they are kept decoded, without copying them;
    /// `None` if they are not all in one place or cannot be read.
    pub(super) fn piece(&self, image: &ImageFile, offset: u64, len: usize) -> Option<Piece> {
        let (source, start) = image.direct.as_ref()?;
        let len = u64::try_from(len).ok()?;
        if len == 0 || offset.checked_add(len)? > image.reader.len() {
            return None;
        }
        let piece = source.piece(Extent::at(start.checked_add(offset)?, len)).ok()?;
        (piece.len() == len).then_some(piece)
    }

    /// The names of a folder of a volume.
    pub(super) fn listing(&self, number: u64, volume: &Volume, folder: Node) -> Arc<Listing> {
        if let Some(listing) = self.recent.get(number) {
            return listing;
        }
        let listing = Arc::new(Listing::read(&*volume.files, folder));
        self.recent.keep(number, Arc::clone(&listing));
        listing
    }

    /// Notes which folder a node was found in.
    pub(super) fn note_parent(&self, number: u64, parent: u64) {
        let mut parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        if parents.len() < MAX_PARENTS {
            parents.insert(number, parent);
        }
    }

    /// The folder that a node was found in.
    pub(super) fn parent(&self, number: u64) -> Option<u64> {
        self.parents.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied()
    }

    /// The kernel has forgotten a node.
    pub(super) fn forget(&self, number: u64) {
        self.parents.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// The path of something in the mounted folder, for people. Of a file with
    /// several names it is one of them.
    pub(super) fn path(&self, number: u64) -> String {
        let mut parts = Vec::new();
        let mut number = number;
        for _ in 0..MAX_PATH {
            let Some(Place::Node(index, node)) = self.inodes.place(number) else { break };
            let Some(volume) = self.volumes.get(index) else { break };
            if node == volume.files.root() {
                parts.push(volume.name.clone());
                break;
            }
            let named = self.parent(number).and_then(|parent| {
                let Some(Place::Node(_, folder)) = self.inodes.place(parent) else { return None };
                let name = name_in(&*volume.files, folder, node)?;
                Some((name, parent))
            });
            let Some((name, parent)) = named else {
                parts.push(format!("(number {} of {})", node.number, volume.name));
                break;
            };
            parts.push(name);
            number = parent;
        }
        match self.inodes.place(number) {
            Some(Place::Image(index)) => {
                self.images.get(index).map_or_else(String::new, |image| image.name.clone())
            }
            Some(Place::Root) => ".".into(),
            Some(Place::Files) => "files".into(),
            Some(Place::Node(..)) | None => {
                parts.push("files".into());
                parts.reverse();
                parts.join("/")
            }
        }
    }
}

/// The name that a folder has for a node.
fn name_in(files: &dyn Files, folder: Node, node: Node) -> Option<String> {
    let mut found = None;
    let listed = files.list(folder, &mut |entry| match entry {
        Ok(entry) if entry.node == node => {
            found = Some(String::from_utf8_lossy(&entry.name).into_owned());
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    // Where the folder cannot be read to its end, the name may be known.
    drop(listed);
    found
}

/// A file that ends before its size: an error, for the kernel would put zeros
/// there.
pub(super) fn ended_early(wanted: usize, offset: u64, got: usize) -> Error {
    Error::damaged(format!("of {wanted} bytes at {offset:#x} only {got} are there"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DiskIdentity;
    use crate::error::ErrorKind;
    use crate::image::Reader;
    use crate::io::Memory;
    use crate::pipeline::Cancel;
    use crate::progress::Silent;
    use crate::save::{self, Options, Plan};

    /// The pieces of an image come from it without a copy; what was lost when it
    /// was made comes in no way at all.
    #[test]
    fn what_an_image_has_lost_is_not_passed_by() {
        let lost = Extent::new(8192, 12288);
        let disk = Memory::new(vec![7; 1 << 20]).unreadable(lost);
        let plan = Plan::new(&disk, DiskIdentity::default(), &Options::default()).unwrap();
        let writer = save::start(&plan, Vec::new()).unwrap();
        let image = save::run(&plan, &disk, writer, false, &Cancel::default(), &Silent).unwrap().0;
        let reader = Reader::open(Box::new(Memory::new(image)) as Box<dyn ReadAt>).unwrap();
        let opened = OpenDisk::of_image("disk".into(), reader);
        let (tree, _) = Tree::of_disk(&opened);
        let [image] = &tree.images[..] else { panic!("{:?}", tree.images) };
        for offset in (0..1 << 20).step_by(4096) {
            let (piece, mut read) = (tree.piece(image, offset, 4096), [0; 4096]);
            let result = image.reader.read_at(offset, &mut read);
            if lost.contains(&Extent::at(offset, 4096)) {
                assert!(piece.is_none(), "{offset:#x}");
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Losses);
            } else {
                result.unwrap();
                let Some(Piece::Bytes(bytes)) = piece else { panic!("{offset:#x}") };
                assert!(bytes.as_ref() == read && read == [7; 4096], "{offset:#x}");
            }
        }
        assert!(tree.piece(image, 4096, 65536).is_none(), "with a loss in its middle");
        assert!(tree.data(image).unwrap().covers(lost), "it is called a hole");
    }
}
