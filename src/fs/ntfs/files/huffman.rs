// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bits and prefix codes of XPRESS and LZX: words of 16 bits, whose highest bit
//! comes first, and codes that the lengths of their symbols define.

use crate::ondisk::Fields;

/// The bits of a chunk. Behind its end there are zeros, as many as are wanted:
/// what is decoded is bounded by what it has to fill.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next word.
    at: usize,
    /// The next bits, the first of them the highest.
    next: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, next: 0, count: 0 }
    }

    /// Makes sure of so many bits, 32 at most.
    pub(super) fn ensure(&mut self, count: u32) {
        while self.count < count {
            let word = u64::from(self.bytes.u16_le(self.at).unwrap_or(0));
            self.at = self.at.saturating_add(2);
            let shift = 48_u32.saturating_sub(self.count);
            self.next |= word.wrapping_shl(shift);
            self.count = self.count.saturating_add(16);
        }
    }

    /// The next bits, which are left there.
    fn peek(&self, count: u32) -> usize {
        let bits = self.next.checked_shr(64_u32.saturating_sub(count)).unwrap_or(0);
        usize::try_from(bits).unwrap_or(0)
    }

    fn skip(&mut self, count: u32) {
        self.next = self.next.checked_shl(count).unwrap_or(0);
        self.count = self.count.saturating_sub(count);
    }

    /// The next bits, 17 at most, as a number.
    pub(super) fn take(&mut self, count: u32) -> usize {
        self.ensure(count);
        let bits = self.peek(count);
        self.skip(count);
        bits
    }

    /// Whole bytes from the next word that was not looked at yet.
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.bytes_at(self.at, count)?;
        self.at = self.at.checked_add(count)?;
        Some(bytes)
    }

    /// Forgets the bits before the next word; a whole word if there are none.
    pub(super) fn align(&mut self) {
        self.ensure(1);
        (self.next, self.count) = (0, 0);
    }

    /// True if more was taken than there is.
    pub(super) fn is_overrun(&self) -> bool {
        // Up to two words are looked at ahead of what is taken.
        self.at > self.bytes.len().saturating_add(8)
    }
}

/// The longest code.
const MAX_LEN: usize = 16;
/// Codes up to this length are looked up at once.
const FAST: u32 = 9;

/// A prefix code.
pub(super) struct Code {
    /// By the next bits: the symbol and the length of its code, 0 if it is
    /// longer.
    fast: Vec<(u16, u8)>,
    /// How many codes of each length there are.
    counts: [u32; MAX_LEN + 1],
    /// The symbols by the length of their codes.
    symbols: Vec<u16>,
}

impl Code {
    /// The code of symbols of these lengths, 0 for those without a code. `None`
    /// if there are more of a length than there can be.
    pub(super) fn new(lens: &[u8]) -> Option<Self> {
        let mut counts = [0_u32; MAX_LEN + 1];
        for len in lens {
            let count = counts.get_mut(usize::from(*len))?;
            *count = count.checked_add(1)?;
        }
        counts[0] = 0;
        let mut symbols = Vec::with_capacity(lens.len());
        let mut fast = vec![(0, 0); 1_usize.wrapping_shl(FAST)];
        let mut next = 0_usize;
        for len in 1..=u8::try_from(MAX_LEN).ok()? {
            next = next.checked_mul(2)?;
            for (symbol, own) in (0..).zip(lens) {
                if *own != len {
                    continue;
                }
                symbols.push(symbol);
                if let Some(free) = FAST.checked_sub(len.into()) {
                    let start = next.checked_shl(free)?;
                    let end = start.checked_add(1_usize.checked_shl(free)?)?;
                    fast.get_mut(start..end)?.fill((symbol, len));
                }
                next = next.checked_add(1)?;
            }
            if next > 1_usize.checked_shl(len.into())? {
                return None;
            }
        }
        Some(Self { fast, counts, symbols })
    }

    /// The next symbol; `None` if no code is like the next bits.
    pub(super) fn decode(&self, bits: &mut Bits) -> Option<usize> {
        bits.ensure(16);
        if let Some(&(symbol, len @ 1..)) = self.fast.get(bits.peek(FAST)) {
            bits.skip(len.into());
            return Some(symbol.into());
        }
        // The first code of each length follows from those that are shorter.
        let (mut first, mut index) = (0_usize, 0_usize);
        for (len, count) in (0_u32..).zip(&self.counts).skip(1) {
            let count = usize::try_from(*count).ok()?;
            first = first.checked_mul(2)?;
            if let Some(within) = bits.peek(len).checked_sub(first).filter(|it| *it < count) {
                bits.skip(len);
                return self.symbols.get(index.checked_add(within)?).copied().map(usize::from);
            }
            (first, index) = (first.checked_add(count)?, index.checked_add(count)?);
        }
        None
    }
}

/// Repeats bytes of `buf` from so far back of `at`; `None` if they are not
/// there, or there is no room.
pub(super) fn repeat(buf: &mut [u8], at: usize, back: usize, len: usize) -> Option<usize> {
    let (from, end) = (at.checked_sub(back)?, at.checked_add(len)?);
    if back == 0 || end > buf.len() {
        return None;
    }
    if back >= len {
        buf.copy_within(from..from.checked_add(len)?, at);
    } else {
        for to in at..end {
            *buf.get_mut(to)? = *buf.get(to.checked_sub(back)?)?;
        }
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_all_lengths() {
        // One symbol of each length from 1 to 15, and two of 16.
        let lens: Vec<u8> = (1..=16).chain([16]).collect();
        let code = Code::new(&lens).unwrap();
        for (symbol, wanted) in (0..17_u32).zip(0_usize..) {
            let ones = symbol.min(16);
            let len = if symbol < 16 { ones.saturating_add(1) } else { 16 };
            let value = if symbol < 16 { !0_u32 << 1 & ((1 << len) - 1) } else { 0xffff };
            let word = u16::try_from(value << (16 - len)).unwrap();
            let bytes = word.to_le_bytes();
            let mut bits = Bits::new(&bytes);
            assert_eq!(code.decode(&mut bits), Some(wanted), "{word:#x}");
        }
        assert!(Code::new(&[1, 1, 1]).is_none());
        assert!(Code::new(&[17]).is_none());
        let lonely = Code::new(&[0, 1]).unwrap();
        assert_eq!(lonely.decode(&mut Bits::new(&[0, 0])), Some(1));
        assert_eq!(lonely.decode(&mut Bits::new(&[0, 0x80])), None);
    }
}
