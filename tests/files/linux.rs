// SPDX-License-Identifier: MIT OR Apache-2.0
//! ext2/3/4, XFS and btrfs, against the kernel's own drivers.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use dacapo::fs::Files;
use dacapo::fs::files::DirectoryEntry;
use dacapo::io::ReadAt as _;
use dacapo::ondisk::FormatError;
use sha2::{Digest as _, Sha256};

use super::damaged::contents;
use super::{DiskFile, Judge, compare_files, files_of, find, open_set, read_all, second_reader};
use crate::support::{Loop, Mount, all, junk, requires, run, sparse_file, temp_dir, try_run};
use crate::variants::{Variant, committed, names_of, variant};

/// How the files of a disk were judged.
#[derive(Debug)]
enum Judged {
    /// By the kernel, so many nodes.
    Mounted(usize),
    /// By the hashes of those who made it, or by another reader, where the kernel
    /// mounts no such thing.
    Hashed(usize),
    /// Not at all: the program says why it reads no files.
    Refused(String),
}

/// Compares the files of a disk with what the kernel shows of a copy, in which
/// it replays what there is to replay.
#[track_caller]
fn judge(disk: &Variant, filesystem: &str) -> Judged {
    let images: Vec<&Path> =
        std::iter::once(&disk.image).chain(&disk.companions).map(PathBuf::as_path).collect();
    let files = match open_set(&images) {
        Ok(files) => files,
        Err(error) => return Judged::Refused(error.to_string()),
    };
    let folder = temp_dir();
    let devices: Vec<Loop> = images
        .iter()
        .enumerate()
        .map(|(number, image)| {
            let copy = folder.join(&format!("{number}.img"));
            run("cp", &["--sparse=always", image.to_str().expect("a plain name"), &copy]);
            Loop::new(&copy, &[])
        })
        .collect();
    let mut options = String::from("ro");
    match filesystem {
        // Several tests may have the same filesystem mounted.
        "xfs" => options.push_str(",nouuid"),
        "btrfs" => {
            options.push_str(",subvolid=5");
            for device in &devices {
                options.push_str(&format!(",device={}", device.device()));
            }
        }
        _ => {}
    }
    let first = devices.first().expect("there is a first").device();
    let probe = temp_dir();
    let probe = probe.path().to_str().expect("a plain name").to_owned();
    if try_run("mount", &["-t", filesystem, "-o", &options, first, &probe]).code == 0 {
        run("umount", &[&probe]);
        let mount = Mount::new(first, filesystem, &options);
        // A replay of btrfs changes names as a program does, at the time of the mount.
        let is_new = filesystem == "btrfs" && disk.facts.state == "dirty";
        let judge = Judge { replayed_now: is_new, ..Judge::KERNEL };
        return Judged::Mounted(compare_files(files.as_ref(), mount.path(), judge));
    }
    if filesystem == "xfs"
        && let Some(nodes) = second_reader::compare(files.as_ref(), &disk.image)
    {
        return Judged::Hashed(nodes);
    }
    for (name, hash) in &disk.facts.files {
        let node = find(files.as_ref(), name).unwrap_or_else(|| panic!("no {name}"));
        let content = read_all(files.as_ref(), node);
        let found: String =
            Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(&found, hash, "{}: {name}", disk.name);
    }
    Judged::Hashed(disk.facts.files.len())
}

/// Parts of the names of disks without files.
const EMPTY: &[&str] =
    &["empty", "btrfs-cut-short", "xfs-v4", "tiny-v4", "dirty-v4", "xfs-realtime"];

