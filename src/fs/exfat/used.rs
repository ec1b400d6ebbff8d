// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of a volume is in use: the bitmaps, the walk through the folders and
//! the FAT, put together.

use super::boot_sector::BootSector;
use super::clusters::Clusters;
use super::{table, walk};
use crate::extent::Extent;
use crate::fs::Used;
use crate::fs::runs::Runs;
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The bytes in use. The filesystem must fit into the volume.
pub(super) fn map(volume: &dyn ReadAt, boot: &BootSector) -> Result<Used, FormatError> {
    let is_in_doubt = boot.is_dirty || boot.has_failed;
    let found = walk::walk(volume, boot, is_in_doubt)?;
    let unmarked = found.had.missing_in(&found.allocated);
    if unmarked > 0 && !is_in_doubt {
        return Ok(contradiction(volume.len(), unmarked));
    }
    let mut used = found.allocated;
    used.unite(&found.had);
    let has_several = boot.fat_count > 1;
    for copy in 0..boot.fat_count {
        unite_table(volume, boot, copy, is_in_doubt || has_several, &mut used)?;
    }

    let mut runs = Runs::new();
    runs.push(Extent::new(0, boot.heap_start));
    for (first, end) in used.runs() {
        runs.push(Extent::new(boot.cluster_start(first), boot.cluster_start(end)));
    }
    runs.push(Extent::new(boot.cluster_start(boot.end_cluster()), volume.len()));
    let mut map = Used::proven(runs.into_set());
    if boot.is_dirty {
        map = map.note(
            "not unmounted: all that its folders, its bitmap or its allocation table know of is \
             stored",
        );
    }
    if boot.has_failed {
        map = map.note("its medium has had errors, as a flag in it says");
    }
    Ok(map)
}

/// A bitmap that was not written does not explain this.
fn contradiction(len: u64, unmarked: u64) -> Used {
    let clusters = if unmarked == 1 { "a cluster" } else { "clusters" };
    let why = format!(
        "the exFAT filesystem says that it was unmounted, but its bitmap calls {clusters} free \
         that its files use ({unmarked})"
    );
    Used::whole(len, why)
        .advise("to make the image smaller, let Windows check the drive (chkdsk) before")
}

/// Adds the bad clusters of a FAT, or everything that it knows of.
///
/// In a FAT that is in order, entries of clusters that are free are leftovers
/// of deleted files: nothing clears them. So they count only where the folders
/// or the bitmap may be behind, and where there is a second FAT, which systems
/// that do not know of it do not follow.
fn unite_table(
    volume: &dyn ReadAt,
    boot: &BootSector,
    copy: u64,
    whole: bool,
    used: &mut Clusters,
) -> Result<(), FormatError> {
    table::each_entry(volume, boot, copy, |cluster, entry| {
        if whole || entry == table::BAD {
            used.insert(cluster, cluster.saturating_add(1));
        }
        let next = u64::from(entry);
        if whole && boot.has(next) {
            used.insert(next, next.saturating_add(1));
        }
    })
}
