// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo ls`: what is in an image.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::browse::names::shown;
use crate::browse::path::{self, Place};
use crate::browse::walk::{Step, Walk};
use crate::browse::{OpenDisk, OpenVolume};
use crate::error::Result;
use crate::fs::files::{DirectoryEntry, NodeKind};
use crate::pipeline::Cancel;
use crate::units::human;

use super::Outcome;
use super::files::{self, JsonFile, Losses, bytes, open_disks, tell_notices};
use super::open::{BesideArgs, outcome};
use super::output::{Output, json_line, plain};
use super::terminal::{Terminal, wrap};

const EXAMPLE: &str = "\
Examples:
  dacapo ls studio.img.zst
  dacapo ls studio.img.zst 2:/Users -l
  dacapo ls studio.img.zst Windows:/Users -R --json";

/// List the volumes of an image, and their files
///
/// Without a path the volumes are listed, with a path the files there. Nothing
/// is mounted, and an image needs no root. PARTITION is a number, the name of a
/// logical volume (vg0/root) or a label; it may be left out if only one volume
/// has files. Hidden files are always listed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct LsArgs {
    /// Image, also at an http(s) address, disk, partition or raw image file
    #[arg(value_name = "IMAGE", value_hint = ValueHint::AnyPath)]
    pub image: PathBuf,

    /// Folder or file to list: [PARTITION:]PATH
    #[arg(value_name = "PATH")]
    pub path: Option<OsString>,

    /// Show permissions, owner, size and date
    #[arg(long, short)]
    pub long: bool,

    /// List all that is in folders, too
    #[arg(long, short = 'R')]
    pub recursive: bool,

    /// Show sizes in bytes
    #[arg(long, short)]
    pub bytes: bool,

    /// Other disks of a set.
    #[command(flatten)]
    pub set: BesideArgs,
}

/// Runs the command.
///
/// # Errors
/// If the image or the folder cannot be read at all.
pub fn run(args: &LsArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let disk = open_disks(&args.image, &args.set, output)?;
    match &args.path {
        None => Ok(list_volumes(&disk, args, output)),
        Some(path) => {
            let place = path::find(&disk, bytes(path))?;
            tell_notices([place.volume], output);
            list_files(&place, args, output, cancel)
        }
    }
}

/// Why the files of a volume may not be as their system would show them.
fn notice(volume: &OpenVolume) -> Option<String> {
    volume.files().ok()?.notice()
}

fn list_volumes(disk: &OpenDisk, args: &LsArgs, output: &Output) -> Outcome {
    let volumes = disk.volumes();
    let troubles: Vec<Option<&str>> =
        volumes.iter().map(|volume| volume.trouble().map(|it| it.why.as_str())).collect();
    // What nothing here reads is no loss, what is damaged is.
    let mut losses = Losses::new(output);
    let tell = |losses: &mut Losses| {
        for volume in volumes {
            if let Some(trouble) = volume.trouble().filter(|trouble| trouble.is_damage()) {
                losses.tell_volume(volume, trouble);
            }
        }
    };
    if output.is_json() {
        tell(&mut losses);
        let listed: Vec<_> = volumes
            .iter()
            .zip(&troubles)
            .map(|(volume, trouble)| {
                let identity = volume.identity.as_ref();
                serde_json::json!({
                    "volume": volume.name,
                    "partition_label": volume.label,
                    "label": identity.and_then(|identity| identity.label.as_ref()),
                    "filesystem": identity.map(|identity| &identity.name),
                    "uuid": identity.and_then(|identity| identity.uuid.as_ref()),
                    "offset": volume.extent.map(|extent| extent.start()),
                    "size": volume.reader.len(),
                    "has_files": trouble.is_none(),
                    "why_not": trouble,
                    "notice": notice(volume),
                })
            })
            .collect();
        output.summary(&serde_json::json!({
            "image": disk.name,
            "volumes": listed,
            "losses": losses.count(),
        }));
        return outcome(losses.finding());
    }
    let cells: Vec<[String; 4]> = volumes
        .iter()
        .map(|volume| {
            let text = |text: Option<&str>| text.map_or("-".into(), |text| shown(text.as_bytes()));
            let len = volume.reader.len();
            [
                shown(volume.name.as_bytes()),
                text(volume.identity.as_ref().map(|identity| identity.name.as_str())),
                match len {
                    0 => "-".into(),
                    len if args.bytes => len.to_string(),
                    len => human(len),
                },
                text(volume.any_label()),
            ]
        })
        .collect();
    let width = |column: usize, title: &str| {
        let cells = cells.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).chain([title.len()]).max().unwrap_or(0)
    };
    let titles = ["volume", "filesystem", "size", "label"];
    let widths = [width(0, titles[0]), width(1, titles[1]), width(2, titles[2])];
    let line = |row: [&str; 4]| {
        format!(
            "{:a$}  {:b$}  {:>c$}  {}",
            row[0],
            row[1],
            row[2],
            row[3],
            a = widths[0],
            b = widths[1],
            c = widths[2]
        )
    };
    output.info(&line(titles));
    let terminal = Terminal::of_stdout();
    for ((row, trouble), volume) in cells.iter().zip(&troubles).zip(volumes) {
        output.result(line([&row[0], &row[1], &row[2], &row[3]]).trim_end());
        let trouble = trouble.map(|trouble| format!("no files: {trouble}"));
        if let Some(text) = trouble.or_else(|| notice(volume)) {
            let indent = widths[0] + 2;
            for (n, line) in wrap(&plain(&text), terminal.width, indent).iter().enumerate() {
                let blanks = if n == 0 { " ".repeat(indent) } else { String::new() };
                output.info(&format!("{blanks}{line}"));
            }
        }
    }
    if let Some(volume) = volumes.iter().zip(&troubles).find(|(_, trouble)| trouble.is_none()) {
        let name = shown(volume.0.name.as_bytes());
        output.info(&format!("\nto list files: dacapo ls {} {name}:/", disk.name));
    }
    tell(&mut losses);
    outcome(losses.finding())
}

