// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what the jobs read: sources and images.

use std::path::Path;

use crate::device::{Source, check_opened_source, check_source};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::Reader;
use crate::io::ReadAt;
use crate::units::SectorSize;

/// Opens a disk, partition or file to be saved.
///
/// # Errors
/// Refused if something may write to it.
pub fn open_source(path: &Path, sector: Option<SectorSize>) -> Result<Source> {
    check_source(path)?;
    let source = Source::claim(path, sector)?;
    // Somebody may have come in between.
    check_opened_source(&source)?;
    Ok(source)
}

/// Opened disks as readers.
#[must_use]
pub fn readers(others: &[Source]) -> Vec<&dyn ReadAt> {
    others.iter().map(|other| other as &dyn ReadAt).collect()
}

/// Fails if something may have written to the source while it was read: what
/// could not be claimed may have been mounted meanwhile.
///
/// # Errors
/// That it was used, or that the kernel cannot be asked.
pub fn check_still_unused(source: &Source) -> Result<()> {
    check_opened_source(source).map_err(|error| {
        if error.kind() != ErrorKind::Refused {
            return error;
        }
        let hint = error.hint_text().unwrap_or("make sure that nothing uses it").to_owned();
        Error::failed(format!(
            "{} was used while it was read, so that what was read may not fit together: {error}",
            source.path()
        ))
        .hint(hint)
    })
}

/// Opens an image to be read at any position.
///
/// # Errors
/// Damaged if it is not one.
pub fn open_image(path: &Path) -> Result<Reader<Source>> {
    let file = Source::open(path)?;
    Reader::open(file).context(|| format!("opening {}", path.display()))
}

/// What has to be said of an image that is damaged and can be read all the
/// same.
#[must_use]
pub fn damage_note<F: ReadAt>(reader: &Reader<F>) -> Option<String> {
    if let Some(damage) = reader.index_damage() {
        return Some(format!("{damage}; the index was rebuilt from the image's frames"));
    }
    reader.damage().map(|damage| format!("{damage}; the image can be read all the same"))
}
