// SPDX-License-Identifier: MIT OR Apache-2.0
//! LZVN, the compression of macOS for its own files. Facts are from the sources
//! of Apple's LZFSE, which has it in it.

use crate::ondisk::Fields;

/// Unpacks a block into `buf` from `start` up to its end, behind what is there
/// already; `None` if it is damaged.
pub(super) fn unpack(packed: &[u8], buf: &mut [u8], start: usize) -> Option<()> {
    let (mut from, mut at, mut back) = (0_usize, start, 0_usize);
    while at < buf.len() {
        let code = packed.u8_at(from)?;
        let bits = |shift: u32, count: u32| {
            let mask = 1_usize.wrapping_shl(count).wrapping_sub(1);
            usize::from(code).wrapping_shr(shift) & mask
        };
        let second = || packed.u8_at(from.checked_add(1)?).map(usize::from);
        let pair = || packed.u16_le(from.checked_add(1)?).map(usize::from);
        // The length of the code, of the literals behind it, of the match
        // after these, and how far back that is.
        let (len, literals, matched, distance) = match code {
            0x0e | 0x16 => (1, 0, 0, back),
            // The end, or nothing that is known.
            0x06 | 0x70..=0x7f | 0xd0..=0xdf => return None,
            0xa0..=0xbf => {
                let pair = pair()?;
                let matched = bits(0, 3).wrapping_shl(2) | pair & 3;
                (3, bits(3, 2), matched.checked_add(3)?, pair.wrapping_shr(2))
            }
            0xe0 => (2, second()?.checked_add(16)?, 0, back),
            0xe1..=0xef => (1, bits(0, 4), 0, back),
            0xf0 => (2, 0, second()?.checked_add(16)?, back),
            0xf1..=0xff => (1, 0, bits(0, 4), back),
            _ => {
                let (literals, matched) = (bits(6, 2), bits(3, 3).checked_add(3)?);
                match bits(0, 3) {
                    // Without literals that is another code.
                    6 if literals == 0 => return None,
                    6 => (1, literals, matched, back),
                    7 => (3, literals, matched, pair()?),
                    high => (2, literals, matched, high.wrapping_shl(8) | second()?),
                }
            }
        };
        back = distance;
        from = from.checked_add(len)?;
        let literal = packed.bytes_at(from, literals)?;
        // The last code may be about more than there is room for.
        let room = buf.get_mut(at..)?;
        let count = literals.min(room.len());
        room.get_mut(..count)?.copy_from_slice(literal.get(..count)?);
        at = at.checked_add(count)?;
        from = from.checked_add(literals)?;
        let end = at.checked_add(matched)?.min(buf.len());
        if matched > 0 && back == 0 {
            return None;
        }
        for to in at..end {
            *buf.get_mut(to)? = *buf.get(to.checked_sub(back)?)?;
        }
        at = end;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    #[test]
    fn codes_of_every_kind() {
        let cases: &[(&[u8], &[u8])] = &[
            (&[0xe3, b'a', b'b', b'c', 0x06], b"abc"),
            // Two literals and three from two back, then four more.
            (&[0x80, 2, b'x', b'y', 0xf4], b"xyxyxyxyx"),
            (&[0x87, 2, 0, b'x', b'y', 0x0e, 0xe1, b'!'], b"xyxyx!"),
            (&[0xb0, 9, 0, b'x', b'y'], b"xyxyxy"),
            (&[0x80, 2, b'x', b'y', 0x46, b'z'], b"xyxyxzxzx"),
        ];
        for (packed, plain) in cases {
            let mut buf = vec![0; plain.len()];
            unpack(packed, &mut buf, 0).unwrap();
            assert_eq!(&buf, plain);
        }
        assert!(unpack(&[0x06], &mut [0], 0).is_none());
        assert!(unpack(&[0xf3], &mut [0], 0).is_none());
    }

    proptest! {
        #[test]
        fn anything_unpacks_or_is_refused(packed in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpack(&packed, &mut [0; 4096], 0);
        }
    }
}
