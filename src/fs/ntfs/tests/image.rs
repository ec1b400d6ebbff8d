// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small NTFS volumes built in memory, byte by byte.

use crate::extent::{Extent, ExtentSet};
use crate::fs::ntfs::Ntfs;
use crate::fs::{Filesystem, Identity, Used};
use crate::io::Memory;
use crate::ondisk::FormatError;

pub(super) const RECORD: usize = 1024;
/// Records of the table.
pub(super) const RECORDS: u64 = 32;
/// The file that tests change.
pub(super) const FILE: u64 = 20;

/// A record that is not written yet.
#[derive(Debug, Clone)]
pub(super) struct Rec {
    pub(super) flags: u16,
    pub(super) sequence: u16,
    pub(super) base: u64,
    pub(super) attributes: Vec<Vec<u8>>,
}

impl Rec {
    pub(super) fn new(attributes: Vec<Vec<u8>>) -> Self {
        Self { flags: 1, sequence: 1, base: 0, attributes }
    }
}

/// A volume of 4 KiB clusters, unless told otherwise.
pub(super) struct Image {
    pub(super) cluster: u64,
    pub(super) clusters: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) records: Vec<Option<Rec>>,
    /// In `$Bitmap`.
    pub(super) marked: Vec<(u64, u64)>,
    /// Bits of the table's bitmap that are not as the records say.
    pub(super) flipped: Vec<u64>,
}

pub(super) const MFT: u64 = 4;
pub(super) const MIRROR: u64 = 12;
pub(super) const BITMAP: u64 = 13;
pub(super) const LOG: u64 = 16;
/// Clusters of the log.
pub(super) const LOG_LEN: u64 = 8;

pub(super) fn resident(kind: u32, name: &str, value: &[u8], instance: u16) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let start = (0x18 + name.len()).next_multiple_of(8);
    let len = (start + value.len()).next_multiple_of(8);
    let mut bytes = vec![0; len];
    put(&mut bytes, 0, &kind.to_le_bytes());
    put(&mut bytes, 4, &(len as u32).to_le_bytes());
    bytes[9] = (name.len() / 2) as u8;
    put(&mut bytes, 10, &0x18_u16.to_le_bytes());
    put(&mut bytes, 14, &instance.to_le_bytes());
    put(&mut bytes, 0x10, &(value.len() as u32).to_le_bytes());
    put(&mut bytes, 0x14, &(start as u16).to_le_bytes());
    put(&mut bytes, 0x18, &name);
    put(&mut bytes, start, value);
    bytes
}

/// An attribute with runs from cluster `first` of the stream on; the runs are
/// (cluster, count), a hole has no cluster.
pub(super) fn mapped(
    kind: u32,
    name: &str,
    first: u64,
    runs: &[(Option<u64>, u64)],
    bytes_len: u64,
    instance: u16,
) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let start = 0x40 + name.len().next_multiple_of(8);
    let mut list = Vec::new();
    let (mut at, mut count_all) = (0_i64, 0);
    for &(cluster, count) in runs {
        count_all += count;
        list.push(if cluster.is_some() { 0x44 } else { 0x04 });
        list.extend((count as i32).to_le_bytes());
        if let Some(cluster) = cluster {
            list.extend(((cluster as i64 - at) as i32).to_le_bytes());
            at = cluster as i64;
        }
    }
    list.push(0);
    let len = (start + list.len()).next_multiple_of(8);
    let mut bytes = vec![0; len];
    put(&mut bytes, 0, &kind.to_le_bytes());
    put(&mut bytes, 4, &(len as u32).to_le_bytes());
    bytes[8] = 1;
    bytes[9] = (name.len() / 2) as u8;
    put(&mut bytes, 10, &0x40_u16.to_le_bytes());
    put(&mut bytes, 14, &instance.to_le_bytes());
    put(&mut bytes, 0x10, &first.to_le_bytes());
    put(&mut bytes, 0x18, &(first + count_all).wrapping_sub(1).to_le_bytes());
    put(&mut bytes, 0x20, &(start as u16).to_le_bytes());
    put(&mut bytes, 0x28, &bytes_len.to_le_bytes());
    put(&mut bytes, 0x30, &bytes_len.to_le_bytes());
    put(&mut bytes, 0x38, &bytes_len.to_le_bytes());
    put(&mut bytes, 0x40, &name);
    put(&mut bytes, start, &list);
    bytes
}

/// An entry of an attribute list.
pub(super) fn list_entry(
    kind: u32,
    first: u64,
    record: u64,
    sequence: u16,
    instance: u16,
) -> Vec<u8> {
    let mut entry = vec![0; 0x20];
    put(&mut entry, 0, &kind.to_le_bytes());
    put(&mut entry, 4, &0x20_u16.to_le_bytes());
    entry[7] = 0x1a;
    put(&mut entry, 8, &first.to_le_bytes());
    put(&mut entry, 0x10, &(record | u64::from(sequence) << 48).to_le_bytes());
    put(&mut entry, 0x18, &instance.to_le_bytes());
    entry
}

