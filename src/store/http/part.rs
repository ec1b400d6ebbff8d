// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the headers of an answer say: which part of the file this is, and of
//! which version.

use std::ops::Range;

use ureq::http::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG, LAST_MODIFIED};

use super::Response;
use super::trouble::Trouble;

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) extent: Range<u64>,
    /// The length of the whole, if the server knows it.
    pub(super) total: Option<u64>,
}

impl Part {
    pub(super) fn of(response: &Response) -> Result<Self, Trouble> {
        check_encoding(response)?;
        header(response, CONTENT_RANGE.as_str())
            .and_then(|text| Self::parse(&text))
            .ok_or(Trouble::Nonsense("a part without saying which"))
    }

    /// `bytes 0-1023/4096`, or `bytes 0-1023/*`.
    fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| {
            let text = text.trim();
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?
        };
        let extent = number(first)?..number(last)?.checked_add(1)?;
        let total = if total.trim() == "*" { None } else { Some(number(total)?) };
        let fits = extent.start < extent.end && total.is_none_or(|total| extent.end <= total);
        (unit.eq_ignore_ascii_case("bytes") && fits).then_some(Self { extent, total })
    }
}

/// What tells one version of a file from the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Version {
    etag: Option<String>,
    modified: Option<String>,
}

impl Version {
    pub(super) fn of(response: &Response) -> Self {
        Self {
            etag: header(response, ETAG.as_str()),
            modified: header(response, LAST_MODIFIED.as_str()),
        }
    }

    /// True if it is certainly another one.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        differ(&self.etag, &other.etag) || differ(&self.modified, &other.modified)
    }
}

/// Refuses what was packed for the way. That an image is packed itself, some
/// servers take for such a packing and say so; they send it as it is.
pub(super) fn check_encoding(response: &Response) -> Result<(), Trouble> {
    match header(response, CONTENT_ENCODING.as_str()) {
        Some(encoding) if !["identity", "zstd", ""].contains(&encoding.trim()) => {
            Err(Trouble::Nonsense("a file that was packed once more for the way"))
        }
        _ => Ok(()),
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_the_header_says() {
        let part = |text| Part::parse(text).map(|part| (part.extent, part.total));
        assert_eq!(part("bytes 0-0/1"), Some((0..1, Some(1))));
        assert_eq!(part("Bytes 10-19/200 "), Some((10..20, Some(200))));
        assert_eq!(part("bytes 10-19/*"), Some((10..20, None)));
        for wrong in [
            "",
            "bytes",
            "bytes 0-0",
            "bytes */10",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes +0-1/10",
            "bytes 0--1/10",
            "bytes -1/10",
            "bytes 0-18446744073709551615/*",
            "bytes 0-18446744073709551616/*",
            "lines 0-1/10",
        ] {
            assert_eq!(part(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn versions_differ_only_where_both_say_something() {
        let version = |etag: Option<&str>, modified: Option<&str>| Version {
            etag: etag.map(str::to_owned),
            modified: modified.map(str::to_owned),
        };
        assert!(version(Some("a"), None).differs(&version(Some("b"), None)));
        assert!(version(Some("a"), Some("x")).differs(&version(Some("a"), Some("y"))));
        assert!(!version(Some("a"), None).differs(&version(None, Some("y"))));
        assert!(!version(Some("a"), None).differs(&version(Some("a"), Some("y"))));
    }
}
