// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what the commands read: sources and images.

use std::io::{BufReader, Stdin};
use std::path::Path;

use crate::device::Source;
use crate::error::{Context, Error, Result};
use crate::image::{Reader, Stream};
use crate::restore::Streamed;
use crate::units::SectorSize;

use super::Outcome;
use super::output::Output;

/// Opens a disk, partition or file to be saved.
///
/// # Errors
/// Refused if something may write to it.
pub(super) fn open_source(path: &Path, sector: Option<SectorSize>) -> Result<Source> {
    crate::device::check_source(path)?;
    match sector {
        Some(sector) => Source::open_with_sector_size(path, sector),
        None => Source::open(path),
    }
}

/// True if the user named a standard stream.
pub(super) fn is_standard_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens an image to be read at any position.
///
/// # Errors
/// Damaged if it is not one.
pub(super) fn open_image(path: &Path, output: &Output) -> Result<Reader<Source>> {
    let file = Source::open(path)?;
    let reader = Reader::open(file).context(|| format!("opening {}", path.display()))?;
    if let Some(damage) = reader.index_damage() {
        output.note(&format!("{damage}; the index was rebuilt from the image's frames"));
    }
    Ok(reader)
}

/// Opens the image that comes through standard input.
///
/// # Errors
/// Damaged if it is not one.
pub(super) fn open_stdin() -> Result<Streamed<BufReader<Stdin>>> {
    let stdin = BufReader::with_capacity(1 << 20, std::io::stdin());
    Ok(Streamed::new(Stream::open(stdin).context(|| "reading standard input".into())?))
}

/// A finding, if there is one, as the outcome of a command.
pub(super) fn outcome(finding: Result<(), Error>) -> Outcome {
    match finding {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Finding(error),
    }
}
