// SPDX-License-Identifier: MIT OR Apache-2.0
//! LZFSE, the compression of Apple with finite state entropy coding. Facts are
//! from the sources of Apple's LZFSE.
//!
//! A stream is a row of blocks, each with a magic: as they are, packed by LZVN,
//! or by LZFSE itself. Of that there are two headers, with the same numbers plain
//! or packed. Behind it are two streams of bits, both of which are read from their
//! end: first the literals, then for each match how many literals come before
//! it, how long it is, and how far back.

use super::lzvn;
use crate::ondisk::Fields;

const LENGTHS: usize = 20;
const DISTANCES: usize = 64;
const SYMBOLS: usize = LENGTHS * 2 + DISTANCES + 256;

const LITERAL_STATES: usize = 1024;
const LENGTH_STATES: usize = 64;
const DISTANCE_STATES: usize = 256;

/// The most literals of a block.
const MAX_LITERALS: usize = 40_000;
/// The most matches of a block.
const MAX_MATCHES: usize = 10_000;

/// How many more bits a number of literals has, and a length of a match; all
/// before these have none.
const LITERAL_BITS: [u32; 4] = [2, 3, 5, 8];
const MATCH_BITS: [u32; 4] = [3, 5, 8, 11];

/// Unpacks a stream into all of `buf`; `None` if it is damaged.
pub(super) fn unpack(packed: &[u8], buf: &mut [u8]) -> Option<()> {
    let (mut from, mut at) = (0_usize, 0_usize);
    while at < buf.len() {
        let block = packed.get(from..)?;
        let raw = usize::try_from(block.u32_le(4)?).ok()?;
        let end = at.checked_add(raw).filter(|end| *end <= buf.len())?;
        let len = match block.bytes_at(0, 4)? {
            b"bvx-" => {
                buf.get_mut(at..end)?.copy_from_slice(block.bytes_at(8, raw)?);
                raw.checked_add(8)?
            }
            b"bvxn" => {
                let len = usize::try_from(block.u32_le(8)?).ok()?;
                lzvn::unpack(block.bytes_at(12, len)?, buf.get_mut(..end)?, at)?;
                len.checked_add(12)?
            }
            b"bvx1" => Block::plain(block)?.unpack(block, buf.get_mut(..end)?, at)?,
            b"bvx2" => Block::packed(block)?.unpack(block, buf.get_mut(..end)?, at)?,
            // The end, or nothing that is known.
            _ => return None,
        };
        // A block without anything in it would be read for ever.
        if raw == 0 {
            return None;
        }
        from = from.checked_add(len)?;
        at = end;
    }
    Some(())
}

/// What the header of a block says.
struct Block {
    header_len: usize,
    literals: usize,
    literal_bytes: usize,
    /// Bits of the last byte that are none of the stream, as a negative number.
    literal_bits: i64,
    literal_states: [usize; 4],
    matches: usize,
    match_bytes: usize,
    match_bits: i64,
    /// Of numbers of literals, lengths and distances.
    states: [usize; 3],
    /// How often each symbol is there: of these three, and of literals.
    frequencies: [u16; SYMBOLS],
}

impl Block {
    /// The header with its numbers one behind the other.
    fn plain(block: &[u8]) -> Option<Self> {
        const FREQUENCIES: usize = 50;
        let word = |at: usize| usize::try_from(block.u32_le(at)?).ok();
        let half = |at: usize| block.u16_le(at).map(usize::from);
        let signed =
            |at: usize| Some(i64::from(i32::from_le_bytes(block.u32_le(at)?.to_le_bytes())));
        let mut frequencies = [0; SYMBOLS];
        for (index, frequency) in frequencies.iter_mut().enumerate() {
            *frequency = block.u16_le(index.checked_mul(2)?.checked_add(FREQUENCIES)?)?;
        }
        Some(Self {
            // The compiler of the first version filled it up to whole words.
            header_len: SYMBOLS.checked_mul(2)?.checked_add(FREQUENCIES)?.next_multiple_of(4),
            literals: word(12)?,
            matches: word(16)?,
            literal_bytes: word(20)?,
            match_bytes: word(24)?,
            literal_bits: signed(28)?,
            literal_states: [half(32)?, half(34)?, half(36)?, half(38)?],
            match_bits: signed(40)?,
            states: [half(44)?, half(46)?, half(48)?],
            frequencies,
        })
    }

