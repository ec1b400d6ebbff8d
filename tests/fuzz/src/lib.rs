// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzz targets share: test disks with patches.
//!
//! A fuzzer that has to keep megabytes of a valid filesystem in its input gets
//! nowhere. Here the input is a list of patches - where, how many, which bytes
//! - to one of the small disks in `images/`, so that a few bytes of input
//! reach deep into a parser. The invariant everywhere: errors are fine, panics
//! are bugs, and a used map lies inside its volume.

use std::sync::OnceLock;

use dacapo::error::Result;
use dacapo::extent::Extent;
use dacapo::fs::Filesystem;
use dacapo::import::Old;
use dacapo::import::assembly::Assembly;
use dacapo::import::input::Stream;
use dacapo::io::{ReadAt, check_range};
use dacapo::units::SectorSize;

/// A test disk with changed bytes.
#[derive(Debug)]
pub struct Patched<'a> {
    base: &'a [u8],
    len: u64,
    patches: Vec<(u64, &'a [u8])>,
}

/// The disks that a target patches, unpacked once.
#[derive(Debug, Default)]
pub struct Bases(OnceLock<Vec<Vec<u8>>>);

impl Bases {
    /// Nothing unpacked yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The disks, given as zstd files; unpacked the first time.
    pub fn get(&self, packed: &[&[u8]]) -> &[Vec<u8>] {
        self.0.get_or_init(|| {
            packed
                .iter()
                .map(|packed| zstd::decode_all(*packed).expect("the committed disks are whole"))
                .collect()
        })
    }
}

impl<'a> Patched<'a> {
    /// The disk that `input` describes: one byte chooses the base, one whether
    /// it is cut short; then patches of a 3-byte position, a length and bytes.
    pub fn new(bases: &'a [Vec<u8>], input: &'a [u8]) -> Option<Self> {
        let (&[choice, cut], mut rest) = input.split_first_chunk::<2>()?;
        let base = &bases[usize::from(choice) % bases.len()];
        let len = match cut {
            0..=199 => base.len(),
            cut => base.len() * usize::from(cut - 199) / 57,
        };
        let mut patches = Vec::new();
        while let Some((&[a, b, c, count], after)) = rest.split_first_chunk::<4>() {
            // Most structures are at the start: half of the positions go there.
            let position = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let position = if a & 0x80 == 0 { position % 0x6000 } else { position * 5 % base.len() };
            let bytes = &after[..usize::from(count & 31).min(after.len())];
            patches.push((position as u64, bytes));
            rest = &after[bytes.len()..];
        }
        Some(Self { base, len: len as u64, patches })
    }

    /// The content, with the patches.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read_at(0, &mut bytes).expect("all of it is in memory");
        bytes
    }
}

impl ReadAt for Patched<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        let end = offset + buf.len() as u64;
        buf.copy_from_slice(&self.base[offset as usize..end as usize]);
        for (position, bytes) in &self.patches {
            for (n, byte) in bytes.iter().enumerate() {
                let at = position + n as u64;
                if (offset..end).contains(&at) {
                    buf[(at - offset) as usize] = *byte;
                }
            }
        }
        Ok(())
    }
}

/// Asks a driver everything about a disk.
pub fn ask(driver: &dyn Filesystem, disk: &dyn ReadAt) {
    let readers: &[&dyn ReadAt] = &[disk];
    if let Ok(Some(identity)) = driver.probe(readers) {
        assert!(!identity.name.is_empty());
        assert!(identity.label.is_none_or(|label| !label.contains('\u{1b}')));
    }
    if let Ok(used) = driver.used(readers) {
        assert!(used.extents.end() <= disk.len(), "the map leaves the volume");
        if used.whole.is_some() {
            assert_eq!(used.extents.bytes(), disk.len(), "whole is less than all");
        }
    }
}

/// Unpacks an old image, as `dacapo import` does.
pub fn unpack_old(bytes: &[u8]) {
    let mut stream = Stream::new("fuzz", Box::new(bytes));
    let Ok(old) = Old::read(&mut stream) else { return };
    let _ = old.describe();
    let len = old.len().unwrap_or(1 << 24);
    // The file is sparse, but not every filesystem has files this large.
    let kept = len.min(1 << 34);
    let folder = std::env::temp_dir();
    let mut assembly =
        Assembly::new(&folder, kept, SectorSize::B512).expect("there is a temporary folder");
    let place = &mut assembly.place(Extent::new(0, kept), old.is_whole());
    let _ = old.unpack(&mut stream, place);
    assert!(assembly.chosen.end() <= kept && assembly.whole.end() <= kept);
}
