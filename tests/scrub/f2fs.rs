// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/f2fs`.

use super::Kind;

pub(crate) static KIND: Kind = Kind {
    maker: "f2fs",
    needs: &["mkfs.f2fs", "fsck.f2fs", "sload.f2fs", "openssl", "python3"],
    disks: &[NAMES],
    judge: |_, _| {},
};

scrub_tests!();