    /// The header with its numbers in fields of bits, and the frequencies in a
    /// code of their own.
    fn packed(block: &[u8]) -> Option<Self> {
        const FREQUENCIES: usize = 32;
        let words = [block.u64_le(8)?, block.u64_le(16)?, block.u64_le(24)?];
        let field = |word: usize, shift: u32, bits: u32| {
            let mask = 1_u64.wrapping_shl(bits).wrapping_sub(1);
            usize::try_from(words.get(word)?.wrapping_shr(shift) & mask).ok()
        };
        let bits = |word: usize| i64::try_from(field(word, 60, 3)?).ok()?.checked_sub(7);
        let header_len = field(2, 0, 32)?;
        Some(Self {
            header_len,
            literals: field(0, 0, 20)?,
            literal_bytes: field(0, 20, 20)?,
            matches: field(0, 40, 20)?,
            literal_bits: bits(0)?,
            literal_states: [
                field(1, 0, 10)?,
                field(1, 10, 10)?,
                field(1, 20, 10)?,
                field(1, 30, 10)?,
            ],
            match_bytes: field(1, 40, 20)?,
            match_bits: bits(1)?,
            states: [field(2, 32, 10)?, field(2, 42, 10)?, field(2, 52, 10)?],
            frequencies: frequencies(block.get(FREQUENCIES..header_len)?)?,
        })
    }

    /// Unpacks from `at` up to the end of `buf`, and says how long the block is.
    fn unpack(&self, block: &[u8], buf: &mut [u8], at: usize) -> Option<usize> {
        if self.literals > MAX_LITERALS || self.matches > MAX_MATCHES {
            return None;
        }
        let literals_end = self.header_len.checked_add(self.literal_bytes)?;
        let end = literals_end.checked_add(self.match_bytes)?;
        let literals = self.literals(block.get(self.header_len..literals_end)?)?;
        self.matches(block.get(literals_end..end)?, &literals, buf, at)?;
        Some(end)
    }

    fn literals(&self, stream: &[u8]) -> Option<Vec<u8>> {
        let frequencies = self.frequencies.get(LENGTHS * 2 + DISTANCES..)?;
        let table = table(frequencies, LITERAL_STATES, |symbol| Some((symbol, 0)))?;
        let mut bits = Bits::new(stream, self.literal_bits)?;
        let mut states = self.literal_states;
        let mut literals = Vec::with_capacity(self.literals);
        while literals.len() < self.literals {
            for state in &mut states {
                let entry = table.get(*state)?;
                literals.push(u8::try_from(entry.value).ok()?);
                *state = entry.base.checked_add(bits.pull(entry.bits)?)?;
            }
        }
        (literals.len() == self.literals).then_some(literals)
    }

    fn matches(&self, stream: &[u8], literals: &[u8], buf: &mut [u8], at: usize) -> Option<()> {
        let of =
            |start: usize, count: usize| self.frequencies.get(start..start.checked_add(count)?);
        let tables = [
            table(of(0, LENGTHS)?, LENGTH_STATES, |symbol| value(0, symbol))?,
            table(of(LENGTHS, LENGTHS)?, LENGTH_STATES, |symbol| value(1, symbol))?,
            table(of(LENGTHS * 2, DISTANCES)?, DISTANCE_STATES, |symbol| value(2, symbol))?,
        ];
        let mut bits = Bits::new(stream, self.match_bits)?;
        let mut states = self.states;
        let (mut at, mut literal, mut distance) = (at, 0_usize, 0_usize);
        for _ in 0..self.matches {
            let mut numbers = [0_usize; 3];
            for ((table, state), number) in tables.iter().zip(&mut states).zip(&mut numbers) {
                let entry = table.get(*state)?;
                let pulled = [bits.pull(entry.bits), bits.pull(entry.more)];
                let [Some(next), Some(more)] = pulled else { return None };
                *state = entry.base.checked_add(next)?;
                *number = entry.value.checked_add(more)?;
            }
            let [count, matched, back] = numbers;
            if back > 0 {
                distance = back;
            }
            let next = literal.checked_add(count)?;
            let to = at.checked_add(count)?;
            buf.get_mut(at..to)?.copy_from_slice(literals.get(literal..next)?);
            (at, literal) = (to, next);
            let end = at.checked_add(matched)?;
            if matched > 0 && distance == 0 || end > buf.len() {
                return None;
            }
            for to in at..end {
                *buf.get_mut(to)? = *buf.get(to.checked_sub(distance)?)?;
            }
            at = end;
        }
        (at == buf.len()).then_some(())
    }
}

/// The least number that a symbol stands for, and how many bits more it has: of
/// numbers of literals, of lengths, or of distances.
fn value(which: usize, symbol: usize) -> Option<(usize, u32)> {
    let more = |symbol: usize| match which {
        2 => u32::try_from(symbol / 4).ok(),
        _ if symbol < 16 => Some(0),
        0 => LITERAL_BITS.get(symbol.checked_sub(16)?).copied(),
        _ => MATCH_BITS.get(symbol.checked_sub(16)?).copied(),
    };
    // Each begins where the numbers of the symbol before it end.
    let mut base = 0_usize;
    for before in 0..symbol {
        base = base.checked_add(1_usize.wrapping_shl(more(before)?))?;
    }
    Some((base, more(symbol)?))
}

