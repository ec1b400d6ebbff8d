// SPDX-License-Identifier: MIT OR Apache-2.0
//! The FAT boot sector: BIOS parameter block and what follows from it.
//!
//! Field names are those of Microsoft's "FAT: General Overview of On-Disk
//! Format" (fatgen103). Where systems disagree on how to read a field, the
//! volume is not understood, and that is an error here.

use crate::ondisk::{Fields, FormatError};

/// The bytes that [`BootSector::parse`] needs.
pub(super) const BOOT_SECTOR_LEN: usize = 512;

/// "BitLocker To Go": the discovery volume that Windows lays over an encrypted
/// stick has a valid FAT32 boot sector, but the clusters are ciphertext.
const BITLOCKER_GUIDS: [[u8; 16]; 2] = [
    [0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 1],
    [
        0x3b, 0x4d, 0xa8, 0x92, 0x80, 0xdd, 0x0e, 0x4d, 0x9e, 0x4e, 0xb1, 0xe3, 0x28, 0x4e, 0xae,
        0xd8,
    ],
];
const BITLOCKER_TO_GO_GUID_OFFSET: usize = 0x1a8;

/// Formats whose boot sector resembles a FAT one, by `BS_OEMName`.
const FOREIGN_OEM_NAMES: [&[u8; 8]; 4] = [b"NTFS    ", b"EXFAT   ", b"-FVE-FS-", b"ReFS\0\0\0\0"];

/// The first and the last cluster count of a FAT16 in the specification. Some
/// drivers switch at 4087, so the two counts between are not understood.
const FAT16_CLUSTERS_MIN: u64 = 4085;
const FAT16_CLUSTERS_SURE: u64 = 4087;
const FAT16_CLUSTERS_MAX: u64 = 65_524;
/// Cluster numbers from 0x0ffffff6 on are reserved, and the first is 2.
const FAT32_CLUSTERS_MAX: u64 = 0x0fff_fff4;

/// The width of an entry of the FAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// 12 bits.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 32 bits, of which the upper 4 are reserved.
    Fat32,
}

impl Width {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fat12 => "FAT12",
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        }
    }

    /// The bytes that `entries` entries take.
    pub(super) fn bytes(self, entries: u64) -> Option<u64> {
        match self {
            Self::Fat12 => Some(entries.checked_mul(3)?.div_ceil(2)),
            Self::Fat16 => entries.checked_mul(2),
            Self::Fat32 => entries.checked_mul(4),
        }
    }

    /// The first byte of an entry, from the start of its FAT.
    pub(super) const fn offset(self, entry: u64) -> u64 {
        match self {
            Self::Fat12 => entry.saturating_mul(3) / 2,
            Self::Fat16 => entry.saturating_mul(2),
            Self::Fat32 => entry.saturating_mul(4),
        }
    }
}

/// Where the root directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// FAT12 and FAT16: this many bytes behind the last FAT.
    Area {
        /// First byte.
        start: u64,
        /// Length in bytes.
        len: u64,
    },
    /// FAT32: a chain that starts at this cluster.
    Cluster(u64),
}

/// A checked boot sector. Positions are bytes from the start of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BootSector {
    pub(super) width: Width,
    pub(super) media: u8,
    pub(super) cluster_bytes: u64,
    /// The start of the first FAT.
    pub(super) fat_start: u64,
    /// The length of each FAT, at least what the clusters need.
    pub(super) fat_bytes: u64,
    pub(super) fat_count: u64,
    /// The FAT that is valid if they are not mirrored, else the first.
    pub(super) active_fat: u64,
    pub(super) root: Root,
    /// The start of cluster 2.
    pub(super) data_start: u64,
    /// The number of clusters; they are numbered from 2.
    pub(super) clusters: u64,
    /// The size of the filesystem.
    pub(super) size: u64,
    /// The byte in which Windows and Linux note an unclean state.
    pub(super) state: u8,
    pub(super) serial: Option<String>,
}

impl BootSector {
    /// The boot sector in the first 512 bytes of a volume; `None` if they are
    /// not a FAT boot sector.
    pub(super) fn parse(sector: &[u8]) -> Result<Option<Self>, FormatError> {
        if !resembles_fat(sector) {
            return Ok(None);
        }
        let fields = Bpb::read(sector).ok_or_else(|| too_short(sector))?;
        match fields.implausible() {
            // An MBR or other code by chance; only its own name makes it FAT.
            Some(_) if !has_type_name(sector) => Ok(None),
            Some(error) => Err(error),
            None => Self::build(sector, &fields).map(Some),
        }
    }

