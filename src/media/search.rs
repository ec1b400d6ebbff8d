// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking through the folders of a filesystem for images: the nearest to its
//! root first, no deeper than people put them, never for ever, and with memory
//! to spare on a small machine, whatever the files say of themselves.

use std::collections::VecDeque;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::device::{DiskIdentity, Source};
use crate::error::{Context, Result};
use crate::image::format::{Head, is_image_start};
use crate::image::{reader, rescan};
use crate::layout::Layout;

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Folders within folders.
    pub(super) depth: u32,
    /// Names looked at.
    pub(super) names: u32,
    /// Images found.
    pub(super) images: usize,
    /// Bytes of what is kept of what they say of themselves, as JSON.
    pub(super) facts: usize,
    /// Time for one filesystem.
    pub(super) time: Duration,
}

impl Limits {
    pub(super) const USUAL: Self = Self {
        depth: 4,
        names: 50_000,
        images: 500,
        facts: 8 << 20,
        time: Duration::from_secs(20),
    };
}

/// Of heads larger than this, one is read at a time: drives are searched at the
/// same time, and a head may take hundreds of MiB.
const LARGE_HEAD: u64 = 8 << 20;

/// Folders that hold a system, its programs, or what was thrown away; in
/// lower case. Whole systems are on internal disks, and have many files.
const SKIPPED: [&str; 24] = [
    "$recycle.bin",
    "system volume information",
    "$windows.~bt",
    "$windows.~ws",
    "$winreagent",
    "windows",
    "windows.old",
    "program files",
    "program files (x86)",
    "programdata",
    "recovery",
    "perflogs",
    "appdata",
    "lost+found",
    "proc",
    "sys",
    "dev",
    "usr",
    "lib",
    "lib64",
    "bin",
    "sbin",
    "etc",
    "node_modules",
];

/// What the head of an image says.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The identity of the image.
    pub image_id: Uuid,
    /// The label that the user gave.
    pub label: Option<String>,
    /// The note that the user gave.
    pub note: Option<String>,
    /// When it was saved, with the time zone.
    pub created: String,
    /// The name of the machine.
    pub machine: Option<String>,
    /// The disk that was saved.
    pub disk: DiskIdentity,
    /// The size of the disk in bytes.
    pub disk_len: u64,
    /// How many of its bytes are stored.
    pub used: u64,
    /// What was on the disk.
    pub layout: Layout,
}

impl Facts {
    /// Those of a head.
    #[must_use]
    pub fn of(head: &Head) -> Self {
        let about = &head.about;
        Self {
            image_id: head.image_id,
            label: about.label.clone(),
            note: about.note.clone(),
            created: about.created.clone(),
            machine: about.host.clone(),
            disk: about.disk.clone(),
            disk_len: head.disk_len,
            used: head.used.bytes(),
            layout: about.layout.clone(),
        }
    }

    /// About how many bytes it takes.
    fn weight(&self) -> usize {
        let texts = [&self.label, &self.note, &self.machine];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let layout = serde_json::to_string(&self.layout).map_or(0, |text| text.len());
        texts.saturating_add(layout).saturating_add(size_of::<Self>())
    }

    /// What a person calls it: the label, else the model of its disk.
    #[must_use]
    pub fn title(&self) -> &str {
        self.label.as_deref().or(self.disk.model.as_deref()).unwrap_or("a disk without a name")
    }
}

/// A file that is an image, or says that it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    /// The path below the folder that was searched.
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) facts: Option<Facts>,
    pub(super) error: Option<String>,
}

/// The images in a folder and the folders in it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) images: Vec<Candidate>,
    /// What was left out, if something was.
    pub(super) cut_short: Option<&'static str>,
}

/// Looks through a folder.
pub(super) fn search(root: &Path, limits: Limits) -> Found {
    let started = Instant::now();
    let mut found = Found::default();
    let mut waiting = VecDeque::from([(PathBuf::new(), 0)]);
    let (mut names, mut facts) = (0, 0);
    // In the order of their depth: images are near the root.
    while let Some((folder, depth)) = waiting.pop_front() {
        let Ok(entries) = fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries.flatten() {
            names += 1;
            if names > limits.names {
                found.cut_short = Some("it has too many files");
            } else if found.images.len() >= limits.images {
                found.cut_short = Some("it has too many images");
            } else if started.elapsed() > limits.time {
                found.cut_short = Some("it takes too long");
            }
            if found.cut_short.is_some() {
                return sorted(found);
            }
            let (name, path) = (entry.file_name(), folder.join(entry.file_name()));
            let name = name.to_string_lossy().to_lowercase();
            // The type of the entry itself: links are not followed, which
            // would lead in circles or away from here.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < limits.depth && !is_skipped(&name) {
                waiting.push_back((path, depth + 1));
            } else if kind.is_file() && name.ends_with(".zst") {
                let Some(image) = look_at(root, path, name.ends_with(".img.zst")) else { continue };
                facts += image.facts.as_ref().map_or(0, Facts::weight);
                if facts > limits.facts {
                    found.cut_short = Some("its images say too much of themselves");
                    return sorted(found);
                }
                found.images.push(image);
            }
        }
    }
    sorted(found)
}

