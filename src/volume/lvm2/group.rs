// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the text of a group means: its physical and logical volumes, and which
//! extents are whose.
//!
//! Everything is held against a list: a key, a flag or a type of segment that
//! is not on it is an error, or at least makes the logical volume one of which
//! nothing is known to be free.

use std::collections::{BTreeMap, BTreeSet};

use super::label::Id;
use super::text::{self, Section, Value};
use crate::extent::Extent;
use crate::ondisk::FormatError;

/// LVM2 counts in these, whatever the sectors of the disk are.
const SECTOR: u64 = 512;

const GROUP_KEYS: &[&str] = &[
    "id",
    "seqno",
    "format",
    "status",
    "flags",
    "system_id",
    "lock_type",
    "lock_args",
    "extent_size",
    "max_lv",
    "max_pv",
    "profile",
    "allocation_policy",
    "metadata_copies",
    "tags",
    "physical_volumes",
    "logical_volumes",
    "historical_logical_volumes",
];
const GROUP_STATUS: &[&str] = &["RESIZEABLE", "READ", "WRITE", "EXPORTED"];
const PHYSICAL_KEYS: &[&str] = &[
    "id",
    "device",
    "device_id",
    "device_id_type",
    "status",
    "flags",
    "dev_size",
    "pe_start",
    "pe_count",
    "ba_start",
    "ba_size",
    "tags",
];
const PHYSICAL_STATUS: &[&str] = &["ALLOCATABLE", "EXPORTED"];
const LOGICAL_KEYS: &[&str] = &[
    "id",
    "status",
    "flags",
    "creation_time",
    "creation_host",
    "tags",
    "segment_count",
    "allocation_policy",
    "read_ahead",
    "profile",
    "major",
    "minor",
];
const LOGICAL_STATUS: &[&str] = &["READ", "WRITE", "VISIBLE", "FIXED_MINOR"];
const LOGICAL_FLAGS: &[&str] = &["ACTIVATION_SKIP"];
const STRIPED_KEYS: &[&str] =
    &["start_extent", "extent_count", "type", "stripe_count", "stripe_size", "stripes", "tags"];

/// Types of segments that put nothing on a physical volume but where the text
/// says so, and what they are for people.
const TYPES: &[(&str, &str)] = &[
    ("mirror", "a mirror"),
    ("snapshot", "a snapshot"),
    ("thin", "a thin volume"),
    ("thin-pool", "a thin pool"),
    ("cache", "a cached volume"),
    ("cache-pool", "a cache"),
    ("writecache", "a cached volume"),
    ("integrity", "a volume with checksums"),
    ("vdo", "a VDO volume"),
    ("vdo-pool", "a VDO pool"),
    ("error", "a volume that cannot be read"),
    ("zero", "a volume of zeros"),
    ("raid0", "a RAID volume"),
    ("raid0_meta", "a RAID volume"),
    ("raid1", "a RAID volume"),
    ("raid4", "a RAID volume"),
    ("raid5", "a RAID volume"),
    ("raid5_n", "a RAID volume"),
    ("raid5_la", "a RAID volume"),
    ("raid5_ls", "a RAID volume"),
    ("raid5_ra", "a RAID volume"),
    ("raid5_rs", "a RAID volume"),
    ("raid6", "a RAID volume"),
    ("raid6_nc", "a RAID volume"),
    ("raid6_nr", "a RAID volume"),
    ("raid6_zr", "a RAID volume"),
    ("raid6_n_6", "a RAID volume"),
    ("raid6_la_6", "a RAID volume"),
    ("raid6_ls_6", "a RAID volume"),
    ("raid6_ra_6", "a RAID volume"),
    ("raid6_rs_6", "a RAID volume"),
    ("raid10", "a RAID volume"),
    ("raid10_near", "a RAID volume"),
];

/// A group of volumes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) id: Id,
    /// Counts the changes of the group.
    pub(super) seqno: u64,
    /// The size of an extent in bytes.
    pub(super) extent_size: u64,
    pub(super) is_exported: bool,
    pub(super) physical: Vec<Physical>,
    pub(super) logical: Vec<Logical>,
}

