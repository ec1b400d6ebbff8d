// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes that are a part of something else: encrypted, members of an array,
//! caches.
//!
//! Asked before every filesystem. A RAID1 member whose superblock is at its end
//! shows the array's filesystem at its start; but where that filesystem lies on
//! a member of any array is the array's matter, so nothing on it is proven.
//! Nothing is assembled or unlocked: such a volume is stored whole.
//!
//! Sources: the specifications of LUKS1 and LUKS2 and of DDF, `md(4)`, the
//! on-disk headers in the Linux kernel, and the manual pages of the programs.

use super::bitlocker::bitlocker;
use super::signature::{Label, Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Support, Used};
use crate::ondisk::{Fields, FormatError};

/// The driver of volumes that are a part of something else.
#[derive(Debug)]
pub struct Member;

/// Why a member has no used map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Luks,
    BitLocker,
    FileVault,
    Array,
    Manager,
}

impl Reason {
    /// Fits behind "stored whole: ".
    fn sentence(self, name: &str) -> String {
        match self {
            Self::Luks | Self::BitLocker => format!(
                "it is encrypted ({name}), so what is free in it cannot be told: the image is \
                 exact and complete"
            ),
            Self::FileVault => format!(
                "{name}: what is free in it only macOS can tell: the image is exact and complete"
            ),
            Self::Array => format!(
                "it is a part of an array ({name}), and only the array knows what is free on it: \
                 the image is exact and complete"
            ),
            Self::Manager => format!(
                "{name}: what is free on it is known elsewhere: the image is exact and complete"
            ),
        }
    }

    /// What the user can do.
    const fn advice(self) -> &'static str {
        match self {
            Self::Luks => {
                "keep the image as safe as the disk, as the header with its keys is in it; to make \
                 it smaller, unlock it and save the unlocked device (/dev/mapper/...) instead, \
                 which is then not encrypted in the image"
            }
            Self::BitLocker => {
                "have the recovery key at hand: on another computer, Windows will ask for it"
            }
            Self::FileVault => "have the password or the recovery key of FileVault at hand",
            Self::Array => {
                "save the device of the array (such as /dev/md0) instead, or save all its members \
                 and keep their images together"
            }
            Self::Manager => {
                "save all devices that belong together, and keep their images together"
            }
        }
    }
}

/// Signatures that decide by themselves.
const SIGNATURES: [(Reason, Signature); 19] = [
    (Reason::Luks, Signature::new(0, b"LUKS\xba\xbe\0\x01", "LUKS1").uuid(Uuid::Text(168, 40))),
    (
        Reason::Luks,
        Signature::new(0, b"LUKS\xba\xbe", "LUKS2")
            .label(Label::Utf8(24, 48))
            .uuid(Uuid::Text(168, 40)),
    ),
    // Apple's FileVault 2 and Fusion drives.
    (
        Reason::FileVault,
        Signature::new(88, b"CS\x01\0\0\0", "Core Storage volume").uuid(Uuid::Binary(304)),
    ),
    (
        Reason::Array,
        Signature::new(0, b"\xfc\x4e\x2b\xa9\x01\0\0\0", "Linux RAID member 1.1")
            .label(Label::Utf8(32, 32))
            .uuid(Uuid::Binary(16)),
    ),
    (
        Reason::Array,
        Signature::new(0x1000, b"\xfc\x4e\x2b\xa9\x01\0\0\0", "Linux RAID member 1.2")
            .label(Label::Utf8(0x1020, 32))
            .uuid(Uuid::Binary(0x1010)),
    ),
    (Reason::Manager, Signature::new(0, b"HM\x01\0", "LVM1 physical volume")),
    (Reason::Manager, Signature::new(0, b"HM\x02\0", "LVM1 physical volume")),
    (Reason::Manager, Signature::new(0, b"dmvdo001", "VDO volume")),
    (Reason::Manager, Signature::new(0, b"SnAp", "LVM snapshot store")),
    (Reason::Manager, Signature::new(0, b"verity\0\0", "dm-verity hash device")),
    (Reason::Manager, Signature::new(0, b"integrt\0", "dm-integrity device")),
    (Reason::Manager, Signature::new(0x204, b"!Stra0tis\x86\xff\x02^\x41rh", "Stratis device")),
    (Reason::Manager, Signature::new(0x1204, b"!Stra0tis\x86\xff\x02^\x41rh", "Stratis device")),
    (Reason::Manager, Signature::new(0, b"bluestore block device", "Ceph BlueStore device")),
    (
        Reason::Manager,
        Signature::new(0x10_0000, b"\x0d\xd0\x01\xc0", "VMFS volume member")
            .uuid(Uuid::Text(0x10_0214, 35)),
    ),
    (Reason::Manager, Signature::new(0x20, b"ORCLDISK", "Oracle ASM disk")),
    (Reason::Manager, Signature::new(0, b"DRBDdlh*", "DRBD proxy log")),
    (Reason::Manager, Signature::new(0, b"$DRBDmgr=q", "DRBD control volume")),
    (Reason::Manager, Signature::new(0xc00, b"PRIVHEAD", "Windows dynamic disk")),
];

