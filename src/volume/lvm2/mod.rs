// SPDX-License-Identifier: MIT OR Apache-2.0
//! LVM2: physical volumes, and the logical volumes on them.
//!
//! What is read, in order: the label in one of the first four sectors and the
//! header behind it; the metadata areas that the header names, at the start and
//! perhaps at the end; the text in them that describes the group. All of it is
//! checked by its checksum, and all copies have to say the same.
//!
//! The text of a group says which extents belong to which logical volume. Those
//! of none are free; what is before the first extent, the metadata areas and
//! what is behind the last extent is in use. A logical volume that is nothing
//! but runs of extents, in a row or striped, can be read and is looked into.
//! All others - thin pools, snapshots, caches, RAID, mirrors, whatever is not
//! known - are in use as a whole.
//!
//! A physical volume is judged by its own metadata: only that was written each
//! time its extents were given away. One without, or with less recent metadata
//! than another of its group, is stored whole.
//!
//! Sources: the manual pages `lvm(8)`, `pvcreate(8)`, `lvmraid(7)`, and the
//! structures and the grammar of the text as LVM2 writes them (version 2.03).

mod area;
mod backup;
mod checksum;
mod group;
mod label;
#[cfg(test)]
mod tests;
mod text;

pub use self::backup::{Backup, Logical as BackedUp};

use self::area::Content as Metadata;
use self::group::{Group, Logical, Segment};
use self::label::Header;
use super::{Answer, Area, Content, Inside, Map, Mapped, Piece, Volume};
use crate::error::Error;
use crate::extent::{Extent, ExtentSet};
use crate::fs::{Identity, Readers, Support, Used};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The driver of LVM2's physical volumes.
#[derive(Debug, Clone, Copy)]
pub struct Lvm2;

/// The parser of the text, for tests with hostile texts.
///
/// # Errors
/// If it is no valid description of a group.
#[doc(hidden)]
pub fn check_text(bytes: &[u8]) -> Result<(), FormatError> {
    Group::parse(bytes).map(|_| ())
}

/// The checksum that labels, metadata areas and texts have.
#[doc(hidden)]
#[must_use]
pub fn checksum_of(bytes: &[u8]) -> u32 {
    checksum::checksum(&[bytes])
}

impl Volume for Lvm2 {
    fn name(&self) -> &'static str {
        "LVM2"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks(
                    "LVM2 physical volume",
                    "linear and striped logical volumes by what is on them, also over several \
                     disks given together",
                ),
                Support::whole(
                    "LVM2 thin pools, snapshots, caches, RAID, mirrors, VDO",
                    "their extents, not the rest of the physical volume",
                ),
                Support::whole("LVM2 physical volume without metadata of its own", ""),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(volume) = readers.first() else { return Ok(None) };
        Ok(label::read(*volume)?.map(|header| Identity {
            name: "LVM2 physical volume".to_owned(),
            label: None,
            uuid: Some(header.id.written()),
            size: volume.len(),
            clean: true,
            unclean: None,
        }))
    }

    fn map<'a>(&self, readers: Readers<'a>) -> Result<Answer<'a>, FormatError> {
        let volume = *readers.first().ok_or_else(|| Error::failed("there is no volume to read"))?;
        let header = label::read(volume)?
            .ok_or_else(|| FormatError::unsupported("not an LVM2 physical volume"))?;
        header.check(volume.len())?;
        let group = match own_group(volume, &header)? {
            Ok(group) => group,
            Err(used) => return Ok(Answer::Whole(used)),
        };
        let title = format!("LVM2 group {}", group.name);
        let whole = |why: &str| Ok(Answer::Whole(Used::whole(volume.len(), why).note(&title)));
        let Some(own) = group.physical.iter().position(|it| it.id == header.id) else {
            return whole("the metadata on it is that of a group to which it does not belong");
        };
        if group.physical.get(own).is_none_or(|it| it.is_missing) {
            return whole("its group has marked it as missing");
        }
        let others = match others(readers, &header, &group)? {
            Ok(others) => others,
            Err(why) => return whole(&why),
        };
        check_place(&group, own, &header, volume)?;

        let readers = (0..group.physical.len())
            .map(|index| if index == own { Some(volume) } else { others.get(index).copied()? })
            .collect();
        let opened = Opened { group: &group, readers, own };
        Ok(Answer::Map(opened.map(volume, &header, title)))
    }
}

