// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which boot loaders an EFI system partition holds, and what each is called.
//!
//! A distribution has a folder of its own below `\EFI`, and Windows has
//! `\EFI\Microsoft`. The loader `shim` brings a table along, `BOOTX64.CSV`, that
//! says which of its files is to be started, and by what name: UTF-16, a line
//! each of file, name, arguments, remark.

use super::esp::{Esp, MOST_BYTES};
use crate::error::Result;

/// What is started first by the firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loader {
    /// The folder on the volume, as FAT writes it: "EFI/debian".
    pub(super) folder: String,
    /// The file in it.
    pub(super) file: String,
    /// The name for people: "debian".
    pub(super) label: String,
    /// What is given to it, if anything.
    pub(super) arguments: String,
}

impl Loader {
    /// "EFI/debian/shimx64.efi"
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.folder, self.file)
    }

    /// "\EFI\debian\shimx64.efi"
    pub(super) fn firmware_path(&self) -> String {
        format!("\\{}", self.path().replace('/', "\\"))
    }
}

/// The part of file names that says for which processor a loader is: "x64".
pub(super) type Suffix = &'static str;

/// The longest table of a loader that is read.
const MOST_CSV: u64 = 64 << 10;

/// As many of its lines are looked at.
const MOST_LINES: usize = 32;
/// How many letters a name has at most, and how many the arguments: both are
/// kept in the memory of the firmware.
const MOST_LABEL: usize = 64;
const MOST_ARGUMENTS: usize = 256;

/// Where Windows keeps its loader.
const WINDOWS: (&str, &str, &str) = ("EFI/Microsoft/Boot", "bootmgfw.efi", "Windows Boot Manager");

/// Folders whose name is not what people call the loader in them.
const NAMES: [(&str, &str); 2] =
    [("systemd", "Linux Boot Manager"), ("refind", "rEFInd Boot Manager")];

/// The loaders on a volume, in the order in which they are best started: a
/// Linux loader offers Windows in its menu, which Windows does not do for it.
/// What is only there for all machines comes last.
///
/// # Errors
/// If the volume cannot be read.
pub(super) fn loaders(esp: &Esp<'_>, suffix: Suffix) -> Result<Vec<Loader>> {
    let mut found = Vec::new();
    for (folder, is_folder) in esp.names("EFI")? {
        let is_special = ["boot", "microsoft"].iter().any(|it| folder.eq_ignore_ascii_case(it));
        if is_folder && !is_special {
            found.extend(of_folder(esp, &folder, suffix)?);
        }
    }
    let (folder, file, label) = WINDOWS;
    if esp.is_program(&format!("{folder}/{file}"))? {
        found.push(Loader {
            folder: folder.into(),
            file: file.into(),
            label: label.into(),
            arguments: String::new(),
        });
    }
    if found.is_empty() && esp.is_program(&fallback_path(suffix))? {
        found.push(Loader {
            folder: "EFI/BOOT".into(),
            file: fallback_name(suffix),
            label: "UEFI OS".into(),
            arguments: String::new(),
        });
    }
    Ok(found)
}

/// What the firmware starts without an entry: "EFI/BOOT/BOOTX64.EFI".
pub(super) fn fallback_path(suffix: Suffix) -> String {
    format!("EFI/BOOT/{}", fallback_name(suffix))
}

fn fallback_name(suffix: Suffix) -> String {
    format!("BOOT{}.EFI", suffix.to_ascii_uppercase())
}

/// The table that shim brings along: "BOOTX64.CSV".
pub(super) fn csv_name(suffix: Suffix) -> String {
    format!("BOOT{}.CSV", suffix.to_ascii_uppercase())
}

fn of_folder(esp: &Esp<'_>, name: &str, suffix: Suffix) -> Result<Option<Loader>> {
    let folder = format!("EFI/{name}");
    let csv = esp.read(&format!("{folder}/{}", csv_name(suffix)), MOST_CSV).unwrap_or(None);
    for line in csv.iter().flat_map(|bytes| csv_lines(bytes)) {
        if esp.is_program(&format!("{folder}/{}", line.file))? {
            return Ok(Some(Loader { folder, ..line }));
        }
    }
    for file in [
        format!("shim{suffix}.efi"),
        "shim.efi".into(),
        format!("grub{suffix}.efi"),
        format!("systemd-boot{suffix}.efi"),
        format!("refind_{suffix}.efi"),
    ] {
        if esp.is_program(&format!("{folder}/{file}"))? {
            let known = NAMES.iter().find(|(it, _)| name.eq_ignore_ascii_case(it));
            let label = known.map_or(name, |(_, label)| label);
            let label = label.chars().take(MOST_LABEL).collect();
            return Ok(Some(Loader { folder, file, label, arguments: String::new() }));
        }
    }
    Ok(None)
}

