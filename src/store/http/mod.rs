// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images on a web server.
//!
//! The image is asked for in parts (range requests, RFC 9110 section 14), each
//! of which names the whole length; so it can be read at any position, and a
//! lost connection costs one part. A server that gives no parts answers with
//! the whole file, which is then read front to back: after a lost connection
//! it is asked for once more, and what was read is passed over.
//!
//! Proxies are those that the environment names, as for other programs. The
//! only password is the one that an address holds.

mod address;
mod ahead;
mod part;
mod roots;
#[cfg(test)]
mod tests;
mod trouble;

use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ureq::config::RedirectAuthHeaders;
use ureq::http::StatusCode;
use ureq::http::header::{AUTHORIZATION, RANGE};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body, BodyReader};

use self::address::Address;
use self::ahead::{Fetch, ReadAhead};
use self::part::{Part, Version};
use self::trouble::Trouble;
use super::Opened;
use crate::error::{Error, Result};

pub(super) use address::without_password;

type Response = ureq::http::Response<Body>;

/// How many addresses lead on to another before it is a circle.
const REDIRECTS: u32 = 5;

/// Less than this, in a part or in the time for one, is no progress: a server
/// must not keep us for ever.
const PROGRESS: usize = 64 << 10;

/// How long a server is waited for.
#[derive(Debug, Clone)]
struct Patience {
    /// How often a part is asked for, if nothing comes.
    tries: u32,
    /// The pause after the second try; it doubles with each.
    pause: Duration,
    /// The longest pause.
    longest_pause: Duration,
    /// How long nothing may come.
    silence: Duration,
    /// How long one part may take.
    part: Duration,
}

impl Default for Patience {
    /// Long enough to put a plug back, or for a switch to start: half a minute.
    fn default() -> Self {
        Self {
            tries: 8,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(8),
            silence: Duration::from_secs(30),
            part: Duration::from_secs(300),
        }
    }
}

/// Opens the image at an address.
///
/// # Errors
/// If it cannot be reached, is not there, or the server is not one that could
/// be trusted.
pub(super) fn open(text: &str) -> Result<Opened> {
    open_with(text, Patience::default())
}

fn open_with(text: &str, patience: Patience) -> Result<Opened> {
    let server = Server::new(Address::parse(text)?, &patience)?;
    let explain = |trouble: Trouble| server.explain(trouble);
    // The first bytes tell whether there are parts, and how long the whole is.
    // Two, because busybox takes a part that ends with byte 0 for all.
    let response = server.ask(Some(0..2), Some(patience.part)).map_err(explain)?;
    let version = Version::of(&response);
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        return Err(Error::damaged(format!("{} is empty", server.address)));
    }
    let mut total = None;
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let part = Part::of(&response).map_err(explain)?;
        // One that gives another part than it was asked for is not relied on.
        total = part.total.filter(|total| part.extent == (0..2.min(*total)));
    }
    if let Some(len) = total {
        // To its end, so that the connection can be used again; one with more
        // than these bytes is closed.
        let mut body = response.into_body().into_reader().take(3);
        let _ = io::copy(&mut body, &mut io::sink());
        drop(body);
        let stopped = AtomicBool::new(false);
        let remote = Remote { server, len, version, patience, stopped };
        return Ok(Opened::Anywhere(Box::new(ReadAhead::start(remote)?)));
    }
    // Asked for anew, because the first answer has to come within a time; some
    // servers have one connection at a time.
    drop(response);
    let body = server.whole(&version).map_err(explain)?;
    Ok(Opened::FrontToBack(Box::new(FrontToBack {
        body,
        server,
        version,
        patience,
        position: 0,
        lost: 0,
        waited: Duration::ZERO,
        came: 0,
    })))
}

/// A server and what is asked of it.
#[derive(Debug)]
struct Server {
    agent: Agent,
    address: Address,
}

