// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backup of a GPT belongs at the end of the disk. After the bytes of a
//! smaller disk were copied to a larger one it is in the middle, where
//! partitioning tools and some firmware take it for damage.

use super::disk::{Disk, claim, read_back, show_kernel, write_in_order};
use super::{Agreed, Machine, Plan, Repair};
use crate::error::{Context, Error, Result};
use crate::io::WriteAt;
use crate::table::{self, Relocation};

/// The step `backup-gpt`.
pub(super) struct BackupGpt;

impl Repair for BackupGpt {
    fn name(&self) -> &'static str {
        "backup-gpt"
    }

    fn title(&self) -> &'static str {
        "Move the backup of the partition table to the end of the disk"
    }

    fn why(&self) -> &'static str {
        "A disk that was copied to a larger one by other means has this backup in its middle: \
         partitioning tools call the table damaged, and the space behind cannot be used."
    }

    fn plan(&self, _: &Machine, disk: &Disk<'_>) -> Result<Plan> {
        let table = match &disk.table {
            Ok(table) if table.kind == "GPT" => table,
            Ok(table) => {
                let kind = table.kind;
                return Ok(Plan::not_needed(format!(
                    "a table of the kind {kind} has no backup at the end"
                )));
            }
            Err(why) => return Ok(Plan::not_possible(why)),
        };
        Ok(match table::backup_to_end(disk.bytes)? {
            None => Plan::not_needed("it is at the end of the disk"),
            Some(relocation) => Plan::possible(will(&relocation, table.sector_size.bytes())),
        })
    }

    fn run(&self, machine: &Machine, agreed: &Agreed<'_>) -> Result<Vec<String>> {
        let target = claim(agreed.seen)?;
        let plan = self.plan(machine, &Disk::new(&target))?;
        agreed.check(&plan.will)?;
        let relocation = table::backup_to_end(&target)?.ok_or_else(|| plan.refusal())?;
        move_backup(&target, &relocation)
            .context(|| format!("moving the backup of the partition table of {}", target.path()))?;
        if table::backup_to_end(&target)?.is_some() {
            return Err(Error::damaged(
                "the backup of the partition table is still not at the end of the disk",
            ));
        }
        let table = table::read(&target)?
            .ok_or_else(|| Error::damaged("there is no partition table any more"))?;
        let count = table.partitions.len();
        let mut done = vec![format!(
            "read back: both copies of the partition table are good and list {count} partitions"
        )];
        done.extend(table.notes.iter().map(|note| format!("the table still says: {note}")));
        done.extend(show_kernel(&target));
        Ok(done)
    }
}

fn will(relocation: &Relocation, sector: u64) -> Vec<String> {
    let mut will = relocation.steps.clone();
    for extent in relocation.blank.iter() {
        will.push(format!(
            "the sectors {} to {}, where the backup was, become zero",
            extent.start() / sector,
            (extent.end() / sector).saturating_sub(1)
        ));
    }
    will
}

/// Writes what moves the backup. At every moment one copy of the table is good
/// where systems look for it: the new backup comes first, the old one is
/// forgotten last.
pub(super) fn move_backup(target: &dyn WriteAt, relocation: &Relocation) -> Result<()> {
    let pieces = relocation.in_safe_order();
    write_in_order(target, &pieces)?;
    read_back(target, &pieces)?;
    for extent in relocation.blank.iter() {
        target.zero(extent)?;
    }
    target.flush()
}
