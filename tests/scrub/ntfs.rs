// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/ntfs`.

use super::Kind;

pub(crate) static KIND: Kind = Kind {
    maker: "ntfs",
    needs: &["mkntfs", "ntfs-3g", "ntfsinfo", "openssl", "python3"],
    disks: &[NAMES],
    judge: |_, _| {},
};

scrub_tests!();