impl Server {
    fn new(address: Address, patience: &Patience) -> Result<Self> {
        let mut tls = TlsConfig::builder();
        match roots::roots() {
            Ok(roots) => tls = tls.root_certs(roots),
            Err(error) if address.is_https() => return Err(error),
            // Mostly not needed: only if the address leads on to a safe one.
            Err(_) => {}
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // What was asked for over a safe line must not come over another.
            .https_only(address.is_https())
            .max_redirects(REDIRECTS)
            // "Same host" would be another server's port, too.
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .user_agent(concat!("dacapo/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(patience.silence))
            .timeout_connect(Some(patience.silence))
            .timeout_send_request(Some(patience.silence))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .max_idle_connections_per_host(ahead::FETCHERS)
            .max_idle_connections(2 * ahead::FETCHERS)
            .input_buffer_size(128 << 10)
            .tls_config(tls.build())
            .build()
            .new_agent();
        Ok(Self { agent, address })
    }

    /// Sends a request, for a part or for all, and returns the answer if it has
    /// the image in it, or says that there is no such part. `limit` is how long
    /// all of it may take.
    fn ask(
        &self,
        range: Option<Range<u64>>,
        limit: Option<Duration>,
    ) -> std::result::Result<Response, Trouble> {
        let mut request = self.agent.get(self.address.uri());
        if let Some(range) = range {
            let last = range.end.saturating_sub(1);
            request = request.header(RANGE, format!("bytes={}-{last}", range.start));
        }
        if let Some(secret) = self.address.authorization() {
            request = request.header(AUTHORIZATION, secret);
        }
        let response = request.config().timeout_global(limit).build().call()?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                Ok(response)
            }
            status => Err(Trouble::Status(status)),
        }
    }

    /// All of the file, which is to be of this version.
    fn whole(&self, version: &Version) -> std::result::Result<BodyReader<'static>, Trouble> {
        let response = self.ask(None, None)?;
        if response.status() != StatusCode::OK {
            return Err(Trouble::Nonsense("a part when it was asked for all"));
        }
        part::check_encoding(&response)?;
        if version.differs(&Version::of(&response)) {
            return Err(Trouble::Changed);
        }
        Ok(response.into_body().into_reader())
    }

    fn explain(&self, trouble: Trouble) -> Error {
        trouble.explain(&self.address)
    }
}

/// A file on a server that gives parts of it.
#[derive(Debug)]
struct Remote {
    server: Server,
    len: u64,
    version: Version,
    patience: Patience,
    stopped: AtomicBool,
}

impl Remote {
    /// Asks for `buf` at `offset` once. Returns how many bytes came, and what
    /// kept the others from coming.
    fn try_fetch(&self, offset: u64, buf: &mut [u8]) -> (usize, Option<Trouble>) {
        let range = offset..offset.saturating_add(buf.len() as u64);
        let response = match self.server.ask(Some(range), Some(self.patience.part)) {
            Ok(response) => response,
            Err(trouble) => return (0, Some(trouble)),
        };
        let len = match self.check(&response, offset) {
            Ok(len) => usize::try_from(len).unwrap_or(usize::MAX).min(buf.len()),
            Err(trouble) => return (0, Some(trouble)),
        };
        let mut body = response.into_body().into_reader();
        let (mut filled, mut failure) = (0, None);
        while filled < len && failure.is_none() {
            if self.stopped.load(Ordering::Relaxed) {
                failure = Some(Trouble::CutOff);
                break;
            }
            match body.read(&mut buf[filled..len]) {
                Ok(0) => failure = Some(Trouble::CutOff),
                Ok(count) => filled += count,
                Err(error) => failure = Some(error.into()),
            }
        }
        if failure.is_none() {
            let mut more = [0; 1];
            // The end must be read for the connection to be used again.
            if !matches!(body.read(&mut more), Ok(0)) {
                failure = Some(Trouble::Nonsense("more than it was asked for"));
            }
        }
        (filled, failure)
    }

