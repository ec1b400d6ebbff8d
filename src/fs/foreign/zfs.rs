// SPDX-License-Identifier: MIT OR Apache-2.0
//! ZFS: four labels, two at each end, each with a packed list of names.
//!
//! Source: "ZFS On-Disk Specification" (Sun Microsystems, 2006), chapter 1, and
//! the encoding of name-value lists in XDR (RFC 4506).

use crate::fs::Identity;
use crate::fs::member;
use crate::fs::signature::Volume;
use crate::ondisk::{Fields, FormatError, text};

/// A label, and where in it the list is.
const LABEL: u64 = 256 << 10;
const LIST: u64 = 16 << 10;
const LIST_LEN: usize = 112 << 10;

/// The types of values.
const UINT64: u32 = 8;
const STRING: u32 = 9;

/// Recognises a device of a pool: the pool's name is the label, its GUID the
/// UUID.
pub(in crate::fs) fn zfs(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    let ends = [
        Some(0),
        Some(LABEL),
        member::last_sectors(volume, LABEL, 2),
        member::last_sectors(volume, LABEL, 1),
    ];
    for label in ends.into_iter().flatten() {
        let start = label.saturating_add(LIST);
        let Some(head) = volume.bytes(start, 16)? else { continue };
        // XDR encoding in either byte order, list version 0, unique names, and
        // a first pair of a sensible length.
        if head.u8_at(0) == Some(1)
            && head.u8_at(1).is_some_and(|order| order <= 1)
            && head.bytes_at(2, 10) == Some(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
            && head.u32_be(12).is_some_and(|len| (16..0x1_0000).contains(&len))
        {
            let mut identity = volume.identity("ZFS", None, None)?;
            if let Some(list) = volume.bytes(start, LIST_LEN)? {
                (identity.label, identity.uuid) = pool(&list);
            }
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

/// The name and the GUID of the pool in a list.
fn pool(list: &[u8]) -> (Option<String>, Option<String>) {
    let (mut name, mut guid) = (None, None);
    let mut position = 12_usize;
    // A pair has its length, its length in memory, its name, and a value; a
    // list in the list is skipped by its length.
    while let Some(len) = list.u32_be(position).and_then(|len| usize::try_from(len).ok()) {
        let end = position.saturating_add(len);
        let Some(pair) = list.get(position..end).filter(|pair| pair.len() >= 16) else { break };
        position = end;
        let Some((key, value)) = key_and_value(pair) else { break };
        match (key, value.u32_be(0)) {
            (b"name", Some(STRING)) => {
                let len = value.u32_be(8).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
                name = value.bytes_at(12, len).map(text).filter(|name| !name.is_empty());
            }
            (b"pool_guid", Some(UINT64)) => {
                guid = value.u64_be(8).map(|guid| guid.to_string());
            }
            _ => {}
        }
    }
    (name, guid)
}

fn key_and_value(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(pair.u32_be(8)?).ok()?;
    let padded = len.checked_next_multiple_of(4)?;
    Some((pair.bytes_at(12, len)?, pair.get(padded.checked_add(12)?..)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use super::*;

    fn pair(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        let mut body = (name.len() as u32).to_be_bytes().to_vec();
        body.extend(name.as_bytes());
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend([kind.to_be_bytes(), 1_u32.to_be_bytes()].concat());
        body.extend(value);
        let len = (body.len() as u32 + 8).to_be_bytes();
        [&len[..], &len, &body].concat()
    }

    fn list(pairs: &[Vec<u8>]) -> Vec<u8> {
        [&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &pairs.concat(), &[0; 8]].concat()
    }

    #[test]
    fn a_pool_has_its_name_and_guid_in_a_list() {
        let name = pair("name", STRING, b"\0\0\0\x04tank");
        let guid = pair("pool_guid", UINT64, &u64::MAX.to_be_bytes());
        // What is in the list of a device has the same names.
        let inner = pair("vdev_tree", 19, &pair("name", STRING, b"\0\0\0\x05inner\0\0\0"));
        let found = pool(&list(&[inner.clone(), guid, name, inner]));
        assert_eq!(found, (Some("tank".into()), Some("18446744073709551615".into())));
    }

    #[test]
    fn lists_that_make_no_sense_have_no_names() {
        let whole = list(&[pair("name", STRING, b"\0\0\0\x04tank")]);
        for at in 12..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = pool(&changed);
            let _ = pool(&whole[..at]);
        }
        assert_eq!(pool(&[0; 12]), (None, None));
        assert_eq!(pool(&[0xff; 200]), (None, None));
        let mut long = whole;
        long[12 + 12 + 4 + 8 + 3] = 200;
        assert_eq!(pool(&long).0, None);
    }
}
