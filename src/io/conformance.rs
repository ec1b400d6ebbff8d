// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every reader and every writer must do, as tests to run on each.
//!
//! Part of the library and not of its tests, because the tests of the program
//! run it on devices. Each function panics where something is wrong.

use std::thread;

use super::{ReadAt, WriteAt};
use crate::extent::Extent;

/// Bytes that tell their position, with no short period.
#[must_use]
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&numbers.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Runs every check of a reader that should have just the bytes `expected`.
///
/// # Panics
/// If it has not, or does not behave as a reader must.
pub fn check_reader(reader: &dyn ReadAt, expected: &[u8]) {
    let len = expected.len();
    assert_eq!(reader.len(), len as u64, "the length");
    assert_eq!(reader.is_empty(), len == 0);
    read_back(reader, expected, 0, len);
    edges(reader, len, |offset, len| read_back(reader, expected, offset, len));
    outside(reader.len(), |offset, len| {
        assert!(
            reader.read_at(offset, &mut vec![0; len]).is_err(),
            "reading {len} bytes at {offset:#x} must fail"
        );
    });
    thread::scope(|scope| {
        for seed in 1..=4 {
            scope.spawn(move || {
                let mut numbers = Numbers(seed);
                for _ in 0..64 {
                    let (offset, len) = numbers.range(len);
                    read_back(reader, expected, offset, len);
                }
            });
        }
    });
}

/// Runs every check of a writer of any content, which is lost.
///
/// # Panics
/// If it does not behave as a writer must.
pub fn check_writer(writer: &dyn WriteAt) {
    let len = usize::try_from(writer.len()).unwrap_or(usize::MAX);
    let mut expected = pattern(len, 1);
    writer.write_at(0, &expected).expect("writing all of it");
    check_reader(&writer, &expected);

    let mut seed = 2;
    edges(writer, len, |offset, len| {
        seed += 1;
        let bytes = pattern(len, seed);
        writer.write_at(offset as u64, &bytes).expect("writing");
        expected[offset..offset + len].copy_from_slice(&bytes);
    });
    check_reader(&writer, &expected);

    edges(writer, len, |offset, len| {
        zero_keeps_the_rest(writer, &expected, offset, len);
    });
    zero_keeps_the_rest(writer, &expected, len / 8 + 1, len / 2);
    expected[len / 8 + 1..][..len / 2].fill(0);
    writer.zero(Extent::at(len as u64 / 8 + 1, len as u64 / 2)).expect("zeroing");
    writer.flush().expect("flushing");
    writer.drop_cache().expect("dropping the cache");
    check_reader(&writer, &expected);

    outside(writer.len(), |offset, len| {
        assert!(writer.write_at(offset, &vec![1; len]).is_err(), "{len} bytes at {offset:#x}");
        let extent = Extent::at(offset, len as u64);
        if extent.len() == len as u64 {
            assert!(writer.zero(extent).is_err(), "zeroing {extent}");
            assert!(!matches!(writer.discard(extent), Ok(true)), "discarding {extent}");
        }
    });
    check_reader(&writer, &expected);

    discard_keeps_the_rest(writer, &mut expected);
    neighbours_survive(writer, &mut expected);
    writer.flush().expect("flushing");
    check_reader(&writer, &expected);
}

/// Zeroes a range, looks around it, and writes back what was there.
fn zero_keeps_the_rest(writer: &dyn WriteAt, expected: &[u8], offset: usize, len: usize) {
    writer.zero(Extent::at(offset as u64, len as u64)).expect("zeroing");
    let (start, end) = (offset.saturating_sub(600), (offset + len + 600).min(expected.len()));
    let mut wanted = expected[start..end].to_vec();
    wanted[offset - start..][..len].fill(0);
    let mut buf = vec![0xa5; end - start];
    writer.read_at(start as u64, &mut buf).expect("reading");
    assert!(buf == wanted, "zeroing {len} bytes at {offset:#x}");
    writer.write_at(offset as u64, &expected[offset..offset + len]).expect("writing");
}

fn discard_keeps_the_rest(writer: &dyn WriteAt, expected: &mut [u8]) {
    let len = expected.len();
    let (start, end) = (len / 4 + 1, len / 2 + 1);
    expected.copy_from_slice(&pattern(len, 98));
    writer.write_at(0, expected).expect("writing");
    writer.discard(Extent::new(start as u64, end as u64)).expect("discarding");
    // Nothing is promised of the range itself until it is written.
    read_back(writer, expected, 0, start);
    read_back(writer, expected, end, len - end);
    let bytes = pattern(end - start, 99);
    writer.write_at(start as u64, &bytes).expect("writing");
    expected[start..end].copy_from_slice(&bytes);
}

/// Threads that write neighbouring bytes of one sector do not undo each other.
fn neighbours_survive(writer: &dyn WriteAt, expected: &mut [u8]) {
    const PIECE: usize = 96;
    let region = expected.len().min(16 * 1024) / PIECE * PIECE;
    let pieces: Vec<(usize, Vec<u8>)> = (0..region / PIECE)
        .map(|number| (number * PIECE, pattern(PIECE, number as u64 + 1000)))
        .collect();
    thread::scope(|scope| {
        for first in 0..4 {
            let pieces = &pieces;
            scope.spawn(move || {
                for (offset, bytes) in pieces.iter().skip(first).step_by(4) {
                    writer.write_at(*offset as u64, bytes).expect("writing");
                }
            });
        }
    });
    for (offset, bytes) in pieces {
        expected[offset..offset + PIECE].copy_from_slice(&bytes);
    }
}

