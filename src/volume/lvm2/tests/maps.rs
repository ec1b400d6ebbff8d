// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the layout makes of physical volumes.

use super::*;
use crate::layout::{self, Region, scan_with};

/// The only region of a disk without a table, and its map.
fn region(disks: &[&Memory]) -> (Region, ExtentSet) {
    let others: Vec<&dyn ReadAt> = disks[1..].iter().map(|disk| *disk as &dyn ReadAt).collect();
    let mut scan = scan_with(disks[0], &others).unwrap();
    assert_eq!(scan.layout.regions.len(), 1);
    (scan.layout.regions.remove(0), scan.used)
}

#[test]
fn extents_of_no_volume_are_free() {
    let logical = linear("root", &[(0, 2, 3), (0, 20, 1)]) + &linear("home", &[(0, 5, 2)]);
    let (region, used) = region(&[&Memory::new(volume(0, &text(1, &logical)))]);
    let wanted: ExtentSet = [extent(2, 5), extent(20, 1)].into_iter().collect();
    assert_eq!(used, wanted.union(&own()));
    assert_eq!((region.whole, region.used), (None, used.bytes()));
    assert_eq!(
        region.notes,
        ["LVM2 group vg0: 0 of 2 logical volumes by their used maps, 1.50 MiB in no volume"]
    );
    assert_eq!(region.volumes.len(), 2);
    assert_eq!((region.volumes[0].name.as_str(), region.volumes[0].size), ("vg0/root", 4 * EXTENT));
    assert_eq!(region.volumes[0].whole.as_deref(), Some("no known filesystem was found"));
}

#[test]
fn a_group_without_volumes_is_all_free() {
    let (region, used) = region(&[&Memory::new(volume(0, &text(1, "")))]);
    assert_eq!(used, own());
    assert_eq!(region.notes, ["LVM2 group vg0: no logical volumes, 1.88 MiB in no volume"]);
}

#[test]
fn a_filesystem_on_a_volume_in_pieces_is_brought_back() {
    let logical = linear("swap", &[(0, 9, 1), (0, 3, 1), (0, 4, 1)]);
    let mut bytes = volume(0, &text(1, &logical));
    // 40 pages: the third extent starts with page 32, half of it is behind the end.
    put_swap(&mut bytes, extent(9, 1).start(), 40);
    let (region, used) = region(&[&Memory::new(bytes)]);
    let tail = Extent::new(extent(4, 1).start() + 8 * 4096, extent(4, 1).end());
    let wanted: ExtentSet = [Extent::at(extent(9, 1).start(), 4096), tail].into_iter().collect();
    assert_eq!(used, wanted.union(&own()));
    let inner = &region.volumes[0];
    assert_eq!((inner.content(), inner.size, inner.used), ("swap", 3 * EXTENT, 4096 + 8 * 4096));
    assert_eq!(inner.whole, None);
    assert!(region.notes[0].contains("1 of 1 logical volumes by their used maps"));
}

/// A swap space striped over two volumes in stripes of 4 KiB, then in a row on
/// the second.
fn striped() -> [Vec<u8>; 2] {
    let segments = "segment1 { start_extent = 0 extent_count = 2 type = \"striped\" \
                    stripe_count = 2 stripe_size = 8 stripes = [\"pv1\", 7, \"pv0\", 5] }\n\
                    segment2 { start_extent = 2 extent_count = 1 type = \"striped\" \
                    stripe_count = 1 stripes = [\"pv1\", 1] }";
    let text = text(2, &logical("swap", segments, 2));
    let [mut first, mut second] = [volume(0, &text), volume(1, &text)];
    // The page of the header is the first stripe, on the second volume.
    put_swap(&mut second, extent(7, 1).start(), 33);
    put(&mut first, extent(5, 1).start(), b"SWAPSPACE2");
    [first, second]
}

