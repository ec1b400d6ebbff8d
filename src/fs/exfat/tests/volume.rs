// SPDX-License-Identifier: MIT OR Apache-2.0
//! An exFAT volume built byte by byte, of any size, of which only what was
//! written takes memory.

use std::collections::BTreeMap;

use super::super::boot_sector::checksum as boot_checksum;
use super::super::entry::checksum as set_checksum;
use super::super::*;
use crate::error::Result;
use crate::extent::Extent;
use crate::io::check_range;

pub(super) const SECTOR: u64 = 512;
const BLOCK: u64 = 512;
/// Bytes behind the filesystem.
pub(super) const BEHIND: u64 = 1024;
pub(super) const END: u32 = 0xffff_ffff;
pub(super) const BITMAP: u64 = 2;
pub(super) const UPCASE: u64 = 3;
pub(super) const ROOT: u64 = 4;
pub(super) const SECOND_BITMAP: u64 = 5;
pub(super) const FOLDER: u8 = 0x10;
pub(super) const CHAIN: u8 = 1;
pub(super) const RUN: u8 = 3;

/// A disk with holes.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) len: u64,
    blocks: BTreeMap<u64, [u8; BLOCK as usize]>,
}

impl Disk {
    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        for (at, byte) in (at..).zip(bytes) {
            let block = self.blocks.entry(at / BLOCK).or_insert([0; BLOCK as usize]);
            block[(at % BLOCK) as usize] = *byte;
        }
    }

    pub(super) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        read_vec(self, at, len).unwrap()
    }
}

impl ReadAt for Disk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        buf.fill(0);
        let end = offset + buf.len() as u64;
        for (number, block) in self.blocks.range(offset / BLOCK..end.div_ceil(BLOCK)) {
            let start = number * BLOCK;
            let part = Extent::at(start, BLOCK).intersect(&Extent::new(offset, end));
            let from = &block[(part.start() - start) as usize..(part.end() - start) as usize];
            buf[(part.start() - offset) as usize..][..from.len()].copy_from_slice(from);
        }
        Ok(())
    }
}

/// A volume, and where its parts are.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) disk: Disk,
    pub(super) cluster_bytes: u64,
    pub(super) clusters: u64,
    copies: u64,
    fat: u64,
    fat_bytes: u64,
    heap: u64,
}

impl Volume {
    /// 300 clusters of two sectors, with one FAT.
    pub(super) fn new() -> Self {
        Self::of(300, 1, 1)
    }

