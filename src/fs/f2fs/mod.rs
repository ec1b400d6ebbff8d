// SPDX-License-Identifier: MIT OR Apache-2.0
//! F2FS.

use super::signature::{Label, Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Support, Used};
use crate::ondisk::FormatError;

/// The driver of F2FS.
#[derive(Debug, Clone, Copy)]
pub struct F2fs;

const SIGNATURE: [Signature; 1] = [Signature::new(0x400, b"\x10\x20\xf5\xf2", "F2FS")
    .label(Label::Utf16(0x47c, 1024))
    .uuid(Uuid::Binary(0x46c))];

impl Filesystem for F2fs {
    fn name(&self) -> &'static str {
        "F2FS"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("F2FS", "known by name only, so far")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        Volume::open(*reader)?.find(&SIGNATURE)
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let reader = readers
            .first()
            .ok_or_else(|| FormatError::unsupported("there is no volume to read"))?;
        Ok(Used::whole(reader.len(), "the used map of F2FS is not supported yet"))
    }
}
