// SPDX-License-Identifier: MIT OR Apache-2.0
//! EFI system partitions, patched: which loaders are found, and what copying
//! the first one would write.
#![no_main]

use std::io::{Cursor, Write};
use std::sync::OnceLock;

use dacapo::repair::fuzzing::esp;
use dacapo_fuzz::Patched;
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use libfuzzer_sys::fuzz_target;

static BASES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();

/// A volume with the loader of a distribution, its table, and that of Windows.
fn volume(width: FatType, len: usize) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; len]);
    let options = FormatVolumeOptions::new().fat_type(width).bytes_per_cluster(512);
    format_volume(&mut disk, options).expect("there is room");
    disk.set_position(0);
    {
        let volume = FileSystem::new(&mut disk, FsOptions::new()).expect("it was just made");
        let root = volume.root_dir();
        let table = "shimx64.efi,Studio,a b,x\r\n".encode_utf16().flat_map(u16::to_le_bytes);
        let files = [
            ("EFI/debian/shimx64.efi", b"MZ one".to_vec()),
            ("EFI/debian/grubx64.efi", [b"MZ two".to_vec(), vec![7; 1500]].concat()),
            ("EFI/debian/BOOTX64.CSV", table.collect()),
            ("EFI/Microsoft/Boot/bootmgfw.efi", b"MZ three".to_vec()),
        ];
        for folder in ["EFI", "EFI/debian", "EFI/Microsoft", "EFI/Microsoft/Boot"] {
            root.create_dir(folder).expect("there is room");
        }
        for (path, content) in files {
            let mut file = root.create_file(path).expect("there is room");
            file.write_all(&content).expect("there is room");
        }
    }
    disk.into_inner()
}

fuzz_target!(|input: &[u8]| {
    let bases = BASES.get_or_init(|| {
        let bases = vec![volume(FatType::Fat12, 256 << 10), volume(FatType::Fat16, 3 << 20)];
        for base in &bases {
            let written = esp(&Patched::new(&[base.clone()], &[0, 0]).expect("a choice and a cut"));
            assert!(written.is_ok_and(|bytes| bytes > 2000), "the base is no such volume");
        }
        bases
    });
    if let Some(disk) = Patched::new(bases, input) {
        let _ = esp(&disk);
    }
});
