// SPDX-License-Identifier: MIT OR Apache-2.0
//! NTFS.

use super::signature::{Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Support, Used};
use crate::ondisk::FormatError;

/// The driver of NTFS.
#[derive(Debug, Clone, Copy)]
pub struct Ntfs;

const SIGNATURE: [Signature; 1] =
    [Signature::new(3, b"NTFS    ", "NTFS").uuid(Uuid::Serial64(0x48))];

impl Filesystem for Ntfs {
    fn name(&self) -> &'static str {
        "NTFS"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("NTFS", "known by name only, so far")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        Volume::open(*reader)?.find(&SIGNATURE)
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let reader = readers
            .first()
            .ok_or_else(|| FormatError::unsupported("there is no volume to read"))?;
        Ok(Used::whole(reader.len(), "the used map of NTFS is not supported yet"))
    }
}
