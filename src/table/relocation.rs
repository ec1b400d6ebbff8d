// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a target of another size needs differently from the disk that was
//! saved.
//!
//! A target of the same size gets every byte as it was. On a larger one the
//! sectors that belong to the end of the disk move there. A smaller one is
//! refused unless all that is stored lies in front of its end. Everything that
//! is changed is said in words.

use super::{Partition, PartitionTable, TABLES, Table};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, read_vec};
use crate::units::human;

/// The changes that a target of another size needs; none for the same size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relocation {
    /// Positions on the target and the whole sectors that belong there, in
    /// ascending order and apart from each other.
    pub writes: Vec<(u64, Vec<u8>)>,
    /// What must not stay on the target: the sectors of the table's backup at
    /// the old end. They are to read as zeros.
    pub blank: ExtentSet,
    /// What is changed, or why nothing is, in words.
    pub steps: Vec<String>,
    /// Where the table's sectors at the end of the target start, if it has
    /// any there. Nothing else fits behind it.
    pub end: Option<u64>,
}

impl Relocation {
    /// Nothing is changed, and why.
    pub(super) fn none(why: impl Into<String>) -> Self {
        Self { steps: vec![why.into()], ..Self::default() }
    }

    /// What is written, in the order in which one copy of the table on the disk
    /// is good at every moment: the new backup first, the beginning last. What
    /// is blanked comes behind all of it.
    #[must_use]
    pub fn in_safe_order(&self) -> Vec<(u64, Vec<u8>)> {
        self.writes.iter().rev().cloned().collect()
    }

    /// Leaves out of what is blanked all that is written or in a partition.
    fn keep_clear(&mut self, partitions: &[Partition], target_len: u64) {
        let mut occupied: ExtentSet = partitions.iter().map(|partition| partition.extent).collect();
        occupied.extend(self.writes.iter().map(|(position, bytes)| {
            Extent::at(*position, u64::try_from(bytes.len()).unwrap_or(u64::MAX))
        }));
        self.blank = self.blank.subtract(&occupied).intersect(&ExtentSet::all(target_len));
        self.writes.sort_by_key(|(position, _)| *position);
    }
}

/// The changes that a target of `target_len` bytes needs, if `stored` are the
/// ranges of `original` that will be restored.
///
/// # Errors
/// Refused if the target is too small for a partition or for anything stored
/// but zeros that the table needs the place of; and if something cannot be
/// read.
pub fn relocate(original: &dyn ReadAt, stored: &ExtentSet, target_len: u64) -> Result<Relocation> {
    if target_len == original.len() {
        return Ok(Relocation::default());
    }
    let is_smaller = target_len < original.len();
    let (partitions, mut relocation) = match find(original) {
        Ok(Some((kind, table))) => {
            let relocation = kind.moved(original, &table, target_len)?;
            (table.partitions, relocation)
        }
        Ok(None) => (Vec::new(), Relocation::default()),
        // Nothing that is not understood is changed. The disk was stored
        // whole, so a smaller target is refused below.
        Err(error) if !is_smaller => {
            return Ok(Relocation::none(format!("the partition table stays as it is: {error}")));
        }
        Err(error) => {
            return Err(Error::refused(format!(
                "the partition table cannot be made smaller: {error}"
            ))
            .hint(format!("use a target of {} or more", human(original.len()))));
        }
    };

    let end = relocation.end.unwrap_or(target_len);
    let stored = stored.subtract(&relocation.blank);
    let misfit = match partitions.iter().find(|partition| partition.extent.end() > end) {
        Some(partition) => {
            Some(format!("partition {} ends at {:#x}", partition.number, partition.extent.end()))
        }
        None => first_content(original, &stored, Extent::new(end, u64::MAX), target_len)?
            .map(|position| format!("there is data at {position:#x}")),
    };
    if let Some(misfit) = misfit {
        if is_smaller {
            return Err(Error::refused(format!(
                "the target of {} is too small: {misfit}, the space for it at {end:#x}",
                human(target_len)
            ))
            .hint(format!("use a target of {} or more", human(original.len()))));
        }
        return Ok(Relocation::none(format!(
            "the partition table stays as it is: {misfit}, where its backup would have to be"
        )));
    }
    relocation.keep_clear(&partitions, target_len);
    Ok(relocation)
}

