// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holds docs/format.md and the code together: every table of the page is
//! read, and an image that was really written is taken apart by it.
//!
//! What a field should hold is put together here from plain numbers, not by
//! the code under test, so that the two cannot agree on something that the
//! page does not say.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use super::Writer;
use super::format::{self, About, Head, Imported, Report};
use super::frame::{self, Compressor, Decompressor};
use crate::device::{DiskIdentity, Health};
use crate::extent::{Extent, ExtentSet};
use crate::fs::Identity;
use crate::layout::{Inner, Layout, Region, RegionKind, TableSummary};
use crate::table::Partition;

static PAGE: &str = include_str!("../../docs/format.md");

/// The rows of the table behind `<!-- marker -->`, without its head.
fn table(marker: &str) -> Vec<Vec<&'static str>> {
    let marker = format!("<!-- {marker} -->\n");
    let (_, rest) = PAGE.split_once(&marker).unwrap_or_else(|| panic!("there is no {marker}"));
    let lines = rest.lines().skip_while(|line| line.is_empty());
    let rows: Vec<Vec<&str>> = lines
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "{marker}");
    rows
}

/// The fields of `bytes` must be those of the table, in its order, at its
/// offsets and with its sizes, and hold what is expected; together they must
/// be all of `bytes`.
#[track_caller]
fn check(name: &str, bytes: &[u8], expected: &[(&str, &[u8])]) {
    let rows = table(&format!("table: {name}"));
    let documented: Vec<&str> = rows.iter().map(|row| row[2]).collect();
    let names: Vec<&str> = expected.iter().map(|(field, _)| *field).collect();
    assert_eq!(documented, names, "fields of {name}");
    let mut position = 0;
    for (row, (field, wanted)) in rows.iter().zip(expected) {
        match row[0].strip_prefix("end - ") {
            Some(from_end) => {
                let offset = bytes.len() - from_end.parse::<usize>().unwrap();
                assert_eq!(offset, position, "offset of {field} in {name}");
            }
            None if row[0] == "..." => {}
            None => assert_eq!(row[0], position.to_string(), "offset of {field} in {name}"),
        }
        if row[1] != "..." {
            assert_eq!(row[1], wanted.len().to_string(), "size of {field} in {name}");
        }
        if let Some(hex) = row[3].strip_prefix("`0x") {
            let value = usize::from_str_radix(hex.split('`').next().unwrap(), 16).unwrap();
            assert_eq!(value, number(wanted), "value of {field} in {name}");
        }
        let end = position + wanted.len();
        assert!(end <= bytes.len(), "{name} ends within {field}");
        assert_eq!(&bytes[position..end], *wanted, "{field} in {name}");
        position = end;
    }
    assert_eq!(position, bytes.len(), "{name} has more than is documented");
}

const CHUNK: u64 = 65536;
/// Six chunks, the last of which is short.
const DISK: u64 = 5 * CHUNK + 4096;

fn identity() -> DiskIdentity {
    DiskIdentity { path: "/dev/sda".into(), size: DISK, ..DiskIdentity::default() }
}

fn head() -> Head {
    let partition = Partition {
        number: 1,
        extent: Extent::new(0, CHUNK),
        type_id: "83".into(),
        type_name: None,
        id: None,
        name: None,
        container: false,
    };
    let inner = Inner {
        filesystem: Some(Identity::default()),
        whole: Some("a reason".into()),
        notes: vec!["a note".into()],
        advice: Some("advice".into()),
        volumes: vec![Inner::default()],
        ..Inner::default()
    };
    let region = Region {
        extent: Extent::new(0, CHUNK),
        kind: RegionKind::Partition,
        partition: Some(partition),
        filesystem: Some(Identity { unclean: Some("a reason".into()), ..Identity::default() }),
        used: 4096,
        whole: Some("a reason".into()),
        notes: vec!["a note".into()],
        advice: Some("advice".into()),
        volumes: vec![inner],
    };
    let layout = Layout { table: Some(TableSummary::default()), regions: vec![region] };
    Head {
        image_id: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        disk_len: DISK,
        chunk_size: CHUNK as u32,
        about: About {
            disk: identity(),
            layout,
            imported: Some(Imported::default()),
            health: Some(Health::default()),
            ..About::default()
        },
        used: [Extent::new(0, 1000), Extent::new(2000, DISK)].into_iter().collect(),
    }
}

