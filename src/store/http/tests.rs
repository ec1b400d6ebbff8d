// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading from a server with good and with bad manners.

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::*;
use crate::error::ErrorKind;
use crate::io::conformance::{check_reader, pattern};

#[expect(dead_code, unreachable_pub, reason = "the tests of the program use all of it")]
#[path = "../../../tests/support/http_server.rs"]
mod http_server;

use http_server::HttpServer;

/// A server with one file, `a`.
struct Served {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    server: HttpServer,
}

impl Served {
    fn new(len: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bytes = pattern(len, 7);
        std::fs::write(folder.path().join("a"), &bytes).unwrap();
        let server = HttpServer::start(folder.path());
        Self { folder, bytes, server }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a")
    }

    fn open(&self) -> Result<Opened> {
        open_with(&self.server.url("a"), hasty())
    }

    fn anywhere(&self) -> Box<dyn crate::io::ReadAt> {
        match self.open().unwrap() {
            Opened::Anywhere(reader) => reader,
            Opened::FrontToBack(_) => panic!("the server gives parts"),
        }
    }

    fn front_to_back(&self) -> Box<dyn Read + Send> {
        match self.open().unwrap() {
            Opened::FrontToBack(reader) => reader,
            Opened::Anywhere(_) => panic!("the server gives no parts"),
        }
    }

    /// Answers every request with these bytes and then closes.
    fn always(&self, answer: &str) {
        *self.server.manners().answer.lock().unwrap() = Some(answer.replace('\n', "\r\n").into());
    }
}

fn hasty() -> Patience {
    Patience {
        tries: 4,
        pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(20),
        silence: Duration::from_millis(1500),
        part: Duration::from_secs(5),
    }
}

fn text(error: &Error) -> String {
    format!("{error} / {}", error.hint_text().unwrap_or_default())
}

#[test]
fn a_file_on_a_server_is_a_reader_like_any_other() {
    for len in [1, 4096, (1 << 20) - 1, 1 << 20, (5 << 20) + 77] {
        let served = Served::new(len);
        check_reader(&served.anywhere(), &served.bytes);
        // Connections are kept: one for the length, a few to fetch with.
        let connections = served.server.connections();
        assert!(connections <= 1 + ahead::FETCHERS, "{connections} connections");
    }
}

#[test]
fn parts_in_chunks_are_parts_all_the_same() {
    let served = Served::new(3 << 20);
    served.server.manners().lengths.store(false, Ordering::SeqCst);
    check_reader(&served.anywhere(), &served.bytes);
}

#[test]
fn lost_connections_are_made_anew() {
    let served = Served::new(8 << 20);
    let reader = served.anywhere();
    let mut read = vec![0; 8 << 20];
    served.server.manners().cut_after.store(100_000, Ordering::SeqCst);
    served.server.manners().cuts.store(5, Ordering::SeqCst);
    served.server.manners().refusals.store(3, Ordering::SeqCst);
    reader.read_at(0, &mut read).unwrap();
    assert!(read == served.bytes);
    assert_eq!(served.server.manners().cuts.load(Ordering::SeqCst), 0);
    assert_eq!(served.server.manners().refusals.load(Ordering::SeqCst), 0);
}