/// The changes that bring the backup of the disk's own table to the end of the
/// disk, as is needed after the bytes of a disk of another size were copied to
/// it; `None` if it is there, or the table has none.
///
/// # Errors
/// Refused if a partition is where the backup has to be, or if it cannot be
/// told what the table should be.
pub fn backup_to_end(disk: &dyn ReadAt) -> Result<Option<Relocation>> {
    let Some((kind, table)) = find(disk)? else { return Ok(None) };
    let Some(mut relocation) = kind.to_end(disk, &table)? else { return Ok(None) };
    let end = relocation.end.unwrap_or_else(|| disk.len());
    if let Some(partition) = table.partitions.iter().find(|it| it.extent.end() > end) {
        return Err(Error::refused(format!(
            "partition {} ends at {:#x}, where the backup of the partition table would have to be",
            partition.number,
            partition.extent.end()
        )));
    }
    relocation.keep_clear(&table.partitions, disk.len());
    Ok(Some(relocation))
}

/// The byte up to which partitions of the disk's own table may reach.
///
/// # Errors
/// If there is no good table.
pub fn space_end(disk: &dyn ReadAt) -> Result<u64> {
    let (kind, table) = find(disk)?.ok_or_else(no_table)?;
    kind.space_end(disk, &table)
}

/// The sectors that make partition `number` end at byte `end`, in the order in
/// which they are to be written.
///
/// # Errors
/// Refused if the partition would end before its start or reach into another
/// one or the table, or if the table does not allow it.
pub fn enlarge(disk: &dyn ReadAt, number: u32, end: u64) -> Result<Vec<(u64, Vec<u8>)>> {
    let (kind, table) = find(disk)?.ok_or_else(no_table)?;
    let found = table.partitions.iter().find(|partition| partition.number == number);
    let found = found.ok_or_else(|| Error::failed(format!("there is no partition {number}")))?;
    let added = Extent::new(found.extent.end(), end);
    let is_free = table.partitions.iter().all(|partition| !partition.extent.overlaps(&added));
    let is_inside = end <= kind.space_end(disk, &table)? && end > found.extent.end();
    if table.doubtful || found.container || !is_free || !is_inside {
        return Err(Error::refused(format!("partition {number} cannot end at {end:#x}")));
    }
    kind.enlarged(disk, &table, number, end)
}

fn no_table() -> Error {
    Error::refused("the disk has no partition table")
}

/// The first stored byte in `window` that has to be kept. The end of a disk
/// mostly belongs to no partition and is stored for that; as far as the target
/// reaches, zeros there make room. What is stored behind is kept in any case.
fn first_content(
    original: &dyn ReadAt,
    stored: &ExtentSet,
    window: Extent,
    target_len: u64,
) -> Result<Option<u64>> {
    /// A whole number of sectors of any size.
    const PIECE: u64 = 64 << 10;
    for extent in stored.within(window) {
        let mut position = extent.start();
        while position < extent.end() {
            if position >= target_len {
                return Ok(Some(position));
            }
            let len = PIECE.min(extent.end().min(target_len).saturating_sub(position));
            // OK because a piece is short.
            let bytes = read_vec(original, position, usize::try_from(len).unwrap_or(0))?;
            if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
                let at = u64::try_from(at).unwrap_or(u64::MAX);
                return Ok(Some(position.saturating_add(at)));
            }
            position = position.saturating_add(len);
        }
    }
    Ok(None)
}

