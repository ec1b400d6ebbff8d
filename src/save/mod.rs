// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saves a disk to an image: plan, read, compress, append.

mod plan;
mod read;
mod resume;

pub use plan::Plan;
pub(crate) use plan::{ChunkWork, Chunks, now};
pub use read::ChunkReader;
pub(crate) use read::range;
pub use resume::{Resumed, resume_check};

use std::io::Write;

use crate::device;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::image::format::{self, Report};
use crate::image::frame::{self, Compressor};
use crate::image::writer::Written;
use crate::image::{Writer, writer};
use crate::io::ReadAt;
use crate::pipeline::{self, BufferPool, Cancel};
use crate::progress::{Event, Progress};

/// What a user can choose about a save.
#[derive(Debug, Clone)]
pub struct Options {
    /// The image's label.
    pub label: Option<String>,
    /// The image's note.
    pub note: Option<String>,
    /// The zstd level.
    pub level: i32,
    /// The chunk size in bytes, a power of two.
    pub chunk_size: u32,
    /// True to store every byte, whatever the filesystems say.
    pub raw: bool,
    /// The command line, kept in the image.
    pub command: Vec<String>,
}

/// The level unless asked otherwise; `docs/chunk-size.md` has the figures.
pub const DEFAULT_LEVEL: i32 = 1;

impl Default for Options {
    fn default() -> Self {
        Self {
            label: None,
            note: None,
            level: DEFAULT_LEVEL,
            chunk_size: format::DEFAULT_CHUNK_SIZE,
            raw: false,
            command: Vec::new(),
        }
    }
}

/// What a save has done.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The file.
    pub written: Written,
    /// The used bytes of the disk.
    pub used: u64,
    /// The ranges that could not be read.
    pub losses: Vec<Extent>,
}

/// A chunk on its way to the image.
enum Done {
    Zeros { count: u64, bytes: u64 },
    Data { chunk: u64, frame: Vec<u8>, hash: [u8; 32], losses: Vec<Extent>, bytes: u64 },
}

/// Saves by `plan`, appending to `writer`, which may already hold the first
/// chunks of it. Gives back what `writer` wrote to.
///
/// # Errors
/// Anything but unreadable ranges of the source, which are reported as losses.
pub fn run<W: Write>(
    plan: &Plan,
    source: &dyn ReadAt,
    mut writer: writer::Writer<W>,
    resumed: bool,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<(W, Saved)> {
    let head = &plan.head;
    let used = head.used.bytes();
    progress.stage("saving", used);
    let first = writer.next_chunk();
    progress.advance(used_bytes(plan, Extent::new(0, head.chunk_extent(first).start())));

    let mut chunks = Chunks::new(plan, first);
    let pool = BufferPool::default();
    let worker = || -> Result<_> {
        let mut reader = ChunkReader::new(source, &head.used, head.chunk_size).without(&plan.lost);
        let mut compressor = Compressor::new(head.about.level)?;
        let pool = &pool;
        Ok(move |(chunk, work): (u64, ChunkWork)| {
            let extent = head.chunk_extent(chunk);
            if let ChunkWork::Zeros(count) = work {
                let last = head.chunk_extent(chunk + count - 1);
                let bytes = used_bytes(plan, Extent::new(extent.start(), last.end()));
                return Ok(Done::Zeros { count, bytes });
            }
            reader.read(extent)?;
            let bytes = used_bytes(plan, extent);
            if reader.losses().is_empty() && frame::is_zero(reader.content()) {
                return Ok(Done::Zeros { count: 1, bytes });
            }
            let hash = blake3::hash(reader.content()).into();
            let mut frame = pool.take();
            compressor.compress_into(reader.content(), &mut frame)?;
            Ok(Done::Data { chunk, frame, hash, losses: reader.losses().to_vec(), bytes })
        })
    };
    let mut region = None;
    let jobs = || Ok(chunks.next());
    // At high levels a chunk takes a good part of a second: more threads than
    // cores would only make stopping slow.
    let threads =
        if head.about.level > 9 { pipeline::cores() } else { pipeline::default_threads() };
    let result = pipeline::run(threads, cancel, jobs, worker, |done: Done| {
        match done {
            Done::Zeros { count, bytes } => {
                writer.zeros(count);
                progress.advance(bytes);
            }
            Done::Data { chunk, frame, hash, losses, bytes } => {
                tell_region(plan, head.chunk_extent(chunk).start(), &mut region, progress);
                for extent in &losses {
                    let cause = "the medium cannot be read".into();
                    progress.note(&Event::Unreadable { extent: *extent, cause });
                }
                writer.data(&frame, hash, &losses)?;
                pool.give(frame);
                progress.advance(bytes);
            }
        }
        Ok(())
    });
    // What has been worked on is kept, so that --resume finds it.
    let settled = if result.is_err() { writer.settle() } else { Ok(()) };
    result.and(settled)?;
    let health = plan.drive.as_deref().and_then(device::health);
    let report = Report { finished: now(), losses: Vec::new(), resumed, health };
    let losses = writer.losses().to_vec();
    let (out, written) = writer.finish(report)?;
    Ok((out, Saved { written, used, losses }))
}

/// A new image for `plan`, written to `out`.
///
/// # Errors
/// If the head cannot be written.
pub fn start<W: Write>(plan: &Plan, out: W) -> Result<Writer<W>> {
    Writer::create(out, plan.head.clone())
}

fn used_bytes(plan: &Plan, extent: Extent) -> u64 {
    plan.head.used.within(extent).map(|used| used.len()).sum()
}

fn tell_region(plan: &Plan, offset: u64, last: &mut Option<u64>, progress: &dyn Progress) {
    let Some(region) = plan.layout().region_at(offset) else { return };
    if last.replace(region.extent.start()) == Some(region.extent.start()) {
        return;
    }
    let mut title = region.title();
    if let Some(identity) = &region.filesystem {
        title = format!("{title} ({})", identity.name);
    }
    progress.note(&Event::Position(title));
}

/// The losses of a finished save as the error that sets the exit code.
///
/// # Errors
/// Losses, if there are any.
pub fn check_losses(losses: &[Extent]) -> Result<()> {
    if losses.is_empty() {
        return Ok(());
    }
    let bytes: u64 = losses.iter().map(Extent::len).sum();
    Err(Error::new(
        crate::error::ErrorKind::Losses,
        format!(
            "{bytes} bytes in {} places of the source could not be read; \
             they are zero in the image, and 'dacapo info' lists them",
            losses.len()
        ),
    )
    .hint("everything else was saved; the drive may be failing: keep this image"))
}
