// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image read through its index; itself a disk that can be read at any
//! position. It keeps one decoded chunk, which is all that a job needs;
//! [`Cached`](super::Cached) is for many readers at once.

use std::sync::{Mutex, PoisonError};

use super::format::{self, Entry, Head, Kind, Report, Trailer};
use super::frame::{self, Decompressor};
use super::rescan::{self, read_sealed};
use super::{index, seekable};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, check_range, read_vec};
use crate::units::SectorSize;

/// An opened image.
#[derive(Debug)]
pub struct Reader<F> {
    file: F,
    head: Head,
    report: Report,
    entries: Vec<Entry>,
    content_hash: [u8; 32],
    index_damage: Option<String>,
    damage: Option<String>,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    /// The chunk whose content is in `content`.
    chunk: Option<u64>,
    content: Vec<u8>,
    frame: Vec<u8>,
    decompressor: Option<Decompressor>,
}

impl<F: ReadAt> Reader<F> {
    /// Opens an image by its index, or by its frames if the index is damaged.
    ///
    /// # Errors
    /// Damaged if the image is truncated or not an image, unsupported if it is
    /// a newer one.
    pub fn open(file: F) -> Result<Self> {
        match read_index(&file) {
            Ok((mut index, trailer, table_position)) => {
                let damage = other_damage(&file, &index, &trailer, table_position)?;
                add_lossy_entries(&mut index);
                Ok(Self {
                    file,
                    head: index.head,
                    report: index.report,
                    entries: index.entries,
                    content_hash: index.content_hash,
                    index_damage: None,
                    damage,
                    cache: Mutex::default(),
                })
            }
            Err(error) if error.kind() == ErrorKind::Damaged => {
                Self::open_without_index(file, &error)
            }
            Err(error) => Err(error),
        }
    }

    fn open_without_index(file: F, damage: &Error) -> Result<Self> {
        let found = rescan::rescan(&file)?;
        if !found.is_complete() {
            return Err(Error::damaged(format!(
                "the image is truncated or damaged: {} of {} chunks can be read; \
                 the first that is missing is at {:#x} in the file",
                found.next_chunk(),
                found.head.chunk_count(),
                found.end
            ))
            .hint(
                "a save that was interrupted can be gone on with; \
                   what is there can be unpacked with: zstd -dc IMAGE > DISK",
            ));
        }
        let losses: ExtentSet = found.losses.into_iter().collect();
        let report = Report { losses: losses.iter().collect(), ..Report::default() };
        Ok(Self {
            file,
            content_hash: format::content_hash(&found.head_body, &found.entries),
            head: found.head,
            report,
            entries: found.entries,
            index_damage: Some(damage.to_string()),
            damage: None,
            cache: Mutex::default(),
        })
    }

    /// The head.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The report of the save.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Every chunk, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The hash that identifies the image.
    pub const fn content_hash(&self) -> [u8; 32] {
        self.content_hash
    }

    /// What is wrong with the index, if it had to be rebuilt.
    pub fn index_damage(&self) -> Option<&str> {
        self.index_damage.as_deref()
    }

    /// What is wrong with the image besides its chunks: the index, or what
    /// only other programs and a reader of a pipe need.
    pub fn damage(&self) -> Option<&str> {
        self.index_damage.as_deref().or(self.damage.as_deref())
    }

    /// What has to be told of an image that is damaged and can be read all the
    /// same.
    pub fn note(&self) -> Option<String> {
        if let Some(damage) = self.index_damage() {
            return Some(format!("{damage}; the index was rebuilt from the image's frames"));
        }
        self.damage().map(|damage| format!("{damage}; the image can be read all the same"))
    }

    /// What could not be read when the image was made. In the image it is zero.
    pub fn losses(&self) -> ExtentSet {
        self.report.losses.iter().copied().collect()
    }

    /// The length of the image file.
    pub fn file_len(&self) -> u64 {
        self.file.len()
    }

