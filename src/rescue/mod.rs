// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rescue medium: a small system that starts from CD or USB stick, with
//! nothing in it but a kernel, its modules, dacapo and a few tools.
//!
//! The order of a build: `packages` of Debian are fetched and unpacked in a
//! `workshop`; `modules` are chosen; `contents` become a `tree` of files, with
//! the `libraries` that the tools need, and the tree an archive that the
//! kernel unpacks. No package is installed, and nothing outside of the
//! workshop is written but the result.
//!
//! A `stick` is that medium with one more partition, an empty `exfat`.
//!
//! The same inputs give the same bytes: all orders and times are fixed.

mod boot;
mod contents;
mod elf;
mod exfat;
mod iso;
mod libraries;
mod modules;
mod packages;
mod stick;
mod tool;
mod tree;
mod workshop;

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use self::packages::Fetched;
pub use self::stick::{LABEL as STICK_LABEL, Stick};

use self::boot::Firmware;
use self::contents::Contents;
use self::elf::Elf;
use self::iso::Parts;
use self::modules::Kernel;
use self::packages::Shelf;
use self::tree::Tree;
use self::workshop::Workshop;
use crate::error::{Context, Error, Result};
use crate::ondisk::Fields;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};

/// As small as it gets: it is read from slow sticks and discs, and unpacked
/// as fast as any other level.
const LEVEL: i32 = 19;

/// The date in a medium with somebody's own kernel: 2026-01-01.
const DATE: u64 = 1_767_225_600;

/// Fails unless a medium can be written to `out` with these arguments for the
/// kernel; asked before minutes of work.
///
/// # Errors
/// Refused, if there is something, or the arguments cannot stand in the menu.
pub fn check(out: &Path, append: &str) -> Result<()> {
    boot::menu(append)?;
    let shown = out.display();
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(Error::failed(format!("there is no folder {}", folder.display())));
    }
    let is_device = folder == Path::new("/dev")
        || std::fs::metadata(out).is_ok_and(|found| found.file_type().is_block_device());
    if is_device {
        return Err(Error::refused(format!("the medium is built as a file, and {shown} is none"))
            .hint("build OUT.iso first, then 'dacapo rescue write OUT.iso DISK' makes a stick"));
    }
    if out.symlink_metadata().is_ok() {
        return Err(Error::refused(format!("{shown} exists already"))
            .hint("choose another name, or delete it first"));
    }
    Ok(())
}

/// What a rescue medium is made from.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// A folder of packages, instead of the mirror that apt is set up for.
    pub packages: Option<PathBuf>,
    /// A kernel instead of Debian's, and the folder of its modules.
    pub kernel: Option<(PathBuf, PathBuf)>,
    /// Firmware for the drivers.
    pub firmware: Option<PathBuf>,
    /// The static program; this one if there is none.
    pub program: Option<PathBuf>,
    /// The static init program; the one beside this program if there is none.
    pub init: Option<PathBuf>,
}

/// What is going to be on the medium.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The version of the kernel.
    pub kernel: String,
    /// The bytes of the kernel.
    pub kernel_bytes: u64,
    /// The packages, with versions and reasons.
    pub packages: Vec<Fetched>,
    /// How many modules there are.
    pub modules: usize,
    /// The bytes of all modules.
    pub modules_bytes: u64,
    /// The bytes of the two programs.
    pub programs_bytes: u64,
    /// The bytes of all files of the rescue system, unpacked.
    pub unpacked_bytes: u64,
    /// What the user should know.
    pub notices: Vec<String>,
    /// The one time of all files, in seconds since 1970.
    pub date: u64,
    #[serde(skip)]
    vmlinuz: Vec<u8>,
    #[serde(skip)]
    tree: Tree,
    #[serde(skip)]
    firmware: Firmware,
    // Removed with the plan.
    #[serde(skip)]
    workshop: Workshop,
}