/// The magic of bcache, and of early versions of bcachefs.
pub(super) const BCACHE_MAGIC: [u8; 16] =
    *b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";

impl Filesystem for Member {
    fn name(&self) -> &'static str {
        "encrypted volumes, RAID members"
    }

    fn support(&self) -> &'static [Support] {
        const {
            const UNLOCKED: &str = "unlocked, it can be saved like any disk";
            const ARRAY: &str = "the array can be saved like any disk";
            &[
                Support::whole("LUKS1", UNLOCKED),
                Support::whole("LUKS2", UNLOCKED),
                Support::whole("BitLocker", "restored elsewhere, it asks for the recovery key"),
                Support::whole("BitLocker To Go", "told apart from the FAT it looks like"),
                Support::whole("Core Storage (FileVault 2, Fusion Drive)", ""),
                Support::whole("Linux RAID members, 0.90 and 1.0", ARRAY),
                Support::whole("Linux RAID members, 1.1 and 1.2", ARRAY),
                Support::whole("members of other arrays", "GEOM, Apple RAID, DRBD, firmware RAID"),
                Support::whole("Windows dynamic disks", "the whole disk"),
                Support::whole(
                    "LVM1, VDO, Stratis, bcache, Ceph",
                    "what is free is known elsewhere",
                ),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let found = recognise(&Volume::open(*reader)?)?;
        Ok(found.map(|(_, identity)| identity))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not a member of anything");
        let reader = readers.first().ok_or_else(none)?;
        let (reason, identity) = recognise(&Volume::open(*reader)?)?.ok_or_else(none)?;
        Ok(Used::whole(reader.len(), reason.sentence(&identity.name)).advise(reason.advice()))
    }
}

fn recognise(volume: &Volume) -> Result<Option<(Reason, Identity)>, FormatError> {
    for (reason, signature) in &SIGNATURES {
        if let Some(identity) = volume.find(std::slice::from_ref(signature))? {
            return Ok(Some((*reason, identity)));
        }
    }
    if let Some(identity) = bitlocker(volume)? {
        return Ok(Some((Reason::BitLocker, identity)));
    }
    if let Some(identity) = bcache(volume)? {
        return Ok(Some((Reason::Manager, identity)));
    }
    if let Some(identity) = luks2_backup(volume)? {
        return Ok(Some((Reason::Luks, identity)));
    }
    for array in [md_at_end, geom, apple_raid, drbd] {
        if let Some(identity) = array(volume)? {
            return Ok(Some((Reason::Array, identity)));
        }
    }
    Ok(None)
}

/// A bcache device says that its superblock is in sector 8; early versions of
/// the filesystem bcachefs had the same magic, but not that field.
pub(super) fn bcache(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    if !volume.has(0x1018, &BCACHE_MAGIC)? || !volume.has(0x1008, &8_u64.to_le_bytes())? {
        return Ok(None);
    }
    let (label, uuid) = (Label::Utf8(0x1048, 32), Uuid::Binary(0x1028));
    volume.identity("bcache device", Some(label), Some(uuid)).map(Some)
}

