// SPDX-License-Identifier: MIT OR Apache-2.0
//! Discs that are gone on with: only the same one, and nothing is lost by it.

use super::*;

const RESUME: Options = Options {
    about: About { title: None, note: None, serial: None },
    retries: 0,
    resume: true,
    others: Vec::new(),
    way_on: "",
};

/// A disc of no filesystem that is known.
fn strange(sectors: u64, seed: u8) -> Vec<u8> {
    (0..sectors * SECTOR).map(|n| (n % 251) as u8 ^ seed).collect()
}

#[test]
fn another_disc_is_not_mixed_with_one_that_was_begun() {
    let out = Out::new();
    let path = out.at("a.iso");
    // Neither has anything that names it.
    let done = read(&MadeUp::new(strange(3000, 0)).bad(100, 1), &path, &Options::default());
    assert!(done.unwrap().check().is_err());
    let before = std::fs::read(&path).unwrap();
    let error = read(&MadeUp::new(strange(3000, 9)), &path, &RESUME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("differs"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // Nothing can be compared.
    let error = read(&MadeUp::new(strange(3000, 0)).bad(0, 2999), &path, &RESUME).unwrap_err();
    assert!(error.to_string().contains("nothing tells"), "{error}");
    read(&MadeUp::new(strange(3000, 0)), &path, &RESUME).unwrap().check().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), strange(3000, 0));
}

#[test]
fn equal_descriptors_do_not_make_two_discs_one() {
    let out = Out::new();
    let (one, two) = (out.at("one.iso"), out.at("two.iso"));
    let (wanted, mut other) = (iso(3000, "SAME"), iso(3000, "SAME"));
    other[1000 * 2048..].iter_mut().for_each(|byte| *byte ^= 1);
    read(&MadeUp::new(wanted.clone()).bad(100, 1), &one, &Options::default()).unwrap();
    let error = read(&MadeUp::new(other.clone()), &one, &RESUME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    // Neither does it fill gaps, and what was read is kept.
    let image = out.at("other.iso");
    std::fs::write(&image, &other).unwrap();
    let options = Options { others: vec![image.clone()], ..Options::default() };
    let drive = MadeUp::new(wanted.clone()).bad(2000, 1);
    let error = read(&drive, &two, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("is not the same disc"), "{error}");
    assert!(out.at("two.iso.partial").exists() && out.at("two.map").exists());
    std::fs::write(&image, &wanted).unwrap();
    let options = Options { others: vec![image], ..RESUME };
    read(&drive, &two, &options).unwrap().check().unwrap();
    assert_eq!(std::fs::read(&two).unwrap(), wanted);
}

#[test]
fn zeros_do_not_stand_for_what_was_cut_off() {
    let out = Out::new();
    let path = out.at("a.iso");
    let wanted = iso(3000, "CUT");
    read(&MadeUp::new(wanted.clone()).bad(100, 1), &path, &Options::default()).unwrap();
    // Copied to a drive that had no room for all of it, with all of its map.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(2000 * SECTOR).unwrap();
    let error = read(&MadeUp::new(wanted), &path, &RESUME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("it was cut off"), "{error}");
    assert_eq!(path.metadata().unwrap().len(), 2000 * SECTOR);
}

#[test]
fn what_the_user_has_said_stays() {
    let out = Out::new();
    let (path, json) = (out.at("a.iso"), out.at("a.json"));
    let said = |text: &str| Some(text.to_owned());
    let about = About { title: said("Synth"), note: said("attic"), serial: said("12-34") };
    let drive = MadeUp::new(iso(3000, "SAID")).bad(100, 1).bad(500, 1);
    let other = out.at("other.iso");
    let copy = MadeUp::new(iso(3000, "SAID")).bad(100, 1);
    read(&copy, &other, &Options::default()).unwrap();
    let options = Options { about, others: vec![other.clone()], ..Options::default() };
    let done = read(&drive, &path, &options).unwrap();
    assert_eq!(done.record.unreadable, [Sectors { first: 100, count: 1 }]);
    // A record that is not understood is not replaced.
    let record = std::fs::read(&json).unwrap();
    for bad in [&record[..record.len() / 2], b"{}", b""] {
        std::fs::write(&json, bad).unwrap();
        let error = read(&MadeUp::new(iso(3000, "SAID")), &path, &RESUME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(std::fs::read(&json).unwrap(), bad);
        assert!(path.exists());
    }
    std::fs::write(&json, &record).unwrap();
    let about = About { note: said("cellar"), ..About::default() };
    let done = read(&MadeUp::new(iso(3000, "SAID")), &path, &Options { about, ..RESUME }).unwrap();
    done.check().unwrap();
    let found = Record::read(&json).unwrap().unwrap();
    assert_eq!(found, done.record);
    assert_eq!(
        (found.title.as_deref(), found.note.as_deref(), found.serial.as_deref()),
        (Some("Synth"), Some("cellar"), Some("12-34"))
    );
    assert_eq!(found.merged_from, [other.display().to_string()]);
}

#[test]
fn an_archived_disc_keeps_its_name_and_length_if_it_cannot_be_gone_on_with() {
    let out = Out::new();
    let path = out.at("a.iso");
    let mut data = iso(400, "LONG");
    data.extend(strange(50, 7));
    read(&MadeUp::new(data.clone()).bad(100, 1), &path, &Options::default()).unwrap();
    let held = std::fs::File::open(&path).unwrap();
    held.lock().unwrap();
    let error = read(&MadeUp::new(data.clone()), &path, &RESUME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(path.exists() && !out.at("a.iso.partial").exists());
    drop(held);
    // A drive that says that the disc is shorter takes nothing away.
    read(&MadeUp::new(iso(400, "LONG")), &path, &RESUME).unwrap().check().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), data);
}

#[test]
fn a_bad_sector_among_the_descriptors_does_not_hide_the_length() {
    let out = Out::new();
    let path = out.at("a.iso");
    let drive = MadeUp::new(iso(800, "CUT")[..500 * 2048].to_vec()).bad(17, 1);
    let done = read(&drive, &path, &Options::default()).unwrap();
    let unreadable = [Sectors { first: 17, count: 1 }, Sectors { first: 500, count: 300 }];
    assert_eq!(done.record.unreadable, unreadable);
    assert_eq!(done.record.volume.label.as_deref(), Some("CUT"));
    // A better one fills it.
    read(&MadeUp::new(iso(800, "CUT")), &path, &RESUME).unwrap().check().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), iso(800, "CUT"));
    // Without any that can be read, no end is run-out.
    let drive = MadeUp::new(iso(400, "NONE")).bad(16, 1).bad(390, 10);
    let done = read(&drive, &out.at("b.iso"), &Options::default()).unwrap();
    let unreadable = [Sectors { first: 16, count: 1 }, Sectors { first: 390, count: 10 }];
    assert_eq!(done.record.unreadable, unreadable);
}