    fn build(sector: &[u8], bpb: &Bpb) -> Result<Self, FormatError> {
        let is_fat32 = bpb.fat_sectors_16 == 0;
        let total_sectors = bpb.total_sectors()?;
        let fat_sectors = if is_fat32 {
            bpb.check_fat32()?;
            u64::from(bpb.fat_sectors_32)
        } else {
            u64::from(bpb.fat_sectors_16)
        };
        if !is_fat32 && bpb.root_entries == 0 {
            return Err(FormatError::corrupt("BPB_RootEntCnt", 0x11, "not 0 on FAT12/16", 0));
        }
        let geometry = Geometry::new(bpb, total_sectors, fat_sectors).ok_or_else(|| {
            FormatError::corrupt(
                "BPB_TotSec",
                0x13,
                "room for the reserved sectors, the FATs, the root directory and a cluster",
                format!("{total_sectors} sectors"),
            )
        })?;
        let width = width(is_fat32, geometry.clusters, bpb, sector)?;
        let entries = geometry.clusters.saturating_add(2);
        let needed = width.bytes(entries).unwrap_or(u64::MAX);
        if geometry.fat_bytes < needed {
            return Err(FormatError::corrupt(
                "BPB_FATSz",
                if is_fat32 { 0x24 } else { 0x16 },
                format!("at least {needed} bytes for {} clusters", geometry.clusters),
                format!("{} bytes", geometry.fat_bytes),
            ));
        }
        let root = if is_fat32 {
            let cluster = u64::from(bpb.root_cluster);
            if cluster < 2 || cluster >= entries {
                return Err(FormatError::corrupt(
                    "BPB_RootClus",
                    0x2c,
                    format!("a cluster from 2 to {}", entries.saturating_sub(1)),
                    cluster,
                ));
            }
            Root::Cluster(cluster)
        } else {
            Root::Area { start: geometry.root_start, len: geometry.root_bytes }
        };
        let extended: usize = if is_fat32 { 0x40 } else { 0x24 };
        Ok(Self {
            width,
            media: bpb.media,
            cluster_bytes: geometry.cluster_bytes,
            fat_start: geometry.fat_start,
            fat_bytes: geometry.fat_bytes,
            fat_count: u64::from(bpb.fat_count),
            active_fat: if is_fat32 { bpb.active_fat()? } else { 0 },
            root,
            data_start: geometry.data_start,
            clusters: geometry.clusters,
            size: geometry.size,
            state: sector.u8_at(extended.saturating_add(1)).unwrap_or(0),
            serial: serial(sector, extended),
        })
    }

    /// The number after the last cluster's.
    pub(super) const fn end_cluster(&self) -> u64 {
        self.clusters.saturating_add(2)
    }

    /// The start of a cluster.
    pub(super) fn cluster_start(&self, cluster: u64) -> u64 {
        // Below `end_cluster` this is inside `size`, so nothing saturates.
        let offset = cluster.saturating_sub(2).saturating_mul(self.cluster_bytes);
        self.data_start.saturating_add(offset)
    }

    /// The start of a copy of the FAT.
    pub(super) const fn fat_copy_start(&self, copy: u64) -> u64 {
        self.fat_start.saturating_add(copy.saturating_mul(self.fat_bytes))
    }
}

/// The BIOS parameter block as it is written.
struct Bpb {
    bytes_per_sector: u16,
    sectors_per_cluster: u8,
    reserved_sectors: u16,
    fat_count: u8,
    root_entries: u16,
    total_sectors_16: u16,
    media: u8,
    fat_sectors_16: u16,
    total_sectors_32: u32,
    // What follows means something on FAT32 only.
    fat_sectors_32: u32,
    extended_flags: u16,
    version: u16,
    root_cluster: u32,
}

impl Bpb {
    fn read(sector: &[u8]) -> Option<Self> {
        Some(Self {
            bytes_per_sector: sector.u16_le(0x0b)?,
            sectors_per_cluster: sector.u8_at(0x0d)?,
            reserved_sectors: sector.u16_le(0x0e)?,
            fat_count: sector.u8_at(0x10)?,
            root_entries: sector.u16_le(0x11)?,
            total_sectors_16: sector.u16_le(0x13)?,
            media: sector.u8_at(0x15)?,
            fat_sectors_16: sector.u16_le(0x16)?,
            total_sectors_32: sector.u32_le(0x20)?,
            fat_sectors_32: sector.u32_le(0x24)?,
            extended_flags: sector.u16_le(0x28)?,
            version: sector.u16_le(0x2a)?,
            root_cluster: sector.u32_le(0x2c)?,
        })
    }

