// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/lvm2`.

use super::Kind;

pub(crate) static KIND: Kind = Kind {
    maker: "lvm2",
    needs: &["pvs", "pvck", "openssl", "python3"],
    disks: &[NAMES],
    judge: |_, _| {},
};

scrub_tests!();
