// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/hfsplus`.

use super::Kind;

pub(crate) static KIND: Kind = Kind {
    maker: "hfsplus",
    needs: &["fsstat", "fshfsinfo", "openssl", "python3"],
    disks: &[NAMES],
    judge: |_, _| {},
};

scrub_tests!();
