// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of a node, as the kernel wants it.

use std::time::{SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::fs::files::{Attributes, NodeKind};

/// What is shown where a filesystem keeps nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    /// Whoever mounts.
    pub(super) user: u32,
    pub(super) group: u32,
    /// When the disk was saved.
    pub(super) time: SystemTime,
}

impl Own {
    pub(super) fn current(time: SystemTime) -> Self {
        let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
        Self { user: user.as_raw(), group: group.as_raw(), time }
    }
}

/// The attributes of something that we show by ourselves.
pub(super) fn ours(number: u64, kind: FileType, size: u64, perm: u16, own: Own) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: own.time,
        mtime: own.time,
        ctime: own.time,
        crtime: own.time,
        kind,
        perm,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid: own.user,
        gid: own.group,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// What the kernel calls a kind of node. What has no name there is shown as a
/// file, which cannot be opened.
pub(super) fn kind(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File | NodeKind::Other(_) => FileType::RegularFile,
        NodeKind::Folder => FileType::Directory,
        NodeKind::Link => FileType::Symlink,
        NodeKind::Device { is_block: true, .. } => FileType::BlockDevice,
        NodeKind::Device { is_block: false, .. } => FileType::CharDevice,
        NodeKind::Pipe => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
    }
}

/// The attributes of a node. Where a filesystem has no modes, all may be read.
pub(super) fn of_node(number: u64, node: &Attributes, own: Own, has_local_times: bool) -> FileAttr {
    let time = |kept: Option<Timestamp>| {
        kept.map(|kept| SystemTime::from(if has_local_times { here(kept) } else { kept }))
    };
    let kind = kind(node.kind);
    let default = match kind {
        FileType::Directory => 0o555,
        FileType::Symlink => 0o777,
        _ => 0o444,
    };
    let mode = node.mode.unwrap_or(default) & 0o7777;
    let perm = u16::try_from(mode).unwrap_or(default as u16);
    let (user, group) = node.owner.unwrap_or((own.user, own.group));
    let modified = time(node.times.modified).unwrap_or(UNIX_EPOCH);
    FileAttr {
        blocks: node.allocated.unwrap_or(node.size).div_ceil(512),
        mtime: modified,
        atime: time(node.times.accessed).unwrap_or(modified),
        ctime: time(node.times.changed).unwrap_or(modified),
        crtime: time(node.times.created).unwrap_or(modified),
        nlink: node.links.max(1),
        uid: user,
        gid: group,
        rdev: match node.kind {
            NodeKind::Device { major, minor, .. } => device_number(major, minor),
            _ => 0,
        },
        ..ours(number, kind, node.size, perm, own)
    }
}

/// When the clock of this machine showed what a clock of UTC shows at `time`.
fn here(time: Timestamp) -> Timestamp {
    let shown = TimeZone::UTC.to_datetime(time);
    shown.to_zoned(TimeZone::system()).map_or(time, |zoned| zoned.timestamp())
}

/// As the kernel puts a device number in 32 bits (`new_encode_dev` in its
/// include/linux/kdev_t.h): 12 bits of major in the middle, 20 of minor around.
fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::files::Times;

    #[test]
    fn what_a_filesystem_does_not_keep_is_filled_in() {
        let own = Own { user: 1000, group: 100, time: UNIX_EPOCH };
        let mut node = Attributes {
            kind: NodeKind::File,
            size: 1025,
            allocated: None,
            times: Times { modified: Timestamp::from_second(-5).ok(), ..Times::default() },
            mode: None,
            owner: None,
            links: 0,
            dos: None,
        };
        let attr = of_node(7, &node, own, false);
        assert_eq!((attr.perm, attr.uid, attr.gid, attr.nlink), (0o444, 1000, 100, 1));
        assert_eq!((attr.size, attr.blocks, attr.kind), (1025, 3, FileType::RegularFile));
        assert_eq!(attr.atime, UNIX_EPOCH - std::time::Duration::from_secs(5));
        node.kind = NodeKind::Folder;
        assert_eq!(of_node(7, &node, own, false).perm, 0o555);
        node.mode = Some(0o104_755);
        node.owner = Some((0, 5));
        let attr = of_node(7, &node, own, false);
        assert_eq!((attr.perm, attr.uid, attr.gid), (0o4755, 0, 5));
    }

    #[test]
    fn device_numbers_are_those_of_the_kernel() {
        assert_eq!(device_number(8, 1), 0x801);
        assert_eq!(device_number(259, 0x12345), 0x1231_0345);
    }
}
