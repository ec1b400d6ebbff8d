// SPDX-License-Identifier: MIT OR Apache-2.0
//! A computer with Debian's kernel that runs one script, with programs of this
//! machine: for devices that the kernel of this machine does not have. See
//! `scripts/make-images/guest`.

use std::fs;
use std::path::Path;

use super::{Ran, TempDir, find_program, run, temp_dir};

/// What it needs of this machine.
pub const GUEST_NEEDS: &[&str] = &["network", "qemu-system-x86_64", "ldd", "strip", "depmod"];

/// Where the guest has its programs and their libraries.
const PRELUDE: &str = r#"
mkdir -p /lib64
ln -s /in/lib/ld-linux-x86-64.so.2 /lib64/
export PATH=/in/bin:$PATH LD_LIBRARY_PATH=/in/lib HOME=/tmp LC_ALL=C
# until_so TEXT: waits for a condition of the shell.
until_so() {
    tries=0
    until eval "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 1200 ] || { say "waited in vain for: $1"; exit 1; }
        sleep 0.2
    done
}
"#;

/// A computer that is off.
pub struct Guest {
    folder: TempDir,
    qemu: Vec<String>,
}

impl Guest {
    /// A computer that has dacapo and these programs.
    #[track_caller]
    pub fn new(programs: &[&str]) -> Self {
        let guest = Self { folder: temp_dir(), qemu: Vec::new() };
        for folder in ["in", "in/bin", "in/lib"] {
            fs::create_dir(guest.folder.join(folder)).unwrap();
        }
        guest.add_program(Path::new(env!("CARGO_BIN_EXE_dacapo")));
        for program in programs {
            guest.add_program(&find_program(program).unwrap());
        }
        guest
    }

    fn add_program(&self, path: &Path) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let (from, to) = (path.to_str().unwrap(), self.folder.join(&format!("in/bin/{name}")));
        run("strip", &["--strip-debug", "-o", &to, from]);
        // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)"; the loader has no arrow.
        for line in run("ldd", &[from]).out().lines() {
            let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else {
                continue;
            };
            let name = Path::new(library).file_name().unwrap().to_str().unwrap();
            fs::copy(library, self.folder.join(&format!("in/lib/{name}"))).unwrap();
        }
    }

    /// The path of a file that the guest sees as /in/NAME.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(&format!("in/{name}"))
    }

    /// With more arguments of QEMU.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        for argument in arguments {
            self.qemu.extend(["--qemu".to_owned(), (*argument).to_owned()]);
        }
        self
    }

    /// Runs a script of busybox's shell with these disks, /dev/vda and so on;
    /// it must succeed. Besides the functions of `scripts/make-images/guest`
    /// it has `until_so CONDITION`.
    #[track_caller]
    pub fn run(&self, script: &str, disks: &[&str]) -> Ran {
        let path = self.folder.join("script");
        fs::write(&path, format!("{PRELUDE}{script}")).unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-images/guest");
        let folder = self.folder.join("in");
        let mut args = vec!["--with", &folder, "--seconds", "850"];
        args.extend(self.qemu.iter().map(String::as_str));
        args.push(&path);
        args.extend(disks);
        run(program.to_str().unwrap(), &args)
    }
}
