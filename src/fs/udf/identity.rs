// SPDX-License-Identifier: MIT OR Apache-2.0
//! Label and UUID of a UDF. What they are made of is libblkid's choice, which
//! everybody's `/dev/disk/by-uuid` shows.

use super::text::dstring;
use crate::fs::signature::Volume;
use crate::ondisk::{Fields, FormatError, text};

/// The label is the name of the logical volume, the UUID is made of that of the
/// volume set.
pub(super) fn names(volume: &Volume) -> Result<(Option<String>, Option<String>), FormatError> {
    const ANCHOR: u16 = 2;
    const PRIMARY: u16 = 1;
    const LOGICAL: u16 = 6;
    const TERMINATING: u16 = 8;
    const MOST: u32 = 64;
    let (mut label, mut uuid) = (None, None);
    // The size of a block is not known; the anchor tells, which is in block 256
    // or 512.
    for block in [512_u64, 1024, 2048, 4096] {
        for number in [256_u32, 512] {
            let start = u64::from(number).saturating_mul(block);
            let Some(anchor) = volume.bytes(start, 512)? else { continue };
            if anchor.u16_le(0) != Some(ANCHOR) || anchor.u32_le(12) != Some(number) {
                continue;
            }
            let first = anchor.u32_le(20).unwrap_or(0);
            let count = u64::from(anchor.u32_le(16).unwrap_or(0)).checked_div(block).unwrap_or(0);
            let count = u32::try_from(count).unwrap_or(MOST).min(MOST);
            for place in (0..count).map(|number| first.saturating_add(number)) {
                let start = u64::from(place).saturating_mul(block);
                let Some(descriptor) = volume.bytes(start, 512)? else { break };
                if descriptor.u32_le(12) != Some(place) {
                    break;
                }
                match descriptor.u16_le(0) {
                    Some(0 | TERMINATING) | None => break,
                    Some(PRIMARY) if uuid.is_none() && is_udf_text(&descriptor, 200) => {
                        uuid = descriptor.bytes_at(72, 128).and_then(dstring).and_then(set_uuid);
                    }
                    Some(LOGICAL) if label.is_none() && is_udf_text(&descriptor, 20) => {
                        label = descriptor.bytes_at(84, 128).and_then(dstring);
                    }
                    Some(_) => {}
                }
            }
            let label = label.map(|label| text(label.as_bytes()));
            return Ok((label.filter(|label| !label.is_empty()), uuid));
        }
    }
    Ok((None, None))
}

/// True if a field says that the text is in OSTA's encoding.
fn is_udf_text(descriptor: &[u8], offset: usize) -> bool {
    const NAME: &[u8] = b"\0OSTA Compressed Unicode\0";
    descriptor.bytes_at(offset, NAME.len()) == Some(NAME)
}

/// 16 letters of the name of a volume set: those that are hexadecimal as they
/// are, others by their codes.
fn set_uuid(name: String) -> Option<String> {
    let bytes = name.as_bytes();
    let bytes = bytes.get(..bytes.len().min(16))?;
    if bytes.len() < 8 {
        return None;
    }
    let is_hex = |byte: &u8| byte.is_ascii_hexdigit();
    let codes = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let first = bytes.get(..8)?;
    let letters = |part: &[u8]| String::from_utf8_lossy(part).to_lowercase();
    if !first.iter().all(is_hex) {
        return Some(codes(first));
    }
    if bytes.len() == 16 && bytes.iter().all(is_hex) {
        return Some(letters(bytes));
    }
    let mut rest = bytes.get(8..bytes.len().min(12)).unwrap_or_default().to_vec();
    rest.resize(4, 0);
    Some(format!("{}{}", letters(first), codes(&rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_set_has_an_identifier_of_sixteen_digits() {
        let uuid = |name: &str| set_uuid(name.to_owned());
        assert_eq!(uuid("0123456789ABCDEFsome text").as_deref(), Some("0123456789abcdef"));
        assert_eq!(uuid("0123456789abXYZ0").as_deref(), Some("0123456738396162"));
        assert_eq!(uuid("01234567").as_deref(), Some("0123456700000000"));
        assert_eq!(uuid("a name of it").as_deref(), Some("61206e616d65206f"));
        assert_eq!(uuid("short"), None);
    }
}
