// SPDX-License-Identifier: MIT OR Apache-2.0
//! Swap spaces, of which Clonezilla keeps the UUID and the label only, and makes
//! them anew with mkswap.
//!
//! Source: `union swap_header` in `include/linux/swap.h`.

use uuid::Uuid;

/// The page size of the machines that Clonezilla runs on.
const PAGE: u64 = 4096;
/// Where the header begins: in front of it is room for a boot loader.
const HEADER: usize = 1024;

/// The UUID and the label in a `swappt-*.info` file.
pub(super) fn names(text: &str) -> (Option<Uuid>, Option<String>) {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key))?;
        let value = line.trim().trim_matches('"');
        (!value.is_empty()).then(|| value.to_owned())
    };
    (value("UUID=").and_then(|uuid| uuid.parse().ok()), value("LABEL="))
}

/// The first page of a swap space of `len` bytes.
pub(super) fn header(len: u64, uuid: Option<Uuid>, label: Option<&str>) -> Vec<u8> {
    let mut page = vec![0; usize::try_from(PAGE).unwrap_or_default()];
    let last = u32::try_from((len / PAGE).saturating_sub(1)).unwrap_or(u32::MAX);
    let mut put = |offset: usize, bytes: &[u8]| {
        let room = page.iter_mut().skip(offset);
        room.zip(bytes).for_each(|(to, from)| *to = *from);
    };
    put(HEADER, &1_u32.to_le_bytes());
    put(HEADER.saturating_add(4), &last.to_le_bytes());
    put(HEADER.saturating_add(12), uuid.unwrap_or_default().as_bytes());
    // 16 bytes, the last of which stays zero.
    let label = label.unwrap_or_default().as_bytes();
    put(HEADER.saturating_add(28), label.get(..15.min(label.len())).unwrap_or_default());
    put(4086, b"SWAPSPACE2");
    page
}
