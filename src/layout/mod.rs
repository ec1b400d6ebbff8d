// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is where on a disk: every byte belongs to one region, and every region
//! is either proven free in part, or stored whole with the reason.
//!
//! Tables come first, then the filesystems of their partitions; a volume that
//! holds others is looked into. Whatever cannot be understood - a damaged
//! table, partitions that overlap, a member of an array - widens to "stored
//! whole"; nothing is ever guessed free.

mod descent;
mod inner;

pub use inner::Inner;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::fs::{self, Identity, Readers};
use crate::io::{ReadAt, Window};
use crate::table::{Partition, PartitionTable, TABLES};
use crate::units::SectorSize;
pub use descent::probe;
use descent::{Understood, understand};

/// What a region of the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionKind {
    /// Sectors of the partition table itself.
    Table,
    /// A partition.
    Partition,
    /// Space of no partition: the boot area, gaps, the end of the disk.
    Gap,
    /// The whole disk, or a partition saved alone.
    Volume,
}

/// A range of the disk, what it is, and how much of it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Its bytes.
    pub extent: Extent,
    /// What it is.
    pub kind: RegionKind,
    /// The table's entry, for a partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// What fills it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Identity>,
    /// How many of its bytes are stored.
    pub used: u64,
    /// Why all of it is stored; `None` if a used map says what is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<String>,
    /// What else is worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What the user can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The volumes inside it, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Inner>,
}

impl Region {
    /// A short name for people: "partition 2", "gap", "partition table".
    #[must_use]
    pub fn title(&self) -> String {
        match (&self.kind, &self.partition) {
            (_, Some(partition)) => format!("partition {}", partition.number),
            (RegionKind::Table, _) => "partition table".into(),
            (RegionKind::Gap, _) => "unpartitioned".into(),
            _ => "whole disk".into(),
        }
    }

    /// The name of what fills it, "-" if that is not known.
    #[must_use]
    pub fn content(&self) -> &str {
        self.filesystem.as_ref().map_or("-", |identity| &identity.name)
    }
}

/// The partition table as a person wants to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableSummary {
    /// "GPT", "MBR" or "APM".
    pub kind: String,
    /// The disk's GUID or signature.
    pub id: Option<String>,
    /// What is unusual about it.
    pub notes: Vec<String>,
}

/// The layout of a disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layout {
    /// The table, if there is one that could be read.
    pub table: Option<TableSummary>,
    /// The regions in ascending order; together they are the whole disk.
    pub regions: Vec<Region>,
}

impl Layout {
    /// The region of a partition.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<&Region> {
        self.partitions().find(|(partition, _)| partition.number == number).map(|(_, r)| r)
    }

    /// The bytes of a partition, as its table gives them: those of partitions
    /// that overlap are more than their regions.
    ///
    /// # Errors
    /// Usage if there is no such partition, refused if it is not whole on the
    /// disk.
    pub fn partition_extent(&self, number: u32, disk_len: u64) -> Result<Extent> {
        let found = self.partitions().find(|(partition, _)| partition.number == number);
        let Some((partition, _)) = found else {
            let numbers: Vec<String> =
                self.partitions().map(|(partition, _)| partition.number.to_string()).collect();
            let there = if numbers.is_empty() { "none".into() } else { numbers.join(", ") };
            return Err(Error::usage(format!("there is no partition {number}"))
                .hint(format!("partitions of this disk: {there}")));
        };
        if Extent::new(0, disk_len).contains(&partition.extent) && !partition.extent.is_empty() {
            return Ok(partition.extent);
        }
        Err(Error::refused(format!("partition {number} is not whole on the disk"))
            .hint("the whole disk can be used, without --partition"))
    }

    /// The partitions with their regions.
    pub fn partitions(&self) -> impl Iterator<Item = (&Partition, &Region)> {
        self.regions.iter().filter_map(|region| Some((region.partition.as_ref()?, region)))
    }

    /// The region that a byte belongs to.
    #[must_use]
    pub fn region_at(&self, offset: u64) -> Option<&Region> {
        let after = self.regions.partition_point(|region| region.extent.start() <= offset);
        let region = self.regions.get(after.checked_sub(1)?)?;
        (offset < region.extent.end()).then_some(region)
    }
}

/// A layout and the bytes that have to be stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scan {
    /// What is where.
    pub layout: Layout,
    /// The bytes to store, aligned to sectors.
    pub used: ExtentSet,
    /// Those of them that their filesystem does not call in use itself, as far
    /// as its driver tells.
    pub spare: ExtentSet,
    /// The sector size in which the table counts, if there is a table: for the
    /// file of a disk it is the only sign of the disk's sectors.
    pub sector_size: Option<SectorSize>,
}

/// Finds out what is on a disk, or on a partition given alone.
///
/// # Errors
/// Only if nothing at all can be told; whatever cannot be understood is stored
/// whole.
pub fn scan(disk: &dyn ReadAt) -> Result<Scan> {
    scan_with(disk, &[])
}

