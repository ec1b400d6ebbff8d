// SPDX-License-Identifier: MIT OR Apache-2.0
//! Discs that say of themselves what no disc can be.

use super::*;

/// Changes the number at a place, in the byte order of PCs.
fn patch(disc: &mut [u8], sector: usize, offset: usize, number: u32) {
    let at = sector * 2048 + offset;
    disc[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

#[test]
fn what_claims_terabytes_is_read_as_far_as_the_disc_goes() {
    // The size of the volume, and the place of a folder in the path table.
    for (sector, offset, is_volume) in [(16, 80, true), (18, 2, false)] {
        let out = Out::new();
        let mut data = iso(400, "HUGE");
        patch(&mut data, sector, offset, u32::MAX);
        let done = read(&MadeUp::new(data.clone()), &out.at("h.iso"), &Options::default()).unwrap();
        done.check().unwrap();
        assert_eq!(std::fs::read(out.at("h.iso")).unwrap(), data);
        let sizes = done.record.sizes;
        assert!(sizes.impossible().is_some_and(|end| end > 7 << 40), "{sizes:?}");
        // Without the size of the volume the path table is all that is known.
        assert_eq!(sizes.filesystems(), if is_volume { 20 } else { 400 } * SECTOR);
        // Of a file, too, and it is told when it is verified without its record.
        let file = drive::open(&out.at("h.iso")).unwrap();
        let contents = Contents::of(&*file);
        assert_eq!(contents.len(), 400 * SECTOR);
        std::fs::remove_file(path_of(&out.at("h.iso"))).unwrap();
        let checked = verify::run(&out.at("h.iso"), &Cancel::default(), &Silent).unwrap();
        assert_eq!(checked.state, verify::State::Damaged);
        assert!(checked.problems[0].contains("more than any disc holds"), "{checked:?}");
    }
}

#[test]
fn what_a_disc_can_hold_is_believed_although_the_drive_stops_short() {
    let out = Out::new();
    let mut data = iso(400, "SHORT");
    patch(&mut data, 16, 80, 20_000);
    let mut drive = MadeUp::new(data);
    drive.medium = "CD-ROM";
    let done = read(&drive, &out.at("s.iso"), &Options::default()).unwrap();
    assert_eq!(done.check().unwrap_err().kind(), ErrorKind::Losses);
    assert_eq!(done.record.unreadable, [Sectors { first: 400, count: 19_600 }]);
}

#[test]
fn a_table_of_contents_beyond_any_cd_is_damaged() {
    let out = Out::new();
    let mut drive = mixed();
    drive.toc.lead_out = u32::MAX;
    drive.toc.sessions[0].lead_out = u32::MAX;
    let error = read_raw(&drive, &out.at("m.bin")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(std::fs::read_dir(out.folder.path()).unwrap().count(), 0);
}
