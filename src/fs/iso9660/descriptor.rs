// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volume descriptors of a session: who the disc is, how large, and where
//! its folders begin (ECMA-119, clause 8).
//!
//! They begin in the 17th sector of a session, one a sector, and end with a
//! terminator. Every number is written in both byte orders. Some programs that
//! made discs left the second one out, so the first, little-endian one counts,
//! as it does for Linux and Windows; where the two contradict each other, that
//! is told.

use jiff::Timestamp;

use super::{SECTOR, date};
use crate::extent::Extent;
use crate::fs::names;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError, text};

/// The sector of a session in which its descriptors begin.
const FIRST: u64 = 16;
/// How many descriptors of a session are looked at.
const MOST: u64 = 64;

/// What a volume descriptor describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DescriptorKind {
    /// The names that every system reads.
    Primary,
    /// The same files by names of 16-bit letters, as Windows has them: Joliet,
    /// of level 1 to 3.
    Joliet(u8),
    /// The same files by longer names of bytes: ISO 9660:1999.
    Enhanced,
    /// The same files in another set of letters.
    Supplementary,
}

/// A primary or supplementary volume descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDescriptor {
    /// What it describes.
    pub kind: DescriptorKind,
    /// Where it is, in bytes from the start of the volume.
    pub position: u64,
    /// The system that can act upon the first sectors.
    pub system_id: String,
    /// The label.
    pub volume_id: String,
    /// The set of discs that this is one of.
    pub volume_set_id: String,
    /// Who published it; `_NAME` is a file in the root.
    pub publisher: String,
    /// Who prepared what is on it.
    pub preparer: String,
    /// The program that made it.
    pub application: String,
    /// The file with a copyright statement.
    pub copyright_file: String,
    /// The file with an abstract.
    pub abstract_file: String,
    /// The file with bibliographic records.
    pub bibliographic_file: String,
    /// The size of the volume, in blocks from the start of the disc.
    pub space_size: u32,
    /// How many discs the set has.
    pub volume_set_size: u16,
    /// Which of them this is, from 1 on.
    pub volume_sequence: u16,
    /// The size of a block in bytes: 512, 1024 or 2048.
    pub block_size: u32,
    /// The length of the path table in bytes.
    pub path_table_size: u32,
    /// The block of the path table in little-endian numbers.
    pub path_table: u32,
    /// The block of its copy; 0 if there is none.
    pub path_table_copy: u32,
    /// The block of the path table in big-endian numbers.
    pub path_table_big: u32,
    /// The block of its copy; 0 if there is none.
    pub path_table_big_copy: u32,
    /// The bytes of the root folder.
    pub root: Extent,
    /// When the volume was made.
    pub created: Option<Timestamp>,
    /// When it was last changed.
    pub modified: Option<Timestamp>,
    /// From when on it is obsolete.
    pub expires: Option<Timestamp>,
    /// From when on it may be used.
    pub effective: Option<Timestamp>,
    /// What the program that made it kept for itself: 512 bytes at byte 883.
    pub application_use: Vec<u8>,
    /// The fields whose two byte orders say different things.
    pub contradictions: Vec<&'static str>,
}

