// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes over the wire, as bytes: parsing what a client sends, making what
//! the server answers. No input or output.
//!
//! Source: `doc/proto.md` of the NBD project, whose names stand in the
//! comments. All numbers are big-endian.

use crate::ondisk::Fields;

/// The port that is reserved for NBD.
pub const PORT: u16 = 10809;

/// The most that one read or write may ask for: what every client may count on.
pub const MAX_PAYLOAD: u32 = 32 << 20;

/// The most data of an option that is looked at; a client that sends more means
/// no good.
pub const MAX_OPTION_LEN: u32 = 64 << 10;

/// The longest string, by the protocol.
const MAX_STRING: usize = 4096;

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

/// `NBD_FLAG_FIXED_NEWSTYLE` and `NBD_FLAG_NO_ZEROES`; the client's are the same.
const FIXED_NEWSTYLE: u32 = 1;
const NO_ZEROES: u32 = 1 << 1;

/// The length of what a client sends after the first words.
pub const CLIENT_FLAGS_LEN: usize = 4;
/// The length of an option without its data.
pub const OPTION_LEN: usize = 16;
/// The length of a request without its data.
pub const REQUEST_LEN: usize = 28;

/// The first words of the server.
#[must_use]
pub fn hello() -> Vec<u8> {
    let flags = 3_u16; // NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES
    [&NBDMAGIC.to_be_bytes()[..], &IHAVEOPT.to_be_bytes(), &flags.to_be_bytes()].concat()
}

/// What the client says it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientFlags {
    /// `NBD_FLAG_C_FIXED_NEWSTYLE`: it knows options besides the name.
    pub fixed_newstyle: bool,
    /// `NBD_FLAG_C_NO_ZEROES`: it does without 124 bytes of padding.
    pub no_zeroes: bool,
}

impl ClientFlags {
    /// `None` if a flag is unknown: the server has to hang up then.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let flags = bytes.u32_be(0)?;
        (flags & !(FIXED_NEWSTYLE | NO_ZEROES) == 0).then_some(Self {
            fixed_newstyle: flags & FIXED_NEWSTYLE != 0,
            no_zeroes: flags & NO_ZEROES != 0,
        })
    }
}

/// The options of the handshake (`NBD_OPT_`).
pub mod option {
    #![expect(missing_docs, reason = "the names are those of the protocol")]
    pub const EXPORT_NAME: u32 = 1;
    pub const ABORT: u32 = 2;
    pub const LIST: u32 = 3;
    pub const STARTTLS: u32 = 5;
    pub const INFO: u32 = 6;
    pub const GO: u32 = 7;
    pub const STRUCTURED_REPLY: u32 = 8;
    pub const LIST_META_CONTEXT: u32 = 9;
    pub const SET_META_CONTEXT: u32 = 10;
}

/// The answers to options (`NBD_REP_`).
pub mod reply {
    #![expect(missing_docs, reason = "the names are those of the protocol")]
    pub const ACK: u32 = 1;
    pub const SERVER: u32 = 2;
    pub const INFO: u32 = 3;
    pub const META_CONTEXT: u32 = 4;
    pub const ERR_UNSUP: u32 = 1 << 31 | 1;
    pub const ERR_INVALID: u32 = 1 << 31 | 3;
    pub const ERR_UNKNOWN: u32 = 1 << 31 | 6;
}

/// What a client asks to know of an export (`NBD_INFO_`).
pub mod info {
    #![expect(missing_docs, reason = "the names are those of the protocol")]
    pub const EXPORT: u16 = 0;
    pub const NAME: u16 = 1;
    pub const DESCRIPTION: u16 = 2;
    pub const BLOCK_SIZE: u16 = 3;
}

