// SPDX-License-Identifier: MIT OR Apache-2.0

use std::sync::Arc;

use super::image::{
    FILE, Image, LOG, LOG_LEN, file_name, index_root, mapped, protect, put, resident,
};
use crate::extent::ExtentSet;
use crate::fs::Filesystem;
use crate::fs::ntfs::Ntfs;
use crate::fs::ntfs::hibernation::{Sleep, sleep};
use crate::io::Memory;

/// Sets the version and flags of the volume.
fn information(image: &mut Image, major: u8, minor: u8, flags: u16) {
    let [low, high] = flags.to_le_bytes();
    let value = [0, 0, 0, 0, 0, 0, 0, 0, major, minor, low, high];
    image.record(3).attributes[1] = resident(0x70, "", &value, 2);
}

#[track_caller]
fn assert_whole(image: &Image, few_words: &str, why: &str, advice: &str) {
    let used = image.used().unwrap();
    assert_eq!(used.extents, ExtentSet::all(image.bytes.len() as u64));
    let whole = used.whole.unwrap();
    assert!(whole.contains(why), "{whole}");
    assert!(whole.contains("exact and complete"), "{whole}");
    assert!(used.advice.clone().unwrap().contains(advice), "{:?}", used.advice);
    let identity = image.identity();
    assert_eq!((identity.clean, identity.unclean.as_deref()), (false, Some(few_words)));
}

#[test]
fn flags_of_the_volume() {
    for (flags, few_words, why) in [
        (0x0001, "not shut down cleanly", "not unmounted cleanly"),
        (0x8001, "not shut down cleanly", "not unmounted cleanly"),
        (0x4000, "being checked", "flags 0x4000"),
        (0x8000, "being checked", "flags 0x8000"),
        (0x0040, "being checked", "flags 0x0040"),
        (0x0100, "being checked", "flags 0x0100"),
    ] {
        let mut image = Image::new();
        information(&mut image, 3, 1, flags);
        assert_whole(image.write(), few_words, why, "chkdsk");
        let notice = notice(&image).unwrap();
        let what = if flags & 1 == 1 { few_words } else { "being checked or changed" };
        assert!(notice.contains(what) && notice.contains("may be old"), "{notice}");
    }
    for flags in [0x0080, 0x0002, 0x003e] {
        let mut image = Image::new();
        information(&mut image, 3, 1, flags);
        assert_eq!(image.write().used().unwrap().whole, None, "{flags:#x}");
        assert!(image.identity().clean);
        assert_eq!(notice(&image), None);
    }
}

/// What is told to who reads the files.
fn notice(image: &Image) -> Option<String> {
    Ntfs.files(&[Arc::new(Memory::new(image.bytes.clone()))]).unwrap().unwrap().notice()
}

#[test]
fn only_known_versions_have_a_map() {
    for (major, minor) in [(1, 2), (3, 0), (3, 1)] {
        let mut image = Image::new();
        information(&mut image, major, minor, 0);
        assert_eq!(image.write().used().unwrap().whole, None);
    }
    for (major, minor) in [(1, 1), (2, 0), (3, 2), (4, 0), (0, 0)] {
        let mut image = Image::new();
        information(&mut image, major, minor, 0);
        assert!(image.write().used().is_err(), "{major}.{minor}");
        assert!(!image.identity().clean);
    }
}

/// A restart page.
#[derive(Clone, Copy)]
struct Page {
    version: (u16, u16),
    lsn: u64,
    in_use: u16,
    flags: u16,
}

const CLEAN: Page = Page { version: (1, 1), lsn: 10, in_use: 0, flags: 2 };

fn log(image: &mut Image, pages: [Page; 2]) {
    for (index, page) in pages.into_iter().enumerate() {
        let mut bytes = vec![0; 4096];
        put(&mut bytes, 0, b"RSTR");
        put(&mut bytes, 0x10, &4096_u32.to_le_bytes());
        put(&mut bytes, 0x14, &4096_u32.to_le_bytes());
        put(&mut bytes, 0x18, &0x30_u16.to_le_bytes());
        put(&mut bytes, 0x1a, &page.version.1.to_le_bytes());
        put(&mut bytes, 0x1c, &page.version.0.to_le_bytes());
        put(&mut bytes, 0x30, &page.lsn.to_le_bytes());
        put(&mut bytes, 0x38, &1_u16.to_le_bytes());
        put(&mut bytes, 0x3a, &0xffff_u16.to_le_bytes());
        put(&mut bytes, 0x3c, &page.in_use.to_le_bytes());
        put(&mut bytes, 0x3e, &page.flags.to_le_bytes());
        protect(&mut bytes, 0x1e);
        put(&mut image.bytes, LOG as usize * 4096 + index * 4096, &bytes);
    }
}