    /// Reads `entry` into `stored`, checks its description, and returns its frame.
    ///
    /// # Errors
    /// Damaged if the description contradicts the index.
    pub fn fetch<'b>(&self, entry: &Entry, stored: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        let total = entry.end().saturating_sub(entry.position);
        let len = usize::try_from(total).unwrap_or(usize::MAX);
        check_range(self.file.len(), entry.position, len)
            .map_err(|_| Error::damaged("the image file is shorter than its index says"))?;
        // Not cleared first: what is overwritten need not be zeroed.
        stored.resize(len, 0);
        self.file.read_at(entry.position, stored)?;
        check_description(stored, entry, &self.head)?;
        let frame_start = usize::try_from(entry.description_len).unwrap_or(len);
        Ok(stored.get(frame_start..).unwrap_or_default())
    }

    /// The ranges of an entry that could not be read, as its own description has
    /// them: the report may be coarser.
    ///
    /// # Errors
    /// If the file cannot be read; damaged if the description is.
    pub fn losses_of(&self, entry: &Entry) -> Result<Vec<Extent>> {
        if !entry.lossy {
            return Ok(Vec::new());
        }
        let len = usize::try_from(entry.description_len).unwrap_or(usize::MAX);
        check_range(self.file.len(), entry.position, len)
            .map_err(|_| Error::damaged("the image file is shorter than its index says"))?;
        let stored = read_vec(&self.file, entry.position, len)?;
        check_description(&stored, entry, &self.head)
    }

    /// The number of the entry that holds a chunk.
    pub fn entry_number(&self, chunk: u64) -> Option<usize> {
        self.entries.partition_point(|entry| entry.first_chunk <= chunk).checked_sub(1)
    }

    /// The entry that holds a chunk.
    pub fn entry_of(&self, chunk: u64) -> Option<&Entry> {
        self.entries.get(self.entry_number(chunk)?)
    }

    fn read_chunk(&self, cache: &mut Cache, chunk: u64) -> Result<()> {
        if cache.chunk == Some(chunk) {
            return Ok(());
        }
        let extent = self.head.chunk_extent(chunk);
        let entry = self
            .entry_of(chunk)
            .ok_or_else(|| Error::failed(format!("chunk {chunk} is not in the image")))?;
        cache.chunk = None;
        cache.content.resize(usize::try_from(extent.len()).unwrap_or(0), 0);
        if entry.kind == Kind::Zero {
            cache.content.fill(0);
        } else {
            if cache.decompressor.is_none() {
                cache.decompressor = Some(Decompressor::new()?);
            }
            let Cache { content, frame, decompressor: Some(decompressor), .. } = cache else {
                return Err(Error::failed("starting the decompressor"));
            };
            let frame = self.fetch(entry, frame)?;
            decode(entry, &self.head, frame, decompressor, content)?;
        }
        cache.chunk = Some(chunk);
        Ok(())
    }
}

impl<F: ReadAt> ReadAt for Reader<F> {
    fn len(&self) -> u64 {
        self.head.disk_len
    }

    fn sector_size(&self) -> SectorSize {
        SectorSize::new(self.head.about.disk.logical_sector).unwrap_or(SectorSize::B512)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.head.disk_len, offset, buf.len())?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut position = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let chunk = position.checked_div(self.head.chunk_size.into()).unwrap_or(0);
            self.read_chunk(&mut cache, chunk)?;
            let within = position.saturating_sub(self.head.chunk_extent(chunk).start());
            let available = usize::try_from(within)
                .ok()
                .and_then(|within| cache.content.get(within..))
                .filter(|available| !available.is_empty())
                .ok_or_else(|| Error::failed("reading past the end of a chunk"))?;
            let len = available.len().min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(available.get(..len).unwrap_or_default());
            rest = later;
            position = position.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    fn known_zeros(&self) -> ExtentSet {
        let zeros = self.entries.iter().filter(|entry| entry.kind == Kind::Zero);
        let zeros: ExtentSet = zeros.map(|entry| entry.extent(&self.head)).collect();
        zeros.union(&self.head.used.complement(self.head.disk_len))
    }
}

