// SPDX-License-Identifier: MIT OR Apache-2.0
//! The container's volumes: their names, and what has to be in use for them.
//!
//! Nothing here proves anything free. Object maps, the superblocks of volumes
//! and of snapshots and the first extents of files say what must be marked as
//! in use; if it is not, the bitmaps are not to be believed.

use std::collections::BTreeMap;

use super::btree::{PHYSICAL_TREE, Storage, Tree, Visitor};
use super::object::{Blocks, VIRTUAL, checked, expect, kind};
use super::superblock::{Doubt, Superblock};
use crate::extent::ExtentSet;
use crate::ondisk::{Fields, FormatError, text};

/// Nodes read of all volumes together: some tens of MiB, which is all of the
/// object maps of most disks.
const MAX_NODES: u64 = 4096;

/// `OMAP_VAL_DELETED`.
const DELETED: u32 = 1;
/// Every `APFS_INCOMPAT_...` up to macOS 26: letter case, snapshots without
/// data, keys that changed, normalization, incomplete restores, sealed volumes,
/// keys per file, preallocated extents, a second root.
const INCOMPATIBLE: u64 = 0x1ff;
/// Where block numbers end in the key of an extent, and its kind begins.
const KEY_BITS: u64 = 0x0fff_ffff_ffff_ffff;

/// A volume's superblock, `apfs_superblock_t`.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) name: String,
    block: u64,
    incompatible: u64,
    readonly_compatible: u64,
    /// `apfs_fs_flags`.
    flags: u64,
    omap: u64,
    /// The tree of all files: its type and its object.
    root_tree: (u32, u64),
    /// The snapshot that the next mount goes back to.
    revert_to: u64,
    extents: Option<u64>,
    snapshots: Option<u64>,
}

/// A newest version of an object.
#[derive(Debug, Clone, Copy)]
struct Version {
    xid: u64,
    block: u64,
    flags: u32,
}

/// What must be in use.
pub(super) struct Required<'a> {
    blocks: Blocks<'a>,
    used: &'a ExtentSet,
    nodes_left: u64,
}

impl<'a> Required<'a> {
    pub(super) const fn new(blocks: Blocks<'a>, used: &'a ExtentSet) -> Self {
        Self { blocks, used, nodes_left: MAX_NODES }
    }

    /// Fails if any of these blocks is free.
    pub(super) fn check(
        &self,
        what: &'static str,
        first: u64,
        count: u64,
    ) -> Result<(), FormatError> {
        let extent = self.blocks.extent(what, first, count)?;
        if self.used.covers(extent) {
            return Ok(());
        }
        Err(FormatError::corrupt(
            what,
            extent.start(),
            format!("{count} blocks in use from block {first} on"),
            "free ones among them",
        ))
    }

    /// A node of a tree; false if enough have been read.
    fn node(&mut self, what: &'static str, block: u64) -> Result<bool, FormatError> {
        self.check(what, block, 1)?;
        self.nodes_left = self.nodes_left.saturating_sub(1);
        Ok(self.nodes_left > 0)
    }
}

/// The volumes of a container.
pub(super) fn list(blocks: Blocks, superblock: &Superblock) -> Result<Vec<Volume>, FormatError> {
    let mut versions = Versions { wanted: superblock, found: BTreeMap::new(), nodes: 0 };
    walk_omap(blocks, superblock.xid, superblock.omap_oid, &mut versions)?;
    superblock
        .volumes
        .iter()
        .map(|oid| {
            let version = versions.found.get(oid).filter(|version| version.flags & DELETED == 0);
            let block = version.map(|version| version.block).ok_or_else(|| {
                FormatError::corrupt(
                    "object map of the container",
                    blocks.position(superblock.omap_oid),
                    format!("the superblock of volume {oid}"),
                    "none",
                )
            })?;
            volume(blocks, superblock.xid, *oid, block)
        })
        .collect()
}

fn volume(blocks: Blocks, newest: u64, oid: u64, block: u64) -> Result<Volume, FormatError> {
    const WHAT: &str = "superblock of an APFS volume";
    let position = blocks.position(block);
    let bytes = blocks.read(WHAT, block)?;
    let header = checked(WHAT, position, &bytes)?;
    expect(WHAT, position, &header, (VIRTUAL | kind::FS, 0), oid)?;
    if header.xid > newest || bytes.bytes_at(0x20, 4) != Some(b"APSB") {
        return Err(FormatError::corrupt(
            WHAT,
            position,
            format!("one of a transaction up to {newest}"),
            format!("transaction {}", header.xid),
        ));
    }
    let u64_at = |offset| bytes.u64_le(offset).unwrap_or(0);
    // A tree that is kept in any other way is behind the object map.
    let physical = |kind: usize, oid: usize| {
        let is_physical = bytes.u32_le(kind) == Some(PHYSICAL_TREE);
        Some(u64_at(oid)).filter(|oid| is_physical && *oid != 0)
    };
    Ok(Volume {
        name: text(bytes.bytes_at(0x2c0, 256).unwrap_or_default()),
        block,
        readonly_compatible: u64_at(0x30),
        incompatible: u64_at(0x38),
        flags: u64_at(0x108),
        omap: u64_at(0x80),
        root_tree: (bytes.u32_le(0x74).unwrap_or(0), u64_at(0x88)),
        revert_to: u64_at(0xa0),
        extents: physical(0x78, 0x90),
        snapshots: physical(0x7c, 0x98),
    })
}

