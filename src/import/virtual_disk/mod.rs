// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks of virtual machines - qcow2, VHDX, VMDK, VDI, VHD - which qemu-img
//! reads: it checks them and writes their content into the temporary file.

mod length;
mod parts;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::assembly::Assembly;
use super::input::Input;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::{Imported, MAX_DISK_LEN};
use crate::ondisk::Fields;
use crate::pipeline::Cancel;
use crate::qemu_img::{QemuImg, Ran};
use crate::units::{SectorSize, human};

/// What a check by qemu-img ends with if all is well, if there is only room that
/// nobody uses, and if it cannot check such a disk.
const GOOD: [i32; 3] = [0, 3, 63];

/// The disk of a virtual machine.
#[derive(Debug)]
pub struct Virtual {
    program: QemuImg,
    path: PathBuf,
    /// As qemu-img calls it.
    format: &'static str,
    disk_len: u64,
    /// Of the file.
    len: u64,
}

/// Which format the first and last bytes of a file are those of, as qemu-img
/// calls it.
#[must_use]
pub fn format_of(head: &[u8], tail: &[u8]) -> Option<&'static str> {
    if head.starts_with(b"QFI\xfb") {
        return Some(if head.u32_be(4) == Some(1) { "qcow" } else { "qcow2" });
    }
    if head.starts_with(b"vhdxfile") {
        return Some("vhdx");
    }
    if head.starts_with(b"KDMV") || head.starts_with(b"# Disk DescriptorFile") {
        return Some("vmdk");
    }
    if head.u32_le(0x40) == Some(0xbeda_107f) {
        return Some("vdi");
    }
    // The footer; one of changing size has a copy of it at its start.
    (head.starts_with(b"conectix") || tail.starts_with(b"conectix")).then_some("vpc")
}

