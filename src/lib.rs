// SPDX-License-Identifier: MIT OR Apache-2.0
//! dacapo saves a whole disk to an ordinary `.zst` file and restores it
//! exactly.
//!
//! This page is the map. A floor uses itself and those above it, never one
//! below.
//!
//! # Words
//!
//! Each means one thing everywhere, in the code as on the command line.
//!
//! - *disk*: a block device, or a file or image that stands for one; also a
//!   partition that is saved alone
//! - *sector*: the unit in which a disk counts, 512 or 4096 bytes
//! - *partition*: a range of a disk with an entry in its *table*
//! - *volume*: the bytes that one filesystem may fill: a partition, a
//!   disk, or a logical volume
//! - *filesystem*: what fills a volume; swap, RAID members and encrypted
//!   volumes count as such here
//! - *extent*: a range of bytes; *used map*: the extents that have to be stored
//! - *region*: a range of a disk with one reason for being stored: a table, a
//!   partition, a gap
//! - *image*: the file that a disk is saved to; *store*: where images are kept
//! - *chunk*: a piece of the disk on a fixed grid; *frame*: what a chunk is
//!   stored as; *entry*: a chunk, or a run of zero chunks, in an image
//! - *source*: what is read; *target*: what is overwritten
//! - *loss*: a range of the source that could not be read
//! - *plan*: what a job is going to do, made before it does anything
//! - *stored whole*: without a used map, for a reason that is shown
//!
//! # Modules
//!
//! Words, without any input or output:
//!
//! - [`error`]: the one error type, its kinds and their exit codes
//! - [`units`]: sizes as people write them, and the size of a sector
//! - [`extent`]: byte ranges and sets of them
//! - [`ondisk`]: fields at an offset of a slice, checked
//! - [`progress`]: what a running job tells
//! - [`pipeline`]: jobs in order, worked on by several threads, consumed in order
//!
//! Bytes:
//!
//! - [`io`]: everything that can be read or written at a position
//! - [`device`]: disks: what there is, who uses it, sources and targets
//!
//! Understanding a disk:
//!
//! - [`table`]: partition tables
//! - [`volume`]: volumes that hold others: what is inside, and where
//! - [`fs`]: filesystems: who one is, and which of its bytes are in use
//! - [`layout`]: what is where on a disk, and why it is stored
//!
//! The image:
//!
//! - [`image`]: the file format, its writer and its readers
//! - [`store`]: where images are kept
//! - [`network`]: an address in the rescue system, and folders of other machines
//! - [`media`]: attached drives: which images are on them, where is room for one
//!
//! Jobs, each of which makes a plan and then runs it:
//!
//! - [`save`]: a disk to an image
//! - [`import`]: disks out of what other tools have saved
//! - [`qemu_img`]: another program, for the disks of virtual machines, in and out
//! - [`restore`]: an image, or another disk, to a disk
//! - [`verify`]: is all in an image good?
//! - [`compare`]: is a disk what an image says?
//! - [`repair`]: what a restored machine may need beyond its exact bytes
//! - [`nbd`]: an image as a block device, for programs that know nothing of images
//! - [`export`]: an image as a file for virtual machines and other programs
//! - [`rescue`]: the medium that starts a machine without a system
//! - [`browse`]: the volumes and files inside of an opened disk or image
//! - [`mount`]: an opened disk or image as a folder, for every other program
//! - [`disc`]: optical discs as files, and their catalogue
//! - [`job`]: these from end to end, in the order that safety demands
//!
//! People:
//!
//! - [`cmd`]: the commands, and everything that is printed
//! - [`tui`]: the screens, which do the same for those who do not know commands
//!
//! # How data flows
//!
//! ```text
//! SAVE      device::Source -> layout::scan -> used map -> save::Plan, shown
//!           Source -> chunks -> threads: zero? hash, compress
//!                                            -> image::Writer -> store::Partial
//!
//! RESTORE   image::Reader or Stream -> restore::Plan, shown and confirmed
//!           restore::Feed -> threads: unpack, check hash -> device::Target,
//!           read back and compared; the ends of the disk last
//!
//! CLONE     as RESTORE, but the feed is another disk and the plan of a save
//!
//! READ      image::Reader is io::ReadAt, as a disk is:
//!           verify, compare, info and map read either
//! ```
//!
//! # To add something
//!
//! A filesystem is a file in `fs` and a line in [`fs::FILESYSTEMS`]; a
//! partition table one in `table` and a line in [`table::TABLES`]; a kind of
//! volume that holds others one in `volume` and a line in [`volume::VOLUMES`]; a
//! command one in `cmd` and an arm in its `match`. Tests walk these lists.

pub mod browse;
pub mod cmd;
pub mod compare;
pub mod device;
pub mod disc;
pub mod error;
pub mod export;
pub mod extent;
pub mod fs;
pub mod image;
pub mod import;
pub mod io;
pub mod job;
pub mod layout;
pub mod media;
pub mod mount;
pub mod nbd;
pub mod network;
pub mod ondisk;
pub mod pipeline;
pub mod progress;
pub mod qemu_img;
pub mod repair;
pub mod rescue;
pub mod restore;
pub mod save;
pub mod store;
pub mod table;
pub mod tui;
pub mod units;
pub mod verify;
pub mod volume;
