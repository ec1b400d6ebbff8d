// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/btrfs`.

use super::Kind;

pub(crate) static KIND: Kind = Kind {
    maker: "btrfs",
    needs: &["root", "loop", "kernel:btrfs", "mkfs.btrfs", "btrfs", "openssl", "python3"],
    disks: &[NAMES],
    judge: |_, _| {},
};

scrub_tests!();
