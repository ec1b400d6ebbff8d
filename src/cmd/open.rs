// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what the commands read: sources and images.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::device::Source;
use crate::error::{Context, Error, Result};
use crate::image::Stream;
use crate::job::open::{self, Image};
use crate::restore::Streamed;

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
