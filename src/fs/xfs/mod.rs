// SPDX-License-Identifier: MIT OR Apache-2.0
//! XFS.

use super::signature::{Label, Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Support, Used};
use crate::ondisk::FormatError;

/// The driver of XFS.
#[derive(Debug, Clone, Copy)]
pub struct Xfs;

const SIGNATURE: [Signature; 1] =
    [Signature::new(0, b"XFSB", "XFS").label(Label::Utf8(0x6c, 12)).uuid(Uuid::Binary(0x20))];

impl Filesystem for Xfs {
    fn name(&self) -> &'static str {
        "XFS"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("XFS", "known by name only, so far")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        Volume::open(*reader)?.find(&SIGNATURE)
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let reader = readers
            .first()
            .ok_or_else(|| FormatError::unsupported("there is no volume to read"))?;
        Ok(Used::whole(reader.len(), "the used map of XFS is not supported yet"))
    }
}
