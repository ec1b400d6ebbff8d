// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot regions: the boot sector with its geometry, and the checksum over
//! all eleven sectors before it.
//!
//! There are two regions of twelve sectors each, the main one at sector 0 and
//! its backup at sector 12. Field names and offsets are those of Microsoft's
//! "exFAT file system specification", sections 3.1 to 3.4.

use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// The name in every exFAT boot sector, and where it is.
pub(super) const NAME: &[u8; 8] = b"EXFAT   ";
pub(super) const NAME_OFFSET: u64 = 3;

/// Bytes of a boot sector that have a meaning; larger sectors are filled up.
const BOOT_SECTOR_LEN: usize = 512;
/// Sectors of a boot region, the last of which holds the checksum.
const REGION_SECTORS: u64 = 12;
/// The first sector that may belong to a FAT.
const FAT_OFFSET_MIN: u64 = 24;
/// The largest cluster is 32 MiB.
const CLUSTER_SHIFT_MAX: u32 = 25;
/// `ClusterCount` is at most 2^32 - 11: the numbers behind are marks.
const CLUSTER_COUNT_MAX: u64 = 0xffff_fff5;
/// Bytes in the boot sector that the checksum leaves out because they change
/// while the volume is in use: `VolumeFlags` and `PercentInUse`.
const CHANGING: [usize; 3] = [106, 107, 112];

/// The bits of `VolumeFlags`.
const ACTIVE_FAT: u16 = 1;
const VOLUME_DIRTY: u16 = 1 << 1;
const MEDIA_FAILURE: u16 = 1 << 2;
/// Says only that a writer has to clear it, so it has no meaning here.
const CLEAR_TO_ZERO: u16 = 1 << 3;

/// A checked boot sector. Positions are bytes from the start of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BootSector {
    /// The size of the filesystem.
    pub(super) size: u64,
    pub(super) cluster_bytes: u64,
    pub(super) fat_start: u64,
    /// The length of each FAT, at least what the clusters need.
    pub(super) fat_bytes: u64,
    pub(super) fat_count: u64,
    /// The FAT and the bitmap that are valid: 0 or 1.
    pub(super) active: u64,
    /// The start of cluster 2.
    pub(super) heap_start: u64,
    /// The number of clusters; they are numbered from 2.
    pub(super) clusters: u64,
    /// The first cluster of the root folder.
    pub(super) root: u64,
    pub(super) serial: u32,
    /// Not unmounted.
    pub(super) is_dirty: bool,
    /// The medium has failed at least once.
    pub(super) has_failed: bool,
    /// Bits of `VolumeFlags` that the specification has no meaning for.
    pub(super) unknown_flags: u16,
}

impl BootSector {
    /// The boot sector in these bytes, which are at `position`.
    pub(super) fn parse(sector: &[u8], position: u64) -> Result<Self, FormatError> {
        let raw = Raw::read(sector).ok_or_else(|| {
            let expected = format!("{BOOT_SECTOR_LEN} bytes");
            FormatError::corrupt("exFAT boot sector", position, expected, sector.len())
        })?;
        let wrong = |field, offset: u64, expected: &str, found: String| {
            FormatError::corrupt(field, position.saturating_add(offset), expected, found)
        };
        if sector.bytes_at(0, 3) != Some(b"\xeb\x76\x90") {
            return Err(wrong("JumpBoot", 0, "eb 76 90", "other bytes".into()));
        }
        if sector.bytes_at(3, 8) != Some(NAME) {
            return Err(wrong("FileSystemName", 3, "\"EXFAT   \"", "another name".into()));
        }
        if sector.bytes_at(11, 53).is_none_or(|zeros| zeros.iter().any(|byte| *byte != 0)) {
            return Err(wrong("MustBeZero", 11, "zeros", "another byte".into()));
        }
        if raw.signature != 0xaa55 {
            return Err(wrong("BootSignature", 510, "0xaa55", format!("{:#x}", raw.signature)));
        }
        if raw.revision != 0x0100 {
            let (major, minor) = (raw.revision >> 8, raw.revision & 0xff);
            return Err(FormatError::unsupported(format!("exFAT of revision {major}.{minor:02}")));
        }
        let shift = u32::from(raw.sector_shift);
        if !(9..=12).contains(&shift) {
            return Err(wrong("BytesPerSectorShift", 108, "9 to 12", shift.to_string()));
        }
        let per_cluster = u32::from(raw.cluster_shift);
        if per_cluster > CLUSTER_SHIFT_MAX.saturating_sub(shift) {
            let found = per_cluster.to_string();
            return Err(wrong("SectorsPerClusterShift", 109, "clusters up to 32 MiB", found));
        }
        if !(1..=2).contains(&raw.fat_count) {
            return Err(wrong("NumberOfFats", 110, "1 or 2", raw.fat_count.to_string()));
        }
        let active = u64::from(raw.flags & ACTIVE_FAT);
        if active >= u64::from(raw.fat_count) {
            return Err(wrong("ActiveFat", 106, "0 where there is one FAT", active.to_string()));
        }
        let boot = Self {
            size: shifted(raw.volume_length, shift),
            cluster_bytes: shifted(1, shift.saturating_add(per_cluster)),
            fat_start: shifted(u64::from(raw.fat_offset), shift),
            fat_bytes: shifted(u64::from(raw.fat_length), shift),
            fat_count: u64::from(raw.fat_count),
            active,
            heap_start: shifted(u64::from(raw.heap_offset), shift),
            clusters: u64::from(raw.cluster_count),
            root: u64::from(raw.root),
            serial: raw.serial,
            is_dirty: raw.flags & VOLUME_DIRTY != 0,
            has_failed: raw.flags & MEDIA_FAILURE != 0,
            unknown_flags: raw.flags & !(ACTIVE_FAT | VOLUME_DIRTY | MEDIA_FAILURE | CLEAR_TO_ZERO),
        };
        boot.check(position, shifted(FAT_OFFSET_MIN, shift))?;
        Ok(boot)
    }

