// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entry in the firmware that says from where the machine is started. It is
//! kept in the machine and not on the disk, so a restored disk in another
//! machine has none.

use std::collections::HashSet;

use uuid::Uuid;

use super::disk::Disk;
use super::efivars::{Entry, Variables, boot_name};
use super::esp::{Esp, is_esp};
use super::load_option::{ACTIVE, HardDrive, LoadOption, Signature, arguments};
use super::loader::{Loader, loaders};
use super::{Agreed, Machine, Plan, Repair};
use crate::device::{self, Source};
use crate::error::{Context, Error, Result};
use crate::table::{self, Partition, PartitionTable};

/// How many entries a disk gets at most: the memory of firmware is small, and a
/// full one keeps some machines from starting at all.
const MOST_ENTRIES: usize = 8;

/// The step `boot-entry`.
pub(super) struct BootEntry;

impl Repair for BootEntry {
    fn name(&self) -> &'static str {
        "boot-entry"
    }

    fn title(&self) -> &'static str {
        "Tell this machine's firmware to start from the disk"
    }

    fn why(&self) -> &'static str {
        "The firmware (UEFI) of a machine keeps by itself which file on which disk it starts. \
         After a restore to another machine, or after its battery was changed, that entry is \
         missing, and the machine finds nothing to start."
    }

    fn plan(&self, machine: &Machine, disk: &Disk<'_>) -> Result<Plan> {
        let wanted = match wanted(machine, disk)? {
            Ok(wanted) => wanted,
            Err(plan) => return Ok(plan),
        };
        let Some(variables) = Variables::open(&machine.variables) else {
            return Ok(Plan::not_possible(no_variables(machine)));
        };
        let changes = Changes::new(&variables, &wanted, disk)?;
        if changes.is_empty() {
            let there: Vec<String> =
                changes.kept.iter().map(|it| format!("{} {}", it.name(), it.option)).collect();
            return Ok(Plan::not_needed(format!("the firmware has it: {}", there.join("; "))));
        }
        Ok(Plan::possible(changes.will()))
    }

    fn run(&self, machine: &Machine, agreed: &Agreed<'_>) -> Result<Vec<String>> {
        let source = agreed.seen.open()?;
        let disk = Disk::new(&source);
        let wanted = wanted(machine, &disk)?.map_err(Plan::refusal)?;
        let variables = Variables::open(&machine.variables)
            .ok_or_else(|| Error::refused(no_variables(machine)))?;
        let changes = Changes::new(&variables, &wanted, &disk)?;
        agreed.check(&changes.will())?;
        for entry in changes.new.iter().chain(&changes.switched_on) {
            variables.set_entry(entry)?;
        }
        // An entry that the order does not name yet is not tried, so nothing
        // has changed if this fails.
        if changes.reordered {
            variables.set_boot_order(&changes.order)?;
        }
        read_back(&variables, &changes)
    }
}

/// What the firmware has now, as it says so.
fn read_back(variables: &Variables<'_>, changes: &Changes) -> Result<Vec<String>> {
    let (entries, order) = (variables.entries()?, variables.boot_order()?);
    let mut done = Vec::new();
    for changed in changes.new.iter().chain(&changes.switched_on) {
        let found = entries.iter().find(|entry| *entry == changed);
        let found = found.ok_or_else(|| {
            Error::damaged(format!("{} is not in the firmware as it was written", changed.name()))
        })?;
        done.push(format!("the firmware now has {} {}", found.name(), found.option));
    }
    let named: Vec<String> = order
        .iter()
        .map(|number| {
            let entry = entries.iter().find(|entry| entry.number == *number);
            let label = entry.map(|entry| format!(" '{}'", entry.option.label));
            format!("{}{}", boot_name(*number), label.unwrap_or_default())
        })
        .collect();
    done.push(format!("it starts in this order: {}", named.join(", ")));
    done.extend(changes.remarks.iter().cloned());
    Ok(done)
}

fn no_variables(machine: &Machine) -> String {
    format!(
        "the firmware's variables cannot be reached: nothing is mounted at {}",
        machine.variables.display()
    )
}

