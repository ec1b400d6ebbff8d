// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/swap`.

use super::{Kind, assert_same_answer};

pub(crate) static KIND: Kind = Kind {
    maker: "swap",
    needs: &["mkswap", "blkid", "openssl", "python3"],
    disks: &[NAMES],
    judge: |disk, scrubbed| assert_same_answer(disk, scrubbed, "blkid", &["-p"]),
};

scrub_tests!(
    swap_16k swap_4k swap_64k swap_8k swap_cut_short swap_odd_length swap_suspended
    swap_suspended_64k swap_suspended_linhib swap_suspended_s2 swap_suspended_ul swap_tail
    swap_tiny swap_tiny_suspended swap_version_0
);
