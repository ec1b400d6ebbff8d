// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes that are a part of something else: encrypted, members of an array,
//! physical volumes, caches.
//!
//! Asked before every filesystem. A RAID1 member whose superblock is at its end
//! shows the array's filesystem at its start; but where that filesystem lies on
//! a member of any array is the array's matter, so nothing on it is proven.
//! Nothing is assembled or unlocked: such a volume is stored whole.
//!
//! Sources: the specifications of LUKS1 and LUKS2 and of DDF, `md(4)`, the
//! on-disk headers in the Linux kernel, and the manual pages of the programs.

use super::signature::{Label, Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Used};
use crate::ondisk::{Fields, FormatError};

/// The driver of volumes that are a part of something else.
#[derive(Debug)]
pub struct Member;

/// Why a member has no used map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Encrypted,
    Array,
    Manager,
}

impl Reason {
    fn sentence(self, name: &str) -> String {
        match self {
            Self::Encrypted => {
                format!("{name} is encrypted, so what is free cannot be told while it is locked")
            }
            Self::Array => {
                format!("a {name} is stored whole: only the array knows what is free on it")
            }
            Self::Manager => format!("the used map of a {name} is not supported yet"),
        }
    }
}

/// Signatures that decide by themselves.
const SIGNATURES: [(Reason, Signature); 24] = [
    (Reason::Encrypted, Signature::new(0, b"LUKS\xba\xbe\0\x01", "LUKS1").uuid(Uuid::Text(168))),
    (
        Reason::Encrypted,
        Signature::new(0, b"LUKS\xba\xbe", "LUKS2")
            .label(Label::Utf8(24, 48))
            .uuid(Uuid::Text(168)),
    ),
    (Reason::Encrypted, Signature::new(3, b"-FVE-FS-", "BitLocker")),
    // BitLocker To Go: a FAT32 boot sector with the GUID of BitLocker in its code.
    (
        Reason::Encrypted,
        Signature::new(
            0x1a8,
            b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01",
            "BitLocker To Go",
        ),
    ),
    (
        Reason::Encrypted,
        Signature::new(
            0x1a8,
            b"\x3b\x4d\xa8\x92\x80\xdd\x0e\x4d\x9e\x4e\xb1\xe3\x28\x4e\xae\xd8",
            "BitLocker To Go",
        ),
    ),
    // Apple's FileVault 2 and Fusion drives.
    (
        Reason::Manager,
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
    (
        Reason::Manager,
        Signature::new(
            0x1018,
            b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
            "bcache device",
        )
        .label(Label::Utf8(0x1048, 32))
        .uuid(Uuid::Binary(0x1028)),
    ),
    (Reason::Manager, Signature::new(0, b"dmvdo001", "VDO volume")),
    (Reason::Manager, Signature::new(0, b"SnAp", "LVM snapshot store")),
    (Reason::Manager, Signature::new(0, b"verity\0\0", "dm-verity hash device")),
    (Reason::Manager, Signature::new(0, b"integrt\0", "dm-integrity device")),
    (Reason::Manager, Signature::new(0x204, b"!Stra0tis\x86\xff\x02^\x41rh", "Stratis device")),
    (Reason::Manager, Signature::new(0x1204, b"!Stra0tis\x86\xff\x02^\x41rh", "Stratis device")),
    (Reason::Manager, Signature::new(0, b"bluestore block device", "Ceph BlueStore device")),
    (Reason::Manager, Signature::new(0x10_0000, b"\x0d\xd0\x01\xc0", "VMFS volume member")),
    (Reason::Manager, Signature::new(0x20, b"ORCLDISK", "Oracle ASM disk")),
    (Reason::Manager, Signature::new(0, b"DRBDdlh*", "DRBD proxy log")),
    (Reason::Manager, Signature::new(0, b"$DRBDmgr=q", "DRBD control volume")),
    (Reason::Manager, Signature::new(0x1000, b"SPACEDB ", "Storage Spaces device")),
    (Reason::Manager, Signature::new(0xc00, b"PRIVHEAD", "Windows dynamic disk")),
];

impl Filesystem for Member {
    fn name(&self) -> &'static str {
        "encrypted volumes, RAID members, LVM"
    }

    fn has_used_map(&self) -> bool {
        false
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
        Ok(Used::whole(reader.len(), reason.sentence(&identity.name)))
    }
}

/// The name of what this volume is a part of, if it is.
pub(super) fn name(volume: &Volume) -> Result<Option<String>, FormatError> {
    Ok(recognise(volume)?.map(|(_, identity)| identity.name))
}

fn recognise(volume: &Volume) -> Result<Option<(Reason, Identity)>, FormatError> {
    for (reason, signature) in &SIGNATURES {
        if let Some(identity) = volume.find(std::slice::from_ref(signature))? {
            return Ok(Some((*reason, identity)));
        }
    }
    if let Some(identity) = lvm2(volume)? {
        return Ok(Some((Reason::Manager, identity)));
    }
    if let Some(identity) = luks2_backup(volume)? {
        return Ok(Some((Reason::Encrypted, identity)));
    }
    for array in [md_at_end, geom, apple_raid, drbd] {
        if let Some(identity) = array(volume)? {
            return Ok(Some((Reason::Array, identity)));
        }
    }
    Ok(None)
}

/// An LVM2 label is in one of the first four 512-byte sectors.
fn lvm2(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    for sector in [0_u64, 0x200, 0x400, 0x600] {
        if volume.has(sector, b"LABELONE")? {
            let header = volume.bytes(sector.saturating_add(0x14), 4)?;
            let offset = header.and_then(|header| header.u32_le(0)).unwrap_or(0);
            let uuid = sector.saturating_add(u64::from(offset));
            return volume.identity("LVM2 physical volume", None, Some(Uuid::Lvm(uuid))).map(Some);
        }
    }
    Ok(None)
}

/// LUKS2 keeps a second header at one of these places; the first may be gone.
fn luks2_backup(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    for shift in 14..=22_u32 {
        let offset = 1_u64.checked_shl(shift).unwrap_or(0);
        if volume.has(offset, b"SKUL\xba\xbe")? {
            let label = Label::Utf8(offset.saturating_add(24), 48);
            let uuid = Uuid::Text(offset.saturating_add(168));
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
            return volume.identity("Linux RAID member 0.90", None, None).map(Some);
        }
    }
    Ok(None)
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

/// DRBD keeps its metadata in the last 4 KiB; its magic ends in b, c or d.
fn drbd(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    let Some(offset) = last_sectors(volume, 4096, 1) else { return Ok(None) };
    let magic = volume.bytes(offset.saturating_add(0x3c), 4)?.and_then(|bytes| bytes.u32_be(0));
    if magic.is_some_and(|magic| (0x8374_026b..=0x8374_026d).contains(&magic)) {
        return volume.identity("DRBD member", None, None).map(Some);
    }
    Ok(None)
}

/// Where the last `count` whole sectors of a size start.
pub(super) fn last_sectors(volume: &Volume, sector: u64, count: u64) -> Option<u64> {
    let sectors = volume.len().checked_div(sector)?;
    sectors.checked_sub(count)?.checked_mul(sector)
}
