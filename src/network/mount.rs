// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders of other machines, mounted by the kernel itself: mount.nfs and
//! mount.cifs are not needed where names are looked up and options are
//! written here.
//!
//! The options are those of nfs(5) and mount.cifs(8), in the form that the
//! kernel takes. Only what has to do with reaching the server is set.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::share::{Share, Smb};
use crate::error::{Context, Error, Result};

/// Where the folders of other machines are.
const PLACE: &str = "/run/dacapo/network";

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const NFS_PORT: u16 = 2049;
const SMB_PORT: u16 = 445;

/// A mounted folder of another machine, which is unmounted when this is
/// dropped.
#[derive(Debug)]
pub struct NetworkFolder {
    /// The point of the mount.
    point: PathBuf,
    /// What was asked for, at or below it.
    path: PathBuf,
    is_kept: bool,
}

impl NetworkFolder {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it mounted after the end of this program. Returns where it is.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        self.is_kept = true;
        self.path.clone()
    }
}

impl Drop for NetworkFolder {
    fn drop(&mut self) {
        if !self.is_kept {
            // What is still open in it keeps it alive, out of sight.
            let _ = umount2(&self.point, MntFlags::MNT_DETACH);
            let _ = fs::remove_dir(&self.point);
        }
    }
}

/// Unmounts every folder of another machine that was kept. Returns where they
/// were.
///
/// # Errors
/// If one is still in use.
pub fn disconnect() -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(PLACE) else { return Ok(Vec::new()) };
    let mut done = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        match umount2(&path, MntFlags::empty()) {
            Ok(()) => done.push(path.clone()),
            // Not mounted; an empty folder only.
            Err(nix::Error::EINVAL) => {}
            Err(error) => {
                return Err(Error::io(format!("disconnecting {}", path.display()), error.into()));
            }
        }
        let _ = fs::remove_dir(&path);
    }
    Ok(done)
}

impl Share {
    /// Mounts the folder; to read it only, unless `writable`.
    ///
    /// # Errors
    /// If the server cannot be reached, has no such folder, or wants another
    /// user.
    pub fn mount(&self, writable: bool) -> Result<NetworkFolder> {
        if !nix::unistd::geteuid().is_root() {
            return Err(
                Error::failed(format!("connecting {self} needs root")).hint("run it with sudo")
            );
        }
        let path = self.make_point()?;
        let mounted = match self {
            Self::Nfs { server, path: folder } => mount_nfs(self, server, folder, writable, &path),
            Self::Smb(smb) => mount_smb(self, smb, writable, &path),
        };
        if let Err(error) = mounted {
            let _ = fs::remove_dir(&path);
            return Err(error);
        }
        let inner = match self {
            Self::Smb(smb) if !smb.folder.is_empty() => path.join(&smb.folder),
            _ => path.clone(),
        };
        let guard = NetworkFolder { path: inner, point: path, is_kept: false };
        if !guard.path.is_dir() {
            return Err(Error::failed(format!("there is no folder {self}")));
        }
        Ok(guard)
    }

    /// A new folder to mount it at, with a name that says what it is.
    fn make_point(&self) -> Result<PathBuf> {
        fs::create_dir_all(PLACE).context(|| format!("making {PLACE}"))?;
        let (server, name) = match self {
            Self::Nfs { server, path } => (server, path.as_str()),
            Self::Smb(smb) => (&smb.server, smb.share.as_str()),
        };
        let plain = |text: &str| -> String {
            let letter = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
            text.trim_matches('/').chars().map(letter).take(60).collect()
        };
        let name = format!("{}-{}", plain(server), plain(name));
        let name = name.trim_matches(['-', '.']);
        for number in 1..100 {
            let path = Path::new(PLACE).join(match number {
                1 => name.to_owned(),
                number => format!("{name}-{number}"),
            });
            match fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(format!("making {}", path.display()), error)),
            }
        }
        Err(Error::failed(format!("{self} is connected a hundred times already")))
    }
}

fn flags(writable: bool) -> MsFlags {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if writable { flags } else { flags | MsFlags::MS_RDONLY }
}

