// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running other programs: by argument vector, never through a shell.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Another program, and the Debian package it comes with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool<'a> {
    pub(super) name: &'a str,
    pub(super) package: &'a str,
}

pub(super) const APT_GET: Tool<'_> = Tool { name: "apt-get", package: "apt" };
pub(super) const DPKG_DEB: Tool<'_> = Tool { name: "dpkg-deb", package: "dpkg" };
pub(super) const GRUB_MKIMAGE: Tool<'_> = Tool { name: "grub-mkimage", package: "grub-common" };
pub(super) const MFORMAT: Tool<'_> = Tool { name: "mformat", package: "mtools" };
pub(super) const MMD: Tool<'_> = Tool { name: "mmd", package: "mtools" };
pub(super) const MCOPY: Tool<'_> = Tool { name: "mcopy", package: "mtools" };
pub(super) const XORRISO: Tool<'_> = Tool { name: "xorriso", package: "xorriso" };

impl Tool<'_> {
    /// Runs it in `folder` and returns what it printed. `date` is what it
    /// takes for the time, in seconds since 1970.
    ///
    /// # Errors
    /// If it is not there, or fails; what it said is in the error.
    pub(super) fn run(self, args: &[OsString], folder: &Path, date: u64) -> Result<Vec<u8>> {
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        path.push(":/usr/sbin:/sbin");
        let ran = Command::new(self.name)
            .args(args)
            .current_dir(folder)
            .env("PATH", path)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("SOURCE_DATE_EPOCH", date.to_string())
            .env("MTOOLSRC", "/dev/null")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| self.not_started(error))?;
        if ran.status.success() {
            return Ok(ran.stdout);
        }
        let said = String::from_utf8_lossy(&ran.stderr);
        let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        // The cause stands near the end, behind pages of progress.
        let from = said.len().saturating_sub(4);
        Err(Error::failed(format!("{} failed: {}", self.name, said[from..].join("; "))))
    }

    fn not_started(self, error: std::io::Error) -> Error {
        if error.kind() == std::io::ErrorKind::NotFound {
            return Error::failed(format!("{} is not installed", self.name)).hint(format!(
                "it is in the Debian package {0}: apt-get install {0}",
                self.package
            ));
        }
        Error::io(format!("starting {}", self.name), error)
    }
}

/// Arguments of different kinds as one vector.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { Vec::from([$(std::ffi::OsString::from($arg)),*]) };
}
pub(super) use args;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let tool = Tool { name: "dacapo-no-such-program", package: "nothing" };
        let error = tool.run(&[], Path::new("/"), 0).unwrap_err();
        assert!(error.to_string().contains("dacapo-no-such-program is not installed"), "{error}");
        assert!(error.hint_text().unwrap().contains("apt-get install nothing"));
    }

    #[test]
    fn what_a_program_says_last_is_in_the_error() {
        let tool = Tool { name: "ls", package: "coreutils" };
        let error = tool.run(&args!["/dacapo-no-such-file"], Path::new("/"), 0).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    }
}