    /// A volume with a bitmap, an up-case table and a root folder, a sector
    /// that fills no cluster, and something behind it.
    pub(super) fn of(clusters: u64, cluster_shift: u8, copies: u64) -> Self {
        let cluster_bytes = SECTOR << cluster_shift;
        let fat = 26 * SECTOR;
        let fat_bytes = ((clusters + 2) * 4).next_multiple_of(SECTOR);
        let heap = fat + fat_bytes * copies + 3 * SECTOR;
        let size = heap + clusters * cluster_bytes + SECTOR;
        let disk = Disk { len: size + BEHIND, ..Disk::default() };
        let mut volume = Self { disk, cluster_bytes, clusters, copies, fat, fat_bytes, heap };
        for region in [0, 12 * SECTOR] {
            let mut put = |at, bytes: &[u8]| volume.disk.put(region + at, bytes);
            put(0, b"\xeb\x76\x90EXFAT   ");
            put(64, &63_u64.to_le_bytes());
            put(72, &(size / SECTOR).to_le_bytes());
            for (at, value) in [
                (80, fat / SECTOR),
                (84, fat_bytes / SECTOR),
                (88, heap / SECTOR),
                (92, clusters),
                (96, ROOT),
                (100, 0x1234_abcd),
            ] {
                put(at, &(value as u32).to_le_bytes());
            }
            put(104, &[0, 1, 0, 0, 9, cluster_shift, copies as u8, 0x80, 50]);
            put(510, &[0x55, 0xaa]);
        }
        volume.seal();
        volume.fat(0, 0xffff_fff8);
        volume.fat(1, END);
        let upcase: Vec<u8> = (0..64_u16).flat_map(|letter| letter.to_le_bytes()).collect();
        volume.disk.put(volume.place(UPCASE), &upcase);
        let sum = upcase
            .iter()
            .fold(0_u32, |sum, byte| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
        let bitmap_bytes = clusters.div_ceil(8);
        // A large bitmap takes more than its cluster: it lies behind the rest.
        let needed = bitmap_bytes.div_ceil(cluster_bytes);
        let (first, second) =
            if needed == 1 { (BITMAP, SECOND_BITMAP) } else { (100, 100 + needed) };
        let mut root = vec![0x83, 3];
        root.extend("abc".encode_utf16().flat_map(u16::to_le_bytes));
        root.resize(32, 0);
        root.extend(system_entry(0x81, 0, 0, first, bitmap_bytes));
        root.extend(system_entry(0x82, 0, sum, UPCASE, upcase.len() as u64));
        if copies == 2 {
            root.extend(system_entry(0x81, 1, 0, second, bitmap_bytes));
        }
        volume.disk.put(volume.place(ROOT), &root);
        volume.chain(&(first..first + needed).collect::<Vec<_>>());
        if copies == 2 {
            volume.chain(&(second..second + needed).collect::<Vec<_>>());
        }
        volume.chain(&[UPCASE]);
        volume.chain(&[ROOT]);
        volume
    }

    pub(super) fn place(&self, cluster: u64) -> u64 {
        self.heap + (cluster - 2) * self.cluster_bytes
    }

    pub(super) fn fat_place(&self, copy: u64, cluster: u64) -> u64 {
        self.fat + copy * self.fat_bytes + cluster * 4
    }

    /// An entry of all FATs.
    pub(super) fn fat(&mut self, cluster: u64, value: u32) {
        for copy in 0..self.copies {
            self.disk.put(self.fat_place(copy, cluster), &value.to_le_bytes());
        }
    }

    fn bitmaps(&self) -> Vec<u64> {
        let root = self.disk.get(self.place(ROOT), 128);
        let entries = root.chunks(32).filter(|entry| entry[0] == 0x81);
        entries
            .map(|entry| u64::from(u32::from_le_bytes(entry[20..24].try_into().unwrap())))
            .collect()
    }

    /// Sets or clears the bit of a cluster in one bitmap.
    pub(super) fn mark_in(&mut self, bitmap: usize, cluster: u64, used: bool) {
        let at = self.place(self.bitmaps()[bitmap]) + (cluster - 2) / 8;
        let byte = self.disk.get(at, 1)[0];
        let bit = 1 << ((cluster - 2) % 8);
        self.disk.put(at, &[if used { byte | bit } else { byte & !bit }]);
    }

    /// Sets or clears the bit of a cluster in all bitmaps.
    pub(super) fn mark(&mut self, cluster: u64, used: bool) {
        for bitmap in 0..self.bitmaps().len() {
            self.mark_in(bitmap, cluster, used);
        }
    }

    /// Clusters in use, one behind the other in a chain.
    pub(super) fn chain(&mut self, clusters: &[u64]) {
        let next = clusters.iter().skip(1).map(|next| *next as u32).chain([END]);
        for (cluster, next) in clusters.iter().zip(next) {
            self.mark(*cluster, true);
            self.fat(*cluster, next);
        }
    }

    /// Clusters in use, of which the FAT knows nothing.
    pub(super) fn run(&mut self, first: u64, end: u64) {
        (first..end).for_each(|cluster| self.mark(cluster, true));
    }

    /// Adds entries to a folder, behind those that are there.
    pub(super) fn add(&mut self, folder: u64, entries: &[u8]) -> u64 {
        let start = self.place(folder);
        let bytes = self.disk.get(start, self.cluster_bytes as usize);
        let slot = bytes.chunks(32).position(|entry| entry[0] == 0).unwrap() as u64;
        self.disk.put(start + slot * 32, entries);
        start + slot * 32
    }

    /// Adds a file to a folder, and returns where its entries are.
    pub(super) fn file(&mut self, folder: u64, kind: u8, flags: u8, first: u64, len: u64) -> u64 {
        self.add(folder, &file_set(kind, flags, first, len, &[]))
    }

    /// Changes a byte of a set of entries and makes its checksum right again.
    pub(super) fn change_set(&mut self, set: u64, at: u64, bytes: &[u8]) {
        self.disk.put(set + at, bytes);
        let count = u64::from(self.disk.get(set + 1, 1)[0]) + 1;
        let entries = self.disk.get(set, (count * 32) as usize);
        self.disk.put(set + 2, &set_checksum(&entries).to_le_bytes());
    }

    /// Changes bytes of both boot sectors, the checksums right.
    pub(super) fn boot(&mut self, at: u64, bytes: &[u8]) {
        self.disk.put(at, bytes);
        self.disk.put(12 * SECTOR + at, bytes);
        self.seal();
    }

    pub(super) fn flags(&mut self, flags: u16) {
        self.disk.put(106, &flags.to_le_bytes());
    }

    /// Makes the checksums of both boot regions right.
    pub(super) fn seal(&mut self) {
        for region in [0, 12 * SECTOR] {
            let sectors = self.disk.get(region, 11 * SECTOR as usize);
            let sum = boot_checksum(&sectors).to_le_bytes().repeat(SECTOR as usize / 4);
            self.disk.put(region + 11 * SECTOR, &sum);
        }
    }

    pub(super) fn probe(&self) -> Identity {
        Exfat.probe(&[&self.disk]).unwrap().unwrap()
    }

    pub(super) fn used(&self) -> Used {
        Exfat.used(&[&self.disk]).unwrap()
    }

    /// Why there is no map.
    #[track_caller]
    pub(super) fn whole(&self) -> String {
        let used = self.used();
        assert_eq!(used.extents, crate::extent::ExtentSet::all(self.disk.len));
        used.whole.unwrap()
    }

    /// What is corrupt.
    #[track_caller]
    pub(super) fn corrupt(&self) -> (&'static str, u64) {
        match Exfat.used(&[&self.disk]) {
            Err(FormatError::Corrupt { what, position, .. }) => (what, position),
            other => panic!("not corrupt: {other:?}"),
        }
    }

    /// The clusters of a proven map, after the check that all that is no cluster
    /// is in it.
    #[track_caller]
    pub(super) fn used_clusters(&self) -> Vec<u64> {
        let used = self.used();
        assert_eq!(used.whole, None);
        let end = self.place(self.clusters + 2);
        assert!(used.extents.covers(Extent::new(0, self.heap)));
        assert!(used.extents.covers(Extent::new(end, self.disk.len)));
        assert_eq!(used.extents.end(), self.disk.len);
        let inside = used.extents.within(Extent::new(self.heap, end));
        inside
            .flat_map(|run| {
                assert_eq!((run.start() - self.heap) % self.cluster_bytes, 0);
                let first = (run.start() - self.heap) / self.cluster_bytes + 2;
                first..first + run.len() / self.cluster_bytes
            })
            .collect()
    }
}

fn system_entry(kind: u8, flags: u8, sum: u32, first: u64, len: u64) -> Vec<u8> {
    let mut entry = vec![kind, flags, 0, 0];
    entry.extend(sum.to_le_bytes());
    entry.resize(20, 0);
    entry.extend((first as u32).to_le_bytes());
    entry.extend(len.to_le_bytes());
    entry
}

/// The entries of a file with a name of one letter, and others behind them.
pub(super) fn file_set(kind: u8, flags: u8, first: u64, len: u64, others: &[u8]) -> Vec<u8> {
    let mut set = vec![0; 96];
    set[0] = 0x85;
    set[1] = 2 + (others.len() / 32) as u8;
    set[4] = kind;
    set[32] = 0xc0;
    set[33] = flags;
    set[35] = 1;
    set[40..48].copy_from_slice(&len.to_le_bytes());
    set[52..56].copy_from_slice(&(first as u32).to_le_bytes());
    set[56..64].copy_from_slice(&len.to_le_bytes());
    set[64] = 0xc1;
    set[66] = b'a';
    set.extend(others);
    let sum = set_checksum(&set);
    set[2..4].copy_from_slice(&sum.to_le_bytes());
    set
}

/// An extension of a vendor that has clusters.
pub(super) fn extension(flags: u8, first: u64, len: u64) -> Vec<u8> {
    system_entry(0xe1, flags, 0, first, len)
}