/// Judges the disks of a maker, all or a few; those of `refused` say why they
/// are not read.
#[track_caller]
fn judge_disks(maker: &str, filesystem: &str, few: &[&str], refused: &[(&str, &str)]) {
    let few = || few.iter().map(|name| (*name).to_owned()).collect();
    let names: Vec<String> = if all() { names_of(maker) } else { few() };
    let mut wrong = Vec::new();
    for name in names {
        let judged =
            std::panic::catch_unwind(|| variant(maker, &name).map(|disk| judge(&disk, filesystem)));
        let judged = match judged {
            Ok(Some(judged)) => judged,
            Ok(None) => return,
            Err(_) => {
                wrong.push(format!("{name}: see above"));
                continue;
            }
        };
        let reason = refused.iter().find(|(refused, _)| *refused == name);
        let is_right = match (&judged, reason) {
            (Judged::Mounted(count) | Judged::Hashed(count), None) => {
                *count > 0 || EMPTY.iter().any(|part| name.contains(part))
            }
            (Judged::Refused(why), Some((_, expected))) => why.contains(expected),
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{name}: {judged:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same for the disks in `images/`.
#[track_caller]
fn judge_committed(prefix: &str, filesystem: &str, refused: &[&str]) {
    if !requires(&["root", "loop", &format!("kernel:{filesystem}")]) {
        return;
    }
    let folder = temp_dir();
    let mut count = 0;
    for disk in committed(folder.path()) {
        if !disk.name.starts_with(prefix) {
            continue;
        }
        count += 1;
        match judge(&disk, filesystem) {
            Judged::Refused(why) => {
                assert!(refused.contains(&disk.name.as_str()), "{}: {why}", disk.name);
            }
            Judged::Mounted(nodes) | Judged::Hashed(nodes) => {
                let is_empty = EMPTY.iter().any(|part| disk.name.contains(part));
                assert!(nodes > 2 || is_empty, "{}: {nodes} nodes", disk.name);
                assert!(!refused.contains(&disk.name.as_str()), "{}", disk.name);
            }
        }
    }
    assert!(count > 2, "{count} disks in images/");
}

/// A folder with one of everything, put into a mounted filesystem.
#[track_caller]
fn populate(folder: &Path) {
    const SCRIPT: &str = r#"
import os, socket, stat, sys, random
root = sys.argv[1]
os.chdir(root)
random.seed(5)
def put(name, data, **kw):
    with open(name, "wb") as f:
        f.write(data)
put("empty", b"")
put("short", b"short")
for n in (1, 59, 60, 61, 100, 150, 160, 500, 4095, 4096, 4097, 65536, 1000003):
    put(f"of-{n}", random.randbytes(n))
# Holes: in front, over whole trees of block numbers, at the end.
with open("sparse", "wb") as f:
    f.seek(5 << 20); f.write(b"middle" * 1000)
    f.seek(300 << 20); f.write(b"far")
    f.truncate(400 << 20)
with open("checkered", "wb") as f:
    for n in range(0, 400, 2):
        f.seek(n * 4096 + 100); f.write(bytes([n & 255]) * 3000)
fd = os.open("unwritten", os.O_RDWR | os.O_CREAT)
try:
    os.posix_fallocate(fd, 0, 1 << 20)
    os.pwrite(fd, b"in the middle", 500000)
except OSError: pass
os.close(fd)
put("text", b"".join(b"line %d of a text that compresses\n" % n for n in range(50000)))
os.mkdir("folder"); os.mkdir("folder/deeper"); put("folder/deeper/file", b"deep")
os.mkdir("many")
for n in range(3000):
    put(f"many/name {n} " + "x" * (n % 60), b"%d" % n if n % 100 == 0 else b"")
for n in range(0, 3000, 7): os.unlink(f"many/name {n} " + "x" * (n % 60))
for n in (1, 10, 58, 59, 60, 61, 155, 156, 157, 255, 1023, 1500):
    try: os.symlink("t" * n, f"link-{n}")
    except OSError: pass
os.symlink("folder/../short", "relative"); os.symlink("/etc/passwd", "absolute")
os.link("short", "folder/another name")
for name in (b"newline\nin it", b"\xff\xfe not utf-8", "Größe 日本".encode(), b"-dash", b" space ", b"x" * 255, b"\x1b[31m"):
    put(name, b"named " + name)
os.mkfifo("pipe")
os.mknod("null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
os.mknod("large", 0o600 | stat.S_IFBLK, os.makedev(259, 70000))
s = socket.socket(socket.AF_UNIX); s.bind("socket"); s.close()
put("setuid", b"x"); os.chown("setuid", 12345, 70000); os.chmod("setuid", 0o6755)
os.chmod("folder", 0o1777)
for name, ns in (("before-1970", -1_500_000_000_123456789), ("after-2038", 4_000_000_000_987654321), ("at-1", 1)):
    put(name, b""); os.utime(name, ns=(ns, ns))
put("attributes", b"x")
os.setxattr("attributes", "user.small", b"value")
os.setxattr("attributes", "user.empty", b"")
os.setxattr("attributes", "trusted.one", b"\0\1\2")
os.setxattr("attributes", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
for n in range(20):
    try: os.setxattr("attributes", f"user.number-{n}", bytes([n]) * 30)
    except OSError: break
put("large-attribute", b"x")
for n in (200, 1000, 3000, 20000, 65000):
    try: os.setxattr("large-attribute", "user.large", random.randbytes(n))
    except OSError: break
os.setxattr("folder", "user.on-folder", b"yes")
os.setxattr("relative", "trusted.on-link", b"yes", follow_symlinks=False)
acl = bytes.fromhex("02000000" "01000700ffffffff" "02000600e8030000" "04000500ffffffff" "10000700ffffffff" "20000500ffffffff")
try:
    os.setxattr("setuid", "system.posix_acl_access", acl)
    os.setxattr("folder", "system.posix_acl_default", acl)
except OSError: pass
deep = "."
for n in range(40):
    deep += f"/d{n}"; os.mkdir(deep)
"#;
    run("python3", &["-c", SCRIPT, folder.to_str().expect("a plain name")]);
}

/// Makes a filesystem with one of everything, and compares it.
#[track_caller]
fn judge_populated(filesystem: &str, mebibytes: u64, mkfs: &[&str], mount_options: &str) {
    let folder = temp_dir();
    let image = folder.join("disk.img");
    sparse_file(&image, mebibytes << 20);
    let (program, options) = mkfs.split_first().expect("a program");
    run(program, &[options, &[image.as_str()]].concat());
    {
        let mount = Mount::new(&image, filesystem, &format!("loop{mount_options}"));
        populate(mount.path());
    }
    let mount = Mount::new(&image, filesystem, "loop,ro");
    let nodes = super::compare_with_mount(Path::new(&image), mount.path());
    assert!(nodes > 2600, "{mkfs:?}: {nodes} nodes");
    let files = files_of(Path::new(&image));
    check_places(&image, files.as_ref(), "of-1000003");
    // Several at a time read the same.
    let fresh = files_of(Path::new(&image));
    let expected = contents(files.as_ref());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(contents(fresh.as_ref()) == expected, "{mkfs:?}"));
        }
    });
}

/// The content of a file is where it is said to be.
#[track_caller]
fn check_places(image: &str, files: &dyn Files, name: &str) {
    const UNIT: usize = 512;
    let node = find(files, name).expect("it was put there");
    let content = read_all(files, node);
    let places = files.places(node).expect("asking for places").expect("they are known");
    let disk = DiskFile::open(Path::new(image));
    let mut there = std::collections::BTreeSet::new();
    for place in places.iter() {
        let mut bytes = vec![0; place.len() as usize];
        disk.read_at(place.start(), &mut bytes).expect("reading the image");
        there.extend(bytes.chunks_exact(UNIT).map(<[u8]>::to_vec));
    }
    assert!(content.chunks_exact(UNIT).all(|unit| there.contains(unit)), "{image}: {places:?}");
}

#[test]
fn ext_disks_read_as_mounted() {
    let few = ["ext2-revision-0", "ext4-inline-data", "ext4-large-dir", "ext4-dirty-orphan"];
    judge_disks("ext", "ext4", &few, EXT_REFUSED);
}

/// The disks whose files are not read, and a part of the reason.
const EXT_REFUSED: &[(&str, &str)] = &[
    ("ext4-cut-short", "the size of the volume"),
    ("ext4-dirty-damaged-log", "the checksum of its t"),
    ("ext4-dirty-external-journal", "is on another device"),
    ("ext4-dirty-fast-commit", "fast commits may wait"),
    ("ext4-tiny-dirty-fast-commit", "fast commits may wait"),
    ("ext4-external-journal-device", "journal of a filesystem on another device"),
    ("ext4-unknown-incompat", "unknown feature"),
];

#[test]
fn kept_ext_disks_read_as_mounted() {
    judge_committed("ext", "ext4", &["ext4-tiny-dirty-fast-commit"]);
}

#[test]
fn one_of_everything_in_ext() {
    if !requires(&["root", "loop", "kernel:ext4", "mke2fs", "python3"]) {
        return;
    }
    let ext4 = ["mke2fs", "-q", "-t", "ext4", "-b", "4096"];
    judge_populated("ext4", 64, &ext4, "");
    judge_populated("ext4", 64, &["mke2fs", "-q", "-t", "ext2", "-b", "1024"], "");
    let inline = ["-O", "inline_data,ea_inode,metadata_csum"];
    judge_populated("ext4", 64, &[&ext4[..], &inline].concat(), "");
    if all() {
        judge_populated("ext4", 64, &["mke2fs", "-q", "-t", "ext3", "-b", "2048"], "");
        let bigalloc = ["-O", "bigalloc,^metadata_csum", "-C", "65536"];
        judge_populated("ext4", 600, &[&ext4[..], &bigalloc].concat(), "");
        judge_populated("ext4", 64, &[&ext4[..], &["-I", "128"]].concat(), "");
        judge_populated("ext4", 64, &[&ext4[..], &["-I", "1024", "-O", "ea_inode"]].concat(), "");
    }
}

#[test]
fn xfs_disks_read_as_mounted() {
    let few = ["xfs-v5", "xfs-v4", "xfs-dirty-fresh"];
    judge_disks("xfs", "xfs", &few, XFS_REFUSED);
}

/// The disks whose files are not read, and a part of the reason.
const XFS_REFUSED: &[(&str, &str)] = &[
    ("xfs-dirty-torn", "checksum of its content"),
    ("xfs-cut-short", "bytes of the volume"),
    ("xfs-external-log", "log is on another device"),
    ("xfs-needs-repair", "marked for repair"),
    ("xfs-unknown-incompat", "unknown feature"),
];

#[test]
fn kept_xfs_disks_read_as_mounted() {
    judge_committed("xfs", "xfs", &[]);
}

#[test]
fn one_of_everything_in_xfs() {
    if !requires(&["root", "loop", "kernel:xfs", "mkfs.xfs", "python3"]) {
        return;
    }
    judge_populated("xfs", 320, &["mkfs.xfs", "-q", "-b", "size=1024"], "");
    if all() {
        judge_populated("xfs", 320, &["mkfs.xfs", "-q"], "");
        judge_populated("xfs", 320, &["mkfs.xfs", "-q", "-n", "size=16384", "-i", "size=1024"], "");
        let newest = ["-i", "nrext64=1", "-m", "bigtime=1,rmapbt=1,reflink=1"];
        judge_populated("xfs", 320, &[&["mkfs.xfs", "-q"][..], &newest].concat(), "");
    }
}

#[test]
fn btrfs_disks_read_as_mounted() {
    let few = ["btrfs-tiny", "btrfs-snapshots", "btrfs-compress-lzo", "btrfs-raid10"];
    judge_disks("btrfs", "btrfs", &few, BTRFS_REFUSED);
}

/// The disks whose files are not read, and a part of the reason.
const BTRFS_REFUSED: &[(&str, &str)] =
    &[("btrfs-extent-tree-v2", "uses extent-tree-v2"), ("btrfs-zoned", "uses zoned")];

#[test]
fn kept_btrfs_disks_read_as_mounted() {
    judge_committed("btrfs", "btrfs", &[]);
}

#[test]
fn one_of_everything_in_btrfs() {
    if !requires(&["root", "loop", "kernel:btrfs", "mkfs.btrfs", "python3"]) {
        return;
    }
    judge_populated("btrfs", 200, &["mkfs.btrfs", "-q"], ",compress=zstd");
    if all() {
        judge_populated("btrfs", 200, &["mkfs.btrfs", "-q", "-n", "4096"], "");
        judge_populated(
            "btrfs",
            200,
            &["mkfs.btrfs", "-q", "--csum", "sha256"],
            ",compress-force=zlib",
        );
        judge_populated(
            "btrfs",
            200,
            &["mkfs.btrfs", "-q", "--csum", "xxhash"],
            ",compress-force=lzo",
        );
        judge_populated(
            "btrfs",
            200,
            &["mkfs.btrfs", "-q", "-M", "--csum", "blake2"],
            ",nodatasum",
        );
    }
}

#[test]
fn xfs_version_4_reads_as_another_reader_reads_it() {
    if !requires(&["mkfs.xfs"]) {
        return;
    }
    let folder = temp_dir();
    let (image, list) = (folder.join("disk.img"), folder.join("proto"));
    let mut proto = String::from("boot\n0 0\nd--755 0 0\n");
    for (name, len) in [("empty", 0), ("short", 5), ("long", 1_000_003)] {
        let source = folder.join(name);
        std::fs::write(&source, junk(len, 7)).expect("writing a file");
        proto.push_str(&format!("{name} ---644 1 2 {source}\n"));
    }
    proto.push_str("link l--777 0 0 short\n");
    proto.push_str(&format!("far l--777 0 0 {}\n", "t".repeat(1000)));
    proto.push_str("null c--666 0 0 1 3\npipe p--600 0 0\nmany d--755 0 0\n");
    for number in 0..900 {
        proto.push_str(&format!("name-{number} ---644 0 0 {}\n", folder.join("short")));
    }
    proto.push_str("$\nlittle d-g700 3 4\none ---600 0 0 ");
    proto.push_str(&format!("{}\n$\n$\n", folder.join("short")));
    std::fs::write(&list, proto).expect("writing the list of files");
    sparse_file(&image, 320 << 20);
    for options in [&["-b", "size=4096"][..], &["-b", "size=512", "-n", "size=4096"]] {
        let args = ["-q", "-f", "-m", "crc=0", "-p", &list];
        run("mkfs.xfs", &[&args[..], options, &[image.as_str()]].concat());
        let files = files_of(Path::new(&image));
        let nodes = second_reader::compare(files.as_ref(), Path::new(&image));
        assert_eq!(nodes, Some(910), "{options:?}");
        check_places(&image, files.as_ref(), "long");
    }
}

#[test]
fn encrypted_files_of_ext4_are_listed_and_said_to_be_so() {
    if !requires(&["mke2fs", "debugfs"]) {
        return;
    }
    let (folder, source) = (temp_dir(), temp_dir());
    let image = folder.join("disk.img");
    std::fs::write(source.join("secret"), "cipher").expect("writing a file");
    std::fs::write(source.join("plain"), "text").expect("writing a file");
    std::fs::create_dir(source.join("vault")).expect("making a folder");
    std::fs::write(source.join("vault/name"), "cipher").expect("writing a file");
    sparse_file(&image, 4 << 20);
    let made = ["-q", "-t", "ext4", "-O", "encrypt", "-d", &source.join(""), &image];
    run("mke2fs", &made);
    for path in ["/secret", "/vault", "/vault/name"] {
        let set = format!("set_inode_field {path} flags 0x80800");
        run("debugfs", &["-w", "-R", &set, &image]);
    }
    let files = files_of(Path::new(&image));
    let names: Vec<Vec<u8>> =
        super::list_all(files.as_ref(), files.root()).into_iter().map(|it| it.name).collect();
    assert!(names.contains(&b"secret".to_vec()) && names.contains(&b"vault".to_vec()));
    let secret = find(files.as_ref(), "secret").expect("it is listed");
    let error = files.read_at(secret, 0, &mut [0; 10]).expect_err("it has no key");
    assert!(error.to_string().contains("encrypted (fscrypt)"), "{error}");
    let plain = find(files.as_ref(), "plain").expect("it is listed");
    assert_eq!(read_all(files.as_ref(), plain), b"text");
    // The letters of a name in an encrypted folder are not those of its file.
    let vault = find(files.as_ref(), "vault").expect("it is listed");
    let names = super::list_all(files.as_ref(), vault);
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].name, b"bmFtZQ");
}

