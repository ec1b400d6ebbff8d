// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders that Clonezilla has made: the partition table, and an image of each
//! partition by one of several tools.
//!
//! The names are those of Clonezilla 5.3 (`ocs-functions`) and are looked up
//! here; what a file of a name holds is recognised by its content. What is
//! put together is the disk that Clonezilla would have restored: the table as
//! it was, the partitions, a new header for each swap space.

mod files;
mod swap;
mod table;

use std::path::{Path, PathBuf};

use super::assembly::Assembly;
use super::old::Old;
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::image::format::Imported;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress, Silent};
use crate::units::SectorSize;

use files::Files;
use table::{Geometry, Kind, Part};

use super::input::Input;

/// The most of a text file that is read.
const MAX_TEXT: u64 = 1 << 20;

/// A folder of Clonezilla, and the disk of it that is imported.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    disk: String,
    geometry: Geometry,
    files: Files,
    content: Vec<Content>,
    notes: Vec<String>,
}

/// What is known of a partition.
#[derive(Debug)]
struct Content {
    part: Part,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// An image of it, and what that is.
    Image(Input, Old),
    /// A swap space, of which only the names were kept.
    Swap(PathBuf),
    /// Nothing: it was not saved.
    None,
}

/// True if a folder looks like one of Clonezilla.
#[must_use]
pub fn is_folder(path: &Path) -> bool {
    let has = |name: &str| path.join(name).is_file();
    path.is_dir() && (has("disk") || has("parts"))
}

impl Folder {
    /// Looks at a folder; `disk` says which of its disks is meant.
    ///
    /// # Errors
    /// Unsupported, if there is something in it that is not taken; damaged, if
    /// something is missing; usage, if it is not clear which disk is meant.
    pub fn open(path: &Path, disk: Option<&str>, cancel: &Cancel) -> Result<Self> {
        let files = Files::read(path)?;
        refuse_unsupported(&files)?;
        let disk = choose_disk(&files, disk)?;
        let geometry = Geometry::read(&files, &disk)?;
        let mut folder = Self {
            path: path.to_owned(),
            content: Vec::new(),
            notes: Vec::new(),
            disk,
            geometry,
            files,
        };
        folder.check_parts()?;
        for part in folder.geometry.parts.clone() {
            let source = folder.source(&part, cancel)?;
            folder.content.push(Content { part, source });
        }
        if folder.content.iter().all(|content| matches!(content.source, Source::None)) {
            return Err(Error::damaged(format!(
                "{} has no image of any partition of {}",
                path.display(),
                folder.disk
            )));
        }
        Ok(folder)
    }

