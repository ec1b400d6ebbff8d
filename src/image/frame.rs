// SPDX-License-Identifier: MIT OR Apache-2.0
//! The zstd frames of an image: one for each chunk, and zero frames.
//!
//! A zero frame holds up to 1 GiB of zeros in 4 bytes per 128 KiB: a run of RLE
//! blocks. Its bytes follow from its length alone, so that verifying one is
//! comparing it with the frame this module makes.

use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh64::Xxh64;
use zstd::bulk;
use zstd::zstd_safe::CParameter;

use super::format::MAX_FRAME_CONTENT;
use crate::error::{Error, Result};

/// The largest block of a zstd frame (RFC 8878, 3.1.1.2.4).
const BLOCK_LEN: u64 = 128 << 10;
/// Frame header descriptor: 4-byte content size, content checksum, no single
/// segment (that would make the window as large as the content).
const ZERO_DESCRIPTOR: u8 = 0b1000_0100;
/// Window descriptor: 1 MiB.
const ZERO_WINDOW: u8 = 10 << 3;
const BLOCK_RAW: u64 = 0;
const BLOCK_RLE: u64 = 1;

/// Compresses chunks into frames with content size and checksum.
pub struct Compressor(bulk::Compressor<'static>);

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// A compressor for a zstd level.
    ///
    /// # Errors
    /// If zstd has no memory or does not know the level.
    pub fn new(level: i32) -> Result<Self> {
        let make = || -> std::io::Result<bulk::Compressor<'static>> {
            let mut inner = bulk::Compressor::new(level)?;
            inner.set_parameter(CParameter::ChecksumFlag(true))?;
            inner.set_parameter(CParameter::ContentSizeFlag(true))?;
            Ok(inner)
        };
        make().map(Self).map_err(|error| Error::io("starting the compressor", error))
    }

    /// One frame with `content`.
    ///
    /// # Errors
    /// If zstd fails.
    pub fn compress(&mut self, content: &[u8]) -> Result<Vec<u8>> {
        let mut frame = Vec::new();
        self.compress_into(content, &mut frame)?;
        Ok(frame)
    }

    /// One frame with `content`, appended to `frame`.
    ///
    /// # Errors
    /// If zstd fails.
    pub fn compress_into(&mut self, content: &[u8], frame: &mut Vec<u8>) -> Result<()> {
        frame.clear();
        frame.reserve(zstd::zstd_safe::compress_bound(content.len()));
        self.0
            .compress_to_buffer(content, frame)
            .map(drop)
            .map_err(|error| Error::io("compressing", error))
    }
}

/// Decompresses frames of a known content length.
pub struct Decompressor(bulk::Decompressor<'static>);

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// A decompressor.
    ///
    /// # Errors
    /// If zstd has no memory.
    pub fn new() -> Result<Self> {
        bulk::Decompressor::new()
            .map(Self)
            .map_err(|error| Error::io("starting the decompressor", error))
    }

    /// Fills `content` with the content of one frame, which must be exactly as
    /// long. No memory is taken, whatever the frame says.
    ///
    /// # Errors
    /// Damaged if the frame does not decode to just that many bytes.
    pub fn decompress(&mut self, frame: &[u8], content: &mut [u8]) -> Result<()> {
        let written = self
            .0
            .decompress_to_buffer(frame, content)
            .map_err(|error| Error::damaged(format!("decompressing: {error}")))?;
        if written == content.len() {
            return Ok(());
        }
        Err(Error::damaged(format!("a frame of {} bytes has {written}", content.len())))
    }
}

