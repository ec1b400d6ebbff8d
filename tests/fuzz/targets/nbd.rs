// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server of network block devices, talking to a client that says
//! anything: from its first word, after the handshake, and in requests that
//! are none but for their first four bytes.
#![no_main]

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use dacapo::io::Memory;
use dacapo::layout::Layout;
use dacapo::nbd::protocol::{ContextRequest, InfoRequest, option};
use dacapo::nbd::{Below, Disk, Exports, talk};
use libfuzzer_sys::fuzz_target;

const LEN: usize = (1 << 20) + 700;
const REQUEST_MAGIC: [u8; 4] = 0x2560_9513_u32.to_be_bytes();

/// A disk that can only be read, and one that can be written.
fn exports() -> Vec<Exports> {
    let disk = || {
        let bytes = (0..LEN).map(|n| if n < 300_000 { n as u8 } else { 0 }).collect();
        Disk::new(Below::Disk(Arc::new(Memory::new(bytes))))
    };
    let overlay = disk().with_overlay(&std::env::temp_dir()).expect("a scratch file");
    [disk(), overlay].map(|disk| Exports::new(disk, &Layout::default(), "fuzz")).into()
}

fn option(code: u32, data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u32).to_be_bytes();
    [b"IHAVEOPT", &code.to_be_bytes()[..], &len, data].concat()
}

/// What a good client says until it has chosen the disk.
fn handshake(structured: bool) -> Vec<u8> {
    let mut said = 3_u32.to_be_bytes().to_vec();
    if structured {
        said.extend(option(option::STRUCTURED_REPLY, &[]));
        let context = b"base:allocation";
        let data = [&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, context.len() as u8], &context[..]].concat();
        said.extend(option(option::SET_META_CONTEXT, &data));
    }
    said.extend(option(option::GO, &[0; 6]));
    said
}

/// Counts what is sent, which is bounded by what was asked for.
struct Sent(u64);

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: &[u8]| {
    static EXPORTS: OnceLock<Vec<Exports>> = OnceLock::new();
    let Some((mode, input)) = input.split_first() else { return };
    let _ = InfoRequest::parse(input);
    let _ = ContextRequest::parse(input);
    let exports = &EXPORTS.get_or_init(exports)[usize::from(mode & 1)];
    let said = match mode >> 1 & 3 {
        0 => input.to_vec(),
        1 => [&3_u32.to_be_bytes(), input].concat(),
        structured => {
            let mut said = handshake(structured == 3);
            // A request has 28 bytes; short offsets and lengths reach more.
            for request in input.chunks(12) {
                let mut bytes = [0; 12];
                bytes[..request.len()].copy_from_slice(request);
                let [_, flags, _, command, _, a, b, c, d, e, f, g] = bytes;
                said.extend(REQUEST_MAGIC);
                said.extend([0, flags, 0, command % 10]);
                said.extend([0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, a % 24, b, c]);
                said.extend([d % 2, e, f, g]);
            }
            said
        }
    };
    let mut sent = Sent(0);
    let (count, _) = talk(&said[..], &mut sent, exports, &|| Ok(()), &|_| {});
    assert_eq!(count, sent.0);
});