    /// The first field that no FAT can have.
    fn implausible(&self) -> Option<FormatError> {
        let sector = self.bytes_per_sector;
        if !sector.is_power_of_two() || !(512..=4096).contains(&sector) {
            return Some(FormatError::corrupt(
                "BPB_BytsPerSec",
                0x0b,
                "512, 1024, 2048 or 4096",
                sector,
            ));
        }
        let per_cluster = self.sectors_per_cluster;
        if !per_cluster.is_power_of_two() {
            return Some(FormatError::corrupt(
                "BPB_SecPerClus",
                0x0d,
                "a power of two",
                per_cluster,
            ));
        }
        if self.reserved_sectors == 0 {
            return Some(FormatError::corrupt("BPB_RsvdSecCnt", 0x0e, "at least 1", 0));
        }
        // mkfs.fat makes up to 4; the limit bounds the time a hostile volume
        // can take.
        if !(1..=4).contains(&self.fat_count) {
            return Some(FormatError::corrupt("BPB_NumFATs", 0x10, "1 to 4", self.fat_count));
        }
        if self.media != 0xf0 && self.media < 0xf8 {
            let found = format!("{:#x}", self.media);
            return Some(FormatError::corrupt(
                "BPB_Media",
                0x15,
                "0xf0 or from 0xf8 to 0xff",
                found,
            ));
        }
        None
    }

    fn total_sectors(&self) -> Result<u64, FormatError> {
        match (self.total_sectors_16, self.total_sectors_32) {
            (0, 0) => Err(FormatError::unsupported(
                "the FAT boot sector has no sector count; this may be a FAT with a 64-bit count",
            )),
            (short, 0) => Ok(u64::from(short)),
            (0, long) => Ok(u64::from(long)),
            (short, long) if u32::from(short) == long => Ok(u64::from(long)),
            (short, long) => Err(FormatError::corrupt(
                "BPB_TotSec32",
                0x20,
                format!("0 or the {short} of BPB_TotSec16"),
                long,
            )),
        }
    }

    fn check_fat32(&self) -> Result<(), FormatError> {
        if self.fat_sectors_32 == 0 {
            return Err(FormatError::corrupt("BPB_FATSz32", 0x24, "not 0", 0));
        }
        if self.root_entries != 0 {
            return Err(FormatError::corrupt(
                "BPB_RootEntCnt",
                0x11,
                "0 on FAT32",
                self.root_entries,
            ));
        }
        if self.version != 0 {
            return Err(FormatError::unsupported(format!(
                "FAT32 of the unknown version {:#x}",
                self.version
            )));
        }
        Ok(())
    }

    fn active_fat(&self) -> Result<u64, FormatError> {
        const NOT_MIRRORED: u16 = 0x80;
        const ACTIVE: u16 = 0x0f;
        if self.extended_flags & NOT_MIRRORED == 0 {
            return Ok(0);
        }
        let active = self.extended_flags & ACTIVE;
        if active >= u16::from(self.fat_count) {
            return Err(FormatError::corrupt(
                "BPB_ExtFlags",
                0x28,
                format!("an active FAT below {}", self.fat_count),
                active,
            ));
        }
        Ok(u64::from(active))
    }
}

/// The parts of the volume in bytes, none of which reaches past its end.
struct Geometry {
    cluster_bytes: u64,
    fat_start: u64,
    fat_bytes: u64,
    root_start: u64,
    root_bytes: u64,
    data_start: u64,
    clusters: u64,
    size: u64,
}

