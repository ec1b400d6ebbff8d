// SPDX-License-Identifier: MIT OR Apache-2.0
//! The walk through all folders: every cluster that a file, a folder or the
//! filesystem itself has, by its chain or as a contiguous run.
//!
//! No cluster may be had twice. That finds files that share clusters, and ends
//! every loop, of chains and of folders; so the walk takes no more steps than
//! there are clusters.

use super::boot_sector::BootSector;
use super::clusters::Clusters;
use super::entry::{self, Allocation, Item, Parser, Step};
use super::table::Table;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// The specification allows folders of up to 256 MiB.
pub(super) const FOLDER_MAX: u64 = 256 << 20;
/// Folders that wait to be read, 32 bytes each.
const WAITING_MAX: usize = 1 << 20;
/// Bytes of a folder that are read at a time. Most have few entries at the
/// start of a large cluster.
const FIRST_PIECE: u64 = 4096;
const PIECE: u64 = 1 << 16;
/// 65536 letters.
pub(super) const UPCASE_MAX: u64 = 2 << 16;

/// What the walk has found.
#[derive(Debug)]
pub(super) struct Found {
    /// All clusters that something has.
    pub(super) had: Clusters,
    /// All that an allocation bitmap calls used; of two the union.
    pub(super) allocated: Clusters,
}

/// The label in the root folder, as far as it is at its start.
pub(super) fn label(volume: &dyn ReadAt, boot: &BootSector) -> Result<Option<String>, FormatError> {
    const READ_MAX: u64 = 1 << 20;
    let mut table = Table::open(volume, boot)?;
    let (mut parser, mut items) = (Parser::default(), Vec::new());
    let (mut cluster, mut left) = (Some(boot.root), READ_MAX);
    while let Some(number) = cluster.filter(|_| left > 0) {
        let extent = Extent::at(boot.cluster_start(number), boot.cluster_bytes.min(left));
        left = left.saturating_sub(extent.len());
        for piece in extent.pieces(PIECE) {
            let step = parse(volume, piece, &mut parser, &mut items, false)?;
            for item in items.drain(..) {
                if let Item::Label(label) = item {
                    return Ok((!label.is_empty()).then_some(label));
                }
            }
            if step == Step::End {
                return Ok(None);
            }
        }
        cluster = table.next(boot, number)?;
    }
    Ok(None)
}

/// Walks through all folders. Behind the end of a folder nothing is expected;
/// if `to_the_last_byte`, that is made sure of.
pub(super) fn walk(
    volume: &dyn ReadAt,
    boot: &BootSector,
    to_the_last_byte: bool,
) -> Result<Found, FormatError> {
    let mut walk = Walk {
        volume,
        boot,
        table: Table::open(volume, boot)?,
        had: Clusters::none(boot)?,
        allocated: Clusters::none(boot)?,
        bitmaps: [None; 2],
        has_upcase: false,
        own: Vec::new(),
        waiting: Vec::new(),
        to_the_last_byte,
    };
    walk.root()?;
    while let Some(folder) = walk.waiting.pop() {
        let runs = walk.claim(&folder, Keep::Runs)?;
        walk.folder(&runs, false)?;
    }
    Ok(Found { had: walk.had, allocated: walk.allocated })
}

/// What is kept of the clusters that are claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    Runs,
}

/// A chain of clusters.
#[derive(Debug, Default)]
struct Chain {
    clusters: u64,
    /// Where they are, if that is kept.
    runs: Vec<Extent>,
}

struct Walk<'a> {
    volume: &'a dyn ReadAt,
    boot: &'a BootSector,
    table: Table<'a>,
    had: Clusters,
    allocated: Clusters,
    bitmaps: [Option<Allocation>; 2],
    has_upcase: bool,
    /// Where the filesystem's own clusters are.
    own: Vec<Extent>,
    waiting: Vec<Allocation>,
    to_the_last_byte: bool,
}