impl Virtual {
    /// The disk in a file; `None` if it is of no format of virtual machines.
    ///
    /// # Errors
    /// Unsupported, if qemu-img is missing or the disk is not whole in its
    /// file; damaged, if it is.
    pub fn open(path: &Path, input: &Input, cancel: &Cancel) -> Result<Option<Self>> {
        let [only] = input.pieces() else { return Ok(None) };
        let what = || format!("reading {}", only.display());
        let file = File::open(only).context(what)?;
        let read = |offset: u64, len: usize| {
            let mut bytes = vec![0; len];
            let read = file.read_at(&mut bytes, offset).context(what)?;
            bytes.truncate(read);
            Ok::<_, Error>(bytes)
        };
        let (head, tail) = (read(0, 512)?, read(input.len().saturating_sub(512), 512)?);
        let Some(format) = format_of(&head, &tail) else { return Ok(None) };
        let path = path.canonicalize().context(what)?;
        // By its own bytes, before qemu-img opens whatever they name.
        parts::refuse(&path, format, &head, &tail, read)?;
        let task = "reads the disks of virtual machines";
        let program = QemuImg::find(task, "or convert the disk to raw")?;
        let mut disk = Self { program, path, format, disk_len: 0, len: input.len() };
        let found = disk.info(cancel)?;
        refuse_others(&disk.path, &found)?;
        disk.disk_len = found.get("virtual-size").and_then(Value::as_u64).unwrap_or(0);
        if disk.disk_len == 0 || disk.disk_len > MAX_DISK_LEN {
            return Err(Error::damaged(format!(
                "{} holds {} bytes",
                disk.path.display(),
                disk.disk_len
            )));
        }
        length::check(&disk.path, format, &head, &tail, disk.len, disk.disk_len)?;
        Ok(Some(disk))
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> Imported {
        let name = match self.format {
            "vpc" => "VHD",
            "vhdx" => "VHDX",
            "vmdk" => "VMDK",
            "vdi" => "VDI",
            other => other,
        };
        Imported {
            format: format!("{name} disk of a virtual machine"),
            content: Some(format!("a disk of {}", human(self.disk_len))),
            ..Imported::default()
        }
    }

    /// The length of the disk.
    #[must_use]
    pub const fn disk_len(&self) -> u64 {
        self.disk_len
    }

    /// The length of the file.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// True if there is nothing in the file.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Checks it, and puts its content into a temporary file in `folder`.
    ///
    /// # Errors
    /// Damaged, if qemu-img says so; if there is no room.
    pub fn unpack(&self, folder: &Path, sector: SectorSize, cancel: &Cancel) -> Result<Assembly> {
        let checked = self.run(&["check"], None, cancel)?;
        if !checked.code.is_some_and(|code| GOOD.contains(&code)) {
            return Err(self.damaged(&checked));
        }
        let mut assembly = Assembly::new(folder, self.disk_len, sector)?;
        let target = assembly.scratch.path_for_children();
        // The file is there, and all of it is zero.
        let options = ["convert", "-n", "--target-is-zero", "-O", "raw"];
        let ran = self.run(&options, Some(target.as_os_str()), cancel)?;
        if ran.code != Some(0) {
            return Err(self.damaged(&ran));
        }
        assembly.scratch.was_written()?;
        assembly.whole = ExtentSet::from(Extent::new(0, self.disk_len));
        Ok(assembly)
    }

    /// What qemu-img says of it.
    fn info(&self, cancel: &Cancel) -> Result<Value> {
        let shown = self.path.display();
        let ran = self.run(&["info", "--output=json"], None, cancel)?;
        if ran.code != Some(0) {
            let text = format!("{shown} cannot be read: {}", ran.last_words());
            // Neither a machine that runs nor what qemu-img cannot read is damage.
            return Err(if ran.says_in_use() {
                Error::refused(text).hint("shut the virtual machine down first")
            } else if ran.says_unsupported() {
                Error::unsupported(text)
            } else {
                Error::damaged(text)
            });
        }
        serde_json::from_str(&ran.stdout)
            .map_err(|error| Error::failed(format!("what qemu-img says of {shown}: {error}")))
    }

    /// Runs qemu-img with these arguments, then the disk, then the target.
    fn run(&self, args: &[&str], target: Option<&OsStr>, cancel: &Cancel) -> Result<Ran> {
        let disk = arguments(self.format, &self.path);
        let args = args.iter().map(OsStr::new).chain(disk.iter().map(OsString::as_os_str));
        let args: Vec<&OsStr> = args.chain(target).collect();
        self.program.run(&args, cancel, &mut |_| {})
    }

    fn damaged(&self, ran: &Ran) -> Error {
        let text = format!("{} is damaged: {}", self.path.display(), ran.last_words());
        if ran.is_full() {
            return Error::new(ErrorKind::NoSpace, text)
                .hint("--scratch names a folder with more room");
        }
        Error::damaged(text).hint("no image was made; 'qemu-img check' says more")
    }
}

/// How qemu-img is told which disk is meant.
fn arguments(format: &str, path: &Path) -> Vec<OsString> {
    if format != "vpc" {
        return vec!["-f".into(), format.into(), path.into()];
    }
    // Of most programs that make a VHD it takes its cylinders, heads and sectors
    // for its length, which are rounded down.
    let mut disk =
        b"driver=vpc,force_size_calc=current_size,file.driver=file,file.filename=".to_vec();
    for byte in path.as_os_str().as_bytes() {
        // A comma in a name is written twice.
        disk.extend(std::iter::repeat_n(byte, if *byte == b',' { 2 } else { 1 }));
    }
    vec!["--image-opts".into(), OsString::from_vec(disk)]
}

/// Refuses what is only part of a disk, by what qemu-img says of it.
fn refuse_others(path: &Path, found: &Value) -> Result<()> {
    let refuse = |what: &str, name: &str| Err(parts::refused(path, what, name));
    if let Some(name) = found.get("backing-filename").and_then(Value::as_str) {
        return refuse("holds the changes to another disk only", name);
    }
    let data = found.get("format-specific").and_then(|it| it.get("data"));
    if let Some(name) = data.and_then(|it| it.get("data-file")).and_then(Value::as_str) {
        return refuse("has its content in another file", name);
    }
    let extents = data.and_then(|it| it.get("extents")).and_then(Value::as_array);
    for extent in extents.into_iter().flatten() {
        let name = extent.get("filename").and_then(Value::as_str).unwrap_or_default();
        // A descriptor and its extents belong into one folder.
        if Path::new(name).parent() != path.parent() {
            return refuse("has its content in another folder", name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_bytes() {
        let mut vdi = vec![0; 512];
        vdi[0x40..0x44].copy_from_slice(&0xbeda_107f_u32.to_le_bytes());
        for (head, tail, format) in [
            (&b"QFI\xfb\0\0\0\x03"[..], &b""[..], Some("qcow2")),
            (b"QFI\xfb\0\0\0\x01", b"", Some("qcow")),
            (b"vhdxfile", b"", Some("vhdx")),
            (b"KDMV", b"", Some("vmdk")),
            (&vdi, b"", Some("vdi")),
            (b"\xeb\x63\x90", b"conectix", Some("vpc")),
            (b"\xeb\x63\x90", b"", None),
            (b"", b"", None),
        ] {
            assert_eq!(format_of(head, tail), format, "{head:?}");
        }
    }

    #[test]
    fn what_needs_other_files_is_refused() {
        let path = Path::new("/vm/disk.vmdk");
        let check = |text: &str| refuse_others(path, &serde_json::from_str(text).unwrap());
        assert!(check("{}").is_ok());
        let beside =
            r#"{"format-specific":{"data":{"extents":[{"filename":"/vm/disk-flat.vmdk"}]}}}"#;
        assert!(check(beside).is_ok());
        for other in [
            r#"{"backing-filename":"base.qcow2"}"#,
            r#"{"format-specific":{"data":{"data-file":"/etc/shadow"}}}"#,
            r#"{"format-specific":{"data":{"extents":[{"filename":"/etc/shadow"}]}}}"#,
        ] {
            assert_eq!(check(other).unwrap_err().kind(), ErrorKind::Unsupported, "{other}");
        }
    }
}
