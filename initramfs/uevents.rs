// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel tells about devices that come and go.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt,
    socket, sockopt,
};

/// The group to which the kernel itself sends; the others are of udev.
const KERNEL: u32 = 1;
/// Hundreds of events come at once while a machine starts.
const BUFFER_LEN: usize = 4 << 20;
/// No event is longer.
const EVENT_LEN: usize = 16 << 10;

/// What happened to a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    values: HashMap<String, String>,
}

impl Event {
    /// "add@/devices/...", then "NAME=value", each up to a zero byte.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut parts = text.split('\0');
        parts.next().filter(|head| head.contains('@'))?;
        let values = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Some(Self { values })
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

/// What was received.
#[derive(Debug)]
pub(crate) enum Received {
    Event(Event),
    /// Nothing more at the moment.
    Nothing,
    /// Some were lost, because too many came at once.
    Lost,
}

/// The socket on which events come.
#[derive(Debug)]
pub(crate) struct Uevents {
    socket: OwnedFd,
}

impl Uevents {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the kernel has no such socket.
    pub(crate) fn listen() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkKObjectUEvent,
        )?;
        // With less room more may be lost, which is noticed.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_LEN);
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL))?;
        Ok(Self { socket })
    }

    /// The next event, without waiting for it.
    ///
    /// # Errors
    /// If the socket is of no more use.
    pub(crate) fn receive(&self) -> io::Result<Received> {
        let mut bytes = [0; EVENT_LEN];
        loop {
            match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
                Ok((len, Some(sender))) if sender.pid() == 0 => {
                    if let Some(event) = Event::parse(&bytes[..len]) {
                        return Ok(Received::Event(event));
                    }
                }
                // From a program, not from the kernel.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                Err(Errno::ENOBUFS) => return Ok(Received::Lost),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_values() {
        let event = Event::parse(
            b"add@/devices/pci0000:00/0000:00:1f.2\0ACTION=add\0SUBSYSTEM=pci\0\
              MODALIAS=pci:v00008086d00002922sv00001AF4\0SEQNUM=812\0",
        )
        .unwrap();
        assert_eq!(event.value("ACTION"), Some("add"));
        assert_eq!(event.value("MODALIAS"), Some("pci:v00008086d00002922sv00001AF4"));
        assert_eq!(event.value("DRIVER"), None);
        assert_eq!(Event::parse(b"libudev\0\xfe\xed"), None);
        assert_eq!(Event::parse(b""), None);
    }
}
