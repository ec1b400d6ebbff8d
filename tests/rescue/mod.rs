// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rescue system, in computers that QEMU emulates.

mod build;
mod init;
mod neighbours;
mod network;
mod repair;
pub(crate) mod scene;
mod starts;
mod stick;
mod story;
mod trouble;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::support::{finish, run};

/// What the medium needs of this machine.
pub(crate) const NEEDS: [&str; 5] = ["root", "network", "xorriso", "grub-mkimage", "mcopy"];

/// The static program, with its init program beside it; built once.
/// `DACAPO_STATIC` names one that is there already.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("DACAPO_STATIC") {
            return path.into();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let ran = run(root.join("scripts/static").to_str().unwrap(), &[] as &[&str]);
        root.join(ran.out().trim_end().lines().last().unwrap())
    })
}

/// The rescue medium, built once for all tests.
pub(crate) fn iso() -> &'static Path {
    static ISO: OnceLock<PathBuf> = OnceLock::new();
    ISO.get_or_init(|| {
        let iso = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rescue.iso");
        let made = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        if made(&iso) <= made(program()) {
            let _ = fs::remove_file(&iso);
            build(&iso, &[]);
        }
        iso
    })
}

/// The kernel and initramfs on that medium, for computers that are told what
/// to do on the command line of the kernel.
pub(crate) fn kernel() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rescue-kernel");
        let _ = fs::remove_dir_all(&folder);
        let (iso, to) = (iso().to_str().unwrap(), folder.to_str().unwrap());
        run("xorriso", &["-osirrox", "on", "-indev", iso, "-extract", "/boot", to]);
        folder
    })
}

/// Arguments with which the medium starts a shell on the serial port.
pub(crate) const SHELL: &str = "rdinit=/bin/sh console=ttyS0,115200 thirty=Studio%201%25";

/// A medium that was built to start that shell, built once for all tests.
pub(crate) fn shell_iso() -> &'static Path {
    static ISO: OnceLock<PathBuf> = OnceLock::new();
    ISO.get_or_init(|| {
        let iso = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rescue-shell.iso");
        let _ = fs::remove_file(&iso);
        build(&iso, &["--append", SHELL]);
        iso
    })
}

/// Builds a medium with the static program.
#[track_caller]
pub(crate) fn build(out: &Path, more: &[&str]) {
    let mut command = std::process::Command::new(program());
    command.args(["rescue", "build", out.to_str().unwrap()]).args(more);
    finish(command, &[]).success();
}