/// The content of a data chunk.
fn content(chunk: u64) -> Vec<u8> {
    let len = (DISK - chunk * CHUNK).min(CHUNK);
    (0..len).map(|at| ((at * (chunk + 3)) >> 4) as u8).collect()
}

const LOSS: Extent = Extent::new(4096, 4608);

fn report() -> Report {
    let health = Some(Health::default());
    Report { finished: "2026-11-21".into(), losses: vec![LOSS], resumed: true, health }
}

/// An image of all kinds of entries: data with a loss, two zero chunks, data,
/// one zero chunk, and a short last one.
fn image() -> (Vec<u8>, [u8; 32]) {
    let mut writer = Writer::create(Vec::new(), head()).unwrap();
    let data = |writer: &mut Writer<Vec<u8>>, chunk, losses: &[Extent]| {
        let frame = Compressor::new(1).unwrap().compress(&content(chunk)).unwrap();
        writer.data(&frame, blake3::hash(&content(chunk)).into(), losses).unwrap();
    };
    data(&mut writer, 0, &[LOSS]);
    writer.zeros(2);
    data(&mut writer, 3, &[]);
    writer.zeros(1);
    data(&mut writer, 5, &[]);
    let (bytes, written) = writer.finish(report()).unwrap();
    (bytes, written.content_hash)
}

/// What the image holds: first chunk, how many, kind, content.
fn entries() -> [(u64, u32, u8, Vec<u8>); 5] {
    [
        (0, 1, 0, content(0)),
        (1, 2, 1, vec![0; 2 * CHUNK as usize]),
        (3, 1, 0, content(3)),
        (4, 1, 1, vec![0; CHUNK as usize]),
        (5, 1, 0, content(5)),
    ]
}

/// The hash in a description: of nothing for zeros.
fn hash_of(kind: u8, content: &[u8]) -> [u8; 32] {
    blake3::hash(if kind == 0 { content } else { &[] }).into()
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// The body of the sealed frame at the start of `bytes`, checked by the page,
/// and the length of the frame.
fn unsealed<'a>(bytes: &'a [u8], tag: &str) -> (&'a [u8], usize) {
    assert!(PAGE.contains(&format!("| `{tag}` |")), "{tag} is not documented");
    let len = number(&bytes[4..8]);
    let frame = &bytes[..8 + len];
    let body = &frame[16..frame.len() - 16];
    let seal = blake3::hash(&frame[8..frame.len() - 16]);
    let expected: [(&str, &[u8]); 5] = [
        ("magic", &0x184D_2A5D_u32.to_le_bytes()),
        ("length", &u32::try_from(len).unwrap().to_le_bytes()),
        ("tag", tag.as_bytes()),
        ("body", body),
        ("seal", &seal.as_bytes()[..16]),
    ];
    check("sealed frame", frame, &expected);
    (body, frame.len())
}

fn check_zero_frame(bytes: &[u8], len: usize) {
    let mut blocks = Vec::new();
    let mut rest = len - 1;
    while rest > 0 {
        let block = rest.min(128 << 10);
        rest -= block;
        let header = (block << 3 | 1 << 1 | usize::from(rest == 0)) as u32;
        blocks.extend_from_slice(&header.to_le_bytes()[..3]);
        blocks.push(0);
    }
    let sum = xxhash_rust::xxh64::xxh64(&vec![0; len], 0) as u32;
    let expected: [(&str, &[u8]); 8] = [
        ("magic", &0xFD2F_B528_u32.to_le_bytes()),
        ("descriptor", &[0x84]),
        ("window", &[0x50]),
        ("content size", &(len as u32).to_le_bytes()),
        ("raw block header", &[1 << 3 | u8::from(len == 1), 0, 0]),
        ("raw block", &[0]),
        ("repeated blocks", &blocks),
        ("checksum", &sum.to_le_bytes()),
    ];
    check("zero frame", bytes, &expected);
}

