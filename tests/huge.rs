// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems whose numbers do not fit into 32 bits: blocks beyond 2^32, and
//! byte positions far beyond. Sparse, so that they fit into memory; only their
//! maps are made, since an image of so much free space is large.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Loop, Mount, Ran, dacapo, requires, run, sparse_file, temp_dir, try_run};
use crate::variants::{Ranges, read_mapfile};

const TIB: u64 = 1 << 40;
const BLOCK: u64 = 4096;

/// The used ranges of an ext4 with 4 KiB blocks by dumpe2fs.
fn used_by_dumpe2fs(image: &str, length: u64) -> Ranges {
    let ran = try_run("dumpe2fs", &[image]);
    let mut free = Vec::new();
    let lines = ran.out().lines();
    for list in lines.filter_map(|line| line.strip_prefix("  Free blocks: ")) {
        for range in list.split(", ").filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u64>().expect("a block number");
            free.push((number(first) * BLOCK, (number(last) + 1 - number(first)) * BLOCK));
        }
    }
    assert!(free.len() > 1000, "dumpe2fs prints no map\n{}", short(&ran));
    Ranges::new(free).holes(length)
}

fn short(ran: &Ran) -> String {
    format!("{}: exit code {}\n{}", ran.command, ran.code, ran.err())
}

#[track_caller]
fn map_of(image: &str, length: u64) -> Ranges {
    let (used, end) = read_mapfile(dacapo(&["map", image]).success().out());
    assert_eq!(end, length);
    used
}

#[track_caller]
fn assert_holds(used: &Ranges, oracle: &Ranges, what: &str) {
    let missing = oracle.without(used);
    assert!(missing.0.is_empty(), "{what}: not stored: {}", missing.sample());
    assert!(
        used.bytes() <= oracle.bytes() + oracle.bytes() / 100,
        "{what}: {} bytes are stored, the oracle calls only {} used",
        used.bytes(),
        oracle.bytes()
    );
}

#[test]
fn ext4_beyond_16_tib_clean_and_dirty() {
    if !requires(&["root", "loop", "kernel:ext4", "mke2fs", "dumpe2fs", "e2fsck"]) {
        return;
    }
    // No ordinary filesystem holds a file of this length; memory does.
    let memory = Mount::new("huge", "tmpfs", "size=3g");
    let path = |name: &str| memory.path().join(name).to_str().unwrap().to_owned();
    let (image, crashed, replayed) = (path("disk.raw"), path("crashed.raw"), path("replayed.raw"));
    let length = 17 * TIB + TIB / 2;
    sparse_file(&image, length);
    let features = "has_journal,extent,64bit,flex_bg,metadata_csum,sparse_super2,^resize_inode";
    run(
        "mke2fs",
        &[
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-O",
            features,
            "-J",
            "size=16",
            "-E",
            "nodiscard,lazy_itable_init=1",
            &image,
        ],
    );
    fill_far_away(&image, "first", || {});
    let clean = used_by_dumpe2fs(&image, length);
    assert_holds(&map_of(&image, length), &clean, "clean");

    fill_far_away(&image, "second", || {
        run("cp", &["--sparse=always", &image, &crashed]);
    });
    run("cp", &["--sparse=always", &crashed, &replayed]);
    mounted(&replayed, |_, _| {});
    let after = used_by_dumpe2fs(&replayed, length);
    let new = after.without(&clean);
    let below = Ranges::new(vec![(0, 16 * TIB)]);
    let beyond = new.without(&below).bytes();
    assert!(beyond >= 60 * 40_000, "{beyond} new bytes beyond 16 TiB: {}", new.sample());
    let crashed_used = map_of(&crashed, length);
    let missing = after.without(&crashed_used);
    assert!(missing.0.is_empty(), "dirty: not stored: {}", missing.sample());
    assert!(crashed_used.bytes() < after.bytes() * 2, "dirty: stored whole, or nearly so");
}

/// Writes folders and files beyond 16 TiB, and calls `then` when they are on
/// disk, before the filesystem is unmounted.
fn fill_far_away(image: &str, name: &str, then: impl FnOnce()) {
    let head = run("dumpe2fs", &["-h", image]);
    let per_group: u64 = head
        .out()
        .lines()
        .find_map(|line| line.strip_prefix("Inodes per group:"))
        .map(|text| text.trim().parse().unwrap())
        .expect("dumpe2fs tells the inodes per group");
    mounted(image, |folder, device| {
        // Where the kernel puts the next inode, and its data with it; for tests.
        let goal = format!("/sys/fs/ext4/{device}/inode_goal");
        for number in 0..60 {
            let group = 132_000 + number * 150;
            fs::write(&goal, (group * per_group + 20).to_string()).unwrap();
            let mut file = File::create(folder.join(format!("{name}-{number}"))).unwrap();
            file.write_all(&[7; 40_000]).unwrap();
            file.sync_all().unwrap();
        }
        then();
    });
}

/// Mounts an ext4, and returns when the kernel has let go of it. That can be
/// after umount: a sandbox that was made meanwhile holds a copy of the mount.
fn mounted(image: &str, work: impl FnOnce(&Path, &str)) {
    let device = Loop::new(image, &[]);
    let name = device.device().trim_start_matches("/dev/").to_owned();
    let mount = Mount::new(device.device(), "ext4", "noinit_itable,commit=300");
    work(mount.path(), &name);
    drop(mount);
    let begun = Instant::now();
    while Path::new("/sys/fs/ext4").join(&name).exists() {
        assert!(begun.elapsed() < Duration::from_secs(600), "{name} stays mounted somewhere");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn fat32_of_2_tib() {
    if !requires(&["mkfs.fat", "fsck.fat"]) {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("disk.raw");
    let length = 2 * TIB - (1 << 20);
    sparse_file(&image, length);
    run("mkfs.fat", &["-F", "32", "-s", "128", &image]);
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut boot = [0; 512];
    file.read_exact_at(&mut boot, 0).unwrap();
    let field = |at: usize| u64::from(u32::from_le_bytes(boot[at..at + 4].try_into().unwrap()));
    let reserved = u64::from(u16::from_le_bytes([boot[14], boot[15]]));
    let fat_bytes = field(36) * 512;
    let data = reserved * 512 + 2 * fat_bytes;
    let clusters = (field(32) * 512 - data) / 65536;
    assert!(clusters > 33_000_000, "only {clusters} clusters");

    // One used cluster at each power of two and at the very end.
    let mut wanted = vec![(0, data)];
    let marked: Vec<u64> =
        (2..25).map(|power| 1 << power).chain([clusters, clusters + 1]).collect();
    for &cluster in &marked {
        for copy in 0..2 {
            let at = reserved * 512 + copy * fat_bytes + cluster * 4;
            file.write_all_at(&0x0fff_ffff_u32.to_le_bytes(), at).unwrap();
        }
        wanted.push((data + (cluster - 2) * 65536, 65536));
    }
    drop(file);
    // Its root folder is cluster 2.
    wanted.push((data, 65536));
    let end = data + clusters * 65536;
    wanted.push((end, length - end));
    let used = map_of(&image, length);
    assert_eq!(used, Ranges::new(wanted));
}
