// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shared libraries of the few programs that are not static.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::elf::Elf;
use super::tree::Tree;
use crate::error::{Context, Error, Result};

/// Where Debian's packages have them.
const FOLDERS: [&str; 4] =
    ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64"];

/// The loader has its place in the programs.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Reads a file of the unpacked packages, whatever links lead to it, and
/// nothing outside of them.
///
/// # Errors
/// If it is not there, or a link leads out of the folder.
pub(super) fn read_inside(root: &Path, path: &Path) -> Result<Vec<u8>> {
    let real =
        path.canonicalize().context(|| format!("looking for {} in its package", path.display()))?;
    if !real.starts_with(root) {
        return Err(Error::failed(format!("{} leads out of its package", path.display())));
    }
    std::fs::read(&real).context(|| format!("reading {}", real.display()))
}

/// Adds the libraries that `programs` need, and those that these need.
///
/// # Errors
/// If one is in none of the packages.
pub(super) fn add(tree: &mut Tree, root: &Path, programs: &[(&str, Vec<u8>)]) -> Result<()> {
    let mut left: Vec<(String, String)> = Vec::new();
    for (name, bytes) in programs {
        let elf = Elf::new(bytes, name)?;
        if !elf.is_static() {
            left.push((LOADER.into(), (*name).to_owned()));
            left.extend(elf.needed().into_iter().map(|library| (library, (*name).to_owned())));
        }
    }
    let mut seen = BTreeSet::new();
    while let Some((library, wanted_by)) = left.pop() {
        if !seen.insert(library.clone()) {
            continue;
        }
        let path = find(root, &library).ok_or_else(|| {
            Error::failed(format!("{wanted_by} needs {library}, which is in none of the packages"))
        })?;
        let bytes = read_inside(root, &path)?;
        let needed = Elf::new(&bytes, &library)?.needed();
        left.extend(needed.into_iter().map(|other| (other, library.clone())));
        let folder = if library == LOADER { "lib64" } else { FOLDERS[0] };
        // The loader refuses nothing without this bit, but people expect it.
        tree.program(&format!("{folder}/{library}"), bytes);
    }
    Ok(())
}

fn find(root: &Path, library: &str) -> Option<PathBuf> {
    // A name from a file must not lead elsewhere.
    if library.contains('/') {
        return None;
    }
    let paths = FOLDERS.iter().map(|folder| root.join(folder).join(library));
    paths.into_iter().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_of_the_packages_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("lib/x86_64-linux-gnu")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("lib/x86_64-linux-gnu/libx.so.1"))
            .unwrap();
        let path = find(&root, "libx.so.1").unwrap();
        let error = read_inside(&root, &path).unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
        assert_eq!(find(&root, "../../etc/passwd"), None);
    }

    #[test]
    fn a_library_that_is_missing_is_named_with_who_needs_it() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let is_static = Elf::new(&program, "it").unwrap().is_static();
        assert!(!is_static, "this test needs to be built with shared libraries");
        let folder = tempfile::tempdir().unwrap();
        let programs = [("resize2fs", program)];
        let error = add(&mut Tree::default(), folder.path(), &programs).unwrap_err();
        assert!(error.to_string().contains("resize2fs needs "), "{error}");
    }
}
