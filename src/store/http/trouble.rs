// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong between here and a server, in words.

use std::io;

use rustls::CertificateError;
use ureq::http::StatusCode;

use super::address::Address;
use super::roots;
use crate::error::Error;

const SPEAKS_HTTP: &str =
    "if the server is in your own network, try the address with http:// instead of https://";

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server could not be reached, or was lost.
    Line(ureq::Error),
    /// The answer ended before it was whole.
    CutOff,
    /// The server has it not, or does not give it.
    Status(StatusCode),
    /// A part of the part that was asked for, again and again.
    Short,
    /// Bytes come, but hardly any.
    Slow,
    /// It is not the same file as before.
    Changed,
    /// The answer does not fit the question: what it was.
    Nonsense(&'static str),
}

impl From<ureq::Error> for Trouble {
    fn from(error: ureq::Error) -> Self {
        Self::Line(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::CutOff;
        }
        Self::Line(error.into())
    }
}

impl Trouble {
    /// True if it is worth another try.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Line(error) => match error {
                ureq::Error::Io(error) => certificate_error(error).is_none(),
                ureq::Error::Timeout(_) | ureq::Error::HostNotFound => true,
                ureq::Error::ConnectionFailed => true,
                _ => false,
            },
            Self::CutOff | Self::Short => true,
            Self::Status(status) => [408, 429, 500, 502, 503, 504].contains(&status.as_u16()),
            Self::Slow | Self::Changed | Self::Nonsense(_) => false,
        }
    }

    /// The error for a person.
    pub(super) fn explain(&self, address: &Address) -> Error {
        let server = address.server();
        match self {
            Self::Line(error) => of_line(error, address),
            Self::CutOff => Error::failed(format!(
                "the connection to {server} ended in the middle of {address}"
            ))
            .hint("check cable and server, and run the same command again"),
            Self::Short => Error::failed(format!(
                "{server} gives {address} in tiny parts only, which would take for ever"
            ))
            .hint("copy the image to a drive with another program, and use it from there"),
            Self::Slow => too_slow(&server),
            Self::Status(status) => of_status(*status, address),
            Self::Changed => {
                Error::failed(format!("{address} has changed on the server while it was read"))
                    .hint("run the same command again when nobody writes to it any more")
            }
            Self::Nonsense(what) => Error::failed(format!(
                "{server} answered with {what}, so {address} cannot be read from it"
            ))
            .hint("copy the image to a drive with another program, and use it from there"),
        }
    }
}

fn of_status(status: StatusCode, address: &Address) -> Error {
    let server = address.server();
    match status.as_u16() {
        401 | 407 => {
            let what = match address.authorization() {
                None => "wants a name and password",
                Some(_) => "does not take this name and password",
            };
            Error::failed(format!("{server} {what} for {address}"))
                .hint("give them in the address: http://NAME:PASSWORD@HOST/IMAGE")
        }
        403 => Error::failed(format!("{server} does not allow reading {address}"))
            .hint("the server's owner can allow it; a folder is no image, either"),
        404 | 410 => Error::failed(format!("{address} does not exist"))
            .hint("check the address; capital letters count, and a browser shows what is there"),
        300..=399 => Error::failed(format!("{server} sends on from {address} to nowhere")),
        _ => Error::failed(format!("{server} answered '{status}' for {address}"))
            .hint("this is trouble of the server: try again later, or look at its log"),
    }
}

fn of_line(error: &ureq::Error, address: &Address) -> Error {
    let server = address.server();
    match error {
        ureq::Error::Io(error) => of_io(error, address),
        ureq::Error::HostNotFound => unknown_name(&server),
        ureq::Error::Timeout(ureq::Timeout::Resolve) => unknown_name(&server),
        ureq::Error::Timeout(_) => too_slow(&server),
        ureq::Error::ConnectionFailed => unreachable(&server, "no connection"),
        ureq::Error::TooManyRedirects => {
            Error::failed(format!("{address} only leads from one address to the next"))
                .hint("give the address that is meant at the end")
        }
        ureq::Error::RequireHttpsOnly(_) => Error::failed(format!(
            "{server} sends on from {address} to an address without encryption"
        ))
        .hint("if that is fine, give that address: it begins with http://"),
        ureq::Error::Rustls(error) => of_tls(error, address),
        other => Error::failed(format!("reading {address}: {other}")),
    }
}

fn of_io(error: &io::Error, address: &Address) -> Error {
    let server = address.server();
    if let Some(error) = tls_error(error) {
        return of_tls(error, address);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            Error::failed(format!("{server} refuses the connection"))
                .hint("check that the web server runs there, and its port: http://HOST:PORT/IMAGE")
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            unreachable(&server, "there is no way to it")
        }
        io::ErrorKind::TimedOut => unreachable(&server, "it does not answer"),
        // What getaddrinfo says has a kind of its own only there.
        _ if error.to_string().contains("failed to lookup address") => unknown_name(&server),
        // It answered, but not in the language of https.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof if address.is_https() => {
            Error::failed(format!("no safe connection to {server}: {error}")).hint(SPEAKS_HTTP)
        }
        _ => Error::failed(format!("the connection to {server} was lost: {error}"))
            .hint("check cable and server, and run the same command again"),
    }
}

fn too_slow(server: &str) -> Error {
    Error::failed(format!("{server} does not answer, or much too slowly"))
        .hint("check that the server runs, and the network with 'dacapo network'")
}

fn unknown_name(server: &str) -> Error {
    Error::failed(format!("no machine is known by the name of {server}")).hint(
        "check the name; without a network there are no names: see 'dacapo network', or give the \
         number of the machine, as in http://192.168.1.5/IMAGE",
    )
}

fn unreachable(server: &str, why: &str) -> Error {
    Error::failed(format!("{server} cannot be reached: {why}"))
        .hint("check that the machine is on, the cable, and the network with 'dacapo network'")
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn certificate_error(error: &io::Error) -> Option<&CertificateError> {
    match tls_error(error)? {
        rustls::Error::InvalidCertificate(error) => Some(error),
        _ => None,
    }
}

fn of_tls(error: &rustls::Error, address: &Address) -> Error {
    let server = address.server();
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return Error::failed(format!("no safe connection to {server}: {error}")).hint(SPEAKS_HTTP);
    };
    match certificate {
        // A machine with an empty battery lives in the past.
        CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. }
        | CertificateError::Expired
        | CertificateError::ExpiredContext { .. } => {
            let expired = matches!(
                certificate,
                CertificateError::Expired | CertificateError::ExpiredContext { .. }
            );
            let state = if expired { "has expired" } else { "is not valid yet" };
            let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M");
            Error::failed(format!(
                "the certificate of {server} {state}, if the clock of this machine is right: \
                 it shows {now}"
            ))
            .hint("if the clock is wrong, set it: date -s 'YYYY-MM-DD HH:MM'")
        }
        CertificateError::UnknownIssuer => Error::failed(format!(
            "the certificate of {server} is signed by nobody who is known here"
        ))
        .hint(format!(
            "if it is a server of your own, name the file with its authority's certificate: \
             {}=FILE dacapo ...; in your own network http:// may do",
            roots::VARIABLE
        )),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Error::failed(format!("the certificate that {server} shows is for another name"))
                .hint("use the name that the certificate was made for")
        }
        other => Error::failed(format!("the certificate of {server} is not good: {other}")),
    }
}
