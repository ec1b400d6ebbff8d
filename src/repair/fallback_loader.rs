// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loader that every UEFI firmware finds without an entry:
//! `\EFI\BOOT\BOOTX64.EFI`.

use super::disk::{Disk, Piece, claim, read_back};
use super::esp::{Esp, MOST_BYTES, is_esp};
use super::loader::{Loader, Suffix, fallback_files, fallback_path, loaders};
use super::{Agreed, Machine, Plan, Repair};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::io::{ReadAt, WriteAt};
use crate::units::human;

/// The step `fallback-loader`.
pub(super) struct FallbackLoader;

impl Repair for FallbackLoader {
    fn name(&self) -> &'static str {
        "fallback-loader"
    }

    fn title(&self) -> &'static str {
        "Copy the boot loader to where every firmware looks for one"
    }

    fn why(&self) -> &'static str {
        "Firmware that has no entry for a disk, or forgets its entries, starts one certain file. \
         Where that is missing, the disk cannot be started without an entry."
    }

    fn plan(&self, machine: &Machine, disk: &Disk<'_>) -> Result<Plan> {
        Ok(match find(machine, disk)? {
            Ok(copy) => Plan::possible(copy.will),
            Err(plan) => plan,
        })
    }

    fn run(&self, machine: &Machine, agreed: &Agreed<'_>) -> Result<Vec<String>> {
        let target = claim(agreed.seen)?;
        let copy = find(machine, &Disk::new(&target))?.map_err(Plan::refusal)?;
        agreed.check(&copy.will)?;
        for part in &copy.parts {
            for (position, bytes) in part {
                target.write_at(*position, bytes)?;
            }
            target.flush()?;
        }
        read_back(&target, &copy.parts.concat())?;
        // And once more as files.
        let esp = Esp::open(&target, copy.extent)?;
        let mut done = Vec::new();
        for (path, content) in &copy.files {
            if esp.read(path, MOST_BYTES)?.as_ref() != Some(content) {
                return Err(Error::damaged(format!("{path} reads back differently")));
            }
            done.push(format!(
                "read back: \\{} has {}",
                path.replace('/', "\\"),
                human(content.len() as u64)
            ));
        }
        Ok(done)
    }
}

/// What is to be copied, already as sectors.
struct Copy {
    extent: Extent,
    files: Vec<(String, Vec<u8>)>,
    parts: [Vec<Piece>; 3],
    will: Vec<String>,
}

fn find(machine: &Machine, disk: &Disk<'_>) -> Result<Result<Copy, Plan>> {
    let table = match &disk.table {
        Ok(table) => table,
        Err(why) => return Ok(Err(Plan::not_possible(why))),
    };
    let (suffix, mut problems) = (machine.suffix(), Vec::new());
    let mut has_esp = false;
    for partition in disk.partitions().filter(|it| is_esp(table, it)) {
        has_esp = true;
        let what = || format!("partition {}", partition.number);
        let esp = match Esp::open(disk.bytes, partition.extent).context(what) {
            Ok(esp) => esp,
            Err(error) => {
                problems.push(error.to_string());
                continue;
            }
        };
        let path = fallback_path(suffix);
        if esp.is_program(&path).context(what)? {
            let path = path.replace('/', "\\");
            return Ok(Err(Plan::not_needed(format!("there is \\{path} on {}", what()))));
        }
        let Some(loader) = loaders(&esp, suffix).context(what)?.into_iter().next() else {
            continue;
        };
        return copy(disk.bytes, partition.extent, &loader, suffix).map(Ok).context(what);
    }
    if !has_esp {
        return Ok(Err(Plan::not_needed(
            "the disk has no EFI system partition: it starts by BIOS, which needs no such file",
        )));
    }
    problems.push(format!(
        "there is no boot loader for this machine ({suffix}) on the EFI system partition"
    ));
    Ok(Err(Plan::not_possible(problems.join("; "))))
}

/// Makes the copies in memory, and takes the sectors that differ.
fn copy(disk: &dyn ReadAt, extent: Extent, loader: &Loader, suffix: Suffix) -> Result<Copy> {
    let esp = Esp::open(disk, extent)?;
    let (mut files, mut will) = (Vec::new(), Vec::new());
    let firmware = |path: &str| format!("\\{}", path.replace('/', "\\"));
    for (from, to, content) in fallback_files(&esp, loader, suffix)? {
        let is_loader = to == fallback_path(suffix);
        let is_there = esp.has(&to)?;
        // Somebody put the others there for a reason.
        if is_there && !is_loader {
            will.push(format!("{} is there and stays", firmware(&to)));
            continue;
        }
        if is_there {
            will.push(format!("{} is there, but is no program: it is replaced", firmware(&to)));
        }
        esp.create(&to, &content)?;
        let size = human(content.len() as u64);
        will.push(format!("{} is copied to {}, {size}", firmware(&from), firmware(&to)));
        files.push((to, content));
    }
    let parts = esp.changes(extent)?;
    Ok(Copy { extent, files, parts, will })
}
