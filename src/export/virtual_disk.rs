// SPDX-License-Identifier: MIT OR Apache-2.0
//! The formats of virtual machines, by qemu-img: it reads the image as a
//! network block device, at a socket that nobody else can reach.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::Format;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::nbd::{Address, Events, Exports, Server};
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::qemu_img::QemuImg;

/// Finds the program that writes them.
///
/// # Errors
/// Unsupported if it is not installed, with what to install.
pub fn program() -> Result<QemuImg> {
    QemuImg::find("writes all formats but raw", "raw needs no other program")
}

/// Writes an export to a file that is there and empty.
///
/// # Errors
/// Damaged if the image is; what qemu-img says, if it fails.
pub fn run(
    program: &QemuImg,
    exports: &Exports,
    export: &str,
    (format, file): (Format, &Path),
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<()> {
    let len = exports.find(export)?.extent.len();
    let folder = Folder::new()?;
    let address = Address::Socket(folder.0.join("nbd"));
    let server = Server::bind(&address)?;
    progress.stage("exporting", len);
    let source = address.uri(export);
    // A name must not be taken for an option, or for a protocol.
    let file = std::path::absolute(file).context(|| "finding the current folder".into())?;
    let args = [
        "convert".as_ref(),
        "-p".as_ref(),
        "-f".as_ref(),
        "raw".as_ref(),
        "-O".as_ref(),
        format.name().as_ref(),
        source.as_ref(),
        file.as_os_str(),
    ];
    let mut told = 0;
    let mut percent = |percent: f64| {
        // OK because it is not negative, and not more than a disk has.
        let done = (len as f64 * (percent / 100.0)) as u64;
        progress.advance(done.saturating_sub(told));
        told = told.max(done);
    };
    let failures = Failures::default();
    let served = Cancel::default();
    let converted = thread::scope(|scope| {
        let serving = scope.spawn(|| server.run(exports, &served, &failures));
        let ran = program.run(&args, cancel, &mut percent);
        served.cancel();
        // It has no failures of its own that qemu-img would not have seen.
        let _ = serving.join();
        ran
    });
    let first = failures.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    let ran = converted?;
    match (ran.code, first) {
        (Some(0), _) => Ok(()),
        (_, Some(cause)) => Err(cause),
        (_, None) => {
            let kind = if ran.is_full() { ErrorKind::NoSpace } else { ErrorKind::Failed };
            Err(Error::new(kind, ran.last_words()))
        }
    }
}

/// The first thing that could not be read: the cause of all that follows.
#[derive(Default)]
struct Failures(Mutex<Option<Error>>);

impl Events for Failures {
    fn failed(&self, error: &Error) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(Error::new(error.kind(), error.to_string()));
        }
    }

    fn strange(&self, _: &str) {}
}

/// A folder that only this user can enter, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        // The path of a socket is short, TMPDIR need not be.
        let chosen = std::env::temp_dir();
        let base = if chosen.as_os_str().len() < 60 { chosen } else { PathBuf::from("/tmp") };
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let path = base.join(format!("dacapo-{}-{now}", std::process::id()));
        // It fails if anything has that name, a link included.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .context(|| format!("making the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
