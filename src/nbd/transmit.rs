// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a client does with the export that it chose: read, ask what is zero,
//! and where there is an overlay, write.

use std::io::{self, Read, Write};

use super::disk::Disk;
use super::negotiate::Session;
use super::protocol::{self, MAX_PAYLOAD, REQUEST_LEN, Request, STATE_HOLE, command, errno, flag};
use super::wire::{Gone, Wire};
use crate::error::{Error, ErrorKind};
use crate::extent::Extent;
use crate::image::cached::Piece;
use crate::io::WriteAt;

/// So much of a read is held in memory until all of it is known to be good,
/// where a reply cannot tell of an error in its middle.
const HELD: u32 = 1 << 20;

/// The most of a read that a client can have in one chunk.
const MAX_UNFRAGMENTED: u32 = 4 << 20;

/// So many ranges are told in one reply; the client asks on behind them.
const MAX_RANGES: usize = 16 << 10;

/// As much as is taken of what a client writes, at a time.
const WRITTEN: usize = 256 << 10;

/// A client that reads an export.
pub struct Client<'a> {
    /// What it reads from.
    pub disk: &'a Disk,
    /// What was agreed on.
    pub session: Session<'a>,
    /// Is told of what could not be read or written.
    pub failed: &'a dyn Fn(&Error),
}

impl std::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Why a request was not carried out: the protocol's error, and in words.
struct Refusal {
    code: u32,
    why: String,
    /// Where on the export, if it is about one place.
    offset: Option<u64>,
}

impl Refusal {
    fn new(code: u32, why: &str) -> Self {
        Self { code, why: why.into(), offset: None }
    }
}