impl Geometry {
    fn new(bpb: &Bpb, total_sectors: u64, fat_sectors: u64) -> Option<Self> {
        let sector = u64::from(bpb.bytes_per_sector);
        let cluster_bytes = sector.checked_mul(u64::from(bpb.sectors_per_cluster))?;
        let size = sector.checked_mul(total_sectors)?;
        let fat_start = sector.checked_mul(u64::from(bpb.reserved_sectors))?;
        let fat_bytes = sector.checked_mul(fat_sectors)?;
        let fats = fat_bytes.checked_mul(u64::from(bpb.fat_count))?;
        let root_start = fat_start.checked_add(fats)?;
        let root_bytes = u64::from(bpb.root_entries).checked_mul(32)?;
        let root_area = root_bytes.checked_next_multiple_of(sector)?;
        let data_start = root_start.checked_add(root_area)?;
        let clusters = size.checked_sub(data_start)?.checked_div(cluster_bytes)?;
        (clusters > 0).then_some(Self {
            cluster_bytes,
            fat_start,
            fat_bytes,
            root_start,
            root_bytes,
            data_start,
            clusters,
            size,
        })
    }
}

/// The width of the entries, if every system would read the same one.
fn width(is_fat32: bool, clusters: u64, bpb: &Bpb, sector: &[u8]) -> Result<Width, FormatError> {
    if is_fat32 {
        // By the specification few clusters make it a FAT12 or FAT16. But those
        // need BPB_FATSz16 and a root area, and Windows and Linux go by the
        // former, so nothing else than FAT32 can be meant.
        return if clusters <= FAT32_CLUSTERS_MAX {
            Ok(Width::Fat32)
        } else {
            let most = format!("at most {FAT32_CLUSTERS_MAX}");
            Err(FormatError::corrupt("cluster count of FAT32", 0x20, most, clusters))
        };
    }
    if clusters > FAT16_CLUSTERS_MAX {
        let most = format!("at most {FAT16_CLUSTERS_MAX}");
        return Err(FormatError::corrupt("cluster count of FAT16", 0x20, most, clusters));
    }
    if (FAT16_CLUSTERS_MIN..FAT16_CLUSTERS_SURE).contains(&clusters) {
        return Err(FormatError::unsupported(format!(
            "systems disagree on whether a FAT of {clusters} clusters is a FAT12 or a FAT16"
        )));
    }
    let width = if clusters < FAT16_CLUSTERS_MIN { Width::Fat12 } else { Width::Fat16 };
    let named = match sector.bytes_at(0x36, 5) {
        Some(b"FAT12") => Some(Width::Fat12),
        Some(b"FAT16") => Some(Width::Fat16),
        _ => None,
    };
    if named.is_some_and(|named| named != width) {
        return Err(FormatError::unsupported(format!(
            "a FAT of {clusters} clusters should be a {}, but its boot sector names another width",
            width.name()
        )));
    }
    // Atari hard disks have 16-bit entries whatever the count; unlike DOS, which
    // names the type, they leave no trace of it in the boot sector.
    if named.is_none() && width == Width::Fat12 && bpb.media == 0xf8 {
        return Err(FormatError::unsupported(format!(
            "a hard disk FAT of {clusters} clusters that does not name its type may have entries \
             of 12 or of 16 bits"
        )));
    }
    Ok(width)
}

fn resembles_fat(sector: &[u8]) -> bool {
    sector.bytes_at(510, 2) == Some(&[0x55, 0xaa])
        && matches!(sector.u8_at(0), Some(0xeb | 0xe9))
        && sector
            .array::<8>(3)
            .is_some_and(|name| !FOREIGN_OEM_NAMES.iter().any(|foreign| **foreign == name))
        && sector
            .array::<16>(BITLOCKER_TO_GO_GUID_OFFSET)
            .is_some_and(|guid| !BITLOCKER_GUIDS.contains(&guid))
        // OS/2's HPFS keeps the parameter block of the FAT it replaced.
        && sector.bytes_at(0x36, 4) != Some(b"HPFS")
}

fn has_type_name(sector: &[u8]) -> bool {
    [0x36, 0x52].iter().any(|offset| sector.bytes_at(*offset, 3) == Some(b"FAT"))
}

/// The serial number, if `BS_BootSig` says that it is there. The label beside it
/// is not kept in step by any system, and not read.
fn serial(sector: &[u8], extended: usize) -> Option<String> {
    let signature = sector.u8_at(extended.saturating_add(2));
    let serial = sector.u32_le(extended.saturating_add(3))?;
    let [a, b, c, d] = serial.to_be_bytes();
    matches!(signature, Some(0x28 | 0x29)).then(|| format!("{a:02X}{b:02X}-{c:02X}{d:02X}"))
}

fn too_short(sector: &[u8]) -> FormatError {
    FormatError::corrupt("FAT boot sector", 0, "512 bytes", sector.len())
}
