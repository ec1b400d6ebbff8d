// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client that lies, stops in the middle, or asks for what is not there:
//! it gets the protocol's error or is hung up on, and the server lives.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use dacapo::io::{Memory, ReadAt};
use dacapo::layout::Layout;
use dacapo::nbd::{Below, Disk, Exports, talk};

use super::{LEN, MAKERS, Serving, saved};
use crate::support::{junk, requires, run};

const EXPORT_NAME: u32 = 1;
const ABORT: u32 = 2;
const LIST: u32 = 3;
const GO: u32 = 7;
const STRUCTURED_REPLY: u32 = 8;
const SET_META_CONTEXT: u32 = 10;

const READ: u16 = 0;
const WRITE: u16 = 1;
const TRIM: u16 = 4;
const CACHE: u16 = 5;
const BLOCK_STATUS: u16 = 7;

const ERR_UNSUP: u32 = 0x8000_0001;
const ERR_INVALID: u32 = 0x8000_0003;
const ERR_UNKNOWN: u32 = 0x8000_0006;

const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const EOVERFLOW: u32 = 75;

fn ready() -> bool {
    requires(&[&MAKERS[..], &["nbdinfo"]].concat())
}

/// A client that says just what it is told to.
struct Client(UnixStream);

impl Client {
    fn new(serving: &Serving) -> Self {
        let stream = UnixStream::connect(serving.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(stream)
    }

    /// One that has said what it can do.
    fn greeted(serving: &Serving) -> Self {
        let mut client = Self::new(serving);
        assert_eq!(client.take(16), b"NBDMAGICIHAVEOPT");
        assert_eq!(client.take(2), [0, 3]);
        client.say(&3_u32.to_be_bytes());
        client
    }

    /// One that reads the whole disk.
    fn reading(serving: &Serving, structured: bool) -> Self {
        let mut client = Self::greeted(serving);
        if structured {
            assert_eq!(client.option(STRUCTURED_REPLY, &[]), 1);
        }
        let mut data = vec![0; 6];
        data[3] = 0;
        assert_eq!(client.option(GO, &data), 3);
        assert_eq!(client.reply(), 1);
        client
    }

    fn say(&mut self, bytes: &[u8]) {
        // It may have hung up already, which is seen when reading.
        let _ = self.0.write_all(bytes);
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn send_option(&mut self, code: u32, data: &[u8]) {
        let len = u32::try_from(data.len()).unwrap();
        self.say(&[b"IHAVEOPT", &code.to_be_bytes()[..], &len.to_be_bytes(), data].concat());
    }

    /// The kind of the next answer to an option; its data are dropped.
    fn reply(&mut self) -> u32 {
        assert_eq!(self.take(8), 0x0003_e889_0455_65a9_u64.to_be_bytes());
        self.take(4);
        let kind = self.number();
        let len = self.number();
        self.take(len as usize);
        kind
    }

    fn option(&mut self, code: u32, data: &[u8]) -> u32 {
        self.send_option(code, data);
        self.reply()
    }

    fn request(&mut self, command: u16, flags: u16, offset: u64, len: u32) {
        let (magic, cookie) = (0x2560_9513_u32.to_be_bytes(), 7_u64.to_be_bytes());
        let head = [&magic[..], &flags.to_be_bytes(), &command.to_be_bytes(), &cookie];
        self.say(&[&head.concat()[..], &offset.to_be_bytes(), &len.to_be_bytes()].concat());
    }

    /// The error of a reply without data.
    fn simple(&mut self) -> u32 {
        assert_eq!(self.number(), 0x6744_6698);
        let error = self.number();
        assert_eq!(self.take(8), 7_u64.to_be_bytes());
        error
    }

    /// The type of the next chunk, and what is in it.
    fn chunk(&mut self) -> (u16, Vec<u8>) {
        assert_eq!(self.number(), 0x668e_33ef);
        let flags = self.number();
        assert_eq!(self.take(8), 7_u64.to_be_bytes());
        let len = self.number();
        ((flags & 0xffff) as u16, self.take(len as usize))
    }

    /// The error of a chunk that is one.
    fn error(&mut self) -> u32 {
        let (kind, data) = self.chunk();
        assert!(kind & 0x8000 != 0, "{kind}");
        u32::from_be_bytes(data[..4].try_into().unwrap())
    }

    /// True if the server has hung up.
    fn is_hung_up_on(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[track_caller]
fn lives(serving: &Serving) {
    let size = run("nbdinfo", &["--size", &serving.uri("")]);
    assert_eq!(size.out().trim(), LEN.to_string());
}

#[test]
fn garbage_in_the_handshake() {
    if !ready() {
        return;
    }
    let serving = Serving::start(&saved().image(), &[]);
    // Anything at all, and a web browser.
    for bytes in [junk(100_000, 3), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()] {
        let mut client = Client::new(&serving);
        client.say(&bytes);
        assert!(client.is_hung_up_on());
    }
    // A flag that nobody knows.
    let mut client = Client::new(&serving);
    client.say(&0x8000_0003_u32.to_be_bytes());
    assert!(client.is_hung_up_on());
    // Data of four gigabytes that never come.
    let mut client = Client::greeted(&serving);
    client.say(&[&b"IHAVEOPT"[..], &GO.to_be_bytes(), &[0xff; 4]].concat());
    assert!(client.is_hung_up_on());
    // An export that is not there, in the way that has no answer for it.
    let mut client = Client::greeted(&serving);
    client.send_option(EXPORT_NAME, b"nothing");
    assert!(client.is_hung_up_on());
    // Nothing at all, and half an option.
    drop(Client::new(&serving));
    let mut client = Client::greeted(&serving);
    client.say(b"IHAVE");
    drop(client);

    let mut client = Client::greeted(&serving);
    assert_eq!(client.option(99, b"what"), ERR_UNSUP);
    assert_eq!(client.option(5, &[]), ERR_UNSUP, "TLS");
    assert_eq!(client.option(LIST, b"x"), ERR_INVALID);
    assert_eq!(client.option(STRUCTURED_REPLY, b"x"), ERR_INVALID);
    // A name that is longer than all there is, an unknown one, and one that
    // is no text.
    assert_eq!(client.option(GO, &[0, 0, 1, 0, 0, 0]), ERR_INVALID);
    assert_eq!(client.option(GO, &[0, 0, 0, 1, b'x', 0, 0]), ERR_UNKNOWN);
    assert_eq!(client.option(GO, &[0, 0, 0, 1, 0xff, 0, 0]), ERR_INVALID);
    assert_eq!(client.option(SET_META_CONTEXT, &[0; 8]), ERR_INVALID, "not structured");
    assert_eq!(client.option(ABORT, &[]), 1);
    assert!(client.is_hung_up_on());
    lives(&serving);
}

#[test]
fn garbage_after_the_handshake() {
    if !ready() {
        return;
    }
    let serving = Serving::start(&saved().image(), &[]);
    for structured in [false, true] {
        let mut client = Client::reading(&serving, structured);
        let refused = |client: &mut Client, command, flags, offset, len| {
            client.request(command, flags, offset, len);
            if structured { client.error() } else { client.simple() }
        };
        assert_eq!(refused(&mut client, READ, 0, LEN, 1), EINVAL);
        assert_eq!(refused(&mut client, READ, 0, u64::MAX, u32::MAX), EINVAL);
        assert_eq!(refused(&mut client, READ, 0, LEN - 511, 512), EINVAL);
        assert_eq!(refused(&mut client, READ, 0, 0, (32 << 20) + 1), EINVAL);
        assert_eq!(refused(&mut client, READ, 0x80, 0, 512), EINVAL, "an unknown flag");
        assert_eq!(refused(&mut client, 77, 0, 0, 512), EINVAL, "an unknown command");
        assert_eq!(refused(&mut client, CACHE, 0, 0, (32 << 20) + 1), EOVERFLOW);
        assert_eq!(refused(&mut client, BLOCK_STATUS, 0, 0, 512), EINVAL, "not chosen");
        assert_eq!(refused(&mut client, TRIM, 0, 0, 512), EPERM);
        // The data of a write that is refused are no requests.
        client.request(WRITE, 0, 0, 100_000);
        client.say(&junk(100_000, 9));
        assert_eq!(if structured { client.error() } else { client.simple() }, EPERM);

        // Half in, the last byte, nothing, and all that is allowed.
        for (offset, len) in [(LEN - 1, 1), (0, 0), (LEN - (32 << 20), 32 << 20)] {
            client.request(READ, 0, offset, len);
            if structured {
                let mut got = 0;
                while got < len {
                    let (kind, data) = client.chunk();
                    got += match kind {
                        1 => data.len() as u32 - 8,
                        2 => u32::from_be_bytes(data[8..12].try_into().unwrap()),
                        kind => panic!("a chunk of type {kind:#x}"),
                    };
                }
                if len == 0 {
                    assert_eq!(client.chunk().0, 0);
                }
            } else {
                assert_eq!(client.simple(), 0);
                client.take(len as usize);
            }
        }
        if structured {
            // In one piece, zeros and all; but not if it is large.
            client.request(READ, 4, 0, 2 << 20);
            let (kind, data) = client.chunk();
            assert_eq!((kind, data.len()), (1, (2 << 20) + 8));
            client.request(READ, 4, 0, 32 << 20);
            assert_eq!(client.error(), EOVERFLOW);
        }
        client.say(&junk(28, 4));
        assert!(client.is_hung_up_on());
    }
    lives(&serving);
}

#[test]
fn clients_that_go_in_the_middle() {
    if !ready() {
        return;
    }
    let serving = Serving::start(&saved().image(), &["--overlay"]);
    // Half of a request, half of what is to be written, and not waiting for
    // what was asked for.
    let mut client = Client::reading(&serving, true);
    client.say(&0x2560_9513_u32.to_be_bytes());
    drop(client);
    let mut client = Client::reading(&serving, true);
    client.request(WRITE, 0, 0, 1 << 20);
    client.say(&junk(1000, 1));
    drop(client);
    let mut client = Client::reading(&serving, false);
    (0..50).for_each(|_| client.request(READ, 0, 0, 32 << 20));
    drop(client);
    // A write that is too long to be one.
    let mut client = Client::reading(&serving, true);
    client.request(WRITE, 0, 0, u32::MAX);
    assert!(client.is_hung_up_on());
    // One that keeps quiet keeps nobody else out, and does not keep it from
    // ending.
    let _quiet: Vec<Client> = (0..20).map(|_| Client::new(&serving)).collect();
    let _reading = Client::reading(&serving, true);
    lives(&serving);
    assert_eq!(serving.end().0, 0);
}

#[test]
fn more_clients_than_it_takes_are_turned_away() {
    if !ready() {
        return;
    }
    let serving = Serving::start(&saved().image(), &[]);
    let mut clients: Vec<Client> = (0..40).map(|_| Client::new(&serving)).collect();
    let mut turned_away = clients.split_off(32);
    assert!(turned_away.iter_mut().all(Client::is_hung_up_on));
    assert_eq!(clients[31].take(8), b"NBDMAGIC");
    drop(clients);
    lives(&serving);
}

/// Strings of the protocol have 4096 bytes at most, also those that name all exports.
#[test]
fn a_message_that_names_many_volumes_is_cut() {
    let disk: Arc<dyn ReadAt> = Arc::new(Memory::zeros(4096));
    let layout = Layout { table: None, regions: Vec::new() };
    let exports = Exports::new(Disk::new(Below::Disk(Arc::clone(&disk))), &layout, "many");
    let volumes = (0..2000).map(|number| {
        (format!("studio/a-snapshot-of-day-{number}"), "volume".to_owned(), Arc::clone(&disk))
    });
    let exports = exports.with_volumes(volumes);
    let option = |code: u32, data: &[u8]| {
        let len = u32::try_from(data.len()).unwrap();
        [b"IHAVEOPT", &code.to_be_bytes()[..], &len.to_be_bytes(), data].concat()
    };
    let name = [&4_u32.to_be_bytes()[..], b"none", &[0; 2]].concat();
    let context = [&4_u32.to_be_bytes()[..], b"none", &[0; 4]].concat();
    let said = [
        &3_u32.to_be_bytes()[..],
        &option(GO, &name),
        &option(STRUCTURED_REPLY, &[]),
        &option(SET_META_CONTEXT, &context),
        &option(ABORT, &[]),
    ]
    .concat();
    let mut heard = Vec::new();
    talk(said.as_slice(), &mut heard, &exports, &|| Ok(()), &|_| {});
    let mut rest = &heard[18..];
    let mut kinds = Vec::new();
    while !rest.is_empty() {
        let number = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
        let (kind, len) = (number(12), number(16) as usize);
        assert!(len <= 4096, "{len}");
        let text = str::from_utf8(&rest[20..20 + len]).unwrap();
        assert!(kind != ERR_UNKNOWN || text.contains("disk, studio/a-snapshot-of-day-0"), "{text}");
        kinds.push(kind);
        rest = &rest[20 + len..];
    }
    assert_eq!(kinds, [ERR_UNKNOWN, 1, ERR_UNKNOWN, 1]);
}
