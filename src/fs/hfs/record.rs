// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records of the catalog: files and folders ("Inside Macintosh: Files", 2-70).

use super::fork::Fork;
use super::master_directory_block::{fork_extents, time};
use super::roman;
use super::tree::Record;
use crate::fs::files::{FileResult, Times};
use crate::ondisk::{Fields, FormatError};

const FOLDER: u8 = 1;
const FILE: u8 = 2;
const FOLDER_THREAD: u8 = 3;
const FILE_THREAD: u8 = 4;
const FOLDER_LEN: usize = 70;
const FILE_LEN: usize = 102;

/// The flag of a file that must not be changed.
const LOCKED: u8 = 1;
/// The flag of the Finder for what is not shown, and where its flags are.
const INVISIBLE: u16 = 0x4000;
const FINDER_FLAGS: usize = 8;

/// What the Finder keeps of a file or folder: of a file its type and creator,
/// then flags, and places on the screen.
pub(super) type FinderInfo = [u8; 32];

/// What a record of the catalog says of a file or folder.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The number that the other records know it by.
    pub(super) id: u32,
    pub(super) times: Times,
    pub(super) finder: FinderInfo,
    pub(super) is_locked: bool,
    /// The data and the resource fork of a file; a folder has none.
    pub(super) forks: Option<(Fork, Fork)>,
    pub(super) position: u64,
}

impl Item {
    /// `None` for records that lead from a number to a name.
    pub(super) fn parse(record: &Record) -> FileResult<Option<Self>> {
        let (data, position) = (record.data, record.position);
        let is_folder = match data.u8_at(0) {
            Some(FOLDER) if data.len() >= FOLDER_LEN => true,
            Some(FILE) if data.len() >= FILE_LEN => false,
            Some(FOLDER_THREAD | FILE_THREAD) => return Ok(None),
            kind => {
                let what = "record of the catalog";
                let found = format!("kind {kind:?} of {} bytes", data.len());
                return Err(FormatError::corrupt(what, position, "a folder or file", found));
            }
        };
        let word = |offset| data.u32_be(offset).unwrap_or(0);
        let half = |offset| data.array::<16>(offset).unwrap_or_default();
        // Where the two differ: the number, the times, and both halves of what
        // the Finder keeps.
        let (id, created, finder) = match is_folder {
            true => (6, 10_usize, (22, 38)),
            false => (20, 44, (4, 56)),
        };
        let mut info = FinderInfo::default();
        let (first, second) = info.split_at_mut(16);
        first.copy_from_slice(&half(finder.0));
        second.copy_from_slice(&half(finder.1));
        let fork = |len: usize, extents| Fork {
            len: word(len),
            allocated: word(len.saturating_add(4)),
            extents: fork_extents(data, extents),
        };
        Ok(Some(Self {
            id: word(id),
            times: Times {
                created: time(word(created)),
                modified: time(word(created.saturating_add(4))),
                ..Times::default()
            },
            finder: info,
            is_locked: !is_folder && data.u8_at(2).unwrap_or(0) & LOCKED != 0,
            forks: (!is_folder).then(|| (fork(26, 74), fork(36, 86))),
            position,
        }))
    }

    /// The bytes of the volume that both forks occupy.
    pub(super) fn allocated(&self) -> Option<u64> {
        let (data, resource) = self.forks?;
        Some(u64::from(data.allocated).saturating_add(resource.allocated.into()))
    }

    pub(super) const fn is_folder(&self) -> bool {
        self.forks.is_none()
    }

    pub(super) fn is_invisible(&self) -> bool {
        self.finder.u16_be(FINDER_FLAGS).unwrap_or(0) & INVISIBLE != 0
    }
}

/// The name in a key of the catalog, after the number of its folder; letters that
/// no name can have here are shown as those of HFS+ are.
pub(super) fn name(key: &[u8]) -> Option<Vec<u8>> {
    let bytes = key.bytes_at(6, key.u8_at(5)?.into())?;
    let shown = |letter: char| match letter {
        '/' => ':',
        '\0' => '\u{2400}',
        letter => letter,
    };
    Some(roman::decode(bytes).chars().map(shown).collect::<String>().into_bytes())
}
