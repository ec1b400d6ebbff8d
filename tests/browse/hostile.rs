// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damaged images, full destinations, interruption.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use dacapo::device::Source;
use dacapo::extent::Extent;
use dacapo::image::Reader;
use dacapo::image::format::Entry;
use nix::sys::signal::Signal;

use crate::support::{
    Mount, Ran, dacapo, dacapo_command, junk, requires, run, sparse_file, temp_dir, wait,
};

use super::scene::{NEEDS, Scene};

/// Ten files of 1 MiB and more, that lie one behind the other.
fn ten(root: &Path) {
    for n in 0..10 {
        fs::write(root.join(format!("file{n}")), junk(3 << 20, n)).unwrap();
    }
    run("sync", &["-f", root.to_str().unwrap()]);
}

#[test]
fn of_a_damaged_image_only_the_files_in_it_are_lost() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new(ten);
    let image = scene.image("disk.img.zst");
    // In the middle of the junk, which is most of the image.
    let len = fs::metadata(&image).unwrap().len();
    let file = fs::File::options().read(true).write(true).open(&image).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, len / 2).unwrap();
    file.write_all_at(&[byte[0] ^ 1], len / 2).unwrap();
    dacapo(&["verify", &image]).exits(4);
    let out = temp_dir();
    let to = out.join("x");
    let ran = dacapo(&["extract", &image, "2:/", &to]).exits(3);
    let (_device, mount) = scene.root("ro");
    let mut lost = 0;
    for n in 0..10 {
        let name = format!("file{n}");
        match fs::read(out.join(&format!("x/{name}"))) {
            Ok(bytes) => assert_eq!(bytes, fs::read(mount.path().join(&name)).unwrap(), "{name}"),
            Err(_) => {
                lost += 1;
                let told = ran.err().lines().any(|line| {
                    line.contains(&format!("2:/{name}: ")) && line.contains("damaged at 0x")
                });
                assert!(told, "{name}\n{ran}");
            }
        }
    }
    // A chunk of 1 MiB has parts of two of them at most.
    assert!((1..=2).contains(&lost), "{lost} lost\n{ran}");
    let ran = dacapo(&["extract", &image, "2:/", &out.join("y"), "--json"]).exits(3);
    assert_eq!(ran.messages("error").len(), lost, "{ran}");
    assert!(ran.messages("error")[0]["path"].as_str().unwrap().starts_with("2:/file"), "{ran}");
    let names = fs::read_dir(out.join("x")).unwrap().count();
    // With lost+found.
    assert_eq!(names, 11 - lost, "nothing half done is left");
}

/// The chunk with the start of a partition is damaged, by which all is known of
/// what is on it.
#[test]
fn a_partition_whose_start_is_damaged_is_named() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new(ten);
    let (image, good) = (scene.image("disk.img.zst"), scene.image("good.img.zst"));
    let (start, _) = super::scene::PARTITIONS[1];
    let opened = Reader::open(Source::open(Path::new(&image)).unwrap()).unwrap();
    let holds = |it: &&Entry| it.extent(opened.head()).contains(&Extent::at(start, 512));
    let chunk = opened.entries().iter().find(holds).unwrap();
    let place = chunk.position + u64::from(chunk.description_len + chunk.stored_len / 2);
    let file = fs::File::options().read(true).write(true).open(&image).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 1], place).unwrap();
    dacapo(&["verify", &image]).exits(4);
    let named = |ran: &Ran| {
        let says = |line: &str| line.contains("2:/: what is on it cannot be told: ");
        assert!(ran.err().lines().any(says), "{ran}");
    };
    let ran = dacapo(&["ls", &image]).exits(3);
    named(&ran);
    assert!(ran.out().contains("FAT32") && ran.out().contains("swap"), "{ran}");
    let ran = dacapo(&["ls", &image, "--json"]).exits(3);
    assert_eq!(ran.messages("summary")[0]["losses"], 1, "{ran}");
    assert_eq!(ran.messages("error").len(), 1, "{ran}");
    let ran = dacapo(&["find", &image, "*"]).exits(3);
    named(&ran);
    assert!(ran.out().contains("1:/EFI/Boot Me.txt"), "{ran}");
    for sides in [[&image, &good], [&good, &image], [&image, &image]] {
        let ran = dacapo(&["diff", sides[0], sides[1]]).exits(3);
        named(&ran);
    }
    dacapo(&["ls", &image, "2:/"]).exits(4).says("cannot be told");
    dacapo(&["ls", &image, "1:/EFI"]).success();
}

