// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo serve`: an image as a network block device.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::{Args, ValueHint};

use crate::browse::{How, OpenDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::scratch_folder;
use crate::job::serve::exports;
use crate::nbd::protocol::PORT;
use crate::nbd::{Address, Events, Exports, Server};
use crate::pipeline::Cancel;
use crate::store;
use crate::units::{SectorSize, human};

use super::Outcome;
use super::open::BesideArgs;
use super::output::{Output, plain};
use super::values;

const EXAMPLE: &str = "\
Examples:
  dacapo serve studio.img.zst             then: qemu-img info nbd://localhost
  nbd-client localhost /dev/nbd0 -N 2     partition 2 as a device of Linux
  dacapo serve one.img.zst --with two.img.zst
  nbdcopy nbd://localhost/vg0/root root.raw
  dacapo serve studio.img.zst --overlay   then start the image in QEMU:
  qemu-system-x86_64 -m 4G -drive file=nbd://localhost,format=raw";

/// Serve an image to QEMU, nbd-client and others as a disk
///
/// Speaks NBD, the protocol of network block devices. The export 'disk' is the
/// whole disk, '1', '2' and so on are its partitions, 'vg0/root' is a logical
/// volume. Only this machine can connect, unless --bind says otherwise. Ctrl-C
/// ends it.
///
/// What could not be read when the disk was saved gives an error to whoever
/// reads it, and the exit code is 3 if somebody did.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ServeArgs {
    /// Image, also at an http(s) address; or a disk or raw image file
    #[arg(value_name = "IMAGE", value_hint = ValueHint::AnyPath)]
    pub image: PathBuf,

    /// Listen at a socket in the filesystem instead of a port
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["port", "bind"])]
    pub socket: Option<PathBuf>,

    /// Port to listen at; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = PORT)]
    pub port: u16,

    /// Address to listen at; others than this machine can read all of it then
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub bind: IpAddr,

    /// Let clients write; what they write is thrown away in the end
    ///
    /// The image is never written to. Logical volumes are not served by themselves
    /// then, only inside of the disk.
    #[arg(long, conflicts_with = "others")]
    pub overlay: bool,

    /// Folder for what is written [default: $TMPDIR, or /var/tmp]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, requires = "overlay")]
    pub scratch: Option<PathBuf>,

    /// Sector size, if IMAGE is the file of a disk with 4096
    #[arg(long, value_name = "BYTES", value_parser = values::sector_size)]
    pub sector_size: Option<SectorSize>,

    /// Other disks of a set.
    #[command(flatten)]
    pub set: BesideArgs,
}

/// Runs the command.
///
/// # Errors
/// If the image cannot be opened, or nothing can listen at the address.
pub fn run(args: &ServeArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let address = match &args.socket {
        Some(path) => Address::Socket(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        None => Address::Port(args.bind, args.port),
    };
    let how = How { sector: args.sector_size, claim: true };
    let open = |path: &Path| OpenDisk::open_with(path, how, |file| file);
    let disk = args.set.beside(&args.image, open(&args.image)?, open)?;
    for each in std::iter::once(&disk).chain(disk.others()) {
        if let Some(note) = each.note() {
            output.note(&note);
        }
        let losses = each.losses();
        if !losses.is_empty() {
            output.note(&format!(
                "{}: {} in {} places could not be read when the disk was saved: whoever reads \
                 there gets an error; 'dacapo info' lists them",
                each.name,
                human(losses.bytes()),
                losses.count()
            ));
        }
    }
    let losses = disk.losses();
    let folder = args.overlay.then(|| args.scratch.clone().unwrap_or_else(scratch_folder));
    let exports = exports(&disk, folder.as_deref())?;
    let server = Server::bind(&address)?;
    show(args, &exports, &losses, server.address(), output);

    let told = Told { output, seen: Mutex::default() };
    let totals = server.run(&exports, cancel, &told)?;
    output.info(&format!("served {} clients, {} sent", totals.clients, human(totals.bytes)));
    output.summary(&serde_json::json!({
        "image": store::shown(&args.image),
        "clients": totals.clients,
        "bytes_sent": totals.bytes,
    }));
    Ok(told.outcome())
}

/// Says that clients can come now, and how.
fn show(
    args: &ServeArgs,
    exports: &Exports,
    losses: &ExtentSet,
    address: &Address,
    output: &Output,
) {
    let uri = address.uri("");
    let state = if args.overlay { "writes are thrown away in the end" } else { "read-only" };
    output.result(&format!("serving {} at {uri} ({state})", plain(&store::shown(&args.image))));
    let names = exports.list().iter().map(|export| export.name.chars().count());
    let width = names.max().unwrap_or(0).min(32);
    for export in exports.list() {
        let name = plain(&export.name);
        output.info(&format!("  {name:<width$}  {}", plain(&export.description)));
    }
    match address {
        Address::Socket(path) => {
            output.info(&format!("look at it with:  qemu-img info '{uri}'"));
            output.info(&format!(
                "as a device:      nbd-client -unix {} /dev/nbd0 -N disk",
                path.display()
            ));
        }
        Address::Port(ip, port) => {
            output.info(&format!("look at it with:  qemu-img info {uri}"));
            let host = if ip.is_unspecified() { "HOST".to_owned() } else { ip.to_string() };
            output.info(&format!("as a device:      nbd-client {host} {port} /dev/nbd0 -N disk"));
            if !ip.is_loopback() {
                output.note(
                    "whoever reaches that address can read the whole disk: NBD asks for no \
                     password and encrypts nothing",
                );
            }
        }
    }
    output.info("Ctrl-C ends it");
    let list: Vec<_> = exports
        .list()
        .iter()
        .map(|export| {
            serde_json::json!({
                "name": export.name,
                "description": export.description,
                "uri": address.uri(&export.name),
                "bytes": export.extent.len(),
            })
        })
        .collect();
    output.ready(&serde_json::json!({
        "image": store::shown(&args.image),
        "uri": uri,
        "writable": args.overlay,
        "losses": losses.iter().collect::<Vec<Extent>>(),
        "exports": list,
    }));
}

/// So many different errors are shown, of clients that read on and on.
const SHOWN: usize = 1000;

/// Shows each error once, however often a client tries.
struct Told<'a> {
    output: &'a Output,
    seen: Mutex<HashMap<String, ErrorKind>>,
}

impl Events for Told<'_> {
    fn failed(&self, error: &Error) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What the drive below cannot read is lost as well.
        let kind = if error.is_media_error() { ErrorKind::Losses } else { error.kind() };
        if seen.len() < SHOWN && seen.insert(error.to_string(), kind).is_none() {
            self.output.error(error);
        }
    }

    fn strange(&self, what: &str) {
        self.output.note(what);
    }
}

impl Told<'_> {
    fn outcome(&self) -> Outcome {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_empty() {
            return Outcome::Done;
        }
        // What could not be read counts for more than what could not be written.
        let kinds = [ErrorKind::Damaged, ErrorKind::Losses, ErrorKind::NoSpace];
        let kind = kinds.into_iter().find(|kind| seen.values().any(|it| it == kind));
        let what = match kind {
            Some(ErrorKind::Damaged) => "of what clients read, some is damaged in the image",
            Some(ErrorKind::Losses) => "of what clients read, some is lost",
            Some(ErrorKind::NoSpace) => "of what clients wrote, some could not be kept",
            _ => "some of what clients asked for could not be done",
        };
        Outcome::Finding(Error::new(kind.unwrap_or(ErrorKind::Failed), what))
    }
}