/// Bits of `apfs_incompatible_features` that say how files are read.
const CASE_INSENSITIVE: u64 = 0x01;
const NORMALIZATION_INSENSITIVE: u64 = 0x08;
const INCOMPLETE_RESTORE: u64 = 0x10;
const SEALED: u64 = 0x20;
/// `APFS_FS_UNENCRYPTED`.
const UNENCRYPTED: u64 = 0x01;

impl Volume {
    /// Why its files are not read, if they are not.
    pub(super) fn why_not_read(&self) -> Option<String> {
        let has = |flag| self.incompatible & flag != 0;
        if let Some(doubt) = self.doubt() {
            return Some(doubt.why);
        }
        let why = if self.flags & UNENCRYPTED == 0 {
            "it is encrypted, and can be read with its key only"
        } else if has(SEALED) {
            "it is the sealed system of a Mac, which is not read; what people have is on its Data \
             volume"
        } else if has(INCOMPLETE_RESTORE) {
            "a restore to it was not finished"
        } else if self.revert_to != 0 {
            "it goes back to a snapshot when it is mounted the next time"
        } else if self.root_tree.0 != VIRTUAL | kind::BTREE {
            "its files are in a tree of an unknown type"
        } else {
            return None;
        };
        Some(why.to_owned())
    }

    /// True if letters of another case are the same in names.
    pub(super) const fn ignores_case(&self) -> bool {
        self.incompatible & CASE_INSENSITIVE != 0
    }

    /// True if the keys of names have hashes in them.
    pub(super) const fn has_hashes(&self) -> bool {
        self.incompatible & (CASE_INSENSITIVE | NORMALIZATION_INSENSITIVE) != 0
    }

    /// The object of the tree of all files.
    pub(super) const fn root_tree(&self) -> u64 {
        self.root_tree.1
    }

    /// The block of the object map.
    pub(super) const fn omap(&self) -> u64 {
        self.omap
    }

    /// Why it is not understood, if it is not.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        let unknown = (self.incompatible & !INCOMPATIBLE) | self.readonly_compatible;
        (unknown != 0).then(|| {
            Doubt::new(format!("its volume {:?} has unknown features ({unknown:#x})", self.name))
        })
    }
}

/// Checks what has to be in use for all volumes, as far as that is quickly read.
pub(super) fn check(
    blocks: Blocks,
    superblock: &Superblock,
    volumes: &[Volume],
    required: &mut Required,
) -> Result<(), FormatError> {
    let xid = superblock.xid;
    let mut objects = Objects { what: "object map of the container", required };
    walk_omap(blocks, xid, superblock.omap_oid, &mut objects)?;
    let mut trees = Vec::new();
    for volume in volumes {
        required.check("superblock of an APFS volume", volume.block, 1)?;
        let mut objects = Objects { what: "object map of an APFS volume", required };
        walk_omap(blocks, xid, volume.omap, &mut objects)?;
        trees.extend(volume.extents);
        if let Some(root) = volume.snapshots {
            let mut snapshots = Snapshots { required, trees: &mut trees };
            let tree = Tree {
                what: "snapshots of an APFS volume",
                blocks,
                storage: Storage::Physical,
                subtype: kind::SNAPMETATREE,
                fixed: None,
                xid,
            };
            tree.walk(root, &mut snapshots)?;
        }
    }
    for root in trees {
        let tree = Tree {
            what: "extents of an APFS volume",
            blocks,
            storage: Storage::Physical,
            subtype: kind::BLOCKREFTREE,
            fixed: None,
            xid,
        };
        tree.walk(root, &mut Extents { required })?;
    }
    Ok(())
}

/// Walks the object map in this block, `omap_phys_t`.
fn walk_omap(
    blocks: Blocks,
    xid: u64,
    block: u64,
    visitor: &mut dyn Visitor,
) -> Result<(), FormatError> {
    if !visitor.node(block)? {
        return Ok(());
    }
    let root = omap_root(blocks, xid, block)?;
    omap_tree(blocks, xid).walk(root, visitor)
}

/// The root of the tree of the object map in this block.
pub(super) fn omap_root(blocks: Blocks, xid: u64, block: u64) -> Result<u64, FormatError> {
    const WHAT: &str = "object map";
    let (_, bytes) = blocks.physical(WHAT, block, (kind::OMAP, 0), xid)?;
    if bytes.u32_le(0x28) != Some(PHYSICAL_TREE) {
        return Err(FormatError::corrupt(
            "om_tree_type",
            blocks.position(block),
            format!("{PHYSICAL_TREE:#x}"),
            format!("{:#x?}", bytes.u32_le(0x28)),
        ));
    }
    Ok(bytes.u64_le(0x30).unwrap_or(0))
}

