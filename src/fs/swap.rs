// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux swap space.
//!
//! What was swapped out is worthless after a restart, so only the first page
//! is in use: it holds room for a boot loader, the header and the signature in
//! its last ten bytes. That is where the size of a page shows, too. Whatever is
//! behind the end of the swap space is in use as well.
//!
//! A hibernated system is the exception: its memory is in the swap space, and
//! the signature has been replaced. Then all of it is in use.
//!
//! Source: `include/linux/swap.h` and `kernel/power` of the Linux kernel.

use super::{Filesystem, Identity, Readers, Support, Used, rival};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError, text};

/// The driver of Linux swap space.
#[derive(Debug)]
pub struct Swap;

/// The page sizes of the machines that Linux runs on.
const PAGE_SIZES: [u64; 5] = [0x1000, 0x2000, 0x4000, 0x8000, 0x1_0000];

/// The signatures of the kernel, of uswsusp and of TuxOnIce.
const SUSPENDED: [&[u8]; 5] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001", TUX_ON_ICE];

/// TuxOnIce writes this over the start of the page and may leave the swap
/// signature at its end as it is.
const TUX_ON_ICE: &[u8] = b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c";

/// What the signature at the end of the first page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `SWAPSPACE2`, with a header.
    Version1,
    /// `SWAP-SPACE`, with a map of good pages instead; gone since Linux 2.6.
    Version0,
    /// The memory of a hibernated system.
    Suspended,
}

/// A checked header.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    kind: Kind,
    page_size: u64,
    /// The end of the swap space in bytes.
    size: u64,
    bad_pages: u32,
    label: Option<String>,
    uuid: Option<String>,
}

impl Filesystem for Swap {
    fn name(&self) -> &'static str {
        "Linux swap"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks(
                    "Linux swap",
                    "its header: the pages mean nothing without power",
                ),
                Support::whole("Linux swap with a hibernated system", ""),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(volume) = readers.first() else { return Ok(None) };
        Ok(read(*volume)?.map(|header| Identity {
            name: "swap".to_owned(),
            label: header.label,
            uuid: header.uuid,
            size: header.size,
            clean: header.kind != Kind::Suspended,
            unclean: (header.kind == Kind::Suspended).then(|| "hibernated".to_owned()),
        }))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not a swap space");
        let volume = readers.first().ok_or_else(none)?;
        let len = volume.len();
        let header = read(*volume)?.ok_or_else(none)?;
        match header.kind {
            Kind::Version1 => {}
            Kind::Version0 => {
                return Ok(Used::whole(len, "swap space of version 0 is not supported"));
            }
            Kind::Suspended => {
                return Ok(Used::whole(
                    len,
                    "the swap space holds the memory of a hibernated system, which would be lost",
                ));
            }
        }
        if let Some(rival) = rival(self, *volume)? {
            return Ok(Used::whole(
                len,
                format!("the volume has the signatures of both swap and {rival}"),
            ));
        }
        if header.size > len {
            return Err(FormatError::corrupt(
                "size of the swap space",
                1028,
                format!("at most the {len} bytes of the volume"),
                header.size,
            ));
        }
        let mut extents = ExtentSet::new();
        extents.insert(Extent::new(0, header.page_size));
        extents.insert(Extent::new(header.size, len));
        let mut used = Used::proven(extents);
        if header.bad_pages > 0 {
            used.notes.push(format!("the swap space lists {} bad pages", header.bad_pages));
        }
        Ok(used)
    }
}

fn read(volume: &dyn ReadAt) -> Result<Option<Header>, FormatError> {
    let largest = PAGE_SIZES.last().copied().unwrap_or(0);
    let len = usize::try_from(volume.len().min(largest)).unwrap_or(0);
    let head = read_vec(volume, 0, len)?;
    let Some((kind, page_size)) = signature(&head)? else { return Ok(None) };
    let page = usize::try_from(page_size).ok().and_then(|len| head.get(..len)).unwrap_or_default();
    match kind {
        Kind::Version1 => version1(page, page_size).map(Some),
        Kind::Version0 => {
            let size = volume.len();
            Ok(Some(Header { kind, page_size, size, bad_pages: 0, label: None, uuid: None }))
        }
        // The header is intact, but nothing depends on it.
        Kind::Suspended => {
            let (label, uuid) = label_and_uuid(page);
            let size = volume.len();
            Ok(Some(Header { kind, page_size, size, bad_pages: 0, label, uuid }))
        }
    }
}

