// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel modules: where they are, what each needs, and loading them.
//!
//! Reads what `depmod` writes to `/lib/modules/VERSION`. Parameters
//! (`module.name=value`) and `modprobe.blacklist=a,b` are taken from the
//! kernel's command line, as everywhere.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dacapo::media::command_line::CommandLine;
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::aliases::{Aliases, with_underscores};
use crate::log;

/// What is known of the modules of one kernel.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    folder: PathBuf,
    aliases: Aliases,
    files: HashMap<String, ModuleFile>,
    soft: HashMap<String, Soft>,
    built_in: HashSet<String>,
    command_line: CommandLine,
}

#[derive(Debug, Default)]
struct ModuleFile {
    path: String,
    needs: Vec<String>,
}

/// Modules to load before and after one, if they are there.
#[derive(Debug, Default, Clone)]
struct Soft {
    before: Vec<String>,
    after: Vec<String>,
}

impl Modules {
    /// Those of the running kernel.
    pub(crate) fn of_running_kernel() -> Self {
        let release = nix::sys::utsname::uname()
            .map(|name| name.release().to_os_string())
            .unwrap_or_default();
        Self::read(Path::new("/lib/modules").join(release), CommandLine::of_kernel())
    }

    /// Those in a folder; a file that is missing counts as empty.
    fn read(folder: PathBuf, command_line: CommandLine) -> Self {
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        Self {
            aliases: Aliases::parse(&text("modules.alias")),
            files: parse_dependencies(&text("modules.dep")),
            soft: parse_soft_dependencies(&text("modules.softdep")),
            built_in: text("modules.builtin").lines().filter_map(module_of_path).collect(),
            folder,
            command_line,
        }
    }

    /// The modules that a device or the kernel means by an alias or a name.
    pub(crate) fn resolve(&self, alias: &str) -> Vec<String> {
        let name = with_underscores(alias);
        if self.files.contains_key(&name) || self.built_in.contains(&name) {
            return vec![name];
        }
        self.aliases.modules(alias).into_iter().map(str::to_owned).collect()
    }

    /// Files to load for a module, in their order, each once.
    fn order(&self, module: &str) -> Vec<&str> {
        let (mut order, mut seen) = (Vec::new(), HashSet::new());
        self.add(module, &mut order, &mut seen);
        order
    }