    /// The parts lie one behind the other and inside the filesystem.
    fn check(&self, position: u64, fat_min: u64) -> Result<(), FormatError> {
        let wrong = |field, offset: u64, expected: String, found: u64| {
            Err(FormatError::corrupt(field, position.saturating_add(offset), expected, found))
        };
        if self.fat_start < fat_min {
            let expected = format!("at least byte {fat_min}, behind the boot regions");
            return wrong("FatOffset", 80, expected, self.fat_start);
        }
        if !(1..=CLUSTER_COUNT_MAX).contains(&self.clusters) {
            let expected = format!("1 to {CLUSTER_COUNT_MAX}");
            return wrong("ClusterCount", 92, expected, self.clusters);
        }
        let needed = self.end_cluster().saturating_mul(4);
        if self.fat_bytes < needed {
            let expected = format!("at least {needed} bytes for {} clusters", self.clusters);
            return wrong("FatLength", 84, expected, self.fat_bytes);
        }
        let fats = self.fat_bytes.saturating_mul(self.fat_count);
        let fat_end = self.fat_start.saturating_add(fats);
        if self.heap_start < fat_end {
            let expected = format!("at least byte {fat_end}, behind the FAT");
            return wrong("ClusterHeapOffset", 88, expected, self.heap_start);
        }
        let heap_end = self.cluster_start(self.end_cluster());
        if heap_end > self.size {
            let expected = format!("at least the {heap_end} bytes up to the last cluster");
            return wrong("VolumeLength", 72, expected, self.size);
        }
        if !self.has(self.root) {
            let expected = format!("a cluster from 2 to {}", self.clusters.saturating_add(1));
            return wrong("FirstClusterOfRootDirectory", 96, expected, self.root);
        }
        Ok(())
    }

    /// The number after the last cluster's.
    pub(super) const fn end_cluster(&self) -> u64 {
        self.clusters.saturating_add(2)
    }

    /// True for the number of a cluster.
    pub(super) const fn has(&self, cluster: u64) -> bool {
        2 <= cluster && cluster < self.end_cluster()
    }

    /// The start of a cluster.
    pub(super) fn cluster_start(&self, cluster: u64) -> u64 {
        // Up to `end_cluster` this is inside `size`, so nothing saturates.
        let offset = cluster.saturating_sub(2).saturating_mul(self.cluster_bytes);
        self.heap_start.saturating_add(offset)
    }

    /// The cluster at a byte of them.
    pub(super) fn cluster_at(&self, position: u64) -> u64 {
        let offset = position.saturating_sub(self.heap_start);
        offset.checked_div(self.cluster_bytes).unwrap_or(0).saturating_add(2)
    }

    /// The start of a copy of the FAT.
    pub(super) const fn fat_copy_start(&self, copy: u64) -> u64 {
        self.fat_start.saturating_add(copy.saturating_mul(self.fat_bytes))
    }

    /// The serial number as people write it.
    pub(super) fn serial(&self) -> String {
        let [a, b, c, d] = self.serial.to_be_bytes();
        format!("{a:02X}{b:02X}-{c:02X}{d:02X}")
    }

    /// True if the other describes the same volume; only its state may differ,
    /// which the backup does not follow.
    fn describes_the_same(&self, other: &Self) -> bool {
        let stateless = |boot: &Self| Self {
            active: 0,
            is_dirty: false,
            has_failed: false,
            unknown_flags: 0,
            ..boot.clone()
        };
        stateless(self) == stateless(other)
    }
}

