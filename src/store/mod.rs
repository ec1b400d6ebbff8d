// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where images are kept: files, and web servers, from which they are read
//! only.
//!
//! What an image is read from is either open at any position, as a file is,
//! or comes front to back once, as a pipe does and as some web servers give it.

mod http;
mod local;

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::path::Path;

use crate::device::Source;
use crate::error::{Error, Result};
use crate::io::ReadAt;

pub use local::{
    Partial, default_name, find_interrupted, partial_path, refuse_device, refuse_existing, room_at,
    set_aside, those_set_aside,
};
pub(crate) use local::{flush_folder, rename_new, replace};

/// The kinds of addresses that an image can have instead of a path.
pub const SCHEMES: [&str; 2] = ["http", "https"];

/// An image file, opened to be read.
pub enum Opened {
    /// It can be read at any position.
    Anywhere(Box<dyn ReadAt>),
    /// It comes front to back, once.
    FrontToBack(Box<dyn Read + Send>),
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anywhere(_) => "Anywhere",
            Self::FrontToBack(_) => "FrontToBack",
        })
    }
}

/// True if an image's name is the address of something on another machine.
#[must_use]
pub fn is_address(name: &Path) -> bool {
    scheme_of(name).is_some()
}

/// The name of an image as it may be shown: without the password that an
/// address can hold.
#[must_use]
pub fn shown(name: &Path) -> Cow<'_, str> {
    let text = name.to_string_lossy();
    if is_address(name) { http::without_password(&text).into() } else { text }
}

/// Opens what an image is read from: a file, a device, or an address.
///
/// # Errors
/// If it is not there, cannot be reached, or its address is of no known kind.
pub fn open(name: &Path) -> Result<Opened> {
    let Some(scheme) = scheme_of(name) else {
        return Ok(Opened::Anywhere(Box::new(Source::open(name)?)));
    };
    if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return http::open(&name.to_string_lossy());
    }
    let hint = match scheme.to_ascii_lowercase().as_str() {
        "smb" | "cifs" | "nfs" => {
            "connect the folder first and give the path there: 'dacapo network' says how"
        }
        "ssh" | "sftp" | "scp" => "ssh HOST cat IMAGE </dev/null | dacapo restore - TARGET",
        "file" => "give the path alone, without file://",
        _ => "an image is a file, or at an address that begins with http:// or https://",
    };
    Err(Error::usage(format!("no images are read from {scheme}:// addresses")).hint(hint))
}

/// The part in front of `://`, of what is not the path of something there.
fn scheme_of(name: &Path) -> Option<&str> {
    let (scheme, _) = name.to_str()?.split_once("://")?;
    let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_scheme = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (begins && is_scheme && !name.exists()).then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths() {
        for address in ["http://nas/a.img.zst", "HTTPS://nas/a", "s3://bucket/a", "smb://nas/a"] {
            assert!(is_address(Path::new(address)), "{address}");
        }
        for path in ["a.img.zst", "/media/a:b//c", "http:/nas", "://x", "a b://c", "1s://x", "-"] {
            assert!(!is_address(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn an_unknown_kind_of_address_says_what_to_do() {
        for (address, hint) in [
            ("smb://nas/images/a.img.zst", "dacapo network"),
            ("ssh://nas/a.img.zst", "cat IMAGE"),
            ("gopher://nas/a", "http://"),
        ] {
            let error = open(Path::new(address)).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::Usage);
            assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = |text: &str| shown(Path::new(text)).into_owned();
        assert_eq!(shown("http://me:secret@nas/a"), "http://me@nas/a");
        assert_eq!(shown("http://me:se:c@ret@nas/a@b:c"), "http://me@nas/a@b:c");
        assert_eq!(shown("http://nas:80/a:b@c"), "http://nas:80/a:b@c");
        assert_eq!(shown("/media/me:x@y"), "/media/me:x@y");
    }
}
