// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rock Ridge: what Unix keeps of a file, in entries behind its name (System
//! Use Sharing Protocol 1.12, Rock Ridge Interchange Protocol 1.12).

use super::zisofs;
use crate::fs::files::{NodeKind, Times};
use crate::fs::iso9660::date;
use crate::fs::iso9660::descriptor::both_32;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// How many areas of entries a name may have.
const MOST_AREAS: usize = 64;
/// The longest target of a link.
const MOST_TARGET: usize = 1 << 15;
/// The largest area of entries.
const MOST_AREA: u32 = 1 << 15;

/// What the entries of a name say.
#[derive(Debug, Default)]
pub(super) struct RockRidge {
    /// True if any of the entries is one of Rock Ridge.
    pub(super) is_there: bool,
    /// How many bytes of entries were read elsewhere.
    pub(super) elsewhere: u64,
    /// How many bytes in front of the entries are another's, if it is the root
    /// and it says so.
    pub(super) skip: Option<u8>,
    pub(super) name: Vec<u8>,
    /// Type and permissions.
    pub(super) mode: Option<u32>,
    pub(super) links: u32,
    pub(super) owner: (u32, u32),
    /// The target, if it is a link; one that is damaged is no reason not to
    /// show its name.
    pub(super) target: Option<Result<Vec<u8>, FormatError>>,
    pub(super) times: Times,
    device: Option<(u32, u32)>,
    /// The block of the folder that stands in another place, where this is its
    /// name.
    pub(super) child: Option<u32>,
    /// True for a folder that has its name elsewhere.
    pub(super) is_relocated: bool,
    /// The size of a sparse file.
    pub(super) sparse: Option<u64>,
    pub(super) compressed: Option<Compressed>,
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compressed {
    /// The version of zisofs, if it is one that is known, and by zlib.
    pub(super) version: Option<zisofs::Version>,
    pub(super) header_len: u64,
    /// The logarithm of the size of a block.
    pub(super) block_bits: u8,
    /// The size of the content.
    pub(super) size: u64,
}

impl RockRidge {
    /// Reads the entries of a record, and those they lead to.
    pub(super) fn read(
        volume: &dyn ReadAt,
        block_size: u64,
        system_use: &[u8],
        position: u64,
    ) -> Result<Self, FormatError> {
        let mut found = Self { links: 1, ..Self::default() };
        let mut link = Target::default();
        let mut area = system_use.to_vec();
        let mut position = position;
        for _ in 0..MOST_AREAS {
            let next = found.area(&area, position, &mut link)?;
            let Some((block, offset, len)) = next else {
                found.target = link.is_there.then(|| link.finish());
                return Ok(found);
            };
            if len > MOST_AREA {
                return Err(corrupt(position, "an area of 32 KiB at most", len.to_string()));
            }
            position = u64::from(block).saturating_mul(block_size).saturating_add(offset.into());
            area = read_vec(volume, position, usize::try_from(len).unwrap_or(usize::MAX))?;
            found.elsewhere = found.elsewhere.saturating_add(len.into());
        }
        Err(corrupt(position, "64 areas at most", "more, or a loop".into()))
    }

