// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an interface gets its address: from a DHCP server, or by hand.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::interface::{Address, Interface, interfaces};
use super::program::{ip, run};
use crate::error::{Context, Error, ErrorKind, Result};

/// What udhcpc runs to set what it learned.
const SCRIPT: &str = "/usr/share/udhcpc/default.script";
/// Where udhcpc says who it is.
const RUN: &str = "/run/dacapo";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long a cable may take to be noticed, switches that look for circles
/// take their time, and a card whose driver was loaded a moment ago.
const LINK: Duration = Duration::from_secs(8);
/// How long all tries with one DHCP server may take.
const DHCP: Duration = Duration::from_secs(40);
/// How long the client may take to end.
const DHCP_END: Duration = Duration::from_secs(3);

/// How an interface is to get its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// From a DHCP server.
    Dhcp {
        /// The interface; else all that have a cable are tried.
        interface: Option<String>,
    },
    /// By hand.
    Static {
        /// The interface; else the only one that has a cable.
        interface: Option<String>,
        /// Its address.
        address: Address,
        /// The way to other networks.
        gateway: Option<IpAddr>,
        /// Who knows the names of machines.
        dns: Vec<IpAddr>,
    },
}

impl Setting {
    /// Understands `dhcp`, `IFACE:dhcp`, and
    /// `IFACE:ADDRESS/PREFIX:GATEWAY:DNS,DNS`, of which everything but the
    /// address may be empty or left out at the end. Only for the older kind
    /// of addresses, without colons in them.
    ///
    /// # Errors
    /// Usage, with what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::usage(format!("'{text}' is no setting of a network: {what}")).hint(
                "it is dhcp, or INTERFACE:ADDRESS/PREFIX:GATEWAY:DNS, as in \
                 eth0:192.168.1.50/24:192.168.1.1:192.168.1.1",
            )
        };
        if text == "dhcp" {
            return Ok(Self::Dhcp { interface: None });
        }
        let fields: Vec<&str> = text.split(':').map(str::trim).collect();
        let interface = match fields[0] {
            "" => None,
            name => Some(checked_name(name)?.to_owned()),
        };
        let field = |n: usize| fields.get(n).copied().unwrap_or_default();
        if field(1) == "dhcp" && fields.len() == 2 {
            return Ok(Self::Dhcp { interface });
        }
        if fields.len() > 4 {
            return Err(bad("it has more than four parts"));
        }
        let address = parse_address(field(1)).map_err(|error| bad(&error.to_string()))?;
        let number = |text: &str| {
            text.parse::<IpAddr>().map_err(|_| bad(&format!("'{text}' is no address")))
        };
        let gateway = Some(field(2)).filter(|it| !it.is_empty()).map(number).transpose()?;
        let dns =
            field(3).split(',').filter(|it| !it.is_empty()).map(number).collect::<Result<_>>()?;
        Ok(Self::Static { interface, address, gateway, dns })
    }

    /// Makes it so. Returns what the interface is like then.
    ///
    /// # Errors
    /// If there is no such interface, no cable, no DHCP server, or no right to
    /// do this.
    pub fn apply(&self) -> Result<Interface> {
        match self {
            Self::Dhcp { interface: Some(name) } => dhcp(name),
            Self::Dhcp { interface: None } => dhcp_anywhere(),
            Self::Static { interface, address, gateway, dns } => {
                let name = match interface {
                    Some(name) => name.clone(),
                    None => only_connected()?,
                };
                set_static(&name, *address, *gateway, dns)
            }
        }
    }
}

/// `192.168.1.50/24`; without a prefix, that of a home network.
///
/// # Errors
/// Usage.
pub(super) fn parse_address(text: &str) -> Result<Address> {
    let bad = || Error::usage(format!("'{text}' is no address such as 192.168.1.50/24"));
    let (ip, prefix) = text.split_once('/').unwrap_or((text, ""));
    let ip: IpAddr = ip.trim().parse().map_err(|_| bad())?;
    let (usual, most) = match ip {
        IpAddr::V4(_) => (24, 32),
        IpAddr::V6(_) => (64, 128),
    };
    let prefix =
        if prefix.is_empty() { usual } else { prefix.trim().parse().map_err(|_| bad())? };
    let is_good = (1..=most).contains(&prefix)
        && !ip.is_unspecified()
        && !ip.is_loopback()
        && !ip.is_multicast();
    if is_good { Ok(Address { ip, prefix }) } else { Err(bad()) }
}

/// Refuses what the kernel would not take for a name, and what a program could
/// take for an option.
fn checked_name(name: &str) -> Result<&str> {
    let is_good = (1..16).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_graphic() && !b"/:".contains(&b))
        && !name.starts_with(['-', '.']);
    if is_good {
        return Ok(name);
    }
    Err(Error::usage(format!("'{name}' is no name of a network card")))
}

