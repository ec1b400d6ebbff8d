// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on a disk: its table and the filesystems of its partitions.
//!
//! Only who a filesystem is, not what of it is in use: that takes a while on
//! a large disk, and a list of disks should not.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::device::{DeviceNumber, Disk, Source, User};
use crate::error::Result;
use crate::extent::Extent;
use crate::fs::{FILESYSTEMS, Identity, whole_disk_member};
use crate::io::{ReadAt, Window};
use crate::layout::TableSummary;
use crate::table::{self, PartitionTable};

/// A disk with what is on it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    pub(super) disk: Disk,
    /// True if the running system was started from it.
    pub(super) booted: bool,
    #[serde(flatten)]
    pub(super) content: Content,
    /// Why it could not be read.
    pub(super) unreadable: Option<String>,
}

/// What was read from a disk.
#[derive(Debug, Default, Serialize)]
pub(super) struct Content {
    /// The partition table.
    pub(super) table: Option<TableSummary>,
    /// What fills the disk, if it has no partitions.
    pub(super) filesystem: Option<Identity>,
    /// The partitions, those of the kernel and those of the table.
    pub(super) partitions: Vec<Part>,
}

/// A partition.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub(super) number: u32,
    /// "sda1"; of a partition that the kernel does not see, `None`.
    pub(super) name: Option<String>,
    /// "/dev/sda1"
    pub(super) path: Option<String>,
    pub(super) start: u64,
    pub(super) size: u64,
    /// The type in words, if it is a known one.
    pub(super) type_name: Option<String>,
    /// The name in the table.
    pub(super) label: Option<String>,
    pub(super) filesystem: Option<Identity>,
    pub(super) users: Vec<User>,
}

impl Shown {
    /// Looks at a disk. What cannot be read is told, and is no reason not to
    /// show the rest.
    pub(super) fn new(disk: Disk, booted: &BTreeSet<DeviceNumber>) -> Self {
        let (content, unreadable) = match Source::open(&disk.identity.path)
            .and_then(|source| Content::read(&source, &disk))
        {
            Ok(content) => (content, None),
            Err(error) => (Content::of_kernel(&disk), Some(error.to_string())),
        };
        Self { booted: booted.contains(&disk.number), disk, content, unreadable }
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
            users: part.users.clone(),
        };
        Self { partitions: disk.partitions.iter().map(part).collect(), ..Self::default() }
    }

    fn read(source: &dyn ReadAt, disk: &Disk) -> Result<Self> {
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
        Ok(content)
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
    FILESYSTEMS.iter().find_map(|driver| driver.probe(&[volume]).ok().flatten())
}
