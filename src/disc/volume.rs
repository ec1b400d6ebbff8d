// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disc says of itself in its volume descriptors: names, dates, and above
//! all how long it is.
//!
//! Specifications: ECMA-119 (ISO 9660) and the Joliet specification, "El
//! Torito" 1.0, SUSP 1.12, ECMA-167 and OSTA "Universal Disk Format
//! Specification" 2.60, Apple's "Inside Macintosh: Files" and Technical Note
//! 1150 (HFS+). All numbers come from a disc and may be anything: sums
//! saturate, counts are bounded.

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::io::{ReadAt, Window, read_vec};
use crate::ondisk::{Fields, text};
use crate::table;

/// The unit in which discs are read.
pub const SECTOR: u64 = 2048;
/// The first volume descriptor of a session.
const DESCRIPTORS: u64 = 16;
/// The most volume descriptors that are looked at.
const MOST_DESCRIPTORS: u64 = 64;
/// The largest path table that is read: 100 000 folders.
const MOST_PATH_TABLE: u64 = 4 << 20;

/// What the descriptors of a disc say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// The name of the disc, by which people know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The filesystems and what else is on it: "ISO 9660", "Joliet", "UDF 1.02".
    pub formats: Vec<String>,
    /// The set of discs it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_set: Option<String>,
    /// The system that it was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Who published it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// Who prepared it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preparer: Option<String>,
    /// The program that it was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it was changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// When its content gets out of date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// From when on it is to be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<String>,
    /// The hash of the volume descriptors: two copies of a disc have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptors_blake3: Option<String>,
}

/// What each structure says about the length of a disc, in bytes from its
/// start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sizes {
    /// By the primary volume descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<u64>,
    /// By the descriptor of Joliet, or of ISO 9660:1999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplementary: Option<u64>,
    /// The end of the last folder in the path table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_table: Option<u64>,
    /// The end of the partitions of UDF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udf_partition: Option<u64>,
    /// The end of the volume descriptors of UDF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udf_descriptors: Option<u64>,
    /// The end of the last anchor of UDF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udf_anchor: Option<u64>,
    /// The end of an HFS or HFS+ volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hfs: Option<u64>,
    /// The end of the last partition in a partition table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_table: Option<u64>,
    /// By READ CAPACITY; of a file, its length.
    pub capacity: u64,
    /// By the table of contents: the end of the last track with data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead_out: Option<u64>,
}

impl Sizes {
    /// How far the filesystems reach. What a partition table says is believed
    /// only as far as the disc goes: such tables are made for USB sticks.
    #[must_use]
    pub fn filesystems(&self) -> u64 {
        let table = self.partition_table.filter(|end| *end <= self.capacity);
        let ends = [
            self.primary,
            self.supplementary,
            self.path_table,
            self.udf_partition,
            self.udf_descriptors,
            self.udf_anchor,
            self.hfs,
            table,
        ];
        let end = ends.into_iter().flatten().max().unwrap_or(0);
        end.checked_next_multiple_of(SECTOR).unwrap_or(end)
    }
}

/// Reads what a disc says of itself; `session` is the first sector of its last
/// session. What cannot be read or makes no sense is left out.
#[must_use]
pub fn read(disc: &dyn ReadAt, session: u32) -> (Volume, Sizes) {
    let mut found = Found {
        disc,
        volume: Volume::default(),
        sizes: Sizes { capacity: disc.len(), ..Sizes::default() },
    };
    found.iso9660(u64::from(session));
    found.udf(u64::from(session));
    found.tables();
    (found.volume, found.sizes)
}

struct Found<'a> {
    disc: &'a dyn ReadAt,
    volume: Volume,
    sizes: Sizes,
}