/// The losses in the description of an entry, which stands at the start of `stored`
/// and must be as the index has it.
///
/// # Errors
/// Damaged if it is not.
fn check_description(stored: &[u8], entry: &Entry, head: &Head) -> Result<Vec<Extent>> {
    let bad = || {
        Error::damaged(format!(
            "the chunk description at {:#x} of the image is damaged",
            entry.position
        ))
    };
    let len = usize::try_from(entry.description_len).map_err(|_| bad())?;
    let payload = stored.get(8..len).ok_or_else(bad)?;
    let fits = format::payload_len(stored).and_then(|len| usize::try_from(len).ok())
        == Some(payload.len());
    let Some((format::TAG_CHUNK, body)) = format::unseal(payload).filter(|_| fits) else {
        return Err(bad());
    };
    let (described, losses) = format::decode_chunk(body, entry.position, head)?;
    if described == *entry { Ok(losses) } else { Err(bad()) }
}

/// Decodes the frame of a data entry into `content`, which is as long as the
/// chunk, and checks its hash; for a zero entry, checks that the frame is the
/// one for its length and leaves `content` alone.
///
/// # Errors
/// Damaged, with the place in the file and on the disk.
pub fn decode(
    entry: &Entry,
    head: &Head,
    stored: &[u8],
    decompressor: &mut Decompressor,
    content: &mut [u8],
) -> Result<()> {
    let extent = entry.extent(head);
    let bad =
        || format!("the image is damaged at {:#x} (bytes {extent} of the disk)", entry.position);
    if entry.kind == Kind::Zero {
        let frame = frame::zero_frame(extent.len())?;
        let same = frame.as_slice() == stored;
        return if same { Ok(()) } else { Err(Error::damaged(bad())) };
    }
    decompressor.decompress(stored, content).context(bad)?;
    if blake3::hash(content) == entry.hash { Ok(()) } else { Err(Error::damaged(bad())) }
}

/// Checks that the image has the end that a finished save gives it, without
/// reading all of its index.
///
/// # Errors
/// Damaged if not; what is in front of the end may be whole nevertheless.
pub fn check_end(file: &dyn ReadAt, head: &Head) -> Result<()> {
    match find_trailer(file)? {
        Some((trailer, position))
            if trailer.image_id == head.image_id
                && trailer.index_position.checked_add(trailer.index_len) == Some(position) =>
        {
            Ok(())
        }
        _ => Err(Error::damaged("the image is not complete: its end is missing or damaged")
            .hint("was the save or the copy of it interrupted?")),
    }
}

/// Finds and reads the index from the end of the file; with the trailer, and
/// where that ends.
fn read_index(file: &dyn ReadAt) -> Result<(format::Index, Trailer, u64)> {
    let bad = |what: &str| Error::damaged(format!("the image's {what} is missing or damaged"));
    let (trailer, trailer_position) = find_trailer(file)?.ok_or_else(|| bad("trailer"))?;
    let index_end = trailer.index_position.checked_add(trailer.index_len);
    if index_end != Some(trailer_position) {
        return Err(bad("trailer"));
    }
    let index = index::read_file_index(file, trailer.index_position, trailer.index_len)?;
    if index.head.image_id != trailer.image_id {
        return Err(bad("trailer"));
    }
    Ok((index, trailer, trailer_position.saturating_add(format::TRAILER_FRAME_LEN)))
}