/// The entries that the disk should have, in order; or why there are none.
fn wanted(machine: &Machine, disk: &Disk<'_>) -> Result<Result<Vec<LoadOption>, Plan>> {
    let table = match &disk.table {
        Ok(table) => table,
        Err(why) => return Ok(Err(Plan::not_possible(why))),
    };
    let esps: Vec<&Partition> = disk.partitions().filter(|it| is_esp(table, it)).collect();
    if esps.is_empty() {
        return Ok(Err(Plan::not_needed(
            "the disk has no EFI system partition: it starts by BIOS, which needs no entry",
        )));
    }
    if !machine.firmware.is_dir() {
        return Ok(Err(Plan::not_possible(
            "this machine was started in BIOS mode, in which the firmware's entries cannot be \
             reached: start the rescue stick again in UEFI mode (in the boot menu, its name with \
             'UEFI' in front)",
        )));
    }
    let mut wanted = Vec::new();
    let mut problems = Vec::new();
    for partition in esps {
        let found = Esp::open(disk.bytes, partition.extent)
            .and_then(|esp| loaders(&esp, machine.suffix()))
            .context(|| format!("reading partition {}", partition.number));
        match found {
            Ok(found) => {
                for loader in &found {
                    wanted.extend(option(table, partition, loader));
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    if wanted.is_empty() {
        problems.push(format!(
            "there is no boot loader for this machine ({}) on the EFI system partition",
            machine.suffix()
        ));
        return Ok(Err(Plan::not_possible(problems.join("; "))));
    }
    Ok(Ok(wanted))
}

fn option(table: &PartitionTable, partition: &Partition, loader: &Loader) -> Option<LoadOption> {
    let sector = table.sector_size.bytes();
    let signature = match table.kind {
        "GPT" => {
            let guid = partition.id.as_deref()?.parse::<Uuid>().ok()?;
            Signature::Guid(guid.to_bytes_le())
        }
        _ => Signature::Mbr(u32::from_str_radix(table.id.as_deref()?, 16).ok()?),
    };
    Some(LoadOption {
        attributes: ACTIVE,
        label: loader.label.clone(),
        drive: Some(HardDrive {
            number: partition.number,
            start: partition.extent.start() / sector,
            sectors: partition.extent.len() / sector,
            signature,
        }),
        file: Some(loader.firmware_path()),
        arguments: arguments(&loader.arguments),
    })
}

/// What has to change in the firmware.
#[derive(Debug, Default)]
struct Changes {
    /// Entries that are not there.
    new: Vec<Entry>,
    /// Entries that are there and switched off, as they are to be.
    switched_on: Vec<Entry>,
    /// Entries that are there as they should be.
    kept: Vec<Entry>,
    /// The order afterwards, and whether it is another.
    order: Vec<u16>,
    reordered: bool,
    /// What a person should know, and nothing is done about.
    remarks: Vec<String>,
}

impl Changes {
    fn new(variables: &Variables<'_>, wanted: &[LoadOption], disk: &Disk<'_>) -> Result<Self> {
        let (entries, old_order) = (variables.entries()?, variables.boot_order()?);
        let mut free = variables.free_numbers()?;
        let mut changes = Self::default();
        let mut first = Vec::new();
        let (wanted, left) = wanted.split_at(wanted.len().min(MOST_ENTRIES));
        if !left.is_empty() {
            changes.remarks.push(format!("{} more boot loaders get no entry", left.len()));
        }
        for option in wanted {
            let there: Vec<&Entry> =
                entries.iter().filter(|entry| entry.option.starts_same(option)).collect();
            // One that is tried already is better than one that is not.
            let best = there.iter().max_by_key(|entry| {
                (entry.option.attributes & ACTIVE, old_order.contains(&entry.number))
            });
            let number = if let Some(entry) = best {
                if entry.option.attributes & ACTIVE == 0 {
                    changes.switched_on.push((*entry).clone().switched_on());
                } else {
                    changes.kept.push((*entry).clone());
                }
                entry.number
            } else {
                let number = free.next().ok_or_else(|| {
                    Error::refused("the firmware has no number for an entry left")
                })?;
                changes.new.push(Entry::new(number, option.clone())?);
                number
            };
            if !old_order.contains(&number) {
                first.push(number);
            }
        }
        changes.reordered = !first.is_empty();
        changes.order = first.into_iter().chain(old_order).collect();
        changes.remarks.extend(stale(&entries, wanted, disk));
        Ok(changes)
    }

    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.switched_on.is_empty() && !self.reordered
    }

    fn will(&self) -> Vec<String> {
        let mut will = Vec::new();
        for entry in &self.new {
            will.push(format!("the firmware gets the entry {} {}", entry.name(), entry.option));
        }
        for entry in &self.switched_on {
            will.push(format!(
                "the entry {} {}, which is switched off, is switched on",
                entry.name(),
                entry.option
            ));
        }
        for entry in &self.kept {
            will.push(format!("the entry {} {} is there and stays", entry.name(), entry.option));
        }
        if self.reordered {
            let names: Vec<String> = self.order.iter().map(|number| boot_name(*number)).collect();
            will.push(format!("the firmware tries them in this order: {}", names.join(", ")));
        }
        will.extend(self.remarks.iter().cloned());
        will.push("the disk itself is not changed".into());
        will
    }
}

/// Entries of the same name whose partition is on no disk any more.
fn stale(entries: &[Entry], wanted: &[LoadOption], disk: &Disk<'_>) -> Vec<String> {
    let known = partition_ids(disk);
    entries
        .iter()
        .filter(|entry| wanted.iter().any(|option| option.label == entry.option.label))
        .filter(|entry| match entry.option.drive {
            Some(HardDrive { signature: Signature::Guid(guid), .. }) => !known.contains(&guid),
            _ => false,
        })
        .map(|entry| {
            format!(
                "{} {} points to a partition that is on no disk here; it stays, and can be \
                 deleted in the setup of the firmware",
                entry.name(),
                entry.option
            )
        })
        .collect()
}

/// The GUIDs of the partitions of this disk, and of all others that can be
/// read.
fn partition_ids(disk: &Disk<'_>) -> HashSet<[u8; 16]> {
    let mut tables: Vec<PartitionTable> = disk.table.iter().cloned().collect();
    for other in device::disks().unwrap_or_default() {
        if let Ok(source) = Source::open(&other.identity.path)
            && let Ok(Some(table)) = table::read(&source)
        {
            tables.push(table);
        }
    }
    tables
        .iter()
        .flat_map(|table| &table.partitions)
        .filter_map(|partition| partition.id.as_deref()?.parse::<Uuid>().ok())
        .map(|guid| guid.to_bytes_le())
        .collect()
}
