// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what the commands read: sources and images.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::browse::OpenDisk;
use crate::device::Source;
use crate::error::{Context, Error, Result};
use crate::image::Stream;
use crate::job::open::{self, Image};
use crate::restore::Streamed;
use crate::store;

use super::Outcome;
use super::output::Output;

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
        open_each(source, &self.others, open)
    }
}

/// Images or disks over which what is in the first may be spread.
#[derive(Debug, Default, Args)]
pub struct BesideArgs {
    /// Another image or disk that a filesystem or group is spread over
    ///
    /// The files of a btrfs or an LVM volume of several disks can only be read
    /// with all of them at hand, each an image of its own or the disk itself.
    #[arg(long = "with", value_name = "IMAGE", value_hint = ValueHint::AnyPath)]
    pub others: Vec<PathBuf>,
}

impl BesideArgs {
    /// Opens them all with `open`, as the first was, and puts them beside it.
    ///
    /// # Errors
    /// What `open` says; usage if one is the first.
    pub(super) fn beside(
        &self,
        path: &Path,
        first: OpenDisk,
        open: impl Fn(&Path) -> Result<OpenDisk>,
    ) -> Result<OpenDisk> {
        Ok(first.with_others(open_each(path, &self.others, open)?))
    }
}

/// Opens each of the others with `open`.
fn open_each<T>(
    source: &Path,
    others: &[PathBuf],
    open: impl Fn(&Path) -> Result<T>,
) -> Result<Vec<T>> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut seen = vec![real(source)];
    let mut opened = Vec::new();
    for path in others {
        if seen.contains(&real(path)) {
            return Err(Error::usage(format!("{} is given twice", store::shown(path)))
                .hint("--with names the other disks, each once"));
        }
        seen.push(real(path));
        opened.push(open(path)?);
    }
    Ok(opened)
}

/// True if the user named a standard stream.
pub(super) fn is_standard_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens an image - a file, an address, or `-` for standard input - and says
/// what is unusual about it.
///
/// # Errors
/// Damaged if it is not one.
pub(super) fn open_image(path: &Path, output: &Output) -> Result<Image> {
    if is_standard_stream(path) {
        return open_stdin();
    }
    let image = open::open_image(path)?;
    if let Some(note) = image.note() {
        output.note(&note);
    }
    Ok(image)
}

/// Opens the image that comes through standard input.
fn open_stdin() -> Result<Image> {
    let stdin = BufReader::with_capacity(1 << 20, std::io::stdin());
    let stream = Stream::open(Box::new(stdin) as Box<dyn Read + Send>);
    Ok(Image::Streamed(Streamed::new(stream.context(|| "reading standard input".into())?)))
}

/// A finding, if there is one, as the outcome of a command.
pub(super) fn outcome(finding: Result<(), Error>) -> Outcome {
    match finding {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Finding(error),
    }
}