impl Found<'_> {
    fn sector(&self, number: u64) -> Option<Vec<u8>> {
        self.bytes(number.checked_mul(SECTOR)?, 2048)
    }

    fn bytes(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        read_vec(self.disc, offset, len).ok()
    }

    fn format(&mut self, name: &str) {
        if !self.volume.formats.iter().any(|it| it == name) {
            self.volume.formats.push(name.to_owned());
        }
    }

    fn iso9660(&mut self, session: u64) -> Option<()> {
        let mut hash = blake3::Hasher::new();
        let mut has_primary = false;
        for number in 0..MOST_DESCRIPTORS {
            let place = session.saturating_add(DESCRIPTORS).saturating_add(number);
            let descriptor = self.sector(place)?;
            if descriptor.bytes_at(1, 5) != Some(b"CD001") {
                break;
            }
            hash.update(&descriptor);
            match descriptor.u8_at(0)? {
                0 if descriptor.bytes_at(7, 23) == Some(b"EL TORITO SPECIFICATION") => {
                    self.format("El Torito");
                }
                1 if !has_primary => {
                    has_primary = true;
                    self.primary(&descriptor, session);
                }
                2 => self.supplementary(&descriptor, session),
                255 => break,
                _ => {}
            }
        }
        if has_primary {
            self.volume.descriptors_blake3 = Some(hash.finalize().to_hex().to_string());
        }
        Some(())
    }

    fn primary(&mut self, descriptor: &[u8], session: u64) -> Option<()> {
        self.format("ISO 9660");
        let field = |offset, len| {
            let field = text(descriptor.bytes_at(offset, len).unwrap_or_default());
            Some(field.trim().to_owned()).filter(|field| !field.is_empty())
        };
        let date = |offset| date(descriptor.bytes_at(offset, 17)?);
        self.volume = Volume {
            label: field(40, 32),
            formats: std::mem::take(&mut self.volume.formats),
            volume_set: field(190, 128),
            system: field(8, 32),
            publisher: field(318, 128),
            preparer: field(446, 128),
            application: field(574, 128),
            created: date(813),
            modified: date(830),
            expires: date(847),
            effective: date(864),
            descriptors_blake3: None,
        };
        self.sizes.primary = space(descriptor, session);
        self.path_table(descriptor);
        let root = descriptor.u32_le(158)?;
        let records = self.sector(root.into())?;
        // SUSP's SP is the first entry of the first record of the root folder.
        if records.bytes_at(34, 2) == Some(b"SP") && records.bytes_at(38, 2) == Some(&[0xbe, 0xef])
        {
            self.format("Rock Ridge");
        }
        Some(())
    }

    fn supplementary(&mut self, descriptor: &[u8], session: u64) {
        self.sizes.supplementary = self.sizes.supplementary.max(space(descriptor, session));
        let escape = descriptor.bytes_at(88, 3);
        if !matches!(escape, Some(b"%/@" | b"%/C" | b"%/E")) {
            return self.format("ISO 9660:1999");
        }
        self.format("Joliet");
        // Sixteen letters of any kind: used where the primary one has nothing.
        if self.volume.label.is_none() {
            self.volume.label = wide(descriptor.bytes_at(40, 32).unwrap_or_default());
        }
    }

    /// The last folder that the path table knows ends at least a sector behind
    /// its start.
    fn path_table(&mut self, descriptor: &[u8]) -> Option<()> {
        let block = u64::from(descriptor.u16_le(128)?);
        let len = u64::from(descriptor.u32_le(132)?).min(MOST_PATH_TABLE);
        let start = u64::from(descriptor.u32_le(140)?).checked_mul(block)?;
        let table = self.bytes(start, usize::try_from(len).ok()?)?;
        let mut end = start.checked_add(len)?;
        let mut rest = table.as_slice();
        while let (Some(name), Some(extent)) = (rest.u8_at(0), rest.u32_le(2)) {
            if name == 0 {
                break;
            }
            let folder = u64::from(extent).saturating_mul(block).saturating_add(SECTOR);
            end = end.max(folder);
            let name = usize::from(name);
            let record = name.saturating_add(8).saturating_add(name % 2);
            rest = rest.get(record..).unwrap_or_default();
        }
        self.sizes.path_table = Some(end);
        Some(())
    }

    /// UDF: anchors at sector 256, and at N and N - 256, where N is the last one.
    fn udf(&mut self, session: u64) {
        let last = self.disc.len().checked_div(SECTOR).unwrap_or(0).saturating_sub(1);
        let places = [
            session.saturating_add(256),
            last,
            last.saturating_sub(256),
            session.saturating_add(512),
        ];
        for place in places {
            let Some(anchor) = self.tag(place, 2) else { continue };
            let end = place.saturating_add(1).saturating_mul(SECTOR);
            self.sizes.udf_anchor = self.sizes.udf_anchor.max(Some(end));
            for offset in [16, 24] {
                let (Some(len), Some(start)) = (anchor.u32_le(offset), anchor.u32_le(offset + 4))
                else {
                    continue;
                };
                let start = u64::from(start).saturating_mul(SECTOR);
                let end = start.saturating_add(len.into());
                self.sizes.udf_descriptors = self.sizes.udf_descriptors.max(Some(end));
                self.udf_descriptors(start, len);
            }
        }
    }

    fn udf_descriptors(&mut self, start: u64, len: u32) {
        let first = start.checked_div(SECTOR).unwrap_or(0);
        let count = u64::from(len).checked_div(SECTOR).unwrap_or(0).min(MOST_DESCRIPTORS);
        for number in 0..count {
            let place = first.saturating_add(number);
            let Some(descriptor) = self.sector(place) else { break };
            match descriptor.u16_le(0) {
                Some(5) if is_tag(&descriptor, place) => {
                    let (Some(start), Some(len)) = (descriptor.u32_le(188), descriptor.u32_le(192))
                    else {
                        continue;
                    };
                    let end = u64::from(start).saturating_add(len.into()).saturating_mul(SECTOR);
                    self.sizes.udf_partition = self.sizes.udf_partition.max(Some(end));
                }
                Some(6) if is_tag(&descriptor, place) => {
                    let revision = descriptor.u16_le(240).unwrap_or(0).to_be_bytes();
                    let [major, minor] = revision;
                    self.format(&format!("UDF {major:x}.{minor:02x}"));
                    let name = descriptor.bytes_at(84, 128).and_then(dstring);
                    if self.volume.label.is_none() {
                        self.volume.label = name;
                    }
                }
                Some(0 | 8) | None => break,
                Some(_) => {}
            }
        }
    }

    /// A descriptor of UDF with this number.
    fn tag(&self, place: u64, number: u16) -> Option<Vec<u8>> {
        let descriptor = self.sector(place)?;
        (descriptor.u16_le(0) == Some(number) && is_tag(&descriptor, place)).then_some(descriptor)
    }

    /// Partition tables, and HFS in a partition of Apple's or on the whole disc.
    fn tables(&mut self) {
        let mut places = vec![Extent::new(0, self.disc.len())];
        for table in table::TABLES {
            let Ok(Some(table)) = table.read(self.disc) else { continue };
            let ends = table.partitions.iter().map(|it| it.extent).chain(table.protected.iter());
            let end = ends.map(|extent| extent.end()).max();
            self.sizes.partition_table = self.sizes.partition_table.max(end);
            let apple = table.partitions.iter().filter(|it| it.type_id.starts_with("Apple_HFS"));
            places.extend(apple.map(|it| it.extent));
        }
        for place in places {
            self.hfs(place);
        }
    }

    fn hfs(&mut self, place: Extent) -> Option<()> {
        let partition = Window::new(self.disc, Extent::new(place.start(), self.disc.len()));
        let header = read_vec(&partition, 1024, 512).ok()?;
        let len = match header.bytes_at(0, 2)? {
            b"BD" => {
                let blocks = u64::from(header.u16_be(18)?);
                let size = u64::from(header.u32_be(20)?);
                let first = u64::from(header.u16_be(28)?).saturating_mul(512);
                // The copy of this block and a sector that is not used.
                let len = blocks.saturating_mul(size).saturating_add(first).saturating_add(1024);
                self.format("HFS");
                let name_len = usize::from(header.u8_at(36)?);
                let name = text(header.bytes_at(37, name_len.min(27))?);
                self.volume.label = self.volume.label.take().or(Some(name));
                len
            }
            b"H+" | b"HX" => {
                self.format("HFS+");
                u64::from(header.u32_be(40)?).saturating_mul(header.u32_be(44)?.into())
            }
            _ => return None,
        };
        let end = place.start().saturating_add(len);
        self.sizes.hfs = self.sizes.hfs.max(Some(end));
        Some(())
    }
}

