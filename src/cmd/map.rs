// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo map`: the used ranges as a map for GNU ddrescue.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::device::Source;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::Head;
use crate::image::rescan::read_head;
use crate::io::ReadAt;
use crate::job::open::readers;
use crate::layout::{self, Layout};
use crate::pipeline::Cancel;
use crate::store;
use crate::units::SectorSize;

use super::Outcome;
use super::open::{OthersArgs, open_image};
use super::output::{Output, plain};
use super::values;

const EXAMPLE: &str = "\
Examples:
  dacapo map /dev/sda --output used.map
  ddrescue --domain-mapfile=used.map /dev/sda rescued.raw rescue.map";

/// Print which ranges are in use, as a map for GNU ddrescue
///
/// '+' is used, '?' is free. GNU ddrescue takes the map as its domain and
/// then reads a failing disk only where there is data.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct MapArgs {
    /// Disk, partition, raw image file, or image, also at an http(s) address
    #[arg(value_name = "SOURCE_OR_IMAGE", value_hint = ValueHint::AnyPath)]
    pub source: PathBuf,

    /// Only this partition; positions count from its start
    #[arg(long, short, value_name = "N")]
    pub partition: Option<NonZeroU32>,

    /// File to write instead of standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Other disks of a set.
    #[command(flatten)]
    pub set: OthersArgs,

    /// Sector size, if SOURCE is the file of a disk with 4096
    #[arg(long, value_name = "BYTES", value_parser = values::sector_size)]
    pub sector_size: Option<SectorSize>,
}

impl MapArgs {
    /// True if the map goes to standard output.
    pub(crate) fn writes_to_stdout(&self) -> bool {
        self.output.as_ref().is_none_or(|path| path.as_os_str() == "-")
    }
}

/// Runs the command.
///
/// # Errors
/// If the source cannot be read or the map not be written.
pub fn run(args: &MapArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    cancel.check()?;
    let open = |path: &Path| match args.sector_size {
        Some(sector) => Source::open_with_sector_size(path, sector),
        None => Source::open(path),
    };
    let (used, layout, len) = if store::is_address(&args.source) {
        of_head(open_image(&args.source, output)?.head().clone())
    } else {
        let source = open(&args.source)?;
        match read_head(&source) {
            Ok((head, _, _)) => of_head(head),
            // Not an image, so it is a disk; a damaged image has no map.
            Err(error) if error.kind() == ErrorKind::Damaged => {
                let others = args.set.open(&args.source, open)?;
                let scan = layout::scan_with(&source, &readers(&others))?;
                (scan.used, scan.layout, source.len())
            }
            Err(error) => return Err(error),
        }
    };
    let window = match args.partition.map(NonZeroU32::get) {
        None => Extent::new(0, len),
        Some(number) => layout.partition_extent(number, len)?,
    };
    let name = store::shown(&args.source);
    if args.writes_to_stdout() {
        mapfile(&name, &used, window, |text| output.data(text.as_bytes()))?;
    } else if let Some(path) = &args.output {
        write_new(path, &name, &used, window)?;
    }
    Ok(Outcome::Done)
}

fn of_head(head: Head) -> (ExtentSet, Layout, u64) {
    (head.used, head.about.layout, head.disk_len)
}

/// Writes a file that was not there: a mistyped name must not cost a disk, and
/// half a map must not pass for a whole one.
fn write_new(path: &Path, source: &str, used: &ExtentSet, window: Extent) -> Result<()> {
    let what = || format!("writing {}", path.display());
    let mut file = File::options().write(true).create_new(true).open(path).map_err(|error| {
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::refused(format!("{} exists already", path.display()))
                    .hint("choose another name, or delete it first")
            }
            _ => Error::io(what(), error),
        }
    })?;
    mapfile(source, used, window, |text| file.write_all(text.as_bytes()).context(what))
        .and_then(|()| file.sync_all().context(what))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })
}

/// How much of the text is held at a time: a map may have millions of lines.
const PIECE: usize = 64 << 10;

/// The map as GNU ddrescue reads it, piece by piece: `+` used, `?` unused.
fn mapfile(
    source: &str,
    used: &ExtentSet,
    window: Extent,
    mut put: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut text = format!(
        "# Mapfile. Created by dacapo version {}\n# Source: {}\n\
         # current_pos  current_status  current_pass\n0x00000000     ?               1\n\
         #      pos        size  status\n",
        env!("CARGO_PKG_VERSION"),
        plain(source),
    );
    let mut position = window.start();
    let end = Extent::new(window.end(), window.end());
    for extent in used.within(window).chain(std::iter::once(end)) {
        for (range, status) in [(Extent::new(position, extent.start()), '?'), (extent, '+')] {
            if !range.is_empty() {
                let start = range.start() - window.start();
                let _ = writeln!(text, "0x{start:08X}  0x{:08X}  {status}", range.len());
            }
        }
        position = extent.end();
        if text.len() >= PIECE {
            put(&text)?;
            text.clear();
        }
    }
    put(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_covers_its_window_without_a_gap() {
        let used: ExtentSet = [Extent::new(0, 10), Extent::new(20, 4096)].into_iter().collect();
        let mut text = String::new();
        let append = |piece: &str| {
            text.push_str(piece);
            Ok(())
        };
        mapfile("a", &used, Extent::new(5, 5000), append).unwrap();
        let lines: Vec<&str> = text.lines().skip(5).collect();
        let wanted = [
            "0x00000000  0x00000005  +",
            "0x00000005  0x0000000A  ?",
            "0x0000000F  0x00000FEC  +",
            "0x00000FFB  0x00000388  ?",
        ];
        assert_eq!(lines, wanted);
    }
}
