// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small web server whose manners can be chosen, good and bad. On the
//! loopback interface; ends when it is dropped.
//!
//! Needs nothing but the standard library, because tests of the library use
//! it, too.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How the server behaves; may be changed while it runs.
#[derive(Debug)]
pub struct Manners {
    /// Parts are given when they are asked for.
    pub ranges: AtomicBool,
    /// The length is told; else the answer comes in chunks.
    pub lengths: AtomicBool,
    /// No part is longer, whatever is asked for.
    pub longest_part: AtomicUsize,
    /// A byte at a time, with so many milliseconds in between; 0 for all.
    pub trickle: AtomicU32,
    /// So many answers are cut off, after `cut_after` bytes.
    pub cuts: AtomicU32,
    pub cut_after: AtomicUsize,
    /// So many connections are closed without an answer.
    pub refusals: AtomicU32,
    /// A pause before each answer, in milliseconds.
    pub delay: AtomicU32,
    /// What the version of a file is called.
    pub etag: Mutex<String>,
    /// Instead of an answer of its own: headers and body, as they are sent.
    pub answer: Mutex<Option<Vec<u8>>>,
}

/// A request as it came: its first line and headers.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// The value of a header, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// First and last byte of the part that is asked for.
    fn range(&self, len: u64) -> Option<(u64, u64)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let first: u64 = first.parse().ok()?;
        let last: u64 = last.parse().unwrap_or(u64::MAX);
        Some((first, last.min(len.saturating_sub(1))))
    }
}

struct Shared {
    folder: PathBuf,
    manners: Manners,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

/// A running server.
pub struct HttpServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    listener: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Serves the files of a folder.
    pub fn start(folder: impl AsRef<Path>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            folder: folder.as_ref().to_owned(),
            manners: Manners {
                ranges: AtomicBool::new(true),
                lengths: AtomicBool::new(true),
                longest_part: AtomicUsize::new(usize::MAX),
                trickle: AtomicU32::new(0),
                cuts: AtomicU32::new(0),
                cut_after: AtomicUsize::new(0),
                refusals: AtomicU32::new(0),
                delay: AtomicU32::new(0),
                etag: Mutex::new("\"1\"".into()),
                answer: Mutex::new(None),
            },
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let listener = thread::spawn(move || listen(&listener, &of_thread));
        Self { shared, address, listener: Some(listener) }
    }

    /// The address of a file.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn manners(&self) -> &Manners {
        &self.shared.manners
    }

    /// Every request up to now.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many connections were made up to now.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        // A program that another test starts at this moment has a copy of the
        // socket until it runs, and until then connections are taken.
        for _ in 0..500 {
            match TcpStream::connect(self.address) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return,
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        // Ends with its connection, at the latest after the limit of time.
        thread::spawn(move || {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
            let _ = stream.set_write_timeout(Some(Duration::from_secs(60)));
            let _ = stream.set_nodelay(true);
            let _ = converse(&stream, &shared);
        });
    }
}

/// True if there was one left.
fn take(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn converse(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        if shared.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        shared.requests.lock().unwrap().push(request.clone());
        thread::sleep(Duration::from_millis(shared.manners.delay.load(Ordering::SeqCst).into()));
        if take(&shared.manners.refusals) {
            return Ok(());
        }
        if let Some(bytes) = shared.manners.answer.lock().unwrap().clone() {
            (&mut &*stream).write_all(&bytes)?;
            return Ok(());
        }
        if !answer(stream, &request, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some(Request { path, headers }))
}

/// Sends a file or what was asked for of it. False if the connection is to be
/// closed.
fn answer(mut stream: &TcpStream, request: &Request, shared: &Shared) -> io::Result<bool> {
    let manners = &shared.manners;
    let name = request.path.trim_start_matches('/').replace("%20", " ");
    let Ok(file) = File::open(shared.folder.join(&name)) else {
        let text = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnone\n";
        return stream.write_all(text.as_bytes()).map(|()| true);
    };
    let len = file.metadata()?.len();
    let range = request.range(len).filter(|_| manners.ranges.load(Ordering::SeqCst));
    let mut head = String::new();
    let (first, end) = match range {
        Some((first, last)) if first <= last && last < len => {
            let longest = manners.longest_part.load(Ordering::SeqCst) as u64;
            let last = last.min(first.saturating_add(longest - 1));
            head += "HTTP/1.1 206 Partial Content\r\n";
            head += &format!("Content-Range: bytes {first}-{last}/{len}\r\n");
            (first, last + 1)
        }
        Some(_) => {
            let text = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n";
            return stream.write_all(text.as_bytes()).map(|()| true);
        }
        None => {
            head += "HTTP/1.1 200 OK\r\n";
            (0, len)
        }
    };
    head += &format!("ETag: {}\r\n", manners.etag.lock().unwrap());
    let in_chunks = !manners.lengths.load(Ordering::SeqCst);
    head += &match in_chunks {
        true => "Transfer-Encoding: chunked\r\n\r\n".into(),
        false => format!("Content-Length: {}\r\n\r\n", end - first),
    };
    stream.write_all(head.as_bytes())?;
    let cut = end - first > 1 && take(&manners.cuts);
    let mut left = match cut {
        true => (manners.cut_after.load(Ordering::SeqCst) as u64).min(end - first),
        false => end - first,
    };
    let (mut position, mut buffer) = (first, vec![0; 64 << 10]);
    while left > 0 && !shared.stopped.load(Ordering::SeqCst) {
        let trickle = manners.trickle.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(trickle.into()));
        let most = if trickle > 0 { 1 } else { buffer.len() };
        let count = left.min(most as u64) as usize;
        file.read_exact_at(&mut buffer[..count], position)?;
        if in_chunks {
            stream.write_all(format!("{count:x}\r\n").as_bytes())?;
        }
        stream.write_all(&buffer[..count])?;
        if in_chunks {
            stream.write_all(b"\r\n")?;
        }
        position += count as u64;
        left -= count as u64;
    }
    if in_chunks && !cut {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(!cut)
}