#[test]
fn an_image_is_what_the_page_says() {
    let (image, content_hash) = image();
    // Frames of the file, for the seek table.
    let mut frames: Vec<(usize, usize)> = Vec::new();

    let (head_body, len) = unsealed(&image, "dacapoHD");
    check_head(head_body);
    frames.push((len, 0));
    let mut position = len;

    let (mut table_of_entries, mut hashed) = (Vec::new(), head_body.to_vec());
    for (first, count, kind, content) in entries() {
        let start = position;
        let (body, description_len) = unsealed(&image[position..], "dacapoCK");
        let lossy = first == 0;
        let loss = [4096_u64.to_le_bytes(), 512_u64.to_le_bytes()].concat();
        if lossy {
            check("loss", &body[56..], &[("start", &loss[..8]), ("length", &loss[8..])]);
        }
        let stored_len = number(&body[12..16]);
        let hash = hash_of(kind, &content);
        let expected: [(&str, &[u8]); 9] = [
            ("first chunk", &first.to_le_bytes()),
            ("count", &count.to_le_bytes()),
            ("stored length", &body[12..16]),
            ("kind", &[kind]),
            ("flags", &[u8::from(lossy)]),
            ("loss count", &u16::from(lossy).to_le_bytes()),
            ("reserved", &[0; 4]),
            ("hash", &hash),
            ("losses", if lossy { &loss } else { &[] }),
        ];
        check("chunk", body, &expected);
        position += description_len;

        let stored = &image[position..position + stored_len];
        let mut decoded = vec![1; content.len()];
        Decompressor::new().unwrap().decompress(stored, &mut decoded).unwrap();
        assert!(decoded == content, "content of chunk {first}");
        if kind == 1 {
            check_zero_frame(stored, content.len());
        }
        position += stored_len;
        frames.extend([(description_len, 0), (stored_len, content.len())]);

        let entry = [
            &first.to_le_bytes()[..],
            &(start as u64).to_le_bytes(),
            &count.to_le_bytes(),
            &(description_len as u32).to_le_bytes(),
            &(stored_len as u32).to_le_bytes(),
            &[kind, u8::from(lossy), 0, 0],
            &hash,
        ]
        .concat();
        let expected: [(&str, &[u8]); 9] = [
            ("first chunk", &entry[..8]),
            ("position", &entry[8..16]),
            ("count", &entry[16..20]),
            ("description length", &entry[20..24]),
            ("stored length", &entry[24..28]),
            ("kind", &entry[28..29]),
            ("flags", &entry[29..30]),
            ("reserved", &entry[30..32]),
            ("hash", &entry[32..]),
        ];
        check("entry", &entry, &expected);
        table_of_entries.extend_from_slice(&entry);

        let piece = [&first.to_le_bytes()[..], &count.to_le_bytes(), &[kind], &hash[..]].concat();
        let expected: [(&str, &[u8]); 4] = [
            ("first chunk", &piece[..8]),
            ("count", &piece[8..12]),
            ("kind", &piece[12..13]),
            ("hash", &piece[13..]),
        ];
        check("hashed", &piece, &expected);
        hashed.extend_from_slice(&piece);
    }
    assert_eq!(blake3::hash(&hashed), content_hash);

    let index_position = position;
    let (body, len) = unsealed(&image[position..], "dacapoIX");
    let json = serde_json::to_vec(&report()).unwrap();
    let expected: [(&str, &[u8]); 7] = [
        ("content hash", &content_hash),
        ("entry count", &5_u64.to_le_bytes()),
        ("head length", &(head_body.len() as u32).to_le_bytes()),
        ("report length", &(json.len() as u32).to_le_bytes()),
        ("head", head_body),
        ("report", &json),
        ("entries", &table_of_entries),
    ];
    check("index", body, &expected);
    frames.push((len, 0));
    position += len;

    let id = head().image_id;
    let (body, trailer_len) = unsealed(&image[position..], "dacapoTR");
    let expected: [(&str, &[u8]); 4] = [
        ("image id", id.as_bytes()),
        ("index position", &(index_position as u64).to_le_bytes()),
        ("index length", &(len as u64).to_le_bytes()),
        ("reserved", &[0; 8]),
    ];
    check("trailer", body, &expected);
    assert!(PAGE.contains(&format!("A sealed frame of {trailer_len} bytes")));
    frames.push((trailer_len, 0));
    position += trailer_len;

    check_seek_table(&image[position..], &frames);
}

