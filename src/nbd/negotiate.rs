// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handshake: a client learns what exports there are and chooses one.

use std::io::{Read, Write};

use super::disk::{Disk, Export, Exports};
use super::protocol::{
    self, ALLOCATION_ID, CLIENT_FLAGS_LEN, ClientFlags, ContextRequest, InfoRequest,
    MAX_OPTION_LEN, OPTION_LEN, OptionHeader, info, option, reply, transmission,
};
use super::wire::{Gone, Wire};

/// So many options a client may send, before it must have chosen.
const MAX_OPTIONS: u32 = 4096;

/// What was agreed on with a client.
#[derive(Debug)]
pub struct Session<'a> {
    /// What it reads.
    pub export: &'a Export,
    /// It takes replies in chunks.
    pub structured: bool,
    /// It may ask which ranges are zero.
    pub allocation: bool,
}

/// What an export can do.
#[must_use]
pub fn transmission_flags(disk: &Disk, structured: bool) -> u16 {
    // All connections see the same bytes, whatever one of them writes.
    let mut flags =
        transmission::HAS_FLAGS | transmission::CAN_MULTI_CONN | transmission::SEND_CACHE;
    if structured {
        flags |= transmission::SEND_DF;
    }
    flags
        | if disk.scratch().is_some() {
            transmission::SEND_FLUSH
                | transmission::SEND_FUA
                | transmission::SEND_TRIM
                | transmission::SEND_WRITE_ZEROES
                | transmission::SEND_FAST_ZERO
        } else {
            transmission::READ_ONLY
        }
}

/// Leads a client to an export.
///
/// # Errors
/// How it went instead.
pub fn run<'a, R: Read, W: Write>(
    wire: &mut Wire<R, W>,
    exports: &'a Exports,
) -> Result<Session<'a>, Gone> {
    wire.put(&protocol::hello())?;
    wire.flush()?;
    let flags = wire.take::<CLIENT_FLAGS_LEN>()?;
    let flags = ClientFlags::parse(&flags).ok_or(Gone::Garbage("unknown flags"))?;
    let mut haggling = Haggling { exports, flags, structured: false, allocation: None };
    for _ in 0..MAX_OPTIONS {
        let header = wire.take::<OPTION_LEN>()?;
        let header = OptionHeader::parse(&header).ok_or(Gone::Garbage("no option"))?;
        if header.len > MAX_OPTION_LEN {
            return Err(Gone::Garbage("an option that is too long"));
        }
        if !flags.fixed_newstyle && header.code != option::EXPORT_NAME {
            return Err(Gone::Garbage("an option that it says it does not know"));
        }
        let mut data = vec![0; usize::try_from(header.len).unwrap_or(0)];
        wire.fill(&mut data)?;
        let chosen = haggling.answer(header.code, &data, wire)?;
        wire.flush()?;
        if let Some(export) = chosen {
            let allocation = haggling.allocation.is_some_and(|of| std::ptr::eq(of, export));
            return Ok(Session { export, structured: haggling.structured, allocation });
        }
    }
    Err(Gone::Garbage("options without end"))
}

/// The state of a handshake.
struct Haggling<'a> {
    exports: &'a Exports,
    flags: ClientFlags,
    structured: bool,
    /// The export whose allocation was chosen.
    allocation: Option<&'a Export>,
}

impl<'a> Haggling<'a> {
    /// Answers an option; gives the export with which it ends.
    fn answer<R: Read, W: Write>(
        &mut self,
        code: u32,
        data: &[u8],
        wire: &mut Wire<R, W>,
    ) -> Result<Option<&'a Export>, Gone> {
        let mut say = |kind: u32, data: &[u8]| wire.put(&protocol::option_reply(code, kind, data));
        match code {
            option::EXPORT_NAME => {
                let name = protocol::string(data).ok_or(Gone::Garbage("no name"))?;
                // There is no way to say no but to hang up.
                let Ok(export) = self.exports.find(&name) else { return Err(Gone::Done) };
                let flags = transmission_flags(&export.disk, self.structured);
                let len = export.extent.len();
                wire.put(&protocol::export_name_reply(len, flags, self.flags))?;
                return Ok(Some(export));
            }
            option::ABORT => {
                say(reply::ACK, &[])?;
                return Err(Gone::Done);
            }
            option::LIST if data.is_empty() => {
                for export in self.exports.list() {
                    let data = protocol::server_data(&export.name, &export.description);
                    say(reply::SERVER, &data)?;
                }
                say(reply::ACK, &[])?;
            }
            option::INFO | option::GO => {
                let Some(request) = InfoRequest::parse(data) else {
                    say(reply::ERR_INVALID, b"the request is not well formed")?;
                    return Ok(None);
                };
                match self.exports.find(&request.name) {
                    Ok(export) => {
                        for data in self.information(export, &request) {
                            say(reply::INFO, &data)?;
                        }
                        say(reply::ACK, &[])?;
                        return Ok((code == option::GO).then_some(export));
                    }
                    Err(error) => {
                        let why = error.to_string();
                        say(reply::ERR_UNKNOWN, protocol::short(&why).as_bytes())?;
                    }
                }
            }
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                say(reply::ACK, &[])?;
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                let listing = code == option::LIST_META_CONTEXT;
                if !listing {
                    // Whatever comes of it, what was chosen before is not.
                    self.allocation = None;
                }
                let Some(request) = ContextRequest::parse(data).filter(|_| self.structured) else {
                    say(reply::ERR_INVALID, b"not well formed, or no structured replies")?;
                    return Ok(None);
                };
                let export = match self.exports.find(&request.name) {
                    Ok(export) => export,
                    Err(error) => {
                        let why = error.to_string();
                        say(reply::ERR_UNKNOWN, protocol::short(&why).as_bytes())?;
                        return Ok(None);
                    }
                };
                if request.wants_allocation(listing) {
                    let id = if listing { 0 } else { ALLOCATION_ID };
                    say(reply::META_CONTEXT, &protocol::context_data(id))?;
                    if !listing {
                        self.allocation = Some(export);
                    }
                }
                say(reply::ACK, &[])?;
            }
            option::LIST | option::STRUCTURED_REPLY => {
                say(reply::ERR_INVALID, b"this option has no data")?;
            }
            _ => say(reply::ERR_UNSUP, &[])?,
        }
        Ok(None)
    }

    /// What is told of an export: its size and flags always, the rest if it is
    /// asked for.
    fn information(&self, export: &Export, request: &InfoRequest) -> Vec<Vec<u8>> {
        let flags = transmission_flags(&export.disk, self.structured);
        let mut told = vec![protocol::export_data(export.extent.len(), flags)];
        if request.infos.contains(&info::NAME) {
            told.push(protocol::text_data(info::NAME, &export.name));
        }
        if request.infos.contains(&info::DESCRIPTION) {
            told.push(protocol::text_data(info::DESCRIPTION, &export.description));
        }
        if request.infos.contains(&info::BLOCK_SIZE) {
            told.push(protocol::block_size_data());
        }
        told
    }
}
