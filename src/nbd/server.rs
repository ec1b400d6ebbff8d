// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sockets and threads around the protocol: a thread for each client, so
//! many at a time, and an end at which nothing is left behind.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};

use super::disk::Exports;
use super::wire::Gone;
use crate::error::{Context, Error, Result};
use crate::pipeline::Cancel;

/// So many clients at a time.
const MAX_CLIENTS: usize = 32;

/// How long a client may be silent before it has chosen an export.
const PATIENCE: Duration = Duration::from_secs(30);

/// How soon the server notices that it is to end.
const LOOK: u16 = 100;

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket in the filesystem, for this machine alone.
    Socket(PathBuf),
    /// A port of an address.
    Port(IpAddr, u16),
}

impl Address {
    /// How clients are told of an export, `""` for the whole disk. Its name is the
    /// path without the slash in front, see `nbd_connect_uri(3)`.
    #[must_use]
    pub fn uri(&self, export: &str) -> String {
        let export = escaped(export);
        match self {
            Self::Socket(path) => {
                format!("nbd+unix:///{export}?socket={}", escaped(&path.to_string_lossy()))
            }
            Self::Port(ip, port) => {
                let host = match ip {
                    ip if ip.is_loopback() && ip.is_ipv4() => "localhost".to_owned(),
                    IpAddr::V6(ip) => format!("[{ip}]"),
                    ip => ip.to_string(),
                };
                let port =
                    if *port == super::protocol::PORT { String::new() } else { format!(":{port}") };
                let path = if export.is_empty() { String::new() } else { format!("/{export}") };
                format!("nbd://{host}{port}{path}")
            }
        }
    }
}

/// A path as it stands in an address.
fn escaped(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri(""))
    }
}

/// Is told what happens.
pub trait Events: Sync {
    /// Something could not be read or written for a client.
    fn failed(&self, error: &Error);

    /// A client is gone that sent what no client sends, or one was turned away.
    fn strange(&self, what: &str);
}

/// What a server has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// The clients that came.
    pub clients: u64,
    /// The bytes that were sent to them.
    pub bytes: u64,
}

/// A server that clients can reach.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    address: Address,
    /// The socket, removed in the end.
    socket: Option<SocketFile>,
}

#[derive(Debug)]
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                // A client whose machine was switched off says nothing.
                setsockopt(&stream, sockopt::KeepAlive, &true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}

/// A socket in the filesystem, until it is dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Server {
    /// Takes the address, so that clients can come from now on.
    ///
    /// # Errors
    /// If that is not possible; refused if somebody has it already.
    pub fn bind(address: &Address) -> Result<Self> {
        let what = || format!("listening at {address}");
        let (listener, address, socket) = match address {
            Address::Socket(path) => {
                clear(path)?;
                let (listener, socket) = listen_at(path).map_err(|error| {
                    let is_long = error.raw_os_error() == Some(libc::ENAMETOOLONG);
                    let error = Error::io(what(), error);
                    let hint = "the path of a socket has 107 bytes at most";
                    if is_long { error.hint(hint) } else { error }
                })?;
                listener.set_nonblocking(true).context(what)?;
                (Listener::Unix(listener), address.clone(), Some(socket))
            }
            Address::Port(ip, port) => {
                let listener = TcpListener::bind(SocketAddr::new(*ip, *port)).map_err(|error| {
                    let taken = error.kind() == io::ErrorKind::AddrInUse;
                    let error = Error::io(what(), error);
                    if taken { error.hint("choose another port with --port") } else { error }
                })?;
                listener.set_nonblocking(true).context(what)?;
                let port = listener.local_addr().context(what)?.port();
                (Listener::Tcp(listener), Address::Port(*ip, port), None)
            }
        };
        Ok(Self { listener, address, socket })
    }

    /// Where it is reached: with the port that was found if any was asked for.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until it is told to end.
    ///
    /// # Errors
    /// If no more clients can be waited for.
    pub fn run(self, exports: &Exports, cancel: &Cancel, events: &dyn Events) -> Result<Totals> {
        let clients = Clients::default();
        let ended = thread::scope(|scope| {
            let ended = self.accept_all(cancel, |stream| {
                let Some(number) = clients.enter(&stream) else {
                    events
                        .strange(&format!("there are {MAX_CLIENTS} clients; one was turned away"));
                    return;
                };
                let clients = &clients;
                let serve = move || {
                    clients.serve(&stream, exports, events);
                    clients.leave(number);
                };
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, serve) {
                    clients.leave(number);
                    events.strange(&format!("a client was turned away: no thread for it: {error}"));
                }
            });
            // Nobody is to come any more, and who is there is sent home.
            drop(self.socket);
            clients.send_home();
            ended
        });
        ended.map(|()| clients.totals())
    }

    fn accept_all(&self, cancel: &Cancel, mut enter: impl FnMut(Stream)) -> Result<()> {
        while !cancel.is_cancelled() {
            let mut waiting = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, PollTimeout::from(LOOK)) {
                Ok(0) | Err(nix::Error::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(Error::io("waiting for clients", error.into())),
            }
            match self.listener.accept() {
                Ok(stream) => enter(stream),
                // It has gone again, or there is no room for it now.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => thread::sleep(Duration::from_millis(LOOK.into())),
            }
        }
        Ok(())
    }
}