/// What is wrong in front of the first entry and behind the last: nothing that
/// keeps the image from being read by its index, but zstd and whoever reads
/// it from a pipe begin at the head.
fn other_damage(
    file: &dyn ReadAt,
    index: &format::Index,
    trailer: &Trailer,
    table_position: u64,
) -> Result<Option<String>> {
    let head = format::seal(format::TAG_HEAD, &index.head_body)?;
    let head_end = u64::try_from(head.len()).unwrap_or(u64::MAX);
    if file.len() < head_end || read_vec(file, 0, head.len())? != head {
        return Ok(Some("the image's head at its start is damaged".into()));
    }
    let first = index.entries.first().map(|first| first.position);
    let end = index.entries.last().map(Entry::end);
    if first != Some(head_end) || end != Some(trailer.index_position) {
        return Ok(Some("the image has something between its frames".into()));
    }
    let length32 = |len: u64| u32::try_from(len).unwrap_or(u32::MAX);
    let before = [(length32(head_end), 0)];
    let after = [(length32(trailer.index_len), 0), (length32(format::TRAILER_FRAME_LEN), 0)];
    let entries = index.entries.iter().flat_map(|entry| {
        let content_len = length32(entry.extent(&index.head).len());
        [(entry.description_len, 0), (entry.stored_len, content_len)]
    });
    let mut frames = before.into_iter().chain(entries).chain(after);
    if seekable::is_at(file, table_position, &mut frames)? {
        return Ok(None);
    }
    Ok(Some("the image's seek table is damaged".into()))
}

/// Sees to it that the report has a loss in every entry that is marked as
/// lossy: a report that says less must not make a restore look complete.
fn add_lossy_entries(index: &mut format::Index) {
    let known: ExtentSet = index.report.losses.iter().copied().collect();
    let lossy = index.entries.iter().filter(|entry| entry.lossy);
    let mut added = Vec::new();
    for extent in lossy.map(|entry| entry.extent(&index.head)) {
        if known.touches(extent) {
            continue;
        }
        let before = added.len();
        added.extend(index.head.used.within(extent));
        if added.len() == before {
            added.push(extent);
        }
    }
    let losses: ExtentSet = added.into_iter().collect();
    index.report.losses = losses.union(&known).iter().collect();
}

/// The trailer and where it stands: right before the seek table.
fn find_trailer(file: &dyn ReadAt) -> Result<Option<(Trailer, u64)>> {
    let Some(footer_position) = file.len().checked_sub(seekable::FOOTER_LEN) else {
        return Ok(None);
    };
    let footer = read_vec(file, footer_position, 9)?;
    let Some(table_position) =
        seekable::frame_len(&footer).and_then(|len| file.len().checked_sub(len))
    else {
        return Ok(None);
    };
    if !seekable::is_table(&read_vec(file, table_position, 4)?) {
        return Ok(None);
    }
    let Some(position) = table_position.checked_sub(format::TRAILER_FRAME_LEN) else {
        return Ok(None);
    };
    let max_payload = format::TRAILER_FRAME_LEN.saturating_sub(format::SKIPPABLE_HEADER_LEN);
    let found = read_sealed(file, position, max_payload)?;
    Ok(found
        .filter(|sealed| sealed.tag == format::TAG_TRAILER && sealed.end == table_position)
        .and_then(|sealed| Trailer::decode(&sealed.body))
        .map(|trailer| (trailer, position)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;
    use crate::io::conformance::pattern;
    use crate::pipeline::Cancel;
    use crate::progress::Silent;
    use crate::restore::{Feed, Indexed};
    use crate::save::{self, Options, Plan};

    #[test]
    fn the_losses_of_an_entry_are_exact_also_if_the_report_is_not() {
        let bad = [Extent::at(4096, 512), Extent::at(16384, 512)];
        let disk =
            bad.iter().fold(Memory::new(pattern(128 << 10, 7)), |disk, bad| disk.unreadable(*bad));
        let options = Options { chunk_size: 64 << 10, raw: true, ..Options::default() };
        let plan = Plan::new(&disk, crate::device::DiskIdentity::default(), &options).unwrap();
        let writer = save::start(&plan, Vec::new()).unwrap();
        let (image, _) =
            save::run(&plan, &disk, writer, false, &Cancel::default(), &Silent).unwrap();
        let mut reader = Reader::open(Memory::new(image)).unwrap();
        reader.report.losses = vec![Extent::new(4096, 16896)];
        let chunk = Extent::at(0, 64 << 10);
        assert_eq!(Indexed::new(&reader).losses_in(chunk).unwrap(), bad);
        let second = Extent::at(64 << 10, 64 << 10);
        assert!(Indexed::new(&reader).losses_in(second).unwrap().is_empty());
    }
}