/// The tree of an object map.
pub(super) const fn omap_tree(blocks: Blocks<'_>, xid: u64) -> Tree<'_> {
    Tree {
        what: "object map",
        blocks,
        storage: Storage::Physical,
        subtype: kind::OMAP,
        fixed: Some((16, 16)),
        xid,
    }
}

/// `omap_key_t` and `omap_val_t`: an object, its version, and its bytes.
fn mapping(key: &[u8], value: Option<&[u8]>) -> Option<(u64, Version, u64)> {
    let value = value?;
    let version = Version { xid: key.u64_le(8)?, block: value.u64_le(8)?, flags: value.u32_le(0)? };
    Some((key.u64_le(0)?, version, u64::from(value.u32_le(4)?)))
}

/// The newest versions of the volumes' superblocks.
struct Versions<'a> {
    wanted: &'a Superblock,
    found: BTreeMap<u64, Version>,
    nodes: u64,
}

impl Visitor for Versions<'_> {
    fn node(&mut self, _: u64) -> Result<bool, FormatError> {
        // Hundred volumes and their few versions fit into a node or two.
        self.nodes = self.nodes.saturating_add(1);
        Ok(self.nodes < MAX_NODES)
    }

    fn leaf(&mut self, _: u64, key: &[u8], value: Option<&[u8]>) -> Result<(), FormatError> {
        let Some((oid, version, _)) = mapping(key, value) else { return Ok(()) };
        let is_newer = self.found.get(&oid).is_none_or(|found| found.xid < version.xid);
        if version.xid <= self.wanted.xid && is_newer && self.wanted.volumes.contains(&oid) {
            self.found.insert(oid, version);
        }
        Ok(())
    }
}

/// All versions of all objects of a map.
struct Objects<'a, 'b> {
    what: &'static str,
    required: &'a mut Required<'b>,
}

impl Visitor for Objects<'_, '_> {
    fn node(&mut self, block: u64) -> Result<bool, FormatError> {
        self.required.node(self.what, block)
    }

    fn leaf(&mut self, position: u64, key: &[u8], value: Option<&[u8]>) -> Result<(), FormatError> {
        let (_, version, len) = mapping(key, value)
            .ok_or_else(|| FormatError::corrupt(self.what, position, "a mapping", "none"))?;
        if version.flags & DELETED != 0 {
            return Ok(());
        }
        let size = self.required.blocks.size;
        self.required.check(self.what, version.block, len.div_ceil(size.max(1)))
    }
}

/// The snapshots of a volume: their superblocks, and trees of their extents.
struct Snapshots<'a, 'b> {
    required: &'a mut Required<'b>,
    trees: &'a mut Vec<u64>,
}

impl Visitor for Snapshots<'_, '_> {
    fn node(&mut self, block: u64) -> Result<bool, FormatError> {
        self.required.node("snapshots of an APFS volume", block)
    }

    fn leaf(&mut self, _: u64, key: &[u8], value: Option<&[u8]>) -> Result<(), FormatError> {
        /// `APFS_TYPE_SNAP_METADATA`.
        const METADATA: u64 = 1;
        let Some(value) = value.filter(|_| key.u64_le(0).unwrap_or(0) >> 60 == METADATA) else {
            return Ok(());
        };
        let (tree, superblock) = (value.u64_le(0).unwrap_or(0), value.u64_le(8).unwrap_or(0));
        self.required.check("superblock of a snapshot", superblock, 1)?;
        if value.u32_le(0x28) == Some(PHYSICAL_TREE) && tree != 0 {
            self.required.check("extents of a snapshot", tree, 1)?;
            if self.trees.len() < usize::try_from(MAX_NODES).unwrap_or(0) {
                self.trees.push(tree);
            }
        }
        Ok(())
    }
}

/// The extents of a volume's files.
struct Extents<'a, 'b> {
    required: &'a mut Required<'b>,
}

impl Visitor for Extents<'_, '_> {
    fn node(&mut self, block: u64) -> Result<bool, FormatError> {
        self.required.node("extents of an APFS volume", block)
    }

    fn leaf(&mut self, _: u64, key: &[u8], value: Option<&[u8]>) -> Result<(), FormatError> {
        /// `APFS_KIND_NEW`: the extent is this tree's own. Others say what
        /// became of those of a snapshot's.
        const NEW: u64 = 1;
        let len = value.and_then(|value| value.u64_le(0)).unwrap_or(0);
        if len >> 60 != NEW {
            return Ok(());
        }
        let first = key.u64_le(0).unwrap_or(0) & KEY_BITS;
        self.required.check("extent of a file", first, len & KEY_BITS)
    }
}
