// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volumes of a disk, each of which can be read by itself.

use std::sync::{Arc, OnceLock};

use super::filled::{Filled, Known, filled};
use super::volume::{OnDisk, OpenVolume, Trouble};
use crate::error::Error;
use crate::extent::{Extent, ExtentSet};
use crate::fs::hfs::Hfs;
use crate::fs::hfsplus::HfsPlus;
use crate::fs::iso9660::{self, Iso9660};
use crate::fs::udf::Udf;
use crate::fs::{self, Filesystem, Identity};
use crate::io::{Memory, ReadAt, Window};
use crate::layout::Layout;
use crate::ondisk::FormatError;
use crate::table::apm::Apm;
use crate::table::gpt::Gpt;
use crate::table::{PartitionTable, TABLES, Table};
use crate::volume::{Answer, Content, Map, Volume};

/// How deep volumes inside volumes are looked into, as the layout does.
const MAX_DEPTH: u32 = 4;
/// How many volumes are opened.
const MAX_VOLUMES: usize = 4096;

/// The filesystems of discs, of which one disc may have several that show the
/// same files to one system or another, or beside a partition table: what they
/// are called behind the name of the first one.
const OF_DISCS: [(&dyn Filesystem, &str); 4] =
    [(&Udf, "udf"), (&Iso9660, "iso9660"), (&HfsPlus, "hfsplus"), (&Hfs, "hfs")];

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

/// Opens the volumes of a disk, in the order in which they lie on it. What is on
/// the other disks is looked at only as far as something on this one goes on
/// there. Of an image `saved` is what its head says was on the disk.
#[must_use]
pub fn volumes(
    disk: &Arc<dyn ReadAt>,
    others: &[Arc<dyn ReadAt>],
    saved: Option<&Layout>,
) -> Vec<OpenVolume> {
    let known = saved.map(Known::of).unwrap_or_default();
    let mut found = Found { volumes: Vec::new(), known };
    let all = Part { reader: Arc::clone(disk), on_disk: Arc::new(Clone::clone) };
    let others: Vec<Part> = others.iter().flat_map(parts_of).collect();
    found.disk(&all, &others, "", 0, true);
    found.volumes
}

/// The partitions of another disk, or all of it if it has none. Nothing of them
/// lies on the disk that is asked about.
fn parts_of(disk: &Arc<dyn ReadAt>) -> Vec<Part> {
    let elsewhere =
        |reader: Arc<dyn ReadAt>| Part { reader, on_disk: Arc::new(|_| ExtentSet::new()) };
    let Seen::Table(table, _) = table_of(disk.as_ref()) else {
        return vec![elsewhere(Arc::clone(disk))];
    };
    let all = Extent::new(0, disk.len());
    let partitions = table.partitions.iter().filter(|it| !it.container && !it.extent.is_empty());
    partitions
        .filter(|it| all.contains(&it.extent))
        .map(|it| elsewhere(Arc::new(Window::new(Arc::clone(disk), it.extent))))
        .collect()
}

struct Found {
    volumes: Vec<OpenVolume>,
    /// What filled them when the disk was saved.
    known: Known,
}

/// Something that may fill a volume, before it was looked at.
#[derive(Clone)]
struct Place<'a> {
    name: String,
    label: Option<String>,
    extent: Option<Extent>,
    part: Part,
    others: &'a [Part],
}

