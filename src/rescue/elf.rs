// SPDX-License-Identifier: MIT OR Apache-2.0
//! The little that is read of ELF files: is a program static, which libraries
//! does it want, and what does a kernel module say of itself.
//!
//! Only 64-bit little-endian files of x86-64, the one machine the rescue
//! system is for.

use crate::error::{Error, ErrorKind, Result};
use crate::ondisk::Fields;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const EM_X86_64: u16 = 62;

/// An ELF file in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elf<'a> {
    bytes: &'a [u8],
}

/// A segment: what of the file is put where in memory.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    len: u64,
}

impl<'a> Elf<'a> {
    /// # Errors
    /// If this is no ELF file for x86-64.
    pub(super) fn new(bytes: &'a [u8], name: &str) -> Result<Self> {
        let is_elf = bytes.array(0) == Some(*b"\x7fELF\x02\x01");
        if !is_elf || bytes.u16_le(18) != Some(EM_X86_64) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{name} is no program or module for x86-64"),
            ));
        }
        Ok(Self { bytes })
    }

    /// True if the program needs no loader and no libraries.
    pub(super) fn is_static(&self) -> bool {
        self.segments().all(|segment| segment.kind != PT_INTERP) && self.needed().is_empty()
    }

    /// The names of the libraries that have to be there.
    pub(super) fn needed(&self) -> Vec<String> {
        let Some(dynamic) = self.segments().find(|it| it.kind == PT_DYNAMIC) else {
            return Vec::new();
        };
        let Some(entries) = self.part(dynamic.offset, dynamic.len) else { return Vec::new() };
        let pairs: Vec<(u64, u64)> = entries
            .chunks_exact(16)
            .map_while(|entry| Some((entry.u64_le(0)?, entry.u64_le(8)?)))
            .take_while(|(tag, _)| *tag != 0)
            .collect();
        let names = pairs
            .iter()
            .find(|(tag, _)| *tag == DT_STRTAB)
            .and_then(|(_, address)| self.offset_of(*address));
        let Some(names) = names else { return Vec::new() };
        pairs
            .iter()
            .filter(|(tag, _)| *tag == DT_NEEDED)
            .filter_map(|(_, at)| self.text(names.checked_add(*at)?))
            .collect()
    }

    /// The content of a section.
    pub(super) fn section(&self, name: &str) -> Option<&'a [u8]> {
        let table = self.bytes.u64_le(0x28)?;
        let (size, count, names) =
            (self.bytes.u16_le(0x3a)?, self.bytes.u16_le(0x3c)?, self.bytes.u16_le(0x3e)?);
        let header = |number: u16| {
            let at = table.checked_add(u64::from(number).checked_mul(u64::from(size))?)?;
            self.part(at, 64)
        };
        let names = header(names)?.u64_le(0x18)?;
        (0..count).filter_map(header).find_map(|section| {
            let at = names.checked_add(u64::from(section.u32_le(0)?))?;
            if self.text(at)? != name {
                return None;
            }
            self.part(section.u64_le(0x18)?, section.u64_le(0x20)?)
        })
    }

    fn segments(&self) -> impl Iterator<Item = Segment> + use<'a> {
        let this = *self;
        let table = this.bytes.u64_le(0x20).unwrap_or_default();
        let size = u64::from(this.bytes.u16_le(0x36).unwrap_or_default());
        let count = u64::from(this.bytes.u16_le(0x38).unwrap_or_default());
        (0..count).filter_map(move |number| {
            let header = this.part(table.checked_add(number.checked_mul(size)?)?, 56)?;
            Some(Segment {
                kind: header.u32_le(0)?,
                offset: header.u64_le(8)?,
                address: header.u64_le(0x10)?,
                len: header.u64_le(0x20)?,
            })
        })
    }

    fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments().filter(|segment| segment.kind == PT_LOAD).find_map(|segment| {
            let inside = address.checked_sub(segment.address).filter(|it| *it < segment.len)?;
            segment.offset.checked_add(inside)
        })
    }

    fn part(&self, offset: u64, len: u64) -> Option<&'a [u8]> {
        self.bytes.bytes_at(usize::try_from(offset).ok()?, usize::try_from(len).ok()?)
    }

    fn text(&self, offset: u64) -> Option<String> {
        let rest = self.bytes.get(usize::try_from(offset).ok()?..)?;
        // Longer names than this are no names.
        let end = rest.iter().take(4096).position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_program() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_program_for_this_system_names_its_libraries() {
        let bytes = this_program();
        let elf = Elf::new(&bytes, "it").unwrap();
        assert!(!elf.is_static(), "this test needs to be built with shared libraries");
        assert!(elf.needed().iter().any(|name| name == "libc.so.6"), "{:?}", elf.needed());
        assert!(elf.section(".text").is_some_and(|text| text.len() > 1000));
        assert!(elf.section(".no-such-section").is_none());
    }

    #[test]
    fn damaged_files_are_no_panic() {
        let bytes = this_program();
        for len in [0, 4, 20, 64, 100, 1000] {
            let cut = &bytes[..len];
            if let Ok(elf) = Elf::new(cut, "it") {
                let _ = (elf.is_static(), elf.needed(), elf.section(".text"));
            }
        }
        let mut bytes = bytes[..4096].to_vec();
        for at in 0x18..0x40 {
            let kept = std::mem::replace(&mut bytes[at], 0xff);
            let elf = Elf::new(&bytes, "it");
            if let Ok(elf) = elf {
                let _ = (elf.is_static(), elf.needed(), elf.section(".text"));
            }
            bytes[at] = kept;
        }
        assert!(Elf::new(b"#!/bin/sh\n", "it").is_err());
    }
}
