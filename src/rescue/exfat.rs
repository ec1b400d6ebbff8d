// SPDX-License-Identifier: MIT OR Apache-2.0
//! A new, empty exFAT filesystem: every system reads and writes it without
//! further software, and it takes files of any size.
//!
//! Names are those of Microsoft's "exFAT file system specification". Written
//! are both boot regions, one FAT, and three things in the first clusters: the
//! allocation bitmap, the up-case table, and the root folder. What is not
//! written has to be zero.

use crate::units::{GIB, KIB, MIB};

const SECTOR: u64 = 512;

/// The recommended up-case table of the specification, section 7.2.5.
const UPCASE: &[u8] = include_bytes!("upcase.bin");

/// Bytes of the boot sector that its checksum leaves out.
const CHANGING: [usize; 3] = [106, 107, 112];

const FAT_START: u64 = 64 * KIB;
const FIRST_CLUSTER: u64 = 2;
const END_OF_CHAIN: u32 = u32::MAX;

/// The smallest that is made: below, most of it would be tables.
pub(super) const SMALLEST: u64 = 8 * MIB;

/// The bytes of a new filesystem, as far as they are not zero: position in it
/// and content.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) pieces: Vec<(u64, Vec<u8>)>,
    /// Where the bytes in use end; behind there is free space only.
    pub(super) used: u64,
}

/// Where everything is.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    cluster: u64,
    fat_len: u64,
    heap: u64,
    clusters: u64,
    bitmap_clusters: u64,
    upcase_clusters: u64,
}

impl Geometry {
    fn new(len: u64) -> Self {
        // What Windows chooses.
        let cluster = match len {
            0..=0x0fff_ffff => 4 * KIB,
            _ if len <= 32 * GIB => 32 * KIB,
            _ => 128 * KIB,
        };
        // A FAT for all clusters there could be is a little too long, which
        // is allowed.
        let fat_len = ((len / cluster + FIRST_CLUSTER) * 4).next_multiple_of(SECTOR);
        // Clusters begin where flash memory has its pages.
        let heap = (FAT_START + fat_len).next_multiple_of(MIB);
        let clusters = (len - heap) / cluster;
        Self {
            cluster,
            fat_len,
            heap,
            clusters,
            bitmap_clusters: clusters.div_ceil(8).div_ceil(cluster),
            upcase_clusters: (UPCASE.len() as u64).div_ceil(cluster),
        }
    }

    const fn upcase(&self) -> u64 {
        FIRST_CLUSTER + self.bitmap_clusters
    }

    const fn root(&self) -> u64 {
        self.upcase() + self.upcase_clusters
    }

    const fn position(&self, cluster: u64) -> u64 {
        self.heap + (cluster - FIRST_CLUSTER) * self.cluster
    }
}

impl Volume {
    /// An empty filesystem of `len` bytes that starts at byte `offset` of its
    /// disk. `len` is at least [`SMALLEST`] and a multiple of a sector; `label`
    /// has at most eleven letters.
    pub(super) fn new(offset: u64, len: u64, label: &str, serial: u32) -> Self {
        let geometry = Geometry::new(len);
        let region = boot_region(&geometry, offset, len, serial);
        let mut pieces = vec![(0, region.clone()), (region.len() as u64, region)];
        pieces.push((FAT_START, fat(&geometry)));
        let used = geometry.root() - FIRST_CLUSTER + 1;
        pieces.push((geometry.position(FIRST_CLUSTER), bitmap(used)));
        pieces.push((geometry.position(geometry.upcase()), UPCASE.to_vec()));
        pieces.push((geometry.position(geometry.root()), root(&geometry, label)));
        Self { pieces, used: geometry.position(geometry.root() + 1) }
    }
}

