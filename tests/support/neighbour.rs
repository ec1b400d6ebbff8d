// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another machine in the network: one that shares a folder by NFS and SMB and
//! has SSH, all by the programs that people use. It is a few processes in
//! namespaces of their own: no port, user or file of this machine is touched,
//! and two of them do not meet.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{TempDir, search_path, temp_dir};

/// How long its services may take to start, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A machine that is on. Ends with all its processes when it is dropped.
pub struct Neighbour {
    child: Child,
    folder: TempDir,
}

impl Neighbour {
    /// What it needs of this machine.
    pub const NEEDS: [&str; 10] = [
        "root",
        "unshare",
        "nsenter",
        "ip",
        "rpcbind",
        "ganesha.nfsd",
        "smbd",
        "sshd",
        "ssh-keygen",
        "openssl",
    ];

    /// The password of its user anna.
    pub const PASSWORD: &str = "se,cret/1";

    /// Shares a copy of `images`: by NFS in these versions ("3, 4") as
    /// `/srv/images`, by SMB as `open` for everybody and, with the folder
    /// above, as `private` for anna.
    #[track_caller]
    pub fn start(images: &Path, nfs: &str) -> Self {
        let folder = temp_dir();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/neighbour.sh");
        let child = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"])
            .arg("sh")
            .arg(script)
            .args([images.to_str().unwrap(), nfs])
            .env("PATH", search_path())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let mut this = Self { child, folder };
        let end = Instant::now() + START;
        while !this.said("stdout").contains("ready") {
            let runs = this.child.try_wait().unwrap().is_none();
            assert!(runs && Instant::now() < end, "the neighbour: {}", this.said("stderr"));
            thread::sleep(Duration::from_millis(50));
        }
        this
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Its network, for another machine to be in.
    pub fn network(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.child.id()).into()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the neighbour said: {}", self.said("stderr"));
        }
        // The first process of a namespace takes all others of it along.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