pub(super) fn file_name(parent: u64, name: &str) -> Vec<u8> {
    let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut value = vec![0; 0x42];
    put(&mut value, 0, &parent.to_le_bytes());
    value[0x40] = (units.len() / 2) as u8;
    value.extend(units);
    value
}

/// The value of an index with these entries: (record, name).
pub(super) fn index_root(entries: &[(u64, &str)]) -> Vec<u8> {
    let mut value = vec![0; 0x20];
    value[0] = 0x30;
    value[4] = 1;
    put(&mut value, 8, &4096_u32.to_le_bytes());
    value[0x10] = 0x10;
    for &(record, name) in entries {
        let key = file_name(5, name);
        let mut entry = vec![0; (0x10 + key.len()).next_multiple_of(8)];
        put(&mut entry, 0, &(record | 1 << 48).to_le_bytes());
        let len = entry.len() as u16;
        put(&mut entry, 8, &len.to_le_bytes());
        put(&mut entry, 10, &(key.len() as u16).to_le_bytes());
        put(&mut entry, 0x10, &key);
        value.extend(entry);
    }
    let mut last = vec![0; 0x10];
    last[8] = 0x10;
    last[12] = 2;
    value.extend(last);
    let len = (value.len() - 0x10) as u32;
    put(&mut value, 0x14, &len.to_le_bytes());
    value
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Protects sectors as the disk has them.
pub(super) fn protect(bytes: &mut [u8], sequence_at: usize) {
    let count = bytes.len() / 512 + 1;
    put(bytes, 4, &(sequence_at as u16).to_le_bytes());
    put(bytes, 6, &(count as u16).to_le_bytes());
    put(bytes, sequence_at, &[7, 0]);
    for stride in 1..count {
        let (end, place) = (stride * 512 - 2, sequence_at + stride * 2);
        let last = [bytes[end], bytes[end + 1]];
        put(bytes, place, &last);
        put(bytes, end, &[7, 0]);
    }
}

impl Image {
    pub(super) fn new() -> Self {
        Self::with(4096, 512)
    }

    /// The places of the metadata are the same clusters for all sizes that have
    /// room in one cluster for each.
    pub(super) fn with(cluster: u64, clusters: u64) -> Self {
        let mut image = Self {
            cluster,
            clusters,
            bytes: vec![0; (cluster * clusters) as usize + 512],
            records: vec![None; RECORDS as usize],
            marked: vec![(0, 2), (MFT, image_mft_clusters(cluster)), (MIRROR, 2), (LOG, LOG_LEN)],
            flipped: Vec::new(),
        };
        let table = RECORDS * RECORD as u64;
        let (mft, log) = (image_mft_clusters(cluster), LOG_LEN);
        let bitmap_len = clusters.div_ceil(64) * 8;
        let files = [
            (
                0,
                vec![
                    mapped(0x80, "", 0, &[(Some(MFT), mft)], table, 1),
                    resident(0xb0, "", &[0; 8], 2),
                ],
            ),
            (1, vec![mapped(0x80, "", 0, &[(Some(MIRROR), 1)], 4096.min(cluster), 1)]),
            (2, vec![mapped(0x80, "", 0, &[(Some(LOG), log)], log * cluster, 1)]),
            (
                3,
                vec![
                    resident(0x60, "", &utf16("My disk"), 1),
                    resident(0x70, "", &[0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0], 2),
                ],
            ),
            (5, vec![resident(0x90, "$I30", &index_root(&[]), 1)]),
            (6, vec![mapped(0x80, "", 0, &[(Some(BITMAP), 1)], bitmap_len, 1)]),
            (7, vec![mapped(0x80, "", 0, &[(Some(0), 8192_u64.div_ceil(cluster))], 8192, 1)]),
            (8, vec![mapped(0x80, "$Bad", 0, &[(None, clusters)], clusters * cluster, 1)]),
            (
                FILE,
                vec![
                    resident(0x30, "", &file_name(5, "file"), 1),
                    mapped(0x80, "", 0, &[(Some(40), 4)], 4 * cluster, 2),
                ],
            ),
        ];
        for (number, attributes) in files {
            image.records[number as usize] = Some(Rec::new(attributes));
        }
        image.marked.push((40, 4));
        let (start, end) = ((LOG * cluster) as usize, ((LOG + log) * cluster) as usize);
        image.bytes[start..end].fill(0xff);
        image.boot();
        image
    }

    fn boot(&mut self) {
        let sectors = self.cluster / 512;
        let mut boot = vec![0; 512];
        put(&mut boot, 0, &[0xeb, 0x52, 0x90]);
        put(&mut boot, 3, b"NTFS    ");
        put(&mut boot, 0x0b, &512_u16.to_le_bytes());
        boot[0x0d] = match sectors {
            ..=128 => sectors as u8,
            sectors => (256 - sectors.trailing_zeros()) as u8,
        };
        put(&mut boot, 0x28, &(self.clusters * sectors).to_le_bytes());
        put(&mut boot, 0x30, &MFT.to_le_bytes());
        put(&mut boot, 0x38, &MIRROR.to_le_bytes());
        boot[0x40] = 0xf6;
        put(&mut boot, 0x48, &0x0123_4567_89ab_cdef_u64.to_le_bytes());
        put(&mut self.bytes, 0, &boot);
        let last = self.bytes.len() - 512;
        put(&mut self.bytes, last, &boot);
    }

    pub(super) fn record(&mut self, number: u64) -> &mut Rec {
        self.records[number as usize].get_or_insert_with(|| Rec::new(Vec::new()))
    }

    /// The bytes of a record as they are on the disk.
    pub(super) fn encode(&self, number: u64) -> Vec<u8> {
        let mut bytes = vec![0; RECORD];
        put(&mut bytes, 0, b"FILE");
        put(&mut bytes, 0x2c, &(number as u32).to_le_bytes());
        put(&mut bytes, 0x14, &0x38_u16.to_le_bytes());
        put(&mut bytes, 0x1c, &(RECORD as u32).to_le_bytes());
        let mut at = 0x38;
        if let Some(record) = &self.records[number as usize] {
            put(&mut bytes, 0x10, &record.sequence.to_le_bytes());
            put(&mut bytes, 0x16, &record.flags.to_le_bytes());
            put(&mut bytes, 0x20, &record.base.to_le_bytes());
            for attribute in &record.attributes {
                put(&mut bytes, at, attribute);
                at += attribute.len();
            }
        }
        put(&mut bytes, at, &[0xff; 4]);
        put(&mut bytes, 0x18, &(at as u32 + 8).to_le_bytes());
        protect(&mut bytes, 0x30);
        bytes
    }

    /// Where a record is on the disk.
    pub(super) fn place(&self, number: u64) -> usize {
        (MFT * self.cluster) as usize + number as usize * RECORD
    }

    /// Writes all records and maps.
    pub(super) fn write(&mut self) -> &mut Self {
        let mut in_use = [0_u8; 8];
        for (number, record) in self.records.iter().enumerate() {
            let used = record.as_ref().is_some_and(|record| record.flags & 1 != 0);
            if used != self.flipped.contains(&(number as u64)) {
                in_use[number / 8] |= 1 << (number % 8);
            }
        }
        let bitmap = resident(0xb0, "", &in_use, 2);
        let table = self.record(0);
        let last = table.attributes.iter().position(|it| it[0] == 0xb0).unwrap();
        table.attributes[last] = bitmap;
        for number in 0..RECORDS {
            let (place, bytes) = (self.place(number), self.encode(number));
            put(&mut self.bytes, place, &bytes);
            if number < 4 {
                let place = (MIRROR * self.cluster) as usize + number as usize * RECORD;
                put(&mut self.bytes, place, &bytes);
            }
        }
        for &(first, count) in &self.marked {
            for cluster in first..first + count {
                let byte = (BITMAP * self.cluster + cluster / 8) as usize;
                self.bytes[byte] |= 1 << (cluster % 8);
            }
        }
        self
    }

    pub(super) fn used(&self) -> Result<Used, FormatError> {
        Ntfs.used(&[&Memory::new(self.bytes.clone())])
    }

    pub(super) fn identity(&self) -> Identity {
        Ntfs.probe(&[&Memory::new(self.bytes.clone())]).unwrap().unwrap()
    }

    /// The bytes of clusters.
    pub(super) fn extents(&self, clusters: &[(u64, u64)]) -> ExtentSet {
        clusters
            .iter()
            .map(|&(first, count)| Extent::at(first * self.cluster, count * self.cluster))
            .collect()
    }

    /// What is in use on every such volume.
    pub(super) fn metadata(&self) -> ExtentSet {
        let end = self.clusters * self.cluster;
        let tail: ExtentSet = Extent::new(end, self.bytes.len() as u64).into();
        let boot: ExtentSet = Extent::new(0, 8192.max(self.cluster)).into();
        let mft = image_mft_clusters(self.cluster);
        self.extents(&[(0, 2), (MFT, mft), (MIRROR, 2), (LOG, LOG_LEN)]).union(&tail).union(&boot)
    }
}

fn image_mft_clusters(cluster: u64) -> u64 {
    (RECORDS * RECORD as u64).div_ceil(cluster)
}

pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The structure and the position that an error names.
#[track_caller]
pub(super) fn corrupt(result: Result<Used, FormatError>) -> (&'static str, u64) {
    match result {
        Err(FormatError::Corrupt { what, position, .. }) => (what, position),
        other => panic!("not corrupt: {other:?}"),
    }
}
