// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that stand in for disks, loop devices and mounts. Everything held is
//! a guard that undoes itself.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use dacapo::device::DiskIdentity;
use dacapo::extent::Extent;
use dacapo::io::Memory;

use super::{run, try_run};

/// A folder that is removed with all that is in it.
pub struct TempDir(tempfile::TempDir);

/// A new empty folder. With `DACAPO_KEEP=1` it stays, to look at what a
/// failing test left.
pub fn temp_dir() -> TempDir {
    let mut folder = tempfile::Builder::new().prefix("dacapo-test-").tempdir().unwrap();
    if std::env::var_os("DACAPO_KEEP").is_some_and(|value| value == "1") {
        folder.disable_cleanup(true);
        let _ = writeln!(io::stderr(), "kept: {}", folder.path().display());
    }
    TempDir(folder)
}

impl TempDir {
    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of `name` in the folder, as text for command lines.
    pub fn join(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("the temporary folder has a plain name").to_owned()
    }
}

/// Bytes that no compressor shortens and no parser takes for its own; the
/// same for the same seed.
pub fn junk(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill_with_junk(&mut bytes, seed);
    bytes
}

/// Makes the image of a disk of which a range could not be read: 4 MiB of junk
/// with one partition from 1 MiB on. Returns the disk as it is in the image.
pub fn lossy(image: &str, lost: Extent) -> Vec<u8> {
    use dacapo::save::{self, Options, Plan};
    let mut bytes = junk(4 << 20, 1);
    // The boot sector: one entry, from sector 2048 to the end, and the signature.
    bytes[446..510].fill(0);
    bytes[450] = 0x83;
    bytes[454..458].copy_from_slice(&2048_u32.to_le_bytes());
    bytes[458..462].copy_from_slice(&(3 * 2048_u32).to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let disk = Memory::new(bytes.clone()).unreadable(lost);
    let plan = Plan::new(&disk, DiskIdentity::default(), &Options::default()).unwrap();
    let writer = save::start(&plan, Vec::new()).unwrap();
    let (cancel, silent) = (dacapo::pipeline::Cancel::default(), dacapo::progress::Silent);
    let (written, _) = save::run(&plan, &disk, writer, false, &cancel, &silent).unwrap();
    std::fs::write(image, written).unwrap();
    bytes[lost.start() as usize..lost.end() as usize].fill(0);
    bytes
}

fn fill_with_junk(bytes: &mut [u8], seed: u64) {
    // splitmix64: public domain, by Sebastiano Vigna.
    let mut state = seed;
    for piece in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
    }
}

/// A file full of junk, as a target whose old content must not shine through.
pub fn junk_file(path: impl AsRef<Path>, len: u64) {
    let mut file = File::create(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut left = len;
    while left > 0 {
        let now = usize::try_from(left.min(1 << 20)).unwrap();
        fill_with_junk(&mut buffer[..now], left);
        file.write_all(&buffer[..now]).unwrap();
        left -= now as u64;
    }
}

/// A file of `len` bytes without any content.
pub fn sparse_file(path: impl AsRef<Path>, len: u64) {
    File::create(path).unwrap().set_len(len).unwrap();
}

/// The BLAKE3 of a file or device.
pub fn hash_of(path: impl AsRef<Path>) -> String {
    let mut hasher = blake3::Hasher::new();
    for_each_piece(File::open(path).unwrap(), |bytes| {
        hasher.update(bytes);
    });
    hasher.finalize().to_hex().to_string()
}

/// The SHA-256 of a file or device, by sha256sum.
pub fn sha256_of(path: impl AsRef<Path>) -> String {
    let ran = run("sha256sum", &["--".as_ref(), path.as_ref().as_os_str()]);
    ran.out().split_whitespace().next().unwrap().trim_start_matches('\\').to_owned()
}

/// The test fails unless two files are the same; says where they differ.
#[track_caller]
pub fn assert_same(a: impl AsRef<Path>, b: impl AsRef<Path>) {
    let (a, b) = (a.as_ref(), b.as_ref());
    if let Some(offset) = first_difference(a, b) {
        panic!("{} and {} differ at {offset:#x}", a.display(), b.display());
    }
}

/// The first position at which two files differ, their ends included.
pub fn first_difference(a: &Path, b: &Path) -> Option<u64> {
    let (mut a, mut b) = (File::open(a).unwrap(), File::open(b).unwrap());
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut offset = 0;
    loop {
        for (file, piece) in [(&mut a, &mut left), (&mut b, &mut right)] {
            piece.clear();
            file.take(1 << 20).read_to_end(piece).unwrap();
        }
        if left != right {
            let same = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
            return Some(offset + same as u64);
        }
        if left.is_empty() {
            return None;
        }
        offset += left.len() as u64;
    }
}

fn for_each_piece(mut file: File, mut use_piece: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return,
            read => use_piece(&buffer[..read]),
        }
    }
}

