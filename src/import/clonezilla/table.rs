// SPDX-License-Identifier: MIT OR Apache-2.0
//! The partition table in a folder: which partitions there were, and its
//! sectors.
//!
//! The first sectors are kept as they were (`-mbr`, `-gpt-1st`). Of the backup
//! of a GPT the header is kept (`-gpt-2nd`), and often one sector of the entries
//! less than there is; they are those of the first copy, which the header's
//! checksum proves. Of logical partitions only the numbers are kept: the
//! records in front of them are made anew, as Clonezilla does.

use std::collections::BTreeSet;

use super::super::assembly::Assembly;
use super::Files;
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::image::format::MAX_DISK_LEN;
use crate::ondisk::Fields;
use crate::table::TABLES;
use crate::table::gpt::{Header, Place};
use crate::units::SectorSize;

/// The most partitions: those of a GPT.
const MAX_PARTS: usize = 128;
/// A sector of a GPT that is taken.
const SECTOR: usize = 512;
/// The most of the table's files that is read.
const MAX_FILE: u64 = 64 << 20;

/// What a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    /// The frame around logical partitions.
    Extended,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// "sda1"
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) extent: Extent,
    pub(super) kind: Kind,
    /// The type byte in an MBR.
    system: u8,
    bootable: bool,
}

/// The disk and its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    disk: String,
    pub(super) model: Option<String>,
    pub(super) len: u64,
    pub(super) sector: u32,
    is_gpt: bool,
    pub(super) parts: Vec<Part>,
}

impl Geometry {
    /// Reads `-pt.parted` and `-pt.sf`.
    pub(super) fn read(files: &Files, disk: &str) -> Result<Self> {
        let parted = files.text(&format!("{disk}-pt.parted"))?;
        let dump = files.text(&format!("{disk}-pt.sf"))?;
        let mut geometry = Self::parse(disk, &parted, &dump).ok_or_else(|| {
            Error::damaged(format!("the partition table in {disk}-pt.parted makes no sense"))
        })?;
        if geometry.is_gpt {
            if geometry.sector != 512 {
                return Err(Error::unsupported(format!(
                    "{disk} has a GPT and sectors of {} bytes, of which Clonezilla keeps a part of \
                     the table only",
                    geometry.sector
                ))
                .hint("restore it with Clonezilla, and save that disk with dacapo"));
            }
            // Old versions of parted gave the last sector as the size.
            let head = files.bytes(&format!("{disk}-gpt-1st"))?.unwrap_or_default();
            if let Some(last) = head.u64_le(512 + 0x20).and_then(|lba| lba.checked_add(1)) {
                let len = last.saturating_mul(512);
                if len > geometry.len && len.saturating_sub(geometry.len) <= 512 {
                    geometry.len = len;
                }
            }
        }
        Ok(geometry)
    }

    /// The same of the texts of the files.
    pub(super) fn parse(disk: &str, parted: &str, dump: &str) -> Option<Self> {
        let value = |key: &str| parted.lines().find_map(|line| line.trim().strip_prefix(key));
        let size = parted.lines().find_map(|line| line.trim().strip_prefix("Disk /dev/"));
        let sectors: u64 = size?.rsplit(':').next()?.trim().trim_end_matches('s').parse().ok()?;
        let sizes = value("Sector size (logical/physical):")?;
        let sector: u32 = sizes.trim().split('B').next()?.parse().ok()?;
        if sector != 512 && sector != 4096 {
            return None;
        }
        let len =
            sectors.checked_mul(sector.into()).filter(|len| *len <= MAX_DISK_LEN && *len > 0)?;
        let model = value("Model:").map(|model| {
            model.trim().rsplit_once(" (").map_or(model.trim(), |(name, _)| name).to_owned()
        });
        let is_gpt = match value("Partition Table:")?.trim() {
            "gpt" => true,
            "msdos" => false,
            _ => return None,
        };
        let lines = dump.lines().filter_map(|line| line.trim().strip_prefix("/dev/"));
        let mut parts = Vec::new();
        for line in lines.take(MAX_PARTS) {
            let part = part(disk, line, sector)?;
            // An empty entry of the table.
            if !part.extent.is_empty() {
                let inside = Extent::new(0, len.saturating_add(512)).contains(&part.extent);
                parts.push(Some(part).filter(|_| inside)?);
            }
        }
        (!parts.is_empty()).then(|| Self {
            disk: disk.to_owned(),
            model: model.filter(|it| !it.is_empty()),
            len,
            sector,
            is_gpt,
            parts,
        })
    }