/// A physical volume of a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Physical {
    pub(super) id: Id,
    /// Where its extents start, in bytes.
    pub(super) start: u64,
    /// How many extents it has.
    pub(super) count: u64,
    /// How large the device was, in bytes; some texts do not say.
    pub(super) device_size: Option<u64>,
    /// Bytes that are kept for boot loaders.
    pub(super) boot: Option<Extent>,
    pub(super) is_missing: bool,
}

/// A logical volume, visible or a part of another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Logical {
    pub(super) name: String,
    /// False if it is a part of another.
    pub(super) is_visible: bool,
    /// Why it is not just its segments, in one sentence.
    pub(super) doubt: Option<String>,
    pub(super) segments: Vec<Segment>,
}

/// A run of extents.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    start: u64,
    /// How many extents of the logical volume.
    pub(super) count: u64,
    /// In bytes.
    pub(super) stripe_size: u64,
    /// The columns, or all that some other type of segment may use.
    pub(super) areas: Vec<Area>,
}

/// Extents of a physical volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Area {
    /// The physical volume, by its place in the list.
    pub(super) physical: usize,
    pub(super) first: u64,
    pub(super) count: u64,
}

fn unknown(what: &str, found: &[u8]) -> FormatError {
    let found = crate::ondisk::text(found);
    FormatError::unsupported(format!("{what} {found:?} of an LVM2 group is not known"))
}

fn corrupt(what: &'static str, expected: impl ToString, found: impl ToString) -> FormatError {
    // The text has no place of its own: it is a ring.
    FormatError::corrupt(what, 0, expected, found)
}

impl Group {
    /// The group of a text.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let tree = text::parse(bytes)?;
        if tree.text("contents") != Some(b"Text Format Volume Group")
            || tree.number("version") != Some(1)
        {
            let text = "LVM2 metadata of an unknown version";
            return Err(FormatError::unsupported(text));
        }
        let mut groups = tree.sections();
        let (Some((name, group)), None) = (groups.next(), groups.next()) else {
            return Err(corrupt("LVM2 metadata", "one group", "none or several"));
        };
        known_keys(group, GROUP_KEYS)?;
        let status = flags(group, "status")?;
        known_flags(&status, GROUP_STATUS)?;
        known_flags(&flags(group, "flags")?, &[])?;
        if group.get("format").is_some() && group.text("format") != Some(b"lvm2") {
            return Err(unknown("the format", group.text("format").unwrap_or_default()));
        }
        let id = identifier(group)?;
        let seqno = number(group, "seqno")?;
        let extent_size = number(group, "extent_size")?.checked_mul(SECTOR).filter(|it| *it > 0);
        let extent_size = extent_size.ok_or_else(|| corrupt("extent_size", "a size", "none"))?;

        let empty = Section::default();
        let (mut physical, mut names) = (Vec::new(), BTreeMap::new());
        for (name, section) in group.section("physical_volumes").unwrap_or(&empty).sections() {
            names.insert(name, physical.len());
            physical.push(Physical::parse(section)?);
        }
        let ids: BTreeSet<Id> = physical.iter().map(|it| it.id).collect();
        if ids.len() != physical.len() {
            return Err(corrupt("physical_volumes", "each once", "one twice"));
        }
        let sections: Vec<_> =
            group.section("logical_volumes").unwrap_or(&empty).sections().collect();
        let owners = owners(&sections, &names);
        let logical = sections
            .iter()
            .map(|(name, section)| Logical::parse(name, section, &names, &owners))
            .collect::<Result<Vec<_>, _>>()?;
        let is_exported = status.contains(&&b"EXPORTED"[..]);
        let name = safe_name(name)?;
        let group = Self { name, id, seqno, extent_size, is_exported, physical, logical };
        group.check_extents()?;
        Ok(group)
    }

    /// Every extent is on its volume, and belongs to one logical volume only.
    fn check_extents(&self) -> Result<(), FormatError> {
        let mut areas: Vec<Area> = self
            .logical
            .iter()
            .flat_map(|it| &it.segments)
            .flat_map(|it| it.areas.iter().copied())
            .collect();
        areas.sort_unstable();
        for area in &areas {
            let count = self.physical.get(area.physical).map_or(0, |it| it.count);
            let end = area.first.checked_add(area.count);
            if end.is_none_or(|end| end > count) || area.count == 0 {
                let found = format!("{} at {}", area.count, area.first);
                return Err(corrupt("extents of a logical volume", format!("of {count}"), found));
            }
        }
        for (area, next) in areas.iter().zip(areas.iter().skip(1)) {
            let end = area.first.saturating_add(area.count);
            if area.physical == next.physical && next.first < end {
                let found = format!("extent {} is used twice", next.first);
                return Err(corrupt("extents of a logical volume", "extents of its own", found));
            }
        }
        Ok(())
    }
}

