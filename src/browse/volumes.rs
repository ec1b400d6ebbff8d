// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volumes of a disk, each of which can be read by itself.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::names::shown;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::fs::member::Member;
use crate::fs::{self, FILESYSTEMS, Files, Filesystem, Identity};
use crate::io::{Memory, ReadAt, Window};
use crate::table::{PartitionTable, TABLES};
use crate::volume::{Answer, Content, VOLUMES};

/// How deep volumes inside volumes are looked into, as the layout does.
const MAX_DEPTH: u32 = 4;
/// How many volumes are opened.
const MAX_VOLUMES: usize = 4096;

/// Says where bytes of a volume lie on the disk.
type OnDisk = Arc<dyn Fn(&ExtentSet) -> ExtentSet + Send + Sync>;

/// A reader of a part of the disk, and where that is.
#[derive(Clone)]
struct Part {
    reader: Arc<dyn ReadAt>,
    on_disk: OnDisk,
}

/// The readers of some parts.
fn readers_of(parts: &[Part]) -> Vec<Arc<dyn ReadAt>> {
    parts.iter().map(|part| Arc::clone(&part.reader)).collect()
}

/// A volume of a disk.
pub struct OpenVolume {
    /// How it is named on the command line: "2", "vg0/root", "vg0/disk/1"; "disk"
    /// for all of a disk that has no partition table.
    pub name: String,
    /// The name that the partition table gives it.
    pub label: Option<String>,
    /// Where it lies on the disk, if that is one piece.
    pub extent: Option<Extent>,
    /// Who fills it, if that is known.
    pub identity: Option<Identity>,
    /// Its bytes; none at all if they cannot be read.
    pub reader: Arc<dyn ReadAt>,
    on_disk: OnDisk,
    /// What a filesystem on it may span: the other volumes of its floor.
    others: Vec<Arc<dyn ReadAt>>,
    driver: Option<&'static dyn Filesystem>,
    /// Why its files are not read, if the layout of the disk says so.
    problem: Option<String>,
    files: OnceLock<std::result::Result<Arc<dyn Files>, (ErrorKind, String)>>,
}

impl fmt::Debug for OpenVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenVolume").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OpenVolume {
    /// The label that its filesystem or, without one, its table gives it.
    #[must_use]
    pub fn any_label(&self) -> Option<&str> {
        let own = self.identity.as_ref().and_then(|identity| identity.label.as_deref());
        own.or(self.label.as_deref())
    }

    /// How a path of this volume is shown: "2:/home/x".
    #[must_use]
    pub fn shown(&self, path: &[u8]) -> String {
        format!("{}:{}", self.name, shown(path))
    }

    /// True if its filesystem comes from DOS or Windows: names end at `\\` as
    /// well, and letters of another case are the same.
    #[must_use]
    pub fn is_dos(&self) -> bool {
        self.is_kind(&["NTFS", "exFAT", "FAT"])
    }

    /// True if a letter and its capital are the same in names.
    #[must_use]
    pub fn ignores_case(&self) -> bool {
        self.is_kind(&["NTFS", "exFAT", "FAT", "HFS+"])
    }

    /// True if its times are those of a clock on some wall, and not of a zone.
    #[must_use]
    pub fn has_local_times(&self) -> bool {
        self.is_kind(&["FAT"])
    }

    fn is_kind(&self, kinds: &[&str]) -> bool {
        let name = self.identity.as_ref().map_or("", |identity| &identity.name);
        kinds.iter().any(|kind| name.starts_with(kind))
    }

    /// Where these bytes of the volume lie on the disk.
    #[must_use]
    pub fn on_disk(&self, extents: &ExtentSet) -> ExtentSet {
        (self.on_disk)(extents)
    }

    /// True if there may be files to read: a filesystem whose driver reads
    /// files, whether or not this one can be.
    #[must_use]
    pub fn may_have_files(&self) -> bool {
        match self.files() {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::Unsupported,
        }
    }

    /// Its files, opened once and then shared.
    ///
    /// # Errors
    /// Unsupported if there is nothing that reads them, damaged if the
    /// filesystem is.
    pub fn files(&self) -> Result<Arc<dyn Files>> {
        let opened = self
            .files
            .get_or_init(|| self.open_files().map_err(|error| (error.kind(), error.to_string())));
        opened.clone().map_err(|(kind, text)| {
            Error::new(kind, format!("the files of volume {} cannot be read: {text}", self.name))
        })
    }

    /// A volume of which only the files are there, for tests.
    #[cfg(test)]
    pub(crate) fn of_files(name: &str, identity: Identity, files: Arc<dyn Files>) -> Self {
        Self {
            name: name.into(),
            label: None,
            extent: None,
            identity: Some(identity),
            reader: Arc::new(Memory::new(Vec::new())),
            on_disk: Arc::new(Clone::clone),
            others: Vec::new(),
            driver: None,
            problem: None,
            files: OnceLock::from(Ok(files)),
        }
    }

    fn open_files(&self) -> Result<Arc<dyn Files>> {
        let unsupported = |text: String| Err(Error::new(ErrorKind::Unsupported, text));
        if let Some(problem) = &self.problem {
            return unsupported(problem.clone());
        }
        let Some(driver) = self.driver else {
            return unsupported(match &self.identity {
                Some(identity) => format!("it is {}", identity.name),
                None => "no known filesystem was found".into(),
            });
        };
        let readers: Vec<Arc<dyn ReadAt>> =
            std::iter::once(&self.reader).chain(&self.others).cloned().collect();
        match driver.files(&readers)? {
            Some(files) => Ok(files.into()),
            None => unsupported(match &self.identity {
                Some(identity) => format!("{} is not read file by file", identity.name),
                None => format!("{} is not read file by file", driver.name()),
            }),
        }
    }
}

