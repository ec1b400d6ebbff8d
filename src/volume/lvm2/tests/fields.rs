// SPDX-License-Identifier: MIT OR Apache-2.0
//! One test for each field of the label, the header and the metadata areas.

use super::*;

fn sound() -> Vec<u8> {
    volume(0, &text(1, &linear("root", &[(0, 0, 4)])))
}

/// The error after a change that the checksums do not give away.
fn after(offset: u64, field: &[u8]) -> String {
    let mut bytes = sound();
    put(&mut bytes, offset, field);
    seal(&mut bytes);
    map_error(bytes)
}

#[test]
fn a_sound_volume_has_its_identity() {
    let identity = Lvm2.probe(&[&Memory::new(sound())]).unwrap().unwrap();
    assert_eq!(identity.name, "LVM2 physical volume");
    assert_eq!(identity.uuid.as_deref(), Some(id(0).as_str()));
    assert_eq!((identity.size, identity.clean), (LEN, true));
    for other in [vec![0; LEN as usize], Vec::new(), vec![0; 700]] {
        assert_eq!(Lvm2.probe(&[&Memory::new(other)]).unwrap(), None);
    }
    assert_eq!(Lvm2.probe(&[]).unwrap(), None);
}

#[test]
fn the_label_is_found_in_each_of_four_sectors() {
    for sector in 0..4_usize {
        let mut bytes = sound();
        let label = bytes[512..1024].to_vec();
        bytes[..2048].fill(0);
        put(&mut bytes, sector as u64 * 512, &label);
        put(&mut bytes, sector as u64 * 512 + 8, &(sector as u64).to_le_bytes());
        assert!(matches!(Lvm2.map(&[&Memory::new(bytes.clone())]), Ok(Answer::Map(_))));
        // Not where it says to be.
        put(&mut bytes, sector as u64 * 512 + 8, &9_u64.to_le_bytes());
        assert!(map_error(bytes).contains("sector_xl of the label"));
    }
    let mut bytes = sound();
    let label = bytes[512..1024].to_vec();
    put(&mut bytes, 1536, &label);
    assert!(map_error(bytes).contains("more than one LVM2 label"));
}

#[test]
fn every_field_of_the_label_and_header_is_checked() {
    for (offset, field, expected) in [
        (536, &b"LVM2 002"[..], "an LVM label of the unknown type LVM2 002"),
        (532, &[31, 0, 0, 0], "LVM2 label at byte 0x200"),
        (532, &[0xff; 4], "LVM2 label at byte 0x200"),
        (532, &[0xf0, 1, 0, 0], "LVM2 label at byte 0x200"),
        (544, b"?", "pv_uuid"),
        (576, &(LEN + 1).to_le_bytes(), "and only 2097152 are there"),
        (584, &0_u64.to_le_bytes(), "0 data areas"),
        (592, &512_u64.to_le_bytes(), "1 data areas"),
        (584, &(START + 512).to_le_bytes(), "pe_start"),
        (608, &1_u64.to_le_bytes(), "LVM2 label at byte 0x200"),
        (616, &u64::MAX.to_le_bytes(), "area of the LVM2 header"),
        (616, &LEN.to_le_bytes(), "area of the LVM2 header"),
        (624, &0_u64.to_le_bytes(), "area of the LVM2 header"),
        (648, &3_u32.to_le_bytes(), "version 3 of the extension"),
        (652, &2_u32.to_le_bytes(), "the flags 0x2 in the extension"),
        (652, &0_u32.to_le_bytes(), "says that the volume is in no group"),
    ] {
        let error = after(offset, field);
        assert!(error.contains(expected), "{offset} {field:?}: {error}");
    }
    // Each byte behind the checksum counts.
    for offset in [532, 544, 584, 1023] {
        let mut bytes = sound();
        bytes[offset] ^= 1;
        assert!(map_error(bytes).contains("checksum of the label"));
    }
}

#[test]
fn old_headers_have_no_extension() {
    let mut bytes = sound();
    put(&mut bytes, 648, &[0; 8]);
    seal(&mut bytes);
    assert!(matches!(Lvm2.map(&[&Memory::new(bytes)]), Ok(Answer::Map(_))));
}