impl Physical {
    fn parse(section: &Section) -> Result<Self, FormatError> {
        known_keys(section, PHYSICAL_KEYS)?;
        known_flags(&flags(section, "status")?, PHYSICAL_STATUS)?;
        let flags = flags(section, "flags")?;
        known_flags(&flags, &["MISSING"])?;
        let start = number(section, "pe_start")?.checked_mul(SECTOR);
        let start = start.ok_or_else(|| corrupt("pe_start", "bytes of a disk", "too many"))?;
        let count = number(section, "pe_count")?;
        let bytes = |key: &str| section.number(key)?.checked_mul(SECTOR);
        let boot =
            bytes("ba_start").zip(bytes("ba_size")).map(|(start, len)| Extent::at(start, len));
        Ok(Self {
            id: identifier(section)?,
            start,
            count,
            device_size: bytes("dev_size"),
            boot: boot.filter(|boot| !boot.is_empty()),
            is_missing: !flags.is_empty(),
        })
    }
}

/// Which logical volumes are named by segments of others, and of what type.
fn owners<'a>(
    sections: &[(&'a [u8], &Section<'a>)],
    physical: &BTreeMap<&[u8], usize>,
) -> BTreeMap<&'a [u8], &'a [u8]> {
    let mut owners = BTreeMap::new();
    for (name, section) in sections {
        for (_, segment) in section.sections() {
            let kind = segment.text("type").unwrap_or_default();
            each_text(segment, &mut |text| {
                if text != *name && !physical.contains_key(text) {
                    owners.insert(text, kind);
                }
            });
        }
    }
    owners
}

fn each_text<'a>(section: &Section<'a>, visit: &mut impl FnMut(&'a [u8])) {
    for (key, value) in &section.entries {
        match value {
            _ if [&b"type"[..], b"tags"].contains(key) => {}
            Value::Text(text) => visit(text),
            Value::List(list) => list.iter().for_each(|value| {
                if let Value::Text(text) = value {
                    visit(text);
                }
            }),
            Value::Section(inner) => each_text(inner, visit),
            Value::Number(_) | Value::Other => {}
        }
    }
}

