// SPDX-License-Identifier: MIT OR Apache-2.0
//! LZX as Compact OS and WIM archives have it: chunks of 32 KiB, each by itself.
//! Specification: Microsoft, MS-PATCH, "LZX DELTA Compression and
//! Decompression", and what differs from it in WIM: a block of 32 KiB says so
//! with one bit, and targets of calls are always translated.

use super::huffman::{Bits, Code, repeat};

/// What a chunk unpacks to; only the last is shorter.
pub(super) const CHUNK: usize = 32 << 10;

/// Bytes, and eight lengths for each of 30 kinds of distances.
const MAIN_SYMBOLS: usize = 256 + 8 * 30;
const LENGTH_SYMBOLS: usize = 249;
const PRE_SYMBOLS: usize = 20;
const ALIGNED_SYMBOLS: usize = 8;

/// Unpacks a chunk into all of `buf`; `None` if it is damaged.
pub(super) fn unpack(packed: &[u8], buf: &mut [u8]) -> Option<()> {
    const VERBATIM: usize = 1;
    const ALIGNED: usize = 2;
    const PLAIN: usize = 3;
    let mut bits = Bits::new(packed);
    let mut chunk =
        Chunk { recent: [1; 3], main: vec![0; MAIN_SYMBOLS], len: vec![0; LENGTH_SYMBOLS] };
    let mut at = 0_usize;
    while at < buf.len() {
        let kind = bits.take(3);
        let size = if bits.take(1) == 1 { CHUNK } else { bits.take(16) };
        let end = at.checked_add(size).filter(|end| size > 0 && *end <= buf.len())?;
        match kind {
            VERBATIM | ALIGNED => {
                let aligned = (kind == ALIGNED).then(|| {
                    let lens: Vec<u8> = (0..ALIGNED_SYMBOLS)
                        .filter_map(|_| u8::try_from(bits.take(3)).ok())
                        .collect();
                    Code::new(&lens)
                });
                let aligned = match aligned {
                    Some(code) => Some(code?),
                    None => None,
                };
                let (bytes, matches) = chunk.main.split_at_mut_checked(256)?;
                read_lens(&mut bits, bytes)?;
                read_lens(&mut bits, matches)?;
                read_lens(&mut bits, &mut chunk.len)?;
                at = chunk.block(&mut bits, aligned.as_ref(), buf.get_mut(..end)?, at)?;
            }
            PLAIN => {
                bits.align();
                for recent in &mut chunk.recent {
                    let bytes = bits.bytes(4)?.try_into().ok()?;
                    *recent = usize::try_from(u32::from_le_bytes(bytes)).ok()?;
                }
                buf.get_mut(at..end)?.copy_from_slice(bits.bytes(size)?);
                if size % 2 == 1 {
                    bits.bytes(1);
                }
                at = end;
            }
            _ => return None,
        }
        if bits.is_overrun() {
            return None;
        }
    }
    translate_calls(buf);
    Some(())
}

/// What lasts from block to block of a chunk.
struct Chunk {
    /// The last three distances.
    recent: [usize; 3],
    /// The lengths of the codes, each time told by their differences.
    main: Vec<u8>,
    len: Vec<u8>,
}

impl Chunk {
    /// Unpacks a block that ends where `buf` does; where that is.
    fn block(
        &mut self,
        bits: &mut Bits,
        aligned: Option<&Code>,
        buf: &mut [u8],
        mut at: usize,
    ) -> Option<usize> {
        let (main, lens) = (Code::new(&self.main)?, Code::new(&self.len)?);
        while at < buf.len() {
            let symbol = main.decode(bits)?;
            let Some(matched) = symbol.checked_sub(256) else {
                *buf.get_mut(at)? = u8::try_from(symbol).ok()?;
                at = at.checked_add(1)?;
                continue;
            };
            let (mut len, slot) = (matched & 7, matched.wrapping_shr(3));
            if len == 7 {
                len = len.checked_add(lens.decode(bits)?)?;
            }
            let back = match slot {
                0..=2 => {
                    let back = *self.recent.get(slot)?;
                    self.recent.swap(0, slot);
                    back
                }
                slot => {
                    let back = distance(bits, aligned, slot)?;
                    self.recent = [back, self.recent[0], self.recent[1]];
                    back
                }
            };
            at = repeat(buf, at, back, len.checked_add(2)?)?;
            if bits.is_overrun() {
                return None;
            }
        }
        Some(at)
    }
}

