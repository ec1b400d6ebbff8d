// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files as Compact OS of Windows compresses them. Their chunks are those of
//! WIM archives, so wimlib makes them; ntfs-3g puts them where Windows would.

use std::fs;
use std::path::Path;

use super::images::walk;
use super::{files_of, same_content};
use crate::support::{Loop, Mount, junk, requires, run, sparse_file, temp_dir};

/// The resource of a file in an archive that has only one.
fn resource(archive: &Path) -> Vec<u8> {
    let ran = run("wiminfo", &[archive.to_str().unwrap(), "--blobs"]);
    let blobs = ran.out().split("\n\n").filter(|blob| blob.contains("Offset in WIM"));
    let blob = blobs.into_iter().find(|blob| !blob.contains("METADATA")).unwrap();
    let number = |field: &str| -> usize {
        let line = blob.lines().find(|line| line.starts_with(field)).unwrap();
        let words = line.split_once('=').unwrap().1;
        words.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (start, len) = (number("Offset in WIM"), number("Compressed size"));
    fs::read(archive).unwrap()[start..start + len].to_vec()
}

#[test]
fn files_of_compact_os_are_unpacked() {
    const NEEDS: &[&str] =
        &["root", "loop", "mkntfs", "ntfs-3g", "setfattr", "wimcapture", "wiminfo"];
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("ntfs.img");
    sparse_file(&image, 64 << 20);
    run("mkntfs", &["-F", "-q", &image]);
    let text: String =
        (0..60_000).map(|n| format!("line {} of a text\n", n * 7919 % 1000)).collect();
    // A program, for the calls in it; and what cannot be made shorter.
    let mixed =
        [&fs::read("/bin/bash").unwrap()[..700_001], &junk(100_000, 7), &[0; 50_000]].concat();
    // What may be a call, at each place near the end of a chunk.
    let calls: Vec<u8> = (5..20)
        .flat_map(|back| {
            let mut chunk = b"some words. ".repeat(2731)[..32768].to_vec();
            chunk[32768 - back..][..5].copy_from_slice(&[0xe8, 16, 0, 0, 0]);
            chunk
        })
        .collect();
    let contents = [
        ("text", text.into_bytes()),
        ("mixed", mixed),
        ("calls", calls),
        ("short", b"shorter".repeat(9)),
    ];
    let methods = [
        (0_u32, "XPRESS", "4096"),
        (1, "LZX", "32768"),
        (2, "XPRESS", "8192"),
        (3, "XPRESS", "16384"),
    ];
    {
        let device = Loop::new(&image, &[]);
        let mount = Mount::new(device.device(), "ntfs-3g", "streams_interface=windows");
        for (method, compression, chunk) in methods {
            for (name, content) in &contents {
                let source = folder.path().join(name);
                fs::create_dir(&source).unwrap();
                fs::write(source.join(name), content).unwrap();
                let archive = folder.path().join("archive.wim");
                let options =
                    [format!("--compress={compression}"), format!("--chunk-size={chunk}")];
                let paths = [source.to_str().unwrap(), archive.to_str().unwrap()];
                run("wimcapture", &[paths[0], paths[1], &options[0], &options[1]]);
                let file = mount.path().join(format!("{name}{method}"));
                fs::File::create(&file).unwrap().set_len(content.len() as u64).unwrap();
                let stream = format!("{}:WofCompressedData", file.display());
                fs::write(stream, resource(&archive)).unwrap();
                let words = [0x8000_0017_u32, 16, 1, 2, 1, method];
                let bytes = words.iter().flat_map(|word| word.to_le_bytes());
                let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
                let (value, path) = (format!("0x{hex}"), file.to_str().unwrap());
                run("setfattr", &["-n", "system.ntfs_reparse_data", "-v", &value, path]);
                fs::remove_dir_all(&source).unwrap();
                fs::remove_file(&archive).unwrap();
            }
        }
    }
    let files = files_of(Path::new(&image));
    let original = folder.path().join("original");
    for (method, ..) in methods {
        for (name, content) in &contents {
            fs::write(&original, content).unwrap();
            let node = walk(files.as_ref(), &format!("{name}{method}")).node;
            let attributes = files.attributes(node).unwrap();
            assert_eq!(attributes.size, content.len() as u64);
            same_content(files.as_ref(), node, &original, attributes.size)
                .unwrap_or_else(|error| panic!("{name} by method {method}: {error}"));
            assert_eq!(files.streams(node).unwrap(), []);
        }
    }
}
