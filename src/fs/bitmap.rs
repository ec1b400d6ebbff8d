// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bitmaps as filesystems keep them on disk: bit 0 of byte 0 is the first unit.

/// Sets the bits from `start` to before `end`; true if one was not set.
pub(super) fn set(bitmap: &mut [u8], start: u64, end: u64) -> bool {
    let mut changed = false;
    let mut bit = start;
    while bit < end {
        let Some(byte) = usize::try_from(bit >> 3).ok().and_then(|byte| bitmap.get_mut(byte))
        else {
            return true;
        };
        let next = (bit | 7).saturating_add(1).min(end);
        // The bits of this byte: from `bit & 7` to before `next - (bit & !7)`.
        let low = 0xFF_u32 << (bit & 7);
        let high = 0xFF_u32 >> ((bit | 7).saturating_add(1).saturating_sub(next));
        let [mask, ..] = (low & high).to_le_bytes();
        changed |= *byte & mask != mask;
        *byte |= mask;
        bit = next;
    }
    changed
}

/// The runs of ones among the first `count` bits, in ascending order.
pub(super) fn ones(bitmap: &[u8], count: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
    let mut position = 0;
    std::iter::from_fn(move || {
        let start = find(bitmap, position, count, 0x00)?;
        let end = find(bitmap, start, count, 0xFF).unwrap_or(count);
        position = end;
        Some((start, end))
    })
}

/// The first bit from `from` to before `count` that differs from those of
/// `same`, which is 0x00 or 0xFF.
fn find(bitmap: &[u8], from: u64, count: u64, same: u8) -> Option<u64> {
    let mut bit = from;
    while bit < count {
        let index = usize::try_from(bit >> 3).ok()?;
        let differs = (bitmap.get(index)? ^ same).checked_shr(u32::try_from(bit & 7).ok()?)?;
        if differs != 0 {
            bit = bit.saturating_add(u64::from(differs.trailing_zeros()));
            return (bit < count).then_some(bit);
        }
        // Whole bytes of the same kind are what most of a bitmap is made of.
        let rest = bitmap.get(index.saturating_add(1)..)?;
        let skipped = rest.iter().position(|byte| *byte != same).unwrap_or(rest.len());
        let skipped = u64::try_from(skipped).ok()?.saturating_mul(8);
        bit = (bit | 7).saturating_add(1).saturating_add(skipped);
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn runs_are_those_of_single_bits(
            mut bitmap in prop::collection::vec(
                prop::sample::select(vec![0_u8, 0xFF, 0x0F, 0xF0, 0x55, 0x80, 0x01]), 1..40),
            count in any::<prop::sample::Index>(),
            ends in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let bits = bitmap.len() * 8;
            let count = count.index(bits + 1) as u64;
            let (a, b) = (ends.0.index(bits + 1) as u64, ends.1.index(bits + 1) as u64);
            let (start, end) = (a.min(b), a.max(b));
            let is_one = |bitmap: &[u8], bit: u64| bitmap[bit as usize / 8] >> (bit % 8) & 1 == 1;

            let missing = (start..end).any(|bit| !is_one(&bitmap, bit));
            let mut expected: Vec<bool> = (0..bits as u64).map(|bit| is_one(&bitmap, bit)).collect();
            expected[start as usize..end as usize].fill(true);
            prop_assert_eq!(set(&mut bitmap, start, end), missing);
            let found: Vec<bool> = (0..bits as u64).map(|bit| is_one(&bitmap, bit)).collect();
            prop_assert_eq!(&found, &expected);

            let mut by_runs = vec![false; count as usize];
            let mut last = None;
            for (start, end) in ones(&bitmap, count) {
                assert!(start < end && end <= count && last.is_none_or(|last| last < start));
                by_runs[start as usize..end as usize].fill(true);
                last = Some(end);
            }
            prop_assert_eq!(&by_runs[..], &expected[..count as usize]);
        }
    }

    #[test]
    fn bits_outside_of_the_bitmap_are_never_set() {
        assert!(set(&mut [0xFF], 0, 9));
        assert_eq!(ones(&[0xFF], 20).collect::<Vec<_>>(), [(0, 20)]);
        assert_eq!(ones(&[], 20).count(), 0);
    }
}
