// SPDX-License-Identifier: MIT OR Apache-2.0
//! LZNT1, the compression of NTFS. Specification: Microsoft, MS-XCA, "LZNT1
//! Algorithm Details".

use crate::ondisk::Fields;

/// What a chunk unpacks to; only the last may be shorter.
const CHUNK: usize = 4096;

/// Unpacks `packed` into all of `buf`; what is not in it is zeros. `None` if it
/// is damaged.
pub(super) fn unpack(packed: &[u8], buf: &mut [u8]) -> Option<()> {
    const IS_PACKED: u16 = 0x8000;
    const LEN: u16 = 0x0fff;
    let mut rest = packed;
    let mut chunks = buf.chunks_mut(CHUNK);
    while let Some(header) = rest.u16_le(0).filter(|header| *header != 0) {
        let Some(chunk) = chunks.next() else { return Some(()) };
        let len = usize::from(header & LEN).checked_add(1)?;
        let data = rest.bytes_at(2, len)?;
        if header & IS_PACKED == 0 {
            chunk.get_mut(..len)?.copy_from_slice(data);
            chunk.get_mut(len..)?.fill(0);
        } else {
            unpack_chunk(data, chunk)?;
        }
        rest = rest.get(len.checked_add(2)?..)?;
    }
    chunks.for_each(|chunk| chunk.fill(0));
    Some(())
}

fn unpack_chunk(data: &[u8], chunk: &mut [u8]) -> Option<()> {
    let mut bytes = data.iter().copied();
    let mut at: usize = 0;
    // A byte of flags, then eight bytes or references backwards.
    'groups: while let Some(flags) = bytes.next() {
        for bit in 0..8_u32 {
            if flags.wrapping_shr(bit) & 1 == 0 {
                let Some(literal) = bytes.next() else { break 'groups };
                *chunk.get_mut(at)? = literal;
                at = at.checked_add(1)?;
                continue;
            }
            let Some(low) = bytes.next() else { break 'groups };
            let pair = u16::from_le_bytes([low, bytes.next()?]);
            // The further in, the more bits say how far back, 4 at least.
            let back_bits = usize::BITS.checked_sub(at.checked_sub(1)?.leading_zeros())?.max(4);
            let len_bits = 16_u32.checked_sub(back_bits)?;
            let back = usize::from(pair.checked_shr(len_bits)?).checked_add(1)?;
            let mask = 1_u16.checked_shl(len_bits)?.wrapping_sub(1);
            let len = usize::from(pair & mask).checked_add(3)?;
            let end = at.checked_add(len)?;
            if end > chunk.len() {
                return None;
            }
            for to in at..end {
                *chunk.get_mut(to)? = *chunk.get(to.checked_sub(back)?)?;
            }
            at = end;
        }
    }
    chunk.get_mut(at..)?.fill(0);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    /// The example of MS-XCA.
    #[test]
    fn the_example_of_the_specification() {
        const PACKED: &[u8] = &[
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2,
            0x47, 0x01, 0xa0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0,
            0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef, 0x03, 0x58,
            0x02, 0x8c, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00, 0x04, 0x01,
            0x18, 0x90, 0x00,
        ];
        const PLAIN: &[u8] = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# \
            E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D";
        let mut buf = vec![1; CHUNK];
        unpack(PACKED, &mut buf).unwrap();
        let (text, rest) = buf.split_at(PLAIN.len());
        assert_eq!(text.escape_ascii().to_string(), PLAIN.escape_ascii().to_string());
        assert!(rest.iter().all(|byte| *byte == 0));
    }

    proptest! {
        #[test]
        fn anything_unpacks_or_is_refused(packed in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut buf = vec![0; CHUNK * 2];
            let _ = unpack(&packed, &mut buf);
            let mut packed = packed;
            if let Ok(len @ 3..) = u16::try_from(packed.len()) {
                packed[..2].copy_from_slice(&(0xb000 | len.saturating_sub(3)).to_le_bytes());
                let _ = unpack(&packed, &mut buf);
            }
        }
    }
}
