// SPDX-License-Identifier: MIT OR Apache-2.0
//! exFAT.

use super::signature::{Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Support, Used};
use crate::ondisk::FormatError;

/// The driver of exFAT.
#[derive(Debug, Clone, Copy)]
pub struct Exfat;

const SIGNATURE: [Signature; 1] =
    [Signature::new(3, b"EXFAT   ", "exFAT").uuid(Uuid::Serial32(0x64))];

impl Filesystem for Exfat {
    fn name(&self) -> &'static str {
        "exFAT"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("exFAT", "known by name only, so far")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        Volume::open(*reader)?.find(&SIGNATURE)
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let reader = readers
            .first()
            .ok_or_else(|| FormatError::unsupported("there is no volume to read"))?;
        Ok(Used::whole(reader.len(), "the used map of exFAT is not supported yet"))
    }
}