impl VolumeDescriptor {
    /// The bytes from the start of the disc to the end of the volume.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.position_of(self.space_size)
    }

    /// Where a block begins, in bytes.
    pub(super) fn position_of(&self, block: u32) -> u64 {
        u64::from(block).saturating_mul(self.block_size.into())
    }

    /// The bytes of the path table and its copies.
    pub fn path_tables(&self) -> impl Iterator<Item = Extent> + '_ {
        let copies = [self.path_table_copy, self.path_table_big_copy];
        let copies = copies.into_iter().filter(|block| *block != 0);
        [self.path_table, self.path_table_big]
            .into_iter()
            .chain(copies)
            .map(|block| Extent::at(self.position_of(block), self.path_table_size.into()))
    }

    fn parse(bytes: &[u8], position: u64) -> Result<Self, FormatError> {
        let kind = match (bytes.u8_at(0), bytes.u8_at(6)) {
            (Some(1), _) => DescriptorKind::Primary,
            (_, Some(2)) => DescriptorKind::Enhanced,
            _ => match bytes.bytes_at(88, 3) {
                Some(b"%/@") => DescriptorKind::Joliet(1),
                Some(b"%/C") => DescriptorKind::Joliet(2),
                Some(b"%/E") => DescriptorKind::Joliet(3),
                _ => DescriptorKind::Supplementary,
            },
        };
        let words = |offset: usize, len: usize| {
            let field = bytes.bytes_at(offset, len).unwrap_or_default();
            match kind {
                DescriptorKind::Joliet(_) => wide(field),
                _ => text(field),
            }
        };
        let mut contradictions = Vec::new();
        let mut long = |offset: usize, what: &'static str| {
            let (little, agrees) = both_32(bytes, offset);
            if !agrees {
                contradictions.push(what);
            }
            little
        };
        let space_size = long(80, "volume space size");
        let path_table_size = long(132, "path table size");
        let root_block = long(158, "place of the root folder");
        let root_len = long(166, "size of the root folder");
        let mut short = |offset: usize, what: &'static str| {
            let (little, agrees) = both_16(bytes, offset);
            if !agrees {
                contradictions.push(what);
            }
            little
        };
        let volume_set_size = short(120, "volume set size");
        let volume_sequence = short(124, "volume sequence number");
        let block_size = short(128, "logical block size");
        if !matches!(block_size, 512 | 1024 | 2048) {
            return Err(FormatError::corrupt(
                "logical block size",
                position.saturating_add(128),
                "512, 1024 or 2048",
                block_size,
            ));
        }
        let block_bytes = u64::from(block_size);
        let root_block = u64::from(root_block).saturating_add(bytes.u8_at(157).unwrap_or(0).into());
        let time = |offset: usize| date::of_descriptor(bytes.bytes_at(offset, 17)?);
        Ok(Self {
            kind,
            position,
            system_id: words(8, 32),
            volume_id: words(40, 32),
            volume_set_id: words(190, 128),
            publisher: words(318, 128),
            preparer: words(446, 128),
            application: words(574, 128),
            copyright_file: words(702, 37),
            abstract_file: words(739, 37),
            bibliographic_file: words(776, 37),
            space_size,
            volume_set_size,
            volume_sequence,
            block_size: block_size.into(),
            path_table_size,
            path_table: bytes.u32_le(140).unwrap_or(0),
            path_table_copy: bytes.u32_le(144).unwrap_or(0),
            path_table_big: bytes.u32_be(148).unwrap_or(0),
            path_table_big_copy: bytes.u32_be(152).unwrap_or(0),
            root: Extent::at(root_block.saturating_mul(block_bytes), root_len.into()),
            created: time(813),
            modified: time(830),
            expires: time(847),
            effective: time(864),
            application_use: bytes.bytes_at(883, 512).unwrap_or_default().to_vec(),
            contradictions,
        })
    }
}

/// A boot record: something that a machine may start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRecord {
    /// Where it is, in bytes from the start of the volume.
    pub position: u64,
    /// The system that knows what to do with it.
    pub system_id: String,
    /// Where the boot catalog of El Torito is, in bytes, if it is one of that.
    pub catalog: Option<u64>,
}

impl BootRecord {
    fn parse(bytes: &[u8], position: u64) -> Self {
        let system_id = text(bytes.bytes_at(7, 32).unwrap_or_default());
        let sector = bytes.u32_le(0x47).filter(|_| system_id == "EL TORITO SPECIFICATION");
        let catalog = sector.map(|sector| u64::from(sector).saturating_mul(SECTOR));
        Self { position, system_id, catalog }
    }
}

/// The volume descriptors of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptors {
    /// The primary one.
    pub primary: VolumeDescriptor,
    /// The others that describe the same files, in their order.
    pub supplementary: Vec<VolumeDescriptor>,
    /// What a machine may start from.
    pub boot_records: Vec<BootRecord>,
    /// The bytes of all descriptors, the terminator included.
    pub extent: Extent,
    /// True if a terminator ends them, as there has to be one.
    pub is_terminated: bool,
    /// True if what follows them cannot be read: there may be more.
    pub is_cut: bool,
}

