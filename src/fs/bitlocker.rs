// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes encrypted by BitLocker: which of its kinds it is, and what its
//! metadata says of itself.
//!
//! Since Windows 7 the boot sector says where the first of three copies of the
//! metadata is, which holds the identifier that Windows shows beside a recovery
//! key, and a description: the name of the computer, the drive and the day.
//! BitLocker To Go has the boot sector of a FAT instead, for the program with
//! which other systems read it.
//!
//! Source: the descriptions of the format by the libbde project and in
//! libblkid.

use super::Identity;
use super::signature::Volume;
use crate::ondisk::{Fields, FormatError, text};

const NAME: &[u8; 8] = b"-FVE-FS-";
/// What the boot sector of BitLocker To Go has in its code: one GUID for
/// volumes that are encrypted whole, one for those of which only the used part
/// is.
const TO_GO: [[u8; 16]; 2] = [
    *b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01",
    *b"\x3b\x4d\xa8\x92\x80\xdd\x0e\x4d\x9e\x4e\xb1\xe3\x28\x4e\xae\xd8",
];

/// Recognises a volume of BitLocker.
pub(super) fn bitlocker(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    let Some(boot) = volume.bytes(0, 512)? else { return Ok(None) };
    let (name, metadata) = if boot.bytes_at(3, 8) == Some(NAME) {
        // Windows Vista keeps its place as a cluster, and blkid does not look.
        let is_vista = boot.u8_at(1) == Some(0x52);
        ("BitLocker", boot.u64_le(0xb0).filter(|_| !is_vista))
    } else if boot.bytes_at(0x1a8, 16).is_some_and(|guid| TO_GO.iter().any(|it| it == guid)) {
        ("BitLocker To Go", boot.u64_le(0x1b8))
    } else {
        return Ok(None);
    };
    let mut identity = volume.identity(name, None, None)?;
    if let Some(start) = metadata.filter(|start| *start != 0 && start.is_multiple_of(64)) {
        // Damaged metadata has copies: what it says is for people only.
        (identity.label, identity.uuid) = describe(volume, start)?;
    }
    Ok(Some(identity))
}

/// The description and the identifier in the metadata at `start`.
fn describe(volume: &Volume, start: u64) -> Result<(Option<String>, Option<String>), FormatError> {
    const HEADER: usize = 64;
    const MOST: usize = 1 << 16;
    const DESCRIPTION: u16 = 7;
    const TEXT: u16 = 2;
    let Some(header) = volume.bytes(start, HEADER.saturating_add(48))? else {
        return Ok((None, None));
    };
    if header.bytes_at(0, 8) != Some(NAME) {
        return Ok((None, None));
    }
    let uuid = header.array::<16>(HEADER.saturating_add(16));
    let uuid = uuid.map(|uuid| uuid::Uuid::from_bytes_le(uuid).to_string());
    let len = header.u32_le(HEADER).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    let entries = start.saturating_add(u64::try_from(HEADER).unwrap_or(0));
    let Some(entries) = volume.bytes(entries, len.min(MOST))? else { return Ok((None, uuid)) };
    let mut position = 48_usize;
    while let Some(size) = entries.u16_le(position).map(usize::from).filter(|size| *size >= 8) {
        let field = |offset: usize| entries.u16_le(position.saturating_add(offset));
        if field(2) == Some(DESCRIPTION) && field(4) == Some(TEXT) {
            let letters = entries.bytes_at(position.saturating_add(8), size.saturating_sub(8));
            let units: Vec<u16> = letters
                .unwrap_or_default()
                .chunks_exact(2)
                .map_while(|unit| unit.u16_le(0).filter(|unit| *unit != 0))
                .collect();
            let label = text(String::from_utf16_lossy(&units).as_bytes());
            return Ok(((!label.is_empty()).then_some(label), uuid));
        }
        position = position.saturating_add(size);
    }
    Ok((None, uuid))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use super::*;
    use crate::io::{Memory, WriteAt};

    /// A volume with metadata at 0x4000.
    fn volume(to_go: bool) -> Memory {
        let disk = Memory::new(vec![0; 1 << 17]);
        let put = |at: u64, bytes: &[u8]| disk.write_at(at, bytes).unwrap();
        if to_go {
            put(0, b"\xeb\x58\x90MSWIN4.1");
            put(0x1a8, &TO_GO[0]);
            put(0x1b8, &0x4000_u64.to_le_bytes());
        } else {
            put(0, b"\xeb\x58\x90-FVE-FS-");
            put(0xb0, &0x4000_u64.to_le_bytes());
        }
        put(0x4000, NAME);
        put(0x4040, &200_u32.to_le_bytes());
        put(0x4050, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        put(0x4070, &[12, 0, 3, 0, 2, 0, 0, 0, b'x', 0, 0, 0]);
        put(0x407c, &[14, 0, 7, 0, 2, 0, 0, 0, b'P', 0, b'C', 0, 0, 0]);
        disk
    }

    fn found(disk: &Memory) -> Identity {
        bitlocker(&Volume::open(disk).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn its_identifier_and_description_are_shown() {
        for (to_go, name) in [(false, "BitLocker"), (true, "BitLocker To Go")] {
            let identity = found(&volume(to_go));
            assert_eq!(identity.name, name);
            assert_eq!(identity.label.as_deref(), Some("PC"));
            assert_eq!(identity.uuid.as_deref(), Some("04030201-0605-0807-090a-0b0c0d0e0f10"));
        }
    }

    #[test]
    fn metadata_that_makes_no_sense_is_not_shown() {
        let changed = |at: u64, bytes: &[u8]| {
            let disk = volume(false);
            disk.write_at(at, bytes).unwrap();
            let identity = found(&disk);
            (identity.label, identity.uuid)
        };
        for (at, bytes) in [
            (1, &b"\x52"[..]),
            (0xb0, &[1]),
            (0xb0, &[0xff; 8]),
            (0xb0, &[0; 8]),
            (0x4000, b"x"),
            (0xb0, &[0xc0, 0xff, 1]),
        ] {
            assert_eq!(changed(at, bytes), (None, None), "{at:#x}");
        }
        // Entries that lead nowhere: the identifier is still known.
        for (at, bytes) in [(0x4070, &[0, 0][..]), (0x4070, &[7]), (0x407e, &[8]), (0x4040, &[40])]
        {
            let (label, uuid) = changed(at, bytes);
            assert_eq!(label, None, "{at:#x}");
            assert!(uuid.is_some());
        }
        assert!(changed(0x4040, &[0xff; 4]).1.is_some());
    }
}
