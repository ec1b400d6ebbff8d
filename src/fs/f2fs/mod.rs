// SPDX-License-Identifier: MIT OR Apache-2.0
//! F2FS.
//!
//! What is read, in order: both superblocks (`superblock`); both ends of both
//! packs of checkpoints (`checkpoint`); the first block behind the log of warm
//! nodes, where files that were fsynced since the checkpoint would be
//! (`recovery`); the segment information and its journal (`segments`). Nothing
//! else: no node, no folder, no file.
//!
//! F2FS never writes over what its last checkpoint needs, so the map of a
//! checkpoint holds until the next one is written. What does not is what a
//! mount would recover on top of it; with any of that, the filesystem is stored
//! whole.
//!
//! Specification: "Flash-Friendly File System (F2FS)" of the Linux kernel's
//! documentation, and `include/linux/f2fs_fs.h`.

mod checkpoint;
mod checksum;
mod recovery;
mod segments;
mod superblock;
#[cfg(test)]
mod tests;
mod used;

use super::signature::{Label, Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Support, Used};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The driver of F2FS.
#[derive(Debug, Clone, Copy)]
pub struct F2fs;

const SIGNATURE: [Signature; 1] = [Signature::new(0x400, b"\x10\x20\xf5\xf2", "F2FS")
    .label(Label::Utf16(0x47c, 1024))
    .uuid(Uuid::Binary(0x46c))];

const MOUNT: &str = "to make it smaller, mount and unmount it once";
const FSCK: &str = "to make it smaller, run fsck.f2fs on it";

impl Filesystem for F2fs {
    fn name(&self) -> &'static str {
        "F2FS"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks("F2FS", "by an exact list of features; blocks of 4 KiB"),
                Support::whole(
                    "F2FS that was not unmounted, or with errors",
                    "what a mount would recover is not in its map",
                ),
                Support::whole("F2FS over several devices, on zoned disks, other block sizes", ""),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let Some(identity) = Volume::open(*reader)?.find(&SIGNATURE)? else { return Ok(None) };
        let Some(copies) = superblock::read(*reader)? else { return Ok(None) };
        let [first, _] = &copies;
        // Who it is, is known even if nothing else is.
        let unclean = unclean(*reader, &copies).unwrap_or_else(|error| match error {
            FormatError::Io(_) => Some("cannot be read"),
            _ => Some("damaged"),
        });
        Ok(Some(Identity {
            size: superblock::size(first),
            clean: unclean.is_none(),
            unclean: unclean.map(str::to_owned),
            ..identity
        }))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not an F2FS");
        let reader = *readers.first().ok_or_else(none)?;
        let len = reader.len();
        let superblock = superblock::parse(&superblock::read(reader)?.ok_or_else(none)?, len)?;
        if superblock.has_errors {
            return Ok(Used::whole(len, "errors are recorded in it").advise(FSCK));
        }
        let pack = checkpoint::choose(reader, &superblock)?;
        if let Some((why, advice)) = pack.distrust() {
            return Ok(Used::whole(len, why).advise(advice));
        }
        let checkpoint = checkpoint::read(reader, &superblock, &pack)?;
        let warm_nodes = checkpoint.warm_nodes();
        if recovery::has_nodes(reader, &superblock, warm_nodes, pack.version())? {
            let why =
                "files were written to it after its last checkpoint, which a mount will recover";
            return Ok(Used::whole(len, why).advise(MOUNT));
        }
        used::map(reader, &superblock, &checkpoint)
    }
}

/// Why it is not clean.
fn unclean(
    reader: &dyn ReadAt,
    copies: &[Vec<u8>; 2],
) -> Result<Option<&'static str>, FormatError> {
    let superblock = match superblock::parse(copies, reader.len()) {
        // Of what is not supported nothing is known, bad or good.
        Err(FormatError::Unsupported(_)) => return Ok(None),
        superblock => superblock?,
    };
    if superblock.has_errors {
        return Ok(Some("has to be checked"));
    }
    let pack = checkpoint::choose(reader, &superblock)?;
    if let Some(why) = pack.unclean() {
        return Ok(Some(why));
    }
    if pack.distrust().is_some() {
        return Ok(None);
    }
    let checkpoint = checkpoint::read(reader, &superblock, &pack)?;
    let nodes = recovery::has_nodes(reader, &superblock, checkpoint.warm_nodes(), pack.version())?;
    Ok(nodes.then_some("not unmounted"))
}
