// SPDX-License-Identifier: MIT OR Apache-2.0
//! The address of an image, as people write it: with blanks and letters of any
//! language, perhaps with a name and password in front of the host.

use std::fmt;

use percent_encoding::percent_decode_str;
use ureq::http::Uri;

use crate::error::{Error, Result};

/// A checked address.
#[derive(Clone)]
pub(super) struct Address {
    /// Without name and password.
    uri: Uri,
    /// As it is shown, without a password.
    shown: String,
    authorization: Option<String>,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let shown = without_password(text);
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let (user, place) = split_user(rest);
        let is_hasty = user.is_none() && hasty_user(rest).is_some();
        let uri: Uri = encode(&format!("{}://{place}", scheme.to_ascii_lowercase()))
            .parse()
            .map_err(|error| bad(&shown, &error))?;
        if uri.host().is_none_or(str::is_empty) {
            return Err(bad(&shown, &"it names no server"));
        }
        // Behind the host there is nothing but the port.
        let has_bad_port = uri.authority().is_some_and(|it| {
            it.as_str().len() > it.host().len() && it.port_u16().is_none_or(|port| port == 0)
        });
        if has_bad_port && is_hasty {
            return Err(bad(&shown, &"in a password / ? # are written %2F %3F %23"));
        }
        if has_bad_port {
            return Err(bad(&shown, &"its port is no number from 1 to 65535"));
        }
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let mut pair: Vec<u8> = percent_decode_str(name).collect();
            pair.push(b':');
            pair.extend(percent_decode_str(password));
            format!("Basic {}", base64(&pair))
        });
        Ok(Self { uri, shown, authorization })
    }

    pub(super) const fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// The server, with its port if that is an unusual one.
    pub(super) fn server(&self) -> String {
        self.uri.authority().map(ToString::to_string).unwrap_or_default()
    }

    /// The value of the header with name and password.
    pub(super) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

fn bad(shown: &str, why: &dyn fmt::Display) -> Error {
    Error::usage(format!("{shown} is no address: {why}"))
        .hint("an address looks like this: http://nas.local/images/studio.img.zst")
}

/// Name and password, if there are any, and all behind them.
fn split_user(rest: &str) -> (Option<&str>, &str) {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    }
}

/// An address without the password in it; also of one that is no address,
/// because the password has a letter in it that ends the server's name.
pub(in crate::store) fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match split_user(rest).0.map(|user| (user, &rest[user.len() + 1..])).or(hasty_user(rest)) {
        Some((user, place)) => {
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            format!("{scheme}://{name}@{place}")
        }
        None => text.to_owned(),
    }
}

/// Name and password, if there is a `/`, `?` or `#` in the password that should
/// have been written with a `%`; and all behind them.
fn hasty_user(rest: &str) -> Option<(&str, &str)> {
    let (front, behind) = rest.split_at(rest.find(['/', '?', '#'])?);
    let (_, port) = front.split_once(':').filter(|_| !front.starts_with('['))?;
    let (user, place) = rest.rsplit_once('@').filter(|_| behind.contains('@'))?;
    // "nas:8080/a@b" is a place, but "nas:8080/a@b/c" may be a user's.
    let is_port = port.parse::<u16>().is_ok();
    (!is_port || place.contains('/')).then_some((user, place))
}

/// Writes what may not stand in an address as it must be written there; what is
/// written so already stays.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f.. => {
                encoded.push_str(&format!("%{byte:02X}"));
            }
            byte => encoded.push(char::from(byte)),
        }
    }
    encoded
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * n) & 63) as usize];
            text.push(if n <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        let uri = |text: &str| parse(text).uri().to_string();
        assert_eq!(uri("http://nas/a.img.zst"), "http://nas/a.img.zst");
        assert_eq!(uri("HTTP://NAS:8080/a"), "http://NAS:8080/a");
        assert_eq!(uri("http://nas/My Images/a.zst"), "http://nas/My%20Images/a.zst");
        assert_eq!(uri("http://nas/My%20Images/a.zst"), "http://nas/My%20Images/a.zst");
        assert_eq!(uri("http://nas/M\u{fc}ller.zst"), "http://nas/M%C3%BCller.zst");
        assert_eq!(uri("http://[fe80::1]:80/a?b=c d"), "http://[fe80::1]:80/a?b=c%20d");
        for wrong in ["http://", "http:///a", "http://nas:x/a", "http://nas:0/a", "http://nas:/a"] {
            let error = Address::parse(wrong).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::Usage, "{wrong}");
        }
    }

    #[test]
    fn name_and_password_are_in_a_header_and_nowhere_else() {
        let address = parse("https://Aladdin:open%20sesame@nas:8443/a@b");
        assert_eq!(address.uri().to_string(), "https://nas:8443/a@b");
        // The example of RFC 7617 section 2.
        assert_eq!(address.authorization(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert_eq!(format!("{address} {address:?}").matches("sesame").count(), 0);
        assert_eq!(address.server(), "nas:8443");
        assert_eq!(parse("http://nas/a").authorization(), None);
    }

    #[test]
    fn a_password_is_not_shown_wherever_it_ends() {
        for (text, shown) in [
            ("http://me:se/cret@nas/a.zst", "http://me@nas/a.zst"),
            ("http://me:se?cret@nas/a.zst", "http://me@nas/a.zst"),
            ("http://me:se#cr@et@nas/a.zst", "http://me@nas/a.zst"),
            ("http://me:/secret@nas/a.zst", "http://me@nas/a.zst"),
            ("http://me:12/secret@nas/a.zst", "http://me@nas/a.zst"),
            ("smb://me:se/cret@nas/a/b", "smb://me@nas/a/b"),
            ("http://nas:8080/a@b", "http://nas:8080/a@b"),
            ("http://nas/a@b:c/d", "http://nas/a@b:c/d"),
            ("http://[fe80::1]:80/a@b/c", "http://[fe80::1]:80/a@b/c"),
            ("http://me:secret@nas/a@b/c", "http://me@nas/a@b/c"),
        ] {
            assert_eq!(without_password(text), shown);
        }
        let error = Address::parse("http://me:se/cret@nas/a.zst").unwrap_err();
        assert!(error.to_string().contains("http://me@nas/a.zst"), "{error}");
        assert!(error.to_string().contains("%2F"), "{error}");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648 section 10.
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in pairs {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
