// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volume recognition sequence: which formats a volume claims to have
//! (ECMA-167, 2/8.3 and 2/9.1).

use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// Where the sequence begins.
const START: u64 = 0x8000;
/// How many structures are looked at.
const MOST: u64 = 64;

/// What a volume claims to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recognition {
    /// The identifiers of the structures and where they are: `CD001`, `BEA01`,
    /// `NSR02`, `TEA01`.
    pub structures: Vec<(u64, String)>,
}

impl Recognition {
    /// Reads the sequence. Its structures are 2 KiB apart, or a sector if that
    /// is larger.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(volume: &dyn ReadAt) -> Result<Self, FormatError> {
        let mut best = Self::default();
        for step in [2048_u64, 4096] {
            let mut found = Self::default();
            for number in 0..MOST {
                let position = START.saturating_add(number.saturating_mul(step));
                if position.saturating_add(8) > volume.len() {
                    break;
                }
                let head = read_vec(volume, position, 8)?;
                let name = head.bytes_at(1, 5).unwrap_or_default();
                match name {
                    b"NSR02" | b"NSR03" | b"BEA01" | b"BOOT2" | b"CD001" | b"CDW02" | b"TEA01" => {
                        let name = String::from_utf8_lossy(name).into_owned();
                        found.structures.push((position, name));
                    }
                    _ => break,
                }
            }
            if found.version().is_some() {
                return Ok(found);
            }
            if found.structures.len() > best.structures.len() {
                best = found;
            }
        }
        Ok(best)
    }

    /// The version of ECMA-167 that a UDF keeps to, 2 or 3; `None` if there is
    /// no UDF.
    #[must_use]
    pub fn version(&self) -> Option<u8> {
        self.structures.iter().find_map(|(_, name)| match name.as_str() {
            "NSR02" => Some(2),
            "NSR03" => Some(3),
            _ => None,
        })
    }

    /// True if the same volume is an ISO 9660, too.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        self.version().is_some() && self.structures.iter().any(|(_, name)| name == "CD001")
    }
}
