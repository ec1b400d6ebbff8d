// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images as local files: written as `NAME.partial`, flushed, and renamed when
//! whole, so that nothing incomplete ever has the name of an image.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, PosixFadviseAdvice, RenameFlags, posix_fadvise, renameat2};
use nix::sys::statvfs::statvfs;

use crate::error::{Context, Error, Result};
use crate::image::format::{SKIPPABLE_MAGIC, TAG_HEAD};
use crate::io::lock;
use crate::units::MIB;

/// How much is written between two hints to the kernel.
const PACE: u64 = 16 * MIB;

/// An image file being written.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    partial: PathBuf,
    position: u64,
    hinted: u64,
}

/// The name of an image while it is not whole.
#[must_use]
pub fn partial_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".partial");
    name.into()
}

impl Partial {
    /// Starts an image that will be called `path`; an older interrupted one is
    /// replaced.
    ///
    /// # Errors
    /// Refused if `path` exists or is being written already.
    pub fn create(path: &Path) -> Result<Self> {
        let file = Self::open(path, true)?;
        file.set_len(0).context(|| format!("emptying {}", partial_path(path).display()))?;
        Ok(Self::at(file, path, 0))
    }

    /// Refuses what [`Partial::create`] would refuse, and changes nothing.
    ///
    /// # Errors
    /// As [`Partial::create`].
    pub fn check(path: &Path) -> Result<()> {
        refuse_existing(path)?;
        if partial_path(path).symlink_metadata().is_ok() {
            Self::open(path, false)?;
        }
        Ok(())
    }

    /// Goes on with an interrupted image at byte `end`; what is behind it is
    /// cut off.
    ///
    /// # Errors
    /// If there is none, or it is being written already.
    pub fn resume(path: &Path, end: u64) -> Result<Self> {
        let mut file = Self::open(path, false)?;
        let name = partial_path(path);
        file.set_len(end).context(|| format!("cutting {}", name.display()))?;
        file.seek(SeekFrom::Start(end))
            .context(|| format!("going to the end of {}", name.display()))?;
        Ok(Self::at(file, path, end))
    }

    fn at(file: File, path: &Path, position: u64) -> Self {
        let partial = partial_path(path);
        Self { file, path: path.to_owned(), partial, position, hinted: position }
    }

    fn open(path: &Path, create: bool) -> Result<File> {
        refuse_existing(path)?;
        let partial = partial_path(path);
        let what = || format!("opening {}", partial.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            // Whatever a link of that name leads to is not ours to overwrite.
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&partial)
            .context(what)?;
        if !is_ours(&file).context(what)? {
            return Err(Error::refused(format!(
                "{} exists and is not an interrupted image",
                partial.display()
            ))
            .hint("choose another name for the image"));
        }
        if !lock(&file) {
            return Err(Error::refused(format!(
                "{} is being written by another dacapo",
                partial.display()
            ))
            .hint("wait for it, or choose another name"));
        }
        Ok(file)
    }

    /// The name while the image is not whole.
    #[must_use]
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Flushes the image to the medium and gives it its name.
    ///
    /// # Errors
    /// If it cannot be flushed, or the name has been taken meanwhile.
    pub fn commit(self) -> Result<()> {
        let name = self.partial.display();
        self.file.sync_all().context(|| format!("flushing {name}"))?;
        rename_new(&self.partial, &self.path)
            .context(|| format!("renaming {name} to {}", self.path.display()))?;
        flush_folder(&self.path)
    }

    /// Starts writing to the medium early and gives memory back: the last
    /// flush is short then, and a large image does not push everything else
    /// out of memory.
    fn pace(&mut self) {
        if self.position.saturating_sub(self.hinted) < PACE {
            return;
        }
        let from = self.hinted.saturating_sub(PACE);
        let (Ok(offset), Ok(len)) = (i64::try_from(from), i64::try_from(self.position - from))
        else {
            return;
        };
        // Only a hint: no matter whether it is heard.
        let _ = posix_fadvise(&self.file, offset, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        self.hinted = self.position;
    }
}

impl Write for Partial {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buf)?;
        self.position += written as u64;
        self.pace();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Gives the interrupted image of `path` another name, with a number, so that a
/// new one does not replace it; gives that back. `None` if there is none, or
/// nothing in it.
///
/// # Errors
/// As [`Partial::create`], and if it cannot be renamed.
pub fn set_aside(path: &Path) -> Result<Option<PathBuf>> {
    let partial = partial_path(path);
    let what = || format!("looking at {}", partial.display());
    match partial.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => {
            if found.context(what)?.len() == 0 {
                return Ok(None);
            }
        }
    }
    Partial::check(path)?;
    let mut numbers = 1..u32::MAX;
    let free = numbers.find_map(|number| {
        let mut name = OsString::from(&partial);
        name.push(format!(".{number}"));
        let name = PathBuf::from(name);
        name.symlink_metadata().is_err().then_some(name)
    });
    let Some(free) = free else { return Ok(None) };
    rename_new(&partial, &free)
        .context(|| format!("renaming {} to {}", partial.display(), free.display()))?;
    flush_folder(&free)?;
    Ok(Some(free))
}