/// True if every byte is zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    // Whole blocks without a branch inside: the compiler makes vectors of it.
    blocks.iter().all(|block| block.iter().fold(0, |or, byte| or | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

/// The frame that holds `len` zeros.
///
/// # Errors
/// If `len` is zero or more than a frame may hold.
pub fn zero_frame(len: u64) -> Result<Vec<u8>> {
    if len == 0 || len > MAX_FRAME_CONTENT {
        return Err(Error::damaged(format!("a zero frame cannot hold {len} bytes")));
    }
    let mut frame = Vec::new();
    frame.extend_from_slice(&zstd::zstd_safe::MAGICNUMBER.to_le_bytes());
    frame.push(ZERO_DESCRIPTOR);
    frame.push(ZERO_WINDOW);
    let content_size = u32::try_from(len).unwrap_or(u32::MAX);
    frame.extend_from_slice(&content_size.to_le_bytes());
    // The first block is one raw byte: the zstd program up to 1.4.3 rejects a
    // frame whose first block is RLE.
    let mut rest = len.saturating_sub(1);
    push_block(&mut frame, BLOCK_RAW, 1, rest == 0);
    while rest > 0 {
        let block = rest.min(BLOCK_LEN);
        rest = rest.saturating_sub(block);
        push_block(&mut frame, BLOCK_RLE, block, rest == 0);
    }
    frame.extend_from_slice(&zero_checksum(len));
    Ok(frame)
}

fn push_block(frame: &mut Vec<u8>, kind: u64, len: u64, last: bool) {
    let header = len << 3 | kind << 1 | u64::from(last);
    frame.extend(header.to_le_bytes().iter().take(3));
    frame.push(0);
}

/// Checksums are kept at multiples of this length.
const CHECKSUM_STEP: u64 = 1 << 20;

/// The low four bytes of the XXH64 of `len` zeros, which are at most
/// [`MAX_FRAME_CONTENT`].
///
/// Whoever makes an image chooses the lengths, so what is kept must not grow
/// with how many there are: it is the hasher at every MiB, 1024 of them.
fn zero_checksum(len: u64) -> [u8; 4] {
    static STEPS: Mutex<Vec<Xxh64>> = Mutex::new(Vec::new());
    const ZEROS: &[u8] = &[0; 1 << 20];
    let steps = len.checked_div(CHECKSUM_STEP).and_then(|steps| usize::try_from(steps).ok());
    let steps = steps.unwrap_or(0);
    let mut made = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
    while made.len() <= steps {
        let mut next = Xxh64::new(0);
        if let Some(last) = made.last() {
            next.clone_from(last);
            next.update(ZEROS);
        }
        made.push(next);
    }
    let mut hasher = made.get(steps).cloned().unwrap_or_else(|| Xxh64::new(0));
    drop(made);
    let rest = len.checked_rem(CHECKSUM_STEP).and_then(|rest| usize::try_from(rest).ok());
    hasher.update(ZEROS.get(..rest.unwrap_or(0)).unwrap_or_default());
    let [a, b, c, d, ..] = hasher.digest().to_le_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_frames_decode_to_zeros_with_a_good_checksum() {
        for len in [1, 2, 65_536, 131_072, 131_073, 1 << 20, (1 << 20) + 4096] {
            let frame = zero_frame(len).unwrap();
            let mut content = vec![1; usize::try_from(len).unwrap()];
            Decompressor::new().unwrap().decompress(&frame, &mut content).unwrap();
            assert!(is_zero(&content));
            let mut broken = frame.clone();
            *broken.last_mut().unwrap() ^= 1;
            assert!(Decompressor::new().unwrap().decompress(&broken, &mut content).is_err());
        }
    }

    #[test]
    fn a_gibibyte_of_zeros_takes_32_kib() {
        assert!(zero_frame(1 << 30).unwrap().len() < 33_000);
        assert!(zero_frame((1 << 30) + 1).is_err());
        assert!(zero_frame(0).is_err());
    }

    /// An image may claim any number of lengths; each used to hash up to a
    /// gibibyte under one lock, and to keep the frame.
    #[test]
    fn a_thousand_lengths_hash_one_gibibyte_once() {
        let started = std::time::Instant::now();
        for n in 0..1000 {
            zero_frame((1 << 30) - n * 65_536).unwrap();
        }
        assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    }

    #[test]
    fn a_frame_of_another_length_is_damaged() {
        let frame = Compressor::new(1).unwrap().compress(&[7; 5000]).unwrap();
        let mut decompressor = Decompressor::new().unwrap();
        decompressor.decompress(&frame, &mut [0; 5000]).unwrap();
        assert!(decompressor.decompress(&frame, &mut [0; 4999]).is_err());
        assert!(decompressor.decompress(&frame, &mut [0; 5001]).is_err());
    }

    #[test]
    fn one_byte_anywhere_is_seen() {
        for len in [1, 63, 64, 65, 1000] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes));
            for at in [0, len / 2, len - 1] {
                bytes[at] = 1;
                assert!(!is_zero(&bytes));
                bytes[at] = 0;
            }
        }
    }
}