/// LUKS2 keeps a second header at one of these places; the first may be gone.
fn luks2_backup(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    for shift in 14..=22_u32 {
        let offset = 1_u64.checked_shl(shift).unwrap_or(0);
        if volume.has(offset, b"SKUL\xba\xbe")? {
            let label = Label::Utf8(offset.saturating_add(24), 48);
            let uuid = Uuid::Text(offset.saturating_add(168), 40);
            return volume.identity("LUKS2", Some(label), Some(uuid)).map(Some);
        }
    }
    Ok(None)
}

/// Linux RAID with its superblock at the end: version 1.0 and the old 0.90.
pub(super) fn md_at_end(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    const MAGIC: [u8; 4] = [0xfc, 0x4e, 0x2b, 0xa9];
    let len = volume.len();
    // At least 8 KiB from the end, on a multiple of 4 KiB.
    if let Some(offset) = (len & !0xfff).checked_sub(0x2000)
        && volume.has(offset, b"\xfc\x4e\x2b\xa9\x01\0\0\0")?
    {
        let label = Label::Utf8(offset.saturating_add(32), 32);
        let uuid = Uuid::Binary(offset.saturating_add(16));
        return volume.identity("Linux RAID member 1.0", Some(label), Some(uuid)).map(Some);
    }
    // The last whole 64 KiB but one, in the byte order of the machine.
    if let Some(offset) = (len & !0xffff).checked_sub(0x1_0000) {
        let mut reversed = MAGIC;
        reversed.reverse();
        if volume.has(offset, &MAGIC)? || volume.has(offset, &reversed)? {
            let mut identity = volume.identity("Linux RAID member 0.90", None, None)?;
            let superblock = volume.bytes(offset, 64)?;
            identity.uuid = superblock.and_then(|superblock| old_md_uuid(&superblock));
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

/// The identifier of an array of version 0.90: one number of 32 bits, and three
/// more at another place.
fn old_md_uuid(superblock: &[u8]) -> Option<String> {
    let is_little = superblock.u32_le(0) == Some(0xa92b_4efc);
    let mut uuid = Vec::new();
    for offset in [20, 52, 56, 60] {
        let number =
            if is_little { superblock.u32_le(offset)? } else { superblock.u32_be(offset)? };
        uuid.extend(number.to_be_bytes());
    }
    Some(uuid::Uuid::from_slice(&uuid).ok()?.to_string())
}

/// FreeBSD's GEOM classes write their name into the last sector.
pub(super) fn geom(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    for sector in [512_u64, 4096] {
        if let Some(offset) = last_sectors(volume, sector, 1)
            && volume.has(offset, b"GEOM::")?
        {
            return volume.identity("GEOM member", None, None).map(Some);
        }
    }
    Ok(None)
}

/// Apple's software RAID, 4 KiB before the end.
pub(super) fn apple_raid(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    match last_sectors(volume, 4096, 1) {
        Some(offset) if volume.has(offset, b"AppleRAIDHeader")? => {
            volume.identity("Apple RAID member", None, None).map(Some)
        }
        _ => Ok(None),
    }
}

/// DRBD keeps its metadata in the last 4 KiB, aligned or not; its magic ends in
/// b, c or d.
fn drbd(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    let ends = [last_sectors(volume, 4096, 1), volume.len().checked_sub(4096)];
    for start in ends.into_iter().flatten() {
        let magic = volume.bytes(start.saturating_add(0x3c), 4)?;
        let magic = magic.and_then(|bytes| bytes.u32_be(0));
        if magic.is_some_and(|magic| (0x8374_026b..=0x8374_026d).contains(&magic)) {
            return volume.identity("DRBD member", None, None).map(Some);
        }
    }
    Ok(None)
}

/// Where the last `count` whole sectors of a size start.
pub(super) fn last_sectors(volume: &Volume, sector: u64, count: u64) -> Option<u64> {
    let sectors = volume.len().checked_div(sector)?;
    sectors.checked_sub(count)?.checked_mul(sector)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use super::*;
    use crate::extent::ExtentSet;
    use crate::io::{Memory, WriteAt};

    /// Not a multiple of 64 KiB, nor of 4 KiB.
    const LEN: u64 = (2 << 20) + 0x1a00;

    fn with(fields: &[(u64, &[u8])]) -> Memory {
        let disk = Memory::new(vec![0; usize::try_from(LEN).unwrap()]);
        for (offset, field) in fields {
            disk.write_at(*offset, field).unwrap();
        }
        disk
    }

    fn identity(fields: &[(u64, &[u8])]) -> Option<Identity> {
        Member.probe(&[&with(fields)]).unwrap()
    }

    fn name(fields: &[(u64, &[u8])]) -> Option<String> {
        identity(fields).map(|identity| identity.name)
    }

    #[test]
    fn every_signature_is_found_and_stored_whole() {
        for (reason, signature) in &SIGNATURES {
            let disk = with(&[(signature.offset, signature.magic)]);
            let identity = Member.probe(&[&disk]).unwrap().unwrap();
            assert_eq!(identity.name, signature.name);
            let used = Member.used(&[&disk]).unwrap();
            assert_eq!(used.extents, ExtentSet::all(LEN));
            assert_eq!(used.whole, Some(reason.sentence(signature.name)));
            assert_eq!(used.advice.as_deref(), Some(reason.advice()));
        }
    }

    #[test]
    fn nothing_is_a_member_of_nothing() {
        assert_eq!(name(&[]), None);
        assert!(Member.used(&[&with(&[])]).is_err());
        assert_eq!(Member.probe(&[&Memory::new(Vec::new())]).unwrap(), None);
    }

    #[test]
    fn an_array_whose_superblock_is_at_the_end_wins_over_the_filesystem_at_the_start() {
        let fat: (u64, &[u8]) = (0x36, b"FAT16   ");
        let at_1_0: (u64, &[u8]) = (0x1f_f000, b"\xfc\x4e\x2b\xa9\x01\0\0\0");
        let uuid: (u64, &[u8]) = (0x1f_f010, &[0x33; 16]);
        let label: (u64, &[u8]) = (0x1f_f020, b"host:0");
        let found = identity(&[fat, at_1_0, uuid, label]).unwrap();
        assert_eq!(found.name, "Linux RAID member 1.0");
        assert_eq!(found.label.as_deref(), Some("host:0"));
        assert_eq!(found.uuid.as_deref(), Some("33333333-3333-3333-3333-333333333333"));
        for magic in [b"\xfc\x4e\x2b\xa9", b"\xa9\x2b\x4e\xfc"] {
            let uuid: [(u64, &[u8]); 2] = [(0x1f_0014, &[1, 2, 3, 4]), (0x1f_0034, &[5, 6, 7, 8])];
            let found = identity(&[(0x1f_0000, magic), uuid[0], uuid[1]]).unwrap();
            assert_eq!(found.name, "Linux RAID member 0.90");
            let is_little = magic[0] == 0xfc;
            let written = if is_little { "04030201-0807-0605" } else { "01020304-0506-0708" };
            assert_eq!(found.uuid, Some(format!("{written}-0000-000000000000")));
        }
        assert_eq!(name(&[(0x1e_0000, b"\xfc\x4e\x2b\xa9")]), None);
    }

    #[test]
    fn other_arrays_are_found_at_their_end() {
        let geom: (u64, &[u8]) = (LEN - 512, b"GEOM::STRIPE");
        assert_eq!(name(&[geom]).as_deref(), Some("GEOM member"));
        let apple: (u64, &[u8]) = (0x20_0000, b"AppleRAIDHeader");
        assert_eq!(name(&[apple]).as_deref(), Some("Apple RAID member"));
        for last in [0x6b, 0x6c, 0x6d] {
            for end in [0x20_0000, LEN - 4096] {
                let found = name(&[(end + 0x3c, &[0x83, 0x74, 2, last])]);
                assert_eq!(found.as_deref(), Some("DRBD member"));
            }
        }
        assert_eq!(name(&[(0x20_003c, &[0x83, 0x74, 2, 0x6e])]), None);
    }

    #[test]
    fn luks_is_found_by_its_second_header_too() {
        assert_eq!(name(&[(0, b"LUKS\xba\xbe\0\x02")]).as_deref(), Some("LUKS2"));
        for offset in [0x4000, 0x8000, 0x10_0000] {
            let label: (u64, &[u8]) = (offset + 24, b"vault");
            let found = identity(&[(offset, b"SKUL\xba\xbe"), label]).unwrap();
            assert_eq!((found.name.as_str(), found.label.as_deref()), ("LUKS2", Some("vault")));
        }
    }
}