fn check_head(body: &[u8]) {
    // 0 to 1000, a gap of 1000, and the rest: seven bits a byte.
    let map = [0x00, 0xe8, 0x07, 0xe8, 0x07, 0xb0, 0x90, 0x14];
    let json = serde_json::to_vec(&head().about).unwrap();
    let packed = &body[64 + json.len()..];
    let mut unpacked = [0; 8];
    Decompressor::new().unwrap().decompress(packed, &mut unpacked).unwrap();
    assert_eq!(unpacked, map);
    let expected: [(&str, &[u8]); 13] = [
        ("version", &1_u16.to_le_bytes()),
        ("reserved 1", &[0; 2]),
        ("chunk size", &65536_u32.to_le_bytes()),
        ("features", &[0; 8]),
        ("disk length", &DISK.to_le_bytes()),
        ("image id", &0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes()),
        ("description length", &(json.len() as u32).to_le_bytes()),
        ("map ranges", &2_u32.to_le_bytes()),
        ("map length", &8_u32.to_le_bytes()),
        ("packed map length", &(packed.len() as u32).to_le_bytes()),
        ("reserved 2", &[0; 8]),
        ("description", &json),
        ("packed map", packed),
    ];
    check("head", body, &expected);
}

fn check_seek_table(bytes: &[u8], frames: &[(usize, usize)]) {
    let mut listed = Vec::new();
    for (stored, content) in frames {
        let entry = [(*stored as u32).to_le_bytes(), (*content as u32).to_le_bytes()].concat();
        let expected: [(&str, &[u8]); 2] =
            [("stored length", &entry[..4]), ("content length", &entry[4..])];
        check("seek entry", &entry, &expected);
        listed.extend_from_slice(&entry);
    }
    let expected: [(&str, &[u8]); 6] = [
        ("magic", &0x184D_2A5E_u32.to_le_bytes()),
        ("length", &(bytes.len() as u32 - 8).to_le_bytes()),
        ("frames", &listed),
        ("frame count", &(frames.len() as u32).to_le_bytes()),
        ("descriptor", &[0]),
        ("end magic", &0x8F92_EAB1_u32.to_le_bytes()),
    ];
    check("seek table", bytes, &expected);
}

#[test]
fn zero_frames_of_any_length_are_as_documented() {
    for len in [1, 2, 131_072, 131_073, 131_074, 1 << 20] {
        check_zero_frame(&frame::zero_frame(len as u64).unwrap(), len);
    }
}