/// The interrupted images of `path` that were set aside, the first ones if there are
/// very many.
#[must_use]
pub fn those_set_aside(path: &Path) -> Vec<PathBuf> {
    const MOST: usize = 100;
    let Some(start) = partial_path(path).file_name().map(OsString::from) else { return Vec::new() };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = names
        .filter_map(|entry| {
            let name = entry.file_name();
            let rest = name.as_encoded_bytes().strip_prefix(start.as_encoded_bytes())?;
            let number = std::str::from_utf8(rest).ok()?.strip_prefix('.')?.parse().ok()?;
            Some((number, folder.join(&name)))
        })
        .collect();
    found.sort();
    found.truncate(MOST);
    found.into_iter().map(|(_, path)| path).collect()
}

/// Brings the name of a file to the medium.
///
/// # Errors
/// If its folder cannot be flushed.
pub(crate) fn flush_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let flush = || File::open(folder)?.sync_all();
    match flush() {
        // Some network filesystems cannot flush a folder.
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
            Err(Error::io(format!("flushing the folder {}", folder.display()), error))
        }
        _ => Ok(()),
    }
}

/// Writes a small file beside others, whole or not at all; one that is there is
/// replaced. What stands at the name that it has until then is removed, never
/// written to: a link or a second name there leads to what is not ours.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let new = partial_path(path);
    let what = || format!("writing {}", new.display());
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context(what);
        }
        _ => {}
    }
    let mut out = BufWriter::new(File::create_new(&new).context(what)?);
    write(&mut out).and_then(|()| out.flush()).context(what)?;
    out.get_ref().sync_all().context(what)?;
    std::fs::rename(&new, path).context(what)?;
    flush_folder(path)
}

/// Renames a file, unless the new name is taken.
///
/// # Errors
/// Refused if it is.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<()> {
    let flags = RenameFlags::RENAME_NOREPLACE;
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, flags) {
        // Filesystems that cannot promise it: a look before is all there is.
        Err(nix::Error::EINVAL | nix::Error::ENOSYS) => {
            refuse_existing(to)?;
            std::fs::rename(from, to).context(|| "renaming".into())
        }
        Err(nix::Error::EEXIST) => refuse_existing(to),
        result => result.map_err(io::Error::from).context(|| "renaming".into()),
    }
}

/// True if a file is empty or begins as an image does.
fn is_ours(file: &File) -> io::Result<bool> {
    let mut start = [0; 16];
    let found = file.metadata()?;
    if !found.is_file() || found.len() == 0 {
        return Ok(found.is_file());
    }
    let len = file.read_at(&mut start, 0)?;
    let image = [&SKIPPABLE_MAGIC.to_le_bytes()[..], &[0; 4], &TAG_HEAD].concat();
    // A save that was killed early may have written less than that.
    Ok((0..len).all(|at| (4..8).contains(&at) || start[at] == image[at]))
}

/// Refuses a name that is taken.
///
/// # Errors
/// Refused, if there is something of that name.
pub fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::refused(format!("{} exists already", path.display()))
        .hint("an image is never overwritten: choose another name, or delete it first"))
}

/// Refuses an image that would be written to a device: source and target are
/// easily given in the wrong order, and "delete it first" is no advice then.
///
/// # Errors
/// Refused, if there is a device or another thing that is no file; usage, if
/// it is an address.
pub fn refuse_device(path: &Path) -> Result<()> {
    let shown = super::shown(path);
    if super::is_address(path) {
        return Err(Error::usage(format!("images are only read from addresses such as {shown}"))
            .hint("give the name of a file or folder, or - to pipe it to another program"));
    }
    let Ok(found) = std::fs::metadata(path) else {
        // A mistyped device must not become a file in memory.
        if path.parent() == Some(Path::new("/dev")) {
            return Err(Error::refused(format!(
                "{shown} does not exist, and is no place for files"
            ))
            .hint("give the name of a file or folder on another disk"));
        }
        return Ok(());
    };
    let kind = found.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(());
    }
    if kind.is_block_device() {
        return Err(Error::refused(format!(
            "an image is written to a file, and {shown} is a device"
        ))
        .hint(
            "give the name of a file or folder on another disk; \
               to copy a disk to a disk, use dacapo clone",
        ));
    }
    Err(Error::refused(format!("an image is written to a file, and {shown} is none"))
        .hint("give the name of a file or folder, or - for standard output"))
}

