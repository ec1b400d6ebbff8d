// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot sector: how large sectors, clusters and records are, and where the
//! master file table starts.

use crate::extent::Extent;
use crate::ondisk::{Fields, FormatError};

/// All fields that this driver reads are in the first 512 bytes, whatever the
/// sector size.
pub(super) const BOOT_SECTOR_LEN: usize = 512;

/// The largest cluster that Windows makes.
const MAX_CLUSTER: u64 = 2 << 20;

/// A checked boot sector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BootSector {
    pub(super) sector_bytes: u64,
    pub(super) cluster_bytes: u64,
    /// Whole clusters of the volume. What is behind the last belongs to none.
    pub(super) clusters: u64,
    /// The size of the filesystem with its backup boot sector.
    pub(super) size: u64,
    pub(super) mft_cluster: u64,
    pub(super) mirror_cluster: u64,
    pub(super) record_bytes: usize,
    pub(super) serial: u64,
}

fn corrupt(
    what: &'static str,
    position: u64,
    expected: impl ToString,
    found: impl ToString,
) -> FormatError {
    FormatError::corrupt(what, position, expected, found)
}

impl BootSector {
    /// Parses the first bytes of a volume; `None` if they are not of an NTFS.
    pub(super) fn parse(sector: &[u8]) -> Result<Option<Self>, FormatError> {
        if sector.bytes_at(0x03, 8) != Some(b"NTFS    ".as_slice()) {
            return Ok(None);
        }
        Self::fields(sector).transpose()
    }

    fn fields(sector: &[u8]) -> Option<Result<Self, FormatError>> {
        let sector_bytes = u64::from(sector.u16_le(0x0b)?);
        let per_cluster = sector.u8_at(0x0d)?;
        // Fields of FAT that are zero here: another filesystem's boot sector
        // that only looks like this one has some of them.
        let of_fat = [
            u64::from(sector.u16_le(0x0e)?),
            u64::from(sector.u8_at(0x10)?),
            u64::from(sector.u16_le(0x11)?),
            u64::from(sector.u16_le(0x13)?),
            u64::from(sector.u16_le(0x16)?),
            u64::from(sector.u32_le(0x20)?),
        ];
        let sectors = sector.u64_le(0x28)?;
        let mft_cluster = sector.u64_le(0x30)?;
        let mirror_cluster = sector.u64_le(0x38)?;
        let per_record = sector.u8_at(0x40)?;
        let serial = sector.u64_le(0x48)?;
        Some(Self::checked(
            sector_bytes,
            per_cluster,
            of_fat,
            sectors,
            (mft_cluster, mirror_cluster),
            per_record,
            serial,
        ))
    }

    fn checked(
        sector_bytes: u64,
        per_cluster: u8,
        of_fat: [u64; 6],
        sectors: u64,
        (mft_cluster, mirror_cluster): (u64, u64),
        per_record: u8,
        serial: u64,
    ) -> Result<Self, FormatError> {
        if ![512, 1024, 2048, 4096].contains(&sector_bytes) {
            return Err(corrupt("bytes per sector", 0x0b, "512 to 4096", sector_bytes));
        }
        // More than 128 sectors do not fit into the byte: it then holds the
        // power of two, as a negative number.
        let sectors_per_cluster = match per_cluster {
            1..=0x80 if per_cluster.is_power_of_two() => Some(u64::from(per_cluster)),
            0x81.. => 1_u64.checked_shl(per_cluster.wrapping_neg().into()),
            _ => None,
        };
        let cluster_bytes = sectors_per_cluster
            .and_then(|count| count.checked_mul(sector_bytes))
            .filter(|bytes| *bytes <= MAX_CLUSTER)
            .ok_or_else(|| {
                corrupt("sectors per cluster", 0x0d, "a cluster of at most 2 MiB", per_cluster)
            })?;
        if of_fat != [0; 6] {
            return Err(corrupt("fields of FAT", 0x0e, "zeros", format!("{of_fat:?}")));
        }
        let size = sectors.checked_add(1).and_then(|sectors| sectors.checked_mul(sector_bytes));
        let clusters = sectors
            .checked_mul(sector_bytes)
            .and_then(|bytes| bytes.checked_div(cluster_bytes))
            .filter(|clusters| *clusters > 0);
        let (Some(size), Some(clusters)) = (size, clusters) else {
            return Err(corrupt("total sectors", 0x28, "a size of at least a cluster", sectors));
        };
        // The same for records: a number of clusters, or a power of two of bytes.
        let record_bytes = match per_record {
            1..=0x7f => u64::from(per_record).checked_mul(cluster_bytes),
            0x81.. => 1_u64.checked_shl(per_record.wrapping_neg().into()),
            _ => None,
        };
        let record_bytes = record_bytes
            .filter(|bytes| bytes.is_power_of_two() && (512..=65536).contains(bytes))
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(|| {
                corrupt(
                    "clusters per file record",
                    0x40,
                    "a record of 512 to 65536 bytes",
                    per_record,
                )
            })?;
        for (what, position, cluster) in
            [("start of $MFT", 0x30, mft_cluster), ("start of $MFTMirr", 0x38, mirror_cluster)]
        {
            if cluster == 0 || cluster >= clusters {
                let wanted = format!("a cluster from 1 to before {clusters}");
                return Err(corrupt(what, position, wanted, cluster));
            }
        }
        Ok(Self {
            sector_bytes,
            cluster_bytes,
            clusters,
            size,
            mft_cluster,
            mirror_cluster,
            record_bytes,
            serial,
        })
    }

    /// The bytes of a run of clusters.
    pub(super) const fn extent(&self, first: u64, count: u64) -> Extent {
        Extent::at(
            first.saturating_mul(self.cluster_bytes),
            count.saturating_mul(self.cluster_bytes),
        )
    }

    /// The bytes of all clusters.
    pub(super) const fn clusters_bytes(&self) -> u64 {
        self.clusters.saturating_mul(self.cluster_bytes)
    }
}
