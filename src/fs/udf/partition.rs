// SPDX-License-Identifier: MIT OR Apache-2.0
//! The maps that say what the partitions of a logical volume are made of
//! (ECMA-167, 3/10.7; UDF 2.60, 2.2.8 to 2.2.10).

use super::descriptor::regid;
use crate::ondisk::{Fields, FormatError};

/// What a partition of a logical volume is made of. `partition` is the number
/// of the partition on the disc below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionMap {
    /// The partition as it is.
    Physical {
        /// Its number.
        partition: u16,
    },
    /// A partition that is written once: a table in its last file says where
    /// the newest copy of a block is.
    Virtual {
        /// The number of the partition below.
        partition: u16,
    },
    /// A partition whose bad packets lie elsewhere.
    Sparable {
        /// The number of the partition below.
        partition: u16,
        /// The blocks of a packet.
        packet_len: u16,
        /// The blocks of the copies of the table, from the start of the disc.
        tables: Vec<u32>,
        /// The size of each in bytes.
        table_size: u32,
    },
    /// A partition inside of a file, which holds all that is not content.
    Metadata {
        /// The number of the partition below.
        partition: u16,
        /// The block of its file there.
        file: u32,
        /// The block of its copy.
        mirror: u32,
    },
}

impl PartitionMap {
    /// The number of the partition on the disc.
    #[must_use]
    pub const fn partition(&self) -> u16 {
        match self {
            Self::Physical { partition }
            | Self::Virtual { partition }
            | Self::Sparable { partition, .. }
            | Self::Metadata { partition, .. } => *partition,
        }
    }

    pub(super) fn parse(map: &[u8]) -> Result<Self, FormatError> {
        match map.u8_at(0) {
            Some(1) => {
                return Ok(Self::Physical { partition: map.u16_le(4).unwrap_or(0) });
            }
            Some(2) if map.len() >= 64 => {}
            kind => {
                let kind = kind.unwrap_or(0);
                return Err(FormatError::unsupported(format!("a partition map of type {kind}")));
            }
        }
        let partition = map.u16_le(38).unwrap_or(0);
        let long = |offset: usize| map.u32_le(offset).unwrap_or(0);
        match regid(map, 4).as_str() {
            "*UDF Virtual Partition" => Ok(Self::Virtual { partition }),
            "*UDF Sparable Partition" => {
                let packet_len = map.u16_le(40).unwrap_or(0);
                if packet_len == 0 || !packet_len.is_power_of_two() {
                    let what = format!("a sparable partition with packets of {packet_len} blocks");
                    return Err(FormatError::unsupported(what));
                }
                let count = usize::from(map.u8_at(42).unwrap_or(0).min(4));
                let tables = [48, 52, 56, 60].into_iter().take(count).map(long).collect();
                Ok(Self::Sparable { partition, packet_len, tables, table_size: long(44) })
            }
            "*UDF Metadata Partition" => {
                Ok(Self::Metadata { partition, file: long(40), mirror: long(44) })
            }
            other => Err(FormatError::unsupported(format!("a partition of the kind {other}"))),
        }
    }
}
