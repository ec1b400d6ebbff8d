// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo rescue auto`: a restore without a question, as the kernel's command
//! line asks for it.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use percent_encoding::percent_decode_str;

use crate::device::{Disk, disks, volumes};
use crate::error::{Error, Result};
use crate::job::choice::{self, Choice};
use crate::media::command_line::CommandLine;
use crate::media::{self, Search, trouble};
use crate::network::Setting;
use crate::pipeline::Cancel;
use crate::store;

use super::Outcome;
use super::output::{Output, plain};
use super::restore::{self, RestoreArgs};
use super::target::{ConfirmArgs, Fill, FreeSpace, TargetArgs};

/// How long drives may take to appear, if nothing else is asked for.
const WAIT: Duration = Duration::from_secs(30);
/// Nothing is chosen before the drives have been the same for this long:
/// another one that fits may be about to appear.
const QUIET: Duration = Duration::from_secs(3);
/// How much longer than that is waited for them to be the same.
const RESTLESS: Duration = Duration::from_secs(60);
/// How often the drives are looked at.
const STEP: Duration = Duration::from_millis(500);

/// Restore as the kernel's command line asks for, without a question
///
/// Reads dacapo.restore=LABEL_OR_PATH and dacapo.target=SERIAL. Nothing is
/// written unless both stand for exactly one image and one disk.
#[derive(Debug, Args)]
pub struct AutoArgs {
    /// Text to take for the kernel's command line
    #[arg(long, value_name = "TEXT", hide = true)]
    pub command_line: Option<String>,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    image: String,
    target: String,
    wait: Duration,
    /// The network, if the image comes over it, or somebody set it up.
    network: Option<Setting>,
}

impl Wanted {
    fn of(line: &CommandLine) -> Result<Self> {
        let value = |name: &str| {
            line.value(name).map(str::to_owned).ok_or_else(|| {
                Error::refused(format!("the kernel's command line has no {name}=")).hint(
                    "an unattended restore needs dacapo.restore=IMAGE and dacapo.target=SERIAL",
                )
            })
        };
        let wait = match line.value("dacapo.wait") {
            None => WAIT,
            Some(seconds) => Duration::from_secs(seconds.parse().map_err(|_| {
                Error::refused(format!("dacapo.wait={seconds} is no number of seconds"))
            })?),
        };
        let (image, target) = (value("dacapo.restore")?, plain_value(&value("dacapo.target")?)?);
        // What the percent signs of an address mean is known to its server.
        let image = if store::is_address(Path::new(&image)) { image } else { plain_value(&image)? };
        let network = match line.value("dacapo.ip") {
            Some(setting) => Some(Setting::parse(setting)?),
            None if store::is_address(Path::new(&image)) && media::in_rescue() => {
                Some(Setting::Dhcp { interface: None })
            }
            None => None,
        };
        Ok(Self { image, target, wait, network })
    }

    fn is_address(&self) -> bool {
        store::is_address(Path::new(&self.image))
    }
}

/// A label or a number with `%20` for a blank: where GRUB reads the arguments
/// from a file, quotes do not hold words together.
fn plain_value(value: &str) -> Result<String> {
    let text = percent_decode_str(value).decode_utf8();
    Ok(text.map_err(|_| Error::refused(format!("{value} means no text")))?.into_owned())
}

/// Runs the command.
///
/// # Errors
/// Refused if image or disk are not there or not unambiguous; else as
/// `dacapo restore`.
pub fn run(args: &AutoArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let line = match &args.command_line {
        Some(text) => CommandLine::parse(text),
        None => CommandLine::of_kernel(),
    };
    let wanted = Wanted::of(&line)?;
    connect(&wanted, output, cancel)?;
    let (target, search) = wait_for(&wanted, output, cancel)?;
    if wanted.is_address() {
        return restore(Path::new(&wanted.image), &wanted, &target, output, cancel);
    }
    let Choice::One(image) = choice::image(&wanted.image, &search.images) else {
        return Err(no_image(&wanted, &search));
    };
    for skipped in &search.skipped {
        output.note(&format!("not searched: {}: {}", skipped.medium, skipped.why));
    }
    output.info(&format!("image: {}", plain(&choice::describe_image(image))));
    // Mounted until the restore has ended.
    let opened = media::open(image)?;
    restore(opened.path(), &wanted, &target, output, cancel)
}

/// Understands a text as the kernel's command line does, for the fuzz target.
#[cfg(fuzzing)]
pub fn understand(text: &str) -> Result<()> {
    let wanted = Wanted::of(&CommandLine::parse(text))?;
    assert!(!wanted.image.is_empty() && !wanted.target.is_empty(), "anything would fit");
    Ok(())
}

fn restore(
    image: &Path,
    wanted: &Wanted,
    target: &Disk,
    output: &Output,
    cancel: &Cancel,
) -> Result<Outcome> {
    output.info(&format!("target: {}", plain(&choice::describe_disk(target))));
    let args = RestoreArgs {
        image: image.to_owned(),
        target: PathBuf::from(&target.identity.path),
        partition: None,
        how: TargetArgs {
            dry_run: false,
            free: FreeSpace::Auto,
            fit: false,
            fill: Fill::Zeros,
            no_verify: false,
            answer: ConfirmArgs { yes: true, confirm: Some(wanted.target.clone()) },
        },
    };
    restore::run(&args, output, cancel)
}

/// Sets up the network, whose card may appear late as well.
fn connect(wanted: &Wanted, output: &Output, cancel: &Cancel) -> Result<()> {
    let Some(setting) = &wanted.network else { return Ok(()) };
    let started = Instant::now();
    loop {
        cancel.check()?;
        match setting.apply() {
            Ok(interface) => {
                output.info(&format!("network: {} {}", interface.name, interface.state()));
                return Ok(());
            }
            Err(error) if started.elapsed() >= wanted.wait => return Err(error),
            Err(_) => thread::sleep(STEP),
        }
    }
}