fn sorted(mut found: Found) -> Found {
    found.images.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn is_skipped(name: &str) -> bool {
    name.starts_with('.') || SKIPPED.contains(&name)
}

/// The image at a path; none if the file neither is called one nor begins as
/// one.
fn look_at(root: &Path, path: PathBuf, is_called_one: bool) -> Option<Candidate> {
    let whole = root.join(&path);
    let size = fs::metadata(&whole).map_or(0, |file| file.len());
    if !is_called_one && !begins_as_image(&whole) {
        return None;
    }
    let (facts, error) = match read_head(&whole) {
        Ok((head, end)) => (Some(Facts::of(&head)), end.err()),
        Err(error) => (None, Some(error)),
    };
    Some(Candidate { path, size, facts, error: error.map(|error| error.to_string()) })
}

fn begins_as_image(path: &Path) -> bool {
    let mut start = [0; 16];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && is_image_start(&start)
}

/// The head of an image, and whether the image has an end as well.
pub(super) fn read_head(path: &Path) -> Result<(Head, Result<()>)> {
    static LARGE: Mutex<()> = Mutex::new(());
    let file = Source::open(path)?;
    let is_large = rescan::head_len(&file).context(|| "reading its head".into())? > LARGE_HEAD;
    let _alone = is_large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    let (head, ..) = rescan::read_head(&file).context(|| "reading its head".into())?;
    let end = reader::check_end(&file, &head);
    Ok((head, end))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::media::tests::image;

    fn put(root: &Path, path: &str, bytes: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn paths(found: &Found) -> Vec<&str> {
        found.images.iter().map(|image| image.path.to_str().unwrap()).collect()
    }

    #[test]
    fn images_are_found_where_people_put_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let image = image();
        for path in [
            "a.img.zst",
            "B.IMG.ZST",
            "backup.zst",
            "1/2/3/4/deep.img.zst",
            "1/2/3/4/5/too-deep.img.zst",
            "Windows/x.img.zst",
            ".hidden/x.img.zst",
            "$RECYCLE.BIN/x.img.zst",
            "half.img.zst.partial",
            "named.raw",
        ] {
            put(root, path, &image);
        }
        put(root, "other.zst", b"\x28\xb5\x2f\xfd....................");
        put(root, "short.zst", b"x");
        symlink("..", root.join("1/up")).unwrap();
        symlink("a.img.zst", root.join("link.img.zst")).unwrap();
        let found = search(root, Limits::USUAL);
        assert_eq!(paths(&found), ["1/2/3/4/deep.img.zst", "B.IMG.ZST", "a.img.zst", "backup.zst"]);
        assert_eq!(found.cut_short, None);
        for image in &found.images {
            assert_eq!(image.error, None);
            assert!(image.facts.as_ref().unwrap().disk_len > 0);
            assert_eq!(image.facts.as_ref().unwrap().title(), "Studio");
        }
    }

    #[test]
    fn a_broken_image_is_shown_with_its_error() {
        let folder = tempfile::tempdir().unwrap();
        let image = image();
        put(folder.path(), "a-cut.img.zst", &image[..image.len() - 100]);
        put(folder.path(), "b-empty.img.zst", b"");
        let mut flipped = image.clone();
        flipped[40] ^= 1;
        put(folder.path(), "c-head.zst", &flipped);
        let found = search(folder.path(), Limits::USUAL);
        assert_eq!(paths(&found), ["a-cut.img.zst", "b-empty.img.zst", "c-head.zst"]);
        let [cut, empty, head] = &found.images[..] else { panic!() };
        assert!(cut.facts.is_some());
        assert!(cut.error.as_ref().unwrap().contains("end"), "{cut:?}");
        assert!(empty.facts.is_none() && empty.error.is_some());
        assert!(head.facts.is_none());
        assert!(head.error.as_ref().unwrap().contains("head is damaged"), "{head:?}");
    }

    #[test]
    fn a_search_ends() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..20 {
            put(folder.path(), &format!("{number}.img.zst"), b"");
        }
        let few_names = search(folder.path(), Limits { names: 10, ..Limits::USUAL });
        assert_eq!(few_names.images.len(), 10);
        assert_eq!(few_names.cut_short, Some("it has too many files"));
        let few_images = search(folder.path(), Limits { images: 5, ..Limits::USUAL });
        assert_eq!(few_images.images.len(), 5);
        put(folder.path(), "a/1.img.zst", &image());
        put(folder.path(), "a/2.img.zst", &image());
        let one = search(folder.path(), Limits::USUAL).images;
        let one = one.iter().find_map(|image| image.facts.as_ref()).unwrap().weight();
        let few_facts = search(folder.path(), Limits { facts: one, ..Limits::USUAL });
        assert_eq!(few_facts.images.iter().filter(|it| it.facts.is_some()).count(), 1);
        assert_eq!(few_facts.cut_short, Some("its images say too much of themselves"));
        let no_time = search(folder.path(), Limits { time: Duration::ZERO, ..Limits::USUAL });
        assert_eq!(no_time.cut_short, Some("it takes too long"));
    }
}