/// What is encrypted may hold what is looked for.
#[test]
fn a_volume_that_cannot_be_looked_into_is_named() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new(ten);
    let before = scene.image("before.img.zst");
    let disk = fs::File::options().write(true).open(&scene.disk).unwrap();
    let [_, (start, len), (swap, _)] = super::scene::PARTITIONS;
    disk.write_all_at(b"LUKS\xba\xbe\0\x02", start).unwrap();
    let locked = scene.image("locked.img.zst");
    // It was formatted.
    let ran = dacapo(&["diff", &before, &locked, "--json"]).exits(4);
    assert_eq!(ran.messages("difference")[0]["differs_in"][0], "filesystem", "{ran}");
    let copy = scene.image("copy.img.zst");
    for other in [&copy, &scene.disk] {
        dacapo(&["diff", &locked, other]).success();
    }
    disk.write_all_at(b"changed", start + len - 100_000).unwrap();
    // Nobody keeps files there.
    disk.write_all_at(b"changed", swap + 1024 + 16).unwrap();
    let after = scene.image("after.img.zst");
    for other in [&after, &scene.disk] {
        let ran = dacapo(&["diff", &locked, other]).exits(3);
        let wanted = "2:/: its bytes differ; its files cannot be listed because it is LUKS2";
        assert!(ran.err().contains(wanted), "{ran}");
        assert!(ran.out().contains("0 added, 0 removed, 0 changed"), "{ran}");
        assert!(!ran.err().contains("3:/"), "{ran}");
    }
    let ran = dacapo(&["find", &after, "*.txt"]).exits(3).says("2:/: it is LUKS2");
    assert!(ran.out().contains("1:/EFI/Boot Me.txt") && !ran.err().contains("3:/"), "{ran}");
    dacapo(&["find", &after, "1:*.txt"]).success();
    // It is healthy, and said to have no files.
    let ran = dacapo(&["ls", &after]).success();
    assert!(ran.out().contains("no files: it is LUKS2"), "{ran}");
}

#[test]
fn a_full_destination_ends_it_with_8_and_nothing_half_done() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new(ten);
    let image = scene.image("disk.img.zst");
    let small = scene.folder.join("small");
    sparse_file(&small, 16 << 20);
    run("mkfs.ext4", &["-q", &small]);
    let mount = Mount::new(&small, "ext4", "loop");
    let to = mount.path().join("x");
    let ran = dacapo(&["extract", &image, "2:/", to.to_str().unwrap()]).exits(8);
    // One of the files, or a folder behind them that could not be made any more.
    assert!(ran.err().contains("extracting 2:/"), "{ran}");
    for entry in fs::read_dir(&to).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains("partial"), "{name}");
    }
}

#[test]
fn ctrl_c_leaves_nothing_half_done() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new(|root| fs::write(root.join("large"), junk(50 << 20, 1)).unwrap());
    let image = scene.image("disk.img.zst");
    let out = temp_dir();
    let to = out.join("x");
    let mut child = dacapo_command(&["extract", &image, "2:/", &to]).spawn().unwrap();
    let process = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    let send = |signal| nix::sys::signal::kill(process, signal).unwrap();
    let partial = || {
        let names = fs::read_dir(&to).into_iter().flatten().flatten();
        let partial = names.filter(|it| it.file_name().to_string_lossy().contains("partial"));
        partial.filter_map(|it| Some(it.metadata().ok()?.len())).next()
    };
    // As soon as it is at it. It does not go on before it has the signal.
    let start = Instant::now();
    while partial().is_none_or(|len| len == 0) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was seen at work");
        assert!(start.elapsed() < Duration::from_secs(60), "it did not begin");
        std::thread::yield_now();
    }
    send(Signal::SIGSTOP);
    let done = partial().expect("it was ready before it was stopped");
    assert!(done < 40 << 20, "{done} bytes: next to nothing is left to be interrupted");
    send(Signal::SIGINT);
    send(Signal::SIGCONT);
    let code = wait(&mut child, Duration::from_secs(20)).unwrap();
    assert_eq!(code, 130);
    assert_eq!(
        fs::read_dir(&to).unwrap().filter(|it| it.as_ref().unwrap().path().is_file()).count(),
        0
    );
    for entry in fs::read_dir(&to).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains("partial"), "{name}");
    }
}

#[test]
fn of_a_damaged_filesystem_all_else_is_extracted() {
    if !requires(NEEDS) || !requires(&["debugfs"]) {
        return;
    }
    let scene = Scene::new(|root| {
        for folder in ["bad", "good", "good/deeper"] {
            fs::create_dir(root.join(folder)).unwrap();
            fs::write(root.join(folder).join("file"), folder).unwrap();
        }
        fs::write(root.join("endless"), "x").unwrap();
    });
    let (start, _) = super::scene::PARTITIONS[1];
    let part = format!("{}?offset={start}", scene.disk);
    // Longer than any system counts.
    run("debugfs", &["-w", "-R", "sif /endless size 0x9000000000000000", &part]);
    let ran = run("debugfs", &["-R", "blocks /bad", &part]);
    let block: u64 = ran.out().split_whitespace().next().unwrap().parse().unwrap();
    let ran = run("debugfs", &["-R", "stats", &part]);
    let size = ran.out().lines().find_map(|line| line.strip_prefix("Block size:")).unwrap();
    let size: u64 = size.trim().parse().unwrap();
    let disk = fs::File::options().write(true).open(&scene.disk).unwrap();
    disk.write_all_at(&junk(size as usize, 5), start + block * size).unwrap();
    let image = scene.image("image");
    let out = temp_dir();
    let ran = dacapo(&["extract", &image, "2:/", &out.join("x")]).exits(3);
    assert!(ran.err().contains("2:/bad: ") && ran.err().contains("2:/endless: "), "{ran}");
    for folder in ["good", "good/deeper"] {
        assert_eq!(fs::read_to_string(out.join(&format!("x/{folder}/file"))).unwrap(), folder);
    }
    for args in [["ls", &image, "2:/", "-R"].as_slice(), &["find", &image, "file"]] {
        let ran = dacapo(args).exits(3).says("2:/bad: ");
        assert!(ran.out().contains("good/deeper/file"), "{ran}");
    }
    // The same damage on both sides is no difference, and nothing is known of it.
    let copy = scene.image("copy");
    dacapo(&["diff", &image, &copy]).success();
}
