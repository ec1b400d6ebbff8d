// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is taken from Debian, package by package, and why.
//!
//! The packages are fetched by apt, which checks their signatures, or taken
//! from a folder; they are unpacked, never installed, and nothing in them is
//! run but busybox, which is asked for its list of commands.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::tool::{APT_GET, DPKG_DEB, args};
use crate::error::{Context, Error, Result};

/// A package of Debian 12.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: &'static str,
    /// What it is for.
    pub(super) why: &'static str,
    /// What is taken from it into the rescue system: the path in the package
    /// and the one there. Libraries are found by who needs them.
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// Depends on the package of the newest kernel; both are fetched.
pub(super) const KERNEL: Package =
    Package { name: "linux-image-amd64", why: "the kernel and its modules, signed", files: &[] };

/// All packages but the kernel.
pub(super) const PACKAGES: &[Package] = &[
    Package {
        name: "shim-signed",
        why: "what UEFI starts, signed by Microsoft for Secure Boot",
        files: &[],
    },
    Package {
        name: "shim-helpers-amd64-signed",
        why: "shim's own screen, for kernels signed by their owner",
        files: &[],
    },
    Package {
        name: "grub-efi-amd64-signed",
        why: "the boot menu under UEFI, signed by Debian",
        files: &[],
    },
    Package { name: "grub-pc-bin", why: "the boot menu under BIOS", files: &[] },
    Package {
        name: "busybox-static",
        why: "shell, DHCP client and the small commands",
        files: &[("bin/busybox", "bin/busybox")],
    },
    Package {
        name: "dropbear-bin",
        why: "ssh, to fetch an image from another machine",
        files: &[("usr/bin/dbclient", "bin/ssh")],
    },
    Package {
        name: "e2fsprogs",
        why: "growing ext4",
        files: &[("sbin/resize2fs", "sbin/resize2fs"), ("sbin/e2fsck", "sbin/e2fsck")],
    },
    Package {
        name: "xfsprogs",
        why: "growing XFS",
        files: &[("usr/sbin/xfs_growfs", "sbin/xfs_growfs")],
    },
    Package { name: "btrfs-progs", why: "growing btrfs", files: &[("bin/btrfs", "sbin/btrfs")] },
    Package {
        name: "ntfs-3g",
        why: "growing NTFS, and mounting it: Debian's kernel cannot",
        files: &[("sbin/ntfsresize", "sbin/ntfsresize"), ("bin/ntfs-3g", "sbin/ntfs-3g")],
    },
    Package {
        name: "smartmontools",
        why: "what a drive says of its health",
        files: &[("usr/sbin/smartctl", "sbin/smartctl")],
    },
    Package { name: "ca-certificates", why: "whom HTTPS may trust", files: &[] },
    library("libc6"),
    library("libblkid1"),
    library("libcom-err2"),
    library("libext2fs2"),
    library("libgcc-s1"),
    library("liblzo2-2"),
    library("libntfs-3g89"),
    library("libpcre2-8-0"),
    library("libselinux1"),
    library("libstdc++6"),
    library("libtomcrypt1"),
    library("libtommath1"),
    library("libgmp10"),
    library("libudev1"),
    library("liburcu8"),
    library("libuuid1"),
    library("libzstd1"),
    library("zlib1g"),
];

const fn library(name: &'static str) -> Package {
    Package { name, why: "a library of the programs above", files: &[] }
}

/// A package that was fetched.
#[derive(Debug, Clone, Serialize)]
pub struct Fetched {
    /// Its name in Debian.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub why: String,
    /// The length of its file in bytes.
    #[serde(skip)]
    pub(super) size: u64,
    #[serde(skip)]
    file: PathBuf,
    #[serde(skip)]
    depends: String,
}