/// Gets an address for an interface from a DHCP server.
///
/// # Errors
/// If there is no such interface, no cable in it, or no server answers.
pub fn dhcp(name: &str) -> Result<Interface> {
    ready(name)?;
    end_dhcp(name);
    fs::create_dir_all(RUN).context(|| format!("making {RUN}"))?;
    let pid_file = pid_file(name);
    let mut command = Command::new("busybox");
    // Goes on in the background once it has an address, to keep it.
    command.args(["udhcpc", "-i", name, "-n", "-t", "8", "-T", "2", "-s", SCRIPT, "-p"]);
    command.arg(&pid_file);
    run(command, DHCP).map_err(|error| no_lease(name, &error))?;
    let interface = find(name)?;
    if interface.addresses.iter().any(Address::is_global) {
        return Ok(interface);
    }
    Err(Error::failed(format!("{name} has got no address from the DHCP server")))
}

/// Why there is no address: mostly because nobody gives one, but not always.
fn no_lease(name: &str, error: &Error) -> Error {
    let said = error.to_string();
    if said.contains("no lease") || said.contains("takes too long") {
        return Error::failed(format!("no DHCP server answers on {name}"))
            .hint("check the cable and the router, or give the address by hand");
    }
    Error::failed(format!("getting an address for {name}: {said}"))
        .hint("give the address by hand, or try again")
}

