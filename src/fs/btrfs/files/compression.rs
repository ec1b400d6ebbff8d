// SPDX-License-Identifier: MIT OR Apache-2.0
//! What compressed extents hold: a zlib stream, a Zstandard frame, or segments
//! of LZO1X behind their lengths.

use std::io::Read as _;

use crate::fs::files::FileResult;
use crate::ondisk::{Fields, FormatError};

/// The kernel makes frames that look back at most 128 KiB and unpacks no others;
/// a frame that asks for more asks for memory.
const WINDOW_LOG_MAX: u32 = 17;

/// How an extent is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Compression {
    None,
    Zlib,
    Lzo,
    Zstd,
}

impl Compression {
    pub(super) fn parse(number: u8) -> FileResult<Self> {
        match number {
            0 => Ok(Self::None),
            1 => Ok(Self::Zlib),
            2 => Ok(Self::Lzo),
            3 => Ok(Self::Zstd),
            _ => Err(FormatError::unsupported(format!(
                "its content is compressed in the unknown way {number}"
            ))),
        }
    }

    /// Unpacks to just `len` bytes; what is behind the packed bytes is padding.
    pub(super) fn unpack(self, packed: &[u8], len: usize, sector: u64) -> Result<Vec<u8>, String> {
        let limit = u64::try_from(len).unwrap_or(u64::MAX);
        let mut unpacked = Vec::with_capacity(len);
        match self {
            Self::None => unpacked.extend_from_slice(packed.get(..len).unwrap_or(packed)),
            Self::Zlib => {
                let decoder = flate2::read::ZlibDecoder::new(packed);
                decoder
                    .take(limit)
                    .read_to_end(&mut unpacked)
                    .map_err(|error| error.to_string())?;
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(packed)
                    .map_err(|error| error.to_string())?
                    .single_frame();
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(|error| error.to_string())?;
                decoder
                    .take(limit)
                    .read_to_end(&mut unpacked)
                    .map_err(|error| error.to_string())?;
            }
            Self::Lzo => {
                let sector = usize::try_from(sector).unwrap_or(4096);
                segments(packed, len, sector, &mut unpacked)
                    .ok_or_else(|| "damaged segments".to_owned())?;
            }
        }
        // Of a file's last sector, only what is in front of the end may have
        // been compressed; the rest of it reads as zeros.
        let missing = len.saturating_sub(unpacked.len());
        if u64::try_from(missing).unwrap_or(u64::MAX) >= sector {
            return Err(format!("{} bytes instead of {len}", unpacked.len()));
        }
        unpacked.resize(len, 0);
        Ok(unpacked)
    }
}

/// The length of all, then segments, each a length and LZO1X of one sector. A
/// length does not cross the end of a sector.
fn segments(packed: &[u8], len: usize, sector: usize, unpacked: &mut Vec<u8>) -> Option<()> {
    const LENGTH: usize = 4;
    let total = usize::try_from(packed.u32_le(0)?).ok()?;
    let packed = packed.get(..total)?;
    let mut at = LENGTH;
    while unpacked.len() < len && at < total {
        let left = sector.checked_sub(at.checked_rem(sector)?)?;
        if left < LENGTH {
            at = at.checked_add(left)?;
        }
        let size = usize::try_from(packed.u32_le(at)?).ok()?;
        at = at.checked_add(LENGTH)?;
        lzo1x(packed.bytes_at(at, size)?, sector, unpacked)?;
        at = at.checked_add(size)?;
    }
    unpacked.truncate(len);
    Some(())
}

