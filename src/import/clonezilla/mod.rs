// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders that Clonezilla has made: the partition table, and an image of each
//! partition by one of several tools.
//!
//! The names are those of Clonezilla 5.3 (`ocs-functions`) and are looked up
//! here; what a file of a name holds is recognised by its content. What is
//! put together is the disk that Clonezilla would have restored: the table as
//! it was, the partitions, a new header for each swap space, and physical volumes
//! of LVM2 with their logical volumes in them.

mod files;
mod lvm;
mod swap;
mod table;

use std::path::{Path, PathBuf};

use super::assembly::{self, Assembly};
use super::old::Old;
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::Imported;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress, Silent};
use crate::units::SectorSize;
use crate::volume::Mapped;

use files::Files;
use lvm::{Groups, Member};
use table::{Geometry, Kind, Part};

use super::input::Input;

/// What to do with what is refused.
const RESTORE: &str = "restore it with Clonezilla, and save that disk with dacapo";

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
    groups: Groups,
    notes: Vec<String>,
}

/// What is known of a partition or a logical volume.
#[derive(Debug)]
struct Content {
    /// "sda1", or "vg0/root".
    name: String,
    place: Place,
    source: Source,
}

/// Where something is on the disk.
#[derive(Debug)]
enum Place {
    Part(Extent),
    /// A logical volume, which may lie on other disks, too.
    Pieces(Mapped<Option<Extent>>),
}

impl Place {
    const fn len(&self) -> u64 {
        match self {
            Self::Part(extent) => extent.len(),
            Self::Pieces(volume) => volume.bytes(),
        }
    }

    fn open<'a>(&'a self, assembly: &'a mut Assembly, is_whole: bool) -> assembly::Place<'a> {
        match self {
            Self::Part(extent) => assembly.place(*extent, is_whole),
            Self::Pieces(volume) => assembly.place_of_pieces(volume, is_whole),
        }
    }
}

