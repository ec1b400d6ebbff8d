// SPDX-License-Identifier: MIT OR Apache-2.0
//! HFS+ and HFSX, also inside of an HFS wrapper.

use super::signature::Volume;
use super::{Filesystem, Identity, Readers, Support, Used};
use crate::ondisk::{Fields, FormatError};

/// The driver of HFS+.
#[derive(Debug, Clone, Copy)]
pub struct HfsPlus;

impl Filesystem for HfsPlus {
    fn name(&self) -> &'static str {
        "HFS+"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("HFS+", "known by name only, so far")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let volume = Volume::open(*reader)?;
        let Some(header) = volume.bytes(0x400, 0x90)? else { return Ok(None) };
        let name = match (header.bytes_at(0, 4), header.bytes_at(0x7c, 2)) {
            (Some([b'H', b'+', 0, 4]), _) => "HFS+",
            (Some([b'H', b'X', 0, 5]), _) => "HFSX",
            (Some([b'B', b'D', ..]), Some(b"H+")) => "HFS+ in HFS",
            _ => return Ok(None),
        };
        volume.identity(name, None, None).map(Some)
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let reader = readers
            .first()
            .ok_or_else(|| FormatError::unsupported("there is no volume to read"))?;
        Ok(Used::whole(reader.len(), "the used map of HFS+ is not supported yet"))
    }
}