/// Gets an address for the first interface where a server gives one.
fn dhcp_anywhere() -> Result<Interface> {
    let mut failure = None;
    for name in connected()? {
        match dhcp(&name) {
            Ok(interface) => return Ok(interface),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(no_cable))
}

/// Gives an interface an address, in place of those it has. Without `dns` the
/// known name servers stay.
///
/// # Errors
/// If there is no such interface or the kernel does not take it.
pub fn set_static(
    name: &str,
    address: Address,
    gateway: Option<IpAddr>,
    dns: &[IpAddr],
) -> Result<Interface> {
    if gateway.is_some_and(|gateway| gateway.is_ipv4() != address.ip.is_ipv4()) {
        return Err(Error::usage("address and gateway are of different kinds"));
    }
    ready(name)?;
    end_dhcp(name);
    ip(&["address", "flush", "dev", name])?;
    ip(&["address", "add", &address.to_string(), "dev", name])?;
    if let Some(gateway) = gateway {
        ip(&["route", "replace", "default", "via", &gateway.to_string(), "dev", name]).map_err(
            |error| {
                let text = format!("{gateway} is no way out of the network of {address}: {error}");
                Error::failed(text).hint("the gateway is the router's address in the same network")
            },
        )?;
    }
    if !dns.is_empty() {
        let text: String = dns.iter().map(|server| format!("nameserver {server}\n")).collect();
        fs::write(RESOLV_CONF, text).context(|| format!("writing {RESOLV_CONF}"))?;
    }
    find(name)
}

fn find(name: &str) -> Result<Interface> {
    let all = interfaces()?;
    let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
    let names = names.join(", ");
    all.iter().find(|it| it.name == name).cloned().ok_or_else(|| {
        Error::failed(format!("there is no network card {name}")).hint(match names.is_empty() {
            true => "none was found: its driver may be missing in this system".to_owned(),
            false => format!("there is {names}"),
        })
    })
}

/// Switches an interface on and waits for its cable.
fn ready(name: &str) -> Result<()> {
    checked_name(name)?;
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::failed("setting up the network needs root").hint("run it with sudo"));
    }
    if !crate::media::in_rescue() {
        return Err(Error::new(
            ErrorKind::Refused,
            "the network of an installed system is its own business",
        )
        .hint("use its settings; this is for the rescue system"));
    }
    let appears = Instant::now() + LINK;
    while find(name).is_err() && Instant::now() < appears {
        thread::sleep(Duration::from_millis(100));
    }
    if find(name)?.is_wireless {
        return Err(Error::unsupported(format!(
            "{name} is wireless, which this system cannot use"
        ))
        .hint("use a cable, or a USB network adapter"));
    }
    switch_on(name)?;
    let end = Instant::now() + LINK;
    while find(name)?.link != Some(true) {
        if Instant::now() > end {
            return Err(no_cable());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn switch_on(name: &str) -> Result<()> {
    ip(&["link", "set", "dev", name, "up"]).context(|| format!("switching {name} on"))
}

fn no_cable() -> Error {
    Error::failed("no network card is connected")
        .hint("put a network cable in, and see that there is a light at the socket")
}

/// The names of the interfaces with a cable in, all of which are switched on
/// to see that.
fn connected() -> Result<Vec<String>> {
    let end = Instant::now() + LINK;
    loop {
        let all = interfaces()?;
        let usable = || all.iter().filter(|it| !it.is_wireless);
        for interface in usable().filter(|it| it.link.is_none()) {
            // One that cannot be switched on has no cable, either.
            let _ = switch_on(&interface.name);
        }
        let found: Vec<String> =
            usable().filter(|it| it.link == Some(true)).map(|it| it.name.clone()).collect();
        let is_late = Instant::now() > end;
        if all.is_empty() && is_late {
            return Err(Error::failed("there is no network card, or none with a driver here")
                .hint("a USB network adapter may help"));
        }
        if !found.is_empty() || is_late {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn only_connected() -> Result<String> {
    match connected()?.as_slice() {
        [] => Err(no_cable()),
        [name] => Ok(name.clone()),
        names => {
            Err(Error::usage(format!("several network cards are connected: {}", names.join(", ")))
                .hint("say which one is meant"))
        }
    }
}

fn pid_file(name: &str) -> PathBuf {
    Path::new(RUN).join(format!("udhcpc.{name}.pid"))
}

/// Ends the DHCP client of an interface, if there is one, and waits until it is
/// gone: it would take its address back, or that of its successor.
fn end_dhcp(name: &str) {
    let file = pid_file(name);
    let Some(id) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<i32>().ok())
    else {
        return;
    };
    end_client(id, &file, DHCP_END);
    let _ = fs::remove_file(file);
}

/// Ends the client with this number, if it is the one that wrote the file.
fn end_client(id: i32, file: &Path, patience: Duration) {
    // The number may be somebody else's by now.
    let is_it = || {
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|word| word == file.as_os_str().as_encoded_bytes())
    };
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if id <= 1 || !is_it() || kill(Pid::from_raw(id), signal).is_err() {
            return;
        }
        let end = Instant::now() + patience;
        while is_it() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_what_the_kernel_command_line_says() {
        let parse = |text: &str| Setting::parse(text).unwrap();
        assert_eq!(parse("dhcp"), Setting::Dhcp { interface: None });
        assert_eq!(parse("eth0:dhcp"), Setting::Dhcp { interface: Some("eth0".into()) });
        let full = parse("enp3s0:192.168.1.50/16:192.168.1.1:9.9.9.9,1.1.1.1");
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            full,
            Setting::Static {
                interface: Some("enp3s0".into()),
                address: Address { ip: ip("192.168.1.50"), prefix: 16 },
                gateway: Some(ip("192.168.1.1")),
                dns: vec![ip("9.9.9.9"), ip("1.1.1.1")],
            }
        );
        for short in [":10.0.0.5/24", ":10.0.0.5/24::", ":10.0.0.5"] {
            let Setting::Static { interface, address, gateway, dns } = parse(short) else {
                panic!("{short}");
            };
            assert_eq!((interface, gateway, dns), (None, None, vec![]));
            assert_eq!(address, Address { ip: ip("10.0.0.5"), prefix: 24 });
        }
    }

    #[test]
    fn what_is_no_setting_is_said() {
        for wrong in [
            "",
            "eth0",
            "static",
            "eth0:",
            "eth0:10.0.0.5/33",
            "eth0:10.0.0.5/0",
            "eth0:10.0.0/24",
            "eth0:10.0.0.5/24:x",
            "eth0:10.0.0.5/24::9.9.9",
            "eth0:10.0.0.5/24:10.0.0.1:9.9.9.9:more",
            "-i:dhcp",
            "../eth0:dhcp",
            "a name:dhcp",
            "averyveryverylongname:dhcp",
            ":127.0.0.1/8",
            ":0.0.0.0/8",
        ] {
            let error = Setting::parse(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{wrong}");
        }
    }

    #[test]
    fn an_installed_system_is_left_alone() {
        let error = dhcp("lo").unwrap_err();
        assert!([ErrorKind::Refused, ErrorKind::Failed].contains(&error.kind()), "{error}");
    }

    #[test]
    fn why_there_is_no_address_is_not_kept_back() {
        let text = |said: &str| no_lease("eth0", &Error::failed(said)).to_string();
        assert!(text("running busybox: udhcpc: no lease, failing").contains("no DHCP server"));
        let said = text("running busybox: udhcpc: SIOCGIFINDEX: No such device");
        assert!(said.contains("eth0") && said.contains("No such device"), "{said}");
    }

    #[test]
    fn the_old_client_is_gone_before_the_new_address_comes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("udhcpc.eth0.pid");
        // One that takes its time, and one that does not want to end at all.
        for script in ["trap 'sleep 0.5; exit' TERM", "trap '' TERM"] {
            let script = format!("{script}; echo ready; while :; do sleep 0.1; done");
            let mut client = Command::new("sh")
                .args(["-c", &script])
                .arg(&file)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let mut ready = [0; 5];
            std::io::Read::read_exact(client.stdout.as_mut().unwrap(), &mut ready).unwrap();
            let id = i32::try_from(client.id()).unwrap();
            // Somebody else's file: it is left alone.
            end_client(id, &folder.path().join("other"), Duration::from_secs(1));
            assert!(client.try_wait().unwrap().is_none());
            end_client(id, &file, Duration::from_secs(1));
            // A dead one has no command line, whether it was waited for or not.
            assert_eq!(fs::read(format!("/proc/{id}/cmdline")).unwrap(), b"");
            client.wait().unwrap();
        }
    }
}
