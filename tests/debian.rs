// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bootable disks of `scripts/make-images/debian-disk`, and what has to hold
//! of a restored one. Targets are full of junk and of a stranger's partition
//! table, so that whatever an image lacks shows.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::support::dacapo;

pub(crate) const MIB: u64 = 1 << 20;

/// What making the disks needs.
pub(crate) const NEEDS: [&str; 3] = ["root", "network", "sgdisk"];

/// Start and size in MiB, as in the maker.
pub(crate) const ESP: (u64, u64) = (2, 64);
pub(crate) const SWAP: (u64, u64) = (1666, 256);
/// The NTFS of the disk with LVM.
pub(crate) const NTFS: (u64, u64) = (1, 64);

/// A disk with a Debian on it that starts.
pub(crate) struct Debian {
    pub(crate) source: PathBuf,
    pub(crate) image: PathBuf,
    pub(crate) len: u64,
    /// Start and size of its root in MiB.
    pub(crate) root: (u64, u64),
    /// What it says of itself before its prompt; the UUIDs are those that the
    /// maker gives, and each is found only through the restored bytes.
    pub(crate) state: &'static str,
    tree: String,
}

/// The disk with GPT and ESP and its image, made once for all tests.
pub(crate) fn gpt() -> &'static Debian {
    static DISK: OnceLock<Debian> = OnceLock::new();
    DISK.get_or_init(|| {
        let state = "root=5c7f0c7b-93e5-4a58-b2ab-daca90000003 esp=DACA-9002 \
                     swap=5c7f0c7b-93e5-4a58-b2ab-daca90000004";
        Debian::made("debian-disk", &[], (66, 1600), state)
    })
}

/// The disk with MBR, NTFS and LVM and its image, made once for all tests.
pub(crate) fn lvm() -> &'static Debian {
    static DISK: OnceLock<Debian> = OnceLock::new();
    DISK.get_or_init(|| {
        let state = "root=5c7f0c7b-93e5-4a58-b2ab-daca90000003 esp= \
                     swap=5c7f0c7b-93e5-4a58-b2ab-daca90000004";
        Debian::made("debian-lvm", &["--lvm"], (67, 1600), state)
    })
}

impl Debian {
    fn made(name: &str, options: &[&str], root: (u64, u64), state: &'static str) -> Self {
        let script = root_of_project().join("scripts/make-images/debian-disk");
        let source = scratch(&format!("{name}.raw"));
        // Kept from run to run, until the script that makes it changes.
        let made = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        if made(&source) <= made(&script) {
            run(Command::new(&script).args(options).arg(&source));
        }
        let image = scratch(&format!("{name}.img.zst"));
        let _ = fs::remove_file(&image);
        let before = sha256(&source);
        let _ = dacapo(&["save", text(&source), text(&image), "--label", name]).success();
        assert_eq!(before, sha256(&source), "saving changed the source");
        let len = fs::metadata(&source).expect("size of the disk").len();
        let tree = tree(&source, root);
        Self { source, image, len, root, state, tree }
    }

    /// The files of the root are those of the source, with all that belongs to
    /// them.
    pub(crate) fn assert_same_files(&self, restored: &Path) {
        let found = tree(restored, self.root);
        // The whole listings would be megabytes of panic message.
        let differing = self.tree.lines().zip(found.lines()).find(|(left, right)| left != right);
        assert!(
            self.tree == found,
            "files of the root filesystem, first difference: {differing:?}"
        );
    }

    /// True for the disk with MBR, NTFS and LVM.
    pub(crate) fn has_mbr(&self) -> bool {
        self.state.contains("esp= ")
    }

    /// fsck finds nothing.
    pub(crate) fn assert_filesystems_are_clean(&self, disk: &Path) {
        let ext4 = format!("{}?offset={}", text(disk), self.root.0 * MIB);
        run(Command::new("e2fsck").args(["-fn", &ext4]));
        if self.has_mbr() {
            let ntfs = Cut::new(disk, "ntfs", NTFS);
            run(Command::new("ntfsfix").arg("-n").arg(&ntfs.0));
            let session = run(Command::new("ntfscat").arg(&ntfs.0).arg("Last Session.als"));
            assert_eq!(session, "d".repeat(3_000_000));
            return;
        }
        let esp = Cut::new(disk, "esp", ESP);
        run(Command::new("fsck.vfat").arg("-n").arg(&esp.0));
        let swap = Cut::new(disk, "swap", SWAP);
        let swap = run(Command::new("blkid").args(["--probe", "--output", "export"]).arg(&swap.0));
        assert!(swap.contains("TYPE=swap") && swap.contains("daca90000004"), "{swap}");
    }
}

/// A file of junk with another disk's GPT on it; removed at the end.
pub(crate) struct JunkDisk {
    pub(crate) path: PathBuf,
}

impl JunkDisk {
    pub(crate) fn new(name: &str, len: u64) -> Self {
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

pub(crate) fn assert_table_is_sound(disk: &Path) {
    let said = run(Command::new("sgdisk").arg("--verify").arg(disk));
    assert!(said.contains("No problems found"), "sgdisk on {}: {said}", disk.display());
    let caution = said.contains("Caution") || said.contains("Warning");
    assert!(!caution, "sgdisk on {}: {said}", disk.display());
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

/// Every file of the root filesystem with its owner, mode, times and content,
/// as the kernel reads it.
fn tree(disk: &Path, root: (u64, u64)) -> String {
    // In a namespace of its own the mount, and with it the loop device, ends
    // with the shell however that ends, and no other test can see it.
    let listing = run(Command::new("unshare")
        .args(["--mount", "bash", "-euc", TREE, "tree"])
        .arg(disk)
        .args([(root.0 * MIB).to_string(), (root.1 * MIB).to_string()]));
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

pub(crate) fn assert_same_bytes(source: &File, restored: &File, start: u64, len: u64) {
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

pub(crate) fn sha256(path: &Path) -> String {
    run(Command::new("sha256sum").arg(path))
}

pub(crate) fn open(path: &Path) -> File {
    OpenOptions::new().read(true).open(path).expect("opening a disk")
}

/// Runs a program that must succeed, and gives what it printed.
pub(crate) fn run(command: &mut Command) -> String {
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

pub(crate) fn root_of_project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
