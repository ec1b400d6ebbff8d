// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one error type of the program, its kinds, and the exit code of each kind.
//!
//! An error says what was being done and to what ("reading sector 0 of
//! /dev/sda"), keeps its cause, and may carry a hint: what to do now. The
//! program prints `error: a: b: c` and then `hint: ...`.

use std::fmt;
use std::io;

/// Why something ended, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Any failure that has no kind of its own, I/O errors included.
    Failed,
    /// Wrong use of the command line.
    Usage,
    /// The work was finished, but something could not be read.
    Losses,
    /// An image is corrupt, or a comparison found a difference.
    Damaged,
    /// Refused for safety before anything was written.
    Refused,
    /// A newer image format, or a feature this build or kernel lacks.
    Unsupported,
    /// A wrong or missing key.
    Key,
    /// The destination is full.
    NoSpace,
    /// Stopped by the user.
    Interrupted,
}

impl ErrorKind {
    /// Every kind, in the order of the exit codes.
    pub const ALL: [Self; 9] = [
        Self::Failed,
        Self::Usage,
        Self::Losses,
        Self::Damaged,
        Self::Refused,
        Self::Unsupported,
        Self::Key,
        Self::NoSpace,
        Self::Interrupted,
    ];

    /// The exit code of the program; 0 is success and has no kind.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Losses => 3,
            Self::Damaged => 4,
            Self::Refused => 5,
            Self::Unsupported => 6,
            Self::Key => 7,
            Self::NoSpace => 8,
            Self::Interrupted => 130,
        }
    }

    /// The name used in JSON reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Losses => "losses",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
            Self::Key => "key",
            Self::NoSpace => "no-space",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a part of the rescue system asks the first program for by its exit
/// code; no failure has one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Switch the computer off.
    PowerOff,
    /// Start it again.
    Restart,
    /// A command line in place of the screen.
    Shell,
}

impl Request {
    /// Every request.
    pub const ALL: [Self; 3] = [Self::PowerOff, Self::Restart, Self::Shell];

    /// The exit code that stands for it.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::PowerOff => 10,
            Self::Restart => 11,
            Self::Shell => 12,
        }
    }

    /// The request that an exit code stands for.
    #[must_use]
    pub fn of(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|request| i32::from(request.exit_code()) == code)
    }
}

/// An error with its kind, what was being done, a hint, and its cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` without a cause.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None, source: None }
    }

    /// A plain failure.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, what)
    }

    /// Wrong use of the command line.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, what)
    }

    /// Refused for safety.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, what)
    }

    /// Damage found in an image or on a disk.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, what)
    }

    /// Something newer than, or unknown to, this program.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, what)
    }

    /// Stopped by the user.
    #[must_use]
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    /// An I/O error while doing `what`; a full destination gets its own kind.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => ErrorKind::NoSpace,
            _ => ErrorKind::Failed,
        };
        let hint = (source.kind() == io::ErrorKind::FileTooLarge).then(|| {
            "the filesystem there does not take files this large, as FAT32 with its 4 GiB: \
             choose another place"
                .into()
        });
        Self { kind, what: what.into(), hint, source: Some(Box::new(source)) }
    }

    /// The same error with a hint for the user.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The kind, which decides the exit code.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can do now; the hint nearest to the top of the chain.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        if let Some(hint) = &self.hint {
            return Some(hint);
        }
        let source = self.source.as_ref()?;
        source.downcast_ref::<Self>()?.hint_text()
    }

    /// True if the cause at the bottom is an unreadable sector.
    #[must_use]
    pub fn is_media_error(&self) -> bool {
        // What the kernel reports for a medium that cannot be read.
        self.os_error().is_some_and(|code| {
            [libc::EIO, libc::EBADMSG, libc::ENODATA, libc::EILSEQ, libc::EREMOTEIO].contains(&code)
        })
    }

    /// True if the cause at the bottom is that the drive is not there any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        // What the kernel reports once it has noticed.
        self.os_error().is_some_and(|code| [libc::ENODEV, libc::ENXIO].contains(&code))
    }

    /// The system's number of the cause at the bottom.
    fn os_error(&self) -> Option<i32> {
        let source = self.source.as_ref()?;
        match source.downcast_ref::<Self>() {
            Some(inner) => inner.os_error(),
            None => source.downcast_ref::<io::Error>()?.raw_os_error(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    // Display prints the whole chain, so the cause is not offered again.
}

/// Adds what was being done to an error.
pub trait Context<T> {
    /// Wraps the error, keeping its kind, under a lazily made description.
    ///
    /// # Errors
    /// The error of `self`, wrapped.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T, Error> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error {
            kind: error.kind,
            what: what(),
            hint: None,
            source: Some(Box::new(error)),
        })
    }
}

impl<T> Context<T> for Result<T, io::Error> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::io(what(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_promised() {
        let codes: Vec<u8> = ErrorKind::ALL.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 130]);
    }

    #[test]
    fn a_full_disk_has_its_own_kind_through_every_context() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Err::<(), _>(full)
            .context(|| "writing a.img".into())
            .context(|| "saving /dev/sda".into())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(error.to_string().starts_with("saving /dev/sda: writing a.img: "));
    }

    #[test]
    fn the_hint_survives_a_context() {
        let error = Err::<(), _>(Error::refused("mounted").hint("unmount it"))
            .context(|| "opening".into())
            .unwrap_err();
        assert_eq!(error.hint_text(), Some("unmount it"));
    }

    #[test]
    fn media_errors_are_told_from_others() {
        let eio = Error::io("a", io::Error::from_raw_os_error(libc::EIO));
        assert!(Err::<(), _>(eio).context(|| "b".into()).unwrap_err().is_media_error());
        let other = Error::io("a", io::Error::from_raw_os_error(libc::ENXIO));
        assert!(!other.is_media_error() && other.is_gone());
    }
}