    /// What is unusual about the files of the table.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn notes(&self, files: &Files) -> Result<Vec<String>> {
        if !self.is_gpt || self.kept_backup(files)?.is_some() {
            return Ok(Vec::new());
        }
        Ok(vec![format!(
            "{}-gpt-2nd is missing or damaged: the backup of the partition table is made anew, by \
             its first copy",
            self.disk
        )])
    }

    /// Writes the table's sectors, and what is between it and the partitions.
    ///
    /// # Errors
    /// Damaged, if that is not the table by which the partitions are placed.
    pub(super) fn write(&self, files: &Files, assembly: &mut Assembly) -> Result<()> {
        self.write_sectors(files, assembly)?;
        self.compare(assembly)
    }

    /// The partitions go where `-pt.sf` says; who looks for them later goes by
    /// the table.
    fn compare(&self, assembly: &Assembly) -> Result<()> {
        let (kind, file) = if self.is_gpt { ("GPT", "gpt-1st") } else { ("MBR", "mbr") };
        let driver = TABLES.iter().find(|driver| driver.name() == kind);
        let table = driver.and_then(|driver| driver.read(&assembly.scratch).ok().flatten());
        let disk = &self.disk;
        let Some(table) = table else {
            return Err(Error::damaged(format!(
                "{disk}-{file} holds no {kind} partition table that can be read"
            ))
            .hint("look for another copy of the folder"));
        };
        let found =
            table.partitions.iter().filter(|it| !it.extent.is_empty() && it.type_id != "00");
        let found: BTreeSet<(u32, Extent)> = found.map(|it| (it.number, it.extent)).collect();
        let wanted: BTreeSet<(u32, Extent)> =
            self.parts.iter().map(|part| (part.number, part.extent)).collect();
        let Some((number, _)) = wanted.symmetric_difference(&found).next() else { return Ok(()) };
        let place = |set: &BTreeSet<(u32, Extent)>| {
            let extent = set.iter().find(|it| it.0 == *number).map(|it| it.1);
            extent.map_or_else(
                || "is not there".to_owned(),
                |it| format!("is at byte {} to {}", it.start(), it.end()),
            )
        };
        Err(Error::damaged(format!(
            "the files of the folder contradict each other: partition {number} of {disk} {} by \
             {disk}-pt.sf, and {} by {disk}-{file}",
            place(&wanted),
            place(&found)
        ))
        .hint(
            "one of them was changed, or is of another save; look for another copy of the folder",
        ))
    }

    /// The backup of the GPT that was kept, and where it is; `None` if there is
    /// none, or it is none.
    fn kept_backup(&self, files: &Files) -> Result<Option<(u64, Vec<u8>)>> {
        let first = files.bytes(&format!("{}-gpt-1st", self.disk))?.unwrap_or_default();
        let second = files.bytes(&format!("{}-gpt-2nd", self.disk))?;
        Ok(second.and_then(|second| backup(&first, &second)))
    }

    fn write_sectors(&self, files: &Files, assembly: &mut Assembly) -> Result<()> {
        let mut put = |offset: u64, bytes: &[u8]| {
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let extent = Extent::at(offset, len).intersect(&Extent::new(0, self.len));
            let bytes = bytes.get(..usize::try_from(extent.len()).unwrap_or_default());
            assembly.place(extent, true).store(0, bytes.unwrap_or_default())
        };
        let disk = &self.disk;
        let missing = |name: &str| {
            Error::damaged(format!("{name} is missing, without which there is no partition table"))
        };
        if self.is_gpt {
            let name = format!("{disk}-gpt-1st");
            let first = files.bytes(&name)?.ok_or_else(|| missing(&name))?;
            put(0, &first)?;
            let second = self.kept_backup(files)?.or_else(|| new_backup(&first));
            let second = second.ok_or_else(|| {
                Error::damaged(format!(
                    "{name} is damaged, and {disk}-gpt-2nd holds no whole backup of the partition \
                     table"
                ))
                .hint("look for another copy of the folder")
            })?;
            return put(second.0, &second.1);
        }
        let name = format!("{disk}-mbr");
        let mbr = files.bytes(&name)?.ok_or_else(|| missing(&name))?;
        put(0, mbr.get(..512).unwrap_or(&mbr))?;
        if let Some(hidden) = files.bytes(&format!("{disk}-hidden-data-after-mbr"))? {
            let first = self.parts.iter().map(|part| part.extent.start()).min().unwrap_or(512);
            let room = usize::try_from(first.saturating_sub(512)).unwrap_or_default();
            put(512, hidden.get(..room.min(hidden.len())).unwrap_or_default())?;
        }
        let extended = self.parts.iter().find(|part| part.kind == Kind::Extended);
        let Some(extended) = extended else { return Ok(()) };
        let kept = files.bytes(&format!("{}-ebr", extended.name))?.unwrap_or_default();
        for (offset, mut record) in self.records(extended.extent) {
            if offset == extended.extent.start() {
                // Its boot code, if it has any.
                record.iter_mut().take(446).zip(&kept).for_each(|(to, from)| *to = *from);
            }
            put(offset, &record)?;
        }
        Ok(())
    }

    /// Makes the records of logical partitions, for tests.
    pub(super) fn check_records(&self) {
        for extended in self.parts.iter().filter(|part| part.kind == Kind::Extended) {
            let records = self.records(extended.extent);
            debug_assert!(records.iter().all(|(_, record)| record.len() >= 512));
        }
    }

    /// The records in front of logical partitions: each has its partition, and
    /// where the next record is.
    fn records(&self, extended: Extent) -> Vec<(u64, Vec<u8>)> {
        let sector = u64::from(self.sector);
        let mut logical: Vec<&Part> = self.parts.iter().filter(|part| part.number > 4).collect();
        logical.sort_by_key(|part| part.number);
        let Some(first) = logical.first() else { return Vec::new() };
        // The others have as much room in front of them as the first, unless
        // another partition is there.
        let gap = first.extent.start().saturating_sub(extended.start());
        let mut places = Vec::new();
        for (index, part) in logical.iter().enumerate() {
            let place = part.extent.start().saturating_sub(gap);
            let is_free = |place: u64| {
                let record = Extent::at(place, sector);
                extended.contains(&record)
                    && !logical.iter().any(|other| other.extent.overlaps(&record))
                    && !places.contains(&place)
            };
            let close = part.extent.start().saturating_sub(sector);
            places.push(if index == 0 {
                extended.start()
            } else if is_free(place) {
                place
            } else {
                close
            });
        }
        let entry = |part: &Part, base: u64, system: u8, extent: Extent| {
            let number = |bytes: u64| {
                let sectors = bytes.checked_div(sector).and_then(|it| u32::try_from(it).ok());
                sectors.unwrap_or(u32::MAX).to_le_bytes()
            };
            let boot = if part.bootable { 0x80 } else { 0 };
            // Positions in cylinders have had no meaning for a long time.
            let mut entry = vec![boot, 0xfe, 0xff, 0xff, system, 0xfe, 0xff, 0xff];
            entry.extend(number(extent.start().saturating_sub(base)));
            entry.extend(number(extent.len()));
            entry
        };
        let mut records = Vec::new();
        for (index, (part, place)) in logical.iter().zip(&places).enumerate() {
            let mut record = vec![0; 446];
            record.extend(entry(part, *place, part.system, part.extent));
            let next = index.saturating_add(1);
            if let (Some(other), Some(at)) = (logical.get(next), places.get(next)) {
                let frame = Extent::new(*at, other.extent.end());
                let mut link = entry(other, extended.start(), 5, frame);
                link.iter_mut().take(1).for_each(|boot| *boot = 0);
                record.extend(link);
            }
            record.resize(510, 0);
            record.extend([0x55, 0xaa]);
            record.resize(usize::try_from(self.sector).unwrap_or(512), 0);
            records.push((*place, record));
        }
        records
    }
}