impl Client<'_> {
    /// Carries out requests until the client is gone.
    ///
    /// # Errors
    /// How it went, unless it said good-bye.
    pub fn run<R: Read, W: Write>(&self, wire: &mut Wire<R, W>) -> Result<(), Gone> {
        while !wire.is_over()? {
            let request = wire.take::<REQUEST_LEN>()?;
            let request = Request::parse(&request).ok_or(Gone::Garbage("no request"))?;
            if request.command == command::DISC {
                return Ok(());
            }
            self.answer(&request, wire)?;
            wire.flush()?;
        }
        Ok(())
    }

    fn answer<R: Read, W: Write>(
        &self,
        request: &Request,
        wire: &mut Wire<R, W>,
    ) -> Result<(), Gone> {
        let extent = match self.check(request) {
            Ok(extent) => extent,
            Err(refusal) => {
                if request.command == command::WRITE {
                    self.skip(request, wire)?;
                }
                return self.refuse(request, &refusal, wire);
            }
        };
        match request.command {
            command::READ if self.session.structured => self.read(request, extent, wire),
            command::READ => self.read_simple(request, extent, wire),
            command::BLOCK_STATUS => {
                let most = if request.flags & flag::REQ_ONE == 0 { MAX_RANGES } else { 1 };
                let ranges = self.disk.allocation(extent, most);
                let told: Vec<(u32, u32)> = ranges
                    .into_iter()
                    // OK because a request has no more than fits.
                    .map(|(len, hole)| (len32(len), if hole { STATE_HOLE } else { 0 }))
                    .collect();
                wire.put(&protocol::status_chunk(request.cookie, &told))
            }
            command::WRITE => self.write(request, extent, wire),
            _ => match self.carry_out(request, extent) {
                Ok(()) => wire.put(&protocol::simple_reply(request.cookie, 0)),
                Err(refusal) => self.refuse(request, &refusal, wire),
            },
        }
    }

    /// What has neither data nor an answer besides yes or no.
    fn carry_out(&self, request: &Request, extent: Extent) -> Result<(), Refusal> {
        let told = |error: Error| self.told(&error, None);
        match (request.command, self.disk.scratch()) {
            // Nothing that is written has to outlive the server.
            (command::FLUSH, _) => Ok(()),
            (command::CACHE, _) => {
                let mut left = extent;
                while !left.is_empty() {
                    let piece = self.disk.piece(left).map_err(told)?;
                    left = Extent::new(left.start().saturating_add(piece.len()), left.end());
                }
                Ok(())
            }
            (command::WRITE_ZEROES, Some(scratch)) if request.flags & flag::NO_HOLE != 0 => {
                scratch.provide(extent).map_err(told)
            }
            (command::WRITE_ZEROES, Some(scratch)) => scratch.zero(extent).map_err(told),
            (command::TRIM, Some(scratch)) => scratch.discard(extent).map(drop).map_err(told),
            _ => Err(Refusal::new(errno::EINVAL, "no such command")),
        }
    }

    /// The bytes on the disk that a request is about, if it is in order.
    fn check(&self, request: &Request) -> Result<Extent, Refusal> {
        let writable = self.disk.scratch().is_some();
        let fua = if writable { flag::FUA } else { 0 };
        let (flags, changes) = match request.command {
            command::READ if self.session.structured => (flag::DF, false),
            command::READ | command::FLUSH | command::CACHE => (0, false),
            command::WRITE | command::TRIM => (0, true),
            command::WRITE_ZEROES => (flag::NO_HOLE | flag::FAST_ZERO, true),
            command::BLOCK_STATUS if self.session.allocation => (flag::REQ_ONE, false),
            command::BLOCK_STATUS => {
                return Err(Refusal::new(errno::EINVAL, "base:allocation was not chosen"));
            }
            _ => return Err(Refusal::new(errno::EINVAL, "no such command")),
        };
        if changes && !writable {
            return Err(Refusal::new(errno::EPERM, "the export is read-only"));
        }
        if request.flags & !(flags | fua) != 0 {
            return Err(Refusal::new(errno::EINVAL, "a flag that does not belong there"));
        }
        if request.command == command::FLUSH {
            return Ok(Extent::new(0, 0));
        }
        let export = self.session.export.extent;
        let len = u64::from(request.len);
        let inside = request.offset.checked_add(len).is_some_and(|end| end <= export.len());
        if !inside {
            // What the protocol wants of writes.
            let no_room = matches!(request.command, command::WRITE | command::WRITE_ZEROES);
            let code = if no_room { errno::ENOSPC } else { errno::EINVAL };
            return Err(Refusal::new(code, "beyond the end of the export"));
        }
        let most = match request.command {
            command::READ if request.flags & flag::DF != 0 => MAX_UNFRAGMENTED,
            command::READ | command::WRITE | command::CACHE => MAX_PAYLOAD,
            _ => u32::MAX,
        };
        if request.len > most {
            let limited = request.command == command::CACHE || request.flags & flag::DF != 0;
            let code = if limited { errno::EOVERFLOW } else { errno::EINVAL };
            return Err(Refusal::new(code, &format!("more than {most} bytes at once")));
        }
        if request.command == command::BLOCK_STATUS && request.len == 0 {
            return Err(Refusal::new(errno::EINVAL, "nothing is asked for"));
        }
        Ok(Extent::at(export.start().saturating_add(request.offset), len))
    }

    /// Where a place on the disk is on the export.
    fn on_export(&self, position: u64) -> u64 {
        position.saturating_sub(self.session.export.extent.start())
    }

    /// A read in chunks: each goes out when it is there, and zeros take 32 bytes.
    fn read<R: Read, W: Write>(
        &self,
        request: &Request,
        extent: Extent,
        wire: &mut Wire<R, W>,
    ) -> Result<(), Gone> {
        if request.flags & flag::DF != 0 && !extent.is_empty() {
            let len = len32(extent.len());
            let pieces = match self.hold(extent) {
                Ok(pieces) => pieces,
                Err(refusal) => return self.refuse(request, &refusal, wire),
            };
            wire.put(&protocol::data_chunk(request.cookie, true, request.offset, len))?;
            return pieces.iter().try_for_each(|piece| put_piece(piece, wire));
        }
        let mut left = extent;
        while !left.is_empty() {
            let piece = match self.disk.piece(left) {
                Ok(piece) => piece,
                Err(error) => {
                    let refusal = self.told(&error, Some(self.on_export(left.start())));
                    return self.refuse(request, &refusal, wire);
                }
            };
            let (offset, len) = (self.on_export(left.start()), len32(piece.len()));
            left = Extent::new(left.start().saturating_add(piece.len()), left.end());
            let done = left.is_empty();
            match &piece {
                Piece::Zeros(_) => {
                    wire.put(&protocol::hole_chunk(request.cookie, done, offset, len))?;
                }
                Piece::Bytes(bytes) => {
                    wire.put(&protocol::data_chunk(request.cookie, done, offset, len))?;
                    wire.put(bytes.as_ref())?;
                }
            }
        }
        if extent.is_empty() { wire.put(&protocol::done_chunk(request.cookie)) } else { Ok(()) }
    }

    /// A read whose reply begins with whether it is good: all is looked at
    /// before that is said. What is more than may be held is read twice, from
    /// the cache of the image as a rule.
    fn read_simple<R: Read, W: Write>(
        &self,
        request: &Request,
        extent: Extent,
        wire: &mut Wire<R, W>,
    ) -> Result<(), Gone> {
        let mut held = Vec::new();
        let mut left = extent;
        while !left.is_empty() {
            let piece = match self.disk.piece(left) {
                Ok(piece) => piece,
                Err(error) => {
                    let refusal = self.told(&error, None);
                    return self.refuse(request, &refusal, wire);
                }
            };
            left = Extent::new(left.start().saturating_add(piece.len()), left.end());
            if request.len <= HELD {
                held.push(piece);
            }
        }
        wire.put(&protocol::simple_reply(request.cookie, 0))?;
        let mut left = extent;
        for piece in &held {
            put_piece(piece, wire)?;
            left = Extent::new(left.start().saturating_add(piece.len()), left.end());
        }
        while !left.is_empty() {
            let Ok(piece) = self.disk.piece(left) else {
                // By the protocol, there is no other way to say it now.
                return Err(Gone::Lost(io::Error::other("what it reads went bad meanwhile")));
            };
            put_piece(&piece, wire)?;
            left = Extent::new(left.start().saturating_add(piece.len()), left.end());
        }
        Ok(())
    }

    fn hold(&self, extent: Extent) -> Result<Vec<Piece>, Refusal> {
        let mut held = Vec::new();
        let mut left = extent;
        while !left.is_empty() {
            let at = self.on_export(left.start());
            let piece = self.disk.piece(left).map_err(|error| self.told(&error, Some(at)))?;
            left = Extent::new(left.start().saturating_add(piece.len()), left.end());
            held.push(piece);
        }
        Ok(held)
    }

    fn write<R: Read, W: Write>(
        &self,
        request: &Request,
        extent: Extent,
        wire: &mut Wire<R, W>,
    ) -> Result<(), Gone> {
        let mut outcome = match self.disk.scratch() {
            Some(_) => Ok(()),
            None => Err(Refusal::new(errno::EPERM, "the export is read-only")),
        };
        let mut bytes = buffer(request);
        for part in extent.pieces(u64::try_from(WRITTEN).unwrap_or(1)) {
            let len = usize::try_from(part.len()).unwrap_or(0).min(WRITTEN);
            let Some(bytes) = bytes.get_mut(..len) else { continue };
            wire.fill(bytes)?;
            if let (Ok(()), Some(scratch)) = (&outcome, self.disk.scratch()) {
                outcome =
                    scratch.write_at(part.start(), bytes).map_err(|error| self.told(&error, None));
            }
        }
        match outcome {
            Ok(()) => wire.put(&protocol::simple_reply(request.cookie, 0)),
            Err(refusal) => self.refuse(request, &refusal, wire),
        }
    }

    /// Passes over the data of a write that is refused.
    fn skip<R: Read, W: Write>(
        &self,
        request: &Request,
        wire: &mut Wire<R, W>,
    ) -> Result<(), Gone> {
        if request.len > MAX_PAYLOAD {
            return Err(Gone::Garbage("a write that is too long"));
        }
        let mut bytes = buffer(request);
        let all = Extent::new(0, request.len.into());
        for part in all.pieces(u64::try_from(WRITTEN).unwrap_or(1)) {
            let len = usize::try_from(part.len()).unwrap_or(0).min(WRITTEN);
            wire.fill(bytes.get_mut(..len).unwrap_or_default())?;
        }
        Ok(())
    }

    fn refuse<R: Read, W: Write>(
        &self,
        request: &Request,
        refusal: &Refusal,
        wire: &mut Wire<R, W>,
    ) -> Result<(), Gone> {
        let Refusal { code, why, offset } = refusal;
        if self.session.structured {
            wire.put(&protocol::error_chunk(request.cookie, *code, why, *offset))
        } else {
            wire.put(&protocol::simple_reply(request.cookie, *code))
        }
    }

    /// A failure of the disk or the overlay, which whoever runs the server
    /// wants to know of, too.
    fn told(&self, error: &Error, offset: Option<u64>) -> Refusal {
        (self.failed)(error);
        let code = if error.kind() == ErrorKind::NoSpace { errno::ENOSPC } else { errno::EIO };
        Refusal { code, why: error.to_string(), offset }
    }
}

/// For the data of a write, as much as is taken at a time.
fn buffer(request: &Request) -> Vec<u8> {
    vec![0; usize::try_from(request.len).unwrap_or(WRITTEN).min(WRITTEN)]
}

fn put_piece<R: Read, W: Write>(piece: &Piece, wire: &mut Wire<R, W>) -> Result<(), Gone> {
    const ZEROS: &[u8] = &[0; 64 << 10];
    match piece {
        Piece::Bytes(bytes) => wire.put(bytes.as_ref()),
        Piece::Zeros(len) => {
            let pieces = Extent::new(0, *len).pieces(u64::try_from(ZEROS.len()).unwrap_or(1));
            for part in pieces {
                let len = usize::try_from(part.len()).unwrap_or(0);
                wire.put(ZEROS.get(..len).unwrap_or_default())?;
            }
            Ok(())
        }
    }
}

fn len32(len: u64) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
