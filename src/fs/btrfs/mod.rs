// SPDX-License-Identifier: MIT OR Apache-2.0
//! btrfs.

use super::signature::{Label, Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Support, Used};
use crate::ondisk::FormatError;

/// The driver of btrfs.
#[derive(Debug, Clone, Copy)]
pub struct Btrfs;

const SIGNATURE: [Signature; 1] = [Signature::new(0x1_0040, b"_BHRfS_M", "btrfs")
    .label(Label::Utf8(0x1_012b, 256))
    .uuid(Uuid::Binary(0x1_0020))];

impl Filesystem for Btrfs {
    fn name(&self) -> &'static str {
        "btrfs"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("btrfs", "known by name only, so far")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        Volume::open(*reader)?.find(&SIGNATURE)
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let reader = readers
            .first()
            .ok_or_else(|| FormatError::unsupported("there is no volume to read"))?;
        Ok(Used::whole(reader.len(), "the used map of btrfs is not supported yet"))
    }
}