/// What an export can do (`NBD_FLAG_`).
pub mod transmission {
    #![expect(missing_docs, reason = "the names are those of the protocol")]
    pub const HAS_FLAGS: u16 = 1;
    pub const READ_ONLY: u16 = 1 << 1;
    pub const SEND_FLUSH: u16 = 1 << 2;
    pub const SEND_FUA: u16 = 1 << 3;
    pub const SEND_TRIM: u16 = 1 << 5;
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    pub const SEND_DF: u16 = 1 << 7;
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    pub const SEND_CACHE: u16 = 1 << 10;
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// The commands (`NBD_CMD_`).
pub mod command {
    #![expect(missing_docs, reason = "the names are those of the protocol")]
    pub const READ: u16 = 0;
    pub const WRITE: u16 = 1;
    pub const DISC: u16 = 2;
    pub const FLUSH: u16 = 3;
    pub const TRIM: u16 = 4;
    pub const CACHE: u16 = 5;
    pub const WRITE_ZEROES: u16 = 6;
    pub const BLOCK_STATUS: u16 = 7;
}

/// The flags of commands (`NBD_CMD_FLAG_`).
pub mod flag {
    #![expect(missing_docs, reason = "the names are those of the protocol")]
    pub const FUA: u16 = 1;
    pub const NO_HOLE: u16 = 1 << 1;
    pub const DF: u16 = 1 << 2;
    pub const REQ_ONE: u16 = 1 << 3;
    pub const FAST_ZERO: u16 = 1 << 4;
}

/// The error values (`NBD_E`).
pub mod errno {
    #![expect(missing_docs, reason = "the names are those of the protocol")]
    pub const EPERM: u32 = 1;
    pub const EIO: u32 = 5;
    pub const EINVAL: u32 = 22;
    pub const ENOSPC: u32 = 28;
    pub const EOVERFLOW: u32 = 75;
    pub const ESHUTDOWN: u32 = 108;
}

/// The one metadata context there is, and the number it has here.
pub const ALLOCATION: &str = "base:allocation";
/// The number of [`ALLOCATION`].
pub const ALLOCATION_ID: u32 = 1;
/// The state of a range that reads as zero and takes no room:
/// `NBD_STATE_HOLE` and `NBD_STATE_ZERO`.
pub const STATE_HOLE: u32 = 3;

/// An option, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionHeader {
    /// Which one.
    pub code: u32,
    /// How many bytes of data follow.
    pub len: u32,
}

impl OptionHeader {
    /// `None` if this is no option.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        (bytes.u64_be(0)? == IHAVEOPT)
            .then_some(Self { code: bytes.u32_be(8)?, len: bytes.u32_be(12)? })
    }
}

/// Takes fields from the start of a slice.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.u16_be(0)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.u32_be(0)
    }

    fn string(&mut self) -> Option<String> {
        let len = usize::try_from(self.u32()?).ok()?;
        string(self.take(len)?)
    }
}

/// A string of the protocol: UTF-8, not long, without NUL.
#[must_use]
pub fn string(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= MAX_STRING && !text.contains('\0')).then(|| text.to_owned())
}

/// The data of `NBD_OPT_INFO` and `NBD_OPT_GO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfoRequest {
    /// The export.
    pub name: String,
    /// What else to tell about it.
    pub infos: Vec<u16>,
}

impl InfoRequest {
    /// `None` if the data is not well formed.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let mut data = Cursor(data);
        let name = data.string()?;
        let count = data.u16()?;
        let infos = (0..count).map(|_| data.u16()).collect::<Option<_>>()?;
        data.0.is_empty().then_some(Self { name, infos })
    }
}

/// The data of `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextRequest {
    /// The export.
    pub name: String,
    /// Which contexts.
    pub queries: Vec<String>,
}

impl ContextRequest {
    /// `None` if the data is not well formed.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let mut data = Cursor(data);
        let name = data.string()?;
        let count = data.u32()?;
        let mut queries = Vec::new();
        // Each takes four bytes at least, so that data which is not there
        // takes no memory.
        for _ in 0..count {
            queries.push(data.string()?);
        }
        data.0.is_empty().then_some(Self { name, queries })
    }

    /// True if [`ALLOCATION`] is asked for; `listing` allows for wildcards.
    #[must_use]
    pub fn wants_allocation(&self, listing: bool) -> bool {
        if self.queries.is_empty() {
            return listing;
        }
        self.queries.iter().any(|query| query == ALLOCATION || (listing && query == "base:"))
    }
}

/// As much of a message as the protocol allows a string to have.
#[must_use]
pub fn short(message: &str) -> &str {
    message.get(..message.floor_char_boundary(MAX_STRING)).unwrap_or_default()
}

