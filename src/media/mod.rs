// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives that hold images: finding what is on them without changing a byte.

pub mod command_line;

/// True inside of the rescue system, which mounts by itself what it searches.
#[must_use]
pub fn in_rescue() -> bool {
    std::env::var_os("DACAPO_RESCUE").is_some_and(|value| value == "1")
}
