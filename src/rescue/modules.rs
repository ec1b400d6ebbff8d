// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel modules of the rescue system: those of a list, and all that they
//! depend on.
//!
//! What modules depend on and which hardware they are for stands in the
//! modules themselves, so the tables that the rescue system loads them by
//! (modules.dep, modules.alias, modules.softdep) are made from that, for the
//! chosen ones only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::elf::Elf;
use crate::error::{Context, Error, ErrorKind, Result};

/// The list that the program comes with.
pub(super) const LIST: &str = include_str!("../../initramfs/modules.list");

/// More files than any kernel has, deeper folders than any has.
const MOST_FILES: usize = 100_000;
const DEEPEST: usize = 32;

/// A line of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    name: String,
    /// It is no error if the kernel has no such module.
    is_optional: bool,
}

/// Reads a list: a name a line, `#` before remarks, `?` before what only some
/// kernels have.
pub(super) fn parse_list(text: &str) -> Vec<Wanted> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| match line.strip_prefix('?') {
            Some(name) => Wanted { name: canonical(name), is_optional: true },
            None => Wanted { name: canonical(line), is_optional: false },
        })
        .collect()
}

/// All modules of one kernel: a folder like /lib/modules/VERSION.
#[derive(Debug)]
pub(super) struct Kernel {
    folder: PathBuf,
    /// The path in the folder of each module, by its name.
    files: BTreeMap<String, String>,
    built_in: BTreeSet<String>,
}

/// A module that comes along.
#[derive(Debug)]
pub(super) struct Module {
    /// Its path in the folder of the kernel.
    pub(super) path: String,
    /// The file, signature included.
    pub(super) bytes: Vec<u8>,
    depends: Vec<String>,
    /// What it wants to be loaded before or after it, if it is there.
    soft: Vec<String>,
    soft_text: Vec<String>,
    aliases: Vec<String>,
}

/// The modules of the rescue system, by name.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) modules: BTreeMap<String, Module>,
    /// Names of the list that this kernel has not.
    pub(super) missing: Vec<String>,
}

impl Kernel {
    /// Looks through the modules of a kernel.
    ///
    /// # Errors
    /// If there are none, or the folder cannot be read.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        find(folder, &folder.join("kernel"), DEEPEST, &mut files)?;
        if files.is_empty() {
            return Err(Error::failed(format!("there are no modules in {}", folder.display()))
                .hint("it is a folder like /lib/modules/VERSION, with 'kernel' in it"));
        }
        let path = folder.join("modules.builtin");
        let built_in = std::fs::read_to_string(&path)
            .context(|| format!("reading {}", path.display()))?
            .lines()
            .map(name_of)
            .collect();
        Ok(Self { folder: folder.to_owned(), files, built_in })
    }

    /// The modules of the list with all that they depend on.
    ///
    /// # Errors
    /// If a module cannot be read, or lacks one that it depends on.
    pub(super) fn choose(&self, wanted: &[Wanted]) -> Result<Chosen> {
        let mut chosen = Chosen::default();
        let mut left: Vec<(String, Option<String>)> = Vec::new();
        for one in wanted {
            if self.files.contains_key(&one.name) {
                left.push((one.name.clone(), None));
            } else if !self.built_in.contains(&one.name) && !one.is_optional {
                chosen.missing.push(one.name.clone());
            }
        }
        while let Some((name, wanted_by)) = left.pop() {
            if chosen.modules.contains_key(&name) || self.built_in.contains(&name) {
                continue;
            }
            let Some(path) = self.files.get(&name) else {
                let by = wanted_by.unwrap_or_default();
                return Err(Error::failed(format!(
                    "the module {by} needs {name}, which is missing"
                )));
            };
            let module = self.read(path)?;
            for other in &module.depends {
                left.push((other.clone(), Some(name.clone())));
            }
            // Most of these are names of a kind, such as crc32c, for which
            // the list has the modules.
            for other in module.soft.iter().filter(|it| self.files.contains_key(*it)) {
                left.push((other.clone(), Some(name.clone())));
            }
            chosen.modules.insert(name, module);
        }
        Ok(chosen)
    }

    /// The list of what is built in, as it is.
    pub(super) fn built_in_text(&self) -> Result<Vec<u8>> {
        let path = self.folder.join("modules.builtin");
        std::fs::read(&path).context(|| format!("reading {}", path.display()))
    }

    fn read(&self, path: &str) -> Result<Module> {
        let file = self.folder.join(path);
        let shown = file.display().to_string();
        if !path.ends_with(".ko") {
            return Err(Error::new(ErrorKind::Unsupported, format!("{shown} is compressed"))
                .hint("unpack the modules of this kernel first, or take Debian's kernel"));
        }
        let bytes = std::fs::read(&file).context(|| format!("reading {shown}"))?;
        let information = Elf::new(&bytes, &shown)?
            .section(".modinfo")
            .ok_or_else(|| Error::damaged(format!("{shown} has no .modinfo: it is no module")))?;
        Ok(Module::new(path, information.to_vec(), bytes))
    }
}

