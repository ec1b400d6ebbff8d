// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the trees to the used map of one device.

use super::chunk::{Chunk, Chunks, TYPE_SYSTEM};
use super::devices::Devices;
use super::extents::Extents;
use super::free_space::FreeSpace;
use super::log::{self, root_item};
use super::superblock::{
    COMPAT_RO_BLOCK_GROUP_TREE, COMPAT_RO_FREE_SPACE_TREE, COMPAT_RO_FREE_SPACE_TREE_VALID,
    DeviceItem, LEN, POSITIONS, Root, place,
};
use super::tree::{Forest, Key, tree_id};
use crate::extent::{Extent, ExtentSet};
use crate::fs::runs::Runs;
use crate::ondisk::{Fields, FormatError};

/// Boot loaders and the first superblock live here; chunks do not, since 2013.
const FIRST_MIB: Extent = Extent::new(0, 1 << 20);

/// What no chunk has of it, apart from the superblock.
pub(super) fn unclaimed() -> ExtentSet {
    ExtentSet::from(FIRST_MIB).subtract(&place(POSITIONS[0]).into())
}

const REPLACE_STARTED: u64 = 1;
const REPLACE_SUSPENDED: u64 = 4;

/// Beside roots: references between them, the folder of subvolumes, orphans,
/// the caches of free space and a balance that is not over.
const KNOWN_IN_ROOTS: [u8; 11] = [0, 1, 12, 24, 48, 84, 96, 108, 144, 156, 248];

/// What is in use, or why that is not proven.
pub(super) enum Answer {
    Map(ExtentSet, Vec<String>),
    Whole(String),
}

/// The trees that the tree of roots names.
#[derive(Debug, Default)]
struct Roots {
    extent: Option<Root>,
    device: Option<Root>,
    free_space: Option<Root>,
    block_group: Option<Root>,
    /// Where the roots of all trees are.
    all: Vec<u64>,
}

/// A part of a device that belongs to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct DeviceExtent {
    device: u64,
    offset: u64,
    len: u64,
    /// The logical address of the chunk.
    chunk: u64,
}

/// What counts as in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Extents.
    Extents,
    /// Chunks, whatever of them is in use.
    Chunks,
}

/// The used map of the device that is asked about, in a volume of `len` bytes.
pub(super) fn map(devices: &Devices, len: u64, scope: Scope) -> Result<Answer, FormatError> {
    let superblock = &devices.superblock;
    let position = POSITIONS[0].saturating_add(0x32B);
    let system = Chunks::bootstrap(&superblock.system_chunks, superblock.sector_size, position)?;
    let forest = Forest::new(devices, &system, superblock);
    let (chunks, items) = read_chunks(&forest)?;
    check_bootstrap(&system, &chunks, position)?;
    devices.check(&items)?;
    let forest = forest.with_chunks(&chunks);

    let roots = match read_roots(&forest)? {
        Ok(roots) => roots,
        Err(why) => return Ok(Answer::Whole(why)),
    };
    let missing =
        |tree: &str| FormatError::corrupt("tree of roots", superblock.root.logical, tree, "none");
    let device = roots.device.ok_or_else(|| missing("a device tree"))?;
    if let Some(why) = check_devices(&forest, device, &items)? {
        return Ok(Answer::Whole(why));
    }
    if scope == Scope::Chunks {
        let all = chunks.all().iter().map(|chunk| chunk.logical).collect();
        let map = on_device(devices.first(), &items, &chunks, &all, len);
        return Ok(Answer::Map(map, Vec::new()));
    }

    let valid = COMPAT_RO_FREE_SPACE_TREE | COMPAT_RO_FREE_SPACE_TREE_VALID;
    let free_space = if superblock.compat_ro & valid == valid {
        let root = roots.free_space.ok_or_else(|| missing("a free space tree"))?;
        let walk = forest.walk(root, tree_id::FREE_SPACE)?;
        Some(FreeSpace::new(walk, &chunks, superblock.sector_size))
    } else {
        // A kernel makes it anew before it uses it.
        None
    };
    let mut extents =
        Extents::new(&chunks, superblock.node_size, superblock.sector_size, free_space);
    let has_group_tree = superblock.has_compat_ro(COMPAT_RO_BLOCK_GROUP_TREE);
    if has_group_tree {
        let root = roots.block_group.ok_or_else(|| missing("a block group tree"))?;
        extents.read_groups(forest.walk(root, tree_id::BLOCK_GROUP)?)?;
    }
    let root = roots.extent.ok_or_else(|| missing("an extent tree"))?;
    extents.read(forest.walk(root, tree_id::EXTENT)?, !has_group_tree)?;
    let (mut logical, sum) = extents.finish()?;
    if sum != superblock.bytes_used {
        return Err(FormatError::corrupt(
            "bytes_used",
            POSITIONS[0].saturating_add(0x78),
            format!("{sum}, the sum of all block groups"),
            superblock.bytes_used,
        ));
    }

    let mut notes = Vec::new();
    let seen = forest.into_seen();
    let node_size = superblock.node_size;
    let read = log::blocks(&seen, node_size);
    let rooted = roots.all.iter().map(|root| Extent::at(*root, node_size)).collect();
    for blocks in [&read, &rooted] {
        let missing: ExtentSet = blocks.subtract(&logical);
        if let Some(first) = missing.iter().next() {
            return Err(FormatError::corrupt(
                "extent tree",
                superblock.root.logical,
                format!("the tree block at logical {first}"),
                "free space there",
            ));
        }
    }
    let mut damaged = seen.damaged;
    if let Some(root) = superblock.log_root {
        let forest = Forest::new(devices, &chunks, superblock);
        let data = log::read(&forest, root)?;
        let seen = forest.into_seen();
        damaged = damaged.saturating_add(seen.damaged);
        logical = logical.union(&data).union(&log::blocks(&seen, node_size));
        notes.push("log not replayed: what a mount would replay is stored, too".to_owned());
    }
    if damaged > 0 {
        notes.push(format!("{damaged} copies of its tree blocks are damaged: run btrfs scrub"));
    }
    Ok(Answer::Map(on_device(devices.first(), &items, &chunks, &logical, len), notes))
}

