// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/xfs`.

use super::Kind;

pub(crate) static KIND: Kind = Kind {
    maker: "xfs",
    needs: &[
        "root",
        "loop",
        "kernel:xfs",
        "mkfs.xfs",
        "xfs_db",
        "xfs_repair",
        "openssl",
        "python3",
    ],
    disks: &[NAMES],
    judge: |_, _| {},
};

scrub_tests!();
