// SPDX-License-Identifier: MIT OR Apache-2.0
//! The EFI system partition: a FAT filesystem from which the firmware loads
//! the first program.
//!
//! Files are read and written by the `fatfs` crate over memory: whatever it
//! changes is first seen as sectors, checked, and then written in an order in
//! which a power cut leaves the filesystem whole.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use fatfs::{Date, DateTime, Dir, FileSystem, FsOptions, Time, TimeProvider};

use super::disk::Piece;
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::fs::Filesystem;
use crate::fs::fat::Fat;
use crate::io::{Overlay, ReadAt, Window, WriteAt, read_vec};
use crate::ondisk::Fields;
use crate::table::{Partition, PartitionTable};
use crate::units::MIB;

/// How much of a volume is kept in memory at most.
const KEPT: u64 = 96 * MIB;
/// How many reads a hostile volume can cause: a folder whose clusters form a
/// ring has no end.
const MOST_READS: u64 = 4_000_000;
/// How many names of a folder are looked at.
const MOST_NAMES: usize = 4096;
/// The largest file that is copied; loaders have one to three MiB.
pub(super) const MOST_BYTES: u64 = 24 * MIB;

/// The types of EFI system partitions in a GPT and an MBR.
const ESP_TYPES: [&str; 2] = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "ef"];

/// True for the entry of an EFI system partition.
pub(super) fn is_esp(table: &PartitionTable, partition: &Partition) -> bool {
    matches!(table.kind, "GPT" | "MBR") && ESP_TYPES.contains(&partition.type_id.as_str())
}

type Bytes<'a> = Overlay<Window<&'a dyn ReadAt>>;

/// An EFI system partition, with changes that are only in memory.
pub(super) struct Esp<'a> {
    bytes: Arc<Bytes<'a>>,
    volume: FileSystem<Stream<'a>>,
}

impl<'a> Esp<'a> {
    /// Opens the volume of a partition.
    ///
    /// # Errors
    /// If it is no FAT filesystem, or cannot be read.
    pub(super) fn open(disk: &'a dyn ReadAt, extent: Extent) -> Result<Self> {
        let window = Window::new(disk, extent);
        if Fat.probe(&[&window])?.is_none() {
            return Err(Error::unsupported("it holds no FAT filesystem"));
        }
        let bytes = Arc::new(Overlay::new(window, KEPT));
        let stream = Stream { bytes: Arc::clone(&bytes), position: 0, reads_left: MOST_READS };
        let options = FsOptions::new().update_accessed_date(false).time_provider(&FirstDay);
        let volume = FileSystem::new(stream, options).context(|| "reading its FAT".into())?;
        Ok(Self { bytes, volume })
    }

    /// The names in a folder, folders first told apart by `true`; none if it
    /// is not there.
    pub(super) fn names(&self, folder: &str) -> Result<Vec<(String, bool)>> {
        let root = self.volume.root_dir();
        let Some(found) = present(root.open_dir(folder))? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in found.iter().take(MOST_NAMES) {
            let entry = entry.context(|| format!("reading the folder {folder}"))?;
            let name = entry.file_name();
            if name != "." && name != ".." && !name.contains(char::is_control) {
                names.push((name, entry.is_dir()));
            }
        }
        names.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        Ok(names)
    }