/// The free bytes of the filesystem that will hold `path`.
///
/// # Errors
/// If its folder does not exist.
pub fn room_at(path: &Path) -> Result<u64> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let found = statvfs(folder)
        .map_err(io::Error::from)
        .context(|| format!("looking at the folder {}", folder.display()))?;
    // The fields' types differ between platforms.
    #[allow(clippy::useless_conversion)]
    Ok(u64::from(found.blocks_available()).saturating_mul(u64::from(found.fragment_size())))
}

/// The part of a file name that a label or model becomes.
fn stem_of(title: &str) -> String {
    let mut stem = String::new();
    for c in title.trim().chars() {
        match c {
            c if c.is_alphanumeric() || c == '.' || c == '_' => stem.push(c),
            _ if stem.ends_with('-') => {}
            _ => stem.push('-'),
        }
    }
    let stem = stem.trim_matches(['-', '.']);
    if stem.is_empty() { "disk".into() } else { stem.into() }
}

/// A file name from a label or model and a date: "studio-pc-2026-11-21.img.zst".
/// A number is added if there is one already.
#[must_use]
pub fn default_name(folder: &Path, title: &str, date: &str) -> PathBuf {
    let stem = stem_of(title);
    let name = |number: u32| match number {
        1 => folder.join(format!("{stem}-{date}.img.zst")),
        number => folder.join(format!("{stem}-{date}-{number}.img.zst")),
    };
    (1..u32::MAX).map(name).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| name(1))
}