/// Section 3: the boot sector, eight sectors of extended boot code, one of
/// parameters, one reserved, one with the checksum of the eleven.
fn boot_region(geometry: &Geometry, offset: u64, len: u64, serial: u32) -> Vec<u8> {
    let mut region = vec![0; 12 * SECTOR as usize];
    let mut put = |at: usize, bytes: &[u8]| region[at..at + bytes.len()].copy_from_slice(bytes);
    let sectors = |bytes: u64| ((bytes / SECTOR) as u32).to_le_bytes();
    put(0, b"\xeb\x76\x90EXFAT   ");
    put(64, &(offset / SECTOR).to_le_bytes()); // PartitionOffset
    put(72, &(len / SECTOR).to_le_bytes()); // VolumeLength
    put(80, &sectors(FAT_START)); // FatOffset
    put(84, &sectors(geometry.fat_len)); // FatLength
    put(88, &sectors(geometry.heap)); // ClusterHeapOffset
    put(92, &(geometry.clusters as u32).to_le_bytes()); // ClusterCount
    put(96, &(geometry.root() as u32).to_le_bytes()); // FirstClusterOfRootDirectory
    put(100, &serial.to_le_bytes()); // VolumeSerialNumber
    put(104, &0x0100_u16.to_le_bytes()); // FileSystemRevision
    put(108, &[SECTOR.ilog2() as u8]); // BytesPerSectorShift
    put(109, &[(geometry.cluster / SECTOR).ilog2() as u8]); // SectorsPerClusterShift
    put(110, &[1, 0x80]); // NumberOfFats, DriveSelect
    put(120, &[0xf4; 390]); // BootCode: halt
    put(510, &[0x55, 0xaa]); // BootSignature
    for extended in 1..=8 {
        put((extended + 1) * SECTOR as usize - 4, &[0, 0, 0x55, 0xaa]);
    }
    let (sectors, last) = region.split_at_mut(11 * SECTOR as usize);
    let sum = sectors
        .iter()
        .enumerate()
        .filter(|(index, _)| !CHANGING.contains(index))
        .fold(0_u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
    for field in last.chunks_exact_mut(4) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
    region
}

/// Section 4.1: the chains of the three things that are there.
fn fat(geometry: &Geometry) -> Vec<u8> {
    let mut entries = vec![0xffff_fff8_u32, u32::MAX];
    for clusters in [geometry.bitmap_clusters, geometry.upcase_clusters, 1] {
        for _ in 1..clusters {
            entries.push(entries.len() as u32 + 1);
        }
        entries.push(END_OF_CHAIN);
    }
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

/// Section 7.1.5: a bit for each cluster, the first ones in use.
fn bitmap(used: u64) -> Vec<u8> {
    let mut bits = vec![0xff; (used / 8) as usize];
    bits.push((1_u8 << (used % 8)) - 1);
    bits
}

/// Section 7: what the root folder of an empty filesystem has in it.
fn root(geometry: &Geometry, label: &str) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut name = vec![0x83, label.encode_utf16().count() as u8];
    name.extend(label.encode_utf16().flat_map(u16::to_le_bytes));
    name.resize(32, 0);
    entries.extend(name);
    let sum =
        UPCASE.iter().fold(0_u32, |sum, byte| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
    let bitmap_len = geometry.clusters.div_ceil(8);
    for (kind, sum, cluster, len) in
        [(0x81, 0, FIRST_CLUSTER, bitmap_len), (0x82, sum, geometry.upcase(), UPCASE.len() as u64)]
    {
        let mut entry = vec![kind, 0, 0, 0];
        entry.extend(u32::to_le_bytes(sum));
        entry.resize(20, 0);
        entry.extend((cluster as u32).to_le_bytes());
        entry.extend(len.to_le_bytes());
        entries.extend(entry);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;
    use crate::io::{Memory, WriteAt as _};

    #[test]
    fn the_table_is_that_of_the_specification() {
        let sum =
            UPCASE.iter().fold(0_u32, |sum, b| sum.rotate_right(1).wrapping_add(u32::from(*b)));
        assert_eq!((UPCASE.len(), sum), (5836, 0xe619_d30d));
    }

    #[test]
    fn geometries_of_all_sizes_are_consistent() {
        for len in [SMALLEST, 9 * MIB + 512, 255 * MIB, 256 * MIB, 8 * GIB, 64 * GIB, 2048 * GIB] {
            let geometry = Geometry::new(len);
            assert!(geometry.heap >= FAT_START + geometry.fat_len, "{geometry:?}");
            assert!(geometry.heap + geometry.clusters * geometry.cluster <= len, "{geometry:?}");
            assert!((geometry.clusters + 2) * 4 <= geometry.fat_len, "{geometry:?}");
            assert!(geometry.clusters > geometry.root() && geometry.root() < 2000, "{geometry:?}");
            let fat = fat(&geometry);
            assert_eq!(fat.len() as u64, (geometry.root() + 1) * 4);
        }
    }

    /// Judged by fsck.exfat in tests/rescue; this is only that the program
    /// itself knows it as empty.
    #[test]
    fn it_is_known_again() {
        let volume = Memory::new(vec![0; 16 << 20]);
        for (position, bytes) in Volume::new(1 << 20, 16 << 20, "DACAPO", 7).pieces {
            volume.write_at(position, &bytes).unwrap();
        }
        let readers: &[&dyn crate::io::ReadAt] = &[&volume];
        let identity =
            fs::FILESYSTEMS.iter().find_map(|it| it.probe(readers).ok().flatten()).unwrap();
        assert_eq!(identity.label.as_deref(), Some("DACAPO"));
    }
}