/// Takes a number of bytes off the length that uncompressed extents would have
/// if they were unpacked, in every leaf of a btrfs; returns in how many items.
fn misstate_extents(image: &Path, shorter: u64) -> usize {
    const NODE: usize = 16384;
    const FSID: std::ops::Range<usize> = 32..48;
    let mut disk = std::fs::read(image).expect("reading the disk");
    let fsid = disk[0x1_0000 + 32..][..16].to_vec();
    let mut count = 0;
    for start in (0x2_0000..disk.len() - NODE).step_by(4096) {
        let leaf = &mut disk[start..start + NODE];
        let word =
            |leaf: &[u8], at: usize| u32::from_le_bytes(leaf[at..at + 4].try_into().unwrap());
        let is_leaf = leaf[FSID] == fsid && word(leaf, 0) == crc32c::crc32c(&leaf[32..]);
        if !is_leaf || leaf[100] != 0 {
            continue;
        }
        for item in (0..word(leaf, 96) as usize).map(|number| 101 + number * 25) {
            const EXTENT_DATA: u8 = 108;
            let data = 101 + word(leaf, item + 17) as usize;
            let is_plain = leaf[item + 8] == EXTENT_DATA && leaf[data + 16] == 0;
            if !is_plain || leaf[data + 20] != 1 || leaf[data + 21..][..8] == [0; 8] {
                continue;
            }
            let len = u64::from_le_bytes(leaf[data + 8..][..8].try_into().unwrap());
            leaf[data + 8..][..8].copy_from_slice(&(len - shorter).to_le_bytes());
            count += 1;
        }
        let sum = crc32c::crc32c(&leaf[32..]);
        leaf[..4].copy_from_slice(&sum.to_le_bytes());
    }
    std::fs::write(image, disk).expect("writing the disk");
    count
}