impl Logical {
    fn parse(
        name: &[u8],
        section: &Section,
        physical: &BTreeMap<&[u8], usize>,
        owners: &BTreeMap<&[u8], &[u8]>,
    ) -> Result<Self, FormatError> {
        let mut doubt = None;
        let mut doubts = |why: String| {
            doubt.get_or_insert(why);
        };
        let status = flags(section, "status")?;
        let is_moving = status.iter().any(|flag| [&b"PVMOVE"[..], b"LOCKED"].contains(flag));
        if is_moving {
            doubts("it is being moved to another disk (pvmove)".into());
        }
        let mut segments = Vec::new();
        for (_, inner) in section.sections() {
            let (segment, why) = Segment::parse(inner, physical)?;
            segments.push(segment);
            why.into_iter().for_each(&mut doubts);
        }
        if let Some(kind) = owners.get(name) {
            doubts(format!("it belongs to {}, which is not read", describe(kind)));
        }
        let is_visible = status.contains(&&b"VISIBLE"[..]);
        if !is_visible {
            doubts("it is a hidden part of the group".into());
        }
        let strange = status
            .iter()
            .map(|flag| ("flag", *flag, LOGICAL_STATUS))
            .chain(flags(section, "flags")?.iter().map(|flag| ("flag", *flag, LOGICAL_FLAGS)))
            .chain(section.entries.iter().filter_map(|(key, value)| {
                (!matches!(value, Value::Section(_))).then_some(("property", *key, LOGICAL_KEYS))
            }))
            .find(|(_, found, known)| !known.iter().any(|it| it.as_bytes() == *found));
        if let Some((what, found, _)) = strange {
            doubts(format!("its {what} {:?} is not known", crate::ondisk::text(found)));
        }
        segments.sort_by_key(|segment| segment.start);
        let mut end = 0_u64;
        for segment in &segments {
            if segment.start != end {
                return Err(corrupt("start_extent of a segment", end, segment.start));
            }
            end = end.checked_add(segment.count).ok_or_else(|| {
                corrupt("extent_count of a segment", "a volume's extents", segment.count)
            })?;
        }
        if section.number("segment_count").and_then(|it| usize::try_from(it).ok())
            != Some(segments.len())
        {
            return Err(corrupt("segment_count", segments.len(), "another"));
        }
        Ok(Self { name: safe_name(name)?, is_visible, doubt, segments })
    }
}

impl Segment {
    /// A segment, and why it is not just its extents.
    fn parse(
        section: &Section,
        physical: &BTreeMap<&[u8], usize>,
    ) -> Result<(Self, Option<String>), FormatError> {
        let kind =
            section.text("type").ok_or_else(|| corrupt("type of a segment", "one", "none"))?;
        let start = number(section, "start_extent")?;
        let count = number(section, "extent_count")?;
        if count == 0 {
            return Err(corrupt("extent_count of a segment", "some", count));
        }
        // Some types carry flags behind a plus sign.
        let (base, has_flags) = match kind.iter().position(|byte| *byte == b'+') {
            Some(plus) => (kind.get(..plus).unwrap_or_default(), true),
            None => (kind, false),
        };
        let (areas, stripe_size, why) = if base == b"striped" {
            let (areas, stripe_size, why) = striped(section, count, physical)?;
            let why = why.or_else(|| has_flags.then(|| unknown_type(kind)));
            (areas, stripe_size, why)
        } else if TYPES.iter().any(|(known, _)| known.as_bytes() == base) {
            let mut areas = Vec::new();
            other_areas(section, count, physical, &mut areas)?;
            (areas, 0, Some(format!("it is {}, which is not read", describe(kind))))
        } else {
            // It may use extents in a way that is not known either.
            return Err(unknown("the type", kind));
        };
        Ok((Self { start, count, stripe_size, areas }, why))
    }
}

/// The columns of a striped segment; one column is a linear one.
fn striped(
    section: &Section,
    count: u64,
    physical: &BTreeMap<&[u8], usize>,
) -> Result<(Vec<Area>, u64, Option<String>), FormatError> {
    let columns = number(section, "stripe_count")?;
    let share =
        count.checked_div(columns).filter(|share| share.checked_mul(columns) == Some(count));
    let share =
        share.ok_or_else(|| corrupt("stripe_count", format!("a divisor of {count}"), columns))?;
    let stripe_size = match columns {
        1 => 0,
        _ => number(section, "stripe_size")?.checked_mul(SECTOR).unwrap_or(0),
    };
    let Some(Value::List(list)) = section.get("stripes") else {
        return Err(corrupt("stripes of a segment", "a list", "none"));
    };
    if list.len().checked_div(2).and_then(|it| u64::try_from(it).ok()) != Some(columns)
        || list.len().checked_rem(2) != Some(0)
    {
        return Err(corrupt("stripes of a segment", columns, list.len()));
    }
    let mut why = None;
    let mut areas = Vec::new();
    for pair in list.chunks_exact(2) {
        let [Value::Text(name), Value::Number(first)] = pair else {
            return Err(corrupt("stripes of a segment", "names and extents", "something else"));
        };
        match physical.get(name) {
            Some(physical) => areas.push(Area { physical: *physical, first: *first, count: share }),
            None => why = Some("it lies on other logical volumes".into()),
        }
    }
    for (key, _) in &section.entries {
        if !STRIPED_KEYS.iter().any(|it| it.as_bytes() == *key) {
            why = Some(format!("its property {:?} is not known", crate::ondisk::text(key)));
        }
    }
    if columns > 1 && !stripe_size.is_power_of_two() {
        why = Some(format!("its stripes have the size {stripe_size}"));
    }
    Ok((areas, stripe_size, why))
}

