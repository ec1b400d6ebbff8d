// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volumes of a disk, each of which can be read by itself.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::fs::member::Member;
use crate::fs::{self, FILESYSTEMS, Files, Filesystem, Identity};
use crate::io::{ReadAt, Window};
use crate::table::{PartitionTable, TABLES};
use crate::volume::{Answer, Content, VOLUMES};

/// How deep volumes inside volumes are looked into, as the layout does.
const MAX_DEPTH: u32 = 4;
/// How many volumes are opened.
const MAX_VOLUMES: usize = 4096;

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
    /// Its bytes.
    pub reader: Arc<dyn ReadAt>,
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
    found.disk(disk, &[], "", 0, true);
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
    reader: Arc<dyn ReadAt>,
    others: &'a [Arc<dyn ReadAt>],
}

impl Found {
    /// A disk, or a volume that may be the disk of a virtual machine.
    fn disk(
        &mut self,
        disk: &Arc<dyn ReadAt>,
        others: &[Arc<dyn ReadAt>],
        name: &str,
        depth: u32,
        is_outermost: bool,
    ) {
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
                reader: Arc::clone(disk),
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
        let readers: Vec<Arc<dyn ReadAt>> = partitions
            .iter()
            .map(|it| Arc::new(Window::new(Arc::clone(disk), it.extent)) as Arc<dyn ReadAt>)
            .collect();
        for (index, partition) in partitions.iter().enumerate() {
            let siblings: Vec<Arc<dyn ReadAt>> = readers
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, reader)| reader)
                .chain(others)
                .cloned()
                .collect();
            let Some(reader) = readers.get(index) else { continue };
            let place = Place {
                name: under(partition.number),
                label: partition.name.clone(),
                extent: is_outermost.then_some(partition.extent),
                reader: Arc::clone(reader),
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
            std::iter::once(&place.reader).chain(place.others).map(AsRef::as_ref).collect();
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
        let own: Vec<Arc<dyn ReadAt>> =
            std::iter::once(&place.reader).chain(place.others).cloned().collect();
        let opened: Vec<(String, Arc<dyn ReadAt>)> = inside
            .into_iter()
            .filter_map(|inside| {
                let Content::Readable(mapped) = inside.content else { return None };
                let mapped = mapped.over(|reader| {
                    let same = readers.iter().position(|it| std::ptr::addr_eq(*it, *reader));
                    let shared = same.and_then(|index| own.get(index));
                    Arc::clone(shared.unwrap_or(&place.reader))
                });
                Some((inside.name, Arc::new(mapped) as Arc<dyn ReadAt>))
            })
            .collect();
        let group = Place {
            name: place.name.clone(),
            label: place.label.clone(),
            extent: place.extent,
            reader: Arc::clone(&place.reader),
            others: &[],
        };
        let problem = format!("it is {}, whose volumes are listed by themselves", identity.name);
        self.push(group, Some(identity), None, Some(problem));
        for (index, (name, reader)) in opened.iter().enumerate() {
            let others: Vec<Arc<dyn ReadAt>> = opened
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, (_, reader))| Arc::clone(reader))
                .collect();
            self.disk(reader, &others, name, depth.saturating_add(1), false);
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
            reader: place.reader,
            others: place.others.to_vec(),
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
    use crate::io::Memory;

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