    /// The content of a file, if it is there and no longer than `most`.
    pub(super) fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let root = self.volume.root_dir();
        let Some(file) = present(root.open_file(path))? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(most.saturating_add(1))
            .read_to_end(&mut content)
            .context(|| format!("reading {path}"))?;
        if content.len() as u64 > most {
            return Err(Error::failed(format!("{path} is longer than {most} bytes")));
        }
        Ok(Some(content))
    }

    /// True if there is a file of this path.
    pub(super) fn has(&self, path: &str) -> Result<bool> {
        Ok(present(self.volume.root_dir().open_file(path))?.is_some())
    }

    /// True if the file begins as a program for UEFI does.
    pub(super) fn is_program(&self, path: &str) -> Result<bool> {
        let root = self.volume.root_dir();
        let Some(file) = present(root.open_file(path))? else { return Ok(false) };
        let mut start = Vec::new();
        file.take(2).read_to_end(&mut start).context(|| format!("reading {path}"))?;
        Ok(start == *b"MZ")
    }

    /// Makes a file of this content, and the folders it is in; in memory.
    ///
    /// # Errors
    /// If the volume is full.
    pub(super) fn create(&self, path: &str, content: &[u8]) -> Result<()> {
        let what = || format!("making {path}");
        let root = self.volume.root_dir();
        let mut folder: Dir<'_, Stream<'a>> = root;
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder = match present(folder.open_dir(part))? {
                Some(found) => found,
                None => {
                    let made = folder.create_dir(part).context(what)?;
                    self.shorten_dots()?;
                    made
                }
            };
        }
        let mut file = folder.create_file(name).context(what)?;
        file.truncate().context(what)?;
        file.write_all(content).context(what)?;
        file.flush().context(what)
    }

    /// The crate gives the entries `.` and `..` of a new folder long names as
    /// well, which checkers take for damage: only the short ones are kept.
    fn shorten_dots(&self) -> Result<()> {
        const ENTRY: usize = 32;
        const DOTS: [(usize, &[u8; 11]); 2] =
            [(ENTRY, b".          "), (3 * ENTRY, b"..         ")];
        for (position, bytes) in self.bytes.changes()? {
            for (at, sector) in (position..).step_by(512).zip(bytes.chunks(512)) {
                let has_long = |entry: usize| sector.u8_at(entry + 11) == Some(0x0f);
                let is_dot =
                    |(at, name): (usize, &[u8; 11])| sector.array(at).as_ref() == Some(name);
                if has_long(0) && has_long(2 * ENTRY) && DOTS.into_iter().all(is_dot) {
                    let short =
                        [&sector[ENTRY..2 * ENTRY], &sector[3 * ENTRY..4 * ENTRY], &[0; 2 * ENTRY]];
                    self.bytes.write_at(at, &short.concat())?;
                }
            }
        }
        Ok(())
    }

    /// The sectors that were changed, in the order in which they are to be
    /// written, with positions on the disk. Each part has to be on the medium
    /// before the next: content that nothing points to yet, then the table of
    /// clusters, then the folders.
    ///
    /// # Errors
    /// If the filesystem was not unmounted or is not understood; what is free
    /// on it is then not certain. If it would not be whole afterwards.
    pub(super) fn changes(self, extent: Extent) -> Result<[Vec<Piece>; 3]> {
        let Self { bytes, volume } = self;
        volume.unmount().context(|| "finishing the FAT".into())?;
        let bytes = Arc::try_unwrap(bytes).map_err(|_| Error::failed("the FAT is still open"))?;
        let after = used(&bytes).context(|| "after the change".into())?;
        let changes = bytes.changes()?;
        let window = bytes.into_inner();
        let before = used(&window)?;
        let tables_end = end_of_tables(&window)?;
        let mut parts: [Vec<Piece>; 3] = Default::default();
        for (position, content) in changes {
            for (sector, part) in (position..).step_by(512).zip(content.chunks(512)) {
                let range = Extent::at(sector, part.len() as u64);
                let part_of = if sector < tables_end {
                    1
                } else if before.touches(range) {
                    2
                } else if after.covers(range) {
                    0
                } else {
                    return Err(Error::failed(format!("the change at {range} is nobody's")));
                };
                let at = extent.start() + sector;
                match parts[part_of].last_mut() {
                    Some((start, bytes)) if *start + bytes.len() as u64 == at => {
                        bytes.extend_from_slice(part);
                    }
                    _ => parts[part_of].push((at, part.to_vec())),
                }
            }
        }
        Ok(parts)
    }
}

/// What of a FAT volume is in use, if that is certain.
fn used(volume: &dyn ReadAt) -> Result<ExtentSet> {
    let used = Fat.used(&[volume])?;
    match used.whole {
        None => Ok(used.extents),
        Some(why) => Err(Error::refused(format!("what is free on it is not certain: {why}"))
            .hint("check it first, with fsck.vfat or by starting its system from another entry")),
    }
}

/// The byte behind the last table of clusters.
fn end_of_tables(volume: &dyn ReadAt) -> Result<u64> {
    let sector = read_vec(volume, 0, 512)?;
    let short = || Error::damaged("the boot sector of the FAT ends early");
    let field = |offset: usize| sector.u16_le(offset).map(u64::from).ok_or_else(short);
    let count = u64::from(sector.u8_at(0x10).ok_or_else(short)?);
    let mut len = field(0x16)?;
    if len == 0 {
        len = u64::from(sector.u32_le(0x24).ok_or_else(short)?);
    }
    let sectors = len.saturating_mul(count).saturating_add(field(0x0e)?);
    Ok(sectors.saturating_mul(field(0x0b)?))
}

/// The first day that FAT knows: the clock of a rescue system may be wrong, and
/// the same repair gives the same bytes.
#[derive(Debug)]
struct FirstDay;

impl TimeProvider for FirstDay {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime {
            date: self.get_current_date(),
            time: Time { hour: 0, min: 0, sec: 0, millis: 0 },
        }
    }
}