impl Place<'_> {
    /// Something of which no byte can be read.
    fn nowhere(name: String) -> Self {
        let none: Arc<dyn ReadAt> = Arc::new(Memory::new(Vec::new()));
        let part = Part { reader: none, on_disk: Arc::new(|_| ExtentSet::new()) };
        Self { name, label: None, extent: None, part, others: &[] }
    }
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
        let whole = || Place {
            name: if name.is_empty() { "disk".to_owned() } else { name.to_owned() },
            label: None,
            extent: is_outermost.then_some(all),
            part: part.clone(),
            others,
        };
        let (table, doubt) = match table_of(disk.as_ref()) {
            Seen::Table(table, doubt) => (table, doubt),
            Seen::Array(array) => {
                let identity = fs::whole_disk_identity(disk.as_ref());
                let why = Trouble::unsupported(format!("it is {array}"));
                return self.push(whole(), identity, None, Some(why));
            }
            Seen::Nothing(doubt) => {
                let before = self.volumes.len();
                self.volume(whole(), depth);
                // What keeps a table from being read keeps partitions from being
                // seen, unless something fills all of the disk.
                if let Some(volume) = self.volumes.get_mut(before)
                    && volume.is_unknown()
                {
                    volume.problem = doubt;
                }
                return;
            }
        };
        // An installer disc that is a disk as well: what is all of it, first.
        let of_disc = OF_DISCS.iter().find_map(|(driver, _)| {
            Some((*driver, driver.probe(&[disk.as_ref()]).ok().flatten()?))
        });
        if let Some((driver, identity)) = of_disc {
            self.filesystem(whole(), driver, identity);
        } else if doubt.is_some() {
            self.push(whole(), None, None, doubt);
        }
        let (mut partitions, outside): (Vec<_>, Vec<_>) = table
            .partitions
            .iter()
            .filter(|it| !it.container && !it.extent.is_empty())
            .partition(|it| all.contains(&it.extent));
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
        for partition in outside {
            let mut place = Place::nowhere(under(partition.number));
            place.label.clone_from(&partition.name);
            let why = Trouble::damaged("it reaches past the end of the disk");
            self.push(place, None, None, Some(why));
        }
    }

    fn volume(&mut self, place: Place, depth: u32) {
        // A group of volumes is seen from each disk that it lies on.
        if self.volumes.iter().any(|volume| volume.name == place.name) {
            return;
        }
        let readers: Vec<&dyn ReadAt> =
            std::iter::once(&place.part).chain(place.others).map(|it| it.reader.as_ref()).collect();
        match filled(&readers, self.known.get(&place.name, place.extent)) {
            Filled::Part(identity) => {
                let problem = Trouble::unsupported(format!("it is {}", identity.name));
                self.push(place, Some(identity), None, Some(problem));
            }
            Filled::Group(driver, identity) => {
                self.group(&place, driver, identity, &readers, depth)
            }
            Filled::Filesystem(driver, identity) => self.filesystem(place, driver, identity),
            Filled::Nothing => self.push(place, None, None, None),
            Filled::Unknown(trouble) => self.push(place, None, None, Some(trouble)),
        }
    }

    /// A volume that holds others.
    fn group(
        &mut self,
        place: &Place,
        driver: &dyn Volume,
        identity: Identity,
        readers: &[&dyn ReadAt],
        depth: u32,
    ) {
        let problem = if depth >= MAX_DEPTH {
            Trouble::unsupported(format!("it is inside of {MAX_DEPTH} other volumes"))
        } else {
            match driver.map(readers) {
                Ok(Answer::Map(map)) => {
                    return self.push_group(place, identity, map, readers, depth);
                }
                Ok(Answer::Whole(used)) => {
                    let why = used.whole.unwrap_or_else(|| format!("it is {}", identity.name));
                    Trouble::unsupported(why)
                }
                Err(FormatError::Io(error)) => Trouble::of_reading(error.kind(), error.to_string()),
                Err(error) => Error::from(error).into(),
            }
        };
        self.push(place.clone(), Some(identity), None, Some(problem));
    }

    /// A volume with a filesystem, and what else it is if it is a disc.
    fn filesystem(&mut self, place: Place, driver: &'static dyn Filesystem, identity: Identity) {
        let reader = Arc::clone(&place.part.reader);
        let (part, extent) = (place.part.clone(), place.extent);
        let name = place.name.clone();
        let is_iso9660 = |driver: &dyn Filesystem| driver.name() == Iso9660.name();
        let mut iso9660 = is_iso9660(driver).then(|| identity.clone());
        self.push(place, Some(identity), Some(driver), None);
        if OF_DISCS.iter().all(|(it, _)| it.name() != driver.name()) {
            return;
        }
        for (other, suffix) in OF_DISCS.iter().filter(|(it, _)| it.name() != driver.name()) {
            if let Ok(Some(identity)) = other.probe(&[reader.as_ref()]) {
                iso9660 = iso9660.or(is_iso9660(*other).then(|| identity.clone()));
                let name = format!("{name}/{suffix}");
                let part = part.clone();
                let place = Place { name, label: None, extent, part, others: &[] };
                self.push(place, Some(identity), Some(*other), None);
            }
        }
        if let Some(identity) = iso9660 {
            self.sessions(&name, &part, extent, &identity);
        }
    }

    /// The sessions of a disc that was written in several: what is at its start
    /// is one of them, and which one, is a matter of the medium.
    fn sessions(&mut self, name: &str, part: &Part, extent: Option<Extent>, disc: &Identity) {
        let sessions = iso9660::sessions(part.reader.as_ref()).unwrap_or_default();
        if sessions.len() < 2 {
            return;
        }
        for (number, session) in (1..).zip(&sessions) {
            let primary = &session.descriptors.primary;
            let label = Some(primary.volume_id.clone()).filter(|label| !label.is_empty());
            let identity = Identity { label, size: primary.end(), ..disc.clone() };
            let name = format!("{name}/session{number}");
            let place = Place { name, label: None, extent, part: part.clone(), others: &[] };
            self.push(place, Some(identity), Some(&Iso9660), None);
            let files = match iso9660::files_of_session(&part.reader, session.start) {
                Ok(Some(files)) => Ok(Arc::from(files)),
                Ok(None) => Err(Trouble::damaged("there is no session any more")),
                Err(error) => Err(Error::from(error).into()),
            };
            if let Some(volume) = self.volumes.last_mut().filter(|it| it.problem.is_none()) {
                volume.files = OnceLock::from(files);
            }
        }
    }

    /// A volume that holds others which are known, and these.
    fn push_group(
        &mut self,
        place: &Place,
        identity: Identity,
        map: Map,
        readers: &[&dyn ReadAt],
        depth: u32,
    ) {
        let own: Vec<&Part> = std::iter::once(&place.part).chain(place.others).collect();
        let mut unreadable = Vec::new();
        let inside = map.inside.into_iter();
        let inside: Vec<_> = inside
            .filter_map(|inside| match inside.content {
                Content::Readable(mapped) => Some((inside.name, mapped)),
                Content::Whole { why, advice } => {
                    // What helps there is to have all of its disks at hand.
                    let more = advice.as_ref().map_or("", |_| ": name that one, too, with --with");
                    let absent = match advice {
                        Some(_) => Some(why.clone()),
                        // Where the parts of such a volume are is not known.
                        None if map.lacks_disks => {
                            Some(format!("{why}, and a disk of its group is not at hand"))
                        }
                        None => None,
                    };
                    unreadable.push((inside.name, format!("{why}{more}"), absent));
                    None
                }
            })
            .collect();
        let count = inside.len();
        // What has no byte here is found where it is, unless that is on another disk.
        let is_found_elsewhere =
            |part: &Part| !(part.on_disk)(&ExtentSet::all(part.reader.len())).is_empty();
        let opened: Vec<(String, Part)> = inside
            .into_iter()
            .chain(map.siblings)
            .map(|(name, mapped)| {
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
                (name, Part { reader: mapped, on_disk: Arc::new(on_disk) })
            })
            .collect();
        let group = Place { others: &[], ..place.clone() };
        let problem = format!("it is {}, whose volumes are listed by themselves", identity.name);
        self.push(group, Some(identity), None, Some(Trouble::unsupported(problem)));
        if let Some(group) = self.volumes.last_mut().filter(|volume| volume.name == place.name) {
            group.is_group = true;
        }
        for (name, why, absent) in unreadable {
            if self.volumes.iter().any(|volume| volume.name == name) {
                continue;
            }
            let before = self.volumes.len();
            self.push(Place::nowhere(name), None, None, Some(Trouble::unsupported(why)));
            if let Some(volume) = self.volumes.get_mut(before) {
                volume.absent = absent;
            }
        }
        for (index, (name, part)) in opened.iter().enumerate() {
            if index >= count && is_found_elsewhere(part) {
                continue;
            }
            let others: Vec<Part> = opened
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, (_, part))| part)
                .chain(place.others)
                .cloned()
                .collect();
            self.disk(part, &others, name, depth.saturating_add(1), false);
        }
    }

    fn push(
        &mut self,
        place: Place,
        identity: Option<Identity>,
        driver: Option<&'static dyn Filesystem>,
        problem: Option<Trouble>,
    ) {
        let (mut driver, mut problem) = (driver, problem);
        match self.volumes.len() {
            0..MAX_VOLUMES => {}
            // The last one says that there are more.
            MAX_VOLUMES => {
                let why = format!("it and others behind it are more than {MAX_VOLUMES} volumes");
                (driver, problem) = (None, Some(Trouble::damaged(why)));
            }
            _ => return,
        }
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
            is_group: false,
            absent: None,
            files: OnceLock::new(),
        });
    }
}