    fn add<'a>(&'a self, module: &str, order: &mut Vec<&'a str>, seen: &mut HashSet<String>) {
        // Two modules may each ask softly for the other.
        if !seen.insert(module.to_owned()) {
            return;
        }
        let soft = self.soft.get(module).cloned().unwrap_or_default();
        for other in soft.before.iter().flat_map(|other| self.resolve(other)) {
            self.add(&other, order, seen);
        }
        if let Some(file) = self.files.get(module) {
            for needed in file.needs.iter().rev() {
                self.add(needed, order, seen);
            }
            order.push(&file.path);
        }
        for other in soft.after.iter().flat_map(|other| self.resolve(other)) {
            self.add(&other, order, seen);
        }
    }

    /// Loads a module and what it needs. True if it is there afterwards.
    pub(crate) fn load(&self, module: &str) -> bool {
        if self.built_in.contains(module) {
            return true;
        }
        if self.is_forbidden(module) {
            log::event(&format!("the module {module} is left out, as the command line says"));
            return false;
        }
        let Some(wanted) = self.files.get(module) else {
            log::event(&format!("the module {module} is not in this rescue system"));
            return false;
        };
        let mut is_loaded = false;
        for path in self.order(module) {
            let name = module_of_path(path).unwrap_or_default();
            let result = self.load_file(path, &name);
            // A driver for several machines looks whether this is one of them.
            if let Err(error) = &result
                && error.raw_os_error() != Some(nix::libc::ENODEV)
            {
                log::event(&format!("loading the module {name}: {error}"));
            }
            if path == wanted.path {
                is_loaded = result.is_ok();
            }
        }
        is_loaded
    }

    fn is_forbidden(&self, module: &str) -> bool {
        ["modprobe.blacklist", "module_blacklist"].iter().any(|name| {
            let names = self.command_line.values(name);
            names.flat_map(|list| list.split(',')).any(|name| with_underscores(name) == module)
        })
    }

    fn load_file(&self, path: &str, name: &str) -> io::Result<()> {
        // Already there, or being loaded by somebody else at the moment.
        let state = fs::read_to_string(Path::new("/sys/module").join(name).join("initstate"));
        if state.is_ok_and(|state| state.trim() == "live") {
            return Ok(());
        }
        let file = File::open(self.folder.join(path))?;
        let parameters = CString::new(self.parameters(name)).unwrap_or_default();
        match finit_module(&file, &parameters, ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn parameters(&self, module: &str) -> String {
        let own = self.command_line.pairs().filter_map(|(name, value)| {
            let (of, name) = name.split_once('.')?;
            (with_underscores(of) == module).then(|| {
                let quote = if value.contains(' ') { "\"" } else { "" };
                format!("{name}={quote}{value}{quote}")
            })
        });
        own.collect::<Vec<_>>().join(" ")
    }

    /// Nodes of drivers that are loaded when somebody opens the node, such as
    /// /dev/fuse: name, major and minor number of a character device.
    pub(crate) fn node_names(&self) -> Vec<(String, u64, u64)> {
        let text = fs::read_to_string(self.folder.join("modules.alias")).unwrap_or_default();
        parse_nodes(&text)
    }
}

/// A driver with a node has two aliases: "devname:fuse", "char-major-10-229".
fn parse_nodes(aliases: &str) -> Vec<(String, u64, u64)> {
    let (mut names, mut numbers) = (Vec::new(), HashMap::new());
    for line in aliases.lines() {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (Some(alias), Some(module)) = (words.next(), words.next()) else { continue };
        if let Some(name) = alias.strip_prefix("devname:") {
            names.push((name, module));
        } else if let Some(number) = alias.strip_prefix("char-major-")
            && let Some((major, minor)) = number.split_once('-')
            && let (Ok(major), Ok(minor)) = (major.parse(), minor.parse())
        {
            numbers.insert(module, (major, minor));
        }
    }
    let node = |(name, module): (&str, &str)| {
        let (major, minor) = *numbers.get(module)?;
        let is_below_dev = !name.starts_with('/') && !name.split('/').any(|part| part == "..");
        is_below_dev.then(|| (name.to_owned(), major, minor))
    };
    names.into_iter().filter_map(node).collect()
}

/// "kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/jbd2/jbd2.ko".
fn parse_dependencies(text: &str) -> HashMap<String, ModuleFile> {
    let mut files = HashMap::new();
    for line in text.lines() {
        let Some((path, needs)) = line.split_once(':') else { continue };
        let Some(name) = module_of_path(path) else { continue };
        let needs = needs.split_ascii_whitespace().filter_map(module_of_path).collect();
        files.insert(name, ModuleFile { path: path.trim().to_owned(), needs });
    }
    files
}

/// "softdep r8169 pre: realtek".
fn parse_soft_dependencies(text: &str) -> HashMap<String, Soft> {
    let mut all: HashMap<String, Soft> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some("softdep"), Some(module)) = (words.next(), words.next()) else { continue };
        let soft = all.entry(with_underscores(module)).or_default();
        let mut is_before = true;
        for word in words {
            match word {
                "pre:" => is_before = true,
                "post:" => is_before = false,
                _ if is_before => soft.before.push(with_underscores(word)),
                _ => soft.after.push(with_underscores(word)),
            }
        }
    }
    all
}

/// "kernel/drivers/usb/storage/usb-storage.ko" is "usb_storage".
fn module_of_path(path: &str) -> Option<String> {
    let name = Path::new(path.trim()).file_name()?.to_str()?;
    let (name, _) = name.split_once(".ko")?;
    Some(with_underscores(name))
}