/// As [`scan`], with other disks at hand over which filesystems or groups of
/// volumes on this one may be spread.
///
/// # Errors
/// As [`scan`].
pub fn scan_with(disk: &dyn ReadAt, others: &[&dyn ReadAt]) -> Result<Scan> {
    let others: Vec<Window<&dyn ReadAt>> =
        others.iter().flat_map(|other| volumes(*other, &find_table(*other))).collect();
    let others: Vec<&dyn ReadAt> = others.iter().map(|other| other as &dyn ReadAt).collect();
    Ok(Scan::new(disk, &others, 0))
}

const RAW: &str = "--raw was given";
const MEMBERS: &str = "save the device of the array instead, or save all its disks and keep their \
                       images together";

/// A layout that stores every byte, because the user asked for it.
#[must_use]
pub fn raw(disk: &dyn ReadAt) -> Scan {
    let mut scan = scan(disk).unwrap_or_default();
    for region in &mut scan.layout.regions {
        region.used = region.extent.len();
        region.whole = Some(RAW.into());
        region.advice = None;
        region.volumes.iter_mut().for_each(|inner| inner.store_whole(RAW));
    }
    scan.used = ExtentSet::all(disk.len());
    scan
}

enum Found {
    /// A table, and the disc that some of its partitions may lie in.
    Table(PartitionTable, Option<Identity>),
    None,
    Whole(Option<TableSummary>, String),
}

fn find_table(disk: &dyn ReadAt) -> Found {
    if let Some(member) = fs::whole_disk_member(disk) {
        return Found::Whole(
            None,
            format!("the disk is a member of an array ({member}), whose data is spread over disks"),
        );
    }
    for kind in TABLES {
        match kind.read(disk) {
            Ok(None) => {}
            Ok(Some(table)) => {
                let summary = summarize(&table);
                if table.doubtful {
                    let why = table.notes.join("; ");
                    return Found::Whole(
                        Some(summary),
                        format!("the partitions are not certain: {why}"),
                    );
                }
                if table.kind != "GPT"
                    && let Some(identity) = probe(&[disk])
                {
                    // Only one of them is real, and which one is a guess.
                    let why = format!(
                        "there is both an {} partition table and a {} filesystem",
                        table.kind, identity.name
                    );
                    return Found::Whole(Some(summary), why);
                }
                let disc = match fs::disc(disk) {
                    Ok(disc) => disc,
                    Err(error) => {
                        let why = format!("what else the disk may be cannot be read: {error}");
                        return Found::Whole(Some(summary), why);
                    }
                };
                if let Some(disc) = &disc
                    && is_around(disc, &table)
                {
                    // What a partition calls free is a part of a file of the disc.
                    let (disc, table) = (&disc.name, table.kind);
                    let why = format!(
                        "it is a disc ({disc}) whose {table} partition table shows parts of it as \
                         partitions"
                    );
                    return Found::Whole(Some(summary), why);
                }
                return Found::Table(table, disc);
            }
            Err(error) => {
                let why = format!("the {} partition table cannot be used: {error}", kind.name());
                return Found::Whole(None, why);
            }
        }
    }
    Found::None
}

/// True of a disc that all partitions of a table are in: an installer that
/// starts from a stick as well. What is left of a disc at the start of a disk that
/// was partitioned since has partitions behind its end, as has an installer to
/// which one was added.
fn is_around(disc: &Identity, table: &PartitionTable) -> bool {
    let mut partitions = table.partitions.iter().filter(|it| !it.extent.is_empty()).peekable();
    partitions.peek().is_some() && partitions.all(|it| it.extent.end() <= disc.size)
}

fn summarize(table: &PartitionTable) -> TableSummary {
    TableSummary { kind: table.kind.into(), id: table.id.clone(), notes: table.notes.clone() }
}

/// The volumes of a disk: its partitions, or all of it if it has none. Of a
/// table that is doubtful there are none.
fn volumes<'a>(disk: &'a dyn ReadAt, found: &Found) -> Vec<Window<&'a dyn ReadAt>> {
    let all = Extent::new(0, disk.len());
    match found {
        Found::None => vec![Window::new(disk, all)],
        Found::Whole(..) => Vec::new(),
        Found::Table(table, _) => table
            .partitions
            .iter()
            .filter(|it| !it.container && !it.extent.is_empty() && all.contains(&it.extent))
            .map(|it| Window::new(disk, it.extent))
            .collect(),
    }
}

impl Scan {
    /// Looks at a disk, or at a volume so many volumes deep inside of one; the
    /// others are volumes at hand.
    fn new(disk: &dyn ReadAt, others: Readers, depth: u32) -> Self {
        let mut scan = Self::default();
        let extent = Extent::new(0, disk.len());
        match find_table(disk) {
            Found::Table(table, disc) => {
                scan.partitioned(disk, &table, disc.as_ref(), others, depth);
            }
            Found::None => {
                let understood = understand(&[&[disk], others].concat(), depth);
                scan.push(RegionKind::Volume, extent, None, understood);
            }
            Found::Whole(table, why) => {
                scan.layout.table = table;
                let mut understood = Understood::whole(disk.len(), why);
                if let Some(identity) = fs::whole_disk_identity(disk) {
                    understood.identity = Some(identity);
                    understood.used = understood.used.advise(MEMBERS);
                }
                scan.push(RegionKind::Volume, extent, None, understood);
            }
        }
        let sector = scan.sector_size.unwrap_or(disk.sector_size()).max(disk.sector_size());
        scan.used = scan.used.align_outwards(sector.bytes(), disk.len());
        scan
    }

