// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo network`: the network of the rescue system, at its shell.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::error::{Context, Error, Result};
use crate::network::{self, Address, Interface, Setting, Share, Smb};
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::{Output, plain};

const EXAMPLE: &str = "\
Examples:
  dacapo network
  dacapo network set dhcp
  dacapo network set eth0:192.168.1.50/24:192.168.1.1:192.168.1.1
  dacapo network connect smb://anna@nas/images
  dacapo network connect nfs://nas/volume1/images --write
  dacapo network disconnect";

/// Show and set up the network of the rescue system
///
/// Without more, shows the network cards and their addresses. An installed
/// system sets up its network itself; 'set' is for the rescue system.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct NetworkArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<NetworkCommand>,
}

/// What can be done with a network.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a comment here would replace the help text of the struct")]
pub enum NetworkCommand {
    Set(SetArgs),
    Connect(ConnectArgs),
    Disconnect(DisconnectArgs),
}

/// Give a network card an address
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct SetArgs {
    /// dhcp, INTERFACE:dhcp, or INTERFACE:ADDRESS/PREFIX:GATEWAY:DNS
    ///
    /// INTERFACE, GATEWAY and DNS may be empty; without an interface, the one
    /// that has a cable is meant. The same can be on the kernel's command line
    /// as dacapo.ip=SETTING.
    #[arg(value_name = "SETTING")]
    pub setting: String,
}

/// Connect a folder of another machine, and print where it is then
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ConnectArgs {
    /// smb://USER@SERVER/SHARE or nfs://SERVER/PATH
    ///
    /// Of SMB, the password is asked for; without USER, one is a guest.
    #[arg(value_name = "FOLDER")]
    pub folder: String,

    /// Allow writing, to save images there
    #[arg(long)]
    pub write: bool,
}

/// Disconnect every folder that was connected
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct DisconnectArgs {}

/// Runs the command.
///
/// # Errors
/// If there is no such card or folder, or it is not to be had.
pub fn run(args: &NetworkArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    cancel.check()?;
    match &args.command {
        None => {
            let found = network::interfaces()?;
            if found.is_empty() {
                output.result("no network card, or none with a driver here");
            }
            found.iter().for_each(|interface| output.result(&line(interface)));
            let found: Vec<_> = found.iter().map(json).collect();
            output.summary(&serde_json::json!({ "interfaces": found }));
        }
        Some(NetworkCommand::Set(args)) => {
            let interface = Setting::parse(&args.setting)?.apply()?;
            output.info(&line(&interface));
            output.summary(&json(&interface));
        }
        Some(NetworkCommand::Connect(args)) => {
            let mut share = Share::parse(&args.folder)?;
            if let Share::Smb(smb @ Smb { user: Some(_), password: None, .. }) = &mut share {
                smb.password = Some(ask_password(smb)?);
            }
            let path = share.mount(args.write)?.keep();
            output.result(&path.display().to_string());
            output.summary(&serde_json::json!({ "folder": share.to_string(), "path": path }));
        }
        Some(NetworkCommand::Disconnect(_)) => {
            let paths: Vec<PathBuf> = network::disconnect()?;
            for path in &paths {
                output.info(&format!("disconnected {}", path.display()));
            }
            output.summary(&serde_json::json!({ "disconnected": paths }));
        }
    }
    Ok(Outcome::Done)
}

/// "eth0  192.168.1.50/24  52:54:00:12:34:56  e1000e"
fn line(interface: &Interface) -> String {
    let driver = interface.driver.as_deref().unwrap_or_default();
    let parts = [&interface.name, &interface.state(), &interface.mac, driver];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    plain(&parts.join("  ")).into_owned()
}

fn json(interface: &Interface) -> serde_json::Value {
    let addresses: Vec<String> = interface.addresses.iter().map(Address::to_string).collect();
    serde_json::json!({
        "name": interface.name,
        "mac": interface.mac,
        "driver": interface.driver,
        "link": interface.link,
        "wireless": interface.is_wireless,
        "addresses": addresses,
    })
}

/// Puts the terminal back as it was.
struct Echo<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Drop for Echo<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal.as_fd(), SetArg::TCSAFLUSH, &self.before);
    }
}

/// Asks for a password that is not seen while it is typed.
fn ask_password(smb: &Smb) -> Result<String> {
    let user = smb.user.as_deref().unwrap_or_default();
    let what = || format!("asking for the password of {user}");
    let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(|error| {
        Error::io(what(), error).hint("give it in the address: smb://USER:PASSWORD@SERVER/SHARE")
    })?;
    let before = tcgetattr(&terminal).map_err(std::io::Error::from).context(what)?;
    let mut silent = before.clone();
    // Ctrl-C would end the program and leave the terminal mute.
    silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent).map_err(std::io::Error::from).context(what)?;
    let echo = Echo { terminal: &terminal, before };
    let mut line = String::new();
    let asked = write!(&terminal, "Password of {} on {}: ", plain(user), plain(&smb.server))
        .and_then(|()| BufReader::new(&terminal).read_line(&mut line));
    drop(echo);
    let _ = writeln!(&terminal);
    asked.context(what)?;
    // Ctrl-C, or Ctrl-D at once.
    if line.contains('\u{3}') || line.is_empty() {
        return Err(Error::interrupted());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
