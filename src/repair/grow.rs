// SPDX-License-Identifier: MIT OR Apache-2.0
//! The last partition of a disk that has become larger, and the filesystem in
//! it, up to the end of the disk.
//!
//! In this order: the filesystem is checked; the backup of the table moves to
//! the end; the partition becomes larger, in one copy of the table after the
//! other; the filesystem becomes larger, by its own program, on a device that
//! is made of that part of the disk.
//!
//! A power cut while the table is written leaves one good copy of it, and a
//! filesystem that is smaller than its partition is whole: the step goes on
//! from there. While a filesystem's own program runs, what a power cut does is
//! up to that program, and people are told to prevent one.

use super::backup_gpt::move_backup;
use super::disk::{Disk, claim, read_back, show_kernel, write_in_order};
use super::filesystem::{Grower, grower};
use super::{Agreed, Machine, Plan, Repair};
use crate::device::{LoopDevice, Target};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::fs::Identity;
use crate::io::{Overlay, ReadAt, Window, WriteAt};
use crate::layout;
use crate::table::{self, Partition};
use crate::units::{MIB, human};

/// Partitions end at a multiple of this, as partitioning tools make them, and
/// less than this is not worth a step.
const UNIT: u64 = MIB;

/// The most that is kept in memory of a trial of changing the table.
const KEPT: u64 = 64 * MIB;

/// Partitions that belong to Windows' own repair, in a GPT and an MBR.
const RECOVERY: [&str; 2] = ["de94bba4-06d1-4d40-a16a-bfd50179d6ac", "27"];

/// The step `grow`.
pub(super) struct Grow;

impl Repair for Grow {
    fn name(&self) -> &'static str {
        "grow"
    }

    fn title(&self) -> &'static str {
        "Let the last partition fill a larger disk"
    }

    fn why(&self) -> &'static str {
        "A restore keeps the size of every partition, so that a larger disk has unused space at \
         its end. The machine starts without this step as well."
    }

    fn plan(&self, machine: &Machine, disk: &Disk<'_>) -> Result<Plan> {
        Ok(match Growth::find(machine, disk)? {
            Ok(growth) => Plan::possible(growth.will()),
            Err(plan) => plan,
        })
    }

    fn run(&self, machine: &Machine, agreed: &Agreed<'_>) -> Result<Vec<String>> {
        let target = claim(agreed.seen)?;
        let growth = Growth::find(machine, &Disk::new(&target))?.map_err(Plan::refusal)?;
        agreed.check(&growth.will())?;
        growth.run(machine, &target)
    }
}

/// What will be larger.
struct Growth {
    partition: Partition,
    /// Where it will end.
    end: u64,
    moves_backup: bool,
    before: Identity,
    grower: &'static dyn Grower,
}

impl Growth {
    fn find(machine: &Machine, disk: &Disk<'_>) -> Result<Result<Self, Plan>> {
        let table = match &disk.table {
            Ok(table) => table,
            Err(why) => return Ok(Err(Plan::not_possible(why))),
        };
        let used = table.partitions.iter().filter(|partition| !partition.extent.is_empty());
        let last = used.max_by_key(|it| (it.extent.end(), !it.container));
        let Some(last) = last else {
            return Ok(Err(Plan::not_needed("the disk has no partitions")));
        };
        if last.extent.end() > disk.bytes.len() {
            return Ok(Err(Plan::not_possible(format!(
                "partition {} ends behind the end of the disk",
                last.number
            ))));
        }
        let moves_backup = match table::backup_to_end(disk.bytes) {
            Ok(relocation) => relocation.is_some(),
            Err(error) => return Ok(Err(Plan::not_possible(error.to_string()))),
        };
        let space_end = table::space_end(disk.bytes)?;
        let aligned = space_end.saturating_sub(space_end % UNIT);
        let is_worth = aligned >= last.extent.end().saturating_add(UNIT);
        let end = if is_worth { aligned } else { last.extent.end() };
        let window = Window::new(disk.bytes, last.extent);
        let before = layout::probe(&[&window]);
        let is_filled =
            before.as_ref().is_none_or(|it| it.size.saturating_add(UNIT) > last.extent.len());
        if end == last.extent.end() && is_filled {
            return Ok(Err(Plan::not_needed(format!(
                "partition {}, the last one, reaches to the end of the disk",
                last.number
            ))));
        }
        Ok(match candidate(machine, last, end, before, disk.bytes) {
            Ok((before, grower)) => {
                let found = Self { partition: last.clone(), end, moves_backup, before, grower };
                match found.try_table(disk.bytes) {
                    Ok(()) => Ok(found),
                    Err(error) => Err(Plan::not_possible(error.to_string())),
                }
            }
            Err(why) => Err(Plan::not_possible(why)),
        })
    }

    /// Changes the table in memory, so that what is offered can be done.
    fn try_table(&self, disk: &dyn ReadAt) -> Result<()> {
        let trial = Overlay::new(disk, KEPT);
        self.write_table(&trial)?;
        self.partition_now(&trial).map(drop)
    }

    fn extent(&self) -> Extent {
        Extent::new(self.partition.extent.start(), self.end)
    }

    fn grows_partition(&self) -> bool {
        self.end > self.partition.extent.end()
    }

