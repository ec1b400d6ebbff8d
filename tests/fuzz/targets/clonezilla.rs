// SPDX-License-Identifier: MIT OR Apache-2.0
//! What parted and sfdisk said of a disk, as Clonezilla keeps it.
#![no_main]

use std::sync::OnceLock;

use dacapo::import::clonezilla::partitions_in;
use dacapo_fuzz::Patched;
use libfuzzer_sys::fuzz_target;

const PARTED: &str = "Model: ATA Studio SSD (scsi)\nDisk /dev/sda: 204800s\n\
    Sector size (logical/physical): 512B/512B\nPartition Table: msdos\n";
const DUMP: &str = "label: dos\n/dev/sda1 : start= 2048, size= 20480, type=83, bootable\n\
    /dev/sda2 : start= 22528, size= 182272, type=5\n\
    /dev/sda5 : start= 24576, size= 20480, type=82\n\
    /dev/sda6 : start= 47104, size= 20480, type=83\n";

fuzz_target!(|input: &[u8]| {
    static TEXTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let text = String::from_utf8_lossy(input);
    let (parted, dump) = text.split_once('\0').unwrap_or((PARTED, &text));
    let _ = partitions_in(parted, dump);
    let texts = TEXTS.get_or_init(|| vec![[PARTED, DUMP].concat().into_bytes()]);
    let Some(patched) = Patched::new(texts, input) else { return };
    let text = String::from_utf8_lossy(&patched.bytes()).into_owned();
    if let Some((parted, dump)) = text.split_once("label") {
        let _ = partitions_in(parted, dump);
    }
});