    /// Every partition of the disk that was saved has to be in its table.
    fn check_parts(&self) -> Result<()> {
        let is_of_disk = |name: &String| {
            let number = name.strip_prefix(&self.disk).map(|rest| rest.trim_start_matches('p'));
            number.is_some_and(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()))
        };
        let saved = self.files.words("parts").unwrap_or_default();
        let images = self.files.partitions_with_images();
        let is_known = |name: &String| self.geometry.parts.iter().any(|part| part.name == *name);
        let mut names = saved.into_iter().chain(images).filter(is_of_disk);
        let Some(name) = names.find(|name| !is_known(name)) else { return Ok(()) };
        Err(Error::damaged(format!(
            "{}: {name} was saved, and is not in the partition table in {}-pt.sf",
            self.path.display(),
            self.disk
        ))
        .hint("look for the rest of that file, or another copy of the folder"))
    }

    /// Where the content of a partition comes from.
    fn source(&mut self, part: &Part, cancel: &Cancel) -> Result<Source> {
        if part.kind == Kind::Extended {
            return Ok(Source::None);
        }
        if let Some(pieces) = self.files.image_of(&part.name)? {
            let shown = pieces.first().map(|it| it.display().to_string()).unwrap_or_default();
            let input = Input::of_pieces(shown, pieces)?;
            let old = Old::read(&mut input.stream(cancel, &Silent)?)?;
            self.notes.extend(
                old.describe().notes.into_iter().map(|note| format!("{}: {note}", part.name)),
            );
            return Ok(Source::Image(input, old));
        }
        let name = format!("swappt-{}.info", part.name);
        if let Some(path) = self.files.path(&name) {
            let kept = match swap::names(&files::text(&path)?) {
                (Some(_), _) => "the header is made anew, with the UUID it had".into(),
                (None, _) => format!(
                    "the header is made anew, without a UUID: {name} has none; what names the \
                     swap space by it does not find it"
                ),
            };
            self.notes.push(format!("{}: of a swap space nothing is saved; {kept}", part.name));
            return Ok(Source::Swap(path));
        }
        if self.files.words("parts")?.contains(&part.name) {
            return Err(Error::damaged(format!(
                "{}: there is no image of {}, although it was saved",
                self.path.display(),
                part.name
            ))
            .hint("look for the rest of the folder"));
        }
        self.notes.push(format!("{} was not saved, and is empty in the image", part.name));
        Ok(Source::None)
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> Imported {
        let parts = self.content.iter().filter_map(|content| {
            let name = &content.part.name;
            match &content.source {
                Source::Image(input, old) => {
                    let about = old.describe();
                    let packed = input.compression().ok().and_then(|it| it.name());
                    let packed = packed.map(|it| format!(", {it}")).unwrap_or_default();
                    let version = about.version.map(|it| format!(" {it}")).unwrap_or_default();
                    Some(format!("{name}: {}{version}{packed}", about.format))
                }
                Source::Swap(_) => Some(format!("{name}: swap")),
                Source::None => None,
            }
        });
        Imported {
            format: "Clonezilla folder".into(),
            content: Some(format!("disk {}, {}", self.disk, parts.collect::<Vec<_>>().join("; "))),
            notes: self.notes.clone(),
            ..Imported::default()
        }
    }

    /// The model of the disk, as parted gave it.
    #[must_use]
    pub fn model(&self) -> Option<String> {
        self.geometry.model.clone()
    }

    /// The length of the disk.
    #[must_use]
    pub const fn disk_len(&self) -> u64 {
        self.geometry.len
    }

    /// The length of all images.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.images().fold(0, |sum, (input, _)| sum.saturating_add(input.len()))
    }

    /// True if there is nothing to unpack.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most bytes that unpacking takes; `None` if nobody knows before.
    #[must_use]
    pub fn stored_len(&self) -> Option<u64> {
        self.content.iter().try_fold(0_u64, |sum, content| match &content.source {
            Source::Image(_, old) => {
                let len = old.stored_len().unwrap_or(content.part.extent.len());
                sum.checked_add(len.min(content.part.extent.len()))
            }
            _ => Some(sum),
        })
    }

    fn images(&self) -> impl Iterator<Item = (&Input, &Old)> {
        self.content.iter().filter_map(|content| match &content.source {
            Source::Image(input, old) => Some((input, old)),
            _ => None,
        })
    }

    /// Puts the disk together.
    ///
    /// # Errors
    /// Damaged, if something is wrong with an image; if there is no room.
    pub fn unpack(
        &self,
        folder: &Path,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Assembly> {
        let sector = SectorSize::new(self.geometry.sector).unwrap_or(SectorSize::B512);
        let mut assembly = Assembly::new(folder, self.geometry.len, sector)?;
        self.geometry.write(&self.files, &mut assembly)?;
        for content in &self.content {
            let Content { part, source } = content;
            progress.note(&Event::Position(part.name.clone()));
            match source {
                Source::Image(input, old) => {
                    let mut stream = input.stream(cancel, progress)?;
                    let again = Old::read(&mut stream)?;
                    let mut place = assembly.place(part.extent, again.is_whole());
                    let what = || format!("unpacking {}", part.name);
                    let done = old.unpack(&mut stream, &mut place).context(what)?;
                    if *old == Old::Raw && done < part.extent.len() {
                        return Err(Error::damaged(format!(
                            "{} ends after {done} of the {} bytes of {}",
                            input.name(),
                            part.extent.len(),
                            part.name
                        ))
                        .hint("no image was made; look for a whole copy, or its missing pieces"));
                    }
                }
                Source::Swap(path) => {
                    let (uuid, label) = swap::names(&files::text(path)?);
                    let header = swap::header(part.extent.len(), uuid, label.as_deref());
                    assembly.place(part.extent, false).store(0, &header)?;
                }
                Source::None => {}
            }
        }
        let extent = Extent::new(0, self.geometry.len);
        debug_assert!(extent.contains(&Extent::new(0, assembly.whole.end())));
        Ok(assembly)
    }
}

/// How many partitions there are by the texts of `-pt.parted` and `-pt.sf`, if
/// these make sense; for tests.
#[doc(hidden)]
#[must_use]
pub fn partitions_in(parted: &str, dump: &str) -> Option<usize> {
    let geometry = Geometry::parse("sda", parted, dump)?;
    geometry.check_records();
    Some(geometry.parts.len())
}

/// Refuses folders with something in them that would be lost.
fn refuse_unsupported(files: &Files) -> Result<()> {
    let restore = "restore it with Clonezilla, and save that disk with dacapo";
    let refuse = |what: String| Err(Error::unsupported(what).hint(restore));
    let shown = files.folder().display();
    if files.has_content("lvm_vg_dev.list") {
        let groups = files.lines("lvm_vg_dev.list")?;
        let volumes = files.lines("lvm_logv.list").unwrap_or_default();
        let first = |lines: Vec<String>, word: usize| -> String {
            let words = lines.iter().filter_map(|line| line.split_whitespace().nth(word));
            words.map(str::to_owned).collect::<Vec<_>>().join(", ")
        };
        return refuse(format!(
            "{shown} holds volumes of LVM, which are not taken: {} on {}",
            first(volumes, 0),
            first(groups, 1)
        ));
    }
    for (name, what) in [
        ("luks-dev.list", "the insides of encrypted volumes (LUKS)"),
        ("ecryptfs.info", "an encrypted folder (eCryptfs)"),
        ("dmraid.table", "an array of the firmware (dmraid)"),
    ] {
        if files.has_content(name) {
            return refuse(format!("{shown} holds {what}, which is not taken"));
        }
    }
    Ok(())
}

/// The disk that is imported.
fn choose_disk(files: &Files, wanted: Option<&str>) -> Result<String> {
    let mut disks = files.words("disk").unwrap_or_default();
    if disks.is_empty() {
        disks = files.disks_with_tables();
    }
    let all = disks.join(", ");
    match (wanted, disks.as_slice()) {
        (Some(wanted), disks) => {
            let name = wanted.trim_start_matches("/dev/");
            disks.iter().find(|disk| *disk == name).cloned().ok_or_else(|| {
                Error::usage(format!("there is no disk {name} in the folder"))
                    .hint(format!("its disks: {all}"))
            })
        }
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Error::damaged(format!(
            "{} has no partition table of any disk",
            files.folder().display()
        ))),
        (None, _) => Err(Error::usage(format!("the folder has several disks: {all}"))
            .hint("say which one with --disk, and import each to an image of its own")),
    }
}
