// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damage anywhere: no panic, no endless loop, and never a map that claims
//! less than what is in use.

use super::super::journal::Checksums;
use super::image::{BLOCK, Image, JOURNAL, JOURNAL_LEN, used};
use super::log::Log;
use crate::extent::ExtentSet;
use crate::fs::Filesystem;
use crate::fs::ext::Ext;
use crate::io::{Memory, ReadAt, WriteAt};

/// The bytes that the driver looks at: metadata of group 0, the journal's
/// superblock, and the start of its log.
fn places() -> impl Iterator<Item = usize> {
    let metadata = BLOCK..15 * BLOCK;
    let journal = (JOURNAL as usize * BLOCK)..((JOURNAL as usize + 12) * BLOCK);
    metadata.chain(journal)
}

/// Changes bytes one by one in several ways, and shows each state to `check`.
fn sweep(image: &Image, check: impl Fn(&Memory, &str)) {
    let disk = Memory::new(image.bytes.clone());
    for at in places() {
        let old = image.bytes[at];
        // What is all zeros or all ones is passed over quickly.
        if [0, 0xFF].contains(&old) && at % 16 != 0 {
            continue;
        }
        for change in [0x01, 0x80, 0xFF] {
            disk.write_at(at as u64, &[old ^ change]).unwrap();
            check(&disk, &format!("byte {at:#x} ^ {change:#x}"));
        }
        disk.write_at(at as u64, &[old]).unwrap();
    }
}

fn proven(disk: &dyn ReadAt) -> Option<ExtentSet> {
    let _ = Ext.probe(&[disk]);
    let used = used(disk).ok()?;
    used.whole.is_none().then_some(used.extents)
}

#[test]
fn a_changed_byte_never_frees_what_is_in_use() {
    for image in [Image::ext2(), Image::new(0x4, 0x2, 0x1), Image::ext4()] {
        let truth = image.truth();
        sweep(&image, |disk, place| {
            if let Some(map) = proven(disk) {
                assert_eq!(truth.subtract(&map), ExtentSet::new(), "{place}");
            }
        });
    }
}

#[test]
fn a_changed_byte_of_a_log_never_frees_what_was_in_use_before() {
    for kind in [(Checksums::None, false), (Checksums::V1, true), (Checksums::V3, true)] {
        let mut log = Log::new(Image::new(0x4, 0x2, 0x1), kind, 1);
        let disk = log.image.clone();
        let mut taken = disk.clone();
        taken.mark(1600, 9, true);
        taken.count();
        let superblock = disk.bytes[1024..2048].to_vec();
        taken.put(1024, &superblock);
        log.transaction(&disk, &taken);
        log.revoke(&[77]);
        log.commit();
        // A log that is cut short by the change is shorter for everybody.
        sweep(&log.image, |changed, place| {
            if let Some(map) = proven(changed) {
                assert_eq!(disk.truth().subtract(&map), ExtentSet::new(), "{place}");
            }
        });
    }
}

#[test]
fn every_truncation_is_survived() {
    let image = Image::ext4();
    let whole = image.bytes.len() - super::image::BEHIND;
    for len in (0..4 * BLOCK).chain((4 * BLOCK..whole).step_by(1021)).chain([whole - 1]) {
        let disk = Memory::new(image.bytes[..len].to_vec());
        let _ = Ext.probe(&[&disk]);
        assert!(used(&disk).is_err(), "{len} bytes");
    }
}

#[test]
fn junk_behind_a_superblock_is_survived() {
    // Every block of metadata in the place of every other.
    let image = Image::new(0x4, 0x2 | 0x40, 0x1);
    for from in (0..15).chain([JOURNAL as usize]) {
        for to in (2..15).chain([JOURNAL as usize, (JOURNAL + JOURNAL_LEN) as usize]) {
            let mut changed = image.clone();
            let block = image.bytes[from * BLOCK..][..BLOCK].to_vec();
            changed.put(to * BLOCK, &block);
            if let Some(map) = proven(&Memory::new(changed.bytes)) {
                assert_eq!(image.truth().subtract(&map), ExtentSet::new(), "{from} over {to}");
            }
        }
    }
}

/// A volume of any size that holds one block over and over.
struct Endless(Vec<u8>, u64);

impl ReadAt for Endless {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> crate::error::Result<()> {
        let start = (offset % self.0.len() as u64) as usize;
        for (to, from) in buf.iter_mut().zip(self.0.iter().cycle().skip(start)) {
            *to = *from;
        }
        Ok(())
    }
}

#[test]
fn numbers_as_large_as_they_get_take_neither_memory_nor_time() {
    let image = Image::new(0x4, 0x2 | 0x80 | 0x200, 0x1);
    for len in [u64::MAX, 1 << 62, 1 << 50, 1 << 44] {
        for log_block_size in 0..7_u32 {
            for per_group in [8_u32, 1 << 13, 1 << 19] {
                let size = 1024_u64 << log_block_size;
                let blocks = len / size;
                let groups = (blocks - 1).div_ceil(per_group.into());
                let mut bytes = image.bytes[..2048].to_vec();
                for (offset, value) in [
                    (0x0, (groups * 16) as u32),
                    (0x4, blocks as u32),
                    (0x14, u32::from(log_block_size == 0)),
                    (0x150, (blocks >> 32) as u32),
                    (0x18, log_block_size),
                    (0x1C, log_block_size),
                    (0x20, per_group),
                    (0x24, per_group),
                ] {
                    bytes[1024 + offset..][..4].copy_from_slice(&value.to_le_bytes());
                }
                assert_eq!(proven(&Endless(bytes, len)), None);
            }
        }
    }
}
