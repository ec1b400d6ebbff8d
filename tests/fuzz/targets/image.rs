// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image readers on a patched image, and on raw input.
#![no_main]

use std::sync::OnceLock;

use dacapo::device::DiskIdentity;
use dacapo::image::format::MIN_CHUNK_SIZE;
use dacapo::image::{Reader, Stream};
use dacapo::io::{Memory, ReadAt};
use dacapo::pipeline::Cancel;
use dacapo::progress::Silent;
use dacapo::save::{self, Options, Plan};
use dacapo_fuzz::Patched;
use libfuzzer_sys::fuzz_target;

/// A small image with data, a zero run and a short last chunk.
fn image() -> Vec<u8> {
    let mut bytes = vec![0; 5 * MIN_CHUNK_SIZE as usize + 4096];
    for (n, byte) in bytes[..70_000].iter_mut().enumerate() {
        *byte = (n * n / 7) as u8;
    }
    let disk = Memory::new(bytes);
    let options = Options { chunk_size: MIN_CHUNK_SIZE, ..Options::default() };
    let plan = Plan::new(&disk, DiskIdentity::default(), &options).expect("a disk in memory");
    let writer = save::start(&plan, Vec::new()).expect("writing to memory");
    save::run(&plan, &disk, writer, false, &Cancel::default(), &Silent).expect("saving").0
}

fn read(image: &[u8]) {
    if let Ok(reader) = Reader::open(Memory::new(image.to_vec())) {
        let mut bytes = [0; 4096];
        for offset in (0..reader.len().min(1 << 20)).step_by(60_000) {
            let len = bytes.len().min((reader.len() - offset) as usize);
            let _ = reader.read_at(offset, &mut bytes[..len]);
        }
    }
    if let Ok(mut stream) = Stream::open(image) {
        let mut frame = Vec::new();
        while let Ok(Some(_)) = stream.next_entry(&mut frame) {}
    }
}

fuzz_target!(|input: &[u8]| {
    static IMAGE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    read(input);
    if let Some(patched) = Patched::new(IMAGE.get_or_init(|| vec![image()]), input) {
        read(&patched.bytes());
    }
});