#[test]
fn a_striped_volume_is_read_through_both_disks() {
    let [first, second] = striped().map(Memory::new);
    let (here, used) = region(&[&first, &second]);
    assert_eq!(used, own(), "{here:?}");
    assert_eq!((here.volumes[0].size, here.volumes[0].used), (EXTENT, 0));
    assert_eq!(here.volumes[0].notes, ["another 128 KiB of it are on other physical volumes"]);
    let (_, used) = region(&[&second, &first]);
    let tail = Extent::new(extent(1, 1).start() + 4096, extent(1, 1).end());
    let wanted: ExtentSet = [Extent::at(extent(7, 1).start(), 4096), tail].into_iter().collect();
    assert_eq!(used, wanted.union(&own()));
}

#[test]
fn a_striped_volume_is_whole_on_one_disk_alone() {
    let [first, second] = striped().map(Memory::new);
    let (here, used) = region(&[&first]);
    assert_eq!(used, own().union(&extent(5, 1).into()));
    assert!(here.volumes[0].advice.as_ref().unwrap().contains("--with"));
    let (_, used) = region(&[&second]);
    let wanted: ExtentSet = [extent(7, 1), extent(1, 1)].into_iter().collect();
    assert_eq!(used, own().union(&wanted));
}

#[test]
fn stripes_that_do_not_fit_are_not_read() {
    let [first, second] = striped().map(|bytes| {
        // 48 KiB: no power of two.
        let text = String::from_utf8_lossy(&bytes[4608..8192]).into_owned();
        let text = text.trim_end_matches('\0').replace("stripe_size = 8 ", "stripe_size = 96 ");
        let mut bytes = bytes;
        put_area(&mut bytes, 4096, START - 4096, 512, &text);
        Memory::new(bytes)
    });
    let (here, used) = region(&[&first, &second]);
    assert_eq!(used, own().union(&extent(5, 1).into()));
    assert!(here.volumes[0].whole.as_ref().unwrap().contains("stripes"));
}

/// A disk with an MBR and one partition with swap space, in 8 extents.
fn virtual_disk(bytes: &mut [u8], start: u64) {
    put(bytes, start, &[0; 512]);
    put(bytes, start + 510, &[0x55, 0xaa]);
    put(bytes, start + 440, &[1, 2, 3, 4]);
    put(bytes, start + 446, &[0, 0, 2, 0, 0x82, 0, 0xff, 0]);
    put(bytes, start + 454, &(EXTENT as u32 / 512).to_le_bytes());
    put(bytes, start + 458, &(5 * EXTENT as u32 / 512).to_le_bytes());
    put_swap(bytes, start + EXTENT, 5 * 16);
}

#[test]
fn the_disk_of_a_virtual_machine_is_read_by_its_table() {
    let mut bytes = volume(0, &text(1, &linear("vm", &[(0, 4, 8)])));
    virtual_disk(&mut bytes, extent(4, 1).start());
    let (region, used) = region(&[&Memory::new(bytes)]);
    let wanted: ExtentSet =
        [extent(4, 1), Extent::at(extent(5, 1).start(), 4096), extent(10, 2)].into_iter().collect();
    assert_eq!(used, own().union(&wanted));
    let inner = &region.volumes[0];
    assert_eq!((inner.name.as_str(), &inner.whole), ("vg0/vm", &None));
    assert_eq!(inner.notes, ["a disk of its own, with a partition table (MBR)"]);
    assert_eq!(inner.volumes.len(), 1);
    assert_eq!((inner.volumes[0].name.as_str(), inner.volumes[0].used), ("partition 1", 4096));
    assert_eq!(inner.volumes[0].content(), "swap");
}

#[test]
fn a_group_on_a_logical_volume_of_another_is_read_too() {
    // 28 extents of 64 KiB hold what is left of a volume cut to fit.
    let mut within = volume(4, &text(5, &linear("swap", &[(4, 1, 2)])));
    put_swap(&mut within, extent(1, 1).start(), 32);
    let inner_text = text(5, &linear("swap", &[(4, 1, 2)]))
        .replace(&format!("pe_count = {COUNT}"), "pe_count = 25");
    put_area(&mut within, 4096, START - 4096, 512, &inner_text);
    put(&mut within, 576, &(28 * EXTENT).to_le_bytes());
    seal(&mut within);
    within.truncate(28 * EXTENT as usize);
    let mut bytes = volume(0, &text(1, &linear("disk", &[(0, 1, 28)])));
    put(&mut bytes, extent(1, 1).start(), &within);
    let (region, used) = region(&[&Memory::new(bytes)]);
    let at = |offset| extent(1, 1).start() + offset;
    let wanted: ExtentSet = [
        Extent::new(at(0), at(START)),
        Extent::at(at(START + EXTENT), 4096),
        Extent::new(at(START + 25 * EXTENT), at(28 * EXTENT)),
    ]
    .into_iter()
    .collect();
    assert_eq!(used, own().union(&wanted));
    let inner = &region.volumes[0];
    assert_eq!(inner.content(), "LVM2 physical volume");
    assert_eq!(inner.volumes[0].name, "vg0/swap");
}

