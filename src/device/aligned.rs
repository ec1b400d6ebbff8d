// SPDX-License-Identifier: MIT OR Apache-2.0
//! A buffer that may be handed to the kernel for direct I/O.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// What the address of a buffer must be a multiple of to be read into or
/// written from directly: a page, which satisfies every driver.
pub const BUFFER_ALIGN: usize = 4096;

/// Bytes at an address that is a multiple of [`BUFFER_ALIGN`].
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// A buffer of `len` zeros.
    #[must_use]
    pub fn new(len: usize) -> Self {
        // A Vec that is never grown stays at its address, so the distance
        // to the next page is computed once.
        let bytes = vec![0; len.saturating_add(BUFFER_ALIGN)];
        // align_offset may decline to answer; the buffer is then merely not
        // aligned, which costs a copy and nothing else.
        let start = match bytes.as_ptr().align_offset(BUFFER_ALIGN) {
            start if start <= BUFFER_ALIGN => start,
            _ => 0,
        };
        Self { bytes, start, len }
    }

    /// How long the buffer can be made without new memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Sets the length; content up to the shorter length stays, the rest is
    /// undefined (but initialised) where memory is used again.
    pub fn set_len(&mut self, len: usize) {
        if len > self.capacity() {
            let mut larger = Self::new(len);
            larger[..self.len].copy_from_slice(self.as_slice());
            *self = larger;
        }
        self.len = len;
    }

    /// The content.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    /// The content, to be written to.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl Default for AlignedBuffer {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_is_aligned_and_keeps_its_content() {
        for len in [0, 1, 511, 4096, 4097, 1 << 20] {
            let mut buffer = AlignedBuffer::new(len);
            assert_eq!(buffer.as_ptr().addr() % BUFFER_ALIGN, 0, "{len}");
            assert_eq!(buffer.len(), len);
            buffer.fill(7);
            let address = buffer.as_ptr().addr();
            buffer.set_len(len / 2);
            assert_eq!((buffer.len(), buffer.as_ptr().addr()), (len / 2, address));
            buffer.set_len(len * 2 + 1);
            assert_eq!(buffer.as_ptr().addr() % BUFFER_ALIGN, 0);
            assert!(buffer[..len / 2].iter().all(|byte| *byte == 7));
            assert_eq!(buffer.len(), len * 2 + 1);
        }
    }
}
