// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/exfat`.

use super::Kind;

pub(crate) static KIND: Kind = Kind {
    maker: "exfat",
    needs: &["mkfs.exfat", "fsck.exfat", "openssl", "python3"],
    disks: &[NAMES],
    judge: |_, _| {},
};

scrub_tests!();