/// The name of the latest interrupted image in a folder that was named after
/// this label or model, whatever the date.
#[must_use]
pub fn find_interrupted(folder: &Path, title: &str) -> Option<PathBuf> {
    let start = format!("{}-", stem_of(title));
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let image = name.strip_suffix(".partial")?;
            let date = image.strip_prefix(&start)?.strip_suffix(".img.zst")?;
            date.starts_with(|c: char| c.is_ascii_digit()).then(|| image.to_owned())
        })
        .collect();
    found.sort();
    found.pop().map(|name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_set_aside_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.img.zst");
        assert!(those_set_aside(&path).is_empty());
        for other in ["b.img.zst.partial.1", "a.img.zst.partial.old", "a.img.zst.partial.7.map"] {
            std::fs::write(folder.path().join(other), b"x").unwrap();
        }
        let start = [&SKIPPABLE_MAGIC.to_le_bytes()[..], &[0; 4], &TAG_HEAD].concat();
        let set = || {
            std::fs::write(partial_path(&path), &start).unwrap();
            set_aside(&path).unwrap().unwrap()
        };
        let aside: Vec<PathBuf> = (0..11).map(|_| set()).collect();
        assert_eq!(those_set_aside(&path), aside);
    }

    #[test]
    fn a_file_is_replaced_and_nothing_that_a_planted_name_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (mine, path) = (at("mine"), at("a.map"));
        std::fs::write(&mine, "mine").unwrap();
        std::fs::write(&path, "old").unwrap();
        let new = partial_path(&path);
        let plants: [&dyn Fn(); 3] = [
            &|| std::os::unix::fs::symlink(&mine, &new).unwrap(),
            &|| std::fs::hard_link(&mine, &new).unwrap(),
            &|| std::fs::write(&new, "a longer one that was interrupted").unwrap(),
        ];
        for plant in plants {
            plant();
            replace(&path, |out| out.write_all(b"new")).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
            assert_eq!(std::fs::read(&mine).unwrap(), b"mine");
            assert!(new.symlink_metadata().is_err());
            assert!(path.symlink_metadata().unwrap().is_file());
        }
        // What cannot be written leaves the old one.
        assert!(replace(&path, |_| Err(io::Error::other("full"))).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        std::fs::remove_file(&new).unwrap();
        std::fs::create_dir(&new).unwrap();
        assert!(replace(&path, |_| Ok(())).is_err());
    }

    #[test]
    fn an_interrupted_image_is_set_aside_under_a_name_that_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.img.zst");
        assert_eq!(set_aside(&path).unwrap(), None);
        drop(Partial::create(&path).unwrap());
        assert_eq!(set_aside(&path).unwrap(), None);
        let start = [&SKIPPABLE_MAGIC.to_le_bytes()[..], &[0; 4], &TAG_HEAD].concat();
        for number in 1..3 {
            std::fs::write(partial_path(&path), &start).unwrap();
            let aside = set_aside(&path).unwrap().unwrap();
            assert_eq!(aside, folder.path().join(format!("a.img.zst.partial.{number}")));
            assert_eq!(std::fs::read(&aside).unwrap(), start);
            assert!(!partial_path(&path).exists());
        }
        std::fs::write(partial_path(&path), b"a song").unwrap();
        assert!(set_aside(&path).is_err());
        assert!(partial_path(&path).exists());
        std::fs::write(partial_path(&path), &start).unwrap();
        let _busy = Partial::resume(&path, 16).unwrap();
        assert!(set_aside(&path).is_err(), "it is being written");
    }

    #[test]
    fn an_image_has_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.img.zst");
        let mut partial = Partial::create(&path).unwrap();
        let start = [&SKIPPABLE_MAGIC.to_le_bytes()[..], &[0; 4], &TAG_HEAD].concat();
        partial.write_all(&start).unwrap();
        partial.write_all(b"first").unwrap();
        assert!(!path.exists());
        assert!(Partial::create(&path).is_err(), "two writers of one image");
        drop(partial);
        let mut partial = Partial::resume(&path, 18).unwrap();
        partial.write_all(b"nal").unwrap();
        partial.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[16..], *b"final");
        assert!(!partial_path(&path).exists());
        let error = Partial::create(&path).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Refused);
    }

    #[test]
    fn nothing_else_is_taken_for_an_interrupted_image() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.img.zst");
        let partial = partial_path(&path);
        std::fs::write(&partial, b"the only copy of a disk").unwrap();
        assert_eq!(Partial::create(&path).unwrap_err().kind(), crate::error::ErrorKind::Refused);
        assert!(Partial::resume(&path, 0).is_err());
        assert_eq!(std::fs::read(&partial).unwrap(), b"the only copy of a disk");
        // A link, even to nothing worth keeping, is not followed.
        std::fs::remove_file(&partial).unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, b"").unwrap();
        std::os::unix::fs::symlink(&victim, &partial).unwrap();
        assert!(Partial::create(&path).is_err());
        // What began as an image may be replaced, however short it is.
        std::fs::remove_file(&partial).unwrap();
        for len in [0, 3, 7, 12, 16] {
            let image = [&SKIPPABLE_MAGIC.to_le_bytes()[..], &[9; 4], &TAG_HEAD, b"more"].concat();
            std::fs::write(&partial, &image[..len]).unwrap();
            drop(Partial::create(&path).unwrap());
        }
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.img.zst");
        let partial = Partial::create(&path).unwrap();
        std::fs::write(&path, b"precious").unwrap();
        assert_eq!(partial.commit().unwrap_err().kind(), crate::error::ErrorKind::Refused);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn names_are_made_of_what_people_write() {
        let folder = tempfile::tempdir().unwrap();
        let name = default_name(folder.path(), "  Studio PC / before: update ", "2026-11-21");
        assert_eq!(name.file_name().unwrap(), "Studio-PC-before-update-2026-11-21.img.zst");
        std::fs::write(&name, b"").unwrap();
        let next = default_name(folder.path(), "Studio PC before update", "2026-11-21");
        assert_eq!(next.file_name().unwrap(), "Studio-PC-before-update-2026-11-21-2.img.zst");
        for partial in ["Studio-PC-2026-11-20.img.zst", "Studio-PC-2026-11-19.img.zst", "x"] {
            std::fs::write(folder.path().join(format!("{partial}.partial")), b"").unwrap();
        }
        let found = find_interrupted(folder.path(), "Studio PC").unwrap();
        assert_eq!(found.file_name().unwrap(), "Studio-PC-2026-11-20.img.zst");
        assert_eq!(find_interrupted(folder.path(), "Studio"), None);
        let empty = default_name(folder.path(), "../..", "2026-11-21");
        assert_eq!(empty.file_name().unwrap(), "disk-2026-11-21.img.zst");
    }
}
