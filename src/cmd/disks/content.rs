// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on a disk: its table, the filesystems of its partitions, and what a
//! save would store of each.
//!
//! What is mounted for writing changes while it is read, so of that only who it
//! is is told. And a list of disks should not take long: a disk that cannot be
//! looked at in time is shown without what is in use.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::device::{self, DeviceNumber, Disk, Health, Source, User};
use crate::error::Result;
use crate::extent::Extent;
use crate::fs::{Identity, whole_disk_member};
use crate::io::{Deadline, ReadAt, Window};
use crate::layout::{self, Layout, Region, RegionKind, TableSummary};
use crate::table::{self, PartitionTable};

/// A disk with what is on it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    pub(crate) disk: Disk,
    /// True if the running system was started from it.
    pub(crate) booted: bool,
    #[serde(flatten)]
    pub(crate) content: Content,
    /// Why it could not be read.
    pub(crate) unreadable: Option<String>,
    /// How it says it is, if smartctl is installed.
    pub(crate) health: Option<Health>,
}

/// What was read from a disk.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Content {
    /// The partition table.
    pub(crate) table: Option<TableSummary>,
    /// What fills the disk, if it has no partitions.
    pub(crate) filesystem: Option<Identity>,
    /// What a save would store of that.
    pub(crate) region: Option<Region>,
    /// The partitions, those of the kernel and those of the table.
    pub(crate) partitions: Vec<Part>,
}

/// A partition.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Part {
    pub(crate) number: u32,
    /// "sda1"; of a partition that the kernel does not see, `None`.
    pub(crate) name: Option<String>,
    /// "/dev/sda1"
    pub(crate) path: Option<String>,
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// The type in words, if it is a known one.
    pub(crate) type_name: Option<String>,
    /// The name in the table.
    pub(crate) label: Option<String>,
    pub(crate) filesystem: Option<Identity>,
    /// What a save would store of it; `None` while it is in use.
    pub(crate) region: Option<Region>,
    pub(crate) users: Vec<User>,
}

/// Buses of disks that are no drives.
const WITHOUT_HEALTH: [&str; 9] =
    ["loop", "file", "virtio", "nbd", "dm", "md", "bcache", "memory", "xen"];
/// How long a disk may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl Shown {
    /// Looks at a disk, with all others at hand. What cannot be read is told,
    /// and is no reason not to show the rest.
    pub(crate) fn new(
        disk: Disk,
        source: &Result<Source>,
        others: &[&dyn ReadAt],
        booted: &BTreeSet<DeviceNumber>,
    ) -> Self {
        let read = match source {
            Ok(source) => Content::read(source, &disk, others).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let (content, unreadable) = match read {
            Ok(content) => (content, None),
            Err(error) => (Content::of_kernel(&disk), Some(error)),
        };
        let identity = &disk.identity;
        let is_virtual = identity.bus.as_deref().is_none_or(|bus| WITHOUT_HEALTH.contains(&bus));
        let health = if is_virtual { None } else { device::health(Path::new(&identity.path)) };
        Self { booted: booted.contains(&disk.number), disk, content, unreadable, health }
    }
}

impl Content {
    /// What the kernel knows without reading the disk.
    fn of_kernel(disk: &Disk) -> Self {
        let part = |part: &crate::device::DiskPartition| Part {
            number: part.number,
            name: Some(part.name.clone()),
            path: Some(part.path.clone()),
            start: part.extent.start(),
            size: part.extent.len(),
            type_name: None,
            label: None,
            filesystem: None,
            region: None,
            users: part.users.clone(),
        };
        Self { partitions: disk.partitions.iter().map(part).collect(), ..Self::default() }
    }

    fn read(source: &dyn ReadAt, disk: &Disk, others: &[&dyn ReadAt]) -> Result<Self> {
        // One sector tells whether it can be read at all.
        crate::io::read_vec(source, 0, source.sector_size().get() as usize)?;
        let mut content = Self::of_kernel(disk);
        let member = whole_disk_member(source);
        // A table that cannot be used is one that was not understood.
        let table = table::read(source).ok().flatten().filter(|_| member.is_none());
        match &table {
            Some(table) => content.add_table(table, disk),
            None => content.filesystem = probe(source),
        }
        for part in &mut content.partitions {
            let extent = Extent::at(part.start, part.size);
            if Extent::new(0, source.len()).contains(&extent) && !extent.is_empty() {
                part.filesystem = probe(&Window::new(source, extent));
            }
        }
        if !disk.users.iter().any(|user| user.writes) {
            let limited = Deadline::new(source, PATIENCE);
            if let Ok(scan) = layout::scan_with(&limited, others)
                && !limited.is_over()
            {
                content.add_regions(scan.layout);
            }
        }
        Ok(content)
    }

    /// Adds what a save would store, of all that does not change meanwhile.
    fn add_regions(&mut self, layout: Layout) {
        for region in layout.regions {
            match &region.partition {
                None if region.kind == RegionKind::Volume && self.partitions.is_empty() => {
                    self.region = Some(region);
                }
                None => {}
                Some(entry) => {
                    let number = entry.number;
                    let part = self.partitions.iter_mut().find(|part| part.number == number);
                    if let Some(part) = part
                        && !part.users.iter().any(|user| user.writes)
                    {
                        part.region = Some(region);
                    }
                }
            }
        }
    }

    fn add_table(&mut self, table: &PartitionTable, disk: &Disk) {
        self.table = Some(TableSummary {
            kind: table.kind.into(),
            id: table.id.clone(),
            notes: table.notes.clone(),
        });
        for entry in table.partitions.iter().filter(|entry| !entry.container) {
            let known = self.partitions.iter_mut().find(|part| part.number == entry.number);
            let (type_name, label) = (entry.type_name.clone(), entry.name.clone());
            match known {
                Some(part) => (part.type_name, part.label) = (type_name, label),
                None => self.partitions.push(Part {
                    number: entry.number,
                    name: None,
                    path: None,
                    start: entry.extent.start(),
                    size: entry.extent.len(),
                    type_name,
                    label,
                    filesystem: None,
                    region: None,
                    users: Vec::new(),
                }),
            }
        }
        // The frame around logical partitions is one to the kernel, too.
        let containers: Vec<u32> =
            table.partitions.iter().filter(|it| it.container).map(|it| it.number).collect();
        self.partitions.retain(|part| !containers.contains(&part.number));
        self.partitions.sort_by_key(|part| part.number);
        debug_assert!(disk.partitions.len() <= self.partitions.len() + containers.len());
    }
}

fn probe(volume: &dyn ReadAt) -> Option<Identity> {
    layout::probe(&[volume])
}