/// The frequencies in a header, each in two to fourteen bits.
fn frequencies(packed: &[u8]) -> Option<[u16; SYMBOLS]> {
    let mut frequencies = [0; SYMBOLS];
    // Left out where nothing is coded by them.
    if packed.is_empty() {
        return Some(frequencies);
    }
    let (mut have, mut count) = (0_u32, 0_u32);
    let mut bytes = packed.iter();
    for frequency in &mut frequencies {
        while count <= 24
            && let Some(byte) = bytes.next()
        {
            have |= u32::from(*byte).wrapping_shl(count);
            count = count.saturating_add(8);
        }
        let (bits, found) = match have & 0x1f {
            code if code & 3 == 0 => (2, 0),
            code if code & 3 == 2 => (2, 1),
            code if code & 7 == 1 => (3, 2),
            code if code & 7 == 5 => (3, 3),
            // Four numbers in the two bits above.
            code if code & 7 == 3 => (5, code.wrapping_shr(3).wrapping_add(4)),
            code if code & 15 == 7 => (8, (have.wrapping_shr(4) & 0xf).wrapping_add(8)),
            _ => (14, (have.wrapping_shr(4) & 0x3ff).wrapping_add(24)),
        };
        *frequency = u16::try_from(found).ok()?;
        count = count.checked_sub(bits)?;
        have = have.wrapping_shr(bits);
    }
    (count < 8 && bytes.next().is_none()).then_some(frequencies)
}

/// What a state stands for, and which one comes behind it.
#[derive(Clone, Copy)]
struct Entry {
    /// The least number of the symbol, and how many bits follow that add to it.
    value: usize,
    more: u32,
    /// The least of the states that may follow, and how many bits say which.
    base: usize,
    bits: u32,
}

/// The states of symbols that are there so often, and mean what `value` says.
fn table(
    frequencies: &[u16],
    states: usize,
    value: impl Fn(usize) -> Option<(usize, u32)>,
) -> Option<Vec<Entry>> {
    let mut table = Vec::with_capacity(states);
    for (symbol, frequency) in frequencies.iter().enumerate() {
        let count = usize::from(*frequency);
        if count == 0 {
            continue;
        }
        if table.len().checked_add(count)? > states {
            return None;
        }
        let (value, more) = value(symbol)?;
        // So many bits lead from a state of it to any other, or one less.
        let bits = states.ilog2().checked_sub(count.ilog2())?;
        let longer = states.wrapping_mul(2).wrapping_shr(bits).checked_sub(count)?;
        for number in 0..count {
            table.push(match number.checked_sub(longer) {
                None => {
                    let base = count.checked_add(number)?.wrapping_shl(bits);
                    Entry { value, more, bits, base: base.checked_sub(states)? }
                }
                Some(number) => {
                    let bits = bits.checked_sub(1)?;
                    Entry { value, more, bits, base: number.wrapping_shl(bits) }
                }
            });
        }
    }
    Some(table)
}

