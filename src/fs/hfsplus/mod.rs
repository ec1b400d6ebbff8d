// SPDX-License-Identifier: MIT OR Apache-2.0
//! HFS+ and HFSX, also inside of an HFS wrapper.
//!
//! What is read, in order: the volume header at byte 1024, or the master
//! directory block of an HFS around it (`wrapper`, `volume_header`); its copy
//! near the end; the journal info block and the journal's header (`journal`);
//! the extents overflow file (`overflow`); the allocation file (`used`); the
//! leaves of the catalog and of the attributes file (`tree`, `catalog`). For a
//! used map that is nothing but where files are; the files themselves are read
//! by `files`. Specification: Apple, Technical Note
//! TN1150, "HFS Plus Volume Format".
//!
//! A volume that was not unmounted, or whose journal is not empty, has no
//! proven map.

mod catalog;
mod file;
mod files;
mod fork;
mod journal;
mod overflow;
#[cfg(test)]
mod tests;
mod tree;
mod used;
mod volume_header;
mod wrapper;

use uuid::Uuid;

use self::file::{File, Volume};
use self::files::HfsPlusFiles;
use self::journal::Journal;
use self::overflow::SpecialFiles;
use self::volume_header::{Special, VolumeHeader};
use self::wrapper::Place;
use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, Window};
use crate::ondisk::{Fields, FormatError};

/// The driver of HFS+.
#[derive(Debug, Clone, Copy)]
pub struct HfsPlus;

/// The boot blocks and the volume header.
const HEAD: u64 = 0x600;

/// The alternate volume header and the reserved sector after it.
const TAIL: u64 = 0x400;

const ADVICE: &str = "to make the image smaller, connect the disk to a Mac, check the volume with \
                      First Aid in Disk Utility and eject it";

impl Filesystem for HfsPlus {
    fn name(&self) -> &'static str {
        "HFS+"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks(
                    "HFS+, HFSX, also journaled or in an HFS wrapper",
                    "bitmap united with the extents of all files",
                ),
                Support::whole(
                    "HFS+ that was not ejected, or with a journal to replay",
                    "its bitmap may be behind its files",
                ),
                Support::whole("HFS+ with its journal on another device", ""),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let Some(place) = Place::find(*reader)? else { return Ok(None) };
        let window = Window::new(*reader, place.extent);
        let header = &place.header;
        let volume = Volume { reader: &window, header };
        let unclean = if header.size() > window.len() || place.size() > reader.len() {
            Some("larger than its partition")
        } else if let Some(why) = header.unclean() {
            Some(why.words())
        } else {
            // A journal that cannot be read shows when it matters.
            matches!(Journal::read(&volume), Ok(Journal::NotEmpty))
                .then_some("journal not replayed")
        };
        Ok(Some(Identity {
            name: place.name().to_owned(),
            // For people only, like the journal.
            label: label(volume).ok().flatten(),
            uuid: uuid(header),
            size: place.size(),
            clean: unclean.is_none(),
            unclean: unclean.map(str::to_owned),
        }))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not an HFS+ filesystem");
        let reader = readers.first().ok_or_else(none)?;
        let place = Place::find(*reader)?.ok_or_else(none)?;
        if place.size() > reader.len() {
            return Err(FormatError::corrupt(
                "size of the HFS+ filesystem",
                volume_header::POSITION,
                format!("at most the {} bytes of the volume", reader.len()),
                place.size(),
            ));
        }
        let window = Window::new(*reader, place.extent);
        let volume = Volume { reader: &window, header: &place.header };
        let used = used(volume)?;
        if used.whole.is_some() {
            return Ok(Used { extents: ExtentSet::all(reader.len()), ..used });
        }
        // The wrapper knows only that its one file is in use.
        let mut extents = used.extents.shift(place.extent.start());
        extents.insert(Extent::new(0, place.extent.start()));
        extents.insert(Extent::new(place.extent.end(), reader.len()));
        Ok(Used { extents, ..used })
    }

    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let Some(place) = Place::find(reader.as_ref())? else { return Ok(None) };
        Ok(Some(Box::new(HfsPlusFiles::open(reader, place)?)))
    }
}