impl Descriptors {
    /// The descriptors of the session that begins at this sector of 2048 bytes:
    /// 0 for the first. `None` if there are none.
    ///
    /// # Errors
    /// If they cannot be read, none of them is the primary one, or it says what
    /// cannot be.
    pub fn read(disc: &dyn ReadAt, session: u64) -> Result<Option<Self>, FormatError> {
        let first = session.saturating_add(FIRST).saturating_mul(SECTOR);
        let (mut primary, mut supplementary, mut boot_records) = (None, Vec::new(), Vec::new());
        let (mut is_terminated, mut is_cut) = (false, false);
        let mut end = first;
        for position in Extent::at(first, MOST.saturating_mul(SECTOR)).pieces(SECTOR) {
            if position.end() > disc.len() {
                break;
            }
            let len = usize::try_from(SECTOR).unwrap_or(0);
            let bytes = match read_vec(disc, position.start(), len) {
                Ok(bytes) => bytes,
                // One that is known is not lost by a bad sector behind it.
                Err(_) if primary.is_some() => {
                    is_cut = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            if bytes.bytes_at(1, 5) != Some(b"CD001") {
                break;
            }
            end = position.end();
            match bytes.u8_at(0) {
                Some(0) => boot_records.push(BootRecord::parse(&bytes, position.start())),
                Some(1) if primary.is_none() => {
                    primary = Some(VolumeDescriptor::parse(&bytes, position.start())?);
                }
                // One that makes no sense is one less to choose from.
                Some(2) => supplementary.extend(VolumeDescriptor::parse(&bytes, position.start())),
                Some(0xff) => {
                    is_terminated = true;
                    break;
                }
                _ => {}
            }
        }
        let extent = Extent::new(first, end);
        if extent.is_empty() {
            return Ok(None);
        }
        let primary = primary.ok_or_else(|| {
            let (expected, found) = ("a primary volume descriptor", "others only");
            FormatError::corrupt("volume descriptors", first, expected, found)
        })?;
        Ok(Some(Self { primary, supplementary, boot_records, extent, is_terminated, is_cut }))
    }

    /// The Joliet descriptor of the highest level.
    #[must_use]
    pub fn joliet(&self) -> Option<&VolumeDescriptor> {
        let level = |it: &&VolumeDescriptor| match it.kind {
            DescriptorKind::Joliet(level) => level,
            _ => 0,
        };
        self.supplementary.iter().filter(|it| level(it) > 0).max_by_key(level)
    }

    /// All that describe files, the primary one first.
    pub fn volumes(&self) -> impl Iterator<Item = &VolumeDescriptor> {
        std::iter::once(&self.primary).chain(&self.supplementary)
    }

    /// The last byte that the descriptors know of, and one: the end of the
    /// volume, of every path table and root folder, and of themselves. A disc
    /// that was read up to there is whole.
    #[must_use]
    pub fn end(&self) -> u64 {
        let of_volume = |it: &VolumeDescriptor| {
            let tables = it.path_tables().map(|table| table.end()).max().unwrap_or(0);
            it.end().max(tables).max(it.root.end())
        };
        self.volumes().map(of_volume).fold(self.extent.end(), u64::max)
    }
}

/// A number in both byte orders, and whether they agree.
pub(super) fn both_32(bytes: &[u8], offset: usize) -> (u32, bool) {
    let little = bytes.u32_le(offset).unwrap_or(0);
    (little, bytes.u32_be(offset.saturating_add(4)) == Some(little))
}

/// As [`both_32`], of 16 bits.
fn both_16(bytes: &[u8], offset: usize) -> (u16, bool) {
    let little = bytes.u16_le(offset).unwrap_or(0);
    (little, bytes.u16_be(offset.saturating_add(2)) == Some(little))
}

/// Text of big-endian 16-bit letters, blanks at its end trimmed.
fn wide(field: &[u8]) -> String {
    let units = field.chunks_exact(2).filter_map(|unit| unit.u16_be(0));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    text(&names::wtf8(units))
}