#[test]
fn logs_that_are_clean() {
    let earlier = Page { lsn: 9, flags: 0, ..CLEAN };
    for pages in [
        [CLEAN, earlier],
        [earlier, CLEAN],
        [CLEAN, CLEAN],
        [CLEAN, Page { version: (2, 0), ..earlier }],
        [Page { in_use: 0xffff, flags: 0, ..CLEAN }, earlier],
        [Page { flags: 3, ..CLEAN }, earlier],
    ] {
        let mut image = Image::new();
        log(&mut image, pages);
        assert_eq!(image.write().used().unwrap().whole, None);
        assert!(image.identity().clean);
        assert_eq!(notice(&image), None);
    }
}

#[test]
fn logs_that_are_not() {
    let later = Page { lsn: 11, ..CLEAN };
    for (page, few_words, why) in [
        (Page { flags: 0, ..later }, "log not clean", "work left"),
        (Page { flags: 1, ..later }, "log not clean", "work left"),
        (Page { version: (2, 0), ..later }, "not shut down cleanly", "Fast Startup"),
        (Page { version: (2, 1), ..later }, "not shut down cleanly", "Fast Startup"),
        (Page { version: (1, 0), ..later }, "log not clean", "work left"),
        (Page { version: (3, 0), ..later }, "log not clean", "work left"),
        (Page { flags: 6, ..later }, "log not clean", "work left"),
        (Page { in_use: 1, ..later }, "log not clean", "work left"),
    ] {
        for pages in [[page, CLEAN], [CLEAN, page]] {
            let mut image = Image::new();
            log(&mut image, pages);
            assert_whole(image.write(), few_words, why, "Shift held");
        }
    }
}

#[test]
fn logs_that_are_damaged_are_not_clean() {
    let start = LOG as usize * 4096;
    // The sign, a torn sector, the page size, the place of the area, the clients.
    for (at, value) in [
        (0, &b"CHKD"[..]),
        (4096, b"CHKD"),
        (0x1fe, &[1, 2]),
        (4096 + 0x3fe, &[1, 2]),
        (0x10, &[0, 0, 1, 0, 0, 0]),
        (0x10, &[0; 4]),
        (0x18, &[0, 0xff]),
        (0x38, &[2]),
    ] {
        let mut image = Image::new();
        log(&mut image, [CLEAN, CLEAN]);
        put(&mut image.write().bytes, start + at, value);
        assert_whole(&image, "log not clean", "work left", "Shift held");
    }
    // An empty log is empty to its end. Whoever only asks who it is, is not
    // told of the very end.
    let mut image = Image::new();
    let end = (LOG + LOG_LEN) as usize * 4096;
    image.write().bytes[end - 1] = 0;
    assert_whole(&image, "log not clean", "work left", "Shift held");
}

/// The header of a Windows 10 or 11.
fn header(signature: &[u8], len: u32, at: usize, hiberboot: u8) -> Vec<u8> {
    let mut header = vec![0; 4096];
    put(&mut header, 0, signature);
    put(&mut header, 0x0c, &len.to_le_bytes());
    put(&mut header, 0x18, &4096_u32.to_le_bytes());
    header[at] = hiberboot;
    header
}

#[test]
fn what_a_hibernation_header_means() {
    for (header, wanted) in [
        (vec![0; 4096], None),
        (Vec::new(), None),
        (b"hibr".to_vec(), Some(Sleep::Hibernated)),
        (b"HIBR".to_vec(), Some(Sleep::Either)),
        (header(b"HIBR", 0x3c8, 0x354, 1), Some(Sleep::FastStartup)),
        (header(b"HIBR", 0x3c8, 0x354, 0), Some(Sleep::Hibernated)),
        (header(b"HIBR", 0x3d8, 0x364, 1), Some(Sleep::FastStartup)),
        (header(b"HIBR", 0x3e0, 0x364, 1), Some(Sleep::FastStartup)),
        (header(b"HIBR", 0x3e0, 0x364, 0), Some(Sleep::Hibernated)),
        (header(b"HIBR", 0x448, 0x3cc, 1), Some(Sleep::FastStartup)),
        (header(b"HIBR", 0x448, 0x3cc, 2), Some(Sleep::Either)),
        (header(b"HIBR", 0x500, 0x364, 1), Some(Sleep::Either)),
        (header(b"wake", 0, 0, b'w'), Some(Sleep::Resuming)),
        (header(b"WAKE", 0, 0, b'W'), Some(Sleep::Resuming)),
        (header(b"RSTR", 0, 0, b'R'), Some(Sleep::Resuming)),
        (header(b"junk", 0, 0, b'j'), Some(Sleep::Unknown)),
        (header(&[0; 4], 0, 4000, 1), Some(Sleep::Unknown)),
    ] {
        assert_eq!(sleep(&header), wanted, "{:?}", header.get(..4));
    }
}

