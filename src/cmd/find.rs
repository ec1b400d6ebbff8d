// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo find`: files of an image by their names.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use globset::{GlobBuilder, GlobMatcher};

use crate::browse::OpenVolume;
use crate::browse::names::shown;
use crate::browse::path;
use crate::browse::walk::{Step, Walk};
use crate::error::{Error, Result};
use crate::fs::Files;
use crate::fs::files::DirectoryEntry;
use crate::pipeline::Cancel;

use super::Outcome;
use super::files::{self, JsonFile, Losses, bytes, open_disks, tell_notices};
use super::open::{BesideArgs, outcome};
use super::output::{Output, json_line};

const EXAMPLE: &str = "\
Examples:
  dacapo find studio.img.zst '*.wav'
  dacapo find studio.img.zst '2:/Users/*/Documents/**'";

/// Find files of an image by their names
///
/// Looks through all volumes; one that may have files and cannot be looked
/// into is named, and the exit code is 3. A pattern without / is that of a name, one with
/// / that of a whole path from the root of the volume: * and ? stand for
/// letters of a name, ** for any number of folders, [a-z] for one of these
/// letters, {a,b} for either. Letters of another case are the same where the
/// filesystem says so (NTFS, FAT, exFAT, HFS, HFS+).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct FindArgs {
    /// Image, also at an http(s) address, disk, partition or raw image file
    #[arg(value_name = "IMAGE", value_hint = ValueHint::AnyPath)]
    pub image: PathBuf,

    /// What to find: [PARTITION:]PATTERN
    #[arg(value_name = "PATTERN")]
    pub pattern: OsString,

    /// Letters of another case are the same on all volumes
    #[arg(long, short)]
    pub ignore_case: bool,

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
/// If the image cannot be read at all, or the pattern is none.
pub fn run(args: &FindArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let disk = open_disks(&args.image, &args.set, output)?;
    let spec = path::parse(&disk, bytes(&args.pattern))?;
    let pattern = std::str::from_utf8(&spec.path)
        .map_err(|_| Error::usage("the pattern is no text; ? stands for any letter"))?;
    let mut finder = Finder { args, output, losses: Losses::new(output), count: 0 };
    let volumes = disk.volumes().iter();
    let wanted =
        volumes.filter(|volume| spec.volume.is_none_or(|named| std::ptr::eq(named, *volume)));
    for volume in wanted {
        let matcher = Matcher::new(pattern, volume, args.ignore_case)?;
        match volume.trouble() {
            None => {
                tell_notices([volume], output);
                finder.volume(volume, &*volume.files()?, &matcher, cancel)?;
            }
            // Nobody keeps files in swap; but who asks for it is told.
            Some(_)
                if spec.volume.is_none() && (volume.is_without_files() || volume.is_unknown()) => {}
            Some(trouble) => finder.losses.tell_volume(volume, trouble),
        }
    }
    let (count, losses) = (finder.count, finder.losses);
    if count == 0 {
        output.info("nothing found");
    }
    output.summary(&serde_json::json!({
        "image": disk.name,
        "files": count,
        "losses": losses.count(),
    }));
    Ok(outcome(losses.finding()))
}

/// A pattern as it holds for one volume.
struct Matcher {
    glob: GlobMatcher,
    is_path: bool,
}

impl Matcher {
    fn new(pattern: &str, volume: &OpenVolume, ignore_case: bool) -> Result<Self> {
        let mut pattern = pattern.to_owned();
        // There it is a separator, and cannot be a letter of a name.
        if volume.is_dos() && pattern.contains('\\') {
            pattern = pattern.replace('\\', "/");
        }
        let is_path = pattern.contains('/');
        if is_path && !pattern.starts_with('/') {
            pattern.insert(0, '/');
        }
        let glob = GlobBuilder::new(&pattern)
            .literal_separator(true)
            .case_insensitive(ignore_case || volume.ignores_case())
            .build()
            .map_err(|error| {
                Error::usage(format!(
                    "'{}' is no pattern: {}",
                    error.glob().unwrap_or(""),
                    error.kind()
                ))
                .hint("a \\ in front of a letter takes away its meaning: '\\[x\\].txt'")
            })?;
        Ok(Self { glob: glob.compile_matcher(), is_path })
    }

