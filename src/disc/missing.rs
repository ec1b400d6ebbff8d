// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is missing of an archived disc: by the map beside it, which ddrescue
//! writes, too, and by its record. What one of them knows the other may have
//! lost, so both are asked.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::read::sectors_of;
use super::record::{self, Record};
use super::volume::SECTOR;
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::rescue::{Blocks, Mapfile};

/// What a file of `len` bytes of a disc lacks, with its record, if it has one.
///
/// # Errors
/// Refused if it was interrupted and nothing says what was read; if a file
/// beside it cannot be read.
pub(super) fn of(image: &Path, len: u64, record: Option<&Record>) -> Result<ExtentSet> {
    let image = &*record::followed(image);
    let map = record::map_of(image);
    let mut missing = ExtentSet::new();
    if map != image && map.exists() {
        let map = read_map(&map)?;
        missing = Blocks::new(len, &map.blocks).finished().complement(len);
    } else if record::is_partial(image) {
        return Err(Error::refused(format!(
            "{} was interrupted, and {} is missing, which says what was read",
            image.display(),
            map.display()
        ))
        .hint("read the disc anew"));
    }
    let Some(record) = record else { return Ok(missing) };
    let whole = Extent::new(0, len);
    let size = u64::from(record.sector_size);
    let bytes = |first: u64, end: u64| {
        Extent::new(first.saturating_mul(size), end.saturating_mul(size)).intersect(&whole)
    };
    // What lies between sessions was never there, and nobody can read what ends a
    // track, which the map does not know.
    let gaps = record.toc.iter().flat_map(crate::device::Toc::gaps);
    let gaps = gaps.map(|(start, end)| bytes(start.into(), end.into()));
    let run_out = record.run_out.iter();
    let run_out = run_out.map(|it| bytes(it.first, it.first.saturating_add(it.count)));
    let gaps = gaps.chain(run_out).collect();
    let unreadable = record.unreadable.iter();
    let unreadable =
        unreadable.map(|it| bytes(it.first, it.first.saturating_add(it.count))).collect();
    Ok(missing.subtract(&gaps).union(&unreadable))
}

/// How many sectors these are.
pub(super) fn count(missing: &ExtentSet, record: Option<&Record>) -> u64 {
    let size = record.map_or(SECTOR, |record| record.sector_size.into());
    sectors_of(missing, size).iter().fold(0, |sum, it| sum.saturating_add(it.count))
}

/// Reads the map beside a file.
pub(super) fn read_map(path: &Path) -> Result<Mapfile> {
    let what = || format!("reading {}, which says what is missing of the disc", path.display());
    let file = BufReader::new(File::open(path).context(what)?);
    Mapfile::read(file).context(what)
}