/// The extents that any other segment names.
fn other_areas(
    section: &Section,
    count: u64,
    physical: &BTreeMap<&[u8], usize>,
    areas: &mut Vec<Area>,
) -> Result<(), FormatError> {
    for (_, value) in &section.entries {
        match value {
            Value::List(list) => {
                for (index, value) in list.iter().enumerate() {
                    let Value::Text(name) = value else { continue };
                    let Some(physical) = physical.get(name) else { continue };
                    let Some(Value::Number(first)) = list.get(index.saturating_add(1)) else {
                        return Err(corrupt("areas of a segment", "names and extents", "a name"));
                    };
                    areas.push(Area { physical: *physical, first: *first, count });
                }
            }
            Value::Section(inner) => other_areas(inner, count, physical, areas)?,
            Value::Text(_) | Value::Number(_) | Value::Other => {}
        }
    }
    Ok(())
}

/// What a type of segment is for people.
fn describe(kind: &[u8]) -> String {
    let base = kind.split(|byte| *byte == b'+').next().unwrap_or_default();
    if base == b"striped" {
        return "another volume".into();
    }
    let known = TYPES.iter().find(|(known, _)| known.as_bytes() == base);
    known.map_or_else(|| unknown_type(kind), |(_, words)| (*words).to_owned())
}

fn unknown_type(kind: &[u8]) -> String {
    format!("a volume of the type {:?}", crate::ondisk::text(kind))
}

fn number(section: &Section, key: &'static str) -> Result<u64, FormatError> {
    section.number(key).ok_or_else(|| corrupt(key, "a number", "none"))
}

fn identifier(section: &Section) -> Result<Id, FormatError> {
    let found = section.text("id").unwrap_or_default();
    Id::parse_written(found)
        .ok_or_else(|| corrupt("id", "an identifier", crate::ondisk::text(found)))
}

/// Names are shown on terminals; LVM2 allows these letters only.
fn safe_name(name: &[u8]) -> Result<String, FormatError> {
    let text = String::from_utf8_lossy(name).into_owned();
    if text.len() > 128 {
        return Err(corrupt("name", "at most 128 letters", text.len()));
    }
    Ok(text)
}

fn flags<'a>(section: &Section<'a>, key: &str) -> Result<Vec<&'a [u8]>, FormatError> {
    let text = |value: &Value<'a>| match value {
        Value::Text(text) => Ok(*text),
        _ => Err(corrupt("flags", "words", "something else")),
    };
    match section.get(key) {
        None => Ok(Vec::new()),
        Some(Value::List(list)) => list.iter().map(text).collect(),
        Some(value) => text(value).map(|flag| vec![flag]),
    }
}

fn known_flags(found: &[&[u8]], known: &[&str]) -> Result<(), FormatError> {
    match found.iter().find(|flag| !known.iter().any(|it| it.as_bytes() == **flag)) {
        None => Ok(()),
        Some(flag) => Err(unknown("the flag", flag)),
    }
}

fn known_keys(section: &Section, known: &[&str]) -> Result<(), FormatError> {
    let mut keys = section.entries.iter().map(|(key, _)| *key);
    match keys.find(|key| !known.iter().any(|it| it.as_bytes() == *key)) {
        None => Ok(()),
        Some(key) => Err(unknown("the property", key)),
    }
}