/// The answer to an option.
#[must_use]
pub fn option_reply(option: u32, reply: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    bytes.extend_from_slice(&option.to_be_bytes());
    bytes.extend_from_slice(&reply.to_be_bytes());
    bytes.extend_from_slice(&len32(data.len()).to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// The data of `NBD_REP_SERVER`.
#[must_use]
pub fn server_data(name: &str, description: &str) -> Vec<u8> {
    [&len32(name.len()).to_be_bytes(), name.as_bytes(), description.as_bytes()].concat()
}

/// The data of `NBD_REP_INFO` about an export: `NBD_INFO_EXPORT`.
#[must_use]
pub fn export_data(len: u64, flags: u16) -> Vec<u8> {
    [&info::EXPORT.to_be_bytes()[..], &len.to_be_bytes(), &flags.to_be_bytes()].concat()
}

/// The data of `NBD_REP_INFO` with a text.
#[must_use]
pub fn text_data(info: u16, text: &str) -> Vec<u8> {
    [&info.to_be_bytes(), text.as_bytes()].concat()
}

/// The data of `NBD_REP_INFO` about sizes: any byte can be read, pages of 4 KiB
/// are what a client does best with.
#[must_use]
pub fn block_size_data() -> Vec<u8> {
    let sizes = [1, 4096, MAX_PAYLOAD].map(u32::to_be_bytes).concat();
    [&info::BLOCK_SIZE.to_be_bytes()[..], &sizes].concat()
}

/// The data of `NBD_REP_META_CONTEXT`.
#[must_use]
pub fn context_data(id: u32) -> Vec<u8> {
    [&id.to_be_bytes(), ALLOCATION.as_bytes()].concat()
}

/// The answer to `NBD_OPT_EXPORT_NAME`.
#[must_use]
pub fn export_name_reply(len: u64, flags: u16, client: ClientFlags) -> Vec<u8> {
    let padding: &[u8] = if client.no_zeroes { &[] } else { &[0; 124] };
    [&len.to_be_bytes(), &flags.to_be_bytes()[..], padding].concat()
}

/// A request, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Of the command.
    pub flags: u16,
    /// What to do.
    pub command: u16,
    /// By which the client knows the reply.
    pub cookie: u64,
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub len: u32,
}

impl Request {
    /// `None` if this is no request.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        (bytes.u32_be(0)? == REQUEST_MAGIC).then_some(Self {
            flags: bytes.u16_be(4)?,
            command: bytes.u16_be(6)?,
            cookie: bytes.u64_be(8)?,
            offset: bytes.u64_be(16)?,
            len: bytes.u32_be(24)?,
        })
    }
}

/// A reply without data; of a read it is the start.
#[must_use]
pub fn simple_reply(cookie: u64, error: u32) -> Vec<u8> {
    [&SIMPLE_REPLY_MAGIC.to_be_bytes(), &error.to_be_bytes()[..], &cookie.to_be_bytes()].concat()
}

/// The types of chunks of a structured reply (`NBD_REPLY_TYPE_`).
mod chunk {
    pub(super) const NONE: u16 = 0;
    pub(super) const OFFSET_DATA: u16 = 1;
    pub(super) const OFFSET_HOLE: u16 = 2;
    pub(super) const BLOCK_STATUS: u16 = 5;
    pub(super) const ERROR: u16 = 1 << 15 | 1;
    pub(super) const ERROR_OFFSET: u16 = 1 << 15 | 2;
}

