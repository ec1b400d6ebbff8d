// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an image file still tells of itself.

use std::path::Path;

use crate::browse::OpenDisk;
use crate::browse::lost::{LostVolume, lost_files};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::rescan::{read_head, rescan};
use crate::image::{Head, Reader, Report, Stream};
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::store::{self, Opened};

/// All that is known of an image; what could not be read is `None`.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) head: Head,
    pub(super) image_len: Option<u64>,
    /// What was found out while saving.
    pub(super) report: Option<Report>,
    pub(super) content_hash: Option<[u8; 32]>,
    /// Chunks and runs of zero chunks.
    pub(super) pieces: Option<usize>,
    /// The chunks that are there, from the first on.
    pub(super) chunks_there: Option<u64>,
    /// The files in what could not be read, as far as they can be told.
    pub(super) lost: Vec<LostVolume>,
    /// What is wrong, in words.
    pub(super) damage: Vec<String>,
}

impl Facts {
    /// Reads the head from standard input.
    pub(super) fn of_stdin() -> Result<Self> {
        let stream =
            Stream::open(std::io::stdin().lock()).context(|| "reading standard input".into())?;
        Ok(Self::of_head(stream.head().clone(), None))
    }

    /// Reads head and index of a file, or what is at an address.
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        let what = || format!("reading {}", store::shown(path));
        match store::open(path)? {
            Opened::Anywhere(file) => Self::of(&*file).context(what),
            Opened::FrontToBack(input) => {
                let stream = Stream::open(input).context(what)?;
                Ok(Self::of_head(stream.head().clone(), None))
            }
        }
    }

    fn of(file: &dyn ReadAt) -> Result<Self> {
        match Reader::open(file) {
            Ok(reader) => Ok(Self::of_reader(&reader, file)),
            // Without a usable end: what the head and the frames tell.
            Err(error) if error.kind() == ErrorKind::Damaged => Self::of_frames(file, &error),
            Err(error) => Err(error),
        }
    }

    fn of_head(head: Head, image_len: Option<u64>) -> Self {
        Self {
            head,
            image_len,
            report: None,
            content_hash: None,
            pieces: None,
            chunks_there: None,
            lost: Vec::new(),
            damage: Vec::new(),
        }
    }

    fn of_reader(reader: &Reader<&dyn ReadAt>, file: &dyn ReadAt) -> Self {
        let head = reader.head().clone();
        let mut damage = Vec::new();
        if let Some(text) = reader.index_damage() {
            damage.push(format!("{text}; the index was rebuilt from the chunks"));
        }
        // The head of a good index is a copy; the first may still be damaged.
        if !read_head(file).is_ok_and(|(first, _, _)| first == head) {
            damage.push("the head at the start is damaged; its copy is shown".into());
        }
        Self {
            report: Some(reader.report().clone()),
            content_hash: Some(reader.content_hash()),
            pieces: Some(reader.entries().len()),
            chunks_there: Some(head.chunk_count()),
            damage,
            ..Self::of_head(head, Some(reader.file_len()))
        }
    }

    fn of_frames(file: &dyn ReadAt, damage: &Error) -> Result<Self> {
        let found = rescan(file)?;
        let report = Report { losses: found.losses.clone(), ..Report::default() };
        Ok(Self {
            report: Some(report),
            pieces: Some(found.entries.len()),
            chunks_there: Some(found.next_chunk()),
            damage: vec![damage.to_string()],
            ..Self::of_head(found.head, Some(file.len()))
        })
    }

    /// Looks into the image for the files that are lost. Of one that cannot be
    /// opened for that, none are told.
    pub(super) fn name_losses(&mut self, path: &Path, cancel: &Cancel) -> Result<()> {
        let has_losses = self.report.as_ref().is_some_and(|report| !report.losses.is_empty());
        if has_losses && let Ok(disk) = OpenDisk::open(path) {
            self.lost = lost_files(&disk, cancel)?;
        }
        Ok(())
    }

    /// True if chunks are missing.
    pub(super) fn is_cut_off(&self) -> bool {
        self.chunks_there.is_some_and(|count| count < self.head.chunk_count())
    }

    /// What to do about the damage.
    pub(super) fn way_on(&self, path: &Path) -> String {
        if !self.is_cut_off() {
            return "all its chunks are there: check them with 'dacapo verify', and save the disk \
                    again while you can"
                .into();
        }
        if path.extension().is_some_and(|it| it == "partial") {
            return "an interrupted save goes on with the command that began it and --resume"
                .into();
        }
        let unpack = match store::is_address(path) {
            true => format!("curl {} | zstd -dc", store::shown(path)),
            false => format!("zstd -dc {}", path.display()),
        };
        format!(
            "what is there can be unpacked with: {unpack} > DISK; copy the image again, if this \
             is a copy"
        )
    }
}
