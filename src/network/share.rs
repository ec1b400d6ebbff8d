// SPDX-License-Identifier: MIT OR Apache-2.0
//! A folder on another machine, as people write it.

use std::fmt;
use std::net::Ipv6Addr;

use crate::error::{Error, Result};

/// A folder that another machine shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// By NFS.
    Nfs {
        /// The machine.
        server: String,
        /// The folder there, from the root on.
        path: String,
    },
    /// By SMB, as Windows and most storage boxes do.
    Smb(Smb),
}

/// A folder shared by SMB, and who wants it.
#[derive(Clone, PartialEq, Eq)]
pub struct Smb {
    /// The machine.
    pub server: String,
    /// The name it is shared by.
    pub share: String,
    /// A folder in it; empty for all of it.
    pub folder: String,
    /// Without a name, one is a guest.
    pub user: Option<String>,
    /// The password of the user.
    pub password: Option<String>,
    /// The domain of the user, in companies.
    pub domain: Option<String>,
}

impl fmt::Debug for Smb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Smb({:?}, {:?}, {:?}, {:?})", self.server, self.share, self.folder, self.user)
    }
}

impl fmt::Display for Share {
    /// Without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nfs { server, path } => write!(f, "nfs://{server}{path}"),
            Self::Smb(Smb { server, share, folder, .. }) if folder.is_empty() => {
                write!(f, "smb://{server}/{share}")
            }
            Self::Smb(Smb { server, share, folder, .. }) => {
                write!(f, "smb://{server}/{share}/{folder}")
            }
        }
    }
}

impl Share {
    /// Understands `nfs://SERVER/PATH`, `SERVER:/PATH`,
    /// `smb://DOMAIN;USER:PASSWORD@SERVER/SHARE/FOLDER`, `//SERVER/SHARE` and
    /// what Windows shows, `\\SERVER\SHARE`.
    ///
    /// # Errors
    /// Usage, if it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::usage(format!("'{}' is no folder on another machine", hidden(text))).hint(
                "it looks like this: smb://nas/images, smb://USER@nas/images or \
                 nfs://nas/volume1/images; a password with a / in it is asked for, if the address \
                 has none",
            )
        };
        if text.chars().any(char::is_control) {
            return Err(bad());
        }
        let lower = text.to_ascii_lowercase();
        let behind = |scheme: &str| lower.starts_with(scheme).then(|| &text[scheme.len()..]);
        if let Some(rest) = behind("nfs://") {
            let (server, path) = rest.split_once('/').ok_or_else(bad)?;
            return nfs(server, &format!("/{path}")).ok_or_else(bad);
        }
        let windows = text.starts_with("\\\\").then(|| text.replace('\\', "/"));
        let windows = windows.as_deref().unwrap_or(text).strip_prefix("//");
        if let Some(rest) = behind("smb://").or_else(|| behind("cifs://")).or(windows) {
            return smb(rest).map(Self::Smb).ok_or_else(bad);
        }
        match text.split_once(":/") {
            Some((server, path)) if !path.starts_with('/') => {
                nfs(server, &format!("/{path}")).ok_or_else(bad)
            }
            _ => Err(bad()),
        }
    }
}

/// True for what can be the name or number of a machine. A colon is in numbers
/// only: elsewhere a password may be behind it.
fn is_server(text: &str) -> bool {
    let number = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if number.contains(':') {
        let (number, zone) = number.split_once('%').unwrap_or((number, ""));
        return number.parse::<Ipv6Addr>().is_ok() && zone.chars().all(char::is_alphanumeric);
    }
    let is_good = |c: char| c.is_alphanumeric() || "-._".contains(c);
    !text.is_empty() && text.chars().all(is_good) && !text.starts_with('-')
}

fn nfs(server: &str, path: &str) -> Option<Share> {
    let path = match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    is_server(server).then(|| Share::Nfs { server: server.to_owned(), path: path.to_owned() })
}

