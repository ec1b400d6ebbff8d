// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disc says of itself in its volume descriptors: names, dates, and above
//! all how long it is. The parsers are those of the filesystems; all numbers
//! come from a disc and may be anything.

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::fs::hfs::MasterDirectoryBlock;
use crate::fs::iso9660::descriptor::{DescriptorKind, VolumeDescriptor};
use crate::fs::iso9660::{self, path_table};
use crate::fs::udf;
use crate::io::{ReadAt, Window, read_vec};
use crate::ondisk::Fields;
use crate::table;

/// The unit in which discs are read.
pub const SECTOR: u64 = 2048;
/// The most that a disc of any kind holds: a BD-R of four layers (MMC-6, table
/// 355, and the white paper of BDXL: 62,500,864 sectors).
const MOST_OF_ANY: u64 = 62_500_864 * SECTOR;
/// The most that a CD holds: its addresses end at 99:59:74.
const MOST_OF_CD: u64 = 450_000 * SECTOR;
/// The most that a DVD of two layers holds, 4,173,824 sectors, and what burners
/// write behind that.
const MOST_OF_DVD: u64 = 5_000_000 * SECTOR;

/// The most that a kind of disc holds, in bytes; of one that is not known, the
/// most that any does.
pub(super) fn most_of(medium: Option<&str>) -> u64 {
    match medium {
        Some(medium) if medium.starts_with("CD") => MOST_OF_CD,
        Some(medium) if medium.starts_with("DVD") => MOST_OF_DVD,
        _ => MOST_OF_ANY,
    }
}

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

impl Volume {
    /// True if both can be descriptors of the same disc. Of one whose descriptors
    /// cannot all be read, the label alone says so.
    #[must_use]
    pub fn is_of_same_disc(&self, other: &Self) -> bool {
        let differ = self.descriptors_blake3.is_some()
            && other.descriptors_blake3.is_some()
            && !self.has_descriptors_of(other);
        self.label == other.label && !differ
    }

    /// True if all descriptors of both are known and the same.
    #[must_use]
    pub fn has_descriptors_of(&self, other: &Self) -> bool {
        self.descriptors_blake3.is_some() && self.descriptors_blake3 == other.descriptors_blake3
    }
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
    /// The most that a disc of its kind holds. What a structure says beyond that
    /// and the capacity is no size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
}

impl Sizes {
    /// How far the filesystems reach. What a partition table says is believed
    /// only as far as the disc goes: such tables are made for USB sticks. What no
    /// such disc can hold is not believed of any structure.
    #[must_use]
    pub fn filesystems(&self) -> u64 {
        let table = self.partition_table.filter(|end| *end <= self.capacity);
        let ends = self.claims().chain(table).filter(|end| self.is_possible(*end));
        let end = ends.max().unwrap_or(0);
        end.checked_next_multiple_of(SECTOR).unwrap_or(end)
    }

    /// The largest size that is not believed: more than such a disc can hold.
    #[must_use]
    pub fn impossible(&self) -> Option<u64> {
        self.claims().chain(self.lead_out).filter(|end| !self.is_possible(*end)).max()
    }

    /// True if a disc of this kind can reach so far.
    #[must_use]
    pub fn is_possible(&self, end: u64) -> bool {
        end <= self.most.unwrap_or(u64::MAX).max(self.capacity)
    }

    /// What the filesystems say.
    fn claims(&self) -> impl Iterator<Item = u64> {
        let ends = [
            self.primary,
            self.supplementary,
            self.path_table,
            self.udf_partition,
            self.udf_descriptors,
            self.udf_anchor,
            self.hfs,
        ];
        ends.into_iter().flatten()
    }
}

/// Reads what a disc says of itself; `session` is the first sector of its last
/// session. What cannot be read or makes no sense is left out.
#[must_use]
pub fn read(disc: &dyn ReadAt, session: u32) -> (Volume, Sizes) {
    let mut found = Found {
        disc,
        volume: Volume::default(),
        sizes: Sizes { capacity: disc.len(), most: Some(most_of(None)), ..Sizes::default() },
    };
    found.iso9660(u64::from(session));
    found.udf();
    found.tables();
    (found.volume, found.sizes)
}

