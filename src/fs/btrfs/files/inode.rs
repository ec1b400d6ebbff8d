// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes: what is known of a file, and its extended attributes.

use jiff::Timestamp;

use super::super::tree::Key;
use super::trees::Item;
use super::{BtrfsFiles, EMPTY, folder};
use crate::fs::files::{Attributes, FileResult, Node, NodeKind, Times};
use crate::ondisk::{Fields, FormatError};

const ITEM_LEN: usize = 160;
const FLAG_NO_CHECKSUMS: u64 = 1;

/// An inode, as its item in the tree of its subvolume says.
pub(super) struct Inode {
    pub(super) node: Node,
    /// `None` for the empty folder that stands where a snapshot does not have
    /// the subvolume that its original has.
    item: Option<Item>,
}

impl Inode {
    pub(super) fn read(files: &BtrfsFiles, node: Node) -> FileResult<Self> {
        if node.number == EMPTY {
            return Ok(Self { node, item: None });
        }
        let tree = files.tree(node.tree)?;
        let key = Key { objectid: node.number, kind: Key::INODE_ITEM, offset: 0 };
        let item = files.forest.get(&tree, key)?.ok_or_else(|| {
            let found = format!("inode {} of tree {}", node.number, node.tree);
            FormatError::corrupt("tree of files", 0, "an inode for each name", found)
        })?;
        if item.data().len() < ITEM_LEN {
            let expected = format!("{ITEM_LEN} bytes");
            return Err(item.corrupt("inode", expected, item.data().len()));
        }
        let inode = Self { node, item: Some(item) };
        if inode.u32(40) == 0 {
            return Err(inode.corrupt("inode", "one in use", "a deleted one"));
        }
        Ok(inode)
    }

    fn fields(&self) -> &[u8] {
        self.item.as_ref().map(Item::data).unwrap_or_default()
    }

    fn u32(&self, offset: usize) -> u32 {
        self.fields().u32_le(offset).unwrap_or(0)
    }

    fn u64(&self, offset: usize) -> u64 {
        self.fields().u64_le(offset).unwrap_or(0)
    }

    pub(super) const fn number(&self) -> u64 {
        self.node.number
    }

    pub(super) fn is_empty_folder(&self) -> bool {
        self.item.is_none()
    }

    pub(super) fn size(&self) -> u64 {
        self.u64(16)
    }

    /// True if its data has no checksums.
    pub(super) fn has_no_checksums(&self) -> bool {
        self.u64(64) & FLAG_NO_CHECKSUMS != 0
    }

    pub(super) fn corrupt(
        &self,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> FormatError {
        let position = self.item.as_ref().map_or(0, Item::position);
        FormatError::corrupt(what, position, expected, found)
    }

    /// An error unless it is of this kind.
    pub(super) fn expect(&self, kind: NodeKind) -> FileResult<()> {
        let found = self.kind()?;
        if found == kind {
            return Ok(());
        }
        Err(self.corrupt("inode", format!("{kind:?}"), format!("{found:?}")))
    }

    pub(super) fn kind(&self) -> FileResult<NodeKind> {
        if self.is_empty_folder() {
            return Ok(NodeKind::Folder);
        }
        let mode = self.u32(52);
        Ok(match mode & 0xF000 {
            0x1000 => NodeKind::Pipe,
            0x2000 => self.device(false),
            0x4000 => NodeKind::Folder,
            0x6000 => self.device(true),
            0x8000 => NodeKind::File,
            0xA000 => NodeKind::Link,
            0xC000 => NodeKind::Socket,
            _ => {
                return Err(self.corrupt("mode of an inode", "a known kind", format!("{mode:#o}")));
            }
        })
    }

    /// The number of a device is the kernel's own: 20 bits for the minor number.
    fn device(&self, is_block: bool) -> NodeKind {
        let number = self.u64(56);
        let major = u32::try_from(number >> 20 & 0xFFF).unwrap_or(0);
        let minor = u32::try_from(number & 0xF_FFFF).unwrap_or(0);
        NodeKind::Device { is_block, major, minor }
    }

    pub(super) fn attributes(&self) -> FileResult<Attributes> {
        if self.is_empty_folder() {
            return Ok(Attributes {
                kind: NodeKind::Folder,
                size: 0,
                allocated: Some(0),
                times: Times::default(),
                mode: Some(0o755),
                owner: Some((0, 0)),
                links: 1,
                dos: None,
            });
        }
        let time = |offset: usize| {
            let fields = self.fields();
            let nanoseconds = fields.u32_le(offset.saturating_add(8))?;
            let seconds = fields.u64_le(offset)?.cast_signed();
            Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
        };
        Attributes {
            kind: self.kind()?,
            size: self.size(),
            allocated: Some(self.u64(24)),
            times: Times {
                modified: time(136),
                accessed: time(112),
                changed: time(124),
                created: time(148),
            },
            mode: Some(self.u32(52) & 0o7777),
            owner: Some((self.u32(44), self.u32(48))),
            links: self.u32(40),
            dos: None,
        }
        .checked(self.item.as_ref().map_or(0, Item::position))
    }

    /// The extended attributes, whose names are kept as programs see them.
    pub(super) fn extended_attributes(
        &self,
        files: &BtrfsFiles,
    ) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        if self.is_empty_folder() {
            return Ok(found);
        }
        let tree = files.tree(self.node.tree)?;
        let start = Key { objectid: self.number(), kind: Key::XATTR_ITEM, offset: 0 };
        let mut cursor = files.forest.seek(&tree, start)?;
        while let Some(item) = cursor.next()? {
            if item.key.objectid != start.objectid || item.key.kind != start.kind {
                break;
            }
            for entry in folder::entries(&item) {
                let entry = entry?;
                found.push((entry.name.to_vec(), entry.value.to_vec()));
            }
        }
        Ok(found)
    }
}
