// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo demo`: save and restore a small disk, without root.
//!
//! `folder` is the place it happens in and undoes itself; `steps` are the
//! steps, each of which fails if what it shows is not so. What is compared is
//! compared here anew, byte by byte, and not by the code that is shown.

mod folder;
mod steps;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::error::Result;
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::Output;
use super::text::duration;

use self::folder::Folder;
use self::steps::Demo;

const EXAMPLE: &str = "\
Examples:
  dacapo demo
  dacapo demo --keep demo";

/// Show a save and a restore on a small disk in a temporary folder
///
/// Needs no administrator rights and touches no disk of this machine: unpacks
/// a small disk that comes with the program, saves it, restores it over
/// junk, compares, and says in a line what each step does.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct DemoArgs {
    /// Folder in which the files are made and kept
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub keep: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If a step fails, or the restored disk differs.
pub fn run(args: &DemoArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let started = Instant::now();
    let folder = match &args.keep {
        Some(path) => Folder::kept(path)?,
        None => Folder::temporary()?,
    };
    let demo = Demo::new(&folder, output, cancel);
    let disk = demo.unpack()?;
    let image = demo.save(&disk)?;
    demo.show(&image);
    demo.verify(&image)?;
    let restored = demo.restore(&image)?;
    let found = demo.compare(&disk, &image, &restored)?;
    let program = demo.plain_zstd(&disk, &image)?;
    let seconds = started.elapsed().as_secs_f64();
    if let Some(path) = &args.keep {
        output.info("");
        output.info(&format!("the files are kept in {}", path.display()));
    }
    output.info("");
    output
        .result(&format!("every byte in use came back exactly, checked in {}", duration(seconds)));
    let head = image.head();
    output.summary(&serde_json::json!({
        "disk_size": head.disk_len,
        "used": head.used.bytes(),
        "image_size": image.file_len(),
        "bytes_compared": found.same,
        "junk_left_alone": found.left_alone,
        "read_by_zstd_program": program,
        "layout": head.about.layout,
        "folder": args.keep.as_ref().map(|path| path.to_string_lossy()),
        "seconds_elapsed": seconds,
    }));
    Ok(Outcome::Done)
}
