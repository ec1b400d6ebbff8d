// SPDX-License-Identifier: MIT OR Apache-2.0
//! What nobody can read of raw discs, and what is a loss.

use super::*;

/// First sectors and counts.
type Ranges = Vec<(u64, u64)>;

fn unreadable(drive: &MadeUp) -> (Ranges, Ranges) {
    let out = Out::new();
    let record = read_raw(drive, &out.at("m.bin")).unwrap().record;
    let pairs = |all: &[Sectors]| all.iter().map(|it| (it.first, it.count)).collect();
    (pairs(&record.unreadable), pairs(&record.run_out))
}

#[test]
fn only_what_ends_a_track_with_data_is_run_out() {
    // The filesystem has 990 sectors, the track 1000.
    assert_eq!(unreadable(&mixed().bad(992, 8)), (vec![], vec![(992, 8)]));
    // Something can be read behind it.
    assert_eq!(unreadable(&mixed().bad(992, 7)), (vec![(992, 7)], vec![]));
    assert_eq!(unreadable(&mixed().bad(992, 2).bad(998, 2)), (vec![(992, 2)], vec![(998, 2)]));
    // What is of the filesystem.
    assert_eq!(unreadable(&mixed().bad(985, 15)), (vec![(985, 5)], vec![(990, 10)]));
    // Sound has no run-out, neither at the end of the disc nor in front of data.
    assert_eq!(unreadable(&mixed().bad(2990, 10)), (vec![(2990, 10)], vec![]));
    let mut drive = mixed();
    drive.toc.tracks[2].control = 4;
    assert_eq!(unreadable(&drive.bad(1990, 10)), (vec![(1990, 10)], vec![]));
    // A filesystem that cannot be read may reach to the end.
    assert_eq!(unreadable(&mixed().bad(16, 1).bad(998, 2)), (vec![(16, 1), (998, 2)], vec![]));
}

#[test]
fn a_sector_that_was_wrong_from_the_start_hides_no_other() {
    let out = Out::new();
    let path = out.at("m.bin");
    let mut drive = mixed();
    (drive.shaky, drive.is_never_right) = (Some(998), true);
    drive.bad.insert(Extent::at(999 * SECTOR, SECTOR));
    let done = read_raw(&drive, &path).unwrap();
    done.check().unwrap();
    assert_eq!(done.record.run_out, [Sectors { first: 998, count: 2 }]);
    let state = || {
        let checked = verify::run(&path, &Cancel::default(), &Silent).unwrap();
        (checked.state, checked.damaged_sectors)
    };
    assert_eq!(state(), (verify::State::Good, vec![]));
    // Nor does one that was lost.
    let path = out.at("n.bin");
    let mut drive = mixed();
    (drive.shaky, drive.is_never_right) = (Some(500), true);
    let done = read_raw(&drive, &path).unwrap();
    assert_eq!(done.record.unreadable, [Sectors { first: 500, count: 1 }]);
    let state = || {
        let checked = verify::run(&path, &Cancel::default(), &Silent).unwrap();
        (checked.state, checked.damaged_sectors)
    };
    assert_eq!(state(), (verify::State::Incomplete, vec![]));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[7 * RAW_SECTOR + 500] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(state(), (verify::State::Damaged, vec![7]));
}

#[test]
fn a_song_in_front_of_the_first_track_is_kept() {
    let out = Out::new();
    let mut drive = MadeUp::new(iso(3000, "X"));
    let track = |number, start| Track { number, session: 1, start, control: 0 };
    drive.toc = Toc::of_tracks(vec![track(1, 1000), track(2, 2000)], 3000, None).unwrap();
    read_raw(&drive, &out.at("s.bin")).unwrap().check().unwrap();
    let bytes = std::fs::read(out.at("s.bin")).unwrap();
    let tone = |at: usize| (1 + at % RAW_SECTOR + at / RAW_SECTOR) as u8;
    assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == tone(at)));
    // A bad sector in it is a loss.
    let done = read_raw(&drive.bad(500, 1), &out.at("t.bin")).unwrap();
    assert_eq!(done.record.unreadable, [Sectors { first: 500, count: 1 }]);
}