/// Unpacks one block of LZO1X, to at most `most` bytes. The format is described
/// in the kernel's documentation, "LZO stream format as understood by Linux'
/// LZO decompressor".
fn lzo1x(packed: &[u8], most: usize, unpacked: &mut Vec<u8>) -> Option<()> {
    let start = unpacked.len();
    let mut input = Input { bytes: packed, at: 0 };
    // How many literals the last instruction ended with; 4 stands for a run of
    // them.
    let mut state = 0_usize;
    let end = start.checked_add(most)?;
    let first = input.peek()?;
    if first > 17 {
        input.byte()?;
        let count = usize::from(first).checked_sub(17)?;
        input.literals(count, end, unpacked)?;
        state = count.min(4);
    }
    loop {
        let code = usize::from(input.byte()?);
        let (distance, len, literals) = match code {
            0..=15 if state == 0 => {
                let count = if code == 0 { input.extended(15)? } else { code };
                input.literals(count.checked_add(3)?, end, unpacked)?;
                state = 4;
                continue;
            }
            0..=15 => {
                let high = usize::from(input.byte()?);
                let distance = (high << 2).checked_add(code >> 2)?;
                // Behind a run of literals, the shortest distances are of no use.
                if state == 4 {
                    (distance.checked_add(2049)?, 3, code & 3)
                } else {
                    (distance.checked_add(1)?, 2, code & 3)
                }
            }
            16..=31 => {
                let count = if code & 7 == 0 { input.extended(7)? } else { code & 7 };
                let low = usize::from(input.short()?);
                let distance = ((code & 8) << 11).checked_add(low >> 2)?;
                if distance == 0 {
                    // The end, which has to be that of the input, too.
                    return (input.at == packed.len() && count == 1).then_some(());
                }
                (distance.checked_add(16384)?, count.checked_add(2)?, low & 3)
            }
            32..=63 => {
                let count = if code & 31 == 0 { input.extended(31)? } else { code & 31 };
                let low = usize::from(input.short()?);
                ((low >> 2).checked_add(1)?, count.checked_add(2)?, low & 3)
            }
            64..=127 => {
                let high = usize::from(input.byte()?);
                let distance = (high << 3).checked_add(code >> 2 & 7)?.checked_add(1)?;
                (distance, (code >> 5 & 1).checked_add(3)?, code & 3)
            }
            _ => {
                let high = usize::from(input.byte()?);
                let distance = (high << 3).checked_add(code >> 2 & 7)?.checked_add(1)?;
                (distance, (code >> 5 & 3).checked_add(5)?, code & 3)
            }
        };
        // Only this block can be copied from, and bytes that were just copied.
        let mut from = unpacked.len().checked_sub(distance).filter(|from| *from >= start)?;
        if unpacked.len().checked_add(len)? > end {
            return None;
        }
        for _ in 0..len {
            let byte = *unpacked.get(from)?;
            unpacked.push(byte);
            from = from.checked_add(1)?;
        }
        input.literals(literals, end, unpacked)?;
        state = literals;
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.checked_add(1)?;
        Some(byte)
    }

    fn short(&mut self) -> Option<u16> {
        let short = self.bytes.u16_le(self.at)?;
        self.at = self.at.checked_add(2)?;
        Some(short)
    }

    /// A number that did not fit: 255 for each zero byte, and what follows.
    fn extended(&mut self, base: usize) -> Option<usize> {
        let mut count = base;
        loop {
            match self.byte()? {
                0 => count = count.checked_add(255)?,
                byte => return count.checked_add(byte.into()),
            }
        }
    }

    fn literals(&mut self, count: usize, end: usize, unpacked: &mut Vec<u8>) -> Option<()> {
        if unpacked.len().checked_add(count)? > end {
            return None;
        }
        unpacked.extend_from_slice(self.bytes.bytes_at(self.at, count)?);
        self.at = self.at.checked_add(count)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn blocks_of_lzo_are_unpacked_and_hostile_ones_refused() {
        let unpack = |packed: &[u8], most| {
            let mut unpacked = b"before".to_vec();
            lzo1x(packed, most, &mut unpacked).map(|()| unpacked.split_off(6))
        };
        const END: [u8; 3] = [0x11, 0, 0];
        // Four literals, then 6 bytes from 4 back, then the end.
        let packed = [&[21, b'a', b'b', b'c', b'd', 0xAC, 0][..], &END].concat();
        assert_eq!(unpack(&packed, 100).as_deref(), Some(&b"abcdabcdab"[..]));
        assert_eq!(unpack(&packed, 9), None);
        for len in 0..packed.len() {
            assert_eq!(unpack(&packed[..len], 100), None, "{len}");
        }
        // Copying what is in front of the block.
        let packed = [&[21, b'a', b'b', b'c', b'd', 0xB0, 0][..], &END].concat();
        assert_eq!(unpack(&packed, 100), None);
    }

    #[test]
    fn what_is_not_as_long_as_said_is_damaged() {
        assert!(Compression::None.unpack(b"abc", 4096 + 3, 4096).is_err());
        let packed = zstd::bulk::compress(b"some text", 1).unwrap();
        let padded = [&packed[..], &[0; 100]].concat();
        assert_eq!(Compression::Zstd.unpack(&padded, 9, 4096).as_deref(), Ok(&b"some text"[..]));
        let longer = Compression::Zstd.unpack(&padded, 10, 4096);
        assert_eq!(longer.as_deref(), Ok(&b"some text\0"[..]));
        assert!(Compression::Zstd.unpack(&padded, 9 + 4096, 4096).is_err());
        assert!(Compression::Zlib.unpack(&padded, 9, 4096).is_err());
        assert!(Compression::parse(4).is_err());
    }

    #[test]
    fn a_frame_that_wants_much_memory_is_refused() {
        let text = vec![b'x'; 5 << 20];
        for (window, is_read) in [(17, true), (18, false), (27, false)] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window).unwrap();
            encoder.write_all(&text).unwrap();
            let packed = encoder.finish().unwrap();
            let unpacked = Compression::Zstd.unpack(&packed, 9, 4096);
            assert_eq!(unpacked.is_ok(), is_read, "{window}: {unpacked:?}");
        }
    }
}