/// Where packages are taken from.
#[derive(Debug)]
pub(super) enum Shelf<'a> {
    /// The mirror that apt is set up for; files end up in this folder.
    Mirror(&'a Path),
    /// A folder of .deb files.
    Folder(&'a Path),
}

/// Gets all packages, the kernel's first, if it is wanted.
///
/// # Errors
/// If one cannot be had; all that are missing are named.
pub(super) fn fetch(shelf: &Shelf<'_>, with_kernel: bool) -> Result<Vec<Fetched>> {
    let (Shelf::Mirror(folder) | Shelf::Folder(folder)) = shelf;
    let is_mirror = matches!(shelf, Shelf::Mirror(_));
    if is_mirror {
        let mut names: Vec<&str> = PACKAGES.iter().map(|package| package.name).collect();
        if with_kernel {
            names.push(KERNEL.name);
        }
        download(folder, &names)?;
    }
    let mut found = look_through(folder)?;
    let mut packages = Vec::new();
    let mut missing = Vec::new();
    if with_kernel {
        let name = kernel_name(&found);
        if let (Some(name), true) = (&name, is_mirror) {
            download(folder, &[name])?;
            found = look_through(folder)?;
        }
        match name.and_then(|name| found.remove(&name)) {
            Some(fetched) => packages.push(Fetched { why: KERNEL.why.into(), ..fetched }),
            None => missing.push(KERNEL.name),
        }
    }
    for package in PACKAGES {
        match found.remove(package.name) {
            Some(fetched) => packages.push(Fetched { why: package.why.into(), ..fetched }),
            None => missing.push(package.name),
        }
    }
    if missing.is_empty() {
        return Ok(packages);
    }
    let names = missing.join(" ");
    Err(Error::failed(format!("packages are missing in {}: {names}", folder.display())).hint(
        "in that folder, run 'apt-get download' with these names, and for linux-image-amd64 also \
         with the package it depends on",
    ))
}

/// Unpacks a package below a folder.
///
/// # Errors
/// If it is damaged or there is no space.
pub(super) fn unpack(package: &Fetched, folder: &Path) -> Result<()> {
    DPKG_DEB
        .run(&args!["--extract", &package.file, folder], folder, 0)
        .map(drop)
        .context(|| format!("unpacking {}", package.file.display()))
}

/// What a rescue system is made of, a name and a version a line.
pub(super) fn list(kernel: &str, packages: &[Fetched]) -> String {
    let mut text = format!("dacapo {}\nkernel {kernel}\n", env!("CARGO_PKG_VERSION"));
    for package in packages {
        let _ = writeln!(text, "{} {}", package.name, package.version);
    }
    text
}

fn download(folder: &Path, names: &[&str]) -> Result<()> {
    let mut args = args!["download", "--quiet"];
    args.extend(names.iter().map(Into::into));
    APT_GET.run(&args, folder, 0).map(drop).context(|| "fetching packages".into()).map_err(
        |error| {
            error.hint(
                "run 'apt-get update' first; on a machine without a network or without Debian 12, \
                 fetch them elsewhere and name their folder with --packages",
            )
        },
    )
}

/// The package of the kernel: what the one that is always named the same
/// depends on, or the only one there is.
fn kernel_name(found: &BTreeMap<String, Fetched>) -> Option<String> {
    if let Some(meta) = found.get(KERNEL.name) {
        return meta
            .depends
            .split([',', ' ', '|'])
            .find(|word| word.starts_with("linux-image-"))
            .map(str::to_owned);
    }
    let mut kernels = found.keys().filter(|name| name.starts_with("linux-image-"));
    kernels.next().filter(|_| kernels.next().is_none()).cloned()
}

/// All packages of a folder by their names; of several versions, none is a
/// good choice.
fn look_through(folder: &Path) -> Result<BTreeMap<String, Fetched>> {
    let mut packages = BTreeMap::<String, Fetched>::new();
    let doing = || format!("looking through {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).context(doing)? {
        let path = entry.context(doing)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(std::path::absolute(&path).context(doing)?);
        }
    }
    files.sort();
    for file in files {
        let fields = args!["--show", "--showformat=${Package}\\n${Version}\\n${Depends}\\n", &file];
        let said = DPKG_DEB
            .run(&fields, folder, 0)
            .context(|| format!("looking at {}", file.display()))?;
        let said = String::from_utf8_lossy(&said).into_owned();
        let mut lines = said.lines().map(str::to_owned);
        let (name, version, depends) = (
            lines.next().unwrap_or_default(),
            lines.next().unwrap_or_default(),
            lines.next().unwrap_or_default(),
        );
        if let Some(other) = packages.get(&name) {
            return Err(Error::failed(format!(
                "{} has two versions of {name}: {version} and {}",
                folder.display(),
                other.version
            ))
            .hint("remove the one that is not wanted"));
        }
        let size = std::fs::metadata(&file).context(doing)?.len();
        let why = String::new();
        packages.insert(name.clone(), Fetched { name, version, why, size, file, depends });
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(name: &str, depends: &str) -> (String, Fetched) {
        let package = Fetched {
            name: name.into(),
            version: "1".into(),
            why: String::new(),
            size: 0,
            file: PathBuf::new(),
            depends: depends.into(),
        };
        (name.into(), package)
    }

    #[test]
    fn the_kernel_is_what_the_metapackage_depends_on() {
        let meta = fetched(KERNEL.name, "linux-image-6.1.0-56-amd64 (= 6.1.192-2)");
        let old = fetched("linux-image-6.1.0-50-amd64", "");
        let found = BTreeMap::from([meta, old.clone()]);
        assert_eq!(kernel_name(&found).unwrap(), "linux-image-6.1.0-56-amd64");
        assert_eq!(kernel_name(&BTreeMap::from([old.clone()])).unwrap(), old.0);
        let two = BTreeMap::from([old, fetched("linux-image-6.1.0-51-amd64", "")]);
        assert_eq!(kernel_name(&two), None);
    }

    #[test]
    fn each_package_is_named_once_with_its_reason() {
        let mut names: Vec<&str> = PACKAGES.iter().map(|package| package.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PACKAGES.len());
        assert!(PACKAGES.iter().all(|package| package.why.len() > 8));
    }

    #[test]
    fn a_folder_without_packages_names_all_that_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        let error = fetch(&Shelf::Folder(folder.path()), true).unwrap_err();
        for name in ["linux-image-amd64", "shim-signed", "zlib1g"] {
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