/// A line of `sfdisk -d`: "sda1 : start=2048, size=..., type=83, bootable".
fn part(disk: &str, line: &str, sector: u32) -> Option<Part> {
    let (device, rest) = line.split_once(':')?;
    let name = device.trim().replace('/', "-");
    let number = name.strip_prefix(disk)?.trim_start_matches('p').parse().ok()?;
    let field = |key: &str| {
        rest.split(',').find_map(|field| {
            let (found, value) = field.split_once('=')?;
            (found.trim() == key).then(|| value.trim())
        })
    };
    let bytes = |key: &str| field(key)?.parse::<u64>().ok()?.checked_mul(sector.into());
    let (start, len) = (bytes("start")?, bytes("size")?);
    start.checked_add(len)?;
    // Old versions of sfdisk call it Id.
    let system = field("type").or_else(|| field("Id")).unwrap_or_default();
    let system = u8::from_str_radix(system, 16).unwrap_or_default();
    let kind = if matches!(system, 0x05 | 0x0f | 0x85) { Kind::Extended } else { Kind::Normal };
    let bootable = rest.split(',').any(|field| field.trim() == "bootable");
    Some(Part { name, number, extent: Extent::at(start, len), kind, system, bootable })
}

/// The backup of a GPT, and where it is: its header as it was kept, and in
/// front of it the entries, if they are those of the first copy, or are kept as
/// well. `None` if its checksums do not hold.
fn backup(first: &[u8], second: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (kept, sector) = second.split_at_checked(second.len().checked_sub(SECTOR)?)?;
    let header = Header::parse_anywhere(sector, SectorSize::B512).ok()??;
    let own = position(header.own_lba)?;
    let entries_at = position(header.entries_lba)?;
    let room = usize::try_from(own.checked_sub(entries_at)?).ok()?;
    let (start, mut bytes) = match entries_of(first, &header) {
        Some(entries) => {
            if entries.len() > room || room > second.len().saturating_add(SECTOR) {
                return None;
            }
            (entries_at, entries.to_vec())
        }
        None => {
            let start = own.checked_sub(u64::try_from(kept.len()).ok()?)?;
            let skip = usize::try_from(entries_at.checked_sub(start)?).ok()?;
            kept.bytes_at(skip, header.array_len).filter(|entries| header.is_of(entries))?;
            (start, kept.to_vec())
        }
    };
    bytes.resize(usize::try_from(own.checked_sub(start)?).ok()?, 0);
    bytes.extend(sector);
    Some((start, bytes))
}