    /// How many bytes of what was asked for at `offset` are in an answer.
    fn check(&self, response: &Response, offset: u64) -> std::result::Result<u64, Trouble> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            // It gave parts before: then this is another file.
            return Err(Trouble::Changed);
        }
        let part = Part::of(response)?;
        if part.total != Some(self.len) || self.version.differs(&Version::of(response)) {
            return Err(Trouble::Changed);
        }
        if part.extent.start != offset {
            return Err(Trouble::Nonsense("another part than it was asked for"));
        }
        Ok(part.extent.end.saturating_sub(offset))
    }
}

impl Patience {
    /// Waits before the next try; false if nobody wants it any more.
    fn pause(&self, lost: u32, stopped: impl Fn() -> bool) -> bool {
        // The first may have been a connection that was idle for too long.
        let doubled = self.pause.saturating_mul(1 << lost.saturating_sub(2).min(16));
        let pause = if lost < 2 { Duration::ZERO } else { doubled };
        let end = Instant::now() + pause.min(self.longest_pause);
        loop {
            if stopped() {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(Duration::from_millis(100)));
        }
    }
}

impl Fetch for Remote {
    fn len(&self) -> u64 {
        self.len
    }

    fn fetch(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let (mut filled, mut lost) = (0, 0);
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        while filled < buf.len() {
            let (count, trouble) = self.try_fetch(offset + filled as u64, &mut buf[filled..]);
            filled += count;
            let trouble = match trouble {
                Some(trouble) => trouble,
                None if filled == buf.len() => break,
                None => Trouble::Short,
            };
            lost = if count >= PROGRESS { 1 } else { lost + 1 };
            let is_stopped = || self.stopped.load(Ordering::Relaxed);
            let goes_on = trouble.may_pass() && lost < self.patience.tries;
            if !goes_on || !self.patience.pause(lost, is_stopped) {
                return Err(self.server.explain(trouble));
            }
        }
        Ok(())
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// A file that a server gives whole. After a lost connection it is asked for
/// again, and passed over up to where it was.
struct FrontToBack {
    body: BodyReader<'static>,
    server: Server,
    version: Version,
    patience: Patience,
    position: u64,
    /// How many connections were lost.
    lost: u32,
    /// How long the server was waited for since it last made progress, and how
    /// many bytes have come since.
    waited: Duration,
    came: usize,
}

impl FrontToBack {
    fn read_some(&mut self, buf: &mut [u8]) -> std::result::Result<usize, Trouble> {
        let started = Instant::now();
        let count = self.body.read(buf)?;
        self.waited += started.elapsed();
        self.came += count;
        if self.came >= PROGRESS {
            (self.waited, self.came) = (Duration::ZERO, 0);
        } else if self.waited > self.patience.part {
            return Err(Trouble::Slow);
        }
        Ok(count)
    }

    fn reconnect(&mut self) -> std::result::Result<(), Trouble> {
        self.body = self.server.whole(&self.version)?;
        let (mut left, mut passed) = (self.position, vec![0; PROGRESS]);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PROGRESS).min(PROGRESS);
            match self.read_some(&mut passed[..most])? {
                0 => return Err(Trouble::CutOff),
                count => left = left.saturating_sub(count as u64),
            }
        }
        Ok(())
    }
}

impl Read for FrontToBack {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut result = self.read_some(buf);
        while let Err(trouble) = result {
            self.lost += 1;
            let goes_on = trouble.may_pass() && self.lost < self.patience.tries;
            if !goes_on || !self.patience.pause(self.lost, || false) {
                // An early end of the connection is not one of the image.
                let kind = io::ErrorKind::ConnectionAborted;
                return Err(io::Error::new(kind, self.server.explain(trouble)));
            }
            result = self.reconnect().and_then(|()| self.read_some(buf));
        }
        let count = result.unwrap_or_default();
        self.position += count as u64;
        Ok(count)
    }
}
