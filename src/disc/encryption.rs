// SPDX-License-Identifier: MIT OR Apache-2.0
//! Films that are encrypted and can be read all the same: AACS, of Blu-ray discs
//! and HD DVDs.
//!
//! Of each aligned unit of a film, 32 packets of 192 bytes, all but the first 16
//! bytes are encrypted. The keys are in the folder `AACS`, encrypted themselves,
//! with the volume ID, which lies outside of all sectors and which a drive gives
//! only to programs that have a licence. A copy is exact, and nobody can play it
//! without that.
//!
//! Sources: AACS "Blu-ray Disc Pre-recorded Book" 0.953, 3.1 and 3.10, as libaacs
//! and others follow it; for HD DVD "HD DVD and DVD Pre-recorded Book", 2.4. That
//! `BDSVM/00000.svm` is BD+ has libbluray (bdplus.c).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};
use crate::fs::files::{Files, Node, NodeKind};
use crate::fs::udf;
use crate::io::ReadAt;

/// What the protection is called.
pub(super) const AACS: &str = "AACS";

/// The size of an aligned unit and of its packets, and where each of these has
/// the byte that a packet is known by (ISO/IEC 13818-1, 2.4.3.2).
const UNIT: usize = 6144;
const PACKET: usize = 192;
const SYNC: (usize, u8) = (4, 0x47);

/// A disc that is looked at before it is read: of one that fails little is asked
/// for, as each attempt may take a drive seconds, and of none without end.
struct Spared<'d> {
    disc: &'d dyn ReadAt,
    /// How many more reads there may be.
    left: AtomicU32,
}

impl Spared<'_> {
    /// Several for each film of a disc with thousands of them.
    const MOST: u32 = 20_000;
    /// As many is one that fails.
    const FAILURE: u32 = Self::MOST / 4;

    /// True if there could be so many more reads.
    fn spend(&self, reads: u32) -> bool {
        let less = |left: u32| Some(left.saturating_sub(reads));
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        left.is_ok_and(|left| left >= reads)
    }
}

impl ReadAt for Spared<'_> {
    fn len(&self) -> u64 {
        self.disc.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if !self.spend(1) {
            return Err(Error::failed("no more of the disc is read to know its protection"));
        }
        self.disc.read_at(offset, buf).inspect_err(|_| _ = self.spend(Self::FAILURE))
    }
}

/// The name of the protection if films of the disc are encrypted: "AACS", or
/// "AACS, BD+". What cannot be read is not known.
pub(super) fn of(disc: &dyn ReadAt) -> Option<String> {
    /// Any of these is there: the media key block and the keys of a Blu-ray disc,
    /// the media key block of an HD DVD.
    const KEYS: [&str; 3] = ["MKB_RO.inf", "Unit_Key_RO.inf", "MKBROM.AACS"];
    let disc = Spared { disc, left: Spared::MOST.into() };
    let files = udf::files_of(Arc::new(disc)).ok()?;
    let files = files.as_ref();
    let root = files.root();
    let folder = inside(files, root, AACS, NodeKind::Folder)?;
    KEYS.iter().find_map(|name| inside(files, folder, name, NodeKind::File))?;
    if is_plain(files, root) == Some(true) {
        return None;
    }
    let programs = inside(files, root, "BDSVM", NodeKind::Folder);
    let is_bd_plus =
        programs.is_some_and(|folder| inside(files, folder, "00000.svm", NodeKind::File).is_some());
    Some(if is_bd_plus { format!("{AACS}, BD+") } else { AACS.to_owned() })
}

fn inside(files: &dyn Files, folder: Node, name: &str, kind: NodeKind) -> Option<Node> {
    let found = files.lookup(folder, name.as_bytes()).ok()??;
    (found.kind == kind).then_some(found.node)
}

/// True if the largest film of a Blu-ray disc is not encrypted, as on a copy by a
/// program that has the keys and has left them there; none if that cannot be
/// told.
fn is_plain(files: &dyn Files, root: Node) -> Option<bool> {
    /// No disc has more films.
    const MOST: usize = 10_000;
    let folder = inside(files, root, "BDMV", NodeKind::Folder)?;
    let folder = inside(files, folder, "STREAM", NodeKind::Folder)?;
    let mut films = Vec::new();
    files
        .list(folder, &mut |entry| {
            films.extend(entry.ok().filter(|it| it.kind == NodeKind::File).map(|it| it.node));
            if films.len() < MOST { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .ok()?;
    let size = |node: Node| files.attributes(node).map_or(0, |known| known.size);
    let (size, film) = films.into_iter().map(|node| (size(node), node)).max()?;
    let units = size / UNIT as u64;
    let mut unit = [0; UNIT];
    for number in [0, units / 2, units.checked_sub(1)?] {
        if files.read_at(film, number * UNIT as u64, &mut unit).ok()? < UNIT {
            return None;
        }
        if unit.chunks(PACKET).any(|packet| packet[SYNC.0] != SYNC.1) {
            return Some(false);
        }
    }
    Some(true)
}
