// SPDX-License-Identifier: MIT OR Apache-2.0
//! The MD5 that makers of Linux discs implant into them (isomd5sum): a text in
//! the part of the primary volume descriptor that is for applications. It
//! covers the disc up to some sectors in front of its end, with that part taken
//! for blanks.

use md5::Md5;
use sha2::Digest as _;

use super::digest::hex;
use super::volume::SECTOR;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::Fields;

/// Where the part for applications is in the descriptor, and its length.
const PART: (usize, usize) = (883, 512);
const BLANKS: [u8; 512] = [b' '; 512];

/// An implanted MD5, and what has been read of its disc so far.
#[derive(Debug, Clone)]
pub struct Implanted {
    expected: String,
    /// The bytes it covers.
    len: u64,
    /// Where the part for applications is on the disc.
    part: u64,
    position: u64,
    hash: Md5,
}

impl Implanted {
    /// The MD5 that is implanted into a disc.
    #[must_use]
    pub fn of(disc: &dyn ReadAt) -> Option<Self> {
        let place = (16..32).find_map(|number| {
            let offset = number * SECTOR;
            let descriptor = read_vec(disc, offset, 2048).ok()?;
            let is_primary = descriptor.bytes_at(0, 6) == Some(b"\x01CD001");
            is_primary.then_some((offset, descriptor))
        });
        let (offset, descriptor) = place?;
        let text = String::from_utf8_lossy(descriptor.bytes_at(PART.0, PART.1)?);
        let field = |name: &str| {
            let value = text.split(';').find_map(|field| field.trim().strip_prefix(name))?;
            Some(value.trim().trim_start_matches('=').trim().to_owned())
        };
        let expected = field("ISO MD5SUM")?.to_ascii_lowercase();
        let is_md5 = expected.len() == 32 && expected.bytes().all(|it| it.is_ascii_hexdigit());
        let skipped: u64 = field("SKIPSECTORS")?.parse().ok()?;
        let sectors = u64::from(descriptor.u32_be(84)?);
        let len = sectors.checked_sub(skipped)?.checked_mul(SECTOR)?;
        let part = offset + PART.0 as u64;
        is_md5.then(|| Self { expected, len, part, position: 0, hash: Md5::new() })
    }

    /// Takes the next bytes of the disc.
    pub fn feed(&mut self, bytes: &[u8]) {
        let start = self.position;
        self.position = start.saturating_add(bytes.len() as u64);
        let left = self.len.saturating_sub(start).min(bytes.len() as u64);
        // No more than the length of the slice.
        let bytes = &bytes[..left as usize];
        let from = self.part.saturating_sub(start).min(left) as usize;
        let to = (self.part + PART.1 as u64).saturating_sub(start).min(left) as usize;
        self.hash.update(&bytes[..from]);
        self.hash.update(&BLANKS[..to - from]);
        self.hash.update(&bytes[to..]);
    }

    /// True if what was read is what was implanted.
    #[must_use]
    pub fn is_good(self) -> bool {
        self.position >= self.len && hex(&self.hash.finalize()) == self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    /// A disc of 40 sectors, its part for applications as isomd5sum writes it.
    fn disc(text: &str) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..40 * 2048_u32).map(|n| (n % 253) as u8).collect();
        let start = 16 * 2048;
        bytes[start..start + 6].copy_from_slice(b"\x01CD001");
        bytes[start + 84..start + 88].copy_from_slice(&40_u32.to_be_bytes());
        bytes[start + 883..start + 1395].fill(b' ');
        bytes[start + 883..start + 883 + text.len()].copy_from_slice(text.as_bytes());
        bytes
    }

    #[test]
    fn it_is_checked_whatever_the_pieces_are() {
        let plain = disc("");
        let sum = hex(&Md5::digest(&plain[..25 * 2048]));
        let bytes = disc(&format!("ISO MD5SUM = {sum};SKIPSECTORS = 15;RHLISOSTATUS=0;x"));
        for piece in [1000, 2048, 33_000, 1 << 20] {
            let mut found = Implanted::of(&Memory::new(bytes.clone())).unwrap();
            bytes.chunks(piece).for_each(|bytes| found.feed(bytes));
            assert!(found.is_good(), "{piece}");
        }
        let mut short = Implanted::of(&Memory::new(bytes.clone())).unwrap();
        short.feed(&bytes[..20 * 2048]);
        assert!(!short.is_good());
        let mut bad = Implanted::of(&Memory::new(bytes.clone())).unwrap();
        let mut wrong = bytes;
        wrong[3000] ^= 1;
        bad.feed(&wrong);
        assert!(!bad.is_good());
    }

    #[test]
    fn what_is_none_is_none() {
        for text in [
            "",
            "ISO MD5SUM = xyz;SKIPSECTORS = 15",
            "ISO MD5SUM = 00000000000000000000000000000000",
            "ISO MD5SUM = 00000000000000000000000000000000;SKIPSECTORS = 99",
            "ISO MD5SUM = 00000000000000000000000000000000;SKIPSECTORS = -1",
        ] {
            assert!(Implanted::of(&Memory::new(disc(text))).is_none(), "{text}");
        }
        assert!(Implanted::of(&Memory::zeros(100)).is_none());
    }
}