    fn will(&self) -> Vec<String> {
        let Self { partition, before, grower, .. } = self;
        let label = before.label.as_ref().map(|label| format!(" '{label}'")).unwrap_or_default();
        let mut will = vec![format!(
            "the {} filesystem{label} in partition {} is checked first ({})",
            before.name,
            partition.number,
            grower.check_by()
        )];
        if self.moves_backup {
            will.push("the backup of the partition table moves to the end of the disk".into());
        }
        if self.grows_partition() {
            will.push(format!(
                "partition {} becomes larger: {} instead of {}",
                partition.number,
                human(self.extent().len()),
                human(partition.extent.len())
            ));
        }
        will.push(format!(
            "its filesystem becomes as large, {} instead of {} ({})",
            human(self.extent().len()),
            human(before.size),
            grower.grow_by()
        ));
        will.push(format!("until {} is done the machine must not lose power", grower.grow_by()));
        will.extend(grower.remark().map(str::to_owned));
        will.push("no file in it is changed, and no other partition".into());
        will
    }

    fn run(&self, machine: &Machine, target: &Target) -> Result<Vec<String>> {
        let number = self.partition.number;
        // Over what the partition is going to be: what is behind its end
        // belongs to nobody, and only programs that grow write there.
        let device = LoopDevice::over(target, self.extent())?;
        let tools = &machine.tools;
        let checked = self.grower.check(tools, device.path(), &self.before);
        let checked = checked.context(|| {
            format!("partition {number} is not made larger: the check of its filesystem failed")
        })?;
        target.flush()?;
        self.write_table(target)
            .context(|| format!("making partition {number} larger in the table"))?;
        let grown = self.grower.grow(tools, device.path(), &self.before);
        // Even if it failed, all that it wrote has to be on the disk.
        let finished = device.finish();
        grown.and(finished).context(|| {
            format!(
                "partition {number} is larger now, but growing its filesystem failed (the step \
                 can be run again)"
            )
        })?;
        target.drop_cache()?;
        let mut done = checked;
        done.extend(self.report(target)?);
        done.extend(show_kernel(target));
        Ok(done)
    }

    fn write_table(&self, target: &dyn WriteAt) -> Result<()> {
        if let Some(relocation) = table::backup_to_end(&target)? {
            move_backup(target, &relocation)?;
        }
        if !self.grows_partition() {
            return Ok(());
        }
        let pieces = table::enlarge(&target, self.partition.number, self.end)?;
        write_in_order(target, &pieces)?;
        read_back(target, &pieces)
    }

    /// The partition as the table has it now.
    fn partition_now(&self, disk: &dyn ReadAt) -> Result<Partition> {
        let number = self.partition.number;
        let table = table::read(disk)?.filter(|table| !table.doubtful);
        let mut partitions = table.into_iter().flat_map(|table| table.partitions);
        partitions.find(|it| it.number == number && it.extent == self.extent()).ok_or_else(|| {
            Error::damaged(format!("partition {number} is not in the table as it was written"))
        })
    }

    /// What is there now.
    fn report(&self, target: &Target) -> Result<Vec<String>> {
        let number = self.partition.number;
        let found = self.partition_now(target)?;
        let window = Window::new(target, found.extent);
        let after = layout::probe(&[&window]);
        let after = after.filter(|it| it.name == self.before.name && it.uuid == self.before.uuid);
        let after = after.ok_or_else(|| {
            Error::damaged(format!("the filesystem in partition {number} is not found any more"))
        })?;
        if after.size <= self.before.size {
            return Err(Error::failed(format!(
                "partition {number} is larger now, but its filesystem still has {}",
                human(after.size)
            )));
        }
        let mut done = vec![format!(
            "read back: partition {number} has {}, its {} filesystem {} (before: {} and {})",
            human(found.extent.len()),
            after.name,
            human(after.size),
            human(self.partition.extent.len()),
            human(self.before.size)
        )];
        done.extend(self.grower.afterwards().map(str::to_owned));
        Ok(done)
    }
}

/// What can grow the content of the last partition, or why nothing can.
fn candidate(
    machine: &Machine,
    last: &Partition,
    end: u64,
    before: Option<Identity>,
    disk: &dyn ReadAt,
) -> Result<(Identity, &'static dyn Grower), String> {
    let number = last.number;
    if last.container || (number > 4 && last.type_id.len() == 2) {
        return Err(format!(
            "partition {number} lies in the extended partition at the end of the disk, and \
             making that larger is not done here"
        ));
    }
    if RECOVERY.contains(&last.type_id.as_str()) {
        return Err(format!(
            "the last partition, {number}, is Windows' own recovery; the one in front of it \
             cannot grow over it"
        ));
    }
    let Some(before) = before else {
        return Err(format!("what is in partition {number}, the last one, is not known"));
    };
    let name = before.name.clone();
    if name == "swap" {
        return Err(format!(
            "partition {number}, the last one, is swap space; the partition in front of it could \
             only grow if the swap space moved, which is not done here"
        ));
    }
    let Some(grower) = grower(&name) else {
        return Err(format!(
            "partition {number}, the last one, holds {name}, which is not grown here"
        ));
    };
    if let Some(missing) = grower.tools().iter().find(|tool| !machine.has_tool(tool)) {
        return Err(format!("the program {missing}, which grows {name}, is missing here"));
    }
    let window = Window::new(disk, last.extent);
    let len = end.saturating_sub(last.extent.start());
    grower.refuses(&before, &window, len).map_or(Ok((before, grower)), Err)
}
