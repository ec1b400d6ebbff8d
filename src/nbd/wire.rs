// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection to a client: what it sends is buffered, what it is sent is
//! collected, and large pieces go out from where they are.

use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};

/// How a client went.
#[derive(Debug)]
pub enum Gone {
    /// It said good-bye, or hung up between two requests.
    Done,
    /// The connection broke, or was ended from here.
    Lost(io::Error),
    /// It sent what no client sends.
    Garbage(&'static str),
}

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// Pieces from this length on are sent from where they are.
const LARGE: usize = 16 << 10;

/// As much as is collected before it is sent.
const COLLECT: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub struct Wire<R, W> {
    input: BufReader<R>,
    output: W,
    collected: Vec<u8>,
    sent: u64,
}

impl<R: Read, W: Write> Wire<R, W> {
    pub(super) fn new(input: R, output: W) -> Self {
        let input = BufReader::with_capacity(COLLECT, input);
        Self { input, output, collected: Vec::new(), sent: 0 }
    }

    /// How many bytes were sent.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// The next `N` bytes.
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Gone> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Fills `buf` with what comes next.
    pub(super) fn fill(&mut self, buf: &mut [u8]) -> Result<(), Gone> {
        self.input.read_exact(buf).map_err(Gone::Lost)
    }

    /// True if the client has hung up, and nothing more comes.
    pub(super) fn is_over(&mut self) -> Result<bool, Gone> {
        loop {
            match self.input.fill_buf() {
                Ok(bytes) => return Ok(bytes.is_empty()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Gone::Lost(error)),
            }
        }
    }

    /// Sends `bytes`, now or with what comes next.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        if bytes.len() >= LARGE {
            return self.send(bytes);
        }
        self.collected.extend_from_slice(bytes);
        if self.collected.len() >= COLLECT { self.send(&[]) } else { Ok(()) }
    }

    /// Sends all that was collected.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        self.send(&[])?;
        self.output.flush().map_err(Gone::Lost)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let mut slices = [IoSlice::new(&self.collected), IoSlice::new(bytes)];
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match self.output.write_vectored(left) {
                Ok(0) => return Err(Gone::Lost(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.sent = self.sent.saturating_add(u64::try_from(count).unwrap_or(0));
                    IoSlice::advance_slices(&mut left, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Gone::Lost(error)),
            }
        }
        self.collected.clear();
        Ok(())
    }
}