/// The group that the metadata of a volume describes, or why all of the volume
/// is in use.
fn own_group(volume: &dyn ReadAt, header: &Header) -> Result<Result<Group, Used>, FormatError> {
    let (mut found, mut empty, mut ignored) = (None, 0_u32, 0_u32);
    let mut before: Option<Vec<u8>> = None;
    for area in &header.metadata {
        match area::read(volume, *area)? {
            Metadata::Text(text) => {
                if before.as_ref() == Some(&text) {
                    continue;
                }
                let group = Group::parse(&text)?;
                // The time of writing may differ, what it says may not.
                if found.as_ref().is_some_and(|found| *found != group) {
                    return Err(FormatError::corrupt(
                        "metadata area",
                        area.start(),
                        "what the other area says",
                        format!("change {} of the group", group.seqno),
                    ));
                }
                found = Some(group);
                before = Some(text);
            }
            Metadata::Empty => empty = empty.saturating_add(1),
            Metadata::Ignored => ignored = ignored.saturating_add(1),
        }
    }
    let whole = |why: &str| Ok(Err(Used::whole(volume.len(), why)));
    match found {
        Some(_) if empty > 0 => Err(FormatError::unsupported(
            "one of two LVM2 metadata areas is empty: a change of the group was interrupted",
        )),
        Some(group) if header.is_used == Some(false) => Err(FormatError::unsupported(format!(
            "the LVM2 header says that the volume is in no group, its metadata that it is in {}",
            group.name
        ))),
        Some(group) => Ok(Ok(group)),
        None if empty == 0 || header.is_used == Some(true) => whole(
            "this physical volume keeps no metadata of its group, which only says on other disks \
             what is free here",
        ),
        None => whole("this physical volume is in no group, so nothing says what is free on it"),
    }
}

/// The label and header fit what the group says of the volume, and no area
/// lies where its extents are.
fn check_place(
    group: &Group,
    own: usize,
    header: &Header,
    volume: &dyn ReadAt,
) -> Result<(), FormatError> {
    let extents = extents_of(group, own)
        .ok_or_else(|| FormatError::corrupt("pe_count", 0, "extents of a disk", "too many"))?;
    if extents.end() > volume.len() {
        return Err(FormatError::unsupported(format!(
            "the extents of the group end at byte {}, and the volume at {}",
            extents.end(),
            volume.len()
        )));
    }
    if extents.start() != header.data_start {
        let (wanted, found) = (header.data_start, extents.start());
        return Err(FormatError::corrupt("pe_start", 0, wanted, found));
    }
    match header.metadata.iter().chain(&header.boot).find(|area| area.overlaps(&extents)) {
        None => Ok(()),
        Some(area) => {
            let expected = format!("bytes outside of the extents at {extents}");
            Err(FormatError::corrupt("area of the LVM2 header", area.start(), expected, area))
        }
    }
}

/// The bytes of all extents of a physical volume.
fn extents_of(group: &Group, physical: usize) -> Option<Extent> {
    let physical = group.physical.get(physical)?;
    let len = physical.count.checked_mul(group.extent_size)?;
    Some(Extent::new(physical.start, physical.start.checked_add(len)?))
}

/// The readers of the other physical volumes of a group, by their place in it;
/// or why the first volume cannot be judged at all.
#[expect(clippy::type_complexity, reason = "a list of readers, or a sentence")]
fn others<'a>(
    readers: Readers<'a>,
    header: &Header,
    group: &Group,
) -> Result<Result<Vec<Option<&'a dyn ReadAt>>, String>, FormatError> {
    let mut others: Vec<Option<&dyn ReadAt>> = vec![None; group.physical.len()];
    let mut is_double = vec![false; group.physical.len()];
    for reader in readers.iter().skip(1).copied() {
        // What cannot be read or understood is as if it were not given.
        let Ok(Some(other)) = label::read(reader) else { continue };
        if other.id == header.id {
            return Ok(Err(format!(
                "there is a second physical volume {}, and which of them is in use is a guess",
                header.id.written()
            )));
        }
        if other.check(reader.len()).is_err() {
            continue;
        }
        let Ok(found) = own_group(reader, &other) else { continue };
        let place = group.physical.iter().position(|it| it.id == other.id);
        let is_current = match found {
            Ok(found) => {
                let is_about_it =
                    found.id == group.id || found.physical.iter().any(|it| it.id == header.id);
                if is_about_it && found.seqno > group.seqno {
                    return Ok(
                        Err("another disk has more recent metadata of its group".to_owned()),
                    );
                }
                if is_about_it && found.seqno == group.seqno && found != *group {
                    return Ok(Err("another disk has other metadata of its group".to_owned()));
                }
                found == *group
            }
            // Without metadata of its own it does not say.
            Err(_) => other.is_used != Some(false),
        };
        let Some(place) = place else { continue };
        if let Some(is_double) = is_double.get_mut(place) {
            let was_there = others.get(place).is_some_and(Option::is_some);
            *is_double |= was_there || !is_current;
        }
        let fits = extents_of(group, place).is_some_and(|extents| {
            extents.end() <= reader.len() && extents.start() == other.data_start
        });
        let is_missing = group.physical.get(place).is_none_or(|it| it.is_missing);
        if let Some(slot) = others.get_mut(place) {
            *slot = Some(reader).filter(|_| fits && !is_missing);
        }
    }
    for (slot, is_double) in others.iter_mut().zip(is_double) {
        if is_double {
            *slot = None;
        }
    }
    Ok(Ok(others))
}

