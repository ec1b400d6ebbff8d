// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partition tables made by other programs, read by this one and by others.
//!
//! What each reader can judge is in its function: none of them reads
//! everything that is read here, so each is asked where it is sound.

mod apm;
mod corpus;
mod gpt;
mod mbr;
mod moved;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use dacapo::device::Source;
use dacapo::table::{self, PartitionTable};
use dacapo::units::SectorSize;
use serde_json::Value;

use super::support::{TempDir, finish, run, search_path, sparse_file, temp_dir};

/// A partition as every reader describes it: number, first sector, sectors,
/// type, GUID and name. The last two are empty in an MBR.
type Row = (u32, u64, u64, String, String, String);

/// A file that stands for a disk, in a folder of its own.
struct DiskFile {
    _folder: TempDir,
    path: String,
    size: SectorSize,
}

impl DiskFile {
    fn new(mib: u64) -> Self {
        let folder = temp_dir();
        let path = folder.join("disk.img");
        sparse_file(&path, mib << 20);
        Self { _folder: folder, path, size: SectorSize::B512 }
    }

    fn with_sectors(self, size: SectorSize) -> Self {
        Self { size, ..self }
    }

    /// Runs sgdisk on it.
    fn sgdisk(&self, args: &[&str]) -> &Self {
        run("sgdisk", &[args, &[&self.path]].concat());
        self
    }

    /// Gives a script to sfdisk.
    fn sfdisk(&self, script: &str) -> &Self {
        sfdisk_script(&self.path, script);
        self
    }

    /// Overwrites bytes; a negative offset counts from the end.
    fn patch(&self, offset: i64, bytes: &[u8]) -> &Self {
        let file = File::options().write(true).open(&self.path).unwrap();
        let len = file.metadata().unwrap().len();
        let at = if offset < 0 { len - offset.unsigned_abs() } else { offset.unsigned_abs() };
        file.write_all_at(bytes, at).unwrap();
        self
    }

    fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        File::open(&self.path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    /// The same disk in a file of its own; sgdisk takes a second to make one.
    fn copy(&self) -> Self {
        let copy = Self { size: self.size, ..Self::new(0) };
        std::fs::copy(&self.path, &copy.path).unwrap();
        copy
    }

    fn resize(&self, len: u64) -> &Self {
        File::options().write(true).open(&self.path).unwrap().set_len(len).unwrap();
        self
    }

    fn len(&self) -> u64 {
        std::fs::metadata(&self.path).unwrap().len()
    }

    fn source(&self) -> Source {
        Source::open_with_sector_size(&self.path, self.size).unwrap()
    }

    #[track_caller]
    fn table(&self) -> PartitionTable {
        table::read(&self.source()).unwrap().unwrap()
    }

    /// Fails unless sgdisk finds nothing to complain about.
    #[track_caller]
    fn assert_sound(&self) {
        assert_sound(&self.path);
    }
}

fn sfdisk_script(path: &str, script: &str) {
    let mut command = Command::new("sfdisk");
    command.args(["--quiet", "--no-reread", "--no-tell-kernel", path]);
    command.env("PATH", search_path()).env("LC_ALL", "C.UTF-8");
    finish(command, script.as_bytes()).success();
}

#[track_caller]
fn assert_sound(path: &str) {
    let verdict = run("sgdisk", &["-v", path]);
    let text = format!("{}{}", verdict.out(), verdict.err());
    assert!(text.contains("No problems found"), "{text}");
    // It warns of a gap in front of the array, which some boot loaders need.
    let warnings = text.matches("Warning").count();
    assert_eq!(warnings, text.matches("Warning: There is a gap").count(), "{text}");
}

fn rows(table: &PartitionTable) -> Vec<Row> {
    let size = table.sector_size.bytes();
    let row = |p: &table::Partition| {
        let (start, len) = (p.extent.start(), p.extent.len());
        assert!(start % size == 0 && len % size == 0);
        let id = p.id.clone().unwrap_or_default();
        let name = p.name.clone().unwrap_or_default();
        (p.number, start / size, len / size, p.type_id.clone(), id, name)
    };
    table.partitions.iter().map(row).collect()
}

/// The partitions as sfdisk lists them; of everything, it alone reads both
/// kinds of table.
#[track_caller]
fn by_sfdisk(path: &str) -> (Vec<Row>, Value) {
    let mut command = Command::new("sfdisk");
    command.args(["--json", path]).env("PATH", search_path()).env("LC_ALL", "C.UTF-8");
    let ran = finish(command, b"").success();
    let json: Value = serde_json::from_str(ran.out()).unwrap();
    let table = json["partitiontable"].clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    let rows = table["partitions"].as_array().map_or(&[][..], Vec::as_slice).iter().map(|entry| {
        let node = entry["node"].as_str().unwrap();
        let digits = node.rfind(|c: char| !c.is_ascii_digit()).unwrap() + 1;
        let type_id = text(&entry["type"]);
        (
            node[digits..].parse().unwrap(),
            entry["start"].as_u64().unwrap(),
            entry["size"].as_u64().unwrap(),
            // An MBR's types come without a leading zero.
            format!("{type_id:0>2}"),
            text(&entry["uuid"]),
            entry["name"].as_str().unwrap_or_default().to_owned(),
        )
    });
    let rows = rows.collect();
    (rows, table)
}

/// The partitions as the gpt crate reads them; only tables with 128-byte
/// entries whose primary array holds.
fn by_gpt(disk: &DiskFile) -> Vec<Row> {
    let size = match disk.size.get() {
        512 => ::gpt::disk::LogicalBlockSize::Lb512,
        _ => ::gpt::disk::LogicalBlockSize::Lb4096,
    };
    let found = ::gpt::GptConfig::new().logical_block_size(size).open(&disk.path).unwrap();
    let row = |(number, p): (&u32, &::gpt::partition::Partition)| {
        let type_id = p.part_type_guid.guid.to_string().to_lowercase();
        let len = p.last_lba - p.first_lba + 1;
        (*number, p.first_lba, len, type_id, p.part_guid.to_string(), p.name.clone())
    };
    found.partitions().iter().filter(|(_, p)| p.is_used()).map(row).collect()
}

/// The partitions as gptman reads them; revision 1.0 and 128-byte entries only.
fn by_gptman(disk: &DiskFile) -> Vec<Row> {
    let mut file = File::open(&disk.path).unwrap();
    let found = gptman::GPT::read_from(&mut file, disk.size.bytes()).unwrap();
    let text = |guid: [u8; 16]| uuid::Uuid::from_bytes_le(guid).to_string();
    let row = |(number, p): (u32, &gptman::GPTPartitionEntry)| {
        let len = p.ending_lba - p.starting_lba + 1;
        let type_id = text(p.partition_type_guid);
        let name = p.partition_name.as_str().to_owned();
        (number, p.starting_lba, len, type_id, text(p.unique_partition_guid), name)
    };
    found.iter().filter(|(_, p)| p.is_used()).map(row).collect()
}

/// The partitions as mbrman reads them; only chains in ascending order and
/// boot flags of 00 and 80.
fn by_mbrman(disk: &DiskFile) -> Vec<Row> {
    let mut file = File::open(&disk.path).unwrap();
    let found = mbrman::MBR::read_from(&mut file, disk.size.get()).unwrap();
    let row = |(number, p): (usize, &mbrman::MBRPartitionEntry)| {
        let type_id = format!("{:02x}", p.sys);
        let (start, len) = (u64::from(p.starting_lba), u64::from(p.sectors));
        (u32::try_from(number).unwrap(), start, len, type_id, String::new(), String::new())
    };
    found.iter().filter(|(_, p)| p.is_used()).map(row).collect()
}

/// Number, first and last sector, as `sgdisk --print` lists them.
fn by_sgdisk(path: &str) -> Vec<(u32, u64, u64)> {
    let ran = run("sgdisk", &["--print", path]);
    // It cuts names in the middle of a letter.
    let text = String::from_utf8_lossy(&ran.stdout);
    let lines = text.lines().skip_while(|line| !line.starts_with("Number")).skip(1);
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap().parse::<u64>().unwrap();
        let (number, first, last) = (next(), next(), next());
        (u32::try_from(number).unwrap(), first, last - first + 1)
    };
    lines.filter(|line| !line.trim().is_empty()).map(row).collect()
}

fn without_names(rows: &[Row]) -> Vec<(u32, u64, u64)> {
    rows.iter().map(|row| (row.0, row.1, row.2)).collect()
}

/// Says what is compared now, which the runner shows if the test fails.
fn now(what: &str) {
    let _ = writeln!(std::io::stdout(), "-- {what}");
}

fn exists(path: &Path) -> bool {
    path.exists()
}