/// The kernel asks for a module by `modprobe -q -- NAME`; a person may, too.
pub(crate) fn modprobe(words: &[&str]) -> ExitCode {
    let modules = Modules::of_running_kernel();
    let mut is_done = true;
    for name in words.iter().filter(|word| !word.starts_with('-')) {
        let found = modules.resolve(name);
        if found.is_empty() {
            // Asked for on every chance, and mostly rightly not there.
            is_done = false;
        }
        for module in found {
            is_done &= modules.load(&module);
        }
    }
    if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of Debian's kernel 6.1, and two that ask for each other.
    fn modules(command_line: &str) -> Modules {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "modules.dep",
            "kernel/lib/crc16.ko:\n\
             kernel/fs/jbd2/jbd2.ko: kernel/lib/libcrc.ko\n\
             kernel/lib/libcrc.ko:\n\
             kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/jbd2/jbd2.ko kernel/lib/libcrc.ko\n\
             kernel/drivers/net/phy/realtek.ko: kernel/drivers/net/phy/libphy.ko\n\
             kernel/drivers/net/phy/libphy.ko:\n\
             kernel/drivers/net/ethernet/realtek/r8169.ko: kernel/drivers/net/phy/libphy.ko\n\
             kernel/a-one.ko:\nkernel/b-two.ko:\n",
        );
        write(
            "modules.softdep",
            "# Soft dependencies\nsoftdep r8169 pre: realtek\nsoftdep a_one post: b-two\n\
             softdep b_two pre: a_one\nsoftdep ext4 pre: crc32c\n",
        );
        write("modules.alias", "alias fs-ext4 ext4\nalias pci:v000010ECd00008168* r8169\n");
        write("modules.builtin", "kernel/fs/proc/proc.ko\nkernel/drivers/usb/core/usb-core.ko\n");
        Modules::read(folder.path().to_owned(), CommandLine::parse(command_line))
    }

    #[test]
    fn what_a_module_needs_is_loaded_first_and_once() {
        let modules = modules("");
        assert_eq!(
            modules.order("ext4"),
            [
                "kernel/lib/libcrc.ko",
                "kernel/fs/jbd2/jbd2.ko",
                "kernel/lib/crc16.ko",
                "kernel/fs/ext4/ext4.ko"
            ]
        );
        let r8169 = modules.order("r8169");
        let names: Vec<_> = r8169.iter().filter_map(|path| module_of_path(path)).collect();
        assert_eq!(names, ["libphy", "realtek", "r8169"]);
        assert_eq!(modules.order("a_one"), ["kernel/a-one.ko", "kernel/b-two.ko"]);
        assert_eq!(modules.order("b_two"), ["kernel/a-one.ko", "kernel/b-two.ko"]);
        assert!(modules.order("nothing").is_empty());
    }

    #[test]
    fn a_module_is_found_by_alias_and_by_name() {
        let modules = modules("");
        assert_eq!(modules.resolve("fs-ext4"), ["ext4"]);
        assert_eq!(modules.resolve("a-one"), ["a_one"]);
        assert_eq!(modules.resolve("usb_core"), ["usb_core"]);
        assert_eq!(modules.resolve("pci:v000010ECd00008168sv0"), ["r8169"]);
        assert!(modules.resolve("fs-zfs").is_empty());
    }

    #[test]
    fn the_command_line_has_parameters_and_forbids() {
        let line = "usb-storage.delay_use=0 usb_storage.quirks=\"a b\" nvme.x=1 \
                    modprobe.blacklist=nouveau,r8169";
        let modules = modules(line);
        assert_eq!(modules.parameters("usb_storage"), "delay_use=0 quirks=\"a b\"");
        assert_eq!(modules.parameters("ahci"), "");
        assert!(modules.is_forbidden("r8169") && modules.is_forbidden("nouveau"));
        assert!(!modules.is_forbidden("ext4"));
    }

    #[test]
    fn nodes_are_those_of_drivers_with_a_name_and_a_number() {
        let aliases = "alias char-major-10-237 loop\nalias devname:loop-control loop\n\
                       alias devname:fuse fuse\nalias char-major-10-229 fuse\n\
                       alias devname:../etc/x bad\nalias char-major-1-1 bad\n\
                       alias devname:lonely lonely\nalias char-major-10-* any\n";
        let nodes = parse_nodes(aliases);
        assert_eq!(nodes, [("loop-control".to_owned(), 10, 237), ("fuse".to_owned(), 10, 229)]);
    }
}