/// The first address of a server at which somebody answers: the kernel would
/// try for minutes, and not say why.
fn reach(server: &str, port: u16) -> Result<IpAddr> {
    let name = server.trim_start_matches('[').trim_end_matches(']');
    let found = (name, port).to_socket_addrs().map_err(|error| {
        Error::failed(format!("no machine is known by the name of {server}: {error}"))
            .hint("check the name, or give the machine's number, as in smb://192.168.1.5/images")
    })?;
    let addresses: Vec<SocketAddr> = found.collect();
    let mut failure = None;
    for address in &addresses {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(_) => return Ok(address.ip()),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let failure = failure.unwrap_or_else(|| io::ErrorKind::NotFound.into());
    let service = if port == NFS_PORT { "NFS" } else { "SMB" };
    Err(match failure.kind() {
        io::ErrorKind::ConnectionRefused => {
            Error::failed(format!("{server} is there, but shares nothing by {service}"))
                .hint("switch it on in the settings of the server")
        }
        _ => Error::failed(format!("{server} cannot be reached: {failure}"))
            .hint("check that it is on, the cable, and the network with 'dacapo network'"),
    })
}

/// The own address that a server sees.
fn own_address(server: IpAddr) -> Result<IpAddr> {
    let any: SocketAddr = match server {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    // Nothing is sent by this.
    UdpSocket::bind(any)
        .and_then(|socket| {
            socket.connect((server, NFS_PORT))?;
            socket.local_addr()
        })
        .map(|address| address.ip())
        .context(|| format!("looking for the way to {server}"))
}

/// The options for each version, newest first. `soft`: a server that is gone
/// is an error after some minutes, and not a program that cannot be ended.
fn nfs_options(server: IpAddr, own: IpAddr) -> Vec<String> {
    let kind = if server.is_ipv4() { "tcp" } else { "tcp6" };
    let every = format!("addr={server},proto={kind},soft,timeo=100,retrans=5");
    let mut options: Vec<String> = ["4.2", "4.1", "4.0"]
        .iter()
        .map(|version| format!("vers={version},clientaddr={own},{every}"))
        .collect();
    // The kernel asks the server's rpcbind for the rest; no locks, for which
    // another program would have to run here.
    options.push(format!("vers=3,nolock,mountproto={kind},mountvers=3,{every}"));
    options
}

fn mount_nfs(share: &Share, server: &str, folder: &str, writable: bool, at: &Path) -> Result<()> {
    let address = reach(server, NFS_PORT)?;
    let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    let source = format!("{host}:{folder}");
    let mut failure = nix::Error::EPROTONOSUPPORT;
    for options in nfs_options(address, own_address(address)?) {
        let options = Some(options.as_str());
        match mount(Some(source.as_str()), at, Some("nfs"), flags(writable), options) {
            Ok(()) => return Ok(()),
            // Another version may do.
            Err(nix::Error::EPROTONOSUPPORT | nix::Error::EINVAL) => {}
            // An older one may have another tree of folders.
            Err(nix::Error::ENOENT) => failure = nix::Error::ENOENT,
            Err(error) => {
                // That a folder is missing was said by a version that is spoken.
                if failure != nix::Error::ENOENT {
                    failure = error;
                }
                break;
            }
        }
    }
    Err(why_not(share, failure, "NFS"))
}

/// In a list of options a comma is written twice.
fn escaped(text: &str) -> String {
    text.replace(',', ",,")
}

fn smb_options(smb: &Smb, server: IpAddr, version: &str) -> String {
    let name = format!("\\\\{}\\{}", smb.server, smb.share);
    let mut options = format!("ip={server},unc={}", escaped(&name));
    options += ",iocharset=utf8,soft";
    if !version.is_empty() {
        options += &format!(",vers={version}");
    }
    match &smb.user {
        // Servers that have guests take a name they do not know for one.
        None => options += ",user=guest,pass=",
        Some(user) => {
            options += &format!(",user={}", escaped(user));
            // Last of all, as mount.cifs has it.
            if let Some(domain) = &smb.domain {
                options += &format!(",domain={}", escaped(domain));
            }
            options += &format!(",pass={}", escaped(smb.password.as_deref().unwrap_or_default()));
        }
    }
    options
}

/// The versions that are tried: what the kernel takes for safe, and then what
/// old storage boxes speak.
const SMB_VERSIONS: [&str; 4] = ["", "3.0", "2.1", "1.0"];

fn mount_smb(share: &Share, smb: &Smb, writable: bool, at: &Path) -> Result<()> {
    let address = reach(&smb.server, SMB_PORT)?;
    let source = format!("//{}/{}", smb.server, smb.share);
    let mut failure = nix::Error::EOPNOTSUPP;
    for version in SMB_VERSIONS {
        let options = smb_options(smb, address, version);
        let options = Some(options.as_str());
        match mount(Some(source.as_str()), at, Some("cifs"), flags(writable), options) {
            Ok(()) => return Ok(()),
            // What a server answers, or does not, to a version it is too old for.
            Err(error @ (nix::Error::EOPNOTSUPP | nix::Error::EHOSTDOWN | nix::Error::EINVAL)) => {
                failure = error;
            }
            Err(error) => {
                failure = error;
                break;
            }
        }
    }
    Err(why_not(share, failure, "SMB"))
}

fn why_not(share: &Share, error: nix::Error, service: &str) -> Error {
    let what = format!("connecting {share}");
    let user = match share {
        Share::Smb(Smb { user: Some(user), .. }) => format!("the user {user}"),
        _ => "a guest".to_owned(),
    };
    match error {
        nix::Error::ENODEV => Error::unsupported(format!("{what}: this kernel has no {service}")),
        nix::Error::EACCES | nix::Error::EPERM | nix::Error::EKEYREJECTED if service == "SMB" => {
            Error::failed(format!("{what}: the server does not let {user} in"))
                .hint("give name and password: smb://USER@SERVER/SHARE; capital letters count")
        }
        nix::Error::EACCES | nix::Error::EPERM => {
            Error::failed(format!("{what}: the server does not share it with this machine"))
                .hint("allow this machine's address in the server's settings")
        }
        nix::Error::ENOENT | nix::Error::ENXIO | nix::Error::ENOTDIR => {
            Error::failed(format!("{what}: the server has no such folder"))
                .hint("check its name; capital letters may count")
        }
        nix::Error::ETIMEDOUT | nix::Error::EHOSTDOWN | nix::Error::EAGAIN => {
            Error::failed(format!("{what}: the server does not answer"))
        }
        nix::Error::EOPNOTSUPP | nix::Error::EPROTONOSUPPORT | nix::Error::EINVAL => {
            Error::failed(format!("{what}: the server speaks no {service} that is known here"))
        }
        error => Error::io(what, error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smb(text: &str) -> Smb {
        match Share::parse(text).unwrap() {
            Share::Smb(smb) => smb,
            Share::Nfs { .. } => panic!("{text} is SMB"),
        }
    }

    #[test]
    fn a_password_with_commas_stays_one_option() {
        let address = "10.0.2.4".parse().unwrap();
        let options = smb_options(&smb("smb://W;an,na:a,b,vers=1.0@nas/qemu"), address, "3.0");
        assert_eq!(
            options,
            "ip=10.0.2.4,unc=\\\\nas\\qemu,iocharset=utf8,soft,vers=3.0,user=an,,na,domain=W,\
             pass=a,,b,,vers=1.0"
        );
        let options = smb_options(&smb("//nas/a,ro"), address, "");
        assert!(options.contains("unc=\\\\nas\\a,,ro,iocharset"), "{options}");
        let options = smb_options(&smb("//nas/qemu"), address, "");
        assert!(options.ends_with(",user=guest,pass=") && !options.contains("vers"), "{options}");
    }

    #[test]
    fn every_version_of_nfs_is_tried_newest_first() {
        let options = nfs_options("10.0.2.2".parse().unwrap(), "10.0.2.15".parse().unwrap());
        let versions: Vec<&str> = options.iter().filter_map(|it| it.split(',').next()).collect();
        assert_eq!(versions, ["vers=4.2", "vers=4.1", "vers=4.0", "vers=3"]);
        assert!(options.iter().all(|it| it.contains("addr=10.0.2.2,proto=tcp,")));
        assert!(options[0].contains("clientaddr=10.0.2.15") && options[3].contains("nolock"));
        let options = nfs_options("fd00::2".parse().unwrap(), "fd00::15".parse().unwrap());
        assert!(options.iter().all(|it| it.contains("proto=tcp6")));
    }

    #[test]
    fn where_nobody_answers_is_said() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(reach("127.0.0.1", port).unwrap().to_string(), "127.0.0.1");
        drop(listener);
        let error = reach("127.0.0.1", port).unwrap_err();
        assert!(error.to_string().contains("shares nothing by SMB"), "{error}");
        let error = reach("no-such-name.invalid", port).unwrap_err();
        assert!(error.to_string().contains("no machine is known"), "{error}");
        let own = own_address("127.0.0.1".parse().unwrap()).unwrap();
        assert_eq!(own.to_string(), "127.0.0.1");
    }

    #[test]
    fn every_failure_has_its_sentence() {
        let share = Share::parse("smb://anna:secret@nas/images").unwrap();
        let text = |error: nix::Error| {
            let error = why_not(&share, error, "SMB");
            assert!(!error.to_string().contains("secret"));
            error.to_string()
        };
        assert!(text(nix::Error::EACCES).contains("does not let the user anna in"));
        assert!(text(nix::Error::ENOENT).contains("no such folder"));
        assert!(text(nix::Error::ENODEV).contains("this kernel has no SMB"));
        assert!(text(nix::Error::EIO).contains("smb://nas/images"));
    }
}