#[test]
fn an_array_or_another_signature_wins() {
    let logical = linear("root", &[(0, 2, 3)]);
    let mut bytes = volume(0, &text(1, &logical));
    put(&mut bytes, LEN - 0x2000, b"\xfc\x4e\x2b\xa9\x01\0\0\0");
    let (found, used) = region(&[&Memory::new(bytes)]);
    assert_eq!(used, ExtentSet::all(LEN));
    assert!(found.whole.unwrap().contains("Linux RAID member 1.0"));
    let mut bytes = volume(0, &text(1, &logical));
    put_swap(&mut bytes, 0, 16);
    // The label is in the second sector, so both are there.
    let sound = volume(0, &text(1, &logical));
    put(&mut bytes, 512, &sound[512..1024]);
    let (found, used) = region(&[&Memory::new(bytes)]);
    assert_eq!(used, ExtentSet::all(LEN));
    let wanted = "the volume has the signatures of both LVM2 physical volume and swap";
    assert_eq!(found.whole.as_deref(), Some(wanted));
    assert_eq!(found.filesystem.unwrap().name, "LVM2 physical volume");
}

#[test]
fn a_damaged_label_or_text_is_stored_whole() {
    for at in [600, 4700] {
        let mut bytes = volume(0, &text(1, &linear("root", &[(0, 2, 3)])));
        bytes[at] ^= 1;
        let (region, used) = region(&[&Memory::new(bytes)]);
        assert_eq!(used, ExtentSet::all(LEN));
        assert!(region.whole.unwrap().contains("checksum"), "{at}");
        assert!(region.volumes.is_empty());
    }
}

#[test]
fn raw_stores_all_volumes_whole() {
    let mut bytes = volume(0, &text(1, &linear("vm", &[(0, 4, 8)])));
    virtual_disk(&mut bytes, extent(4, 1).start());
    let scan = layout::raw(&Memory::new(bytes));
    let inner = &scan.layout.regions[0].volumes[0];
    assert_eq!((inner.used, inner.volumes[0].used), (inner.size, inner.volumes[0].size));
    assert!(inner.whole.is_some() && inner.volumes[0].whole.is_some());
}

#[test]
fn volumes_inside_volumes_end_at_some_depth() {
    // Each is the only logical volume of the one around it.
    let mut within = vec![b'.'; EXTENT as usize];
    let mut depth = 0;
    let mut len = within.len() as u64;
    while depth < 7 {
        let count = len.div_ceil(EXTENT);
        let text = text(1, &linear("next", &[(0, 0, count)]))
            .replace(&format!("pe_count = {COUNT}"), &format!("pe_count = {count}"));
        let mut bytes = volume(depth, &text.replace(&id(0), &id(depth)));
        put(&mut bytes, 576, &(START + count * EXTENT).to_le_bytes());
        seal(&mut bytes);
        bytes.truncate(START as usize);
        bytes.extend_from_slice(&within);
        bytes.resize((START + count * EXTENT) as usize, b'.');
        len = bytes.len() as u64;
        within = bytes;
        depth += 1;
    }
    let (region, used) = region(&[&Memory::new(within)]);
    assert_eq!(used, ExtentSet::all(len));
    let mut inner = &region.volumes[0];
    while let Some(next) = inner.volumes.first() {
        inner = next;
    }
    assert!(inner.whole.as_ref().unwrap().contains("other volumes"), "{inner:?}");
}
