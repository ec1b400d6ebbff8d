// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text: its grammar, and what a group may say.

use super::super::text::{Value, parse};
use super::*;

fn parse_error(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn the_grammar_is_that_of_lvm() {
    let text = "a = 1 # b = 2\nc{d=\"x\\\"}\"\n e = [ ] f = [\"g\", 2,\n 3]}\th = -1.5\n\0\0";
    let section = parse(text.as_bytes()).unwrap();
    assert_eq!(section.number("a"), Some(1));
    assert_eq!(section.get("b"), None);
    let inner = section.section("c").unwrap();
    assert_eq!(inner.text("d"), Some(&b"x\\\"}"[..]));
    assert_eq!(inner.get("e"), Some(&Value::List(Vec::new())));
    let list = vec![Value::Text(b"g"), Value::Number(2), Value::Number(3)];
    assert_eq!(inner.get("f"), Some(&Value::List(list)));
    assert_eq!(section.get("h"), Some(&Value::Other));
    assert!(parse(b"").unwrap().entries.is_empty());
}

#[test]
fn what_is_not_the_grammar_is_corrupt_at_its_place() {
    for (text, place, expected) in [
        ("a", "0x1", "'=' or '{'"),
        ("a =", "0x3", "a value"),
        ("a = b", "0x4", "a value"),
        ("a = [1", "0x6", "',' or ']'"),
        ("a = [1 2]", "0x7", "',' or ']'"),
        ("a = [[1]]", "0x5", "a value"),
        ("a = [,]", "0x5", "a value"),
        ("a { b = 1", "0x9", "a name"),
        ("}", "0x0", "a name"),
        ("a = \"b", "0x6", "the end of a text"),
        ("a = \"b\0\"", "0x6", "the end of a text"),
        ("a = \"b\\", "0x8", "the end of a text"),
        ("a = 18446744073709551616", "0x18", "a number of 64 bits"),
        ("a = 1\0b = 2", "0x5", "a name"),
        ("a/b = 2", "0x1", "'=' or '{'"),
        ("a = 1 b = 2 a = 1", "0x11", "a section without double names"),
    ] {
        let error = parse_error(text);
        let wanted = format!("LVM2 metadata text at byte {place}: expected {expected}, found");
        assert!(error.starts_with(&wanted), "{text:?}: {error}");
    }
}

#[test]
fn depth_and_values_are_bounded() {
    let deep = |depth: usize| format!("{}{}", "a{".repeat(depth), "}".repeat(depth));
    assert!(parse(deep(8).as_bytes()).is_ok());
    assert!(parse_error(&deep(9)).contains("no deeper section"));
    assert!(parse_error(&"a{".repeat(1 << 20)).contains("no deeper section"));
    let many = format!("a = [{}1]", "1,".repeat(1 << 20));
    assert!(parse_error(&many).contains("more than 1048576 values"));
}

/// Replaces a part of a valid text.
#[track_caller]
fn changed(from: &str, to: &str) -> Result<Group, FormatError> {
    let text = text(2, &linear("root", &[(0, 0, 4), (1, 3, 2)]));
    assert!(text.contains(from), "{from}");
    Group::parse(text.replacen(from, to, 1).as_bytes())
}

#[test]
fn every_field_of_a_group_is_checked() {
    let sound = changed("seqno = 7", "seqno = 8").unwrap();
    assert_eq!((sound.name.as_str(), sound.seqno, sound.extent_size), ("vg0", 8, EXTENT));
    assert_eq!((sound.physical.len(), sound.logical.len()), (2, 1));
    for (from, to, expected) in [
        ("Text Format Volume Group", "Text", "unknown version"),
        ("version = 1", "version = 2", "unknown version"),
        ("contents =", "content =", "unknown version"),
        ("version = 1", "version = 1 more { }", "expected one group"),
        ("seqno = 7", "seqno = \"7\"", "seqno at byte 0x0: expected a number"),
        ("seqno = 7", "seqno = 7 shape = 1", "the property \"shape\""),
        ("\"RESIZEABLE\"", "\"PARTIAL\"", "the flag \"PARTIAL\""),
        ("\"RESIZEABLE\"", "1", "flags at byte 0x0: expected words"),
        ("flags = [] extent", "flags = [\"NEW\"] extent", "the flag \"NEW\""),
        ("\"lvm2\"", "\"lvm1\"", "the format \"lvm1\""),
        ("extent_size = 128", "extent_size = 0", "extent_size"),
        ("extent_size = 128", "extent_size = 36028797018963969", "extent_size"),
        ("vg0 { id = \"P", "vg0 { id = \"?", "expected an identifier"),
    ] {
        let error = changed(from, to).unwrap_err().to_string();
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
}

#[test]
fn every_field_of_a_physical_volume_is_checked() {
    for (from, to, expected) in [
        ("pe_start = 128", "pe_start = 36028797018963969", "pe_start"),
        ("pe_start = 128", "pe_start = 128 new = 1", "the property \"new\""),
        ("pe_count = 30", "", "pe_count at byte 0x0: expected a number"),
        ("\"ALLOCATABLE\"", "\"DUPLICATE\"", "the flag \"DUPLICATE\""),
        ("flags = []\ndev", "flags = [\"BROKEN\"]\ndev", "the flag \"BROKEN\""),
        (id(0).as_str(), id(1).as_str(), "expected each once"),
        (id(0).as_str(), "short", "expected an identifier, found short"),
    ] {
        let error = changed(from, to).unwrap_err().to_string();
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
    let missing = changed("flags = []\ndev", "flags = [\"MISSING\"]\ndev").unwrap();
    assert!(missing.physical[0].is_missing && !missing.physical[1].is_missing);
}

#[test]
fn extents_of_segments_are_checked() {
    for (from, to, expected) in [
        ("start_extent = 0", "start_extent = 1", "start_extent of a segment"),
        ("start_extent = 4", "start_extent = 5", "start_extent of a segment"),
        ("extent_count = 4", "extent_count = 0", "extent_count of a segment"),
        ("extent_count = 4", "extent_count = 18446744073709551615", "start_extent of a segment"),
        ("extent_count = 2", "extent_count = 18446744073709551615", "extent_count of a segment"),
        ("[\"pv0\", 0]", "[\"pv0\", 27]", "expected of 30, found 4 at 27"),
        ("[\"pv0\", 0]", "[\"pv0\", 18446744073709551615]", "extents of a logical volume"),
        ("[\"pv1\", 3]", "[\"pv0\", 3]", "extent 3 is used twice"),
        ("[\"pv0\", 0]", "[\"pv0\"]", "stripes of a segment"),
        ("[\"pv0\", 0]", "[\"pv0\", 0, 1]", "stripes of a segment"),
        ("[\"pv0\", 0]", "[0, \"pv0\"]", "stripes of a segment"),
        ("[\"pv0\", 0]", "[\"pv0\", 0, \"pv1\", 0]", "stripes of a segment"),
        ("stripes = [\"pv0\", 0]", "", "stripes of a segment"),
        ("stripe_count = 1", "stripe_count = 0", "expected a divisor of 4"),
        ("stripe_count = 1", "stripe_count = 3", "expected a divisor of 4"),
        ("stripe_count = 1", "stripe_count = 2", "stripe_size"),
        ("segment_count = 2", "segment_count = 1", "segment_count"),
        ("type = \"striped\"", "", "type of a segment"),
        ("type = \"striped\"", "type = \"woven\"", "the type \"woven\""),
    ] {
        let error = changed(from, to).unwrap_err().to_string();
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
}

#[test]
fn a_logical_volume_is_only_read_if_all_of_it_is_known() {
    for (from, to, expected) in [
        ("\"READ\", \"WRITE\", \"VISIBLE\"", "\"READ\", \"WRITE\"", "a hidden part of the group"),
        ("\"VISIBLE\"", "\"VISIBLE\", \"LOCKED\"", "being moved to another disk (pvmove)"),
        ("\"VISIBLE\"", "\"VISIBLE\", \"PVMOVE\"", "being moved to another disk (pvmove)"),
        ("\"VISIBLE\"", "\"VISIBLE\", \"NOTSYNCED\"", "its flag \"NOTSYNCED\" is not known"),
        ("creation_time = 1795745936", "integrity = 1", "its property \"integrity\" is not known"),
        ("stripe_count = 1", "stripe_count = 1 data_copies = 2", "property \"data_copies\""),
        ("type = \"striped\"", "type = \"striped+NEW\"", "type \"striped+NEW\""),
        ("[\"pv0\", 0]", "[\"pvmove0\", 0]", "it lies on other logical volumes"),
        ("type = \"striped\"", "type = \"thin-pool\"", "it is a thin pool, which is not read"),
    ] {
        let group = changed(from, to).unwrap();
        let doubt = group.logical[0].doubt.as_deref().unwrap_or("none");
        assert!(doubt.contains(expected), "{from} -> {to}: {doubt}");
    }
    for known in ["\"READ\", \"VISIBLE\"", "\"READ\", \"WRITE\", \"VISIBLE\", \"FIXED_MINOR\""] {
        let group = changed("\"READ\", \"WRITE\", \"VISIBLE\"", known).unwrap();
        assert_eq!(group.logical[0].doubt, None, "{known}");
    }
}

#[test]
fn what_another_volume_is_made_of_is_not_read() {
    let snapshot = "segment1 { start_extent = 0 extent_count = 4 type = \"snapshot\" \
                    chunk_size = 8 origin = \"root\" cow_store = \"snap\" }";
    let volumes = [
        linear("root", &[(0, 0, 4)]),
        linear("snap", &[(0, 4, 1)]),
        linear("home", &[(0, 5, 1)]),
        logical("snapshot0", snapshot, 1),
    ];
    let group = Group::parse(text(1, &volumes.concat()).as_bytes()).unwrap();
    let doubts: Vec<_> = group.logical.iter().map(|it| it.doubt.as_deref()).collect();
    let belongs = Some("it belongs to a snapshot, which is not read");
    assert_eq!(doubts[..3], [belongs, belongs, None]);
    // A tag with the name of a volume is only a tag.
    let tagged = linear("home", &[(0, 0, 1)]).replace("type =", "tags = [\"root\"] type =");
    let text = text(1, &(linear("root", &[(0, 1, 1)]) + &tagged));
    assert_eq!(Group::parse(text.as_bytes()).unwrap().logical[0].doubt, None);
}

#[test]
fn extents_that_other_types_name_count_as_theirs() {
    let mirror = "segment1 { start_extent = 0 extent_count = 4 type = \"mirror\" \
                  mirror_count = 2 extents_moved = 1 mirrors = [\"pv0\", 2, \"pv1\", 8] }";
    let group = Group::parse(text(2, &logical("pvmove0", mirror, 1)).as_bytes()).unwrap();
    let areas = &group.logical[0].segments[0].areas;
    let found: Vec<_> = areas.iter().map(|it| (it.physical, it.first, it.count)).collect();
    assert_eq!(found, [(0, 2, 4), (1, 8, 4)]);
    let bare = mirror.replace("[\"pv0\", 2, \"pv1\", 8]", "[\"pv0\"]");
    let text = text(2, &logical("pvmove0", &bare, 1));
    let error = Group::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("areas of a segment"), "{error}");
}