#[derive(Debug)]
enum Source {
    /// An image of it, and what that is.
    Image(Input, Old),
    /// A swap space, of which only the names were kept.
    Swap(PathBuf),
    /// A physical volume of this group, which is made anew.
    Physical(String),
    /// Nothing, although it was saved: nobody here knows what belongs there.
    Lost,
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
        let physical = lvm::physical(&files)?;
        if physical.iter().any(|it| it.device == disk) {
            return Err(Error::unsupported(format!(
                "{disk} is a physical volume of LVM without a partition table, of which Clonezilla \
                 does not keep how large it is"
            ))
            .hint(RESTORE));
        }
        let geometry = Geometry::read(&files, &disk)?;
        let mut folder = Self {
            path: path.to_owned(),
            content: Vec::new(),
            groups: Groups::default(),
            notes: geometry.notes(&files)?,
            disk,
            geometry,
            files,
        };
        folder.check_parts()?;
        let saved = folder.files.words("parts")?;
        for part in folder.geometry.parts.clone() {
            let Part { name, extent, .. } = part;
            let source = match physical.iter().find(|it| it.device == name) {
                _ if part.kind == Kind::Extended => Source::None,
                Some(found) => folder.physical(&name, found, extent)?,
                None => folder.source(&name, &name, saved.contains(&name), cancel)?,
            };
            folder.content.push(Content { name, place: Place::Part(extent), source });
        }
        folder.add_logical(&physical, cancel)?;
        let is_empty = |content: &Content| matches!(content.source, Source::None | Source::Lost);
        if folder.content.iter().all(is_empty) {
            return Err(Error::damaged(format!(
                "{} has no image of any partition of {}",
                path.display(),
                folder.disk
            )));
        }
        Ok(folder)
    }

    /// What becomes of a partition that is a physical volume.
    fn physical(&mut self, name: &str, found: &lvm::Physical, extent: Extent) -> Result<Source> {
        Ok(match self.groups.add(&self.files, found, extent)? {
            Member::Of(group) => Source::Physical(group),
            Member::Unusable(why) => {
                self.notes.push(format!(
                    "{name} is a physical volume of LVM that cannot be made anew, and is empty in \
                     the image: {why}"
                ));
                Source::Lost
            }
        })
    }

    /// Finds the content of logical volumes.
    fn add_logical(&mut self, physical: &[lvm::Physical], cancel: &Cancel) -> Result<()> {
        let saved = lvm::saved(&self.files)?;
        let groups = std::mem::take(&mut self.groups);
        if let Some((name, group)) = groups.unknown(&saved, &self.files, physical) {
            return Err(Error::damaged(format!(
                "{}: {name} was saved, and is not in {}",
                self.path.display(),
                lvm::backup_name(group)
            ))
            .hint(
                "that file is of another save, or damaged; look for another copy of it, or of the \
                 folder",
            ));
        }
        let mut files = Vec::new();
        for group in &groups.0 {
            for (file, logical) in group.logical() {
                let name = group.shown(&logical);
                if files.contains(&file) {
                    return Err(Error::unsupported(format!(
                        "{}: two logical volumes have images by the name {file}, and whose there is \
                         is a guess",
                        self.path.display()
                    ))
                    .hint(RESTORE));
                }
                files.push(file.clone());
                let is_here = match &logical.place {
                    Ok(volume) => volume.areas().next().is_some(),
                    // Where it is, is not known.
                    Err(_) => group.is_here(),
                };
                if !is_here {
                    continue;
                }
                let source = self.source(&name, &file, saved.contains(&name), cancel)?;
                match logical.place {
                    Ok(volume) => {
                        if volume.is_elsewhere() {
                            self.notes.push(format!(
                                "{name}: what of it lies on this disk is in the image"
                            ));
                        }
                        self.content.push(Content { name, place: Place::Pieces(volume), source });
                    }
                    Err(why) => self
                        .notes
                        .push(format!("{name} cannot be put back, and is not in the image: {why}")),
                }
            }
        }
        self.groups = groups;
        Ok(())
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

    /// Where the content of a partition or logical volume comes from, whose files
    /// begin with `file`.
    fn source(
        &mut self,
        name: &str,
        file: &str,
        is_saved: bool,
        cancel: &Cancel,
    ) -> Result<Source> {
        if let Some(pieces) = self.files.image_of(file)? {
            let shown = pieces.first().map(|it| it.display().to_string()).unwrap_or_default();
            let input = Input::of_pieces(shown, pieces)?;
            let old = Old::read(&mut input.stream(cancel, &Silent)?)?;
            self.notes
                .extend(old.describe().notes.into_iter().map(|note| format!("{name}: {note}")));
            return Ok(Source::Image(input, old));
        }
        let info = format!("swappt-{file}.info");
        if let Some(path) = self.files.path(&info) {
            let kept = match swap::names(&files::text(&path)?) {
                (Some(_), _) => "the header is made anew, with the UUID it had".into(),
                (None, _) => format!(
                    "the header is made anew, without a UUID: {info} has none; what names the \
                     swap space by it does not find it"
                ),
            };
            self.notes.push(format!("{name}: of a swap space nothing is saved; {kept}"));
            return Ok(Source::Swap(path));
        }
        if is_saved {
            return Err(Error::damaged(format!(
                "{}: there is no image of {name}, although it was saved",
                self.path.display(),
            ))
            .hint("look for the rest of the folder"));
        }
        self.notes.push(format!("{name} was not saved, and is empty in the image"));
        Ok(Source::None)
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> Imported {
        let parts = self.content.iter().filter_map(|content| {
            let name = &content.name;
            match &content.source {
                Source::Image(input, old) => {
                    let about = old.describe();
                    let packed = input.compression().ok().and_then(|it| it.name());
                    let packed = packed.map(|it| format!(", {it}")).unwrap_or_default();
                    let version = about.version.map(|it| format!(" {it}")).unwrap_or_default();
                    Some(format!("{name}: {}{version}{packed}", about.format))
                }
                Source::Swap(_) => Some(format!("{name}: swap")),
                Source::Physical(group) => Some(format!("{name}: LVM2 group {group}")),
                Source::Lost | Source::None => None,
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
                let len = old.stored_len().unwrap_or(content.place.len());
                sum.checked_add(len.min(content.place.len()))
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
        for group in &self.groups.0 {
            group.write(&mut assembly)?;
        }
        for Content { name, place, source } in &self.content {
            progress.note(&Event::Position(name.clone()));
            match source {
                Source::Image(input, old) => {
                    let mut stream = input.stream(cancel, progress)?;
                    let again = Old::read(&mut stream)?;
                    let mut target = place.open(&mut assembly, again.is_whole());
                    let what = || format!("unpacking {name}");
                    let done = old.unpack(&mut stream, &mut target).context(what)?;
                    if *old == Old::Raw && done < place.len() {
                        return Err(Error::damaged(format!(
                            "{} ends after {done} of the {} bytes of {name}",
                            input.name(),
                            place.len(),
                        ))
                        .hint("no image was made; look for a whole copy, or its missing pieces"));
                    }
                }
                Source::Swap(path) => {
                    let (uuid, label) = swap::names(&files::text(path)?);
                    let header = swap::header(place.len(), uuid, label.as_deref());
                    place.open(&mut assembly, false).store(0, &header)?;
                }
                Source::Lost => {
                    if let Place::Part(extent) = place {
                        assembly.lost.insert(*extent);
                        assembly.whole.insert(*extent);
                    }
                }
                Source::Physical(_) | Source::None => {}
            }
            if let Place::Pieces(volume) = place {
                let areas: ExtentSet = volume.areas().collect();
                // Of a volume that goes on elsewhere nothing tells what is free.
                if volume.is_elsewhere() && !matches!(source, Source::None) {
                    assembly.whole = assembly.whole.union(&areas);
                }
                assembly.volumes.insert(name.clone(), areas);
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
    let shown = files.folder().display();
    for (name, what) in [
        ("luks-dev.list", "the insides of encrypted volumes (LUKS)"),
        ("ecryptfs.info", "an encrypted folder (eCryptfs)"),
        ("dmraid.table", "an array of the firmware (dmraid)"),
    ] {
        // The table is there for any device that is made of others, and has a
        // line for each array.
        if files.has_content(name) && !files.lines(name)?.is_empty() {
            return Err(Error::unsupported(format!("{shown} holds {what}, which is not taken"))
                .hint(RESTORE));
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