/// A stream of bits, read from its end.
struct Bits<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Bits<'a> {
    /// The last byte has `unused` bits, as a negative number, that are none.
    fn new(bytes: &'a [u8], unused: i64) -> Option<Self> {
        let unused = usize::try_from(unused.checked_neg()?).ok().filter(|it| *it < 8)?;
        let left = bytes.len().checked_mul(8)?.checked_sub(unused)?;
        Some(Self { bytes, left })
    }

    /// The next bits, 24 at most.
    fn pull(&mut self, count: u32) -> Option<usize> {
        self.left = self.left.checked_sub(usize::try_from(count).ok()?)?;
        let start = self.left / 8;
        let mut four = [0; 4];
        let rest = self.bytes.get(start..)?;
        for (to, from) in four.iter_mut().zip(rest) {
            *to = *from;
        }
        let shift = u32::try_from(self.left % 8).ok()?;
        let mask = 1_u32.wrapping_shl(count).wrapping_sub(1);
        usize::try_from(u32::from_le_bytes(four).wrapping_shr(shift) & mask).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use proptest::prelude::{any, prop, proptest};

    use super::*;

    /// What Apple's reference has packed, by `scripts/make-images/lzfse_samples.py`.
    const SAMPLES: &[u8] = include_bytes!("../../../tests/files/lzfse.bin");

    fn numbers(seed: usize) -> impl FnMut() -> u32 {
        let mut state = u32::try_from(seed).unwrap();
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        }
    }

    fn lines(len: usize) -> Vec<u8> {
        let lines = (0..len / 20).map(|n| format!("this is line {n} of some text\n"));
        let mut text = lines.collect::<String>().into_bytes();
        text.truncate(len);
        text
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut next = numbers(len);
        (0..len).map(|_| next() as u8).collect()
    }

    fn skewed(len: usize) -> Vec<u8> {
        let (mut next, mut out) = (numbers(len), Vec::new());
        while out.len() < len {
            let number = next();
            if number % 7 == 0 && out.len() > 100 {
                let start = next() as usize % (out.len() - 90);
                let end = (start + next() as usize % 80 + 4).min(out.len());
                out.extend_from_within(start..end);
            } else {
                out.push(97 + (number % 5 * (number >> 8) % 26).min(25) as u8);
            }
        }
        out.truncate(len);
        out
    }

    /// What was packed, and how it was.
    pub(in super::super) fn samples() -> Vec<(Vec<u8>, &'static [u8])> {
        let mixed = [&skewed(30000)[..10000], &noise(6000), &lines(20000)].concat();
        let plain = [
            lines(100),
            lines(3000),
            lines(65536),
            noise(900),
            noise(5000),
            skewed(5000),
            skewed(20000),
            vec![0; 65536],
            mixed,
        ];
        let mut at = 0;
        let mut next = |plain: Vec<u8>| {
            assert_eq!(SAMPLES.u32_le(at), Some(plain.len() as u32));
            let len = SAMPLES.u32_le(at + 4).unwrap() as usize;
            at += 8 + len;
            (plain, &SAMPLES[at - len..at])
        };
        plain.into_iter().map(&mut next).collect()
    }

    #[test]
    fn what_the_reference_has_packed_is_unpacked() {
        let samples = samples();
        for (plain, packed) in &samples {
            let mut found = vec![0xaa; plain.len()];
            assert_eq!(unpack(packed, &mut found), Some(()), "{}", plain.len());
            assert!(found == *plain, "{} bytes", plain.len());
            // Room for less or more is none for it.
            assert_eq!(unpack(packed, &mut found[1..]), None);
            found.push(0);
            assert_eq!(unpack(packed, &mut found), None);
        }
        let kinds = ["bvx-", "bvxn", "bvx2"];
        assert!(
            kinds.iter().all(|kind| samples.iter().any(|it| it.1.starts_with(kind.as_bytes())))
        );
    }

    /// The plain form of a header, which has the same numbers.
    #[test]
    fn a_header_that_is_not_packed_says_the_same() {
        for (plain, packed) in samples().iter().filter(|it| it.1.starts_with(b"bvx2")) {
            let block = Block::packed(packed).unwrap();
            let mut header = b"bvx1".to_vec();
            let mut words = |numbers: &[usize]| {
                numbers.iter().for_each(|it| header.extend((*it as u32).to_le_bytes()));
            };
            words(&[packed.u32_le(4).unwrap() as usize, block.literal_bytes + block.match_bytes]);
            words(&[block.literals, block.matches, block.literal_bytes, block.match_bytes]);
            header.extend((block.literal_bits as i32).to_le_bytes());
            let mut halves = |numbers: &[usize]| {
                numbers.iter().for_each(|it| header.extend((*it as u16).to_le_bytes()));
            };
            halves(&block.literal_states);
            let bits = block.match_bits as i32;
            halves(&[bits as u16 as usize, (bits >> 16) as u16 as usize]);
            halves(&block.states);
            block.frequencies.iter().for_each(|it| header.extend(it.to_le_bytes()));
            header.extend([0; 2]);
            header.extend(&packed[block.header_len..]);
            // Of several blocks the others stay as they are.
            let mut found = vec![0; plain.len()];
            assert_eq!(unpack(&header, &mut found), Some(()));
            assert!(found == *plain);
        }
    }

    #[test]
    fn damage_is_noticed_or_unpacks_to_something() {
        for (plain, packed) in samples() {
            let mut found = vec![0; plain.len()];
            for len in (0..packed.len()).step_by(7) {
                // The end of a stream says nothing that counts.
                assert!(unpack(&packed[..len], &mut found).is_none() || len + 4 >= packed.len());
            }
            let mut damaged = packed.to_vec();
            for at in 0..damaged.len().min(800) {
                for bit in [1, 0x80] {
                    damaged[at] ^= bit;
                    let _ = unpack(&damaged, &mut found);
                    damaged[at] ^= bit;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn anything_unpacks_or_is_refused(
            which in 0..9_usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        ) {
            let (plain, packed) = samples().swap_remove(which);
            let mut packed = packed.to_vec();
            for (at, byte) in changes {
                let at = at.index(packed.len());
                packed[at] = byte;
            }
            let _ = unpack(&packed, &mut vec![0; plain.len()]);
        }
    }
}
