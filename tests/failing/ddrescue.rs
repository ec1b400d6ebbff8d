// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same faults for this program and for GNU ddrescue (`--test-mode`): both
//! must bring home the same, and hurt the drive by the same reads.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dacapo::error::{Error, Result};
use dacapo::extent::{Extent, ExtentSet};
use dacapo::io::rescue::{Drive, End, Mapfile, Passes, Settings, State, Status};
use dacapo::io::{Memory, ReadAt};

use crate::support::{TempDir, junk, requires, temp_dir, try_run};

const LEN: u64 = 24 << 20;

/// A drive in memory that counts what fails.
struct Faulty {
    memory: Memory,
    failed: Mutex<Vec<Extent>>,
    began: Instant,
}

impl Faulty {
    fn new(content: &[u8], bad: &ExtentSet) -> Self {
        let memory = Memory::new(content.to_vec());
        Self {
            memory: bad.iter().fold(memory, Memory::unreadable),
            failed: Mutex::default(),
            began: Instant::now(),
        }
    }

    fn failed(&self) -> Vec<Extent> {
        self.failed.lock().unwrap().clone()
    }
}

impl ReadAt for Faulty {
    fn len(&self) -> u64 {
        self.memory.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.memory.read_at(offset, buf).inspect_err(|_| {
            self.failed.lock().unwrap().push(Extent::at(offset, buf.len() as u64));
        })
    }
}

struct Bench<'a>(&'a Faulty);

impl Drive for Bench<'_> {
    fn reader(&self) -> &dyn ReadAt {
        self.0
    }

    fn reopen(&mut self) -> Result<bool> {
        panic!("the drive was there all the time");
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    fn pause(&self, _: Duration) {}
}

/// Numbers that are the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % below
    }
}

/// Faults of all sizes: single sectors, scratches, a dead head.
fn faults(seed: u64) -> ExtentSet {
    let mut dice = Dice(seed);
    let mut bad = ExtentSet::new();
    for _ in 0..dice.roll(20) {
        let most = [1, 1, 3, 200, 4000][dice.roll(5) as usize];
        let sectors = 1 + dice.roll(most);
        bad.insert(Extent::at(dice.roll(LEN / 512) * 512, sectors * 512));
    }
    if seed.is_multiple_of(3) {
        // Every so often along a scratch.
        let start = dice.roll(LEN / 1024) * 512;
        let step = (1 + dice.roll(300)) * 512;
        for n in 0..60 {
            bad.insert(Extent::at(start + n * step, 512));
        }
    }
    // The drive that ddrescue plays ends with the last good sector of the map.
    bad.intersect(&ExtentSet::all(LEN - 65536))
}

/// A map of which `good` is finished.
fn write_map(path: &str, good: &ExtentSet) {
    let mut text = "0x0 + 1\n".to_owned();
    let all = good.iter().map(|extent| (extent, '+'));
    let rest = good.complement(LEN);
    let mut blocks: Vec<(Extent, char)> = all.chain(rest.iter().map(|it| (it, '-'))).collect();
    blocks.sort_unstable();
    for (extent, status) in blocks {
        let _ = writeln!(text, "{} {} {status}", extent.start(), extent.len());
    }
    fs::write(path, text).unwrap();
}

pub(super) fn read_map(path: impl AsRef<Path>) -> Mapfile {
    Mapfile::read(fs::read(path).unwrap().as_slice()).unwrap()
}

pub(super) fn finished(map: &Mapfile) -> ExtentSet {
    let blocks = map.blocks.iter().filter(|block| block.status == Status::Finished);
    blocks.map(|block| block.extent).collect()
}

struct Scene {
    folder: TempDir,
    content: Vec<u8>,
    bad: ExtentSet,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let scene =
            Self { folder: temp_dir(), content: junk(LEN as usize, seed), bad: faults(seed) };
        fs::write(scene.folder.join("drive"), &scene.content).unwrap();
        write_map(&scene.folder.join("faults"), &scene.bad.complement(LEN));
        scene
    }

    /// Runs ddrescue, and gives back its map and the reads that failed.
    fn ddrescue(&self, options: &[&str]) -> (Mapfile, Vec<Extent>) {
        let path = |name: &str| self.folder.join(name);
        let (faults, log) = (path("faults"), path("log"));
        let mut args = vec!["-q", "-H", &faults, "--log-reads", &log];
        let (drive, raw, map) = (path("drive"), path("raw"), path("map"));
        args.extend(options.iter().copied().chain([drive.as_str(), &raw, &map]));
        let _ = try_run("ddrescue", &args).success();
        let log = fs::read_to_string(log).unwrap();
        let mut failed = Vec::new();
        for line in log.lines().filter(|line| line.starts_with("0x")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words[3] != "0" {
                let start = u64::from_str_radix(words[0].trim_start_matches("0x"), 16).unwrap();
                failed.push(Extent::at(start, words[1].parse().unwrap()));
            }
        }
        (read_map(map), failed)
    }

    fn drive(&self) -> Faulty {
        Faulty::new(&self.content, &self.bad)
    }

    /// Rescues `drive` to `store`; stops after so many reads.
    fn rescue(&self, drive: &Faulty, store: &Memory, state: &mut State, mut reads: u64) -> bool {
        let mut listener = |_: &State| {
            reads = reads.saturating_sub(1);
            if reads == 0 { Err(Error::interrupted()) } else { Ok(()) }
        };
        let mut bench = Bench(drive);
        let settings = Settings::new(LEN, 512);
        let result = Passes::new(&mut bench, store, settings, state, &mut listener).run();
        match result {
            Ok(end) => {
                assert_eq!(end, End::Finished);
                true
            }
            Err(_) => false,
        }
    }

    #[track_caller]
    fn assert_content(&self, raw: &[u8], good: &ExtentSet) {
        for extent in good.iter() {
            let range = extent.start() as usize..extent.end() as usize;
            assert!(raw[range.clone()] == self.content[range], "{extent}");
        }
    }
}