/// Opens the volumes of a disk, in the order in which they lie on it.
#[must_use]
pub fn volumes(disk: &Arc<dyn ReadAt>) -> Vec<OpenVolume> {
    let mut found = Found::default();
    let all = Part { reader: Arc::clone(disk), on_disk: Arc::new(Clone::clone) };
    found.disk(&all, &[], "", 0, true);
    found.volumes
}

#[derive(Default)]
struct Found {
    volumes: Vec<OpenVolume>,
}

/// Something that may fill a volume, before it was looked at.
struct Place<'a> {
    name: String,
    label: Option<String>,
    extent: Option<Extent>,
    part: Part,
    others: &'a [Part],
}

impl Found {
    /// A disk, or a volume that may be the disk of a virtual machine.
    fn disk(&mut self, part: &Part, others: &[Part], name: &str, depth: u32, is_outermost: bool) {
        let disk = &part.reader;
        let all = Extent::new(0, disk.len());
        let under = |number: u32| match name {
            "" => number.to_string(),
            name => format!("{name}/{number}"),
        };
        let Some(table) = table_of(disk.as_ref()) else {
            let name = if name.is_empty() { "disk" } else { name };
            let place = Place {
                name: name.to_owned(),
                label: None,
                extent: is_outermost.then_some(all),
                part: part.clone(),
                others,
            };
            return self.volume(place, depth);
        };
        let mut partitions: Vec<_> = table
            .partitions
            .iter()
            .filter(|it| !it.container && !it.extent.is_empty() && all.contains(&it.extent))
            .collect();
        partitions.sort_by_key(|partition| (partition.extent, partition.number));
        let parts: Vec<Part> = partitions
            .iter()
            .map(|it| {
                let (on_disk, start) = (Arc::clone(&part.on_disk), it.extent.start());
                Part {
                    reader: Arc::new(Window::new(Arc::clone(disk), it.extent)),
                    on_disk: Arc::new(move |extents| on_disk(&extents.shift(start))),
                }
            })
            .collect();
        for (index, partition) in partitions.iter().enumerate() {
            let siblings: Vec<Part> = parts
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, part)| part)
                .chain(others)
                .cloned()
                .collect();
            let Some(part) = parts.get(index) else { continue };
            let place = Place {
                name: under(partition.number),
                label: partition.name.clone(),
                extent: is_outermost.then_some(partition.extent),
                part: part.clone(),
                others: &siblings,
            };
            self.volume(place, depth);
        }
    }

    fn volume(&mut self, place: Place, depth: u32) {
        // A group of volumes is seen from each disk that it lies on.
        let is_known = self.volumes.iter().any(|volume| volume.name == place.name);
        if is_known || self.volumes.len() >= MAX_VOLUMES {
            return;
        }
        let readers: Vec<&dyn ReadAt> =
            std::iter::once(&place.part).chain(place.others).map(|it| it.reader.as_ref()).collect();
        if let Ok(Some(identity)) = Member.probe(&readers) {
            let problem = format!("it is {}", identity.name);
            return self.push(place, Some(identity), None, Some(problem));
        }
        for driver in VOLUMES {
            match driver.probe(&readers) {
                Ok(None) => {}
                Ok(Some(identity)) => {
                    let inside = if depth < MAX_DEPTH { driver.map(&readers) } else { return };
                    return match inside {
                        Ok(Answer::Map(map)) => {
                            self.push_group(&place, identity, map.inside, &readers, depth);
                        }
                        Ok(Answer::Whole(used)) => {
                            let why =
                                used.whole.unwrap_or_else(|| format!("it is {}", identity.name));
                            self.push(place, Some(identity), None, Some(why));
                        }
                        Err(error) => {
                            self.push(place, Some(identity), None, Some(error.to_string()));
                        }
                    };
                }
                Err(error) => {
                    let why = format!("looks like {}, but: {error}", driver.name());
                    return self.push(place, None, None, Some(why));
                }
            }
        }
        for driver in FILESYSTEMS {
            match driver.probe(&readers) {
                Ok(None) => {}
                Ok(Some(identity)) => return self.push(place, Some(identity), Some(*driver), None),
                Err(error) => {
                    let why = format!("looks like {}, but: {error}", driver.name());
                    return self.push(place, None, None, Some(why));
                }
            }
        }
        self.push(place, None, None, None);
    }

    /// A volume that holds others, and these.
    fn push_group(
        &mut self,
        place: &Place,
        identity: Identity,
        inside: Vec<crate::volume::Inside>,
        readers: &[&dyn ReadAt],
        depth: u32,
    ) {
        let own: Vec<&Part> = std::iter::once(&place.part).chain(place.others).collect();
        let mut unreadable = Vec::new();
        let opened: Vec<(String, Part)> = inside
            .into_iter()
            .filter_map(|inside| {
                let mapped = match inside.content {
                    Content::Readable(mapped) => mapped,
                    Content::Whole { why, .. } => {
                        unreadable.push((inside.name, why));
                        return None;
                    }
                };
                let mut below = Vec::new();
                let mapped = Arc::new(mapped.over(|reader| {
                    let same = readers.iter().position(|it| std::ptr::addr_eq(*it, *reader));
                    let shared = same.and_then(|index| own.get(index)).copied();
                    let shared = shared.unwrap_or(&place.part);
                    below.push(Arc::clone(&shared.on_disk));
                    Arc::clone(&shared.reader)
                }));
                let map = Arc::clone(&mapped);
                let on_disk = move |extents: &ExtentSet| {
                    let parts = below.iter().enumerate();
                    let parts = parts.map(|(index, on_disk)| on_disk(&map.project(extents, index)));
                    parts.fold(ExtentSet::new(), |all, part| all.union(&part))
                };
                Some((inside.name, Part { reader: mapped, on_disk: Arc::new(on_disk) }))
            })
            .collect();
        let group = Place {
            name: place.name.clone(),
            label: place.label.clone(),
            extent: place.extent,
            part: place.part.clone(),
            others: &[],
        };
        let problem = format!("it is {}, whose volumes are listed by themselves", identity.name);
        self.push(group, Some(identity), None, Some(problem));
        for (name, why) in unreadable {
            if self.volumes.iter().any(|volume| volume.name == name) {
                continue;
            }
            let none: Arc<dyn ReadAt> = Arc::new(Memory::new(Vec::new()));
            let part = Part { reader: none, on_disk: Arc::new(|_| ExtentSet::new()) };
            let place = Place { name, label: None, extent: None, part, others: &[] };
            self.push(place, None, None, Some(why));
        }
        for (index, (name, part)) in opened.iter().enumerate() {
            let others: Vec<Part> = opened
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, (_, part))| part.clone())
                .collect();
            self.disk(part, &others, name, depth.saturating_add(1), false);
        }
    }

    fn push(
        &mut self,
        place: Place,
        identity: Option<Identity>,
        driver: Option<&'static dyn Filesystem>,
        problem: Option<String>,
    ) {
        self.volumes.push(OpenVolume {
            name: place.name,
            label: place.label,
            extent: place.extent,
            identity,
            reader: place.part.reader,
            on_disk: place.part.on_disk,
            others: readers_of(place.others),
            driver,
            problem,
            files: OnceLock::new(),
        });
    }
}

/// The table of a disk, if it has one that is not in doubt.
fn table_of(disk: &dyn ReadAt) -> Option<PartitionTable> {
    if fs::whole_disk_member(disk).is_some() {
        return None;
    }
    let table = TABLES.iter().find_map(|kind| kind.read(disk).ok().flatten())?;
    (!table.doubtful).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_of_nothing_is_one_volume_without_files() {
        let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![0; 1 << 20]));
        let volumes = volumes(&disk);
        let [volume] = volumes.as_slice() else { panic!("{volumes:?}") };
        assert_eq!((volume.name.as_str(), volume.extent), ("disk", Some(Extent::new(0, 1 << 20))));
        assert!(!volume.may_have_files());
        let error = volume.files().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("no known filesystem"), "{error}");
    }
}
