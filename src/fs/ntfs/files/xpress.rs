// SPDX-License-Identifier: MIT OR Apache-2.0
//! XPRESS with Huffman codes. Specification: Microsoft, MS-XCA, "LZ77+Huffman
//! Decompression Algorithm Details".

use super::huffman::{Bits, Code, repeat};
use crate::ondisk::Fields;

/// The lengths of 512 codes, half a byte each.
const LENS: usize = 256;

/// Unpacks a chunk into all of `buf`; `None` if it is damaged.
pub(super) fn unpack(packed: &[u8], buf: &mut [u8]) -> Option<()> {
    let (lens, rest) = packed.split_at_checked(LENS)?;
    let lens: Vec<u8> = lens.iter().flat_map(|pair| [pair & 0x0f, pair.wrapping_shr(4)]).collect();
    let code = Code::new(&lens)?;
    let mut bits = Bits::new(rest);
    let mut at = 0;
    while at < buf.len() {
        let symbol = code.decode(&mut bits)?;
        let Some(matched) = symbol.checked_sub(256) else {
            *buf.get_mut(at)? = u8::try_from(symbol).ok()?;
            at = at.checked_add(1)?;
            continue;
        };
        // Half of it is the length, half of it how many bits the distance has.
        let back_bits = u32::try_from(matched.wrapping_shr(4)).ok()?;
        let mut len = matched & 0x0f;
        bits.ensure(16);
        if len == 0x0f {
            len = len.checked_add(usize::from(*bits.bytes(1)?.first()?))?;
            if len == 0x0f + 0xff {
                len = match usize::from(bits.bytes(2)?.u16_le(0)?) {
                    0 => usize::try_from(bits.bytes(4)?.u32_le(0)?).ok()?,
                    len => len,
                };
            }
        }
        let back = 1_usize.checked_shl(back_bits)? | bits.take(back_bits);
        at = repeat(buf, at, back, len.checked_add(3)?)?;
        if bits.is_overrun() {
            return None;
        }
    }
    (!bits.is_overrun()).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    /// The second example of MS-XCA: "abc" a hundred times.
    #[test]
    fn the_example_of_the_specification() {
        let mut packed = vec![0; LENS];
        packed[48] = 0x30;
        packed[49] = 0x23;
        packed[128] = 0x02;
        packed[143] = 0x20;
        packed.extend([0xa8, 0xdc, 0x00, 0x00, 0xff, 0x26, 0x01]);
        let mut buf = [0; 300];
        unpack(&packed, &mut buf).unwrap();
        assert_eq!(buf.as_slice(), "abc".repeat(100).as_bytes());
    }

    proptest! {
        #[test]
        fn anything_unpacks_or_is_refused(
            lens in prop::collection::vec(any::<u8>(), LENS..=LENS),
            rest in prop::collection::vec(any::<u8>(), 0..300),
            few in 0_usize..40,
        ) {
            let mut buf = vec![0; 4096];
            let _ = unpack(&[lens.as_slice(), &rest].concat(), &mut buf);
            // Lengths that are more likely to be those of a code.
            let lens: Vec<u8> = (0..LENS).map(|n| if n < few { 0x77 } else { 0 }).collect();
            let _ = unpack(&[lens, rest].concat(), &mut buf);
        }
    }
}