/// Makes a socket that is for its owner alone, for a disk is in there: from its
/// first moment on, whatever the umask is. A socket in the filesystem has the
/// mode of the one that is bound to it.
fn listen_at(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let file = SocketFile(path.to_owned());
    // Nobody can connect before the call of listen, so that this is early enough.
    if path.symlink_metadata()?.permissions().mode() & 0o077 != 0 {
        let what = "the socket would be open to others";
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    }
    listen(&socket, Backlog::MAXCONN)?;
    Ok((socket.into(), file))
}

/// Makes room for a socket: one that nobody listens at is left from a server
/// that was killed.
fn clear(path: &Path) -> Result<()> {
    let Ok(found) = path.symlink_metadata() else { return Ok(()) };
    let refused = |why: &str| {
        Err(Error::refused(format!("{} {why}", path.display())).hint("choose another name"))
    };
    if !found.file_type().is_socket() {
        return refused("exists already and is no socket");
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).context(|| format!("removing {}", path.display()))
        }
        _ => refused("is the socket of a server that runs"),
    }
}

/// A connection.
#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    fn shutdown(&self) {
        // It may have gone by itself.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// How long a read may take.
    fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(patience),
            Self::Tcp(stream) => stream.set_read_timeout(patience),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&*stream).read(buf),
            Stream::Tcp(stream) => (&*stream).read(buf),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&*stream).write(buf),
            Stream::Tcp(stream) => (&*stream).write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&*stream).write_vectored(bufs),
            Stream::Tcp(stream) => (&*stream).write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Who is there.
#[derive(Debug, Default)]
struct Clients {
    there: Mutex<HashMap<u64, Stream>>,
    came: AtomicU64,
    bytes: AtomicU64,
}

impl Clients {
    fn enter(&self, stream: &Stream) -> Option<u64> {
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        if there.len() >= MAX_CLIENTS {
            return None;
        }
        let number = self.came.fetch_add(1, Ordering::Relaxed);
        there.insert(number, stream.try_clone().ok()?);
        Some(number)
    }

    fn leave(&self, number: u64) {
        self.there.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn send_home(&self) {
        let there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        there.values().for_each(Stream::shutdown);
    }

    fn serve(&self, stream: &Stream, exports: &Exports, events: &dyn Events) {
        let gone = match stream.set_patience(Some(PATIENCE)) {
            Ok(()) => {
                let failed = |error: &Error| events.failed(error);
                let chosen = || stream.set_patience(None);
                let (sent, gone) = super::talk(stream, stream, exports, &chosen, &failed);
                self.bytes.fetch_add(sent, Ordering::Relaxed);
                gone
            }
            Err(error) => Gone::Lost(error),
        };
        if let Gone::Garbage(what) = gone {
            events.strange(&format!("a client was turned away: it sent {what}"));
        }
        // Also for the copy that is kept to send it home.
        stream.shutdown();
    }

    fn totals(&self) -> Totals {
        Totals {
            clients: self.came.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// Somebody looks all the time, and sees no moment at which others are let in.
    #[test]
    fn a_socket_is_for_its_owner_alone_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let has_ended = AtomicBool::new(false);
        let (rounds, seen) = thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut seen = HashMap::new();
                while !has_ended.load(Ordering::Relaxed) {
                    if let Ok(found) = path.symlink_metadata() {
                        *seen.entry(found.permissions().mode() & 0o7777).or_insert(0_u32) += 1;
                    }
                }
                seen
            });
            let mut rounds = 0;
            while rounds < 500 {
                let server = Server::bind(&Address::Socket(path.clone())).unwrap();
                UnixStream::connect(&path).unwrap();
                drop(server);
                rounds += 1;
            }
            has_ended.store(true, Ordering::Relaxed);
            (rounds, looking.join().unwrap())
        });
        let modes: Vec<u32> = seen.keys().copied().collect();
        assert_eq!(modes, [0o600], "of {rounds}: {seen:?}");
    }

    #[test]
    fn a_path_that_is_too_long_is_told() {
        let path = Path::new("/tmp").join("x".repeat(120));
        let error = Server::bind(&Address::Socket(path)).unwrap_err();
        assert!(error.hint_text().unwrap().contains("107"), "{error}");
    }
}
