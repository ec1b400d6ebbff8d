// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test disks of `scripts/make-images`, and what an oracle says of each.
//!
//! A disk is made when the first test asks for it, and kept in the target
//! folder until a script changes.

// Which of these are used depends on the tests that are there; `pub` means: for them.
#![allow(unreachable_pub)]

mod files;
mod map;
mod scrubbed;

pub use files::*;
pub use map::*;
pub use scrubbed::*;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::Deserialize;

use crate::scrub::kind;
use crate::support::{Ran, finish, requires, search_path};

/// What an oracle says of a disk: `NAME.facts.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Facts {
    /// The maker of the disk.
    pub kind: String,
    /// Bytes of the image.
    pub length: u64,
    /// True if the free space has to be found, false if all has to be stored,
    /// None if either is right as long as nothing is lost.
    pub understood: Option<bool>,
    /// Why not, for messages.
    #[serde(default)]
    pub because: String,
    /// Bytes of the filesystem; what lies behind them is not its to judge.
    pub filesystem_length: Option<u64>,
    /// The used ranges by the oracle, start and length in bytes.
    #[serde(default)]
    pub used: Vec<(u64, u64)>,
    /// The same of a copy whose journal the kernel has replayed.
    #[serde(default)]
    pub used_after_replay: Vec<(u64, u64)>,
    /// SHA-256 of every file.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// SHA-256 of the files whose fsync had returned when the power went.
    #[serde(default)]
    pub fsynced: BTreeMap<String, String>,
    /// The files of each partition, by its number; "0" is the whole disk.
    #[serde(default)]
    pub partition_files: BTreeMap<String, BTreeMap<String, String>>,
    /// The partitions of a disk with a table.
    #[serde(default)]
    pub partitions: Vec<Partition>,
    /// "gpt", "dos", "none", "damaged", "hostile"; empty for a filesystem.
    #[serde(default)]
    pub table: String,
    /// "clean" if fsck finds nothing.
    #[serde(default)]
    pub fsck: String,
    /// "dirty" if there is something to replay or a flag says so.
    #[serde(default)]
    pub state: String,
    /// True if the kernel's own driver mounts it.
    #[serde(default)]
    pub kernel_mounts: bool,
    /// False if no program at hand reads the files as the format means it.
    #[serde(default = "yes")]
    pub read_files: bool,
    /// Logical sector size, where the table depends on it.
    pub sector_size: Option<u64>,
    /// Features, as the oracle names them.
    #[serde(default)]
    pub features: Vec<String>,
    /// The other disks of a set.
    #[serde(default)]
    pub companions: Vec<CompanionFacts>,
    /// True if each disk of a set is saved without the others.
    #[serde(default)]
    pub apart: bool,
    /// What else a maker has to say to its judge.
    #[allow(dead_code)]
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// Another disk of a set: `NAME.2.img` beside `NAME.img`.
#[derive(Debug, Clone, Deserialize)]
pub struct CompanionFacts {
    /// The name of its file.
    pub image: String,
    /// Its bytes.
    pub length: u64,
    /// The used ranges by the oracle, start and length in bytes.
    #[serde(default)]
    pub used: Vec<(u64, u64)>,
}

/// A partition by sfdisk.
#[derive(Debug, Clone, Deserialize)]
pub struct Partition {
    pub number: u32,
    pub first_byte: u64,
    pub length: u64,
}

const fn yes() -> bool {
    true
}

/// A disk and its facts.
#[derive(Debug, Clone)]
pub struct Variant {
    /// "ext4-bigalloc"
    pub name: String,
    /// The image file; never written to.
    pub image: PathBuf,
    /// The files of the other disks of the set.
    pub companions: Vec<PathBuf>,
    pub facts: Facts,
}