/// The signature and the page size that its place gives away.
fn signature(head: &[u8]) -> Result<Option<(Kind, u64)>, FormatError> {
    if head.starts_with(TUX_ON_ICE) {
        return Ok(Some((Kind::Suspended, 0x1000)));
    }
    let mut found = None;
    for page_size in PAGE_SIZES {
        let end = usize::try_from(page_size).ok().and_then(|end| end.checked_sub(10));
        let Some(bytes) = end.and_then(|end| head.bytes_at(end, 10)) else { break };
        if SUSPENDED.iter().any(|signature| bytes.starts_with(signature)) {
            return Ok(Some((Kind::Suspended, page_size)));
        }
        let kind = match bytes {
            b"SWAPSPACE2" => Kind::Version1,
            b"SWAP-SPACE" => Kind::Version0,
            _ => continue,
        };
        if let Some((_, other)) = found.replace((kind, page_size)) {
            return Err(FormatError::unsupported(format!(
                "swap signatures for pages of both {other} and {page_size} bytes"
            )));
        }
    }
    Ok(found)
}

/// The header behind the kilobyte for boot loaders, in either byte order.
fn version1(page: &[u8], page_size: u64) -> Result<Header, FormatError> {
    /// Where the list of bad pages starts, and where it must end.
    const BAD_PAGES: u64 = 1536;
    const SIGNATURE: u64 = 10;
    let little = |offset| page.u32_le(offset).unwrap_or(0);
    let big = |offset| page.u32_be(offset).unwrap_or(0);
    let (last_page, bad_pages) = if little(1024) == 1 {
        (little(1028), little(1032))
    } else if big(1024) == 1 {
        (big(1028), big(1032))
    } else {
        return Err(FormatError::unsupported(format!(
            "swap space of the unknown version {:#x}",
            little(1024)
        )));
    };
    if last_page == 0 {
        return Err(FormatError::corrupt("last page of the swap space", 1028, "not 0", 0));
    }
    let room = page_size.saturating_sub(BAD_PAGES).saturating_sub(SIGNATURE) / 4;
    if u64::from(bad_pages) > room {
        return Err(FormatError::corrupt(
            "number of bad pages of the swap space",
            1032,
            format!("at most {room}"),
            bad_pages,
        ));
    }
    let (label, uuid) = label_and_uuid(page);
    let size = u64::from(last_page).saturating_add(1).saturating_mul(page_size);
    Ok(Header { kind: Kind::Version1, page_size, size, bad_pages, label, uuid })
}