    fn partitioned(
        &mut self,
        disk: &dyn ReadAt,
        table: &PartitionTable,
        disc: Option<&Identity>,
        others: Readers,
        depth: u32,
    ) {
        self.sector_size = Some(table.sector_size);
        self.layout.table = Some(summarize(table));
        let disk_extent = Extent::new(0, disk.len());
        let mut partitions: Vec<&Partition> =
            table.partitions.iter().filter(|partition| !partition.container).collect();
        partitions.sort_by_key(|partition| (partition.extent, partition.number));

        // Overlapping partitions become one region each as far as they reach,
        // stored whole: what one calls free may belong to the other.
        let mut taken = ExtentSet::new();
        for (index, partition) in partitions.iter().enumerate() {
            let extent = partition.extent;
            let overlaps = partitions
                .iter()
                .enumerate()
                .any(|(other, it)| other != index && it.extent.overlaps(&extent))
                || table.protected.touches(extent);
            let problem = if extent.is_empty() {
                Some("its entry in the table makes no sense")
            } else if !disk_extent.contains(&extent) {
                Some("it reaches past the end of the disk")
            } else if overlaps {
                Some("it overlaps another partition or the table")
            } else if disc.is_some_and(|disc| extent.end() <= disc.size) {
                Some("it lies in a disc, and what it calls free may be a part of a file there")
            } else {
                None
            };
            let understood = match problem {
                Some(why) => Understood::whole(extent.len(), why),
                None => {
                    let own = Window::new(disk, extent);
                    // A filesystem may span partitions of one disk, too.
                    let siblings: Vec<Window<&dyn ReadAt>> = partitions
                        .iter()
                        .enumerate()
                        .filter(|(other, it)| *other != index && disk_extent.contains(&it.extent))
                        .map(|(_, it)| Window::new(disk, it.extent))
                        .collect();
                    let siblings = siblings.iter().map(|sibling| sibling as &dyn ReadAt);
                    let readers = std::iter::once(&own as &dyn ReadAt).chain(siblings);
                    let readers: Vec<&dyn ReadAt> = readers.chain(others.iter().copied()).collect();
                    understand(&readers, depth)
                }
            };
            // The part of it that no region has yet: regions never overlap.
            let own = extent.intersect(&disk_extent);
            let Some(shown) = taken.holes_within(own).next() else {
                self.layout.table.get_or_insert_default().notes.push(format!(
                    "partition {} has no bytes of its own: {}",
                    partition.number,
                    problem.unwrap_or("it is hidden by others")
                ));
                self.used.insert(own);
                continue;
            };
            taken.insert(own);
            self.push(RegionKind::Partition, shown, Some((*partition).clone()), understood);
        }
        let tables = table.protected.intersect(&ExtentSet::all(disk.len())).subtract(&taken);
        for extent in tables.iter() {
            let why = "the partition table is kept as it is";
            self.push(RegionKind::Table, extent, None, Understood::whole(extent.len(), why));
            taken.insert(extent);
        }
        for extent in taken.complement(disk.len()).iter() {
            let why = "space of no partition is kept as it is";
            self.push(RegionKind::Gap, extent, None, Understood::whole(extent.len(), why));
        }
        self.layout.regions.sort_by_key(|region| region.extent);
    }

    fn push(
        &mut self,
        kind: RegionKind,
        extent: Extent,
        partition: Option<Partition>,
        understood: Understood,
    ) {
        let Understood { identity: filesystem, used, volumes } = understood;
        // A driver sees only its volume, so its map is cut at the region's end.
        let inside: ExtentSet =
            used.extents.shift(extent.start()).iter().map(|e| e.intersect(&extent)).collect();
        self.spare = self.spare.union(&used.spare.shift(extent.start()));
        let whole = used.whole;
        let inside = if whole.is_some() { extent.into() } else { inside };
        let tail = behind_the_end(filesystem.as_ref(), extent);
        let inside = inside.union(&tail);
        self.used = self.used.union(&inside);
        self.layout.regions.push(Region {
            extent,
            kind,
            partition,
            filesystem,
            used: inside.bytes(),
            whole,
            notes: used.notes,
            advice: used.advice,
            volumes,
        });
    }
}

/// The bytes of a volume behind the end of its filesystem, which are nobody's
/// and so are stored.
fn behind_the_end(filesystem: Option<&Identity>, extent: Extent) -> ExtentSet {
    let Some(identity) = filesystem else { return ExtentSet::new() };
    Extent::new(extent.start().saturating_add(identity.size), extent.end()).into()
}
