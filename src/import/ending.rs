// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a raw image has its end. Nothing in such a file says how long it
//! has to be, but what is in it does: partitions, the backup of a GPT, and
//! filesystems that go on behind its last byte.

use crate::disc::volume::{self, Sizes};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::fs::{self, Identity, udf};
use crate::io::{ReadAt, Window};
use crate::layout::probe;
use crate::table::{self, Partition, PartitionTable, gpt};

/// The most that a frame around logical partitions reaches past its disk by
/// rounding alone: a cylinder of 255 heads and 63 sectors.
const CYLINDER: u64 = 255 * 63 * 512;

/// The type of the entry that protects a GPT. It may be longer than any disk.
const PROTECTIVE: &str = "ee";

/// The copy of the boot sector behind the last cluster of an NTFS, which tools
/// that restore into a file leave out.
const NTFS_SPARE: u64 = 4096;

/// Refuses a raw image, called `name`, that ends before what is in it does. Gives
/// back what is to be told of what is not believed.
///
/// # Errors
/// Damaged, if it does.
pub fn refuse_cut(disk: &dyn ReadAt, name: &str) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let signs = signs(disk, &mut notes);
    if signs.is_empty() {
        return Ok(notes);
    }
    Err(Error::damaged(format!(
        "{name} was cut off: it ends after {} bytes, and {}",
        disk.len(),
        signs.join("; ")
    ))
    .hint(
        "no image was made; look for a whole copy, or for more pieces of it. If this is all there \
         is, unpack or join it to one raw file, and 'dacapo save' keeps what that holds",
    ))
}

/// What shows that a disk or partition goes on behind its end; nothing, if
/// nothing does.
fn signs(disk: &dyn ReadAt, notes: &mut Vec<String>) -> Vec<String> {
    if fs::ends_as_member(disk).unwrap_or(false) {
        return Vec::new();
    }
    let table = table::read(disk).ok().flatten();
    let is_gpt = table.as_ref().is_some_and(|table| table.kind == "GPT");
    let disc = disc(disk, notes);
    // A GPT leaves no room for a filesystem beside it, apart from a disc.
    let alone = if is_gpt { None } else { probe(&[disk]) };
    if let Some(whole) = disc.as_ref().or(alone.as_ref())
        && !fits(whole, disk.len())
    {
        return vec![format!("its {} has {} bytes", whole.name, whole.size)];
    }
    // What looks like a table may be the code that starts a filesystem.
    let Some(table) = table.filter(|_| disc.is_some() || alone.is_none()) else {
        return Vec::new();
    };
    let mut signs: Vec<String> = table
        .partitions
        .iter()
        .filter(|partition| is_cut(disk, partition, disc.as_ref()))
        .map(|it| format!("partition {} ends at byte {}", it.number, it.extent.end()))
        .collect();
    // A disc that was read from its medium ends with its filesystem.
    if disc.is_none() {
        signs.extend(backup_sign(disk, &table));
    }
    signs
}

/// A disc, as long as its structures say that is and are believed.
fn disc(disk: &dyn ReadAt, notes: &mut Vec<String>) -> Option<Identity> {
    let disc = fs::disc(disk).ok().flatten()?;
    let (_, sizes) = volume::read(disk, 0);
    // UDF alone may fill a disk of any size.
    let sizes = Sizes { most: sizes.primary.and(sizes.most), ..sizes };
    let partition = sizes.udf_partition.unwrap_or(0);
    let ends = [sizes.primary, sizes.udf_descriptors, sizes.udf_anchor].into_iter().flatten();
    let ends: Vec<u64> = ends.chain([partition]).collect();
    if let Some(end) = ends.iter().filter(|end| !sizes.is_possible(**end)).max() {
        notes.push(format!(
            "its {} has {end} bytes by one of its structures, more than any disc holds; that is not \
             believed",
            disc.name
        ));
    }
    let believed = |end: &&u64| sizes.is_possible(**end);
    let size = ends.iter().filter(believed).max().copied().unwrap_or(0);
    let is_partition_alone =
        ends.iter().filter(believed).all(|end| *end <= disk.len() || *end == partition);
    if size > disk.len() && is_partition_alone && has_anchor_at_end(disk) {
        notes.push(format!(
            "a partition of its {} ends at byte {partition}, behind the end of the file, which has \
             the last anchor of the disc all the same",
            disc.name
        ));
        return Some(Identity { size: disk.len(), ..disc });
    }
    Some(Identity { size, ..disc })
}

/// True if UDF has one of its anchors where they are by the end of the disc. One of
/// those at its start may be at such a place by chance, and does not count.
fn has_anchor_at_end(disk: &dyn ReadAt) -> bool {
    const AT_START: [u32; 2] = [256, 512];
    let anchors = udf::anchors(disk).unwrap_or_default();
    anchors.iter().any(|anchor| !AT_START.contains(&anchor.block))
}

/// True if something of a partition lies behind the end of the disk.
fn is_cut(disk: &dyn ReadAt, partition: &Partition, disc: Option<&Identity>) -> bool {
    let (extent, len) = (partition.extent, disk.len());
    if extent.is_empty() || extent.end() <= len || partition.type_id == PROTECTIVE {
        return false;
    }
    if partition.container {
        return extent.end().saturating_sub(len) > CYLINDER;
    }
    // All of the disc is there; partitions that show parts of it are rounded up.
    if disc.is_some_and(|disc| extent.start() < disc.size) {
        return false;
    }
    if extent.start() >= len {
        return true;
    }
    // A partition may be longer than its disk, and what is in it not: what ends
    // exactly with the disk is mostly what does not say where it ends.
    let there = Window::new(disk, Extent::new(extent.start(), len));
    !probe(&[&there]).is_some_and(|it| it.size > 0 && it.size < there.len())
}

fn backup_sign(disk: &dyn ReadAt, table: &PartitionTable) -> Option<String> {
    if table.kind != "GPT" {
        return None;
    }
    let end = gpt::missing_backup_end(disk, table.sector_size).filter(|end| *end > disk.len())?;
    Some(format!("the backup of its partition table ends at byte {end}"))
}

fn fits(whole: &Identity, len: u64) -> bool {
    let spare = if whole.name == "NTFS" { NTFS_SPARE } else { 0 };
    whole.size <= len.saturating_add(spare)
}
