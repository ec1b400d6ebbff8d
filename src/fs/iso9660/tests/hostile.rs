// SPDX-License-Identifier: MIT OR Apache-2.0
//! Discs that are damaged on purpose.

use std::sync::Arc;

use crate::fs::Filesystem as _;
use crate::fs::conformance::examine;
use crate::fs::iso9660::{Iso9660, sessions};
use crate::io::{Memory, ReadAt, WriteAt as _};

const DISCS: [&[u8]; 2] = [
    include_bytes!("../../../../images/foreign-tiny-disc.img.zst"),
    include_bytes!("../../../../images/foreign-tiny-iso9660.img.zst"),
];

fn ask(disc: &Arc<Memory>) {
    let _ = Iso9660.probe(&[disc.as_ref()]);
    let _ = sessions(disc.as_ref());
    let readers: [Arc<dyn ReadAt>; 1] = [Arc::clone(disc) as Arc<dyn ReadAt>];
    if let Ok(Some(files)) = Iso9660.files(&readers) {
        let _ = examine(files.as_ref(), disc.len(), 50);
    }
}

#[test]
fn whatever_is_damaged_is_an_error_and_nothing_worse() {
    for packed in DISCS {
        let bytes = zstd::decode_all(packed).unwrap();
        let disc = Arc::new(Memory::new(bytes.clone()));
        // Descriptors and folders; the rest is content.
        let said = bytes.iter().enumerate().skip(0x8000).filter(|(_, byte)| **byte != 0);
        let is_structure = |at: usize| {
            let sector = &bytes[at / 2048 * 2048..][..2048.min(bytes.len() - at / 2048 * 2048)];
            sector[1..6] == *b"CD001" || sector[0] == 34 || sector.windows(2).any(|it| it == b"NM")
        };
        for (at, byte) in said.filter(|(at, _)| is_structure(*at)).step_by(3).take(1200) {
            for value in [byte ^ 0xff, byte ^ 1] {
                disc.write_at(at as u64, &[value]).unwrap();
                ask(&disc);
            }
            disc.write_at(at as u64, &[*byte]).unwrap();
        }
    }
}

#[test]
fn no_length_makes_the_reader_panic() {
    for packed in DISCS {
        let bytes = zstd::decode_all(packed).unwrap();
        for len in (0..bytes.len()).step_by(9001) {
            ask(&Arc::new(Memory::new(bytes[..len].to_vec())));
        }
    }
}