impl Walk<'_> {
    fn root(&mut self) -> Result<(), FormatError> {
        let root = self.chain(self.boot.root, 96, Keep::Runs)?;
        self.own.extend(&root.runs);
        self.folder(&root.runs, true)?;
        for (number, bitmap) in (0..self.boot.fat_count).zip(self.bitmaps) {
            if bitmap.is_none() {
                return Err(FormatError::corrupt(
                    "root folder",
                    self.boot.cluster_start(self.boot.root),
                    format!("allocation bitmap {number}"),
                    "none",
                ));
            }
        }
        if !self.has_upcase {
            let position = self.boot.cluster_start(self.boot.root);
            return Err(FormatError::corrupt("root folder", position, "an up-case table", "none"));
        }
        self.check_own()
    }

    /// The root folder, the up-case table and the bitmaps are in use, or a
    /// bitmap is not this volume's.
    fn check_own(&self) -> Result<(), FormatError> {
        let clusters = |run: &Extent| {
            let first = self.boot.cluster_at(run.start());
            first..first.saturating_add(run.len().checked_div(self.boot.cluster_bytes).unwrap_or(0))
        };
        match self.own.iter().flat_map(clusters).find(|cluster| !self.allocated.contains(*cluster))
        {
            Some(cluster) => Err(FormatError::corrupt(
                "allocation bitmap",
                self.bitmaps.first().copied().flatten().map_or(0, |bitmap| bitmap.position),
                "the root folder, the up-case table and the bitmap itself to be in use",
                format!("cluster {cluster} of them free"),
            )),
            None => Ok(()),
        }
    }

    /// Reads a folder: files are claimed, folders wait for their turn.
    fn folder(&mut self, runs: &[Extent], is_root: bool) -> Result<(), FormatError> {
        let (mut parser, mut items) = (Parser::default(), Vec::new());
        let mut is_first = true;
        for run in runs {
            let head = Extent::at(run.start(), if is_first { FIRST_PIECE } else { 0 });
            let rest = Extent::new(head.end(), run.end());
            is_first = false;
            for piece in std::iter::once(head.intersect(run)).chain(rest.pieces(PIECE)) {
                let whole = self.to_the_last_byte;
                let step = parse(self.volume, piece, &mut parser, &mut items, whole)?;
                for item in items.drain(..) {
                    self.item(item, is_root)?;
                }
                if step == Step::End && !whole {
                    return Ok(());
                }
            }
        }
        parser.end()
    }

    fn item(&mut self, item: Item, is_root: bool) -> Result<(), FormatError> {
        match item {
            Item::File(file) | Item::Extension(file) => self.claim(&file, Keep::Nothing).map(drop),
            Item::Folder(folder) => {
                if self.waiting.len() >= WAITING_MAX {
                    let why = "the exFAT filesystem has more folders than can be kept in mind";
                    return Err(FormatError::unsupported(why));
                }
                self.waiting.push(folder);
                Ok(())
            }
            Item::Label(_) if is_root => Ok(()),
            Item::Bitmap(number, bitmap) if is_root => self.bitmap(number, &bitmap),
            Item::Upcase(checksum, upcase) if is_root => self.upcase(checksum, &upcase),
            Item::Label(_) => Err(not_the_root(0)),
            Item::Bitmap(_, it) | Item::Upcase(_, it) => Err(not_the_root(it.position)),
        }
    }

    fn bitmap(&mut self, flags: u8, bitmap: &Allocation) -> Result<(), FormatError> {
        let position = bitmap.position;
        // The lowest bit says which it is; the others have no meaning yet.
        let slot = self.bitmaps.get_mut(usize::from(flags));
        let slot = slot.filter(|_| u64::from(flags) < self.boot.fat_count);
        match slot {
            Some(slot @ None) => *slot = Some(*bitmap),
            Some(_) => {
                let found = "a second one of the same number";
                return Err(FormatError::corrupt("allocation bitmap", position, "one", found));
            }
            None => {
                let expected = format!("a number below {}", self.boot.fat_count);
                return Err(FormatError::corrupt("BitmapFlags", position, expected, flags));
            }
        }
        let mut own = Clusters::none(self.boot)?;
        let wanted = u64::try_from(own.bytes_mut().len()).unwrap_or(u64::MAX);
        if bitmap.len < wanted {
            let expected = format!("at least {wanted} bytes");
            return Err(FormatError::corrupt(
                "length of the allocation bitmap",
                position.saturating_add(24),
                expected,
                bitmap.len,
            ));
        }
        let runs = self.claim(bitmap, Keep::Runs)?;
        self.own.extend(&runs);
        let start = self.one_run(bitmap, &runs)?;
        self.volume.read_at(start, own.bytes_mut())?;
        self.allocated.unite(&own);
        Ok(())
    }

    fn upcase(&mut self, expected: u32, upcase: &Allocation) -> Result<(), FormatError> {
        let position = upcase.position;
        if std::mem::replace(&mut self.has_upcase, true) {
            let found = "a second one";
            return Err(FormatError::corrupt("up-case table", position, "one", found));
        }
        if !(2..=UPCASE_MAX).contains(&upcase.len) || !upcase.len.is_multiple_of(2) {
            let expected = format!("2 to {UPCASE_MAX} bytes, an even number");
            let offset = position.saturating_add(24);
            return Err(FormatError::corrupt(
                "length of the up-case table",
                offset,
                expected,
                upcase.len,
            ));
        }
        let runs = self.claim(upcase, Keep::Runs)?;
        self.own.extend(&runs);
        let start = self.one_run(upcase, &runs)?;
        let bytes = read_vec(self.volume, start, usize::try_from(upcase.len).unwrap_or(0))?;
        let sum = bytes
            .iter()
            .fold(0_u32, |sum, byte| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
        if sum != expected {
            let (expected, found) = (format!("{sum:#010x}"), format!("{expected:#010x}"));
            let offset = position.saturating_add(4);
            return Err(FormatError::corrupt("TableChecksum", offset, expected, found));
        }
        Ok(())
    }

    /// The start of something that must be in one piece: some systems read the
    /// bitmap and the up-case table without a look at the FAT.
    fn one_run(&self, of: &Allocation, runs: &[Extent]) -> Result<u64, FormatError> {
        match runs {
            [run] => Ok(run.start()),
            _ => Err(FormatError::unsupported(format!(
                "what the root folder has at byte {:#x} is in {} pieces, and not every system \
                 would read it so",
                of.position,
                runs.len()
            ))),
        }
    }

    /// Claims the clusters of a file or folder, and returns where they are if
    /// that is to be kept.
    fn claim(&mut self, wanted: &Allocation, keep: Keep) -> Result<Vec<Extent>, FormatError> {
        let offset = wanted.position.saturating_add(20);
        let first = wanted.first_cluster;
        if first == 0 {
            return match wanted.len {
                0 => Ok(Vec::new()),
                len => Err(FormatError::corrupt("FirstCluster", offset, "a cluster", len)),
            };
        }
        self.check_number(first, offset)?;
        let needed = wanted.len.div_ceil(self.boot.cluster_bytes);
        if !wanted.is_contiguous {
            let chain = self.chain(first, offset, keep)?;
            // More than the length needs is had all the same.
            if chain.clusters < needed {
                return Err(FormatError::corrupt(
                    "chain in the FAT",
                    self.table.position(first),
                    format!("the {needed} clusters of the entry at {:#x}", wanted.position),
                    format!("{} clusters", chain.clusters),
                ));
            }
            return Ok(chain.runs);
        }
        let end = first.saturating_add(needed);
        if needed == 0 || end > self.boot.end_cluster() {
            return Err(FormatError::corrupt(
                "DataLength",
                wanted.position.saturating_add(24),
                format!("1 to {} clusters", self.boot.end_cluster().saturating_sub(first)),
                format!("{needed} clusters"),
            ));
        }
        self.check_kept(needed, offset, keep)?;
        if let Some(taken) = self.had.first_within(first, end) {
            return Err(shared(offset, taken));
        }
        self.had.insert(first, end);
        Ok(vec![Extent::new(self.boot.cluster_start(first), self.boot.cluster_start(end))])
    }

    /// Claims a chain of clusters.
    fn chain(&mut self, first: u64, position: u64, keep: Keep) -> Result<Chain, FormatError> {
        let mut chain = Chain::default();
        let mut next = Some(first);
        let mut position = position;
        while let Some(cluster) = next {
            if self.had.contains(cluster) {
                return Err(shared(position, cluster));
            }
            self.had.insert(cluster, cluster.saturating_add(1));
            chain.clusters = chain.clusters.saturating_add(1);
            self.check_kept(chain.clusters, position, keep)?;
            let extent = Extent::at(self.boot.cluster_start(cluster), self.boot.cluster_bytes);
            match chain.runs.last_mut() {
                _ if keep == Keep::Nothing => {}
                Some(last) if last.end() == extent.start() => {
                    *last = Extent::new(last.start(), extent.end());
                }
                _ => chain.runs.push(extent),
            }
            position = self.table.position(cluster);
            next = self.table.next(self.boot, cluster)?;
        }
        Ok(chain)
    }

    /// What is read has a limit, by the specification for folders.
    fn check_kept(&self, clusters: u64, position: u64, keep: Keep) -> Result<(), FormatError> {
        let bytes = clusters.saturating_mul(self.boot.cluster_bytes);
        if keep == Keep::Runs && bytes > FOLDER_MAX {
            let expected = format!("at most {FOLDER_MAX} bytes");
            return Err(FormatError::corrupt("length of a folder", position, expected, bytes));
        }
        Ok(())
    }

    fn check_number(&self, cluster: u64, position: u64) -> Result<(), FormatError> {
        if self.boot.has(cluster) {
            return Ok(());
        }
        let expected = format!("a cluster from 2 to {}", self.boot.clusters.saturating_add(1));
        Err(FormatError::corrupt("FirstCluster", position, expected, cluster))
    }
}

fn shared(position: u64, cluster: u64) -> FormatError {
    let found = format!("cluster {cluster} again");
    FormatError::corrupt("chain of clusters", position, "clusters that nothing else has", found)
}

fn not_the_root(position: u64) -> FormatError {
    let expected = "files and folders only, outside of the root";
    FormatError::corrupt("folder", position, expected, "an entry of the volume")
}

/// Reads a piece of a folder up to its end, or all of it.
fn parse(
    volume: &dyn ReadAt,
    piece: Extent,
    parser: &mut Parser,
    items: &mut Vec<Item>,
    whole: bool,
) -> Result<Step, FormatError> {
    let bytes = read_vec(volume, piece.start(), usize::try_from(piece.len()).unwrap_or(0))?;
    let mut last = Step::More;
    let mut position = piece.start();
    // The rest of what was read is looked at in any case.
    for entry in bytes.chunks_exact(entry::LEN) {
        if (last == Step::More || whole || entry.u8_at(0) != Some(0))
            && parser.push(entry, position, items)? == Step::End
        {
            last = Step::End;
        }
        position = position.saturating_add(32);
    }
    Ok(last)
}