/// The size of a volume by its descriptor, which counts from its session.
fn space(descriptor: &[u8], session: u64) -> Option<u64> {
    let blocks = u64::from(descriptor.u32_le(80)?);
    let block = u64::from(descriptor.u16_le(128)?);
    session.checked_mul(SECTOR)?.checked_add(blocks.checked_mul(block)?)
}

/// True if the tag of a descriptor of UDF has its own checksum and place.
fn is_tag(descriptor: &[u8], place: u64) -> bool {
    let Some(tag) = descriptor.bytes_at(0, 16) else { return false };
    let sum = tag
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != 4)
        .fold(0_u8, |sum, (_, byte)| sum.wrapping_add(*byte));
    tag.u8_at(4) == Some(sum) && tag.u32_le(12).map(u64::from) == Some(place)
}

/// A text of UDF: the kind of its letters, the letters, and in the last byte
/// how many bytes of the field are in use.
fn dstring(field: &[u8]) -> Option<String> {
    let (last, rest) = field.split_last()?;
    let letters = rest.get(1..usize::from(*last).min(rest.len()).max(1))?;
    let found = match field.u8_at(0)? {
        8 => letters.iter().copied().map(char::from).collect::<String>(),
        16 => return wide(letters),
        _ => return None,
    };
    Some(text(found.as_bytes())).filter(|found| !found.is_empty())
}

