// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mapfile of GNU ddrescue: read in bounded memory, and what was read is
//! written and read again as it is.
#![no_main]

use dacapo::io::rescue::{Mapfile, State};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(map) = Mapfile::read(input) else { return };
    let mut written = Vec::new();
    map.write(&mut written).unwrap();
    let again = Mapfile::read(written.as_slice()).unwrap();
    assert_eq!(again.blocks, map.blocks);
    assert_eq!((again.position, again.phase, again.pass), (map.position, map.phase, map.pass));
    // Of a drive that is shorter, longer, or as long.
    for len in [map.end(), 4096, map.end().saturating_add(512).min(i64::MAX as u64)] {
        let state = State::new(len, Some(&map));
        assert_eq!(state.blocks.domain_bytes(), len);
        let blocks = state.mapfile(Vec::new()).blocks;
        assert_eq!(blocks.last().map_or(0, |last| last.extent.end()), len);
    }
});