impl Plan {
    /// Fetches all that is needed and looks at it. Nothing outside of a
    /// temporary folder is written.
    ///
    /// # Errors
    /// If something is missing, or is not what it should be.
    pub fn new(inputs: &Inputs, cancel: &Cancel, progress: &dyn Progress) -> Result<Self> {
        let program = static_program(inputs.program.as_deref(), "dacapo", "--program")?;
        let init = static_program(inputs.init.as_deref(), "dacapo-init", "--init")?;
        let programs_bytes = program.len() as u64 + init.len() as u64;
        let workshop = Workshop::new()?;
        let root = workshop.folder("root")?;
        let root = root.canonicalize().context(|| "making the folder of the packages".into())?;

        progress.note(&Event::Notice("fetching packages".into()));
        let downloads = workshop.folder("packages")?;
        let shelf = match &inputs.packages {
            Some(folder) => Shelf::Folder(folder),
            None => Shelf::Mirror(&downloads),
        };
        let packages = packages::fetch(&shelf, inputs.kernel.is_none())?;
        progress.stage("unpacking", packages.iter().map(|package| package.size).sum());
        for package in &packages {
            cancel.check()?;
            packages::unpack(package, &root)?;
            progress.advance(package.size);
        }
        let (image, folder) = match &inputs.kernel {
            Some(own) => own.clone(),
            None => debian_kernel(&root)?,
        };
        let vmlinuz = std::fs::read(&image).context(|| format!("reading {}", image.display()))?;
        let version = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        check_version(&vmlinuz, &version, &image)?;
        let kernel = Kernel::open(&folder)?;
        let chosen = kernel.choose(&modules::parse_list(modules::LIST))?;
        let mut notices = Vec::new();
        if !chosen.missing.is_empty() {
            let names = chosen.missing.join(" ");
            if inputs.kernel.is_none() {
                return Err(Error::failed(format!("the kernel {version} has no module {names}"))
                    .hint("initramfs/modules.list names what the rescue system needs"));
            }
            notices.push(format!("this kernel has no module {names}"));
        }
        let date = date(&image, inputs.kernel.is_some())?;
        let contents = Contents {
            root: &root,
            list: packages::list(&version, &packages),
            kernel: &kernel,
            version: &version,
            modules: &chosen,
            firmware: inputs.firmware.as_deref(),
            program,
            init,
        };
        let firmware = Firmware::open(&root)?;
        let tree = contents.into_tree()?;
        Ok(Self {
            kernel_bytes: vmlinuz.len() as u64,
            modules: chosen.modules.len(),
            modules_bytes: chosen.bytes(),
            programs_bytes,
            unpacked_bytes: tree.bytes(),
            kernel: version,
            packages,
            notices,
            date,
            vmlinuz,
            tree,
            firmware,
            workshop,
        })
    }

    /// Packs the rescue system into what the kernel unpacks at its start.
    ///
    /// # Errors
    /// If it cannot be compressed.
    fn initramfs(&self, progress: &dyn Progress) -> Result<Vec<u8>> {
        progress.stage("compressing", self.tree.bytes());
        let packing = || "packing the rescue system".to_owned();
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL).context(packing)?;
        let date = u32::try_from(self.date).unwrap_or(u32::MAX);
        self.tree.write(Counted { out: &mut encoder, progress }, date).context(packing)?;
        encoder.finish().context(packing)
    }

    /// Writes the medium to a file. `append` are further arguments for the
    /// kernel.
    ///
    /// # Errors
    /// Refused, if something of that name exists; or if a tool fails.
    pub fn write(&self, out: &Path, append: &str, progress: &dyn Progress) -> Result<Sizes> {
        let initramfs = self.initramfs(progress)?;
        let parts = Parts { plan: self, firmware: &self.firmware, initramfs: &initramfs, append };
        parts.write(out, self.workshop.path())?;
        let found = std::fs::metadata(out).context(|| format!("looking at {}", out.display()))?;
        Ok(Sizes { medium: found.len(), initramfs: initramfs.len() as u64 })
    }

    /// Writes the kernel and the packed rescue system as two files, which an
    /// emulator or a boot loader of one's own can start.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_files(&self, folder: &Path, progress: &dyn Progress) -> Result<()> {
        std::fs::create_dir_all(folder)
            .context(|| format!("making the folder {}", folder.display()))?;
        let initramfs = self.initramfs(progress)?;
        for (name, bytes) in [("vmlinuz", &self.vmlinuz), ("initramfs", &initramfs)] {
            let path = folder.join(name);
            std::fs::write(&path, bytes).context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// How large a medium has become.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sizes {
    /// The bytes of the whole medium.
    pub medium: u64,
    /// The bytes of the rescue system, packed.
    pub initramfs: u64,
}

/// Tells how far the packing is.
struct Counted<'a, W> {
    out: W,
    progress: &'a dyn Progress,
}