#[test]
fn the_limits_are_those_of_the_code() {
    let limits: [(&str, u64); 14] = [
        ("VERSION", format::VERSION.into()),
        ("MIN_CHUNK_SIZE", format::MIN_CHUNK_SIZE.into()),
        ("MAX_CHUNK_SIZE", format::MAX_CHUNK_SIZE.into()),
        ("DEFAULT_CHUNK_SIZE", format::DEFAULT_CHUNK_SIZE.into()),
        ("MAX_DISK_LEN", format::MAX_DISK_LEN),
        ("MAX_JSON_LEN", format::MAX_JSON_LEN.into()),
        ("MAX_MAP_RANGES", format::MAX_MAP_RANGES.into()),
        ("MAX_MAP_LEN", format::MAX_MAP_LEN.into()),
        ("MAX_LOSSES", format::MAX_LOSSES.into()),
        ("MAX_REPORT_LOSSES", format::MAX_REPORT_LOSSES as u64),
        ("MAX_DESCRIPTION", format::MAX_DESCRIPTION.into()),
        ("MAX_ENTRIES", format::MAX_ENTRIES),
        ("MAX_FRAME_CONTENT", format::MAX_FRAME_CONTENT),
        ("MAX_HEAD_FRAME", format::MAX_HEAD_FRAME),
    ];
    let documented: Vec<(&str, u64)> = table("limits")
        .iter()
        .map(|row| (row[0].trim_matches('`'), row[1].parse().unwrap()))
        .collect();
    assert_eq!(documented, limits);
    assert!(PAGE.contains(&format!("Version {}.", format::VERSION)));
}

#[test]
fn the_features_are_those_of_the_code() {
    let features = table("features");
    assert_eq!(features.len(), format::FEATURE_NAMES.len());
    for (row, (bit, name)) in features.iter().zip(format::FEATURE_NAMES) {
        assert_eq!(1 << row[0].parse::<u32>().unwrap(), bit);
        let words = |text: &str| -> Vec<String> {
            text.split(|c: char| !c.is_alphabetic())
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(words(row[1]), words(name));
    }
    assert_eq!(format::KNOWN_FEATURES, 0, "say in the page what the new feature is");
}

#[test]
fn numbers_are_written_as_the_page_shows() {
    for row in table("numbers") {
        let value: u64 = row[0].parse().unwrap();
        let bytes: Vec<u8> = row[1]
            .trim_matches('`')
            .split(' ')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let mut written = Vec::new();
        format::push_number(&mut written, value);
        assert_eq!(written, bytes, "{value}");
        assert_eq!(format::take_number(&mut bytes.as_slice()), Some(value));
    }
    // The one form of a map: two ranges that touch are one.
    let used: ExtentSet = [Extent::new(5, 7), Extent::new(7, 9)].into_iter().collect();
    assert_eq!(used.count(), 1);
}

/// The keys of a JSON object are those of the table.
#[track_caller]
fn check_keys(name: &str, value: &Value) {
    let rows = table(&format!("json: {name}"));
    let documented: BTreeSet<&str> =
        rows.iter().flat_map(|row| row[0].split('`').skip(1).step_by(2)).collect();
    let written: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(documented, written, "keys of {name}");
}

#[test]
fn the_json_has_the_keys_of_the_page() {
    let description = serde_json::to_value(&head().about).unwrap();
    check_keys("description", &description);
    check_keys("disk", &description["disk"]);
    check_keys("imported", &description["imported"]);
    check_keys("health", &description["health"]);
    check_keys("layout", &description["layout"]);
    check_keys("table", &description["layout"]["table"]);
    let region = &description["layout"]["regions"][0];
    check_keys("region", region);
    check_keys("volume", &region["volumes"][0]);
    check_keys("partition", &region["partition"]);
    check_keys("filesystem", &region["filesystem"]);
    check_keys("report", &serde_json::to_value(report()).unwrap());
    assert_eq!(region["extent"], serde_json::json!({ "start": 0, "end": CHUNK }));
    for kind in [RegionKind::Table, RegionKind::Partition, RegionKind::Gap, RegionKind::Volume] {
        let name = serde_json::to_value(kind).unwrap();
        assert!(PAGE.contains(&format!("`{}`", name.as_str().unwrap())), "{name}");
    }
}