/// Text of two bytes a letter, the higher one first.
fn wide(bytes: &[u8]) -> Option<String> {
    let units: Vec<u16> = bytes.chunks_exact(2).filter_map(|unit| unit.u16_be(0)).collect();
    let found = text(String::from_utf16_lossy(&units).as_bytes());
    Some(found.trim().to_owned()).filter(|found| !found.is_empty())
}

/// A date of ISO 9660 as in RFC 3339: digits, hundredths, and the distance from
/// UTC in quarters of an hour. None if it is not set.
fn date(field: &[u8]) -> Option<String> {
    let digits = std::str::from_utf8(field.get(..16)?).ok()?;
    let is_set = digits.bytes().all(|it| it.is_ascii_digit()) && !digits.starts_with("0000");
    if !is_set {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to);
    let quarters = i8::from_le_bytes([field.u8_at(16)?]);
    let minutes = u32::from(quarters.unsigned_abs()).saturating_mul(15);
    let sign = if quarters < 0 { '-' } else { '+' };
    let (hours, minutes) = (minutes.checked_div(60)?, minutes.checked_rem(60)?);
    Some(format!(
        "{}-{}-{}T{}:{}:{}{sign}{hours:02}:{minutes:02}",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    #[test]
    fn dates_are_read_with_their_zone_or_not_at_all() {
        let field = |digits: &str, zone: i8| [digits.as_bytes(), &zone.to_le_bytes()].concat();
        let read = |digits: &str, zone| date(&field(digits, zone));
        assert_eq!(read("2012030405060799", 4).unwrap(), "2012-03-04T05:06:07+01:00");
        assert_eq!(read("2012030405060799", -14).unwrap(), "2012-03-04T05:06:07-03:30");
        assert_eq!(read("0000000000000000", 0), None);
        assert_eq!(read("2012-3-405060799", 0), None);
        assert_eq!(date(&[]), None);
    }

    #[test]
    fn nothing_is_found_where_there_is_nothing() {
        for len in [0, 1, 2047, 2048, 40_000, 1 << 20] {
            let (volume, sizes) = read(&Memory::zeros(len), 0);
            assert_eq!(volume, Volume::default());
            assert_eq!((sizes.filesystems(), sizes.capacity), (0, len as u64));
        }
    }

    #[test]
    fn a_partition_table_is_believed_as_far_as_the_disc_goes() {
        let sizes = Sizes {
            primary: Some(100 * SECTOR),
            partition_table: Some(900 * SECTOR + 512),
            capacity: 500 * SECTOR,
            ..Sizes::default()
        };
        assert_eq!(sizes.filesystems(), 100 * SECTOR);
        let longer = Sizes { capacity: 1000 * SECTOR, ..sizes };
        assert_eq!(longer.filesystems(), 901 * SECTOR);
    }
}