#[test]
fn the_same_is_brought_home_by_the_same_reads_of_bad_areas() {
    if !requires(&["ddrescue"]) {
        return;
    }
    for seed in 0..24 {
        let scene = Scene::new(seed);
        let (theirs, their_failures) = scene.ddrescue(&[]);
        let (drive, store) = (scene.drive(), Memory::zeros(LEN as usize));
        let mut state = State::new(LEN, None);
        assert!(scene.rescue(&drive, &store, &mut state, u64::MAX));
        let ours = state.mapfile(Vec::new());
        assert_eq!(finished(&ours), finished(&theirs), "seed {seed}");
        assert_eq!(ours.blocks, theirs.blocks, "seed {seed}");
        assert_eq!(finished(&ours), scene.bad.complement(LEN), "seed {seed}");
        scene.assert_content(&store.into_bytes(), &finished(&ours));
        assert!(drive.failed() == their_failures, "seed {seed}: other reads fail");
    }
}

#[test]
fn of_what_is_in_use_the_same_is_brought_home() {
    if !requires(&["ddrescue"]) {
        return;
    }
    for seed in 100..112 {
        let scene = Scene::new(seed);
        let mut dice = Dice(seed);
        let mut used: ExtentSet = (0..40)
            .map(|_| Extent::at(dice.roll(LEN / 4096) * 4096, 4096 * (1 + dice.roll(400))))
            .collect();
        used = used.intersect(&ExtentSet::all(LEN));
        let domain = scene.folder.join("domain");
        write_map(&domain, &used);
        let (theirs, their_failures) = scene.ddrescue(&["-m", &domain]);
        let (drive, store) = (scene.drive(), Memory::zeros(LEN as usize));
        let mut state = State::new(LEN, None);
        state.blocks = state.blocks.with_domain(&used);
        assert!(scene.rescue(&drive, &store, &mut state, u64::MAX));
        let ours = state.mapfile(Vec::new());
        assert_eq!(finished(&ours), finished(&theirs), "seed {seed}");
        assert_eq!(finished(&ours), used.subtract(&scene.bad), "seed {seed}");
        let outside = |failed: &[Extent]| failed.iter().filter(|it| !used.covers(**it)).count();
        assert_eq!(outside(&drive.failed()), 0, "seed {seed}");
        assert!(drive.failed() == their_failures, "seed {seed}: other reads fail");
    }
}

#[test]
fn each_goes_on_with_what_the_other_has_begun() {
    if !requires(&["ddrescue"]) {
        return;
    }
    for seed in [3, 4, 9] {
        let scene = Scene::new(seed);
        let wanted = scene.bad.complement(LEN);
        // Begun here, at different points.
        for stop in [1, 100, 400, 1000] {
            let (drive, store) = (scene.drive(), Memory::zeros(LEN as usize));
            let mut state = State::new(LEN, None);
            let _ = scene.rescue(&drive, &store, &mut state, stop);
            fs::write(scene.folder.join("raw"), store.into_bytes()).unwrap();
            let mut text = Vec::new();
            let comments = vec!["Mapfile. Created by dacapo".into(), "Drive: {}".into()];
            state.mapfile(comments).write(&mut text).unwrap();
            fs::write(scene.folder.join("map"), text).unwrap();
            let (map, _) = scene.ddrescue(&[]);
            assert_eq!(finished(&map), wanted, "seed {seed}, after {stop}");
            scene.assert_content(&fs::read(scene.folder.join("raw")).unwrap(), &wanted);
            for name in ["raw", "map"] {
                fs::remove_file(scene.folder.join(name)).unwrap();
            }
        }
        // Begun there: only copied, or copied and trimmed.
        for options in [&["--no-trim", "--no-scrape"][..], &["--no-scrape"], &["-s", "5000000"]] {
            let (map, _) = scene.ddrescue(options);
            let raw = fs::read(scene.folder.join("raw")).unwrap();
            let mut bytes = vec![0; LEN as usize];
            bytes[..raw.len()].copy_from_slice(&raw);
            let (drive, store) = (scene.drive(), Memory::new(bytes));
            let mut state = State::new(LEN, Some(&map));
            assert!(scene.rescue(&drive, &store, &mut state, u64::MAX));
            assert_eq!(finished(&state.mapfile(Vec::new())), wanted, "seed {seed}, {options:?}");
            scene.assert_content(&store.into_bytes(), &wanted);
            for name in ["raw", "map"] {
                fs::remove_file(scene.folder.join(name)).unwrap();
            }
        }
    }
}
