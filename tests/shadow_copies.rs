// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shadow copies ("restore points") of a real Windows volume, from the
//! collection that is not part of the project: what they read in place must
//! come back, though the filesystem calls it free.

use std::path::Path;

use crate::support::{dacapo, junk_file, requires, run, temp_dir};

/// Hashes of all files in each shadow copy of an image, read by libvshadow and
/// ntfs-3g, and of all the bytes of the newest one. Of an older one libvshadow
/// shows also what it itself knows to be undefined.
fn shadow_copies(image: &str) -> String {
    const SCRIPT: &str = "vshadowmount \"$1\" \"$2\" >/dev/null
        trap 'umount \"$3\" 2>/dev/null || true; umount \"$2\"' EXIT
        for copy in \"$2\"/vss*; do
            ntfs-3g -o ro \"$copy\" \"$3\"
            (cd \"$3\"; find . -type f -print0 | sort -z | xargs -0 sha256sum)
            umount \"$3\"
        done
        sha256sum <\"$copy\"";
    let (stores, volume) = (temp_dir(), temp_dir());
    let namespace = ["--mount", "--propagation", "private", "bash", "-euc", SCRIPT, "bash"];
    let arguments = [image, &stores.join(""), &volume.join("")];
    let ran = run("unshare", &[&namespace[..], &arguments].concat());
    ran.out().to_owned()
}

#[test]
fn shadow_copies_read_the_same_after_a_restore() {
    let archive =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/dfvfs__vsstest.raw.tar.zst");
    if !archive.exists() {
        eprintln!("not tested: the collection {} is absent", archive.display());
        return;
    }
    if !requires(&["root", "vshadowmount", "ntfs-3g", "zstd"]) {
        return;
    }
    let folder = temp_dir();
    let archive = archive.to_str().expect("a plain name");
    run("tar", &["--zstd", "-xSf", archive, "-C", &folder.join("")]);
    let source = folder.join("dfvfs/vsstest.raw");
    let (image, target) = (folder.join("image.zst"), folder.join("target.raw"));
    let plan = dacapo(&["save", "--dry-run", &source, &image]).success();
    // Lines are broken where they are full.
    let said: Vec<&str> =
        plan.out().split_whitespace().chain(plan.err().split_whitespace()).collect();
    let said = said.join(" ");
    assert!(said.contains("2 restore points (shadow copies)"), "{said}");
    let _ = dacapo(&["save", "--quiet", &source, &image]).success();
    junk_file(&target, 1 << 30);
    let _ = dacapo(&["restore", "--quiet", "--yes", "--free", "leave", &image, &target]).success();
    let before = shadow_copies(&source);
    assert!(before.lines().count() > 6, "{before}");
    assert_eq!(before, shadow_copies(&target));
}