fn read_back(reader: &dyn ReadAt, expected: &[u8], offset: usize, len: usize) {
    let mut buf = vec![0xa5; len];
    if let Err(error) = reader.read_at(offset as u64, &mut buf) {
        panic!("reading {len} bytes at {offset:#x}: {error}");
    }
    let wanted = &expected[offset..offset + len];
    if let Some(wrong) = buf.iter().zip(wanted).position(|(a, b)| a != b) {
        panic!("reading {len} bytes at {offset:#x}: wrong from {:#x}", offset + wrong);
    }
}

/// Ranges at and around every border that matters: sectors, pages, pieces
/// that are read at once, and the end.
fn edges<R: ReadAt + ?Sized>(reader: &R, len: usize, mut check: impl FnMut(usize, usize)) {
    let sector = reader.sector_size().get() as usize;
    let borders = [0, 512, 4096, sector, 3 * sector, 128 << 10, 1 << 20, len / 2, len];
    for border in borders {
        for offset in [border.saturating_sub(1), border, border + 1] {
            for size in [0, 1, 511, 512, 513, sector, sector + 1, 70_000, (1 << 20) + 3] {
                if offset.checked_add(size).is_some_and(|end| end <= len) {
                    check(offset, size);
                }
            }
        }
    }
    // Right up to the end.
    for size in [1, 2, 511, 512, 513, sector, 70_000] {
        if size <= len {
            check(len - size, size);
        }
    }
}

fn outside(len: u64, mut check: impl FnMut(u64, usize)) {
    for (offset, size) in [
        (len, 1),
        (len, 4096),
        (len.saturating_sub(1), 2),
        (len + 1, 1),
        (1 << 62, 512),
        (u64::MAX, 1),
        (u64::MAX - 511, 512),
    ] {
        check(offset, size);
    }
}

/// Numbers without a visible order (splitmix64), the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// A range inside of `len` bytes.
    fn range(&mut self, len: usize) -> (usize, usize) {
        // Tests are shorter than a usize can count on any machine.
        let mut below = |limit: usize| (self.next() % (limit as u64 + 1)) as usize;
        let offset = below(len);
        let size = below((len - offset).min(200_000));
        (offset, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Source, Target};
    use crate::error::Result;
    use crate::io::{Limit, Memory, Window, check_range};
    use crate::units::SectorSize;

    const LEN: usize = (2 << 20) + 777;

    #[test]
    fn memory_conforms() {
        check_writer(&Memory::zeros(LEN));
        check_writer(&Memory::zeros(LEN).with_sector_size(SectorSize::B4096));
        check_reader(&Memory::new(Vec::new()), &[]);
        check_reader(&Memory::new(vec![7]), &[7]);
    }

    #[test]
    fn a_window_conforms() {
        let bytes = pattern(LEN, 5);
        let disk = Memory::new(bytes.clone());
        let (start, end) = (4097, LEN - 3);
        let window = Window::new(&disk, Extent::new(start as u64, end as u64));
        check_reader(&window, &bytes[start..end]);
    }

    #[test]
    fn a_limit_that_allows_all_conforms() {
        let all = Extent::new(0, LEN as u64).into();
        check_writer(&Limit::new(Memory::zeros(LEN), all, "nothing is held back"));
    }

    #[test]
    fn files_conform() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        for sector in [SectorSize::B512, SectorSize::B4096] {
            check_writer(&Target::open_with_sector_size(&path, Some(LEN as u64), sector).unwrap());
            let bytes = std::fs::read(&path).unwrap();
            check_reader(&Source::open_with_sector_size(&path, sector).unwrap(), &bytes);
        }
    }

    /// Wrong in one way at a time, so that each check is seen to fail.
    struct Wrong(Memory, &'static str);

    impl ReadAt for Wrong {
        fn len(&self) -> u64 {
            self.0.len()
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            if self.1 == "reads past the end" && offset > self.len() {
                return Ok(());
            }
            self.0.read_at(offset, buf)?;
            if self.1 == "loses the last byte" && offset + buf.len() as u64 == self.len() {
                buf.iter_mut().rev().take(1).for_each(|byte| *byte = !*byte);
            }
            Ok(())
        }
    }

    impl WriteAt for Wrong {
        fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
            check_range(self.len(), offset, buf.len())?;
            let first = offset - offset % 512;
            if self.1 == "loses the start of a sector" && first != offset && !buf.is_empty() {
                self.0.write_at(first, &vec![0; (offset - first) as usize])?;
            }
            if self.1 == "undoes its neighbours" && first != offset && buf.len() < 512 {
                let mut sector = vec![0; 1024.min((self.len() - first) as usize)];
                self.0.read_at(first, &mut sector)?;
                thread::sleep(std::time::Duration::from_millis(1));
                let start = (offset - first) as usize;
                sector[start..start + buf.len()].copy_from_slice(buf);
                return self.0.write_at(first, &sector);
            }
            self.0.write_at(offset, buf)
        }

        fn zero(&self, extent: Extent) -> Result<()> {
            let longer = u64::from(self.1 == "zeroes too much" && extent.end() < self.len());
            self.0.zero(Extent::new(extent.start(), extent.end() + longer))
        }

        fn discard(&self, extent: Extent) -> Result<bool> {
            if self.1 == "discards a whole sector" && extent.end() < self.len() {
                self.0.zero(extent.align_outwards(512))?;
            }
            Ok(false)
        }

        fn flush(&self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_fault_is_found() {
        check_writer(&Wrong(Memory::zeros(LEN), "none"));
        for fault in [
            "reads past the end",
            "loses the last byte",
            "loses the start of a sector",
            "undoes its neighbours",
            "zeroes too much",
            "discards a whole sector",
        ] {
            let found =
                std::panic::catch_unwind(|| check_writer(&Wrong(Memory::zeros(LEN), fault)));
            assert!(found.is_err(), "{fault}");
        }
    }
}
