// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what the commands read: sources and images.

use std::io::{BufReader, Stdin};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::device::{Source, check_opened_source, check_source};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::{Reader, Stream};
use crate::io::ReadAt;
use crate::restore::Streamed;
use crate::units::SectorSize;

use super::Outcome;
use super::output::Output;

/// Opens a disk, partition or file to be saved.
///
/// # Errors
/// Refused if something may write to it.
pub(super) fn open_source(path: &Path, sector: Option<SectorSize>) -> Result<Source> {
    check_source(path)?;
    let source = Source::claim(path, sector)?;
    // Somebody may have come in between.
    check_opened_source(&source)?;
    Ok(source)
}

/// Disks over which what is on the source may be spread.
#[derive(Debug, Default, Args)]
pub struct OthersArgs {
    /// Another disk over which a filesystem or volume group is spread
    ///
    /// A btrfs or LVM group of several disks can only be understood with all of
    /// them at hand. This one is only looked at; save it, too, in a second run.
    #[arg(long = "with", value_name = "DISK", value_hint = ValueHint::AnyPath)]
    pub others: Vec<PathBuf>,
}

impl OthersArgs {
    /// Opens them all with `open`, as the source was.
    ///
    /// # Errors
    /// What `open` says; usage if one is the source.
    pub(super) fn open(
        &self,
        source: &Path,
        open: impl Fn(&Path) -> Result<Source>,
    ) -> Result<Vec<Source>> {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut seen = vec![real(source)];
        let mut others = Vec::new();
        for path in &self.others {
            if seen.contains(&real(path)) {
                return Err(Error::usage(format!("{} is given twice", path.display()))
                    .hint("--with names the other disks, each once"));
            }
            seen.push(real(path));
            others.push(open(path)?);
        }
        Ok(others)
    }
}

/// Opened disks as readers.
pub(super) fn readers(others: &[Source]) -> Vec<&dyn ReadAt> {
    others.iter().map(|other| other as &dyn ReadAt).collect()
}

/// Fails if something may have written to the source while it was read: what
/// could not be claimed may have been mounted meanwhile.
///
/// # Errors
/// That it was used, or that the kernel cannot be asked.
pub(super) fn check_still_unused(source: &Source) -> Result<()> {
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
    } else if let Some(damage) = reader.damage() {
        output.note(&format!("{damage}; the image can be read all the same"));
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