#[test]
fn a_disc_is_as_long_as_its_last_track() {
    let out = Out::new();
    let mut drive = MadeUp::new(iso(400, "TRACK"));
    drive.toc = Toc::of_tracks(drive.toc.tracks, 700, None).unwrap();
    let done = read(&drive, &out.at("a.iso"), &Options::default()).unwrap();
    assert_eq!(done.record.unreadable, [Sectors { first: 400, count: 300 }]);
    // Of a DVD the drive makes it up.
    drive.medium = "DVD-ROM";
    drive.copyright = Some(0);
    read(&drive, &out.at("b.iso"), &Options::default()).unwrap().check().unwrap();
}

#[test]
fn of_a_folder_only_what_is_of_the_disc_and_not_complete_is_gone_on_with() {
    let out = Out::new();
    let folder = out.folder.path();
    let disc = || MadeUp::new(iso(3000, "SAME"));
    let contents = Contents::of(&disc());
    let begun = |drive: &MadeUp| {
        read::begun_in(folder, drive, &contents, false, &Cancel::default()).unwrap()
    };
    let free = || read::free_path(folder, &contents, "iso");
    assert_eq!((begun(&disc()), free()), (Vec::new(), out.at("SAME.iso")));
    // One that is complete, one of another disc by that name, and one that is not
    // complete.
    let options = Options::default();
    let _ = read(&disc(), &free(), &options).unwrap();
    assert_eq!((begun(&disc()), free()), (Vec::new(), out.at("SAME-2.iso")));
    let mut other = iso(3000, "SAME");
    other[40 * 2048..].iter_mut().for_each(|byte| *byte ^= 1);
    let _ = read(&MadeUp::new(other).bad(100, 1), &free(), &options).unwrap();
    assert_eq!((begun(&disc()), free()), (Vec::new(), out.at("SAME-3.iso")));
    let _ = read(&disc().bad(100, 1), &free(), &options).unwrap();
    assert_eq!((begun(&disc()), free()), (vec![out.at("SAME-3.iso")], out.at("SAME-4.iso")));
    // What is beside a disc takes its name, too, also of a raw one.
    std::fs::write(out.at("SAME-4.cue"), "").unwrap();
    assert_eq!(free(), out.at("SAME-5.iso"));
}

#[test]
fn a_blank_disc_has_nothing_to_be_read() {
    let blank = Contents { is_in_drive: true, ..Contents::default() };
    let error = blank.check_plain().unwrap_err();
    assert!(error.to_string().contains("nothing is on the disc"), "{error}");
}