fn used(volume: Volume) -> Result<Used, FormatError> {
    let (header, len) = (volume.header, volume.reader.len());
    header.check_supported()?;
    let size = header.size();
    if size > len || header.total_blocks == 0 {
        return Err(FormatError::corrupt(
            "size of the HFS+ filesystem",
            volume_header::POSITION,
            format!("at most the {len} bytes of the volume"),
            size,
        ));
    }
    if let Some(why) = header.unclean() {
        return Ok(Used::whole(len, why.sentence()).advise(ADVICE));
    }
    let (position, copy) = alternate(volume)?;
    header.check_copy(&copy, position)?;
    let journal = match Journal::read(&volume)? {
        Journal::None => Vec::new(),
        Journal::Empty(extents) => extents.to_vec(),
        Journal::NotEmpty => {
            let why = "its journal was not replayed: the image is exact and complete";
            return Ok(Used::whole(len, why).advise(ADVICE));
        }
        Journal::Elsewhere => {
            let why = "its journal is on another device: save that, too";
            return Ok(Used::whole(len, why));
        }
    };
    let files = SpecialFiles::open(volume)?;
    let map = used::map(volume, &files, &journal)?;
    let mut extents = map.extents;
    extents.insert(Extent::new(0, HEAD.min(len)));
    extents.insert(Extent::new(size.saturating_sub(TAIL), len));
    let mut used = Used::proven(extents);
    if map.unmarked {
        used = used.note(
            "files have blocks that the bitmap calls free: they are stored, too (First Aid in Disk \
             Utility of a Mac repairs that)",
        );
    }
    if header.has_bad_blocks() {
        used = used.note("the volume has a list of bad blocks");
    }
    Ok(used)
}

/// The alternate volume header and where it is: 1024 bytes before the end of the
/// partition, which may be less than a block behind the last block, or where
/// that was when the volume was made.
fn alternate(volume: Volume) -> Result<(u64, VolumeHeader), FormatError> {
    const WHAT: &str = "alternate volume header";
    const SECTOR: u64 = 512;
    let size = volume.header.size();
    let last = volume.reader.len() & !SECTOR.saturating_sub(1);
    let start = size.saturating_sub(TAIL);
    let end = size.saturating_add(volume.header.block_size).min(last);
    let len = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
    let bytes = volume.read(WHAT, start, len)?;
    // From the end: what is behind the blocks is never a file's.
    let mut position = end.saturating_sub(TAIL);
    while position >= start {
        let offset = usize::try_from(position.saturating_sub(start)).unwrap_or(0);
        let sector = bytes.bytes_at(offset, volume_header::LEN).unwrap_or_default();
        if let Some(copy) = VolumeHeader::parse(sector) {
            return Ok((position, copy));
        }
        let Some(before) = position.checked_sub(SECTOR) else { break };
        position = before;
    }
    Err(FormatError::corrupt(WHAT, start, "a copy of the volume header", "none"))
}

/// The name of the volume.
fn label(volume: Volume) -> Result<Option<String>, FormatError> {
    let fork = volume.header.special(Special::Catalog)?;
    // What is at the start of the file is enough, and the overflow file is
    // not worth reading for a name.
    let start = fork::Fork { total_blocks: fork.extents.blocks(), ..fork };
    catalog::label(&File::new(volume, Special::Catalog.name(), &start, &[])?)
}

/// The UUID as macOS and `blkid` make it of the volume's 64 bits.
fn uuid(header: &VolumeHeader) -> Option<String> {
    const NAMESPACE: Uuid = Uuid::from_u128(0xb3e2_0f39_f292_11d6_97a4_0030_6543_ecac);
    (header.identifier != [0; 8]).then(|| Uuid::new_v3(&NAMESPACE, &header.identifier).to_string())
}
