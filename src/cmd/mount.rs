// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo mount`: an image as a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use clap::{Args, ValueHint};
use signal_hook::consts::SIGHUP;

use crate::browse::OpenDisk;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::mount::{self, Event, Mounted, Options, Shown, Tree, Unmounted};
use crate::pipeline::Cancel;
use crate::store;
use crate::units::human;

use super::Outcome;
use super::open::BesideArgs;
use super::output::{Output, plain};

const EXAMPLE: &str = "\
Examples:
  dacapo mount studio.img.zst /mnt
  mount -o ro,loop,noload /mnt/2-Data.img /media
  dacapo mount studio.img.zst /mnt --writable";

/// Show an image as a folder, to open its files with any program
///
/// DIR then holds disk.img, a file for each partition or volume such as
/// 2-Windows.img, and the files themselves in files/2-Windows. All of it is
/// read from the image when it is asked for; nothing is unpacked before, and
/// the image is never changed. A file that cannot be read is named here, and
/// gives an error to whoever reads it.
///
/// The command runs until the folder is unmounted or Ctrl-C is pressed. It
/// needs no root where fusermount3 is installed. To loop-mount the .img files
/// run it as root.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct MountArgs {
    /// Image to show: a file or an http(s) address; or a disk or raw file
    #[arg(value_name = "IMAGE", value_hint = ValueHint::AnyPath)]
    pub image: PathBuf,

    /// Empty folder to show it in
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,

    /// Let programs write to the .img files; changes are lost at the end
    ///
    /// What is written is kept in a file in --scratch and thrown away when
    /// the folder is unmounted: the image stays as it is. Each .img has its own
    /// changes, and files/ shows none of them.
    #[arg(long)]
    pub writable: bool,

    /// Folder for what is written [default: $TMPDIR, or /var/tmp]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, requires = "writable")]
    pub scratch: Option<PathBuf>,

    /// Let other users in, as far as the permissions of the files allow
    ///
    /// FAT, exFAT and NTFS have no permissions as Linux knows them: everybody
    /// can read all of their files then. The .img files stay with whoever mounts.
    #[arg(long)]
    pub allow_other: bool,

    /// Other disks of a set.
    #[command(flatten)]
    pub set: BesideArgs,
}

/// How often it is looked whether to end.
const PATIENCE: Duration = Duration::from_millis(100);
/// How many files that cannot be read are named one by one.
const NAMED: usize = 1000;
/// How many of them are named in the last line.
const NAMED_AT_THE_END: usize = 5;