/// Waits until both are there and nothing else has appeared for a while.
///
/// # Errors
/// Refused, with what was found in their place.
fn wait_for(wanted: &Wanted, output: &Output, cancel: &Cancel) -> Result<(Disk, Search)> {
    let started = Instant::now();
    let (mut present, mut since) = (Vec::new(), Instant::now());
    let mut search = None;
    let mut has_waited = false;
    loop {
        cancel.check()?;
        let now = volume_names();
        if now != present {
            (present, since, search) = (now, Instant::now(), None);
        }
        let is_late = started.elapsed() >= wanted.wait;
        if since.elapsed() >= QUIET {
            let found = search.get_or_insert_with(|| look(wanted, output));
            // A search takes its time, and what appeared meanwhile counts.
            if volume_names() != present {
                continue;
            }
            let all = disks()?;
            let image = choice::image(&wanted.image, &found.images);
            let has_image = wanted.is_address() || matches!(image, Choice::One(_));
            match choice::target(&wanted.target, &all) {
                Choice::One(disk) if has_image => {
                    return Ok((disk.clone(), search.unwrap_or_default()));
                }
                // More drives do not make it less ambiguous.
                Choice::Several => return Err(no_target(wanted, &all)),
                _ if matches!(image, Choice::Several) => return Err(no_image(wanted, found)),
                Choice::None if is_late => return Err(no_target(wanted, &all)),
                Choice::One(_) if is_late => return Err(no_image(wanted, found)),
                _ => {}
            }
            if !std::mem::replace(&mut has_waited, true) {
                output.info("waiting for the image and the disk to appear");
            }
        } else if started.elapsed() >= wanted.wait.saturating_add(RESTLESS) {
            return Err(Error::refused("drives appear and vanish all the time")
                .hint("nothing was written; look for a loose plug, then start again"));
        }
        thread::sleep(STEP);
    }
}

fn volume_names() -> Vec<PathBuf> {
    volumes().unwrap_or_default().into_iter().map(|node| node.path).collect()
}

fn look(wanted: &Wanted, output: &Output) -> Search {
    if wanted.is_address() {
        return Search::default();
    }
    media::search(&|what| output.info(&format!("looking for images: {}", plain(what))))
}

/// Says why no image was chosen, and which there are.
fn no_image(wanted: &Wanted, search: &Search) -> Error {
    let what = match choice::image(&wanted.image, &search.images) {
        Choice::Several => "stands for more than one image",
        _ => "is no image on any drive",
    };
    let mut lines: Vec<String> = search.images.iter().map(choice::describe_image).collect();
    lines
        .extend(search.skipped.iter().map(|it| format!("not searched: {}: {}", it.medium, it.why)));
    refused("dacapo.restore", &wanted.image, what, "images", &lines)
}

/// Says why no disk was chosen, and which there are.
fn no_target(wanted: &Wanted, disks: &[Disk]) -> Error {
    let what = match choice::target(&wanted.target, disks) {
        Choice::Several => "stands for more than one disk",
        _ => "is the serial number of no disk",
    };
    let mut lines: Vec<String> = disks.iter().map(choice::describe_disk).collect();
    if lines.is_empty() {
        lines = trouble::no_disks();
    }
    refused("dacapo.target", &wanted.target, what, "disks", &lines)
}

fn refused(name: &str, value: &str, what: &str, kind: &str, found: &[String]) -> Error {
    let found = match found {
        [] => format!("no {kind} were found"),
        lines => {
            let lines: Vec<String> =
                lines.iter().map(|line| format!("\n  {}", plain(line))).collect();
            format!("nothing was written; the {kind} that were found:{}", lines.concat())
        }
    };
    Error::refused(format!("{name}={value} {what}")).hint(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn both_image_and_disk_have_to_be_named() {
        let wanted = |text: &str| Wanted::of(&CommandLine::parse(text));
        let both = wanted("dacapo.restore=\"Studio 1\" dacapo.target=S1 dacapo.wait=5").unwrap();
        assert_eq!((both.image.as_str(), both.target.as_str()), ("Studio 1", "S1"));
        assert_eq!(both.wait, Duration::from_secs(5));
        assert!(!both.is_address());
        assert_eq!(both.network, None);
        let remote = "dacapo.restore=http://nas/a.zst dacapo.target=S1 dacapo.ip=dhcp";
        let remote = wanted(remote).unwrap();
        assert!(remote.is_address());
        assert_eq!(remote.network, Some(Setting::Dhcp { interface: None }));
        // As it stands where GRUB knows no quotes.
        let blanks = wanted("dacapo.restore=Studio%201,%20100%25 dacapo.target=S%201").unwrap();
        assert_eq!((blanks.image.as_str(), blanks.target.as_str()), ("Studio 1, 100%", "S 1"));
        let address = wanted("dacapo.restore=http://nas/a%20b.zst dacapo.target=S1").unwrap();
        assert_eq!(address.image, "http://nas/a%20b.zst");
        assert!(wanted("dacapo.restore=a%ff dacapo.target=S1").is_err());
        assert!(wanted("dacapo.restore=a dacapo.target=S1 dacapo.ip=yes").is_err());
        for text in [
            "quiet",
            "dacapo.restore=a",
            "dacapo.target=S1",
            "dacapo.restore= dacapo.target=S1",
            "dacapo.restore=a dacapo.target=S1 dacapo.wait=soon",
        ] {
            assert_eq!(wanted(text).unwrap_err().kind(), ErrorKind::Refused, "{text}");
        }
    }
}