/// Reads the chunk tree: all chunks and all devices.
fn read_chunks(forest: &Forest) -> Result<(Chunks, Vec<DeviceItem>), FormatError> {
    let mut chunks = Chunks::default();
    let mut items: Vec<DeviceItem> = Vec::new();
    let superblock = forest.superblock;
    let mut walk = forest.walk(superblock.chunk_root, tree_id::CHUNK)?;
    while let Some(item) = walk.next()? {
        let (key, position) = (item.key, item.position);
        match (key.objectid, key.kind) {
            (Key::DEVICE_OBJECT, Key::DEV_ITEM) => {
                let device = DeviceItem::parse(item.data).filter(|device| device.id == key.offset);
                items.push(device.ok_or_else(|| {
                    FormatError::corrupt("device item", position, "that of its key", "another")
                })?);
            }
            (Key::CHUNK_OBJECT, Key::CHUNK_ITEM) => {
                let (chunk, len) = Chunk::parse(key, item.data, superblock.sector_size, position)?;
                if len != item.data.len() {
                    let found = item.data.len();
                    return Err(FormatError::corrupt("chunk item", position, len, found));
                }
                chunks.push(chunk, position)?;
            }
            _ => {
                let what = format!("its chunk tree has items of the unknown type {}", key.kind);
                return Err(FormatError::unsupported(what));
            }
        }
    }
    Ok((chunks, items))
}

/// The superblock and the chunk tree have the same chunks for system trees.
fn check_bootstrap(system: &Chunks, chunks: &Chunks, position: u64) -> Result<(), FormatError> {
    let found = chunks.all().iter().filter(|chunk| chunk.kind & TYPE_SYSTEM != 0);
    if found.eq(system.all()) {
        return Ok(());
    }
    let expected = "the system chunks of the chunk tree";
    Err(FormatError::corrupt("sys_chunk_array", position, expected, "others"))
}

/// Reads the tree of roots.
fn read_roots(forest: &Forest) -> Result<Result<Roots, String>, FormatError> {
    let superblock = forest.superblock;
    let mut roots = Roots::default();
    let mut walk = forest.walk(superblock.root, tree_id::ROOT)?;
    while let Some(item) = walk.next()? {
        if item.key.kind != Key::ROOT_ITEM {
            if KNOWN_IN_ROOTS.contains(&item.key.kind) {
                continue;
            }
            let what = format!("its tree of roots has items of the unknown type {}", item.key.kind);
            return Err(FormatError::unsupported(what));
        }
        let root = root_item(item)?;
        if root.generation > superblock.generation {
            return Err(FormatError::corrupt(
                "generation of a root item",
                item.position,
                format!("at most {}", superblock.generation),
                root.generation,
            ));
        }
        let known = match item.key.objectid {
            tree_id::EXTENT => &mut roots.extent,
            tree_id::DEVICE => &mut roots.device,
            tree_id::FREE_SPACE => &mut roots.free_space,
            tree_id::BLOCK_GROUP => &mut roots.block_group,
            tree_id::RAID_STRIPE | tree_id::REMAP => {
                return Ok(Err("it moves data by a tree of its own".to_owned()));
            }
            _ => {
                roots.all.push(root.logical);
                continue;
            }
        };
        roots.all.push(root.logical);
        // With several of a kind the space is divided among them.
        if known.replace(root).is_some() || item.key.offset != 0 {
            return Ok(Err("it has several trees of a kind".to_owned()));
        }
    }
    roots.all.sort_unstable();
    Ok(Ok(roots))
}

