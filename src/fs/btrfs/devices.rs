// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of a filesystem: which of the volumes given together belong to
//! it, and which of their superblocks a mount would follow.
//!
//! A mount reads the superblocks of all devices and follows the newest. So what
//! is free inside of a chunk is proven only with all devices at hand: one alone
//! can be a commit behind another, which may have put data there. Of a device
//! without the others, only what is in no chunk counts as free.

use super::chunk::Stripe;
use super::superblock::{self, DeviceItem, Mirrors, Superblock};
use crate::io::{ReadAt, read_vec};
use crate::ondisk::FormatError;

/// A device that is at hand.
pub(super) struct Device<'a> {
    reader: &'a dyn ReadAt,
    pub(super) superblock: Superblock,
}

impl std::fmt::Debug for Device<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("superblock", &self.superblock).finish_non_exhaustive()
    }
}

/// The devices of one filesystem.
#[derive(Debug)]
pub(super) struct Devices<'a> {
    /// The one that is asked about.
    first: Device<'a>,
    others: Vec<Device<'a>>,
    /// The superblock that a mount would follow.
    pub(super) superblock: Superblock,
}

/// The devices, and what a person should know of them.
pub(super) enum Found<'a> {
    All(Box<Devices<'a>>, Vec<String>),
    /// Not all of them, but the one that is asked about.
    Some(Box<Devices<'a>>, Vec<String>),
    /// Why they are not enough to prove anything, and what to do.
    Whole(String, Option<&'static str>),
}

const FIRST: u64 = superblock::POSITIONS[0];
pub(super) const GIVE_ALL: &str =
    "to make it smaller, save it together with the other disks of this filesystem";

/// Picks the devices that belong to the filesystem of the first reader.
pub(super) fn find<'a>(
    readers: &[&'a dyn ReadAt],
    first: Superblock,
) -> Result<Found<'a>, FormatError> {
    let Some((&reader, volumes)) = readers.split_first() else {
        return Err(FormatError::unsupported("there is no volume to read"));
    };
    let first = Device { reader, superblock: first };
    let mut others: Vec<Device> = Vec::new();
    for &reader in volumes {
        // One that cannot be read, or is damaged, will be missing.
        let Ok(Some(bytes)) = superblock::read(reader, FIRST) else { continue };
        let Ok(superblock) = Superblock::parse(bytes, FIRST) else { continue };
        let mine = &first.superblock;
        if superblock.fsid != mine.fsid && superblock.metadata_uuid != mine.metadata_uuid {
            continue;
        }
        if superblock.device.uuid == mine.device.uuid && mine.num_devices == 1 {
            // A copy of this very device, which is a filesystem of its own.
            continue;
        }
        if superblock.fsid != mine.fsid {
            let why = "another volume has the same metadata under another UUID";
            return Ok(Found::Whole(why.to_owned(), None));
        }
        let twin = |device: &Device| {
            device.superblock.device.id == superblock.device.id
                || device.superblock.device.uuid == superblock.device.uuid
        };
        if twin(&first) || others.iter().any(twin) {
            let why = "two volumes say that they are the same device of this filesystem";
            return Ok(Found::Whole(why.to_owned(), None));
        }
        others.push(Device { reader, superblock });
    }
    let newest = others
        .iter()
        .map(|device| &device.superblock)
        .fold(&first.superblock, |a, b| if b.generation > a.generation { b } else { a })
        .clone();
    Ok(judge(Devices { first, others, superblock: newest }))
}

/// How many of the devices of the filesystem on the first reader are missing, as
/// a sentence; `None` if none is, or its superblock cannot be read. A device that
/// is built upon (a seed) counts as missing: it is a filesystem of its own.
pub(super) fn absent(readers: &[&dyn ReadAt]) -> Option<String> {
    let read = |reader: &dyn ReadAt| {
        let bytes = superblock::read(reader, FIRST).ok().flatten()?;
        Superblock::parse(bytes, FIRST).ok()
    };
    let (first, others) = readers.split_first()?;
    let first = read(*first)?;
    let mut found = vec![first.device.id];
    let mut devices = first.num_devices;
    let others = others.iter().filter_map(|reader| read(*reader));
    for other in others.filter(|other| other.fsid == first.fsid) {
        // One that missed a commit may say fewer.
        devices = devices.max(other.num_devices);
        if !found.contains(&other.device.id) {
            found.push(other.device.id);
        }
    }
    let found = u64::try_from(found.len()).unwrap_or(u64::MAX);
    let is = if found == 1 { "is" } else { "are" };
    (found < devices).then(|| format!("only {found} of its {devices} devices {is} at hand"))
}

/// What the superblocks of the devices say of each other.
fn judge(devices: Devices<'_>) -> Found<'_> {
    let newest = &devices.superblock;
    let whole = |why: &str| Found::Whole(why.to_owned(), None);
    let mut notes = Vec::new();
    for device in devices.all() {
        let other = &device.superblock;
        if let Some(why) = other.distrust() {
            return Found::Whole(why, None);
        }
        if other.device.id == 0 {
            return whole("a device is being replaced");
        }
        if other.generation == newest.generation {
            if !newest.agrees(other) {
                return whole(
                    "its devices were in use one without the other, and contradict each other",
                );
            }
            // Which of two logs a mount replays is a matter of chance.
            if other.log_root != newest.log_root {
                return whole("its devices have different logs to replay");
            }
        } else {
            notes.push(format!(
                "device {} is older than the others: a commit was cut off, or it was missing",
                other.device.id
            ));
        }
        match superblock::mirrors(device.reader, other) {
            Mirrors::Agree(words) => notes.extend(words),
            Mirrors::Differ(why) => return Found::Whole(why, None),
        }
    }
    let found = u64::try_from(devices.all().count()).unwrap_or(u64::MAX);
    if found == newest.num_devices {
        return Found::All(Box::new(devices), notes);
    }
    if newest.log_root.is_some() {
        let why = format!(
            "it is one of {} devices of a filesystem with a log to replay, and not all of them \
             are at hand: the image of it is exact and complete",
            newest.num_devices
        );
        return Found::Whole(why, Some(GIVE_ALL));
    }
    notes.push(format!(
        "one of {} devices of a filesystem: all that is in its chunks is stored, because not all \
         of the others are at hand",
        newest.num_devices
    ));
    Found::Some(Box::new(devices), notes)
}

impl<'a> Devices<'a> {
    fn all(&self) -> impl Iterator<Item = &Device<'a>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The device that is asked about.
    pub(super) const fn first(&self) -> &DeviceItem {
        &self.first.superblock.device
    }

    /// Compares what the chunk tree says of the devices with what is at hand.
    pub(super) fn check(&self, items: &[DeviceItem]) -> Result<(), FormatError> {
        let corrupt = |what, expected: String, found: String| {
            Err(FormatError::corrupt(what, FIRST, expected, found))
        };
        if items.iter().any(|item| item.fsid != self.superblock.metadata_uuid) {
            return Err(FormatError::unsupported("it is built on a seed device"));
        }
        for device in self.all() {
            let here = &device.superblock.device;
            let Some(item) = items.iter().find(|item| item.id == here.id && item.uuid == here.uuid)
            else {
                let found = format!("device {}", here.id);
                return corrupt("dev_item", "a device of the chunk tree".to_owned(), found);
            };
            // The item of a device that missed a commit may be out of date.
            if device.superblock.generation == self.superblock.generation && item != here {
                let sizes = |item: &DeviceItem| {
                    format!("{} bytes, {} of them in chunks", item.total_bytes, item.bytes_used)
                };
                return corrupt("dev_item", sizes(item), sizes(here));
            }
            if item.total_bytes > device.reader.len() {
                return corrupt(
                    "total_bytes of the device",
                    format!("at most the {} bytes of the volume", device.reader.len()),
                    item.total_bytes.to_string(),
                );
            }
        }
        if u64::try_from(items.len()) != Ok(self.superblock.num_devices) {
            let found = format!("{} in the chunk tree", items.len());
            return corrupt("num_devices", self.superblock.num_devices.to_string(), found);
        }
        let mut sum = 0_u64;
        for item in items {
            sum = sum.saturating_add(item.total_bytes);
        }
        // Kernels before 4.15 did not round the size of each device.
        let count = u64::try_from(items.len()).unwrap_or(1);
        let rounding = self.superblock.sector_size.saturating_mul(count);
        if sum.abs_diff(self.superblock.total_bytes) >= rounding {
            let found = self.superblock.total_bytes.to_string();
            return corrupt("total_bytes", format!("{sum}, the sum of all devices"), found);
        }
        Ok(())
    }

    /// Reads from the device that a stripe is on.
    pub(super) fn read(
        &self,
        stripe: &Stripe,
        position: u64,
        len: u64,
    ) -> Result<Vec<u8>, FormatError> {
        let device = self.all().find(|device| {
            let item = &device.superblock.device;
            item.id == stripe.device && item.uuid == stripe.uuid
        });
        let Some(device) = device else {
            let what = format!("its device {} is not at hand", stripe.device);
            return Err(FormatError::unsupported(what));
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        Ok(read_vec(device.reader, position, len)?)
    }
}