fn list_files(place: &Place, args: &LsArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let mut lister =
        Lister { place, args, output, losses: Losses::new(output), lines: String::new(), count: 0 };
    if place.kind != NodeKind::Folder {
        let entry =
            DirectoryEntry { name: place.name().to_vec(), node: place.node, kind: place.kind };
        lister.entry(&place.path, &entry);
    } else {
        let mut walk = Walk::new(&*place.files, place.node, &place.path);
        while let Some((path, step)) = walk.next() {
            cancel.check()?;
            match step {
                Step::Entry(entry) => {
                    if !args.recursive {
                        walk.pass_by();
                    }
                    lister.entry(&path, &entry);
                }
                Step::Trouble(error) => {
                    lister.flush();
                    lister.losses.tell(&place.shown(&path), &error);
                }
                Step::Leave => {}
            }
        }
    }
    lister.flush();
    let (count, losses) = (lister.count, lister.losses);
    output.summary(&serde_json::json!({
        "volume": place.volume.name,
        "files": count,
        "losses": losses.count(),
    }));
    Ok(outcome(losses.finding()))
}

/// Writes files as lines, many at a time.
struct Lister<'a> {
    place: &'a Place<'a>,
    args: &'a LsArgs,
    output: &'a Output,
    losses: Losses<'a>,
    lines: String,
    count: u64,
}

impl Lister<'_> {
    fn entry(&mut self, path: &[u8], entry: &DirectoryEntry) {
        self.count += 1;
        let line = self.line(path, entry);
        self.lines.push_str(&line);
        self.lines.push('\n');
        if self.lines.len() > 32 << 10 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(lines) = self.lines.strip_suffix('\n') {
            self.output.lines(lines);
        }
        self.lines.clear();
    }

    fn line(&mut self, path: &[u8], entry: &DirectoryEntry) -> String {
        let (place, volume) = (self.place, self.place.volume);
        let is_long = self.args.long || self.output.is_json();
        let target = match entry.kind {
            NodeKind::Link if is_long => match place.files.link_target(entry.node) {
                Ok(target) => Some(target),
                Err(error) => {
                    self.tell(path, error);
                    None
                }
            },
            _ => None,
        };
        // Relative to the folder that was asked for.
        let name = path.strip_prefix(place.path.as_slice()).filter(|name| !name.is_empty());
        let name =
            name.map_or_else(|| place.name(), |name| name.strip_prefix(b"/").unwrap_or(name));
        let name = files::name_of(&shown(name), entry.kind, target.as_deref());
        if !is_long {
            return name;
        }
        let attributes = match place.files.attributes(entry.node) {
            Ok(attributes) => attributes,
            Err(error) => {
                self.tell(path, error);
                if self.output.is_json() {
                    let path = files::JsonPath::new(volume, path);
                    return json_line("file", &path);
                }
                return format!("{:10} {:>11}  {:>10}  {:19}  {name}", "?", "?", "?", "?");
            }
        };
        if self.output.is_json() {
            let file = JsonFile::new(volume, path, &attributes, target.as_deref());
            return json_line("file", &file);
        }
        let owner = attributes.owner.map(|(user, group)| format!("{user}:{group}"));
        let owner = owner.map(|owner| format!(" {owner:>11}")).unwrap_or_default();
        format!(
            "{}{owner}  {:>10}  {}  {name}",
            files::permissions(&attributes),
            files::size(&attributes, self.args.bytes),
            files::date(volume, attributes.times.modified),
        )
    }

    fn tell(&mut self, path: &[u8], error: crate::ondisk::FormatError) {
        self.flush();
        self.losses.tell(&self.place.shown(path), &error.into());
    }
}