struct Found<'a> {
    disc: &'a dyn ReadAt,
    volume: Volume,
    sizes: Sizes,
}

impl Found<'_> {
    fn format(&mut self, name: &str) {
        if !self.volume.formats.iter().any(|it| it == name) {
            self.volume.formats.push(name.to_owned());
        }
    }

    fn iso9660(&mut self, session: u64) -> Option<()> {
        let found = iso9660::Descriptors::read(self.disc, session).ok().flatten()?;
        let primary = &found.primary;
        let named = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        self.volume = Volume {
            label: named(&primary.volume_id)
                .or_else(|| found.joliet().and_then(|joliet| named(&joliet.volume_id))),
            formats: vec!["ISO 9660".to_owned()],
            volume_set: named(&primary.volume_set_id),
            system: named(&primary.system_id),
            publisher: named(&primary.publisher),
            preparer: named(&primary.preparer),
            application: named(&primary.application),
            created: time(primary.created),
            modified: time(primary.modified),
            expires: time(primary.expires),
            effective: time(primary.effective),
            descriptors_blake3: None,
        };
        // The last folder that the path table knows ends behind its start.
        self.sizes.path_table = path_table::end(self.disc, primary).ok();
        let end = |it: &VolumeDescriptor| self.end_of(session, it).max(it.root.end());
        let supplementary = found.supplementary.iter().map(end).max();
        self.sizes.primary = Some(end(primary));
        self.sizes.supplementary = supplementary;
        for volume in &found.supplementary {
            match volume.kind {
                DescriptorKind::Joliet(_) => self.format("Joliet"),
                DescriptorKind::Enhanced => self.format("ISO 9660:1999"),
                DescriptorKind::Primary | DescriptorKind::Supplementary => {}
            }
        }
        if found.boot_records.iter().any(|record| record.catalog.is_some()) {
            self.format("El Torito");
        }
        // SUSP's SP is the first entry of the first record of the root folder.
        let root = read_vec(self.disc, primary.root.start(), 40).ok();
        let entry = root.as_deref().map(|root| (root.bytes_at(34, 2), root.bytes_at(38, 2)));
        if entry == Some((Some(b"SP"), Some(&[0xbe, 0xef]))) {
            self.format("Rock Ridge");
        }
        if found.is_cut {
            return Some(());
        }
        // At most 64 sectors.
        let len = usize::try_from(found.extent.len()).ok()?;
        let bytes = read_vec(self.disc, found.extent.start(), len).ok()?;
        self.volume.descriptors_blake3 = Some(blake3::hash(&bytes).to_hex().to_string());
        Some(())
    }

    /// The end of a volume in a session. Its size counts from the start of the
    /// session; some programs count from that of the disc.
    fn end_of(&self, session: u64, volume: &VolumeDescriptor) -> u64 {
        let end = session.saturating_mul(SECTOR).saturating_add(volume.end());
        let is_whole = end > self.disc.len() && volume.end() <= self.disc.len();
        if is_whole { volume.end() } else { end }
    }

    fn udf(&mut self) -> Option<()> {
        udf::Recognition::read(self.disc).ok()?.version()?;
        let found = udf::Descriptors::read(self.disc).ok().flatten()?;
        let [major, minor] = found.logical.revision.to_be_bytes();
        self.format(&format!("UDF {major:x}.{minor:02x}"));
        let label = Some(found.logical.identifier.clone()).filter(|label| !label.is_empty());
        self.volume.label = self.volume.label.take().or(label);
        let end = |extents: &mut dyn Iterator<Item = Extent>| extents.map(|it| it.end()).max();
        let anchors = &found.anchors;
        self.sizes.udf_anchor = end(&mut anchors.iter().map(|anchor| anchor.extent()));
        self.sizes.udf_descriptors =
            end(&mut anchors.iter().flat_map(|anchor| [anchor.main, anchor.reserve]));
        self.sizes.udf_partition = end(&mut found.partitions.iter().map(|it| it.extent))
            .max(Some(found.logical.integrity.end()));
        if self.sizes.primary.is_none() {
            let bytes = read_vec(self.disc, anchors.first()?.main.start(), 2048).ok()?;
            self.volume.descriptors_blake3 = Some(blake3::hash(&bytes).to_hex().to_string());
        }
        Some(())
    }

    /// Partition tables, and HFS in a partition of Apple's or on the whole disc.
    fn tables(&mut self) {
        let mut places = vec![0];
        for table in table::TABLES {
            let Ok(Some(table)) = table.read(self.disc) else { continue };
            let ends = table.partitions.iter().map(|it| it.extent).chain(table.protected.iter());
            let end = ends.map(|extent| extent.end()).max();
            self.sizes.partition_table = self.sizes.partition_table.max(end);
            let apple = table.partitions.iter().filter(|it| it.type_id.starts_with("Apple_HFS"));
            places.extend(apple.map(|it| it.extent.start()));
        }
        for place in places {
            self.hfs(place);
        }
    }

    fn hfs(&mut self, place: u64) -> Option<()> {
        let partition = Window::new(self.disc, Extent::new(place, self.disc.len().max(place)));
        let end = match MasterDirectoryBlock::read(&partition).ok()? {
            Some(block) => {
                self.format("HFS");
                self.volume.label = self.volume.label.take().or(Some(block.name.clone()));
                block.end()
            }
            None => {
                let header = read_vec(&partition, 1024, 512).ok()?;
                if !matches!(header.bytes_at(0, 2)?, b"H+" | b"HX" | b"BD") {
                    return None;
                }
                self.format("HFS+");
                match header.bytes_at(0, 2)? {
                    // The wrapper around an HFS+ is an HFS by its numbers.
                    b"BD" => u64::from(header.u16_be(18)?)
                        .saturating_mul(header.u32_be(20)?.into())
                        .saturating_add(u64::from(header.u16_be(28)?).saturating_mul(512))
                        .saturating_add(1024),
                    _ => u64::from(header.u32_be(40)?).saturating_mul(header.u32_be(44)?.into()),
                }
            }
        };
        self.sizes.hfs = self.sizes.hfs.max(Some(place.saturating_add(end)));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    #[test]
    fn nothing_is_found_where_there_is_nothing() {
        for len in [0, 1, 2047, 2048, 40_000, 1 << 20] {
            let (volume, sizes) = read(&Memory::zeros(len), 0);
            assert_eq!(volume, Volume::default());
            assert_eq!((sizes.filesystems(), usize::try_from(sizes.capacity)), (0, Ok(len)));
        }
    }

    #[test]
    fn what_no_disc_of_its_kind_holds_is_no_size() {
        let sizes = |medium: Option<&str>, end: u64, capacity: u64| {
            let most = Some(most_of(medium));
            let primary = Some(100 * SECTOR);
            let udf_partition = Some(end * SECTOR);
            let capacity = capacity * SECTOR;
            let sizes = Sizes { primary, udf_partition, capacity, most, ..Sizes::default() };
            (sizes.filesystems() / SECTOR, sizes.impossible().map(|end| end / SECTOR))
        };
        assert_eq!(sizes(Some("CD-R"), 450_000, 90), (450_000, None));
        assert_eq!(sizes(Some("CD-R"), 450_001, 90), (100, Some(450_001)));
        // What the drive says is there is there.
        assert_eq!(sizes(Some("CD-R"), 450_001, 450_001), (450_001, None));
        assert_eq!(sizes(Some("DVD+R DL"), 4_173_824, 90), (4_173_824, None));
        assert_eq!(sizes(Some("DVD+R DL"), 6_000_000, 90), (100, Some(6_000_000)));
        for medium in [None, Some("BD-R"), Some("HD DVD-ROM")] {
            assert_eq!(sizes(medium, 62_500_864, 90), (62_500_864, None));
            assert_eq!(sizes(medium, 1 << 32, 90), (100, Some(1 << 32)));
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