impl Module {
    fn new(path: &str, information: Vec<u8>, bytes: Vec<u8>) -> Self {
        let mut module = Self {
            path: path.to_owned(),
            bytes,
            depends: Vec::new(),
            soft: Vec::new(),
            soft_text: Vec::new(),
            aliases: Vec::new(),
        };
        for field in information.split(|byte| *byte == 0) {
            let field = String::from_utf8_lossy(field);
            let Some((key, value)) = field.split_once('=') else { continue };
            match key {
                "depends" => {
                    let names = value.split(',').filter(|name| !name.is_empty());
                    module.depends.extend(names.map(canonical));
                }
                "alias" => module.aliases.push(value.to_owned()),
                "softdep" => {
                    let names = value.split_whitespace().filter(|word| !word.ends_with(':'));
                    module.soft.extend(names.map(canonical));
                    module.soft_text.push(value.to_owned());
                }
                _ => {}
            }
        }
        module
    }
}

impl Chosen {
    /// How many bytes all of them have.
    pub(super) fn bytes(&self) -> u64 {
        self.modules.values().map(|module| module.bytes.len() as u64).sum()
    }

    /// modules.dep: each module with all that has to be loaded before it, the
    /// first to be loaded last.
    pub(super) fn dep_text(&self) -> String {
        let mut text = String::new();
        for (name, module) in &self.modules {
            let mut order = Vec::new();
            self.load_order(name, &mut BTreeSet::new(), &mut order);
            text.push_str(&module.path);
            text.push(':');
            // The last of the order is the module itself.
            for path in order.iter().rev().skip(1) {
                text.push(' ');
                text.push_str(path);
            }
            text.push('\n');
        }
        text
    }

    fn load_order<'a>(
        &'a self,
        name: &'a str,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<&'a str>,
    ) {
        let Some(module) = self.modules.get(name).filter(|_| seen.insert(name)) else { return };
        for other in &module.depends {
            self.load_order(other, seen, order);
        }
        order.push(&module.path);
    }

    /// modules.alias: the module for each kind of hardware and each name.
    pub(super) fn alias_text(&self) -> String {
        let mut text = String::new();
        for (name, module) in &self.modules {
            for alias in &module.aliases {
                let _ = writeln!(text, "alias {alias} {name}");
            }
        }
        text
    }

    /// modules.softdep: what is loaded along with a module if it is there.
    pub(super) fn softdep_text(&self) -> String {
        let mut text = String::new();
        for (name, module) in &self.modules {
            for line in &module.soft_text {
                let _ = writeln!(text, "softdep {name} {line}");
            }
        }
        text
    }
}

