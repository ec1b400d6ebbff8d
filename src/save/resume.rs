// SPDX-License-Identifier: MIT OR Apache-2.0
//! Goes on with an interrupted save, after proving that image and disk still
//! agree.
//!
//! A disk that was used in between has other content under the same map, and
//! an image of two states of a disk restores neither. So every chunk that is
//! already in the image is decoded, and the same chunk of the disk is read and
//! hashed again. That saves the compression and the writing, not the reading.

use super::{ChunkReader, Plan, range};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::Kind;
use crate::image::frame::{self, Decompressor};
use crate::image::rescan::{Rescan, rescan};
use crate::image::{Entry, reader};
use crate::io::{ReadAt, read_vec};
use crate::pipeline::{self, Cancel};
use crate::progress::Progress;

/// What of an interrupted image can be kept.
#[derive(Debug)]
pub struct Resumed {
    /// The frames that are whole and agree with the disk.
    pub found: Rescan,
    /// How many bytes of the disk they hold.
    pub bytes: u64,
    /// How many bytes in them could not be read then, and can be now. They stay
    /// lost: to read them again would be to throw away all that was saved behind
    /// them, of which another part may be unreadable now.
    pub readable: u64,
}

/// Reads an interrupted image and compares it with the disk.
///
/// `plan` is the plan of a new save of the disk; on success its head is
/// replaced by the one in the file, so that the image keeps its identity.
///
/// # Errors
/// Refused if disk, map or content have changed.
pub fn resume_check(
    plan: &mut Plan,
    source: &dyn ReadAt,
    partial: &dyn ReadAt,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Resumed> {
    let changed = |what: &str| {
        Error::refused(format!("the interrupted image cannot be continued: {what}"))
            .hint("save it from the beginning, without going on with that")
    };
    let mut found = rescan(partial)?;
    let (old, new) = (&found.head, &plan.head);
    if old.disk_len != new.disk_len
        || old.about.disk.serial != new.about.disk.serial
        || old.about.disk.model != new.about.disk.model
        || old.about.disk.wwn != new.about.disk.wwn
    {
        return Err(changed("it is of another disk"));
    }
    if old.used != new.used {
        return Err(changed("the disk has been used since: other parts of it are in use now"));
    }
    if old.about.level != new.about.level || old.chunk_size != new.chunk_size {
        return Err(changed("it was begun with another level of compression or chunk size"));
    }
    plan.head = found.head.clone();

    let good = compare(plan, source, partial, &found, cancel, progress)?;
    found.entries.truncate(good.whole);
    if let Some(place) = good.changed {
        return Err(changed(&format!("the disk has changed since, at {:#x}", place.start())));
    }
    let end = found.entries.last().map_or(0, Entry::end);
    found.end = if end == 0 { found.head_end } else { end };
    let held = found.entries.last().map_or(0, |last| last.extent(&found.head).end());
    found.losses.retain(|loss| loss.end() <= held);
    Ok(Resumed { found, bytes: held, readable: good.readable })
}

struct Compared {
    /// How many entries from the first on are whole in the file.
    whole: usize,
    /// A place where the disk has other content.
    changed: Option<Extent>,
    /// How many bytes in them could not be read then, and can be now.
    readable: u64,
}

enum Verdict {
    /// With as many bytes that could not be read then, and can be now.
    Same(u64),
    Broken,
    Changed(Extent),
}

fn compare(
    plan: &Plan,
    source: &dyn ReadAt,
    partial: &dyn ReadAt,
    found: &Rescan,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Compared> {
    let (head, entries) = (&plan.head, &found.entries);
    let lost: &ExtentSet = &found.losses.iter().copied().collect();
    let total = entries.last().map_or(0, |last| last.extent(head).end());
    progress.stage("checking what is already saved", total);
    let mut compared = Compared { whole: 0, changed: None, readable: 0 };
    let mut broken = false;
    let mut left = entries.iter();
    let worker = || -> Result<_> {
        let mut reader = ChunkReader::new(source, &head.used, head.chunk_size);
        let mut decompressor = Decompressor::new()?;
        let mut content = vec![0; head.chunk_size as usize];
        Ok(move |entry: &Entry| {
            let verdict =
                check(entry, plan, partial, lost, &mut reader, &mut decompressor, &mut content)?;
            Ok((entry.extent(head).len(), verdict))
        })
    };
    let jobs = || Ok(left.next());
    pipeline::run(pipeline::default_threads(), cancel, jobs, worker, |(bytes, verdict)| {
        progress.advance(bytes);
        match verdict {
            // A frame that is not whole ends what can be kept: the machine may
            // have gone down before the file reached the disk.
            _ if broken => {}
            Verdict::Same(readable) => {
                compared.whole += 1;
                compared.readable += readable;
            }
            Verdict::Broken => broken = true,
            Verdict::Changed(place) => {
                compared.changed.get_or_insert(place);
            }
        }
        Ok(())
    })?;
    Ok(compared)
}

fn check(
    entry: &Entry,
    plan: &Plan,
    partial: &dyn ReadAt,
    lost: &ExtentSet,
    reader: &mut ChunkReader,
    decompressor: &mut Decompressor,
    content: &mut [u8],
) -> Result<Verdict> {
    let head = &plan.head;
    let extent = entry.extent(head);
    let start = entry.position + u64::from(entry.description_len);
    let stored = read_vec(partial, start, entry.stored_len as usize)?;
    let content = &mut content[..extent.len().min(head.chunk_size.into()) as usize];
    if reader::decode(entry, head, &stored, decompressor, content).is_err() {
        return Ok(Verdict::Broken);
    }
    let mut readable = 0;
    for chunk in entry.first_chunk..entry.first_chunk + u64::from(entry.count) {
        let extent = head.chunk_extent(chunk);
        if entry.kind == Kind::Zero && !head.used.touches(extent) {
            continue;
        }
        reader.read(extent)?;
        let same = match entry.kind {
            Kind::Zero => frame::is_zero(reader.content()),
            Kind::Data => blake3::hash(reader.content()) == entry.hash,
        };
        if same && reader.losses().is_empty() != entry.lossy {
            continue;
        }
        // What could not be read, then or now, is no change.
        let known = ExtentSet::from(extent).subtract(lost);
        for part in known.subtract(&reader.losses().iter().copied().collect()).iter() {
            let now = &reader.content()[range(extent.start(), part)];
            let same = match entry.kind {
                Kind::Zero => frame::is_zero(now),
                Kind::Data => *now == content[range(extent.start(), part)],
            };
            if !same {
                return Ok(Verdict::Changed(extent));
            }
        }
        let lost: ExtentSet = lost.within(extent).collect();
        readable += lost.subtract(&reader.losses().iter().copied().collect()).bytes();
    }
    Ok(Verdict::Same(readable))
}