/// A distance that is told, not one of the last three.
fn distance(bits: &mut Bits, aligned: Option<&Code>, slot: usize) -> Option<usize> {
    // Two kinds for each power of two, less the three that are kept.
    let extra = u32::try_from((slot / 2).saturating_sub(1)).ok()?;
    let base = (2 | slot & 1).checked_shl(extra)?;
    let added = match (aligned, extra.checked_sub(3)) {
        (Some(code), Some(high)) => {
            let high = bits.take(high).wrapping_shl(3);
            high | code.decode(bits)?
        }
        _ => bits.take(extra),
    };
    base.checked_add(added)?.checked_sub(2)
}

/// Reads the lengths of codes, by a code of their own: each as the difference to
/// what it was before, or several that are the same.
fn read_lens(bits: &mut Bits, lens: &mut [u8]) -> Option<()> {
    let own: Vec<u8> = (0..PRE_SYMBOLS).filter_map(|_| u8::try_from(bits.take(4)).ok()).collect();
    let code = Code::new(&own)?;
    let less = |before: u8, by: usize| -> Option<u8> {
        let by = u8::try_from(by).ok().filter(|by| *by < 17)?;
        Some(before.checked_add(17)?.checked_sub(by)? % 17)
    };
    let mut at = 0_usize;
    while at < lens.len() {
        let symbol = code.decode(bits)?;
        let (count, value) = match symbol {
            17 => (bits.take(4).checked_add(4)?, 0),
            18 => (bits.take(5).checked_add(20)?, 0),
            19 => {
                let count = bits.take(1).checked_add(4)?;
                (count, less(*lens.get(at)?, code.decode(bits)?)?)
            }
            by => (1, less(*lens.get(at)?, by)?),
        };
        let end = at.checked_add(count).filter(|end| *end <= lens.len())?;
        lens.get_mut(at..end)?.fill(value);
        at = end;
    }
    Some(())
}

/// Makes what may be the absolute targets of calls relative again, as they were
/// before the chunk was packed.
fn translate_calls(buf: &mut [u8]) {
    const CALL: u8 = 0xe8;
    const FILE_SIZE: i32 = 12_000_000;
    // No call begins among the last ten bytes.
    const LAST: usize = 10;
    let end = buf.len().saturating_sub(LAST);
    let mut at = 0_usize;
    while let Some(found) =
        buf.get(at..end).and_then(|rest| rest.iter().position(|byte| *byte == CALL))
    {
        at = at.saturating_add(found);
        let behind = buf.get_mut(at.saturating_add(1)..);
        let Some(target) = behind.and_then(|rest| rest.first_chunk_mut::<4>()) else { return };
        let absolute = i32::from_le_bytes(*target);
        let position = i32::try_from(at).unwrap_or(i32::MAX);
        if (0..FILE_SIZE).contains(&absolute) {
            *target = absolute.wrapping_sub(position).to_le_bytes();
        } else if absolute < 0 && absolute >= position.wrapping_neg() {
            *target = absolute.wrapping_add(FILE_SIZE).to_le_bytes();
        }
        at = at.saturating_add(5);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    #[test]
    fn a_plain_block() {
        // Kind 3, 5 bytes long, three distances, the bytes.
        let mut packed = vec![0b0000_0000, 0b0110_0000, 0, 0b0101_0000];
        packed.extend([1_u32, 1, 1].iter().flat_map(|it| it.to_le_bytes()));
        packed.extend(b"plain\0");
        let mut buf = [0; 5];
        unpack(&packed, &mut buf).unwrap();
        assert_eq!(&buf, b"plain");
    }

    #[test]
    fn targets_of_calls() {
        let mut buf = [0; 20];
        buf[3] = CALL_AT_3;
        buf[4..8].copy_from_slice(&100_i32.to_le_bytes());
        translate_calls(&mut buf);
        assert_eq!(buf[4..8], 97_i32.to_le_bytes());
        const CALL_AT_3: u8 = 0xe8;
    }

    #[test]
    fn among_the_last_bytes_there_are_no_calls() {
        for at in 0..20 {
            let mut buf = [0; 20];
            buf[at] = 0xe8;
            translate_calls(&mut buf);
            let translated = (-i32::try_from(at).unwrap()).to_le_bytes();
            let expected = if (1..10).contains(&at) { translated } else { [0; 4] };
            assert_eq!(buf.get(at + 1..at + 5).unwrap_or(&[0; 4]), expected, "{at}");
        }
    }

    proptest! {
        #[test]
        fn anything_unpacks_or_is_refused(
            kind in 1_u8..4,
            rest in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut buf = vec![0; CHUNK];
            let mut packed = vec![0, kind << 5 | 0x10];
            packed.extend(rest);
            let _ = unpack(&packed, &mut buf);
        }
    }
}
