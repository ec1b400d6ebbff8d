// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/ntfs`.

use super::{Kind, assert_partclone_agrees, assert_same_answer};
use crate::support::{dacapo, requires, run, temp_dir};
use crate::variants::{Scrubbed, Variant, assert_hashes};

pub(crate) static KIND: Kind = Kind {
    maker: "ntfs",
    needs: &[
        "root",
        "mkntfs",
        "ntfs-3g",
        "ntfsinfo",
        "ntfsfix",
        "ntfsresize",
        "partclone.ntfs",
        "openssl",
        "python3",
    ],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    ntfs ntfs_4k_sectors ntfs_64k ntfs_attribute_list ntfs_bad_clusters ntfs_compressed
    ntfs_cut_short ntfs_dirty ntfs_fast_startup ntfs_fragmented_mft ntfs_full ntfs_hibernated
    ntfs_log_clean ntfs_log_open ntfs_mirror_differs ntfs_resized ntfs_resumed ntfs_tail
    ntfs_tiny ntfs_tiny_attribute_list ntfs_tiny_fast_startup ntfs_tiny_log ntfs_torn_record
    ntfs_unknown_flag
    ;
    ntfs_1g ntfs_2m ntfs_512 ntfs_empty ntfs_hibernated_7 ntfs_log_2 ntfs_log_closed
    ntfs_no_short_names ntfs_resized_dirty ntfs_streams ntfs_unmarked
);

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    let facts = &disk.facts;
    if facts.fsck == "clean" {
        assert_partclone_agrees(disk, &scrubbed.used, "partclone.ntfs");
        if requires(&["ntfsfix"]) {
            run("ntfsfix", &["-n", scrubbed.target()]);
        }
    }
    // A fault that was there has to be there again, and no other.
    assert_same_answer(disk, scrubbed, "ntfsfix", &["-n"]);
    assert_same_answer(disk, scrubbed, "ntfsinfo", &["-f", "-m"]);
    if facts.fsck == "clean" || facts.understood.is_none() {
        assert_files_by_ntfs_3g(disk, scrubbed.target());
    }
    assert_sentences(disk);
}

/// What is shown to the user, where that was promised word for word.
#[track_caller]
fn assert_sentences(disk: &Variant) {
    let text = |name: &str| disk.facts.more.get(name).and_then(|value| value.as_str());
    let Some(says) = text("says") else { return };
    let ran = dacapo(&["map", "--json", disk.path()]);
    let plan = dacapo(&["save", "--dry-run", disk.path(), "/nonexistent/image.zst"]);
    let shown = format!("{}{}{}{}", ran.out(), ran.err(), plan.out(), plan.err());
    let joined = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains(says), "{}: not shown: {says}\n{shown}", disk.name);
    if says.contains("hibernated") {
        assert!(joined.contains("not clean (hibernated)"), "{}: called clean\n{shown}", disk.name);
    }
    if let Some(advises) = text("advises") {
        assert!(joined.contains(advises), "{}: not shown: {advises}\n{shown}", disk.name);
    }
}

/// Reads everything through ntfs-3g, in a mount namespace of its own, and
/// checks the hashes.
#[track_caller]
fn assert_files_by_ntfs_3g(disk: &Variant, image: &str) {
    const SCRIPT: &str = "ntfs-3g -o \"ro$4\" \"$1\" \"$2\"
        trap 'umount \"$2\"' EXIT
        cp -r \"$2/.\" \"$3\"
        for stream in $5; do
            mkdir -p \"$3/$(dirname \"$stream\")\"
            cat \"$2/$stream\" >\"$3/$stream\"
        done";
    if disk.facts.files.is_empty() || !requires(&["root", "ntfs-3g"]) {
        return;
    }
    let (mount, copy) = (temp_dir(), temp_dir());
    let options = disk.facts.more.get("mount_options").and_then(|value| value.as_str());
    let options = options.map_or_else(String::new, |options| format!(",{options}"));
    // Named streams are in no listing.
    let streams: Vec<&str> =
        disk.facts.files.keys().map(String::as_str).filter(|name| name.contains(':')).collect();
    let namespace = ["--mount", "--propagation", "private", "bash", "-euc", SCRIPT, "bash"];
    let arguments = [image, &mount.join(""), &copy.join(""), &options, &streams.join(" ")];
    run("unshare", &[&namespace[..], &arguments].concat());
    assert_hashes(copy.path(), &disk.facts.files);
}