fn find(disk: &dyn ReadAt) -> Result<Option<(&'static dyn Table, PartitionTable)>> {
    for kind in TABLES {
        if let Some(table) = kind.read(disk)? {
            return Ok(Some((*kind, table)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        reason = "numbers of our own"
    )]

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;
    use crate::error::ErrorKind;
    use crate::io::Memory;
    use crate::table::samples::{GptDisk, boot_record, mbr_entry};
    use crate::table::{gpt::Gpt, read};
    use crate::units::SectorSize;

    /// What a restore leaves on a target full of junk, if everything but zeros
    /// is stored.
    fn restored(disk: &GptDisk, relocation: &Relocation, sectors: u64) -> GptDisk {
        let mut target = vec![0x5a; sectors as usize * disk.size];
        let len = target.len().min(disk.bytes.len());
        target[..len].copy_from_slice(&disk.bytes[..len]);
        for extent in relocation.blank.iter() {
            target[extent.start() as usize..extent.end() as usize].fill(0);
        }
        for (position, bytes) in &relocation.writes {
            target[*position as usize..*position as usize + bytes.len()].copy_from_slice(bytes);
        }
        disk.with_bytes(target)
    }

    /// Everything up to the last partition, and the old backup.
    fn stored(disk: &GptDisk) -> ExtentSet {
        let size = disk.size as u64;
        let backup = disk.bytes.len() as u64 - size * (1 + disk.array_sectors());
        [Extent::new(0, 41 * size), Extent::new(backup, disk.bytes.len() as u64)]
            .into_iter()
            .collect()
    }

    fn moved(disk: &GptDisk, sectors: u64) -> Relocation {
        relocate(&disk.disk(), &stored(disk), sectors * disk.size as u64).unwrap()
    }

    fn refusal(disk: &GptDisk, sectors: u64) -> String {
        let error = relocate(&disk.disk(), &stored(disk), sectors * disk.size as u64).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        error.to_string()
    }

    fn table(disk: &GptDisk) -> PartitionTable {
        Gpt.read(&disk.disk()).unwrap().unwrap()
    }

    fn has_step(relocation: &Relocation, part: &str) -> bool {
        relocation.steps.iter().any(|step| step.contains(part))
    }

    fn word(disk: &GptDisk, lba: u64, offset: usize) -> u64 {
        let at = lba as usize * disk.size + offset;
        u64::from_le_bytes(disk.bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let disk = GptDisk::small();
        assert_eq!(moved(&disk, 64), Relocation::default());
        let broken = GptDisk::small().patched(1, 0, &[0]).patched(63, 0, &[0]);
        assert_eq!(moved(&broken, 64), Relocation::default());
    }

    #[test]
    fn the_backup_comes_to_the_end_of_its_disk_and_a_table_is_good_at_every_moment() {
        for (size, sectors) in [(SectorSize::B512, 200), (SectorSize::B4096, 66)] {
            let small = GptDisk::new(size, 64, 4, 128, &[(0, 20, 30), (2, 32, 40)]);
            let before = table(&small);
            assert_eq!(backup_to_end(&small.disk()).unwrap(), None);
            let mut bytes = small.bytes.clone();
            bytes.resize(sectors * small.size, 0x5a);
            let relocation =
                backup_to_end(&Memory::new(bytes.clone()).with_sector_size(size)).unwrap();
            let relocation = relocation.unwrap();
            for (position, piece) in relocation.in_safe_order() {
                let at = position as usize;
                bytes[at..at + piece.len()].copy_from_slice(&piece);
                let now =
                    read(&Memory::new(bytes.clone()).with_sector_size(size)).unwrap().unwrap();
                assert_eq!((&now.partitions, now.doubtful), (&before.partitions, false));
            }
            for extent in relocation.blank.iter() {
                bytes[extent.start() as usize..extent.end() as usize].fill(0);
            }
            let disk = Memory::new(bytes).with_sector_size(size);
            let after = read(&disk).unwrap().unwrap();
            assert_eq!(after.notes, [""; 0]);
            assert_eq!(backup_to_end(&disk).unwrap(), None);
        }
    }

    #[test]
    fn a_partition_grows_and_a_table_is_good_at_every_moment() {
        for size in [SectorSize::B512, SectorSize::B4096] {
            let disk = GptDisk::new(size, 64, 4, 128, &[(0, 20, 30), (2, 32, 40)]);
            let (unit, before) = (size.bytes(), table(&disk));
            let end = space_end(&disk.disk()).unwrap();
            assert_eq!(end, (63 - disk.array_sectors()) * unit);
            let mut bytes = disk.bytes.clone();
            for (position, piece) in enlarge(&disk.disk(), 3, end).unwrap() {
                let at = position as usize;
                bytes[at..at + piece.len()].copy_from_slice(&piece);
                let now = table(&disk.with_bytes(bytes.clone()));
                let ends = [before.partitions[1].extent.end(), end];
                assert!(ends.contains(&now.partitions[1].extent.end()));
                assert_eq!(now.partitions[0], before.partitions[0]);
            }
            let after = table(&disk.with_bytes(bytes));
            assert_eq!(after.notes, [""; 0]);
            assert_eq!(after.partitions[1].extent, Extent::new(32 * unit, end));
            // Not over another one, not over the backup, not backwards.
            for (number, end) in [(1, 33 * unit), (3, end + unit), (3, 35 * unit), (2, end)] {
                assert!(enlarge(&disk.disk(), number, end).is_err(), "{number} {end}");
            }
        }
    }

    #[test]
    fn a_few_bytes_that_are_no_sector_change_nothing() {
        let disk = GptDisk::small();
        for len in [64 * 512 + 1, 65 * 512 - 1] {
            let relocation = relocate(&disk.disk(), &stored(&disk), len).unwrap();
            assert_eq!(relocation, Relocation::default());
        }
    }

    #[test]
    fn the_backup_moves_to_any_new_end() {
        for (size, count) in
            [(SectorSize::B512, 4), (SectorSize::B512, 20), (SectorSize::B4096, 128)]
        {
            let disk = GptDisk::new(size, 64, count, 128, &[(0, 20, 30), (2, 32, 40)]);
            let before = table(&disk);
            let array = disk.array_sectors();
            for sectors in 42 + array + 1..200 {
                if sectors == 64 {
                    continue;
                }
                let relocation = moved(&disk, sectors);
                let target = restored(&disk, &relocation, sectors);
                let after = table(&target);
                assert_eq!(after.notes, [""; 0], "{sectors}");
                assert_eq!((&after.partitions, &after.id), (&before.partitions, &before.id));
                let last = sectors - 1;
                for lba in [1, last] {
                    assert_eq!(word(&target, lba, 0x30), last - array - 1, "last usable");
                    assert_eq!(word(&target, lba, 0x28), 2 + array, "first usable");
                }
                // No signature is left at the old end, no partition touched.
                let old = 63 * disk.size;
                if sectors > 64 {
                    assert_ne!(target.bytes[old..old + 8], *b"EFI PART");
                }
                let partitions = 20 * disk.size..41 * disk.size;
                assert_eq!(target.bytes[partitions.clone()], disk.bytes[partitions]);
                assert!(
                    sectors < 65 + array
                        || relocation.blank.bytes() == (1 + array) * disk.size as u64
                );
            }
        }
    }

    #[test]
    fn reserved_bytes_are_kept() {
        let mut disk = GptDisk::small();
        for (lba, fill) in [(1, 0x11), (63, 0x33)] {
            disk.patch(lba, 0x08, &[0, 0, 2, 0]);
            disk.patch(lba, 0x0c, &[200]);
            disk.patch(lba, 0x14, &[fill; 4]);
            disk.patch(lba, 0x5c, &[fill; 420]);
        }
        // Junk in an entry that is not used, and behind the array.
        disk.patch(2, 0x90, &[0x77; 16]);
        disk.patch(62, 0x90, &[0x77; 16]);
        disk.seal();
        let target = restored(&disk, &moved(&disk, 100), 100);
        let mut expected = disk.clone();
        expected.bytes.truncate(62 * 512);
        expected.bytes.extend_from_slice(&[0; 1024]);
        expected.bytes.extend_from_slice(&[0x5a; 34 * 512]);
        expected.bytes.extend_from_slice(&disk.bytes[62 * 512..]);
        expected = expected.with_bytes(expected.bytes.clone());
        expected.patch(0, 0x1ca, &99_u32.to_le_bytes());
        for (lba, own, other, entries) in [(1, 1_u64, 99_u64, 2_u64), (99, 99, 1, 98)] {
            expected.patch(lba, 0x18, &own.to_le_bytes());
            expected.patch(lba, 0x20, &other.to_le_bytes());
            expected.patch(lba, 0x30, &97_u64.to_le_bytes());
            expected.patch(lba, 0x48, &entries.to_le_bytes());
        }
        expected.seal();
        assert_eq!(target.bytes, expected.bytes);
    }

    #[test]
    fn the_distance_of_the_backup_array_is_kept() {
        // As some tools do: room for 16 KiB of entries, whatever their count.
        let mut disk = GptDisk::new(SectorSize::B512, 128, 4, 128, &[(0, 40, 40)]);
        let entries = disk.bytes[1024..1536].to_vec();
        disk.patch(126, 0, &[0; 512]);
        disk.patch(127 - 32, 0, &entries);
        disk.patch(127, 0x48, &(127_u64 - 32).to_le_bytes());
        disk.seal();
        let relocation = moved(&disk, 200);
        assert_eq!(relocation.end, Some((199 - 32) * 512));
        assert_eq!(table(&restored(&disk, &relocation, 200)).notes, [""; 0]);
    }

    #[test]
    fn a_smaller_target_is_refused_for_a_partition_or_data() {
        let disk = GptDisk::small();
        assert!(refusal(&disk, 42).contains("partition 3 ends at 0x5200"));
        assert!(moved(&disk, 43).end == Some(41 * 512));
        // Zeros make room for the table, data does not; behind the end, both
        // are in the way, unless they are not stored.
        let everything = ExtentSet::all(64 * 512);
        let (zeros, end) = (stored(&disk).union(&ExtentSet::all(50 * 512)), 50 * 512);
        assert!(relocate(&disk.disk(), &zeros, end).is_ok());
        assert!(relocate(&disk.disk(), &everything, end).is_err());
        let data = disk.clone().patched(49, 7, &[1]);
        let error = relocate(&data.disk(), &zeros, end).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("there is data at 0x6207"), "{error}");
        let beyond = disk.clone().patched(50, 0, &[1]);
        assert!(relocate(&beyond.disk(), &zeros, end).is_ok());
        let data = disk.clone().patched(48, 511, &[1]);
        assert!(relocate(&data.disk(), &zeros, end).is_err());
        let data = disk.clone().patched(47, 511, &[1]);
        assert!(relocate(&data.disk(), &zeros, end).is_ok());
        for tiny in [0, 1, 511, 512, 1024, 1536, 2048] {
            assert!(relocate(&disk.disk(), &stored(&disk), tiny).is_err());
        }
    }

    #[test]
    fn a_missing_backup_is_made_from_the_primary() {
        for (lba, offset) in [(63, 0x10), (63, 0), (62, 0)] {
            let disk = GptDisk::small().patched(lba, offset, &[0x99]);
            let relocation = moved(&disk, 100);
            assert!(has_step(&relocation, "made from the primary"));
            let target = restored(&disk, &relocation, 100);
            assert_eq!(table(&target).notes, [""; 0]);
        }
    }

    #[test]
    fn a_damaged_primary_stays_as_it_is() {
        let disk = GptDisk::small().patched(1, 0x10, &[0x99]);
        let relocation = moved(&disk, 100);
        assert!(has_step(&relocation, "damaged primary GPT stays"));
        let target = restored(&disk, &relocation, 100);
        assert_eq!(target.bytes[512..1536], disk.bytes[512..1536]);
        assert_eq!(table(&target).partitions, table(&disk).partitions);
        assert_eq!(table(&target).notes.len(), 1);
        // Only its entries: then the header points to the new backup.
        let disk = GptDisk::small().patched(2, 0, &[0x99]);
        let relocation = moved(&disk, 100);
        assert!(has_step(&relocation, "damaged entries of the primary GPT stay"));
        let target = restored(&disk, &relocation, 100);
        assert_eq!(word(&target, 1, 0x20), 99);
        assert_eq!(table(&target).notes.len(), 1);
    }

    #[test]
    fn a_misplaced_backup_moves_to_the_new_end() {
        let mut disk = GptDisk::small();
        disk.bytes.resize(80 * 512, 0);
        let relocation = moved(&disk, 100);
        assert!(has_step(&relocation, "protective MBR stays"));
        let target = restored(&disk, &relocation, 100);
        assert_eq!(word(&target, 1, 0x20), 99);
        assert_eq!(table(&target).protected.end(), 100 * 512);
        assert_eq!(target.bytes[62 * 512..64 * 512], [0; 1024]);
    }

    #[test]
    fn a_table_in_doubt_stays_or_is_refused() {
        let contradict = GptDisk::small().patched(63, 0x38, &[7]).sealed();
        let unprotected = GptDisk::small().patched(0, 0, &[0; 512]);
        let lost = GptDisk::small().patched(1, 0, &[0]).patched(63, 0, &[0]);
        for disk in [contradict, unprotected, lost] {
            let relocation = moved(&disk, 100);
            assert!(relocation.writes.is_empty() && relocation.blank.is_empty());
            assert!(has_step(&relocation, "partition table stays as it is"));
            assert!(relocate(&disk.disk(), &stored(&disk), 60 * 512).is_err());
        }
    }

    #[test]
    fn the_protective_mbr_changes_only_if_it_was_exact() {
        let with = |entry: [u8; 16]| GptDisk::small().patched(0, 0x1be, &entry);
        let hybrid = GptDisk::small().patched(0, 0x1ce, &mbr_entry(0x80, 0x0c, 8, 8));
        let windows = with(mbr_entry(0, 0xee, 1, u32::MAX));
        let odd = with(mbr_entry(0, 0xee, 1, 60));
        let early = with(mbr_entry(0, 0xee, 0, 63));
        for disk in [hybrid, windows, odd, early] {
            let relocation = moved(&disk, 100);
            assert!(relocation.writes.iter().all(|(position, _)| *position != 0));
            assert!(has_step(&relocation, "MBR stays as it is"));
        }
        let relocation = moved(&GptDisk::small(), 100);
        assert_eq!(relocation.writes[0].0, 0);
        let mut expected = GptDisk::small().bytes[..512].to_vec();
        expected[0x1ca] = 99;
        assert_eq!(relocation.writes[0].1, expected);
    }

    #[test]
    fn a_partition_over_the_old_backup_is_not_blanked() {
        let disk = GptDisk::new(SectorSize::B512, 64, 4, 128, &[(0, 20, 63)]);
        let relocation = moved(&disk, 100);
        assert!(relocation.blank.is_empty());
        // And where the new backup would lie in a partition, nothing changes.
        let disk = GptDisk::new(SectorSize::B512, 64, 4, 128, &[(0, 20, 80)]);
        let relocation = moved(&disk, 80);
        assert!(relocation.writes.is_empty() && relocation.blank.is_empty());
        assert!(has_step(&relocation, "where its backup would have to be"));
    }

    #[test]
    fn nothing_is_blanked_on_the_word_of_a_backup_alone() {
        // Its array is that of the primary, or is somewhere on the disk, or
        // does not hold; the header itself is in front of the last usable sector.
        let entries = GptDisk::small().bytes[2 * 512..3 * 512].to_vec();
        let shared = GptDisk::small().patched(63, 0x48, &[2]).sealed();
        let elsewhere = GptDisk::small().patched(20, 0, &entries).patched(63, 0x48, &[20]).sealed();
        let mut broken = GptDisk::small().patched(63, 0x48, &[22]);
        broken.seal_header(63);
        for disk in [shared, elsewhere, broken] {
            let relocation = moved(&disk, 100);
            let header = ExtentSet::from(Extent::at(63 * 512, 512));
            assert_eq!(relocation.blank, header);
            let target = restored(&disk, &relocation, 100);
            assert_eq!(table(&target).notes, [""; 0]);
        }
        let mut early = GptDisk::small().patched(1, 0x30, &[70]).patched(63, 0x30, &[70]);
        early.seal();
        assert!(moved(&early, 100).blank.is_empty());
    }

    #[test]
    fn an_mbr_needs_nothing_but_room() {
        let mut bytes = vec![0; 64 * 512];
        bytes[..512].copy_from_slice(&boot_record(&[(0x80, 7, 8, 20)]));
        let disk = Memory::new(bytes);
        let stored = ExtentSet::from(Extent::new(0, 28 * 512));
        assert_eq!(relocate(&disk, &stored, 100 * 512).unwrap(), Relocation::default());
        assert_eq!(relocate(&disk, &stored, 28 * 512).unwrap(), Relocation::default());
        assert!(relocate(&disk, &stored, 28 * 512 - 1).is_err());
        let empty = Memory::zeros(4096);
        assert!(relocate(&empty, &ExtentSet::all(4096), 4095).is_err());
        assert!(relocate(&empty, &ExtentSet::all(512), 512).is_ok());
    }

    proptest! {
        #[test]
        fn there_and_back_gives_the_same_bytes(grown in 67_u64..400) {
            let disk = GptDisk::small();
            let larger = restored(&disk, &moved(&disk, grown), grown);
            let again = relocate(&larger.disk(), &ExtentSet::new(), 64 * 512).unwrap();
            let back = restored(&larger, &again, 64);
            prop_assert_eq!(back.bytes, disk.bytes);
            prop_assert_eq!(read(&larger.disk()).unwrap().unwrap().partitions.len(), 2);
        }
    }
}
