// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bodies of metadata frames, past the seal that keeps a fuzzer out.
#![no_main]

use std::sync::OnceLock;

use dacapo::extent::Extent;
use dacapo::image::format::{self, About, Entry, Head, Kind, Report};
use dacapo_fuzz::Patched;
use libfuzzer_sys::fuzz_target;

fn head() -> Head {
    Head {
        image_id: Default::default(),
        disk_len: 40 << 20,
        chunk_size: 1 << 20,
        about: About::default(),
        used: (0..20).map(|n| Extent::at(n << 21, 512 << n.min(9))).collect(),
    }
}

fn entry(first_chunk: u64, count: u32, kind: Kind, position: u64) -> Entry {
    Entry {
        first_chunk,
        count,
        kind,
        lossy: false,
        position,
        description_len: 88,
        stored_len: 4096,
        hash: [7; 32],
    }
}

/// A head, a chunk description and an index.
fn bodies() -> Vec<Vec<u8>> {
    let head_body = head().encode().expect("a small head");
    let entries = [entry(0, 1, Kind::Data, 1000), entry(1, 39, Kind::Zero, 5184)];
    let index = format::encode_index(&head_body, &Report::default(), &entries).expect("small");
    let chunk = format::encode_chunk(&entries[0], &[Extent::at(0, 512)]).expect("small");
    let inner = |frame: Vec<u8>| frame[16..frame.len() - 16].to_vec();
    vec![head_body, inner(chunk), inner(index)]
}

fuzz_target!(|input: &[u8]| {
    static BODIES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let decode = |body: &[u8]| {
        if let Ok(head) = Head::decode(body) {
            assert!(head.used.end() <= head.disk_len);
            assert!(head.chunk_count() > 0);
        }
        let head = head();
        if let Ok((entry, losses)) = format::decode_chunk(body, 64, &head) {
            assert!(losses.iter().all(|loss| entry.extent(&head).contains(loss)));
        }
        if let Ok(index) = format::decode_index(body, 1 << 40) {
            let last = index.entries.last().expect("a disk has chunks");
            assert_eq!(last.extent(&index.head).end(), index.head.disk_len);
        }
    };
    decode(input);
    if let Some(patched) = Patched::new(BODIES.get_or_init(bodies), input) {
        decode(&patched.bytes());
    }
});