/// A file of this name with this header at cluster 40.
fn asleep(name: &str, in_index: bool, header: &[u8]) -> Image {
    let mut image = Image::new();
    let entries: &[(u64, &str)] = if in_index { &[(9, "$AttrDef"), (FILE, name)] } else { &[] };
    image.record(5).attributes = vec![resident(0x90, "$I30", &index_root(entries), 1)];
    image.record(FILE).attributes = vec![
        resident(0x30, "", &file_name(5, name), 1),
        mapped(0x80, "", 0, &[(Some(40), 4)], 16384, 2),
    ];
    image.record(9);
    put(&mut image.bytes, 40 * 4096, header);
    image.write();
    image
}

#[test]
fn a_windows_asleep_is_found_and_said() {
    let header = header(b"HIBR", 0x3e0, 0x364, 1);
    for name in ["hiberfil.sys", "HIBERFIL.SYS", "Hiberfil.sys"] {
        let image = asleep(name, true, &header);
        let used = image.used().unwrap();
        assert_eq!(
            used.whole.as_deref(),
            Some("Windows is hibernated (Fast Startup): the image is exact and complete")
        );
        assert_eq!(used.advice.as_deref(), Some("to make it smaller, shut down with Shift held"));
        assert_eq!(image.identity().unclean.as_deref(), Some("hibernated"));
        // The folder may be damaged; the records show it as well.
        let used = asleep(name, false, &header).used().unwrap();
        assert!(used.whole.unwrap().contains("(Fast Startup)"));
    }
    assert_whole(
        &asleep("hiberfil.sys", true, b"hibr"),
        "hibernated",
        "is hibernated:",
        "Shift held",
    );
    assert_whole(&asleep("hiberfil.sys", true, b"wake"), "hibernated", "begun to resume", "Shift");
    assert_whole(&asleep("hiberfil.sys", true, b"????"), "perhaps hibernated", "unknown", "Shift");
}

#[test]
fn a_windows_awake_has_a_map() {
    assert_eq!(asleep("hiberfil.sys", true, &[0]).used().unwrap().whole, None);
    assert_eq!(asleep("hiberfil.sy", true, b"hibr").used().unwrap().whole, None);
    // In another folder it is a file like any other.
    let mut image = asleep("hiberfil.sys", false, b"hibr");
    image.record(FILE).attributes[0] = resident(0x30, "", &file_name(21, "hiberfil.sys"), 1);
    assert_eq!(image.write().used().unwrap().whole, None);
}

#[test]
fn a_hibernation_file_that_was_never_written_to_reads_as_zeros() {
    let mut image = asleep("hiberfil.sys", true, b"hibr");
    let mut data = mapped(0x80, "", 0, &[(Some(40), 4)], 16384, 2);
    put(&mut data, 0x38, &[0; 8]);
    image.record(FILE).attributes[1] = data;
    assert_eq!(image.write().used().unwrap().whole, None);
}

#[test]
fn the_index_of_a_large_root_folder_is_read_too() {
    let mut image = Image::new();
    // The header of a block, then the index header, then the entries.
    let mut block = vec![0; 4096];
    put(&mut block, 0, b"INDX");
    let value = index_root(&[(FILE, "hiberfil.sys")]);
    put(&mut block, 0x18, &0x28_u32.to_le_bytes());
    put(&mut block, 0x20, &(4096_u32 - 0x18).to_le_bytes());
    put(&mut block, 0x40, &value[0x20..]);
    protect(&mut block, 0x28);
    put(&mut image.bytes, 60 * 4096, &block);
    image.marked.push((60, 1));
    image.record(5).attributes = vec![
        resident(0x90, "$I30", &index_root(&[]), 1),
        mapped(0xa0, "$I30", 0, &[(Some(60), 1)], 4096, 2),
    ];
    // The file's own name is not looked for then.
    put(&mut image.bytes, 40 * 4096, b"hibr");
    assert_whole(image.write(), "hibernated", "is hibernated:", "Shift held");
}

#[test]
fn names_left_over_from_files_that_are_gone_are_no_windows() {
    // The record is another file's now, was never written, or is not there.
    for (number, change) in [(FILE, 0), (FILE, 1), (25, 2), (1000, 3)] {
        let mut image = asleep("file", false, b"hibr");
        let entries = [(number, "hiberfil.sys")];
        image.record(5).attributes = vec![resident(0x90, "$I30", &index_root(&entries), 1)];
        match change {
            0 => image.record(FILE).sequence = 2,
            1 => image.record(FILE).flags = 0,
            _ => {}
        }
        assert_eq!(image.write().used().unwrap().whole, None, "{number}");
        assert!(image.identity().clean);
        assert_eq!(notice(&image), None);
    }
}