/// The backup of a GPT made of the first copy, and where that says it is. `None`
/// if its checksums do not hold.
fn new_backup(first: &[u8]) -> Option<(u64, Vec<u8>)> {
    let header = Header::parse(first.bytes_at(SECTOR, SECTOR)?, 1, SectorSize::B512).ok()??;
    let mut bytes = entries_of(first, &header)?.to_vec();
    bytes.resize(bytes.len().checked_next_multiple_of(SECTOR)?, 0);
    let entries_lba = header.alternate_lba.checked_sub(header.array_sectors(SectorSize::B512))?;
    bytes.extend(header.at(Place {
        own_lba: header.alternate_lba,
        alternate_lba: header.own_lba,
        entries_lba,
        last_usable: header.last_usable,
    }));
    Some((position(entries_lba)?, bytes))
}

/// The entries behind the first header, if they are those of a header.
fn entries_of<'a>(first: &'a [u8], header: &Header) -> Option<&'a [u8]> {
    first.bytes_at(2 * SECTOR, header.array_len).filter(|entries| header.is_of(entries))
}

fn position(lba: u64) -> Option<u64> {
    lba.checked_mul(SectorSize::B512.bytes())
}

impl Files {
    /// The bytes of a file of the table; `None` if there is none.
    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(path) = self.path(name) else { return Ok(None) };
        let what = || format!("reading {}", path.display());
        let len = std::fs::metadata(&path).context(what)?.len();
        if len > MAX_FILE {
            return Err(Error::damaged(format!("{} is too large", path.display())));
        }
        std::fs::read(&path).context(what).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTED: &str = "Model: ATA Studio SSD (scsi)\nDisk /dev/sda: 204800s\n\
        Sector size (logical/physical): 512B/512B\nPartition Table: msdos\nDisk Flags: \n";
    const DUMP: &str = "label: dos\nunit: sectors\n\n\
        /dev/sda1 : start=        2048, size=       20480, type=83, bootable\n\
        /dev/sda2 : start=       22528, size=      182272, type=5\n\
        /dev/sda5 : start=       24576, size=       20480, type=82\n";

    #[test]
    fn partitions_are_read_from_what_parted_and_sfdisk_said() {
        let geometry = Geometry::parse("sda", PARTED, DUMP).unwrap();
        assert_eq!(geometry.model.as_deref(), Some("ATA Studio SSD"));
        assert_eq!((geometry.len, geometry.sector), (204_800 * 512, 512));
        let names: Vec<&str> = geometry.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["sda1", "sda2", "sda5"]);
        assert_eq!(geometry.parts[1].kind, Kind::Extended);
        let old = DUMP.replace("type=", "Id=");
        assert_eq!(Geometry::parse("sda", PARTED, &old).unwrap(), geometry);
        for (from, to) in [("204800s", "0s"), ("512B/512B", "x"), ("msdos", "loop")] {
            assert!(Geometry::parse("sda", &PARTED.replace(from, to), DUMP).is_none(), "{to}");
        }
        let outside = DUMP.replace("182272", "99999999999999999999");
        assert!(Geometry::parse("sda", PARTED, &outside).is_none());
    }
}