/// The two boot regions of a volume.
#[derive(Debug)]
pub(super) struct BootRegions {
    /// The boot sector: of the main region, or where that is damaged of the
    /// backup.
    pub(super) boot: BootSector,
    /// What is wrong with one of the regions, and which one it is.
    pub(super) damage: Option<(Region, FormatError)>,
}

/// Which boot region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    Main,
    Backup,
}

impl BootRegions {
    /// The boot regions of a volume that has exFAT's name in its first sector.
    pub(super) fn read(volume: &dyn ReadAt) -> Result<Self, FormatError> {
        match region(volume, 0, None) {
            Ok((boot, sector)) => {
                let backup = region(volume, REGION_SECTORS, Some(sector));
                let damage = match backup {
                    Ok((backup, _)) if backup.describes_the_same(&boot) => None,
                    Ok(_) => Some(FormatError::corrupt(
                        "backup boot sector",
                        REGION_SECTORS.saturating_mul(sector),
                        "the same volume as in the main one",
                        "another",
                    )),
                    Err(error @ FormatError::Io(_)) => return Err(error),
                    Err(error) => Some(error),
                };
                Ok(Self { boot, damage: damage.map(|error| (Region::Backup, error)) })
            }
            Err(FormatError::Corrupt { what, position, expected, found }) => {
                let error = FormatError::Corrupt { what, position, expected, found };
                // The size of the sectors is not known then.
                for shift in 9..=12_u32 {
                    if let Ok((boot, _)) = region(volume, REGION_SECTORS, Some(shifted(1, shift))) {
                        return Ok(Self { boot, damage: Some((Region::Main, error)) });
                    }
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }
}

/// The boot sector of the region that starts at a sector, and the size of its
/// sectors, which must be `expected` if that is given.
fn region(
    volume: &dyn ReadAt,
    first_sector: u64,
    expected: Option<u64>,
) -> Result<(BootSector, u64), FormatError> {
    let position = first_sector.saturating_mul(expected.unwrap_or(0));
    let head = read_vec(volume, position, BOOT_SECTOR_LEN)?;
    let boot = BootSector::parse(&head, position)?;
    let sector = shifted(1, u32::from(head.u8_at(108).unwrap_or(0)));
    if expected.is_some_and(|expected| expected != sector) {
        let offset = position.saturating_add(108);
        let expected = format!("sectors of {} bytes", expected.unwrap_or(0));
        return Err(FormatError::corrupt("BytesPerSectorShift", offset, expected, sector));
    }
    let len = usize::try_from(REGION_SECTORS.saturating_mul(sector)).unwrap_or(usize::MAX);
    let region = read_vec(volume, position, len)?;
    let checked = len.saturating_sub(usize::try_from(sector).unwrap_or(usize::MAX));
    let sum = checksum(region.get(..checked).unwrap_or_default());
    let copies = region.get(checked..).unwrap_or_default();
    if let Some(copy) = copies.chunks_exact(4).find(|copy| copy.u32_le(0) != Some(sum)) {
        return Err(FormatError::corrupt(
            "checksum of the boot region",
            position.saturating_add(u64::try_from(checked).unwrap_or(0)),
            format!("{sum:#010x}"),
            format!("{:#010x}", copy.u32_le(0).unwrap_or(0)),
        ));
    }
    Ok((boot, sector))
}

/// The checksum of a boot region, by section 3.4.
pub(super) fn checksum(sectors: &[u8]) -> u32 {
    sectors
        .iter()
        .enumerate()
        .filter(|(index, _)| !CHANGING.contains(index))
        .fold(0_u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)))
}

/// A number of sectors as bytes; what is too large for any volume saturates.
fn shifted(number: u64, shift: u32) -> u64 {
    1_u64.checked_shl(shift).map_or(u64::MAX, |unit| number.saturating_mul(unit))
}

/// The boot sector as it is written.
struct Raw {
    volume_length: u64,
    fat_offset: u32,
    fat_length: u32,
    heap_offset: u32,
    cluster_count: u32,
    root: u32,
    serial: u32,
    revision: u16,
    flags: u16,
    sector_shift: u8,
    cluster_shift: u8,
    fat_count: u8,
    signature: u16,
}

impl Raw {
    fn read(sector: &[u8]) -> Option<Self> {
        Some(Self {
            volume_length: sector.u64_le(72)?,
            fat_offset: sector.u32_le(80)?,
            fat_length: sector.u32_le(84)?,
            heap_offset: sector.u32_le(88)?,
            cluster_count: sector.u32_le(92)?,
            root: sector.u32_le(96)?,
            serial: sector.u32_le(100)?,
            revision: sector.u16_le(104)?,
            flags: sector.u16_le(106)?,
            sector_shift: sector.u8_at(108)?,
            cluster_shift: sector.u8_at(109)?,
            fat_count: sector.u8_at(110)?,
            signature: sector.u16_le(510)?,
        })
    }
}
