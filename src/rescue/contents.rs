// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in the rescue system: the two programs, the tools and libraries of
//! the packages, the chosen modules, and the files of `initramfs/skeleton`.

use std::path::{Path, PathBuf};

use super::libraries::{self, read_inside};
use super::modules::{Chosen, Kernel};
use super::packages::PACKAGES;
use super::tool::Tool;
use super::tree::Tree;
use crate::error::{Context, Error, Result};

/// The files that are the same in every rescue system: path, may it be run,
/// content.
const SKELETON: &[(&str, bool, &str)] = &[
    ("etc/group", false, include_str!("../../initramfs/skeleton/etc/group")),
    ("etc/hosts", false, include_str!("../../initramfs/skeleton/etc/hosts")),
    ("etc/nsswitch.conf", false, include_str!("../../initramfs/skeleton/etc/nsswitch.conf")),
    ("etc/passwd", false, include_str!("../../initramfs/skeleton/etc/passwd")),
    ("etc/profile", false, include_str!("../../initramfs/skeleton/etc/profile")),
    (
        "usr/share/udhcpc/default.script",
        true,
        include_str!("../../initramfs/skeleton/usr/share/udhcpc/default.script"),
    ),
];

/// Empty folders that the init program and others expect.
const FOLDERS: [&str; 8] = ["dev", "mnt", "proc", "root", "run", "sys", "tmp", "var"];

/// Commands of busybox that have no place here: it is not the init program,
/// nobody logs in, no service runs, and disks are written by dacapo only.
const LEFT_OUT: [&str; 24] = [
    "acpid", "busybox", "crond", "crontab", "dpkg", "dpkg-deb", "ftpput", "getty", "httpd", "init",
    "linuxrc", "login", "microcom", "mkdosfs", "mke2fs", "mkpasswd", "mkswap", "passwd", "rpm",
    "rpm2cpio", "run-init", "su", "sulogin", "telnetd",
];

/// What goes into the rescue system.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    /// The packages, unpacked into one folder; its real path.
    pub(super) root: &'a Path,
    /// What it is made of, with versions.
    pub(super) list: String,
    pub(super) kernel: &'a Kernel,
    pub(super) version: &'a str,
    pub(super) modules: &'a Chosen,
    pub(super) firmware: Option<&'a Path>,
    pub(super) program: Vec<u8>,
    pub(super) init: Vec<u8>,
}