fn find(
    root: &Path,
    folder: &Path,
    depth: usize,
    files: &mut BTreeMap<String, String>,
) -> Result<()> {
    let listed =
        std::fs::read_dir(folder).context(|| format!("looking through {}", folder.display()))?;
    for entry in listed {
        let entry = entry.context(|| format!("looking through {}", folder.display()))?;
        let path = entry.path();
        let kind = entry.file_type().context(|| format!("looking at {}", path.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() {
            if depth == 0 || files.len() > MOST_FILES {
                return Err(Error::failed(format!("{} is no kernel's folder", root.display())));
            }
            find(root, &path, depth - 1, files)?;
        } else if name.split('.').nth(1) == Some("ko")
            && let Ok(inside) = path.strip_prefix(root)
        {
            files.insert(name_of(&name), inside.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// "kernel/drivers/nvme/host/nvme-core.ko" -> "nvme_core"
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    canonical(file.split(".ko").next().unwrap_or_default())
}

/// Files and people write '-' or '_', the kernel takes them for the same.
fn canonical(name: &str) -> String {
    name.trim().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, information: &str) -> Module {
        Module::new(path, information.replace(';', "\0").into_bytes(), vec![0; 10])
    }

    #[test]
    fn the_list_is_read_with_its_remarks() {
        let list = parse_list("# a\n\nnvme\n  sdhci-pci # cards\n?ntfs3\n");
        let names: Vec<(&str, bool)> =
            list.iter().map(|it| (it.name.as_str(), it.is_optional)).collect();
        assert_eq!(names, [("nvme", false), ("sdhci_pci", false), ("ntfs3", true)]);
    }

    #[test]
    fn the_list_names_each_module_once() {
        let list = parse_list(LIST);
        let names: BTreeSet<&str> = list.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names.len(), list.len());
        assert!(list.len() > 200);
        for name in ["nvme", "ahci", "vmd", "uas", "ext4", "exfat", "r8169", "efivarfs"] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn what_is_loaded_first_stands_last() {
        let mut chosen = Chosen::default();
        for (name, information) in [
            ("a", "depends=b,c;alias=pci:v1*;license=GPL"),
            ("b", "depends=c"),
            ("c", "depends=;softdep=pre: crc32c post: x-y"),
        ] {
            chosen.modules.insert(name.into(), module(&format!("kernel/{name}.ko"), information));
        }
        let expected =
            "kernel/a.ko: kernel/b.ko kernel/c.ko\nkernel/b.ko: kernel/c.ko\nkernel/c.ko:\n";
        assert_eq!(chosen.dep_text(), expected);
        assert_eq!(chosen.alias_text(), "alias pci:v1* a\n");
        assert_eq!(chosen.softdep_text(), "softdep c pre: crc32c post: x-y\n");
        assert_eq!(chosen.modules["c"].soft, ["crc32c", "x_y"]);
        assert_eq!(chosen.bytes(), 30);
    }

    #[test]
    fn modules_that_depend_on_each_other_are_no_endless_loop() {
        let mut chosen = Chosen::default();
        chosen.modules.insert("a".into(), module("a.ko", "depends=b"));
        chosen.modules.insert("b".into(), module("b.ko", "depends=a"));
        assert_eq!(chosen.dep_text(), "a.ko: b.ko\nb.ko: a.ko\n");
    }

    /// A kernel with empty files, which is enough to look for names.
    fn kernel(folder: &Path, files: &[&str]) -> Kernel {
        for file in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        std::fs::write(folder.join("modules.builtin"), "kernel/fs/nls/nls_base.ko\n").unwrap();
        Kernel::open(folder).unwrap()
    }

    #[test]
    fn a_name_that_exists_nowhere_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = kernel(folder.path(), &["kernel/a/x-y.ko"]);
        let chosen = kernel.choose(&parse_list("nls_base\nnvme\n?ntfs3")).unwrap();
        assert_eq!(chosen.missing, ["nvme"]);
        // What is no module ends it by name.
        let error = kernel.choose(&parse_list("x_y")).unwrap_err();
        assert!(error.to_string().contains("x-y.ko"), "{error}");
    }

    #[test]
    fn compressed_modules_are_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = kernel(folder.path(), &["kernel/a/nvme.ko.xz"]);
        let error = kernel.choose(&parse_list("nvme")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}