impl<W: std::io::Write> std::io::Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.progress.advance(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Reads a program that has to run where there are no libraries.
fn static_program(path: Option<&Path>, name: &str, option: &str) -> Result<Vec<u8>> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => {
            let this = std::env::current_exe().context(|| "looking for this program".into())?;
            if name == "dacapo" { this } else { this.with_file_name(name) }
        }
    };
    let hint =
        format!("'scripts/static' builds both programs of the rescue system; {option} names one");
    let bytes = std::fs::read(&path)
        .context(|| format!("reading {}", path.display()))
        .map_err(|error| error.hint(hint.clone()))?;
    if !Elf::new(&bytes, &path.display().to_string())?.is_static() {
        return Err(Error::failed(format!(
            "{} needs libraries, and the rescue system has none for it",
            path.display()
        ))
        .hint(hint));
    }
    Ok(bytes)
}

/// The kernel of the unpacked packages, and the folder of its modules.
fn debian_kernel(root: &Path) -> Result<(PathBuf, PathBuf)> {
    let folders = [root.join("lib/modules"), root.join("usr/lib/modules")];
    let folder = folders.iter().find(|folder| folder.exists()).unwrap_or(&folders[0]);
    let doing = || format!("looking for the kernel in {}", folder.display());
    let mut versions = std::fs::read_dir(folder).context(doing)?;
    let Some(version) = versions.next().transpose().context(doing)? else {
        return Err(Error::failed("the package of the kernel has no modules"));
    };
    let name = version.file_name().to_string_lossy().into_owned();
    Ok((root.join(format!("boot/vmlinuz-{name}")), version.path()))
}

/// Fails unless the modules are those of the kernel, which tells its version.
fn check_version(vmlinuz: &[u8], version: &str, path: &Path) -> Result<()> {
    // Documentation/arch/x86/boot.rst: HdrS at 0x202; at 0x20e the offset of
    // the text, less 0x200.
    let found = (vmlinuz.array(0x202) == Some(*b"HdrS"))
        .then(|| vmlinuz.u16_le(0x20e))
        .flatten()
        .and_then(|offset| vmlinuz.get(usize::from(offset).checked_add(0x200)?..))
        .map(|text| crate::ondisk::text(&text[..text.len().min(256)]));
    let Some(found) = found else {
        return Err(Error::failed(format!("{} is no Linux kernel for x86", path.display())));
    };
    let first = found.split_whitespace().next().unwrap_or_default();
    if first != version {
        return Err(Error::failed(format!(
            "the kernel {} is {first}, and the modules are those of {version}",
            path.display()
        ))
        .hint("--modules wants the folder /lib/modules/VERSION of the same kernel"));
    }
    Ok(())
}

/// The time that all files get: that of the kernel in its package.
fn date(image: &Path, is_own: bool) -> Result<u64> {
    if let Some(given) = std::env::var_os("SOURCE_DATE_EPOCH") {
        let given = given.to_string_lossy();
        return given
            .parse()
            .map_err(|_| Error::usage(format!("SOURCE_DATE_EPOCH is '{given}', no number")));
    }
    if is_own {
        return Ok(DATE);
    }
    let found =
        std::fs::metadata(image).context(|| format!("looking at {}", image.display()))?.mtime();
    Ok(u64::try_from(found).unwrap_or(DATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel as far as its version.
    fn kernel(version: &str) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        bytes[0x300..0x300 + version.len()].copy_from_slice(version.as_bytes());
        bytes
    }

    #[test]
    fn a_kernel_with_the_modules_of_another_is_refused() {
        let path = Path::new("vmlinuz");
        let good = kernel("6.1.0-56-amd64 (x@y) #1 SMP");
        check_version(&good, "6.1.0-56-amd64", path).unwrap();
        let error = check_version(&good, "6.1.0-50-amd64", path).unwrap_err();
        assert!(error.to_string().contains("6.1.0-56-amd64"), "{error}");
        for wrong in [&good[..0x204], &good[..0x250], b"#!/bin/sh"] {
            assert!(check_version(wrong, "6.1.0-56-amd64", path).is_err());
        }
        let mut far = good.clone();
        far[0x20e..0x210].copy_from_slice(&0xffff_u16.to_le_bytes());
        assert!(check_version(&far, "6.1.0-56-amd64", path).is_err());
    }

    #[test]
    fn a_program_with_libraries_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(static_program(Some(&script), "dacapo", "--program").is_err());
        let missing = folder.path().join("missing");
        let error = static_program(Some(&missing), "dacapo", "--program").unwrap_err();
        assert!(error.hint_text().unwrap().contains("scripts/static"), "{error}");
    }
}