/// A group with those of its physical volumes that are there.
struct Opened<'a, 'g> {
    group: &'g Group,
    readers: Vec<Option<&'a dyn ReadAt>>,
    /// The place of the volume asked about.
    own: usize,
}

impl<'a> Opened<'a, '_> {
    fn map(&self, volume: &'a dyn ReadAt, header: &Header, title: String) -> Map<'a> {
        let extents = extents_of(self.group, self.own).unwrap_or(Extent::new(0, 0));
        let mut own: ExtentSet = Extent::new(0, extents.start()).into();
        own.insert(Extent::new(extents.end(), volume.len()));
        own.extend(header.metadata.iter().chain(&header.boot).copied());
        let mut map = Map {
            title,
            own,
            inside: Vec::new(),
            siblings: Vec::new(),
            lacks_disks: self.readers.iter().any(Option::is_none),
            notes: Vec::new(),
        };
        if self.group.is_exported {
            map.notes.push("the group is exported".into());
        }
        for logical in &self.group.logical {
            let here = self.here(logical);
            let content = self.open(logical);
            let name = format!("{}/{}", self.group.name, logical.name);
            if !here.is_empty() {
                map.inside.push(Inside { name, here, content });
            } else if let Content::Readable(mapped) = content {
                map.siblings.push((name, mapped));
            }
        }
        map
    }

    /// The bytes of a logical volume on the volume asked about.
    fn here(&self, logical: &Logical) -> ExtentSet {
        let Some(own) = self.group.physical.get(self.own) else { return ExtentSet::new() };
        let bytes = |extents: u64| extents.saturating_mul(self.group.extent_size);
        let areas = logical.segments.iter().flat_map(|segment| &segment.areas);
        areas
            .filter(|area| area.physical == self.own)
            .map(|area| Extent::at(own.start.saturating_add(bytes(area.first)), bytes(area.count)))
            .collect()
    }

    fn open(&self, logical: &Logical) -> Content<'a> {
        if let Some(why) = &logical.doubt {
            return Content::Whole { why: why.clone(), advice: None };
        }
        let areas = || logical.segments.iter().flat_map(|segment| &segment.areas);
        if areas().any(|area| self.readers.get(area.physical).is_none_or(Option::is_none)) {
            return Content::Whole {
                why: "a part of it is on another disk".into(),
                advice: Some("to make it smaller, give that disk, too, using --with".into()),
            };
        }
        // Only the readers it lies on, the volume asked about first.
        let mut places: Vec<usize> = areas().map(|area| area.physical).collect();
        places.sort_by_key(|place| (*place != self.own, *place));
        places.dedup();
        if places.first() != Some(&self.own) {
            places.insert(0, self.own);
        }
        let readers = places.iter().filter_map(|place| *self.readers.get(*place)?).collect();
        let pieces: Option<Vec<Piece>> =
            logical.segments.iter().map(|segment| piece(self.group, segment, &places)).collect();
        match pieces.and_then(|pieces| Mapped::new(readers, pieces)) {
            Some(mapped) => Content::Readable(mapped),
            None => {
                Content::Whole { why: "its stripes do not fit its extents".into(), advice: None }
            }
        }
    }
}

/// Where a segment lies, on readers that are the physical volumes at these places
/// of the group.
fn piece(group: &Group, segment: &Segment, places: &[usize]) -> Option<Piece> {
    let areas = segment.areas.iter().map(|area| {
        let physical = group.physical.get(area.physical)?;
        let start = area.first.checked_mul(group.extent_size)?;
        Some(Area {
            reader: places.iter().position(|place| *place == area.physical)?,
            offset: physical.start.checked_add(start)?,
        })
    });
    Some(Piece {
        len: segment.count.checked_mul(group.extent_size)?,
        stripe: segment.stripe_size,
        areas: areas.collect::<Option<_>>()?,
    })
}