fn smb(rest: &str) -> Option<Smb> {
    // A password may hold an @, and so may a folder; one with a / is asked for.
    let (front, _) = rest.split_once('/')?;
    let (user, place) = match front.rfind('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let (server, path) = place.split_once('/')?;
    let (share, folder) = path.split_once('/').unwrap_or((path, ""));
    let folder = folder.trim_matches('/');
    if !is_server(server) || share.is_empty() || folder.split('/').any(|part| part == "..") {
        return None;
    }
    let (domain, user) = match user.and_then(|user| user.split_once(';')) {
        Some((domain, user)) => (Some(domain), Some(user)),
        None => (None, user),
    };
    let (user, password) = match user.and_then(|user| user.split_once(':')) {
        Some((user, password)) => (Some(user), Some(password)),
        None => (user, None),
    };
    let owned = |text: Option<&str>| text.filter(|it| !it.is_empty()).map(str::to_owned);
    Some(Smb {
        server: server.to_owned(),
        share: share.to_owned(),
        folder: folder.to_owned(),
        user: owned(user),
        password: owned(password),
        domain: owned(domain),
    })
}

/// What was typed, without all that could be a password.
fn hidden(text: &str) -> String {
    match text.rfind('@') {
        Some(at) => format!("...{}", &text[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Share::parse(text).unwrap().to_string()
    }

    fn smb_of(text: &str) -> Smb {
        match Share::parse(text).unwrap() {
            Share::Smb(smb) => smb,
            Share::Nfs { .. } => panic!("{text} is SMB"),
        }
    }

    #[test]
    fn folders_are_taken_in_every_usual_form() {
        assert_eq!(shown("nfs://nas/volume1/images/"), "nfs://nas/volume1/images");
        assert_eq!(shown("NFS://nas/"), "nfs://nas/");
        assert_eq!(shown("192.168.1.5:/srv/My Images"), "nfs://192.168.1.5/srv/My Images");
        assert_eq!(shown("smb://nas/images"), "smb://nas/images");
        assert_eq!(shown("//nas/images/2026/"), "smb://nas/images/2026");
        assert_eq!(shown("\\\\NAS\\Images\\old ones"), "smb://NAS/Images/old ones");
        assert_eq!(shown("cifs://me@nas/images"), "smb://nas/images");
        assert_eq!(shown("smb://[fe80::1%eth0]/images"), "smb://[fe80::1%eth0]/images");
        assert_eq!(shown("fd00::5:/srv"), "nfs://fd00::5/srv");
    }

    #[test]
    fn a_user_may_have_a_domain_and_a_password() {
        let smb = smb_of("smb://STUDIO;anna:se:c@ret,1@nas/images/a@b");
        assert_eq!(smb.domain.as_deref(), Some("STUDIO"));
        assert_eq!(smb.user.as_deref(), Some("anna"));
        assert_eq!(smb.password.as_deref(), Some("se:c@ret,1"));
        assert_eq!((smb.server.as_str(), smb.share.as_str()), ("nas", "images"));
        assert_eq!(smb.folder, "a@b");
        assert!(!format!("{smb:?} {}", Share::Smb(smb.clone())).contains("ret"));
        let smb = smb_of("smb://nas/a@b");
        assert_eq!((smb.user, smb.share.as_str()), (None, "a@b"));
        assert_eq!(smb_of("smb://anna@nas/images").password, None);
    }

    #[test]
    fn what_is_no_folder_is_said_without_its_password() {
        for wrong in [
            "",
            "nas",
            "smb://nas",
            "smb://nas/",
            "smb:///images",
            "smb://nas/images/../other",
            "nfs://nas",
            "nfs://-o/x",
            "na s:/x",
            "http://nas/x",
            "smb://nas/a\nb",
            "smb://nas:445/a",
        ] {
            assert!(Share::parse(wrong).is_err(), "{wrong}");
        }
        for text in [
            "smb://anna:secret@nas",
            "smb://anna:sec/ret@nas/images",
            "smb://anna:/secret@nas/images",
            "//anna:secret/@nas/images",
            "nfs://anna:secret@nas/images",
        ] {
            let error = Share::parse(text).unwrap_err();
            assert!(!error.to_string().contains("sec"), "{text}: {error}");
        }
    }
}