/// Runs the command.
///
/// # Errors
/// If the image cannot be opened or the folder not be mounted on.
pub fn run(args: &MountArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let hangup = Arc::new(AtomicBool::new(false));
    let point = mount::check_folder(&args.folder)?;
    let (sender, events) = mpsc::channel();
    let open = |path: &Path| mount::open(path, &sender);
    let disk = args.set.beside(&args.image, open(&args.image)?, open)?;
    for note in std::iter::once(&disk).chain(disk.others()).filter_map(OpenDisk::note) {
        output.note(&note);
    }
    let (mut tree, volumes) = Tree::of_disk(&disk);
    if args.writable {
        tree.make_writable(&scratch_folder(args))?;
    }
    cancel.check()?;
    // Whoever closes the terminal ends it, too.
    signal_hook::flag::register(SIGHUP, Arc::clone(&hangup))
        .context(|| "installing the handler for a closed terminal".into())?;
    let options = Options {
        source: store::shown(&args.image).into_owned(),
        is_writable: args.writable,
        allows_others: args.allow_other,
    };
    let len = disk.reader.len();
    let mounted = Mounted::start(tree, &point, &options, (sender, events))?;
    // From here on it takes an unmount to end.
    cancel.finish();
    ready(args, &point, len, &volumes, output);

    let mut losses = Losses::default();
    let mut is_asked = false;
    while !mounted.has_ended() {
        if let Some(event) = mounted.event(PATIENCE) {
            losses.tell(&event, output);
        }
        if !is_asked && (cancel.is_cancelled() || hangup.load(Ordering::Relaxed)) {
            is_asked = true;
            match mounted.unmount() {
                Ok(Unmounted::Done) => {}
                Ok(Unmounted::Busy(users)) => output.note(&busy(&point, &users)),
                Err(error) => {
                    output.error(&error);
                    is_asked = false;
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }
    for event in mounted.finish()? {
        losses.tell(&event, output);
    }
    output.summary(&serde_json::json!({
        "image": store::shown(&args.image),
        "folder": point.to_string_lossy(),
        "unreadable_files": losses.count,
    }));
    output.info(&format!("{} is unmounted", point.display()));
    Ok(losses.outcome(&args.image))
}

fn scratch_folder(args: &MountArgs) -> PathBuf {
    args.scratch.clone().unwrap_or_else(crate::io::scratch_folder)
}

/// Says what is there, and how it ends.
fn ready(args: &MountArgs, point: &Path, len: u64, volumes: &[Shown], output: &Output) {
    let is_disk = |volume: &Shown| volume.image == "disk.img";
    let mut lines = Vec::new();
    if !volumes.iter().any(is_disk) {
        lines.push(("disk.img".to_owned(), human(len), "all of the disk".to_owned()));
    }
    for volume in volumes {
        let files = match &volume.files {
            Ok(folder) => format!("{}, {folder}", volume.content.as_deref().unwrap_or("files")),
            // Which volume that is stands in front of it.
            Err(problem) => {
                let cause = problem.split_once(": ").map_or(problem.as_str(), |(_, it)| it);
                format!("no files: {cause}")
            }
        };
        lines.push((volume.image.clone(), human(volume.len), plain(&files).into_owned()));
    }
    let width = lines.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
    for (name, size, files) in &lines {
        output.info(&format!("  {name:width$}  {size:>9}  {files}"));
    }
    for notice in volumes.iter().filter_map(|volume| volume.notice.as_ref()) {
        output.note(notice);
    }
    if args.writable {
        output.info(&format!(
            "The .img files can be written to. Changes are kept in {} and thrown away at the \
             end: the image is not changed.",
            scratch_folder(args).display()
        ));
    }
    let volumes: Vec<_> = volumes
        .iter()
        .map(|volume| {
            serde_json::json!({
                "image": volume.image,
                "bytes": volume.len,
                "content": volume.content,
                "files": volume.files.as_ref().ok(),
                "problem": volume.files.as_ref().err(),
                "notice": volume.notice,
            })
        })
        .collect();
    output.ready(&serde_json::json!({
        "image": store::shown(&args.image),
        "folder": point.to_string_lossy(),
        "bytes": len,
        "writable": args.writable,
        "volumes": volumes,
    }));
    output.info(&format!(
        "{} is mounted at {}; end it with Ctrl-C or: umount {}",
        plain(&store::shown(&args.image)),
        point.display(),
        point.display()
    ));
}

fn busy(point: &Path, users: &[String]) -> String {
    let users = match users {
        [] => "a program".to_owned(),
        users => users.join(", "),
    };
    format!(
        "{} is unmounted, but {users} still uses what is in it and can read on; this ends when \
         that does, or at once with Ctrl-C",
        point.display()
    )
}

/// What could not be read or kept.
#[derive(Default)]
struct Losses {
    names: Vec<String>,
    count: u64,
    /// The drive or the server failed.
    has_failed: bool,
    /// What was written and could not be kept, and why.
    unwritable: Option<(String, ErrorKind)>,
}

impl Losses {
    fn tell(&mut self, event: &Event, output: &Output) {
        match event {
            Event::Failing(error) => {
                self.has_failed = true;
                let what = format!("what is mounted cannot be read any more: {error}");
                output.error(&Error::failed(what).hint(
                    "is its drive still attached? What is read from now on may fail: unmount the \
                     folder, then mount anew",
                ));
            }
            Event::Unwritable { name, error } => {
                let what = format!("what is written to {name} cannot be kept: {error}");
                let hint = "--scratch names a folder with more room";
                self.unwritable.get_or_insert_with(|| (name.clone(), error.kind()));
                output.error(&Error::new(error.kind(), what).hint(hint));
            }
            Event::Unreadable { name, error } => {
                self.count = self.count.saturating_add(1);
                if self.count <= NAMED as u64 {
                    let what = format!("{name} cannot be read: {error}");
                    output.error(&Error::new(ErrorKind::Losses, what));
                } else if self.count == NAMED as u64 + 1 {
                    output.note("more files cannot be read; they are counted only");
                }
                if self.names.len() < NAMED_AT_THE_END {
                    self.names.push(name.clone());
                }
            }
        }
    }

    /// What could not be read counts for more than what could not be kept.
    fn outcome(&self, image: &Path) -> Outcome {
        let image = store::shown(image);
        if self.count > 0 {
            let named = self.names.join(", ");
            let more = self.count.saturating_sub(self.names.len() as u64);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Outcome::Finding(Error::new(
                ErrorKind::Losses,
                format!("of {image} could not be read, whole or in parts: {named}{more}"),
            ));
        }
        if self.has_failed {
            let what = format!("{image} could not be read to the end, as told above");
            return Outcome::Finding(Error::new(ErrorKind::Losses, what));
        }
        match &self.unwritable {
            Some((name, kind)) => {
                let what = format!("what was written to {name} could not be kept");
                Outcome::Finding(Error::new(*kind, what))
            }
            None => Outcome::Done,
        }
    }
}