    /// Reads the entries of an area; returns where they go on.
    fn area(
        &mut self,
        area: &[u8],
        position: u64,
        link: &mut Target,
    ) -> Result<Option<(u32, u32, u32)>, FormatError> {
        let mut rest = area;
        let mut next = None;
        while let Some([a, b]) = rest.array::<2>(0) {
            let len = usize::from(rest.u8_at(2).unwrap_or(0));
            // A byte of nothing, or zeros up to the end of the area.
            if a == 0 || len < 4 {
                break;
            }
            let Some(entry) = rest.get(..len) else {
                return Err(corrupt(position, "all of an entry", format!("less than {len} bytes")));
            };
            let long = |offset: usize| both_32(entry, offset).0;
            match &[a, b] {
                b"CE" if len >= 28 => next = Some((long(4), long(12), long(20))),
                b"SP" if entry.bytes_at(4, 2) == Some(b"\xbe\xef") => self.skip = entry.u8_at(6),
                b"ST" => break,
                b"ER" => {
                    let id = entry.u8_at(4).map(usize::from);
                    let id = id.and_then(|len| entry.bytes_at(8, len)).unwrap_or_default();
                    self.is_there |= matches!(id, b"RRIP_1991A" | b"IEEE_P1282" | b"IEEE_1282");
                }
                b"RR" => self.is_there = true,
                b"NM" => {
                    self.is_there = true;
                    // Not for the names of folders themselves.
                    if entry.u8_at(4).unwrap_or(0) & 6 == 0 {
                        self.name.extend_from_slice(entry.get(5..).unwrap_or_default());
                    }
                }
                b"PX" if len >= 36 => {
                    self.is_there = true;
                    self.mode = Some(long(4));
                    self.links = long(12);
                    self.owner = (long(20), long(28));
                }
                b"PN" if len >= 20 => self.device = Some((long(4), long(12))),
                b"TF" => self.times(entry),
                b"SL" => {
                    link.is_there = true;
                    if let Err(error) = link.add(entry, position) {
                        link.failed = Some(error);
                    }
                }
                b"CL" if len >= 12 => self.child = Some(long(4)),
                b"RE" => self.is_relocated = true,
                b"SF" if len >= 20 => {
                    // Version 1.10 has one number, 1.12 two of half the size.
                    let (high, low) = (u64::from(long(4)), u64::from(long(12)));
                    self.sparse = Some(high.wrapping_shl(32) | low);
                }
                b"ZF" | b"Z2" if len >= 16 => self.compressed = Some(compressed(entry)),
                _ => {}
            }
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(next)
    }

    fn times(&mut self, entry: &[u8]) {
        let flags = entry.u8_at(4).unwrap_or(0);
        let is_long = flags & 0x80 != 0;
        let len: usize = if is_long { 17 } else { 7 };
        let mut rest = entry.get(5..).unwrap_or_default();
        for bit in 0..4_u32 {
            if flags & 1_u8.wrapping_shl(bit) == 0 {
                continue;
            }
            let field = rest.get(..len).unwrap_or_default();
            let time = if is_long { date::of_descriptor(field) } else { date::of_record(field) };
            match bit {
                0 => self.times.created = time,
                1 => self.times.modified = time,
                2 => self.times.accessed = time,
                _ => self.times.changed = time,
            }
            rest = rest.get(len..).unwrap_or_default();
        }
    }

    /// What the mode says that it is.
    pub(super) fn kind(&self) -> NodeKind {
        let Some(mode) = self.mode else {
            return if self.target.is_some() { NodeKind::Link } else { NodeKind::File };
        };
        match mode & 0o170_000 {
            0o040_000 => NodeKind::Folder,
            0o120_000 => NodeKind::Link,
            0o010_000 => NodeKind::Pipe,
            0o140_000 => NodeKind::Socket,
            device @ (0o020_000 | 0o060_000) => {
                let (major, minor) = match self.device.unwrap_or_default() {
                    // Programs write the number of Linux here, in one or in
                    // both halves: twelve bits of the one, twenty of the other.
                    (0, low) if low > 0xff => {
                        (low.wrapping_shr(8) & 0xfff, low & 0xff | low.wrapping_shr(12) & 0xf_ff00)
                    }
                    number => number,
                };
                NodeKind::Device { is_block: device == 0o060_000, major, minor }
            }
            _ => NodeKind::File,
        }
    }
}

fn compressed(entry: &[u8]) -> Compressed {
    let is_second = entry.u8_at(3) == Some(2);
    Compressed {
        version: zisofs::Version::of(entry.bytes_at(3, 3).unwrap_or_default()),
        header_len: u64::from(entry.u8_at(6).unwrap_or(0)).saturating_mul(4),
        block_bits: entry.u8_at(7).unwrap_or(0),
        size: if is_second { entry.u64_le(8).unwrap_or(0) } else { both_32(entry, 8).0.into() },
    }
}

/// The target of a link, part by part.
#[derive(Debug, Default)]
struct Target {
    is_there: bool,
    text: Vec<u8>,
    /// True if a `/` goes in front of the next part.
    needs_slash: bool,
    failed: Option<FormatError>,
}

impl Target {
    fn finish(self) -> Result<Vec<u8>, FormatError> {
        self.failed.map_or(Ok(self.text), Err)
    }

    fn add(&mut self, entry: &[u8], position: u64) -> Result<(), FormatError> {
        let mut rest = entry.get(5..).unwrap_or_default();
        while let Some([flags, len]) = rest.array::<2>(0) {
            let len = usize::from(len);
            let Some(part) = rest.bytes_at(2, len) else {
                return Err(corrupt(position, "all of a part of a link", "less".into()));
            };
            let is_root = flags & 8 != 0;
            if self.needs_slash {
                self.text.push(b'/');
            }
            match flags & !1 {
                0 => self.text.extend_from_slice(part),
                2 => self.text.push(b'.'),
                4 => self.text.extend_from_slice(b".."),
                8 => self.text.push(b'/'),
                other => {
                    let what = format!("a part of a link of the kind {other:#04x}");
                    return Err(FormatError::unsupported(what));
                }
            }
            self.needs_slash = flags & 1 == 0 && !is_root;
            if self.text.len() > MOST_TARGET {
                return Err(corrupt(position, "a link of 32 KiB at most", "more".into()));
            }
            rest = rest.get(len.saturating_add(2)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn corrupt(position: u64, expected: &str, found: String) -> FormatError {
    FormatError::corrupt("Rock Ridge entries", position, expected, found)
}