impl Contents<'_> {
    /// All files of the rescue system.
    ///
    /// # Errors
    /// If one of the packages lacks what is expected in it.
    pub(super) fn into_tree(self) -> Result<Tree> {
        let mut tree = Tree::default();
        for (path, executable, text) in SKELETON {
            if *executable {
                tree.program(path, *text);
            } else {
                tree.file(path, *text);
            }
        }
        for folder in FOLDERS {
            tree.folder(folder);
        }
        // What the kernel opens for the first program, before /dev is there.
        tree.device("dev/console", 5, 1);
        tree.device("dev/null", 1, 3);
        tree.link("usr/bin", "../bin");
        tree.link("usr/sbin", "../sbin");
        self.add_tools(&mut tree)?;
        self.add_modules(&mut tree)?;
        tree.file("etc/ssl/certs/ca-certificates.crt", self.authorities()?);
        tree.file("etc/dacapo/packages.txt", self.list);
        if let Some(folder) = self.firmware {
            add_folder(&mut tree, folder, "lib/firmware", &mut Vec::new())?;
        }
        tree.program("bin/dacapo", self.program);
        tree.program("init", self.init);
        Ok(tree)
    }

    fn add_tools(&self, tree: &mut Tree) -> Result<()> {
        let mut programs = Vec::new();
        for (from, to) in PACKAGES.iter().flat_map(|package| package.files) {
            // Newer releases have everything below usr.
            let candidates = [self.root.join(from), self.root.join("usr").join(from)];
            let path = candidates.iter().find(|path| path.exists()).unwrap_or(&candidates[0]);
            let bytes = read_inside(self.root, path)?;
            tree.program(to, bytes.clone());
            programs.push((*to, bytes));
        }
        libraries::add(tree, self.root, &programs)?;
        tree.link("sbin/mount.ntfs", "ntfs-3g");
        // Of the two that are there, the one that knows soft dependencies.
        tree.link("sbin/modprobe", "/init");
        for (folder, name) in self.commands()? {
            let path = format!("{folder}/{name}");
            let is_known = ["bin", "sbin"].iter().any(|it| tree.has(&format!("{it}/{name}")));
            if !is_known && !LEFT_OUT.contains(&name.as_str()) {
                tree.link(&path, "/bin/busybox");
            }
        }
        Ok(())
    }

    /// The commands of busybox with their folders, as it lists them itself.
    fn commands(&self) -> Result<Vec<(&'static str, String)>> {
        let path = self.root.join("bin/busybox");
        let name = path.to_string_lossy();
        let busybox = Tool { name: &name, package: "busybox-static" };
        let said = busybox.run(&["--list-full".into()], self.root, 0)?;
        let text = String::from_utf8_lossy(&said).into_owned();
        let commands: Vec<_> = text
            .lines()
            .filter_map(|line| line.rsplit_once('/'))
            .map(|(folder, name)| {
                (if folder.ends_with("sbin") { "sbin" } else { "bin" }, name.to_owned())
            })
            .collect();
        for needed in ["sh", "udhcpc", "mount"] {
            if !commands.iter().any(|(_, name)| name == needed) {
                return Err(Error::failed(format!("this busybox has no {needed}")));
            }
        }
        Ok(commands)
    }

    fn add_modules(&self, tree: &mut Tree) -> Result<()> {
        let folder = format!("lib/modules/{}", self.version);
        for module in self.modules.modules.values() {
            tree.file(&format!("{folder}/{}", module.path), module.bytes.clone());
        }
        tree.file(&format!("{folder}/modules.dep"), self.modules.dep_text());
        tree.file(&format!("{folder}/modules.alias"), self.modules.alias_text());
        tree.file(&format!("{folder}/modules.softdep"), self.modules.softdep_text());
        tree.file(&format!("{folder}/modules.builtin"), self.kernel.built_in_text()?);
        Ok(())
    }

    /// The certificates as one file, in the order of their names.
    fn authorities(&self) -> Result<Vec<u8>> {
        let folder = self.root.join("usr/share/ca-certificates/mozilla");
        let doing = || format!("looking through {}", folder.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).context(doing)? {
            files.push(entry.context(doing)?.path());
        }
        files.sort();
        let mut all = Vec::new();
        for file in files.iter().filter(|path| path.extension().is_some_and(|it| it == "crt")) {
            all.extend(read_inside(self.root, file)?);
            if all.last() != Some(&b'\n') {
                all.push(b'\n');
            }
        }
        Ok(all)
    }
}

/// Adds a folder with all that is in it; links are followed, but not to one of
/// the folders `above`.
fn add_folder(tree: &mut Tree, from: &Path, to: &str, above: &mut Vec<PathBuf>) -> Result<()> {
    let doing = || format!("looking through {}", from.display());
    let real = from.canonicalize().context(doing)?;
    if above.contains(&real) {
        return Err(Error::failed(format!("{} leads back to a folder it is in", from.display())));
    }
    above.push(real);
    for entry in std::fs::read_dir(from).context(doing)? {
        let path = entry.context(doing)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let inside = format!("{to}/{name}");
        if path.is_dir() {
            add_folder(tree, &path, &inside, above)?;
        } else {
            tree.file(
                &inside,
                std::fs::read(&path).context(|| format!("reading {}", path.display()))?,
            );
        }
    }
    above.pop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skeleton_has_every_file_of_its_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("initramfs/skeleton");
        let mut tree = Tree::default();
        add_folder(&mut tree, &root, "x", &mut Vec::new()).unwrap();
        for (path, _, text) in SKELETON {
            assert_eq!(std::fs::read_to_string(root.join(path)).unwrap(), *text);
            assert!(tree.has(&format!("x/{path}")));
        }
        let mut files = Tree::default();
        for (path, _, text) in SKELETON {
            files.file(&format!("x/{path}"), *text);
        }
        assert_eq!(tree.len(), files.len(), "a file of the skeleton is not in the list");
    }
    #[test]
    fn links_are_followed_and_rings_of_them_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for inside in ["a", "b"] {
            std::fs::create_dir(root.join(inside)).unwrap();
        }
        std::fs::write(root.join("a/one.bin"), b"1").unwrap();
        std::os::unix::fs::symlink("../a", root.join("b/again")).unwrap();
        let mut tree = Tree::default();
        add_folder(&mut tree, root, "x", &mut Vec::new()).unwrap();
        assert!(tree.has("x/a/one.bin") && tree.has("x/b/again/one.bin"));
        std::os::unix::fs::symlink("../b", root.join("a/ring")).unwrap();
        let error = add_folder(&mut Tree::default(), root, "x", &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("leads back"), "{error}");
    }
}
