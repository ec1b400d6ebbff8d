// SPDX-License-Identifier: MIT OR Apache-2.0
//! APFS.

use super::signature::{Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Support, Used};
use crate::ondisk::FormatError;

/// The driver of APFS.
#[derive(Debug, Clone, Copy)]
pub struct Apfs;

const SIGNATURE: [Signature; 1] = [Signature::new(0x20, b"NXSB", "APFS").uuid(Uuid::Binary(0x48))];

impl Filesystem for Apfs {
    fn name(&self) -> &'static str {
        "APFS"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("APFS", "known by name only, so far")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        Volume::open(*reader)?.find(&SIGNATURE)
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let reader = readers
            .first()
            .ok_or_else(|| FormatError::unsupported("there is no volume to read"))?;
        Ok(Used::whole(reader.len(), "the used map of APFS is not supported yet"))
    }
}
