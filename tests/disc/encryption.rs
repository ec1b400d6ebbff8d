// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a drive that fails is asked to know whether films are encrypted.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use dacapo::disc::read::{self, Options};
use dacapo::disc::{Contents, Drive};
use dacapo::error::{Error, Result};
use dacapo::extent::{Extent, ExtentSet};
use dacapo::io::ReadAt;
use dacapo::pipeline::Cancel;
use dacapo::progress::Silent;

use super::scene::{NEEDS, SECTOR, Scene};
use crate::support::{junk, requires, run};

/// A drive in which the first reads of bad sectors fail.
struct Failing {
    data: Vec<u8>,
    bad: ExtentSet,
    /// How many of these reads fail.
    fails: u32,
    tried: AtomicU32,
}

impl Failing {
    fn new(data: &[u8], bad: &[u64], fails: u32) -> Self {
        let bad = bad.iter().map(|sector| Extent::at(sector * SECTOR, SECTOR)).collect();
        Self { data: data.to_vec(), bad, fails, tried: AtomicU32::new(0) }
    }
}

impl ReadAt for Failing {
    fn len(&self) -> u64 {
        self.data.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let is_bad = self.bad.touches(Extent::at(offset, buf.len() as u64));
        if is_bad && self.tried.fetch_add(1, Ordering::Relaxed) < self.fails {
            let cause = std::io::Error::from_raw_os_error(libc::EIO);
            return Err(Error::io("reading", cause));
        }
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.data[start..start + buf.len()]);
        Ok(())
    }
}

impl Drive for Failing {
    fn path(&self) -> &Path {
        Path::new("/dev/sr9")
    }
}

/// The size of a film, and of no other file.
const FILM: usize = 3 * 6144;
const FILMS: usize = 200;

/// A Blu-ray disc with encrypted films.
fn blu_ray(scene: &Scene) -> Vec<u8> {
    let (tree, image) = (scene.at("film"), scene.at("film.iso"));
    for folder in ["AACS", "BDMV/STREAM"] {
        fs::create_dir_all(format!("{tree}/{folder}")).unwrap();
    }
    fs::write(format!("{tree}/AACS/Unit_Key_RO.inf"), junk(2000, 1)).unwrap();
    for number in 0..FILMS {
        let path = format!("{tree}/BDMV/STREAM/{number:05}.m2ts");
        fs::write(path, junk(FILM, number as u64)).unwrap();
    }
    let _ = run("genisoimage", &["-quiet", "-udf", "-V", "FILM", "-o", &image, &tree]);
    fs::read(image).unwrap()
}

/// The sectors with what UDF has of a file of such a size (ECMA-167, 4/14.9).
fn entries(disc: &[u8], size: usize) -> Vec<u64> {
    let is_it =
        |sector: &[u8]| sector[..2] == [5, 1] && sector[56..64] == (size as u64).to_le_bytes();
    let sectors = disc.chunks(SECTOR as usize).zip(0..);
    sectors.filter(|(sector, _)| is_it(sector)).map(|(_, number)| number).collect()
}

#[test]
fn a_drive_that_fails_is_asked_for_little_to_know_the_protection() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = blu_ray(&scene);
    let films = entries(&disc, FILM);
    assert_eq!(films.len(), FILMS);
    let drive = Failing::new(&disc, &films, u32::MAX);
    assert_eq!(Contents::of(&drive).protection.as_deref(), Some("AACS"));
    let tried = drive.tried.load(Ordering::Relaxed);
    assert!((1..=4).contains(&tried), "{tried}");
}

#[test]
fn encrypted_films_are_told_if_the_drive_failed_at_first() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = blu_ray(&scene);
    // It is looked for under each name that it may have.
    let drive = Failing::new(&disc, &entries(&disc, 2000), 3);
    let contents = Contents::of(&drive);
    assert_eq!((contents.protection.as_deref(), drive.tried.load(Ordering::Relaxed)), (None, 3));
    let (path, options) = (scene.at("copy.iso"), Options::default());
    let path = Path::new(&path);
    let done = read::run(&drive, &contents, path, &options, &Cancel::default(), &Silent).unwrap();
    assert!(fs::read(path).unwrap() == disc);
    assert_eq!(done.record.protection.as_deref(), Some("AACS"));
    assert!(done.check().is_err());
}