/// `None` for a file or folder that is not there.
fn present<T>(found: io::Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // A file where a folder should be, or the other way round.
        Err(error) if error.kind() == io::ErrorKind::Other && error.raw_os_error().is_none() => {
            Ok(None)
        }
        Err(error) => Err(error).context(|| "reading a folder".into()),
    }
}

/// The volume as a stream with a position, as the FAT crate wants it.
struct Stream<'a> {
    bytes: Arc<Bytes<'a>>,
    position: u64,
    reads_left: u64,
}

impl Stream<'_> {
    /// The part of a request that is inside of the volume.
    fn clip(&self, len: usize) -> usize {
        let left = self.bytes.len().saturating_sub(self.position);
        usize::try_from(left).unwrap_or(usize::MAX).min(len)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads_left = self.reads_left.checked_sub(1).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "its folders or files have no end")
        })?;
        let len = self.clip(buf.len());
        self.bytes.read_at(self.position, &mut buf[..len]).map_err(to_io)?;
        self.position += len as u64;
        Ok(len)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = self.clip(buf.len());
        self.bytes.write_at(self.position, &buf[..len]).map_err(to_io)?;
        self.position += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Stream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.bytes.len().checked_add_signed(by),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

fn to_io(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use fatfs::{FatType, FormatVolumeOptions, format_volume};
    use proptest::prelude::{ProptestConfig, any, proptest};

    use super::*;
    use crate::io::Memory;
    use crate::repair::loader::{fallback_files, loaders};

    /// A volume with two loaders.
    fn volume(width: FatType, len: usize) -> Vec<u8> {
        let mut disk = Cursor::new(vec![0; len]);
        let options = FormatVolumeOptions::new().fat_type(width).bytes_per_cluster(512);
        format_volume(&mut disk, options).unwrap();
        disk.set_position(0);
        {
            let volume = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
            let root = volume.root_dir();
            for path in ["EFI/debian/shimx64.efi", "EFI/debian/grubx64.efi"] {
                root.create_dir("EFI").unwrap().create_dir("debian").unwrap();
                root.create_file(path)
                    .unwrap()
                    .write_all(&[b"MZ", &[7; 3000][..]].concat())
                    .unwrap();
            }
        }
        disk.into_inner()
    }

    /// All that the steps do with a volume, without writing.
    fn used_up(bytes: Vec<u8>) -> Result<usize> {
        let disk = Memory::new(bytes);
        let extent = Extent::new(0, disk.len());
        let esp = Esp::open(&disk, extent)?;
        let Some(loader) = loaders(&esp, "x64")?.into_iter().next() else { return Ok(0) };
        for (_, to, content) in fallback_files(&esp, &loader, "x64")? {
            esp.create(&to, &content)?;
        }
        Ok(esp.changes(extent)?.iter().map(Vec::len).sum())
    }

    #[test]
    fn every_width_is_read_and_written() {
        for (width, len) in
            [(FatType::Fat12, 1 << 20), (FatType::Fat16, 4 << 20), (FatType::Fat32, 40 << 20)]
        {
            assert!(used_up(volume(width, len)).unwrap() > 2, "{width:?}");
        }
    }

    #[test]
    fn a_folder_without_an_end_is_an_error() {
        let good = volume(FatType::Fat16, 4 << 20);
        let boot = &good[..512];
        let reserved = usize::from(boot.u16_le(0x0e).unwrap());
        let mut bytes = good.clone();
        // Each cluster of the first ones is followed by itself.
        for cluster in 2..12_u16 {
            let at = reserved * 512 + usize::from(cluster) * 2;
            bytes[at..at + 2].copy_from_slice(&cluster.to_le_bytes());
        }
        // No end mark either: all entries of the folder are in use.
        let name = bytes.windows(11).position(|name| name == b"DEBIAN     ").unwrap();
        let folder = name - name % 512;
        for entry in bytes[folder..folder + 512].chunks_mut(32).filter(|entry| entry[0] == 0) {
            entry[..12].copy_from_slice(b"FILLER  BIN\x20");
        }
        let error = used_up(bytes).unwrap_err().to_string();
        assert!(error.contains("have no end"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]
        #[test]
        fn damage_is_an_answer_and_never_a_panic(
            changes in proptest::collection::vec((0..1_usize << 16, any::<u8>()), 1..6),
            in_start in any::<bool>(),
        ) {
            let mut bytes = volume(FatType::Fat16, 4 << 20);
            for (at, value) in changes {
                // The boot sector has most to say, and so gets half of them.
                bytes[if in_start { at % 512 } else { at }] = value;
            }
            let _: Result<usize> = used_up(bytes);
        }
    }
}