#[test]
fn a_server_that_is_gone_is_given_up() {
    let served = Served::new(4 << 20);
    let reader = served.anywhere();
    let mut read = [0; 16];
    reader.read_at(0, &mut read).unwrap();
    served.server.manners().refusals.store(u32::MAX, Ordering::SeqCst);
    let error = reader.read_at(3 << 20, &mut read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("connection to 127.0.0.1"), "{error}");
    let before = served.server.requests().len();
    assert!(before < 40, "{before} requests");
    // And found again when it is back.
    served.server.manners().refusals.store(0, Ordering::SeqCst);
    reader.read_at(3 << 20, &mut read).unwrap();
    assert_eq!(read, served.bytes[3 << 20..][..16]);
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let served = Served::new(4 << 20);
    let reader = served.anywhere();
    served.server.manners().delay.store(4000, Ordering::SeqCst);
    let started = Instant::now();
    let error = reader.read_at(0, &mut [0; 16]).unwrap_err();
    assert!(error.to_string().contains("too slowly"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_file_that_changes_is_not_mixed_with_its_old_self() {
    let changes: [fn(&Served); 3] = [
        |served| *served.server.manners().etag.lock().unwrap() = "\"2\"".into(),
        |served| std::fs::write(served.path(), b"shorter").unwrap(),
        |served| served.server.manners().ranges.store(false, Ordering::SeqCst),
    ];
    for change in changes {
        let served = Served::new(4 << 20);
        let reader = served.anywhere();
        reader.read_at(0, &mut [0; 16]).unwrap();
        change(&served);
        let error = reader.read_at(3 << 20, &mut [0; 16]).unwrap_err();
        assert!(error.to_string().contains("has changed on the server"), "{error}");
    }
}

#[test]
fn without_parts_a_file_is_read_front_to_back() {
    for lengths in [true, false] {
        let served = Served::new((3 << 20) + 5);
        served.server.manners().ranges.store(false, Ordering::SeqCst);
        served.server.manners().lengths.store(lengths, Ordering::SeqCst);
        let mut reader = served.front_to_back();
        let mut read = vec![0; 1 << 20];
        reader.read_exact(&mut read).unwrap();
        // From the beginning again, and passed over.
        served.server.manners().cut_after.store(2 << 20, Ordering::SeqCst);
        served.server.manners().cuts.store(1, Ordering::SeqCst);
        reader.read_to_end(&mut read).unwrap();
        assert!(read == served.bytes);
    }
}

#[test]
fn a_lost_connection_is_no_end_of_the_image() {
    let served = Served::new(3 << 20);
    served.server.manners().ranges.store(false, Ordering::SeqCst);
    served.server.manners().cut_after.store(1 << 20, Ordering::SeqCst);
    served.server.manners().cuts.store(u32::MAX, Ordering::SeqCst);
    let mut reader = served.front_to_back();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_ne!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("in the middle"), "{error}");
}

#[test]
fn parts_may_be_shorter_but_not_tiny() {
    let served = Served::new(3 << 20);
    let longest = &served.server.manners().longest_part;
    longest.store(100_000, Ordering::SeqCst);
    check_reader(&served.anywhere(), &served.bytes);
    let reader = served.anywhere();
    longest.store(1000, Ordering::SeqCst);
    let error = reader.read_at(0, &mut [0; 256]).unwrap_err();
    assert!(error.to_string().contains("in tiny parts only"), "{error}");
}

#[test]
fn a_first_part_is_the_one_that_was_asked_for() {
    let served = Served::new(4 << 20);
    served.always("HTTP/1.1 206 P\nContent-Range: bytes 0-2/4194304\nContent-Length: 3\n\nxyz");
    let error = served.open().err().unwrap();
    assert!(error.to_string().contains("a part when it was asked for all"), "{error}");
    // More than the part is not waited for.
    let head = "HTTP/1.1 206 P\nContent-Range: bytes 0-1/4194304\nContent-Length: 100\n\nxyz";
    let answer: Vec<u8> = head.replace('\n', "\r\n").into();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        std::io::Write::write_all(&mut stream, &answer).unwrap();
        // Until the other end has closed.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let started = Instant::now();
    let opened = open_with(&url, Patience { silence: Duration::from_secs(60), ..hasty() });
    assert!(matches!(opened, Ok(Opened::Anywhere(_))));
    assert!(started.elapsed() < Duration::from_secs(4));
    server.join().unwrap();
}

#[test]
fn a_server_that_gives_a_byte_now_and_then_is_given_up() {
    let served = Served::new(1 << 20);
    let manners = served.server.manners();
    manners.ranges.store(false, Ordering::SeqCst);
    manners.trickle.store(50, Ordering::SeqCst);
    let patience = Patience { part: Duration::from_secs(1), ..hasty() };
    let Opened::FrontToBack(mut reader) = open_with(&served.server.url("a"), patience).unwrap()
    else {
        panic!("the server gives no parts");
    };
    let started = Instant::now();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("much too slowly"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_a_server_refuses_is_said_in_words() {
    let served = Served::new(10);
    let error = open_with(&served.server.url("b"), hasty()).unwrap_err();
    assert!(text(&error).contains("/b does not exist / check the address"), "{error:?}");
    for (status, words) in [
        ("401 Unauthorized", "wants a name and password"),
        ("403 Forbidden", "does not allow"),
        ("500 Oops", "answered '500"),
        ("304 Not Modified", "to nowhere"),
    ] {
        served.always(&format!("HTTP/1.1 {status}\nConnection: close\nContent-Length: 0\n\n"));
        let error = served.open().unwrap_err();
        assert!(text(&error).contains(words), "{status}: {error:?}");
    }
    // It does close, and without a word of it the next request may come too late.
    served.always("HTTP/1.1 302 Found\nLocation: /a\nConnection: close\nContent-Length: 0\n\n");
    let error = served.open().unwrap_err();
    assert!(text(&error).contains("from one address to the next"), "{error:?}");
    std::fs::write(served.path(), b"").unwrap();
    *served.server.manners().answer.lock().unwrap() = None;
    assert!(served.open().unwrap_err().to_string().ends_with("/a is empty"));
}

#[test]
fn where_nothing_is_the_error_says_so() {
    let gone = Served::new(1);
    let url = gone.server.url("a");
    drop(gone);
    let error = open_with(&url, hasty()).unwrap_err();
    assert!(text(&error).contains("refuses the connection"), "{error:?}");
    let error = open_with("http://no-such-name.invalid/a", hasty()).unwrap_err();
    assert!(text(&error).contains("no machine is known by the name"), "{error:?}");
}

#[test]
fn redirects_are_followed_and_passwords_stay() {
    let (first, second) = (Served::new(10), Served::new(5000));
    let url = second.server.url("a");
    first.always(&format!("HTTP/1.1 302 Found\nLocation: {url}\nContent-Length: 0\n\n"));
    let url = first.server.url("a").replace("http://", "http://me:secret@");
    let Opened::Anywhere(reader) = open_with(&url, hasty()).unwrap() else {
        panic!("the server gives parts");
    };
    check_reader(&reader, &second.bytes);
    let secrets = |served: &Served| {
        let requests = served.server.requests();
        requests.iter().filter(|request| request.header("authorization").is_some()).count()
    };
    assert!(secrets(&first) > 0);
    // Another port is another server.
    assert_eq!(secrets(&second), 0);
    drop(second);
    let error = open_with(&url, hasty()).unwrap_err();
    assert!(!text(&error).contains("secret"), "{error:?}");
}

#[test]
fn answers_that_make_no_sense_end_in_an_error() {
    let served = Served::new(4 << 20);
    let reader = served.anywhere();
    let body = "x".repeat(200);
    let answers = [
        "".to_owned(),
        "\n\n".to_owned(),
        "SSH-2.0-OpenSSH_9.2\n".to_owned(),
        "HTTP/1.1 999 What\n\n".to_owned(),
        "HTTP/1.1 206 P\nContent-Length: 1\n\nx".to_owned(),
        "HTTP/1.1 206 P\nContent-Range: bytes 1-1/4194304\nContent-Length: 1\n\nx".to_owned(),
        "HTTP/1.1 206 P\nContent-Range: bytes 0-199/18446744073709551615\n\n".to_owned() + &body,
        "HTTP/1.1 206 P\nContent-Range: bytes 0-0/4194304\nContent-Length: 200\n\n".to_owned()
            + &body,
        "HTTP/1.1 206 P\nContent-Range: bytes 0-199/4194304\nContent-Length: 3\n\nxyz".to_owned(),
        "HTTP/1.1 206 P\nContent-Range: bytes 0-1/4194304\nContent-Encoding: gzip\n\nxy".to_owned(),
        "HTTP/1.1 206 P\nTransfer-Encoding: chunked\nContent-Range: bytes 0-9/4194304\n\nzz\nhe"
            .to_owned(),
        "HTTP/1.1 200 OK\nContent-Length: -1\n\n".to_owned(),
        format!("HTTP/1.1 200 OK\nX: {}\n\n", "y".repeat(1 << 20)),
        "HTTP/1.1 302 Found\nLocation: ::::\n\n".to_owned(),
        "HTTP/1.1 302 Found\nLocation: file:///etc/passwd\n\n".to_owned(),
        "HTTP/1.1 302 Found\n\n".to_owned(),
    ];
    for answer in &answers {
        served.always(answer);
        let started = Instant::now();
        let shown = &answer[..answer.len().min(60)];
        assert!(reader.read_at(0, &mut [0; 256]).is_err(), "{shown}");
        // As the first answer it may be one of a file that is read front to
        // back, or of a huge one; but reading it comes to an end.
        match served.open() {
            Err(_) => {}
            Ok(Opened::FrontToBack(mut file)) => {
                let _ = file.read_to_end(&mut Vec::new());
            }
            Ok(Opened::Anywhere(file)) => {
                assert!(file.read_at(0, &mut [0; 256]).is_err(), "{shown}");
                let end = file.len().saturating_sub(300);
                assert!(file.read_at(end, &mut [0; 256]).is_err(), "{shown}");
            }
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{shown}");
    }
}