/// Reads the device tree, whose extents are one to one the stripes of chunks.
/// Returns why nothing is proven, if a device is being replaced.
fn check_devices(
    forest: &Forest,
    root: Root,
    items: &[DeviceItem],
) -> Result<Option<String>, FormatError> {
    let mut stripes: Vec<DeviceExtent> = forest
        .chunks
        .all()
        .iter()
        .flat_map(|chunk| chunk.stripes.iter().map(move |stripe| (chunk, stripe)))
        .map(|(chunk, stripe)| DeviceExtent {
            device: stripe.device,
            offset: stripe.offset,
            len: chunk.stripe_bytes,
            chunk: chunk.logical.start(),
        })
        .collect();
    stripes.sort_unstable();
    let mut wanted = stripes.iter();
    let mut sums = vec![0_u64; items.len()];
    let mut last = (0, 0);
    let mut walk = forest.walk(root, tree_id::DEVICE)?;
    while let Some(item) = walk.next()? {
        let (key, position) = (item.key, item.position);
        let wrong = |expected: &str| {
            Err(FormatError::corrupt("device tree", position, expected, format!("{key:?}")))
        };
        match key.kind {
            // Counters of errors.
            Key::PERSISTENT_ITEM => continue,
            Key::DEV_REPLACE => {
                if [Some(REPLACE_STARTED), Some(REPLACE_SUSPENDED)].contains(&item.data.u64_le(32))
                {
                    return Ok(Some("a device is being replaced".to_owned()));
                }
                continue;
            }
            Key::DEV_EXTENT => {}
            kind => {
                let what = format!("its device tree has items of the unknown type {kind}");
                return Err(FormatError::unsupported(what));
            }
        }
        let fields = || Some((item.data.u64_le(8)?, item.data.u64_le(16)?, item.data.u64_le(24)?));
        let Some((object, chunk, len)) = fields() else { return wrong("a device extent") };
        let found = DeviceExtent { device: key.objectid, offset: key.offset, len, chunk };
        if object != Key::CHUNK_OBJECT || wanted.next() != Some(&found) {
            return wrong("the stripes of the chunks, one to one");
        }
        let number = items.iter().position(|device| device.id == found.device);
        let end = found.offset.checked_add(len);
        let (Some(number), Some(end)) = (number, end) else {
            return wrong("an extent of a device of this filesystem");
        };
        let device = items.get(number);
        if (found.device == last.0 && found.offset < last.1)
            || device.is_none_or(|device| end > device.total_bytes)
        {
            return wrong("an extent inside of the device, behind the one before it");
        }
        last = (found.device, end);
        if let Some(sum) = sums.get_mut(number) {
            *sum = sum.saturating_add(len);
        }
    }
    let position = root.logical;
    if wanted.next().is_some() {
        let expected = "an extent for each stripe of each chunk";
        return Err(FormatError::corrupt("device tree", position, expected, "fewer"));
    }
    for (device, sum) in items.iter().zip(sums) {
        if device.bytes_used != sum {
            let expected =
                format!("{} bytes in extents of device {}", device.bytes_used, device.id);
            return Err(FormatError::corrupt("device tree", position, expected, sum));
        }
    }
    Ok(None)
}

/// The bytes of one device that hold logical addresses in use, and all that
/// no tree speaks of.
fn on_device(
    device: &DeviceItem,
    items: &[DeviceItem],
    chunks: &Chunks,
    logical: &ExtentSet,
    len: u64,
) -> ExtentSet {
    let mut stripes: Vec<(u64, &Chunk, usize)> = chunks
        .all()
        .iter()
        .flat_map(|chunk| {
            let here = chunk.stripes.iter().enumerate();
            here.filter(|(_, stripe)| stripe.device == device.id)
                .map(move |(number, stripe)| (stripe.offset, chunk, number))
        })
        .collect();
    stripes.sort_unstable_by_key(|(offset, ..)| *offset);
    let mut runs = Runs::new();
    for (offset, chunk, number) in stripes {
        for extent in logical.within(chunk.logical) {
            runs.push(chunk.on_stripe(number, extent).shift(offset));
        }
    }
    // The chunk tree decides how long the device is, for one that missed a commit.
    let end = items.iter().find(|item| item.id == device.id).map_or(0, |item| item.total_bytes);
    let mut outside: ExtentSet = POSITIONS.into_iter().map(place).collect();
    outside.insert(FIRST_MIB);
    outside.insert(Extent::new(end, u64::MAX));
    debug_assert_eq!(LEN, 4096);
    runs.into_set().union(&outside).intersect(&ExtentSet::all(len))
}