/// The disk `name` of `scripts/make-images/MAKER`; None if this machine cannot
/// make it, which has been said then.
pub fn variant(maker: &str, name: &str) -> Option<Variant> {
    if !requires(kind(maker).needs) || (name == "gpt-4k-sectors" && !requires(&["root", "loop"])) {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let facts = folder.join(format!("{name}.facts.json"));
    // Two tests may want the same disk: the second waits for the first.
    let lock = lock_of(name);
    let _making = lock.lock().unwrap_or_else(PoisonError::into_inner);
    if modified(&facts) <= newest_script(maker) {
        let _ = fs::remove_file(&facts);
        let ran =
            make(maker, &[folder.to_str().expect("the target folder has a plain name"), name]);
        assert!(ran.code == 0, "making {name}\n{ran}");
    }
    Some(Variant::load(folder.join(format!("{name}.img")), &facts))
}

fn lock_of(name: &str) -> Arc<Mutex<()>> {
    static LOCKS: Mutex<BTreeMap<String, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(locks.entry(name.to_owned()).or_default())
}

/// The names that a maker knows.
pub fn names_of(maker: &str) -> Vec<String> {
    let ran = make(maker, &[]).exits(2);
    let names: Vec<String> =
        ran.err().lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect();
    assert!(names.len() > 5, "scripts/make-images/{maker} lists no variants\n{ran}");
    names
}

/// The disks kept in `images/`, unpacked below `folder`.
pub fn committed(folder: &Path) -> Vec<Variant> {
    let kept = project().join("images");
    let mut found = Vec::new();
    for entry in fs::read_dir(&kept).expect("reading images/") {
        let facts = entry.expect("reading images/").path();
        let file = facts.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".facts.json") else { continue };
        let image = folder.join(format!("{name}.img"));
        let packed = fs::read(kept.join(format!("{name}.img.zst"))).expect("reading an image");
        unpack(&packed, &image);
        for number in 2.. {
            let file = format!("{name}.{number}.img");
            let Ok(packed) = fs::read(kept.join(format!("{file}.zst"))) else { break };
            unpack(&packed, &folder.join(file));
        }
        found.push(Variant::load(image, &facts));
    }
    assert!(found.len() >= 12, "only {} disks in images/", found.len());
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Unpacks an image, with holes where it is zero.
fn unpack(packed: &[u8], image: &Path) {
    use std::os::unix::fs::FileExt as _;
    let bytes = zstd::decode_all(packed).expect("unpacking an image");
    let file = fs::File::create(image).expect("creating an unpacked image");
    file.set_len(bytes.len() as u64).expect("sizing an unpacked image");
    for (number, piece) in bytes.chunks(1 << 16).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            file.write_all_at(piece, (number as u64) << 16).expect("writing an unpacked image");
        }
    }
}

impl Variant {
    fn load(image: PathBuf, facts: &Path) -> Self {
        let text = fs::read_to_string(facts)
            .unwrap_or_else(|error| panic!("reading {}: {error}", facts.display()));
        let facts: Facts = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("reading {}: {error}", facts.display()));
        let length = fs::metadata(&image).expect("the image is there").len();
        assert_eq!(length, facts.length, "{} is not the disk of its facts", image.display());
        let name = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = image.parent().unwrap_or(Path::new(""));
        let companions = facts.companions.iter().map(|it| folder.join(&it.image)).collect();
        Self { name, image, companions, facts }
    }

    /// The path of the image for command lines.
    pub fn path(&self) -> &str {
        self.image.to_str().expect("the target folder has a plain name")
    }
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn make(maker: &str, args: &[&str]) -> Ran {
    let mut command = Command::new(project().join("scripts/make-images").join(maker));
    command.args(args).env("PATH", search_path()).env("LC_ALL", "C");
    finish(command, &[])
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

/// The newest of the scripts that a maker is made of: those whose name begins
/// with its own or ends in it, and those that all makers share.
fn newest_script(maker: &str) -> Option<SystemTime> {
    let folder = project().join("scripts/make-images");
    let shared = ["shared.sh", "crash.sh", "content.py", "facts.py"];
    fs::read_dir(folder)
        .expect("reading scripts/make-images")
        .map(|entry| entry.expect("reading scripts/make-images").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            shared.contains(&&*name) || stem.starts_with(maker) || stem.ends_with(maker)
        })
        .filter_map(|path| modified(&path))
        .max()
}
