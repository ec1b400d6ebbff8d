// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entries of a GUID partition table.
//!
//! Layout: UEFI specification 2.10, section 5.3.3. An entry may be longer than
//! the 128 bytes that are defined; what follows belongs to nobody yet.

use uuid::Uuid;

use super::types;
use crate::extent::Extent;
use crate::ondisk::Fields;
use crate::table::Partition;
use crate::units::SectorSize;

const TYPE_GUID: usize = 0x00;
const UNIQUE_GUID: usize = 0x10;
const STARTING_LBA: usize = 0x20;
const ENDING_LBA: usize = 0x28;
const NAME: usize = 0x38;
const NAME_LEN: usize = 72;

/// The partitions of an array; unused entries count, but are not listed.
pub(super) fn partitions(array: &[u8], entry_size: usize, size: SectorSize) -> Vec<Partition> {
    let mut numbers = 1_u32..;
    // chunks_exact would panic on a size of 0, which the header rules out.
    array
        .chunks_exact(entry_size.max(1))
        .filter_map(|entry| partition(entry, numbers.next()?, size))
        .collect()
}

fn partition(entry: &[u8], number: u32, size: SectorSize) -> Option<Partition> {
    let type_guid: [u8; 16] = entry.array(TYPE_GUID)?;
    if type_guid == [0; 16] {
        return None;
    }
    let type_id = guid(type_guid);
    let start = entry.u64_le(STARTING_LBA)?.saturating_mul(size.bytes());
    // The last sector is part of the partition.
    let end = entry.u64_le(ENDING_LBA)?.saturating_add(1).saturating_mul(size.bytes());
    Some(Partition {
        number,
        extent: Extent::new(start, end),
        type_name: types::name(&type_id).map(str::to_owned),
        type_id,
        id: Some(guid(entry.array(UNIQUE_GUID)?)),
        name: name(entry.bytes_at(NAME, NAME_LEN)?),
        container: false,
    })
}

/// Makes partition `number` end with sector `last`; `None` if it has no entry.
pub(super) fn set_end(array: &mut [u8], entry_size: usize, number: u32, last: u64) -> Option<()> {
    let index = usize::try_from(number.checked_sub(1)?).ok()?;
    let entry = array.chunks_exact_mut(entry_size.max(1)).nth(index)?;
    if entry.array(TYPE_GUID)? == [0; 16] {
        return None;
    }
    entry.get_mut(ENDING_LBA..)?.get_mut(..8)?.copy_from_slice(&last.to_le_bytes());
    Some(())
}

/// A GUID as it is printed everywhere: the first three fields little-endian.
pub(super) fn guid(bytes: [u8; 16]) -> String {
    Uuid::from_bytes_le(bytes).hyphenated().to_string()
}

/// The name up to the first zero, without control characters: it is printed on
/// terminals.
fn name(bytes: &[u8]) -> Option<String> {
    let (units, _) = bytes.as_chunks::<2>();
    let units = units.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0);
    let name: String = char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .filter(|c| !c.is_control())
        .collect();
    (!name.is_empty()).then_some(name)
}