/// The lines of a table of shim that can be used, without their folder.
fn csv_lines(bytes: &[u8]) -> Vec<Loader> {
    let (units, _) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let text = String::from_utf16_lossy(&units);
    text.trim_start_matches('\u{feff}')
        .lines()
        .take(MOST_LINES)
        .filter_map(|line| {
            let mut fields = line.split(',').map(str::trim);
            let file = fields.next()?.to_owned();
            let label: String = fields.next()?.chars().take(MOST_LABEL).collect();
            let arguments = fields.next().unwrap_or_default().to_owned();
            let is_plain = |text: &str| !text.chars().any(|c| c.is_control() || c == '\0');
            let is_name = !file.is_empty() && !file.contains(['/', '\\', ':']);
            (is_name
                && !label.is_empty()
                && arguments.chars().count() <= MOST_ARGUMENTS
                && [&file, &label, &arguments].iter().all(|it| is_plain(it)))
            .then_some(Loader { folder: String::new(), file, label, arguments })
        })
        .collect()
}

/// The files that a loader needs beside it, as they are in its folder, if it is
/// started from `\EFI\BOOT` instead, with their content. Its own comes first,
/// under the name that the firmware looks for.
///
/// shim starts `fbx64.efi` there, which makes the boot entries anew from the
/// tables in all folders; without it `grubx64.efi`. `mmx64.efi` manages keys.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn fallback_files(
    esp: &Esp<'_>,
    loader: &Loader,
    suffix: Suffix,
) -> Result<Vec<(String, String, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut take = |from: String, to: String| -> Result<()> {
        if let Some(content) = esp.read(&from, MOST_BYTES)? {
            files.push((from, to, content));
        }
        Ok(())
    };
    take(loader.path(), fallback_path(suffix))?;
    if loader.file.to_ascii_lowercase().starts_with("shim") {
        let mut beside = vec![format!("grub{suffix}.efi"), format!("mm{suffix}.efi")];
        let csv = format!("{}/{}", loader.folder, csv_name(suffix));
        if esp.read(&csv, MOST_CSV).unwrap_or(None).is_some() {
            beside.push(format!("fb{suffix}.efi"));
        }
        for file in beside {
            take(format!("{}/{file}", loader.folder), format!("EFI/BOOT/{file}"))?;
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn the_table_of_shim_is_read() {
        let lines = csv_lines(&utf16(
            "\u{feff}shimx64.efi,debian,,This is the boot entry for debian\r\n\
             shimx64.efi,Fedora-uki,\\EFI\\Linux\\a.efi ,x\n,no file,,\nno label\n\
             ../a.efi,bad,,\n",
        ));
        let parts: Vec<_> = lines
            .iter()
            .map(|it| (it.file.as_str(), it.label.as_str(), it.arguments.as_str()))
            .collect();
        assert_eq!(
            parts,
            [("shimx64.efi", "debian", ""), ("shimx64.efi", "Fedora-uki", "\\EFI\\Linux\\a.efi"),]
        );
    }

    #[test]
    fn what_would_fill_the_memory_of_the_firmware_is_cut() {
        let long = "x".repeat(5000);
        let lines = csv_lines(&utf16(&format!("a.efi,{long},,\na.efi,b,{long},\n")));
        let labels: Vec<usize> = lines.iter().map(|it| it.label.len()).collect();
        assert_eq!(labels, [MOST_LABEL]);
        let many = csv_lines(&utf16(&"a.efi,b,,\n".repeat(1000)));
        assert_eq!(many.len(), MOST_LINES);
    }

    #[test]
    fn any_bytes_are_no_table() {
        for bytes in [&[][..], &[0xff], &[0xff, 0xfe, 0x00, 0xd8], &[0x2c, 0, 0x2c, 0]] {
            assert!(csv_lines(bytes).is_empty(), "{bytes:?}");
        }
    }
}