fn label_and_uuid(page: &[u8]) -> (Option<String>, Option<String>) {
    let uuid = page.bytes_at(1036, 16).and_then(|bytes| uuid::Uuid::from_slice(bytes).ok());
    let label = page.bytes_at(1052, 16).map(text);
    (
        label.filter(|label| !label.is_empty()),
        uuid.filter(|uuid| !uuid.is_nil()).map(|uuid| uuid.to_string()),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use super::*;
    use crate::io::{Memory, Window, WriteAt};

    const PAGES: u32 = 20;

    /// A swap space of 20 pages with half a page behind it.
    fn swap(page_size: usize, is_big_endian: bool) -> Vec<u8> {
        let mut bytes = vec![0xee; page_size * PAGES as usize + page_size / 2];
        bytes[..page_size].fill(0);
        for (offset, value) in [(1024, 1_u32), (1028, PAGES - 1), (1032, 2)] {
            let field = if is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
            put(&mut bytes, offset, &field);
        }
        put(&mut bytes, 1036, &[0x11; 16]);
        put(&mut bytes, 1052, b"label of swap\0\0\0");
        put(&mut bytes, page_size - 10, b"SWAPSPACE2");
        bytes
    }

    fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
        bytes[offset..offset + field.len()].copy_from_slice(field);
    }

    fn used(bytes: Vec<u8>) -> Result<Used, FormatError> {
        Swap.used(&[&Memory::new(bytes)])
    }

    fn used_error(bytes: Vec<u8>) -> String {
        used(bytes).unwrap_err().to_string()
    }

    #[test]
    fn only_the_first_page_and_what_is_behind_the_end_is_used() {
        for page_size in PAGE_SIZES {
            for is_big_endian in [false, true] {
                let bytes = swap(page_size as usize, is_big_endian);
                let identity = Swap.probe(&[&Memory::new(bytes.clone())]).unwrap().unwrap();
                assert_eq!(identity.name, "swap");
                assert_eq!(identity.label.as_deref(), Some("label of swap"));
                let uuid = "11111111-1111-1111-1111-111111111111";
                assert_eq!(identity.uuid.as_deref(), Some(uuid));
                assert_eq!(identity.size, page_size * 20);
                assert!(identity.clean);
                let used = used(bytes).unwrap();
                let ends = [Extent::new(0, page_size), Extent::at(page_size * 20, page_size / 2)];
                assert_eq!(used.extents, ends.into_iter().collect());
                assert_eq!(used.notes, ["the swap space lists 2 bad pages"]);
                assert_eq!(used.whole, None);
            }
        }
    }

    #[test]
    fn a_hibernated_system_is_stored_whole() {
        for page_size in PAGE_SIZES {
            for signature in SUSPENDED {
                let mut bytes = swap(page_size as usize, false);
                if signature == TUX_ON_ICE {
                    put(&mut bytes, 0, signature);
                } else {
                    put(&mut bytes, page_size as usize - 10, signature);
                }
                let identity = Swap.probe(&[&Memory::new(bytes.clone())]).unwrap().unwrap();
                assert!(!identity.clean);
                let len = bytes.len() as u64;
                let used = used(bytes).unwrap();
                assert_eq!(used.extents, ExtentSet::all(len));
                assert!(used.whole.unwrap().contains("hibernated"));
            }
        }
    }

    #[test]
    fn the_old_version_is_stored_whole() {
        let mut bytes = swap(0x2000, false);
        put(&mut bytes, 0x2000 - 10, b"SWAP-SPACE");
        let len = bytes.len() as u64;
        let used = used(bytes).unwrap();
        assert_eq!(used.extents, ExtentSet::all(len));
        assert_eq!(used.whole.as_deref(), Some("swap space of version 0 is not supported"));
    }

    #[test]
    fn each_wrong_field_is_named() {
        let wrong = |offset: usize, value: u32, message: &str| {
            let mut bytes = swap(0x1000, false);
            put(&mut bytes, offset, &value.to_le_bytes());
            assert_eq!(used_error(bytes.clone()), message);
        };
        wrong(1024, 2, "swap space of the unknown version 0x2");
        wrong(1028, 0, "last page of the swap space at byte 0x404: expected not 0, found 0");
        wrong(
            1028,
            20,
            "size of the swap space at byte 0x404: expected at most the 83968 bytes of the volume, \
             found 86016",
        );
        wrong(
            1028,
            u32::MAX,
            "size of the swap space at byte 0x404: expected at most the 83968 bytes of the volume, \
             found 17592186044416",
        );
        wrong(
            1032,
            638,
            "number of bad pages of the swap space at byte 0x408: expected at most 637, found 638",
        );
    }

    #[test]
    fn two_page_sizes_are_one_too_many() {
        let mut bytes = swap(0x1000, false);
        put(&mut bytes, 0x4000 - 10, b"SWAPSPACE2");
        assert_eq!(used_error(bytes), "swap signatures for pages of both 4096 and 16384 bytes");
    }

    #[test]
    fn a_second_signature_makes_the_swap_space_doubtful() {
        let mut bytes = swap(0x1000, false);
        put(&mut bytes, 0x1_0040, b"_BHRfS_M");
        let used = used(bytes).unwrap();
        let why = "the volume has the signatures of both swap and btrfs";
        assert_eq!(used.whole.as_deref(), Some(why));
    }

    #[test]
    fn no_changed_byte_and_no_cut_makes_the_driver_panic_or_lose_the_header() {
        let bytes = swap(0x1000, false);
        let disk = Memory::new(bytes.clone());
        for (offset, byte) in bytes.iter().enumerate().take(0x1000) {
            for flip in [0x01, 0x80, 0xff] {
                disk.write_at(offset as u64, &[byte ^ flip]).unwrap();
                if let Ok(used) = Swap.used(&[&disk]) {
                    assert!(used.extents.covers(Extent::new(0, 0x1000)));
                }
            }
            disk.write_at(offset as u64, &[*byte]).unwrap();
        }
        for len in (0..bytes.len() as u64).step_by(101) {
            let cut = Window::new(&disk, Extent::new(0, len));
            let found = Swap.probe(&[&cut]).unwrap();
            assert_eq!(found.is_some(), len >= 0x1000);
            assert_eq!(Swap.used(&[&cut]).is_ok(), len >= 20 * 0x1000);
        }
    }
}