    fn matches(&self, path: &[u8], name: &[u8]) -> bool {
        self.glob.is_match(OsStr::from_bytes(if self.is_path { path } else { name }))
    }
}

struct Finder<'a> {
    args: &'a FindArgs,
    output: &'a Output,
    losses: Losses<'a>,
    count: u64,
}

impl Finder<'_> {
    fn volume(
        &mut self,
        volume: &OpenVolume,
        files: &dyn Files,
        matcher: &Matcher,
        cancel: &Cancel,
    ) -> Result<()> {
        for (path, step) in Walk::new(files, files.root(), b"/") {
            cancel.check()?;
            match step {
                Step::Entry(entry) if matcher.matches(&path, &entry.name) => {
                    self.found(volume, files, &path, &entry);
                }
                Step::Trouble(error) => self.losses.tell(&volume.shown(&path), &error),
                Step::Entry(_) | Step::Leave => {}
            }
        }
        Ok(())
    }

    fn found(
        &mut self,
        volume: &OpenVolume,
        files: &dyn Files,
        path: &[u8],
        entry: &DirectoryEntry,
    ) {
        self.count += 1;
        let name = files::name_of(&volume.shown(path), entry.kind, None);
        match files.attributes(entry.node) {
            Ok(attributes) if self.output.is_json() => {
                let file = JsonFile::new(volume, path, &attributes, None);
                self.output.lines(&json_line("file", &file));
            }
            Ok(attributes) => self.output.lines(&format!(
                "{:>10}  {}  {name}",
                files::size(&attributes, self.args.bytes),
                files::date(volume, attributes.times.modified)
            )),
            Err(error) => {
                if self.output.is_json() {
                    let path = files::JsonPath::new(volume, path);
                    self.output.lines(&json_line("file", &path));
                } else {
                    self.output.lines(&format!("{:>10}  {:19}  {name}", "?", "?"));
                }
                self.losses.tell(&shown(volume.shown(path).as_bytes()), &error.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::browse::fake::Fake;
    use crate::fs::Identity;

    fn matches(pattern: &str, kind: &str, path: &str) -> bool {
        let identity = Identity { name: kind.into(), ..Identity::default() };
        let volume = OpenVolume::of_files("1", identity, Arc::new(Fake::default()));
        let matcher = Matcher::new(pattern, &volume, false).unwrap();
        matcher.matches(path.as_bytes(), path.rsplit('/').next().unwrap().as_bytes())
    }

    #[test]
    fn patterns_are_of_names_or_of_paths() {
        for (pattern, kind, path, is_match) in [
            ("*.wav", "ext4", "/a/b/c.wav", true),
            ("*.wav", "ext4", "/a/b/c.WAV", false),
            ("*.wav", "NTFS", "/a/b/c.WAV", true),
            ("*.wav", "FAT32", "/a/b/c.WAV", true),
            ("b", "ext4", "/a/b/c", false),
            ("/a/*/c", "ext4", "/a/b/c", true),
            ("a/*/c", "ext4", "/a/b/c", true),
            ("/a/*", "ext4", "/a/b/c", false),
            ("/a/**", "ext4", "/a/b/c", true),
            ("**/c", "ext4", "/a/b/c", true),
            ("users\\*\\c", "NTFS", "/Users/b/c", true),
            ("\\[x\\]", "ext4", "/[x]", true),
            ("{a,b}?", "ext4", "/bz", true),
        ] {
            assert_eq!(matches(pattern, kind, path), is_match, "{pattern} {kind} {path}");
        }
    }
}