/// The start of a chunk of a structured reply, `len` bytes of which follow;
/// `done` if it is the last one of its reply.
fn chunk_header(cookie: u64, done: bool, kind: u16, len: u32) -> Vec<u8> {
    let mut bytes = STRUCTURED_REPLY_MAGIC.to_be_bytes().to_vec();
    bytes.extend_from_slice(&u16::from(done).to_be_bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes
}

/// The end of a reply that has no more to say.
#[must_use]
pub fn done_chunk(cookie: u64) -> Vec<u8> {
    chunk_header(cookie, true, chunk::NONE, 0)
}

/// The start of a chunk with `len` bytes of the export at `offset`, which
/// follow; they are at most [`MAX_PAYLOAD`].
#[must_use]
pub fn data_chunk(cookie: u64, done: bool, offset: u64, len: u32) -> Vec<u8> {
    let mut bytes = chunk_header(cookie, done, chunk::OFFSET_DATA, len.saturating_add(8));
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes
}

/// A chunk that stands for `len` zeros at `offset`.
#[must_use]
pub fn hole_chunk(cookie: u64, done: bool, offset: u64, len: u32) -> Vec<u8> {
    let mut bytes = chunk_header(cookie, done, chunk::OFFSET_HOLE, 12);
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes
}

/// A chunk with the lengths of consecutive ranges and the state of each.
#[must_use]
pub fn status_chunk(cookie: u64, ranges: &[(u32, u32)]) -> Vec<u8> {
    let len = len32(ranges.len().saturating_mul(8).saturating_add(4));
    let mut bytes = chunk_header(cookie, true, chunk::BLOCK_STATUS, len);
    bytes.extend_from_slice(&ALLOCATION_ID.to_be_bytes());
    for (len, state) in ranges {
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes
}

/// A chunk that ends a reply with an error, and where it is known with the
/// place.
#[must_use]
pub fn error_chunk(cookie: u64, error: u32, message: &str, offset: Option<u64>) -> Vec<u8> {
    let kind = if offset.is_some() { chunk::ERROR_OFFSET } else { chunk::ERROR };
    let message = short(message);
    let mut payload = error.to_be_bytes().to_vec();
    payload.extend_from_slice(&u16::try_from(message.len()).unwrap_or(0).to_be_bytes());
    payload.extend_from_slice(message.as_bytes());
    payload.extend(offset.iter().flat_map(|offset| offset.to_be_bytes()));
    let mut bytes = chunk_header(cookie, true, kind, len32(payload.len()));
    bytes.extend_from_slice(&payload);
    bytes
}

/// The lengths of what is sent are far below the limit.
fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::as_conversions, reason = "test numbers")]

    use super::*;
    use proptest::prelude::*;

    fn info_request(name: &[u8], infos: &[u16]) -> Vec<u8> {
        let mut data = (name.len() as u32).to_be_bytes().to_vec();
        data.extend_from_slice(name);
        data.extend_from_slice(&(infos.len() as u16).to_be_bytes());
        data.extend(infos.iter().flat_map(|info| info.to_be_bytes()));
        data
    }

    fn context_request(name: &str, queries: &[String]) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
        let mut data = text(name);
        data.extend_from_slice(&(queries.len() as u32).to_be_bytes());
        data.extend(queries.iter().flat_map(|query| text(query)));
        data
    }

    #[test]
    fn numbers_that_count_what_is_not_there_are_refused() {
        assert!(InfoRequest::parse(&info_request(b"disk", &[3])).is_some());
        for (at, value) in [(3, 5), (0, 0xff), (9, 2), (8, 0xff)] {
            let mut data = info_request(b"disk", &[3]);
            data[at] = value;
            assert_eq!(InfoRequest::parse(&data), None, "byte {at}");
        }
        assert_eq!(InfoRequest::parse(&info_request(b"\xff", &[])), None);
        assert_eq!(InfoRequest::parse(&info_request(b"a\0b", &[])), None);
        assert_eq!(InfoRequest::parse(&info_request(&[b'a'; 4097], &[])), None);
        let many = [&[0; 4][..], &[0xff; 4]].concat();
        assert_eq!(ContextRequest::parse(&many), None);
    }

    #[test]
    fn only_the_allocation_of_the_base_namespace_is_known() {
        let wants = |queries: &[&str], listing| {
            let queries = queries.iter().map(|&query| query.to_owned()).collect();
            ContextRequest { name: String::new(), queries }.wants_allocation(listing)
        };
        assert!(wants(&[], true) && !wants(&[], false));
        assert!(wants(&["base:"], true) && !wants(&["base:"], false));
        for listing in [true, false] {
            assert!(wants(&["qemu:dirty-bitmap:a", "base:allocation"], listing));
            assert!(!wants(&["base:other", "x-y:base:allocation"], listing));
        }
    }

    #[test]
    fn an_unknown_flag_of_the_client_is_refused() {
        assert!(ClientFlags::parse(&[0, 0, 0, 3]).is_some());
        assert_eq!(ClientFlags::parse(&[0, 0, 0, 4]), None);
        assert_eq!(ClientFlags::parse(&[0x80, 0, 0, 3]), None);
        assert_eq!(ClientFlags::parse(&[0, 0, 3]), None);
    }

    #[test]
    fn a_message_is_cut_between_letters() {
        let bytes = error_chunk(1, errno::EIO, &"\u{e4}".repeat(4000), Some(7));
        assert_eq!(bytes.u16_be(24), Some(4096));
        assert_eq!(bytes.len(), 20 + 6 + 4096 + 8);
        let bytes = error_chunk(1, errno::EIO, &format!("a{}", "\u{e4}".repeat(4000)), None);
        assert_eq!(bytes.u16_be(24), Some(4095));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_parsed_or_refused(data in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = ClientFlags::parse(&data);
            let _ = OptionHeader::parse(&data);
            let _ = InfoRequest::parse(&data);
            let _ = ContextRequest::parse(&data);
            let _ = Request::parse(&data);
        }

        #[test]
        fn what_a_client_means_is_understood(
            name in "[a-z0-9 ]{0,20}",
            infos in prop::collection::vec(any::<u16>(), 0..6),
            queries in prop::collection::vec("[a-z:]{0,20}", 0..6),
            cut in 0_usize..200,
        ) {
            let data = info_request(name.as_bytes(), &infos);
            prop_assert_eq!(
                InfoRequest::parse(&data),
                Some(InfoRequest { name: name.clone(), infos })
            );
            if cut < data.len() {
                prop_assert_eq!(InfoRequest::parse(&data[..cut]), None);
            }
            let data = context_request(&name, &queries);
            prop_assert_eq!(
                ContextRequest::parse(&data),
                Some(ContextRequest { name, queries })
            );
            if cut < data.len() {
                prop_assert_eq!(ContextRequest::parse(&data[..cut]), None);
            }
        }
    }
}