#[test]
fn areas_for_boot_loaders_are_stored_and_lie_outside_of_the_extents() {
    let with = |start: u64, len: u64| {
        let mut bytes = sound();
        put(&mut bytes, 656, &start.to_le_bytes());
        put(&mut bytes, 664, &len.to_le_bytes());
        seal(&mut bytes);
        bytes
    };
    let bytes = with(2048, 2048);
    assert!(matches!(Lvm2.map(&[&Memory::new(bytes)]), Ok(Answer::Map(_))));
    assert!(map_error(with(START, 512)).contains("outside of the extents"));
    assert!(map_error(with(8192, 512)).contains("bytes of its own"));
    assert!(map_error(with(LEN, 512)).contains("area of the LVM2 header"));
}

#[test]
fn every_field_of_a_metadata_area_is_checked() {
    for (offset, field, expected) in [
        (4096 + 4, &b"X"[..], "magic of mda_header"),
        (4096 + 20, &[2], "version 2 of an LVM2 metadata area"),
        (4096 + 24, &[1], "place of mda_header"),
        (4096 + 32, &[1], "place of mda_header"),
        (4096 + 40, &511_u64.to_le_bytes(), "raw_locn"),
        (4096 + 40, &(START - 4096).to_le_bytes(), "raw_locn"),
        (4096 + 48, &0_u64.to_le_bytes(), "raw_locn"),
        (4096 + 48, &(START - 4096).to_le_bytes(), "raw_locn"),
        (4096 + 48, &u64::MAX.to_le_bytes(), "raw_locn"),
        (4096 + 56, &[0xaa; 4], "checksum of the LVM2 metadata"),
        (4096 + 60, &[2], "the flags 0x2 of an LVM2 metadata area"),
        (4096 + 64, &[1], "a change of the LVM2 group was interrupted"),
        (4096 + 512, b"x", "checksum of the LVM2 metadata"),
    ] {
        let error = if expected.starts_with("magic") {
            // The checksum is made right only where the magic is.
            let mut bytes = sound();
            put(&mut bytes, offset, field);
            let sum = checksum_of(&bytes[4100..4608]);
            put(&mut bytes, 4096, &sum.to_le_bytes());
            map_error(bytes)
        } else {
            after(offset, field)
        };
        assert!(error.contains(expected), "{offset} {field:?}: {error}");
    }
    for offset in [4096 + 24, 4096 + 56, 4096 + 500] {
        let mut bytes = sound();
        bytes[offset] ^= 1;
        assert!(map_error(bytes).contains("checksum of mda_header"));
    }
}

#[test]
fn the_text_is_a_ring() {
    let text = text(1, &linear("root", &[(0, 0, 4)]));
    let area = START - 4096;
    for offset in [512, 2048, area - 1, area - 100, area - text.len() as u64] {
        let mut bytes = bare(0, &[(4096, area)]);
        put_area(&mut bytes, 4096, area, offset, &text);
        let disk = Memory::new(bytes);
        let readers: [&dyn ReadAt; 1] = [&disk];
        let Ok(Answer::Map(map)) = Lvm2.map(&readers) else { panic!("at {offset}") };
        assert_eq!(map.inside.len(), 1);
        assert_eq!(map.title, "LVM2 group vg0");
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    for start in [0, 4096, 4608] {
        let disk = Memory::new(sound()).unreadable(Extent::at(start, 512));
        assert!(matches!(Lvm2.map(&[&disk]), Err(FormatError::Io(_))), "{start}");
    }
}

#[test]
fn a_volume_shorter_than_its_extents_has_no_map() {
    let mut bytes = sound();
    put(&mut bytes, 576, &SECOND.to_le_bytes());
    seal(&mut bytes);
    bytes.truncate(SECOND as usize);
    assert!(matches!(Lvm2.map(&[&Memory::new(bytes.clone())]), Ok(Answer::Map(_))));
    put(&mut bytes, 576, &0_u64.to_le_bytes());
    seal(&mut bytes);
    bytes.truncate(SECOND as usize - 512);
    assert!(map_error(bytes).contains("the extents of the group end at byte"));
}
