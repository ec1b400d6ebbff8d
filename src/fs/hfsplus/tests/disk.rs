// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk of images/ in memory, with changed fields.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::extent::{Extent, ExtentSet};
use crate::fs::hfsplus::HfsPlus;
use crate::fs::{Files, Filesystem, Identity, Used};
use crate::io::Memory;
use crate::ondisk::{Fields, FormatError};

/// Where in the header the fork of a special file is.
pub(super) const ALLOCATION: usize = 0x70;
pub(super) const OVERFLOW: usize = 0xc0;
pub(super) const CATALOG: usize = 0x110;
pub(super) const ATTRIBUTES: usize = 0x160;

/// The block size of all these disks.
pub(super) const BLOCK: usize = 512;

/// A disk and what The Sleuth Kit calls used on it.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) bytes: Vec<u8>,
    pub(super) truth: ExtentSet,
    /// Where the HFS+ starts.
    pub(super) start: usize,
}

pub(super) const NAMES: [&str; 5] = [
    "hfsplus-tiny",
    "hfsplus-tiny-attributes",
    "hfsplus-tiny-dirty",
    "hfsplus-tiny-fragmented",
    "hfsplus-tiny-wrapped",
];

impl Disk {
    pub(super) fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
        let packed = fs::File::open(folder.join(format!("{name}.img.zst"))).unwrap();
        let facts = fs::read(folder.join(format!("{name}.facts.json"))).unwrap();
        let facts: Value = serde_json::from_slice(&facts).unwrap();
        let pair = |pair: &Value| Extent::at(pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap());
        Self {
            bytes: zstd::decode_all(packed).unwrap(),
            truth: facts["used"].as_array().unwrap().iter().map(pair).collect(),
            start: facts["embedded_offset"].as_u64().unwrap_or(0) as usize,
        }
    }

    pub(super) fn tiny() -> Self {
        Self::open("hfsplus-tiny")
    }

    pub(super) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[self.start + at..][..bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Changes a field of the header and of its copy.
    pub(super) fn header(self, at: usize, bytes: &[u8]) -> Self {
        let end = self.bytes.len() - self.start;
        self.put(0x400 + at, bytes).put(end - 0x400 + at, bytes)
    }

    pub(super) fn word(&self, at: usize) -> u32 {
        self.bytes.u32_be(self.start + at).unwrap()
    }

    /// Where a special file's first extent is.
    pub(super) fn file(&self, fork: usize) -> usize {
        self.word(0x400 + fork + 16) as usize * BLOCK
    }

    /// The bit of a block.
    pub(super) fn mark(mut self, block: usize, used: bool) -> Self {
        let at = self.start + self.file(ALLOCATION) + block / 8;
        let bit = 0x80 >> (block % 8);
        assert_eq!(self.bytes[at] & bit == 0, used, "block {block}");
        self.bytes[at] ^= bit;
        self
    }

    /// Puts so many more blocks into the count of free ones.
    pub(super) fn free(self, more: i32) -> Self {
        let free = self.word(0x430).wrapping_add_signed(more);
        self.header(0x30, &free.to_be_bytes())
    }

    pub(super) fn memory(&self) -> Memory {
        Memory::new(self.bytes.clone())
    }

    pub(super) fn used(&self) -> Result<Used, FormatError> {
        HfsPlus.used(&[&self.memory()])
    }

    pub(super) fn files(&self) -> Result<Box<dyn Files>, FormatError> {
        HfsPlus.files(&[Arc::new(self.memory())]).map(Option::unwrap)
    }

    pub(super) fn identity(&self) -> Identity {
        HfsPlus.probe(&[&self.memory()]).unwrap().unwrap()
    }

    /// The map, which is proven.
    #[track_caller]
    pub(super) fn map(&self) -> ExtentSet {
        let used = self.used().unwrap();
        assert_eq!(used.whole, None);
        used.extents
    }

    /// The driver finds exactly this damage.
    #[track_caller]
    pub(super) fn corrupt(&self, what: &str) {
        match self.used() {
            Err(FormatError::Corrupt { what: found, expected, found: value, .. }) => {
                let text = format!("{found}: expected {expected}, found {value}");
                assert!(text.contains(what), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn unsupported(&self, what: &str) {
        match self.used() {
            Err(FormatError::Unsupported(text)) => assert!(text.contains(what), "{text}"),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn whole(&self, what: &str) {
        let used = self.used().unwrap();
        let why = used.whole.unwrap();
        assert!(why.contains(what), "{why}");
        assert_eq!(used.extents, ExtentSet::all(self.bytes.len() as u64));
    }
}