/// A loop device over a file.
pub struct Loop {
    device: String,
}

impl Loop {
    /// Makes a loop device; `options` are those of losetup, such as
    /// `--read-only` or `--sector-size=4096`.
    #[track_caller]
    pub fn new(file: impl AsRef<Path>, options: &[&str]) -> Self {
        let file = file.as_ref().to_str().unwrap();
        let args: Vec<&str> =
            ["--find", "--show"].iter().chain(options).copied().chain([file]).collect();
        // Two tests may be given the same free device; the later one asks
        // again.
        for _ in 0..20 {
            let ran = try_run("losetup", &args);
            if ran.code == 0 {
                return Self { device: ran.out().trim().to_owned() };
            }
            thread::sleep(Duration::from_millis(100));
        }
        Self { device: run("losetup", &args).out().trim().to_owned() }
    }

    /// Makes the loop device of this name, which no other test is given: its
    /// number is above those that are found free.
    #[track_caller]
    pub fn named(device: &str, file: impl AsRef<Path>) -> Self {
        run("losetup", &[device, file.as_ref().to_str().unwrap()]);
        Self { device: device.to_owned() }
    }

    /// "/dev/loop3"
    pub fn device(&self) -> &str {
        &self.device
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        undo("losetup", &["--detach", &self.device]);
    }
}

/// A mounted filesystem.
pub struct Mount {
    // Option, because a folder that is still mounted must not be emptied.
    folder: Option<TempDir>,
}

impl Mount {
    /// Mounts a device or, with the option `loop`, a file.
    #[track_caller]
    pub fn new(source: &str, filesystem: &str, options: &str) -> Self {
        let folder = temp_dir();
        let target = folder.path().to_str().unwrap();
        run("mount", &["-t", filesystem, "-o", options, source, target]);
        Self { folder: Some(folder) }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.as_ref().expect("taken in drop only").path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        let path = folder.path().to_str().unwrap();
        if !undo("umount", &[path]) {
            std::mem::forget(folder);
        }
    }
}

/// Runs a program that undoes something; tries again for a while, because
/// something else, such as a probe of udev, may have it open for a moment.
fn undo(program: &str, args: &[&str]) -> bool {
    for _ in 0..50 {
        if try_run(program, args).code == 0 {
            return true;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let _ = writeln!(io::stderr(), "could not undo: {program} {}", args.join(" "));
    false
}

/// The hashes of all files below a folder, by their paths in it; folders and
/// symlinks stand in it by their kind and target.
pub fn tree_of(folder: &Path) -> std::collections::BTreeMap<String, String> {
    fn walk(
        root: &Path,
        folder: &Path,
        tree: &mut std::collections::BTreeMap<String, String>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            let kind = fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                tree.insert(name, "folder".to_owned());
                walk(root, &path, tree)?;
            } else if kind.is_symlink() {
                tree.insert(name, format!("-> {}", fs::read_link(&path)?.display()));
            } else if kind.is_file() {
                tree.insert(name, hash_of(&path));
            } else {
                tree.insert(name, "special".to_owned());
            }
        }
        Ok(())
    }
    let mut tree = std::collections::BTreeMap::new();
    walk(folder, folder, &mut tree).unwrap();
    tree
}

/// A file with one page that answers EIO: it lies on a btrfs, damaged behind
/// its back, so that its checksum is wrong.
pub struct DamagedFile {
    mount: Mount,
    _below: Loop,
    _folder: TempDir,
}

impl DamagedFile {
    /// With this content, of which the page of 4 KiB must be the only one of
    /// its kind. Needs root, loop devices, a kernel with btrfs, and mkfs.btrfs.
    pub fn new(content: &[u8], bad_page: usize) -> Self {
        let folder = temp_dir();
        let file = folder.join("below.raw");
        sparse_file(&file, 128 << 20);
        let below = Loop::new(&file, &[]);
        run("mkfs.btrfs", &["-q", "-d", "single", "-m", "single", below.device()]);
        let mount = Mount::new(below.device(), "btrfs", "rw");
        fs::write(mount.path().join("backing.raw"), content).unwrap();
        drop(mount);
        let wanted = &content[bad_page * 4096..][..4096];
        let all = fs::read(below.device()).unwrap();
        let found: Vec<usize> =
            (0..all.len() / 4096).filter(|page| all[page * 4096..][..4096] == *wanted).collect();
        assert_eq!(found.len(), 1, "the page is not where it can be damaged");
        let device = File::options().write(true).open(below.device()).unwrap();
        device.write_all_at(&[0xee; 64], found[0] as u64 * 4096).unwrap();
        device.sync_all().unwrap();
        drop(device);
        let mount = Mount::new(below.device(), "btrfs", "rw");
        Self { mount, _below: below, _folder: folder }
    }

    /// Where it is.
    pub fn path(&self) -> std::path::PathBuf {
        self.mount.path().join("backing.raw")
    }
}
