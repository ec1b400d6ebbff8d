// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/apfs`.

use super::Kind;

pub(crate) static KIND: Kind = Kind {
    maker: "apfs",
    needs: &["mkapfs", "apfsck", "openssl", "python3"],
    disks: &[NAMES],
    judge: |_, _| {},
};

scrub_tests!();
