// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disc write`: an archived disc back onto a disc.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::cmd::Outcome;
use crate::cmd::confirm::confirm;
use crate::cmd::output::{Output, plain};
use crate::cmd::target::ConfirmArgs;
use crate::cmd::text::duration;
use crate::device::{Source, find_by_path, is_optical};
use crate::disc::drive;
use crate::disc::write::{self, Burner, Image};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Kind, Target};
use crate::layout::{self, Layout};
use crate::pipeline::Cancel;
use crate::store::refuse_device;
use crate::units::human;

const EXAMPLE: &str = "\
Examples:
  dacapo disc write SYNTH_2.iso /dev/sr0
  dacapo disc write SYNTH_2.iso /dev/sr0 --yes --confirm 'PIONEER BD-RW'";

/// Write an archived disc to a disc
///
/// ALL DATA ON A DISC THAT CAN BE REWRITTEN IS LOST. The disc is burnt by
/// xorriso or cdrskin, one of which must be installed, and what was written is
/// read back and compared.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct WriteArgs {
    /// File of an archived disc
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub image: PathBuf,

    /// Drive with an empty or rewritable disc, or a file that stands for one
    #[arg(value_name = "DRIVE", value_hint = ValueHint::AnyPath)]
    pub drive: PathBuf,

    /// Show what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Do not read back what was written
    #[arg(long)]
    pub no_verify: bool,

    /// The answer to the question.
    #[command(flatten)]
    pub answer: ConfirmArgs,
}

/// Runs the command.
///
/// # Errors
/// If no program that burns is installed, it is not confirmed, or burning
/// fails; damaged if what was written is not what was to be.
pub fn run(args: &WriteArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let image = Image::open(&args.image)?;
    let is_drive = is_optical(&args.drive);
    if !is_drive {
        image.check_target(&args.drive)?;
    }
    let target = target_of(&args.drive, is_drive)?;
    let burner = Burner::find()?;
    let (shown, place) = (args.image.to_string_lossy(), args.drive.to_string_lossy());
    output.info(&format!(
        "{}, {}, to the disc in {} by {}",
        plain(&shown),
        human(image.len()),
        plain(&place),
        burner.name()
    ));
    if image.missing_sectors > 0 {
        output.note(&format!(
            "{} sectors of it could not be read and are zero; they will be zero on the disc, too",
            image.missing_sectors
        ));
    }
    if let Some(protection) = &image.protection {
        output.note(&format!(
            "films on it are encrypted ({}), and will not play from the new disc",
            plain(protection)
        ));
    }
    if args.dry_run {
        output.summary(&serde_json::json!({
            "image": shown, "drive": place, "bytes": image.len(), "program": burner.name(),
        }));
        return Ok(Outcome::Done);
    }
    let _confirmed = confirm(&target, &args.answer, output)?;
    let started = Instant::now();
    let listener = output.listener();
    image.check_content(cancel, &*listener)?;
    write::burn(&burner, &image, &args.drive, is_drive, cancel, &*listener)?;
    if !args.no_verify {
        write::compare(&image, &*drive::open(&args.drive)?, cancel, &*listener)?;
    }
    drop(listener);
    let verified = if args.no_verify { "not read back" } else { "read back and compared" };
    let seconds = started.elapsed().as_secs_f64();
    output.info(&format!("wrote {} in {}, {verified}", human(image.len()), duration(seconds)));
    output.summary(&serde_json::json!({
        "image": shown,
        "drive": place,
        "bytes": image.len(),
        "program": burner.name(),
        "verified": !args.no_verify,
        "missing_sectors": image.missing_sectors,
        "seconds_elapsed": seconds,
    }));
    if image.missing_sectors > 0 {
        return Ok(Outcome::Finding(Error::new(
            ErrorKind::Losses,
            format!("the disc is as incomplete as its image: {} sectors", image.missing_sectors),
        )));
    }
    Ok(Outcome::Done)
}

/// What is about to be overwritten: a drive by its serial number or model, with
/// what is on its disc, or a file that stands for one.
fn target_of(path: &Path, is_drive: bool) -> Result<Target> {
    let name = path.display().to_string();
    if !is_drive {
        refuse_device(path)?;
        let size = std::fs::metadata(path).map_or(0, |found| found.len());
        let kind = if size == 0 { Kind::NewFile } else { Kind::File { size } };
        return Ok(Target { path: name, kind, layout: Layout::default() });
    }
    let identity = find_by_path(path)?;
    // An empty disc has nothing to show, and cannot be read.
    let content = Source::open(path).ok();
    let layout = content.and_then(|source| layout::scan(&source).ok()).map(|scan| scan.layout);
    let serial = identity.serial.filter(|it| !it.trim().is_empty());
    Ok(Target {
        path: name,
        kind: Kind::Device {
            serial: serial.or_else(|| identity.model.clone()),
            model: identity.model,
            size: identity.size,
        },
        layout: layout.unwrap_or_default(),
    })
}
