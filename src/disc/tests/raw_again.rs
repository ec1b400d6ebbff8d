// SPDX-License-Identifier: MIT OR Apache-2.0
//! Raw discs that are gone on with, and that fill each other's gaps.

use super::*;

const RESUME: Options = Options {
    about: About { title: None, note: None, serial: None },
    retries: 0,
    resume: true,
    others: Vec::new(),
    way_on: "",
};

/// What a healthy drive makes of the disc.
fn whole() -> (Vec<u8>, String) {
    let out = Out::new();
    read_raw(&mixed(), &out.at("m.bin")).unwrap().check().unwrap();
    let sheet = std::fs::read_to_string(out.at("m.cue")).unwrap();
    (std::fs::read(out.at("m.bin")).unwrap(), sheet)
}

#[test]
fn only_what_is_missing_of_a_raw_disc_is_read_again() {
    let out = Out::new();
    let path = out.at("m.bin");
    let options = Options {
        about: About { title: Some("Game".into()), ..About::default() },
        ..Options::default()
    };
    // Data, sound, and what nobody can read in front of sound.
    let bad = mixed().bad(500, 2).bad(1500, 3).bad(998, 2);
    let done = read_raw_with(&bad, &path, &options).unwrap();
    let unreadable = [Sectors { first: 500, count: 2 }, Sectors { first: 1500, count: 3 }];
    assert_eq!(done.record.unreadable, unreadable);
    assert!(out.at("m.map").exists());
    let checked = verify::run(&path, &Cancel::default(), &Silent).unwrap();
    assert_eq!((checked.state, checked.missing_sectors), (verify::State::Incomplete, 5));

    assert!(read_raw(&mixed(), &path).is_err(), "nothing is overwritten");
    let better = mixed().bad(1501, 1).bad(998, 2);
    let done = read_raw_with(&better, &path, &RESUME).unwrap();
    assert_eq!(done.record.unreadable, [Sectors { first: 1501, count: 1 }]);
    assert_eq!(done.record.title.as_deref(), Some("Game"));
    // 64 with data and 64 with sound that are compared, and those that are missing,
    // each no more than twice.
    let read = better.raw_sectors.load(Ordering::Relaxed);
    assert!(read <= 2 * 64 + 2 * 7, "{read}");
    // Another drive that reads all of it.
    read_raw_with(&mixed(), &path, &RESUME).unwrap().check().unwrap();
    let (bytes, sheet) = whole();
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(std::fs::read_to_string(out.at("m.cue")).unwrap(), sheet);
    assert!(!out.at("m.map").exists());
    let error = read_raw_with(&mixed(), &path, &RESUME).unwrap_err();
    assert!(error.to_string().contains("is complete"), "{error}");
}

#[test]
fn a_raw_disc_that_was_interrupted_is_gone_on_with() {
    let out = Out::new();
    let path = out.at("i.bin");
    let (drive, cancel) = (mixed(), Cancel::default());
    cancel.cancel();
    let contents = Contents::of(&drive);
    let error = raw::run(&drive, &contents, &path, &Options::default(), &cancel, &Silent);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(out.at("i.bin.partial").exists() && !path.exists());
    read_raw_with(&drive, &path, &RESUME).unwrap().check().unwrap();
    assert!(std::fs::read(&path).unwrap() == whole().0);
    assert!(!out.at("i.bin.partial").exists() && !out.at("i.map").exists());
}

#[test]
fn two_damaged_raw_copies_make_a_whole_one() {
    let out = Out::new();
    let (one, two) = (out.at("one.bin"), out.at("two.bin"));
    read_raw(&mixed().bad(500, 2).bad(1500, 3).bad(998, 2), &one).unwrap();
    let options = Options { others: vec![one.clone()], ..Options::default() };
    let done = read_raw_with(&mixed().bad(700, 9).bad(501, 1).bad(998, 2), &two, &options);
    let done = done.unwrap();
    // The gaps of the other copy are no data, nor is what nobody could read.
    assert_eq!(done.record.unreadable, [Sectors { first: 501, count: 1 }]);
    assert_eq!(done.record.run_out, [Sectors { first: 998, count: 2 }]);
    assert_eq!(done.record.merged_from, [one.display().to_string()]);
    // From files alone, without a drive; what is in them is found.
    let third = out.at("three.bin");
    read_raw(&mixed().bad(2000, 1), &third).unwrap();
    let file = drive::open(&third).unwrap();
    assert_eq!(Contents::of(&*file).volume.label.as_deref(), Some("MIXED"));
    let options = Options { others: vec![two, one], ..Options::default() };
    read_raw_with(&*file, &out.at("four.bin"), &options).unwrap().check().unwrap();
    assert!(std::fs::read(out.at("four.bin")).unwrap() == whole().0);
}

#[test]
fn only_the_same_raw_disc_is_mixed_with_another() {
    let out = Out::new();
    let path = out.at("m.bin");
    read_raw(&mixed().bad(500, 2), &path).unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = |drive: &MadeUp, why: &str| {
        let error = read_raw_with(drive, &path, &RESUME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(std::fs::read(&path).unwrap() == before);
    };
    let mut other = mixed();
    other.toc.tracks[1].start += 1;
    refused(&other, "its tracks differ");
    let mut other = mixed();
    other.data = Memory::new(iso(3000, "OTHER"));
    refused(&other, "was read from another disc: 'MIXED'");
    // All sound comes shifted from a drive of another kind.
    let mut other = mixed();
    other.shift = 1;
    refused(&other, "differs");
    let image = out.at("plain.iso");
    std::fs::write(&image, iso(3000, "MIXED")).unwrap();
    let options = Options { others: vec![image], ..RESUME };
    let error = read_raw_with(&mixed(), &path, &options).unwrap_err();
    assert!(error.to_string().contains("no table of contents"), "{error}");
}

#[test]
fn missing_sound_is_not_mixed_with_what_only_silence_speaks_for() {
    let out = Out::new();
    let sound = |silent: bool, shift: u8| {
        let mut drive = mixed();
        // Data up to four sectors in front of the end.
        let track = |number, start, control| Track { number, session: 1, start, control };
        drive.toc = Toc::of_tracks(vec![track(1, 0, 4), track(2, 2996, 0)], 3000, None).unwrap();
        (drive.is_silent, drive.shift) = (silent, shift);
        drive
    };
    let refused = |path: &Path, drive: MadeUp, why: &str| {
        let before = std::fs::read(path).unwrap();
        let error = read_raw_with(&drive, path, &RESUME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        // Neither does it fill the gaps of another copy.
        let options = Options { others: vec![path.to_owned()], ..Options::default() };
        let error = read_raw_with(&drive.bad(2998, 1), &out.at("other.bin"), &options).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        for name in ["other.bin.partial", "other.map"] {
            std::fs::remove_file(out.at(name)).unwrap();
        }
        assert!(std::fs::read(path).unwrap() == before);
    };
    let loud = out.at("loud.bin");
    read_raw(&sound(false, 0).bad(2997, 1), &loud).unwrap();
    refused(&loud, sound(false, 1), "differs");
    let silent = out.at("silent.bin");
    read_raw(&sound(true, 0).bad(2997, 1), &silent).unwrap();
    refused(&silent, sound(true, 0), "nothing of it but silence");
    // The same drive.
    read_raw_with(&sound(false, 0), &loud, &RESUME).unwrap().check().unwrap();
    // All of it comes from one drive.
    let none = out.at("none.bin");
    read_raw(&sound(true, 0).bad(2996, 4), &none).unwrap();
    read_raw_with(&sound(true, 0), &none, &RESUME).unwrap().check().unwrap();
}
