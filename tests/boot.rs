// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real system, saved, wiped, restored, and booted: the proof that counts.
//!
//! The disk comes from `scripts/make-images/debian-disk` (GPT; BIOS boot, ESP,
//! ext4, swap), the boots are done by `scripts/boot-check` in QEMU. Targets are
//! full of junk and of a stranger's partition table before the restore, and
//! unused ranges are left alone, so whatever the image lacks shows.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::support::{dacapo, requires};

const MIB: u64 = 1 << 20;

/// What the system says of itself before its prompt; the UUIDs are those that
/// `debian-disk` gives, and each is found only through the restored bytes.
const STATE: &str = "root=5c7f0c7b-93e5-4a58-b2ab-daca90000003 esp=DACA-9002 \
                     swap=5c7f0c7b-93e5-4a58-b2ab-daca90000004";

/// Start and size in MiB, as in `debian-disk`.
const ESP: (u64, u64) = (2, 64);
const ROOT: (u64, u64) = (66, 1600);
const SWAP: (u64, u64) = (1666, 256);

const NEEDS: [&str; 3] = ["root", "network", "sgdisk"];

#[test]
fn restored_debian_is_the_same_disk_and_boots_by_bios_and_uefi() {
    if !requires(&NEEDS) {
        return;
    }
    let saved = saved_debian();
    let target = JunkDisk::new("boot-same-size.raw", saved.len);
    restore(&saved.image, &target.path);

    assert_table_is_sound(&target.path);
    assert_filesystems_are_clean(&target.path);
    // Everything outside the filesystems is stored whole, so it is the same
    // byte for byte: boot code, both tables, GRUB's core.img, gaps, tail.
    let (source, restored) = (open(&saved.source), open(&target.path));
    assert_same_bytes(&source, &restored, 0, ESP.0 * MIB);
    assert_same_bytes(&source, &restored, SWAP.0 * MIB, 4096);
    let tail = (SWAP.0 + SWAP.1) * MIB;
    assert_same_bytes(&source, &restored, tail, saved.len - tail);
    assert_same_files(&saved.tree, &target.path);

    let before = sha256(&target.path);
    assert_boots(&target.path, "bios");
    assert_boots(&target.path, "uefi");
    assert_eq!(before, sha256(&target.path), "booting changed the restored disk");
}

#[test]
fn debian_restored_to_a_larger_disk_has_its_backup_table_at_the_new_end() {
    if !requires(&NEEDS) {
        return;
    }
    let saved = saved_debian();
    let target = JunkDisk::new("boot-larger.raw", saved.len + 777 * MIB);
    restore(&saved.image, &target.path);

    // sgdisk calls a backup table that is not in the last sectors a problem.
    assert_table_is_sound(&target.path);
    let (source, restored) = (open(&saved.source), open(&target.path));
    let mut signature = [0; 8];
    restored.read_exact_at(&mut signature, saved.len + 777 * MIB - 512).expect("reading the end");
    assert_eq!(&signature, b"EFI PART", "backup header in the last sector");
    assert_eq!(identities(&saved.source), identities(&target.path));
    // The boot code and the BIOS boot partition know nothing of the size.
    assert_same_bytes(&source, &restored, 0, 446);
    assert_same_bytes(&source, &restored, MIB, MIB);
    assert_filesystems_are_clean(&target.path);
    assert_same_files(&saved.tree, &target.path);

    if std::env::var_os("DACAPO_TEST_ALL").is_some_and(|value| value == "1") {
        assert_boots(&target.path, "bios");
        assert_boots(&target.path, "uefi");
    }
}

struct Saved {
    source: PathBuf,
    image: PathBuf,
    len: u64,
    tree: String,
}

/// The disk and its image, made once for all tests of this file.
fn saved_debian() -> &'static Saved {
    static SAVED: OnceLock<Saved> = OnceLock::new();
    SAVED.get_or_init(|| {
        let script = root_of_project().join("scripts/make-images/debian-disk");
        let source = scratch("debian-disk.raw");
        // Kept from run to run, until the script that makes it changes.
        let made = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        if made(&source) <= made(&script) {
            run(Command::new(&script).arg(&source));
        }
        let image = scratch("debian-disk.img.zst");
        let _ = fs::remove_file(&image);
        let before = sha256(&source);
        let _ = dacapo(&["save", text(&source), text(&image)]).success();
        assert_eq!(before, sha256(&source), "saving changed the source");
        let len = fs::metadata(&source).expect("size of the disk").len();
        let tree = tree(&source);
        Saved { source, image, len, tree }
    })
}

fn restore(image: &Path, target: &Path) {
    // Left alone, so that the junk stays wherever the image has nothing.
    let _ = dacapo(&["restore", text(image), text(target), "--yes", "--free", "leave"]).success();
}

/// A file of junk with another disk's GPT on it; removed at the end.
struct JunkDisk {
    path: PathBuf,
}

