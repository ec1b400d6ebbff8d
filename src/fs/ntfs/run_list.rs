// SPDX-License-Identifier: MIT OR Apache-2.0
//! Run lists ("mapping pairs"): which clusters hold a stream.

use crate::ondisk::FormatError;

/// So many clusters of a stream, on the disk one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first of them on the disk; `None` if they are a hole.
    pub(super) cluster: Option<u64>,
    pub(super) count: u64,
}

/// Decodes a run list, one run at a time.
#[derive(Debug, Clone)]
pub(super) struct RunList<'a> {
    bytes: &'a [u8],
    previous: i64,
    clusters: u64,
    /// Where the attribute is, for messages.
    position: u64,
}

impl<'a> RunList<'a> {
    /// Of a volume with so many clusters.
    pub(super) const fn new(bytes: &'a [u8], clusters: u64, position: u64) -> Self {
        Self { bytes, previous: 0, clusters, position }
    }

    fn corrupt<T>(&self, expected: impl ToString, found: impl ToString) -> Result<T, FormatError> {
        Err(FormatError::corrupt("run list", self.position, expected, found))
    }

    /// The next run; `None` at the end mark.
    pub(super) fn next(&mut self) -> Result<Option<Run>, FormatError> {
        let Some((&head, rest)) = self.bytes.split_first() else {
            return self.corrupt("an end mark", "the end of the attribute");
        };
        if head == 0 {
            return Ok(None);
        }
        let (count_len, offset_len) = (usize::from(head & 0x0f), usize::from(head >> 4));
        if count_len == 0 || count_len > 8 || offset_len > 8 {
            return self.corrupt("lengths of 1 to 8 bytes", format!("{head:#04x}"));
        }
        let (Some(count), Some(offset)) = (
            rest.get(..count_len),
            count_len.checked_add(offset_len).and_then(|end| rest.get(count_len..end)),
        ) else {
            return self.corrupt("a whole run", "the end of the attribute");
        };
        let count = match u64::try_from(signed(count)) {
            Ok(count) if count > 0 => count,
            _ => return self.corrupt("a length above zero", signed(count)),
        };
        let used = count_len.saturating_add(offset_len);
        self.bytes = rest.get(used..).unwrap_or_default();
        if offset.is_empty() {
            return Ok(Some(Run { cluster: None, count }));
        }
        let start = self.previous.checked_add(signed(offset));
        let first = start.and_then(|start| u64::try_from(start).ok());
        let inside = first
            .and_then(|first| first.checked_add(count))
            .is_some_and(|end| end <= self.clusters);
        let (Some(start), Some(first), true) = (start, first, inside) else {
            let wanted = format!("clusters before {}", self.clusters);
            return self.corrupt(wanted, format!("{count} clusters at {start:?}"));
        };
        self.previous = start;
        Ok(Some(Run { cluster: Some(first), count }))
    }
}

/// A little-endian number of up to 8 bytes whose last bit is its sign.
fn signed(bytes: &[u8]) -> i64 {
    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut whole = [fill; 8];
    for (to, from) in whole.iter_mut().zip(bytes) {
        *to = *from;
    }
    i64::from_le_bytes(whole)
}