#[test]
fn btrfs_extents_of_another_length_than_they_say_read_as_mounted() {
    if !requires(&["root", "loop", "kernel:btrfs", "mkfs.btrfs"]) {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("disk.img");
    sparse_file(&image, 128 << 20);
    run("mkfs.btrfs", &["-q", "-s", "4096", "-n", "16384", &image]);
    {
        let mount = Mount::new(&image, "btrfs", "loop");
        for (name, len) in [("one", 65536), ("other", 300_000)] {
            std::fs::write(mount.path().join(name), junk(len, 3)).expect("writing a file");
        }
    }
    assert!(misstate_extents(Path::new(&image), 4096) >= 2);
    let mount = Mount::new(&image, "btrfs", "loop,ro");
    let nodes = super::compare_with_mount(Path::new(&image), mount.path());
    assert_eq!(nodes, 3);
}

#[test]
fn a_log_of_very_many_extents_is_replayed_in_seconds() {
    use std::os::unix::fs::FileExt as _;
    const EXTENTS: usize = 10_000;
    if !requires(&["root", "loop", "kernel:btrfs", "mkfs.btrfs"]) {
        return;
    }
    let folder = temp_dir();
    let (image, copy) = (folder.join("disk.img"), folder.join("copy.img"));
    // On a smaller one the kernel commits in between.
    sparse_file(&image, 4 << 30);
    run("mkfs.btrfs", &["-q", "-s", "4096", &image]);
    let content = junk(EXTENTS * 4096, 9);
    {
        let mount = Mount::new(&image, "btrfs", "loop,commit=300");
        let file = std::fs::File::create(mount.path().join("file")).expect("making a file");
        file.sync_all().expect("syncing");
        run("sync", &["-f", mount.path().to_str().expect("a plain name")]);
        // Every other sector, so that there are no two extents that make one.
        for number in 0..EXTENTS {
            let block = &content[number * 4096..][..4096];
            file.write_all_at(block, number as u64 * 8192).expect("writing to the file");
            if number % 500 == 499 {
                file.sync_all().expect("syncing");
            }
        }
        run("cp", &["--sparse=always", &image, &copy]);
    }
    let dumped = run("btrfs", &["inspect-internal", "dump-tree", &copy]);
    let leaves = dumped.out();
    let leaves = leaves.lines().filter(|line| line.contains("owner TREE_LOG"));
    let items = leaves.filter_map(|line| line.split_once(" items ")?.1.split(' ').next());
    let logged: usize = items.map(|items| items.parse::<usize>().unwrap_or(0)).sum();
    assert!(logged > 3000, "{logged} items in the log");
    let started = std::time::Instant::now();
    let files = files_of(Path::new(&copy));
    let replayed = started.elapsed();
    println!("{logged} items of a log: {replayed:?}");
    let found = read_all(files.as_ref(), find(files.as_ref(), "file").expect("it is there"));
    let (whole, rest) = found.as_chunks::<8192>();
    assert!(whole.len() + 1 == EXTENTS && rest == &content[content.len() - 4096..]);
    for (found, expected) in whole.iter().zip(content.as_chunks::<4096>().0) {
        assert!(found[..4096] == expected[..] && found[4096..] == [0; 4096]);
    }
    // Of a program that is not optimized, on a machine that is busy.
    assert!(replayed < std::time::Duration::from_secs(30), "{replayed:?}");
}

#[test]
fn folders_of_xfs_in_pieces_are_checked_after_a_replay() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    const BLOCK: usize = 1024;
    const NAME: &[u8] = b"a name of the folder ";
    let needs = ["root", "loop", "kernel:xfs", "mkfs.xfs", "xfs_io", "xfs_db", "xfs_repair"];
    if !requires(&needs) {
        return;
    }
    let folder = temp_dir();
    let (image, copy) = (folder.join("disk.img"), folder.join("copy.img"));
    sparse_file(&image, 320 << 20);
    // Without what each group would keep back in one piece.
    let features = ["-m", "finobt=0,reflink=0,rmapbt=0", "-i", "sparse=0"];
    let sizes = ["-q", "-b", "size=1024", "-n", "size=16384", &image];
    run("mkfs.xfs", &[&features[..], &sizes].concat());
    let mut names: Vec<Vec<u8>> =
        (0..3000).map(|n| [NAME, format!("{n:04}").as_bytes()].concat()).collect();
    let number;
    {
        let mount = Mount::new(&image, "xfs", "loop");
        let at = |name: &str| mount.path().join(name);
        std::fs::create_dir(at("folder")).expect("making a folder");
        std::fs::write(at("file"), "content").expect("writing a file");
        // So would what the kernel keeps back.
        run("xfs_io", &["-x", "-c", "resblks 0", at("folder").to_str().expect("a plain name")]);
        let filler = at("filler").to_str().expect("a plain name").to_owned();
        run("xfs_io", &["-f", "-c", "falloc 0 240m", &filler]);
        // All that is left, and then every other block of some.
        let rest = at("rest").to_str().expect("a plain name").to_owned();
        try_run("dd", &["if=/dev/zero", &format!("of={rest}"), "bs=64k"]);
        run("sync", &["-f", &rest]);
        let holes: Vec<String> =
            (0..2000).map(|number| format!("fpunch {}k 1k", number * 2)).collect();
        let holes: Vec<&str> = holes.iter().flat_map(|hole| ["-c", hole]).collect();
        run("xfs_io", &[&holes[..], &[&filler]].concat());
        for name in &names {
            let name = std::str::from_utf8(name).expect("a plain name");
            std::fs::hard_link(at("file"), at("folder").join(name)).expect("making a name");
        }
        number = std::fs::metadata(at("folder")).expect("asking for a folder").ino();
    }
    let print = [&format!("inode {number}"), "p core.nextents"];
    let printed = run("xfs_db", &["-r", "-c", print[0], "-c", print[1], &image]);
    let pieces = printed.out().trim().split_once(" = ").and_then(|(_, count)| count.parse().ok());
    assert!(pieces.is_some_and(|pieces: u32| pieces > 50), "{}", printed.out());
    {
        let mount = Mount::new(&image, "xfs", "loop");
        let path = mount.path().join("file");
        let file = std::fs::File::open(&path).expect("opening a file");
        file.set_permissions(std::fs::Permissions::from_mode(0o640)).expect("changing a file");
        file.sync_all().expect("syncing");
        run("cp", &["--sparse=always", &image, &copy]);
    }
    assert_eq!(try_run("xfs_repair", &[&copy]).code, 2, "there is nothing to replay");
    let listed = |image: &Path| {
        let files = files_of(image);
        let folder = find(files.as_ref(), "folder").expect("it is there");
        let (mut found, mut damaged) = (Vec::new(), 0);
        let each = &mut |entry: Result<DirectoryEntry, FormatError>| {
            match entry {
                Ok(entry) => found.push(entry.name),
                Err(_) => damaged += 1,
            }
            ControlFlow::Continue(())
        };
        files.list(folder, each).expect("listing a folder");
        found.sort();
        (found, damaged)
    };
    names.sort();
    assert!(listed(Path::new(&copy)) == (names.clone(), 0));
    // A letter of a name in the first piece of each block of names.
    let mut disk = std::fs::read(&copy).expect("reading the disk");
    let mut changed = 0;
    for block in disk.chunks_exact_mut(BLOCK).filter(|block| block.starts_with(b"XDD3")) {
        if let Some(at) = block.windows(NAME.len()).position(|part| part == NAME) {
            block[at] = b'A';
            changed += 1;
        }
    }
    std::fs::write(&copy, disk).expect("writing the disk");
    let (found, damaged) = listed(Path::new(&copy));
    assert!(changed > 3 && damaged >= changed, "{changed} changed, {damaged} damaged");
    assert!(found.iter().all(|name| names.binary_search(name).is_ok()));
}
