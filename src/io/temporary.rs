// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files without a name: whatever happens, they are gone when the program is.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// Where what is written is kept if nobody says otherwise: TMPDIR, or where there
/// is much room and not in memory.
#[must_use]
pub fn scratch_folder() -> PathBuf {
    let chosen = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    let large = Path::new("/var/tmp");
    match chosen {
        Some(folder) => folder.into(),
        None if large.is_dir() => large.to_owned(),
        None => std::env::temp_dir(),
    }
}

/// A file in `folder` that nobody else can open and that is gone when it is
/// closed. Where the filesystem cannot make one without a name, it has one for
/// a moment.
///
/// # Errors
/// If there is no such folder, or no file can be made in it.
pub fn unnamed_file(folder: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    let made = options.clone().custom_flags(OFlag::O_TMPFILE.bits()).open(folder);
    // What kernels and filesystems without O_TMPFILE say (open(2), NOTES).
    match made.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL | libc::ENOENT) if folder.is_dir() => {
            named_for_a_moment(&mut options, folder)
        }
        _ => made,
    }
}

fn named_for_a_moment(options: &mut std::fs::OpenOptions, folder: &Path) -> io::Result<File> {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let path = folder.join(format!(".dacapo-{}-{now}", std::process::id()));
    // It fails if anything has that name, a link included.
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_has_no_name_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = File::options();
        options.read(true).write(true).mode(0o600);
        for made in [unnamed_file(folder.path()), named_for_a_moment(&mut options, folder.path())] {
            let mut file = made.unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
            file.write_all(b"kept").unwrap();
            file.rewind().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "kept");
        }
        let missing = unnamed_file(&folder.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(unnamed_file(Path::new("/dev/null")).is_err());
    }
}
