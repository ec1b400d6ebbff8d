// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network cards of this machine, as /sys and the kernel describe them.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::error::{Context, Error, Result};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name here, such as `eth0`.
    pub name: String,
    /// The address of the card, `52:54:00:12:34:56`.
    pub mac: String,
    /// The kernel's driver for it.
    pub driver: Option<String>,
    /// True if a cable is in, and something at its other end; `None` while the
    /// interface is switched off.
    pub link: Option<bool>,
    /// True if it is a wireless one.
    pub is_wireless: bool,
    /// The addresses it has.
    pub addresses: Vec<Address>,
}

/// An address and how much of it is the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The length of the network's part, in bits.
    pub prefix: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl Address {
    /// True if other machines can be reached with it: the kernel gives every
    /// interface an address for its own cable only.
    #[must_use]
    pub fn is_global(&self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_loopback(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_loopback(),
        }
    }
}

impl Interface {
    /// What can be said of its cable and address, in a few words.
    #[must_use]
    pub fn state(&self) -> String {
        let addresses: Vec<String> =
            self.addresses.iter().filter(|it| it.is_global()).map(ToString::to_string).collect();
        if !addresses.is_empty() {
            return addresses.join(", ");
        }
        match self.link {
            _ if self.is_wireless => "wireless, cannot be used here",
            None => "off",
            Some(false) => "no cable, or nothing at its other end",
            Some(true) => "connected, without an address",
        }
        .into()
    }

    fn read(folder: &Path, name: &str) -> Self {
        let read = |file: &str| {
            let text = fs::read_to_string(folder.join(name).join(file)).ok()?;
            Some(text.trim().to_owned())
        };
        let link = |file: &str| fs::read_link(folder.join(name).join(file)).ok();
        let driver = link("device/driver")
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Self {
            name: name.to_owned(),
            mac: read("address").unwrap_or_default(),
            driver,
            // Cannot be read of an interface that is off.
            link: read("carrier").map(|carrier| carrier == "1"),
            is_wireless: ["wireless", "phy80211"]
                .iter()
                .any(|entry| folder.join(name).join(entry).exists()),
            addresses: Vec::new(),
        }
    }
}

/// Every interface but the one that leads back to this machine.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn interfaces() -> Result<Vec<Interface>> {
    let mut found = interfaces_in(&PathBuf::from("/sys/class/net"))?;
    let addresses = getifaddrs()
        .map_err(std::io::Error::from)
        .context(|| "asking for the addresses of this machine".into())?;
    for it in addresses {
        let Some(interface) = found.iter_mut().find(|own| own.name == it.interface_name) else {
            continue;
        };
        if let Some(ip) = it.address.as_ref().and_then(ip_of) {
            let prefix = it.netmask.as_ref().and_then(ip_of).map_or(0, prefix_of);
            interface.addresses.push(Address { ip, prefix });
        }
    }
    Ok(found)
}

fn interfaces_in(folder: &Path) -> Result<Vec<Interface>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // A kernel without any network.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("looking for network cards", error)),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        // Beside the interfaces there may be files of drivers.
        .filter(|name| name != "lo" && folder.join(name).join("address").exists())
        .collect();
    names.sort();
    Ok(names.iter().map(|name| Interface::read(folder, name)).collect())
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(v4.ip().into()),
        (_, Some(v6)) => Some(v6.ip().into()),
        _ => None,
    }
}

fn prefix_of(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    // At most 128.
    u8::try_from(ones).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn interfaces_are_read_from_sys() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("lo/address", "00:00:00:00:00:00\n");
        file("eth1/address", "52:54:00:00:00:02\n");
        file("eth0/address", "52:54:00:00:00:01\n");
        file("eth0/carrier", "1\n");
        file("wlan0/address", "52:54:00:00:00:03\n");
        file("wlan0/wireless/x", "");
        file("bonding_masters", "\n");
        fs::create_dir_all(folder.path().join("eth0/device")).unwrap();
        symlink("../../../bus/pci/drivers/e1000e", folder.path().join("eth0/device/driver"))
            .unwrap();
        let found = interfaces_in(folder.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["eth0", "eth1", "wlan0"]);
        assert_eq!(found[0].driver.as_deref(), Some("e1000e"));
        assert_eq!((found[0].link, found[1].link), (Some(true), None));
        assert_eq!(found[0].state(), "connected, without an address");
        assert!(found[2].is_wireless && found[2].state().contains("wireless"));
        assert_eq!(interfaces_in(Path::new("/nonexistent")).unwrap(), []);
    }

    #[test]
    fn only_addresses_that_lead_somewhere_count() {
        let address = |text: &str| Address { ip: text.parse().unwrap(), prefix: 24 };
        for local in ["169.254.3.4", "127.0.0.1", "fe80::1", "::1"] {
            assert!(!address(local).is_global(), "{local}");
        }
        assert!(address("192.168.1.5").is_global() && address("fd00::5").is_global());
        assert_eq!(prefix_of("255.255.240.0".parse().unwrap()), 20);
        assert_eq!(prefix_of("ffff:ffff:ffff:ffff::".parse().unwrap()), 64);
        assert_eq!(address("10.0.0.1").to_string(), "10.0.0.1/24");
    }

    #[test]
    fn the_running_system_can_be_asked() {
        interfaces().unwrap();
    }
}