impl JunkDisk {
    fn new(name: &str, len: u64) -> Self {
        let path = scratch(name);
        let mut file = File::create(&path).expect("creating the target");
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut block = vec![0; 1 << 20];
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        for number in 0..len / MIB {
            block[..8].copy_from_slice(&number.to_le_bytes());
            file.write_all(&block).expect("filling the target with junk");
        }
        drop(file);
        let disk = Self { path };
        run(Command::new("sgdisk").args(["--clear", "--new=1:0:0"]).arg(&disk.path));
        disk
    }
}

impl Drop for JunkDisk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn assert_table_is_sound(disk: &Path) {
    let said = run(Command::new("sgdisk").arg("--verify").arg(disk));
    assert!(said.contains("No problems found"), "sgdisk on {}: {said}", disk.display());
    let caution = said.contains("Caution") || said.contains("Warning");
    assert!(!caution, "sgdisk on {}: {said}", disk.display());
}

/// The GUIDs and bounds of the disk and its partitions, as sgdisk reads them.
fn identities(disk: &Path) -> String {
    let mut all = run(Command::new("sgdisk").arg("--print").arg(disk))
        .lines()
        .filter(|line| line.starts_with("Disk identifier"))
        .collect::<String>();
    for number in 1..=4 {
        all += &run(Command::new("sgdisk").arg(format!("--info={number}")).arg(disk));
    }
    assert!(all.contains("DACA90000000") && all.contains("DACA90000004"), "{all}");
    all
}

fn assert_filesystems_are_clean(disk: &Path) {
    let ext4 = format!("{}?offset={}", text(disk), ROOT.0 * MIB);
    run(Command::new("e2fsck").args(["-fn", &ext4]));
    let esp = Cut::new(disk, "esp", ESP);
    run(Command::new("fsck.vfat").arg("-n").arg(&esp.0));
    let swap = Cut::new(disk, "swap", SWAP);
    let swap = run(Command::new("blkid").args(["--probe", "--output", "export"]).arg(&swap.0));
    assert!(swap.contains("TYPE=swap") && swap.contains("daca90000004"), "{swap}");
}

/// One partition copied out of a disk file, for programs that take no offset.
struct Cut(PathBuf);

impl Cut {
    fn new(disk: &Path, name: &str, (start, size): (u64, u64)) -> Self {
        let path = disk.with_extension(name);
        run(Command::new("dd")
            .arg(format!("if={}", text(disk)))
            .arg(format!("of={}", text(&path)))
            .args([format!("skip={start}"), format!("count={size}")])
            .args(["bs=1M", "status=none"]));
        Self(path)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn assert_same_files(wanted: &str, restored: &Path) {
    let found = tree(restored);
    // The whole listings would be megabytes of panic message.
    let differing = wanted.lines().zip(found.lines()).find(|(left, right)| left != right);
    assert!(wanted == found, "files of the root filesystem, first difference: {differing:?}");
}

/// Every file of the root filesystem with its owner, mode, times and content,
/// as the kernel reads it.
fn tree(disk: &Path) -> String {
    // In a namespace of its own the mount, and with it the loop device, ends
    // with the shell however that ends, and no other test can see it.
    let listing = run(Command::new("unshare")
        .args(["--mount", "bash", "-euc", TREE, "tree"])
        .arg(disk)
        .args([(ROOT.0 * MIB).to_string(), (ROOT.1 * MIB).to_string()]));
    assert!(listing.lines().count() > 5000, "this is not a Debian: {listing}");
    listing
}

const TREE: &str = r#"
set -o pipefail
mount -t ext4 -o ro,noload,loop,offset=$2,sizelimit=$3 "$1" /mnt
cd /mnt
find . -printf '%p %y %m %U:%G %n %T@ %C@ %l %i\n' | LC_ALL=C sort
find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
"#;

fn assert_boots(disk: &Path, firmware: &str) {
    let script = root_of_project().join("scripts/boot-check");
    let said = run(Command::new(script).arg(disk).args([firmware, "300"]));
    let state = format!("dacapo-state: firmware={firmware} {STATE}");
    assert!(said.contains(&state), "the system booted, but said: {said}");
}

fn assert_same_bytes(source: &File, restored: &File, start: u64, len: u64) {
    let mut wanted = vec![0; 1 << 20];
    let mut found = vec![0; 1 << 20];
    let mut offset = start;
    while offset < start + len {
        let step = usize::try_from(MIB.min(start + len - offset)).expect("a MiB at most");
        source.read_exact_at(&mut wanted[..step], offset).expect("reading the source");
        restored.read_exact_at(&mut found[..step], offset).expect("reading the target");
        assert!(wanted[..step] == found[..step], "bytes differ after offset {offset:#x}");
        offset += MIB;
    }
}

fn sha256(path: &Path) -> String {
    run(Command::new("sha256sum").arg(path))
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).open(path).expect("opening a disk")
}

/// Runs a program that must succeed, and gives what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("starting a program");
    assert_success(&format!("{command:?}"), &output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assert_success(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn root_of_project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