/// What is at the start of a disk.
enum Seen {
    /// A partition table, and what is in doubt all the same.
    Table(PartitionTable, Option<Trouble>),
    /// Its partitions are a matter of the array that it is a part of.
    Array(String),
    /// No table, or why none can be seen.
    Nothing(Option<Trouble>),
}

/// True if these bytes of a disk are a volume of a Mac.
fn is_of_mac(disk: &dyn ReadAt, extent: Extent) -> bool {
    let drivers: [&dyn Filesystem; 2] = [&HfsPlus, &Hfs];
    let volume = Window::new(disk, extent);
    extent.end() <= disk.len()
        && drivers.iter().any(|driver| driver.probe(&[&volume]).is_ok_and(|it| it.is_some()))
}

/// The partition table of a disk.
fn table_of(disk: &dyn ReadAt) -> Seen {
    let doubt = match fs::array_of(disk) {
        Ok(None) => None,
        Ok(Some(array)) => return Seen::Array(array),
        // Far more disks have a bad sector than are a part of such an array.
        Err(error) => {
            let error = Error::from(error);
            let why = "whether the disk is a part of an array cannot be told, and it is read as \
                       if it was none";
            Some(Trouble::of_reading(error.kind(), format!("{why}: {error}")))
        }
    };
    let mut failed = None;
    for kind in TABLES {
        match kind.read(disk) {
            Ok(None) => {}
            Ok(Some(mut table)) if table.doubtful => {
                let why = format!("its partitions are not certain: {}", table.notes.join("; "));
                // Discs for several kinds of computers have such maps. What a Mac has in
                // one of its partitions says itself what it is.
                table.partitions.retain(|it| is_of_mac(disk, it.extent));
                if table.kind == Apm.name() && !table.partitions.is_empty() {
                    return Seen::Table(table, doubt);
                }
                return Seen::Nothing(Some(Trouble::damaged(why)));
            }
            // A GPT has checksums; the MBR beside one that cannot be read only
            // protects it.
            Ok(Some(table)) if failed.is_none() || table.kind == Gpt.name() => {
                return Seen::Table(table, doubt);
            }
            Ok(Some(_)) => break,
            Err(error) => {
                let error = Error::from(error);
                let why = format!("its partition table cannot be read: {error}");
                failed.get_or_insert_with(|| Trouble::of_reading(error.kind(), why));
            }
        }
    }
    Seen::Nothing(failed.or(doubt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::table::samples::GptDisk;
    use crate::units::SectorSize;

    #[test]
    fn a_disk_of_nothing_is_one_volume_without_files() {
        let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![0; 1 << 20]));
        let volumes = volumes(&disk, &[], None);
        let [volume] = volumes.as_slice() else { panic!("{volumes:?}") };
        assert_eq!((volume.name.as_str(), volume.extent), ("disk", Some(Extent::new(0, 1 << 20))));
        assert!(!volume.may_have_files());
        let error = volume.files().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("no known filesystem"), "{error}");
    }

    fn troubles(disk: Memory) -> Vec<(String, Option<Trouble>)> {
        let disk: Arc<dyn ReadAt> = Arc::new(disk);
        let found = volumes(&disk, &[], None);
        found.iter().map(|it| (it.name.clone(), it.trouble().cloned())).collect()
    }

    #[test]
    fn a_partition_whose_start_cannot_be_read_is_damaged_and_not_unknown() {
        // Behind what is looked at to tell what all of the disk is.
        let partitions = [(0, 300, 459), (2, 460, 619)];
        let disk = || GptDisk::new(SectorSize::B512, 8192, 4, 128, &partitions).disk();
        let found = troubles(disk());
        let kinds = |found: &[(String, Option<Trouble>)]| -> Vec<(String, ErrorKind)> {
            found.iter().map(|(name, it)| (name.clone(), it.as_ref().unwrap().kind)).collect()
        };
        let nothing = ErrorKind::Unsupported;
        assert_eq!(kinds(&found), [("1".into(), nothing), ("3".into(), nothing)]);
        let start = Extent::at(460 * 512, 512);
        let found = troubles(disk().unreadable(start));
        assert_eq!(kinds(&found), [("1".into(), nothing), ("3".into(), ErrorKind::Failed)]);
        let trouble = found[1].1.as_ref().unwrap();
        assert!(trouble.why.contains("cannot be told: ") && trouble.is_damage(), "{trouble:?}");
        // What an image has lost, too.
        let disk: Arc<dyn ReadAt> = Arc::new(disk().unreadable(start));
        let volumes = volumes(&disk, &[], None);
        assert!(volumes[1].is_damaged() && volumes[1].may_have_files());
        assert!(!volumes[1].is_unknown() && volumes[0].is_unknown());
    }

    #[test]
    fn a_table_that_cannot_be_read_is_told() {
        // Both copies; the protective MBR is there.
        let len = GptDisk::small().bytes.len() as u64;
        let disk = GptDisk::small().disk().unreadable(Extent::at(512, 512));
        let found = troubles(disk.unreadable(Extent::new(len - 512, len)));
        let [(name, Some(trouble))] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(name, "disk");
        assert!(trouble.is_damage(), "{trouble:?}");
        // All that is nothing is nothing; but who says that it is all?
        let found = troubles(Memory::zeros(1 << 20).unreadable(Extent::at(0, 512)));
        assert!(found[0].1.as_ref().unwrap().is_damage(), "{found:?}");
    }

    #[test]
    fn partitions_are_there_although_the_disk_may_be_a_part_of_something() {
        let len = GptDisk::small().bytes.len() as u64;
        let found = troubles(GptDisk::small().disk().unreadable(Extent::new(len - 512, len)));
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["disk", "1", "3"]);
        let trouble = found[0].1.as_ref().unwrap();
        assert!(trouble.is_damage() && trouble.why.contains("array"), "{trouble:?}");
    }

    #[test]
    fn a_partition_past_the_end_is_told() {
        let disk = GptDisk::small();
        let array = disk.array_sectors();
        let mut cut = disk.clone();
        // The end of the third one.
        for entries in [2, disk.last - array] {
            cut.patch(entries, 2 * 128 + 40, &70_u64.to_le_bytes());
        }
        let found = troubles(cut.sealed().disk());
        let (name, trouble) = found.last().unwrap();
        assert_eq!(name, "3");
        let trouble = trouble.as_ref().unwrap();
        assert!(trouble.is_damage() && trouble.why.contains("past the end"), "{trouble:?}");
    }
}
