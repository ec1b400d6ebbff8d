// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which driver a device wants: its alias ("pci:v00008086d...") against the
//! patterns that the modules declare, as `depmod` wrote them to
//! `modules.alias`.

use std::collections::HashMap;

/// Patterns and their modules, by what stands in front of the first colon, so
/// that a PCI device is not compared with the patterns of all USB drivers.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    by_bus: HashMap<String, Vec<(String, String)>>,
}

impl Aliases {
    /// Reads the lines `alias PATTERN MODULE`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut by_bus: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) =
                (words.next(), words.next(), words.next())
            {
                let pattern = with_underscores(pattern);
                let entry = (pattern.clone(), with_underscores(module));
                by_bus.entry(bus_of(&pattern).to_owned()).or_default().push(entry);
            }
        }
        Self { by_bus }
    }

    /// The modules that declare the alias, each once, in the order of the file.
    pub(crate) fn modules(&self, alias: &str) -> Vec<&str> {
        let alias = with_underscores(alias);
        let mut found: Vec<&str> = Vec::new();
        // A pattern may be open from its first character on; none is on a
        // real system, but "*" would be legal.
        for bus in [bus_of(&alias), "*"] {
            for (pattern, module) in self.by_bus.get(bus).into_iter().flatten() {
                if !found.contains(&module.as_str()) && matches(pattern, &alias) {
                    found.push(module);
                }
            }
        }
        found
    }
}

/// What stands in front of the first colon; all of "fs_ext4".
fn bus_of(alias: &str) -> &str {
    let bus = alias.split(':').next().unwrap_or(alias);
    if bus.contains(['*', '?', '[']) { "*" } else { bus }
}

/// Modules are named with either; inside of brackets a dash is a range.
pub(crate) fn with_underscores(name: &str) -> String {
    let mut is_in_set = false;
    name.chars()
        .map(|c| {
            is_in_set = (is_in_set || c == '[') && c != ']';
            if c == '-' && !is_in_set { '_' } else { c }
        })
        .collect()
}

/// Matches as the shell does: `*`, `?` and `[0-9A-F]`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on if the last star has to take one character more.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => set(&pattern[p..], text[t]),
            Some(byte) if *byte == text[t] => Some(1),
            _ => None,
        };
        match (step, retry) {
            (Some(len), _) => {
                p += len;
                t += 1;
            }
            (None, Some((after_star, start))) => {
                retry = Some((after_star, start + 1));
                (p, t) = (after_star, start + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of the set at the start of `pattern`, if the byte is in it.
fn set(pattern: &[u8], byte: u8) -> Option<usize> {
    let len = pattern.iter().position(|it| *it == b']')? + 1;
    let mut members = &pattern[1..len - 1];
    let is_inverted = matches!(members.first(), Some(b'!' | b'^'));
    if is_inverted {
        members = &members[1..];
    }
    let mut is_member = false;
    while let [first, rest @ ..] = members {
        if let [b'-', last, after @ ..] = rest {
            is_member |= (first..=last).contains(&&byte);
            members = after;
        } else {
            is_member |= *first == byte;
            members = rest;
        }
    }
    (is_member != is_inverted).then_some(len)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// Lines of Debian's kernel 6.1.
    const ALIASES: &str = "\
# Aliases extracted from modules themselves.
alias pci:v*d*sv*sd*bc01sc06i01* ahci
alias pci:v00008086d0000282Asv*sd*bc*sc*i* ahci
alias pci:v00008086d00009A0Bsv*sd*bc*sc*i* vmd
alias usb:v*p*d*dc*dsc*dp*ic08isc06ip50in* usb-storage
alias usb:v*p*d*dc*dsc*dp*ic08isc06ip62in* uas
alias usb:v0525pA4A5d*dc*dsc*dp*ic*isc*ip*in* g_mass_storage
alias usb:v0421p0019d059[2-9]dc*dsc*dp*ic*isc*ip*in* usb-storage
alias fs-ext4 ext4
alias scsi:t-0x00* sd_mod
alias nls_utf8 nls_utf8
";

    #[test]
    fn a_device_gets_every_driver_that_declares_it() {
        let aliases = Aliases::parse(ALIASES);
        for (alias, modules) in [
            ("pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", &["ahci"][..]),
            ("pci:v00008086d00009A0Bsv00000000sd00000000bc01sc04i00", &["vmd"]),
            ("usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", &["usb_storage"]),
            ("usb:v0421p0019d0597dc00dsc00dp00icFFisc06ip50in00", &["usb_storage"]),
            ("usb:v0421p0019d0601dc00dsc00dp00icFFisc06ip50in00", &[]),
            ("fs-ext4", &["ext4"]),
            ("scsi:t-0x00", &["sd_mod"]),
            ("nls-utf8", &["nls_utf8"]),
            ("pci:v00001234d00001111sv00001AF4sd00001100bc03sc00i00", &[]),
        ] {
            assert_eq!(aliases.modules(alias), modules, "{alias}");
        }
    }

    /// What modprobe takes the alias for, by the same lines.
    fn judged(folder: &Path, alias: &str) -> Vec<String> {
        let config = folder.join("aliases.conf");
        let ran = Command::new("modprobe")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .args(["--resolve-alias", "--set-version", "1.0", "--dirname"])
            .args([folder, Path::new("--config"), &config, Path::new(alias)])
            .output()
            .unwrap();
        let mut modules: Vec<String> =
            String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect();
        modules.sort();
        // It names a module once for each pattern.
        modules.dedup();
        modules
    }

    #[test]
    fn modprobe_finds_the_same() {
        let is_there =
            ["/usr/sbin", "/sbin"].iter().any(|it| Path::new(it).join("modprobe").exists());
        if !is_there {
            let may_not_skip = std::env::var_os("DACAPO_NO_SKIP").is_some_and(|it| it == "1");
            assert!(!may_not_skip, "this test needs modprobe");
            eprintln!("skipped: needs modprobe");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("lib/modules/1.0")).unwrap();
        std::fs::write(folder.path().join("aliases.conf"), ALIASES).unwrap();
        let aliases = Aliases::parse(ALIASES);
        let mut found = 0;
        for alias in [
            "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
            "pci:v00008086d0000282Asv00001AF4sd00001100bc01sc04i00",
            "pci:v00008086d0000282Asv00001AF4sd00001100bc01sc06i01",
            "pci:v00008086d00009A0Bsv00000000sd00000000bc01sc04i00",
            "pci:v00001234d00001111sv00001AF4sd00001100bc03sc00i00",
            "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
            "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip62in00",
            "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip63in00",
            "usb:v0421p0019d0592dc00dsc00dp00icFFisc06ip50in00",
            "usb:v0421p0019d0599dc00dsc00dp00icFFisc06ip50in00",
            "usb:v0421p0019d0591dc00dsc00dp00icFFisc06ip50in00",
            "usb:v0525pA4A5d0000dc00dsc00dp00ic08isc06ip50in00",
            "fs-ext4",
            "fs_ext4",
            "fs-ext3",
            "scsi:t-0x00",
            "scsi:t-0x05",
        ] {
            let mut modules: Vec<String> =
                aliases.modules(alias).into_iter().map(str::to_owned).collect();
            modules.sort();
            assert_eq!(modules, judged(folder.path(), alias), "{alias}");
            found += modules.len();
        }
        assert!(found > 10);
    }

    #[test]
    fn patterns_match_as_in_the_shell() {
        for (pattern, text, is_match) in [
            ("a*c", "abbc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("*", "", true),
            ("**b*", "aab", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("x[0-9A-F]y", "xBy", true),
            ("x[0-9A-F]y", "xGy", false),
            ("x[!0-9]y", "xGy", true),
            ("x[!0-9]y", "x1y", false),
            ("*bc01*", "pci:v0001bc0bc01sc", true),
            ("[", "[", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), is_match, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = "*a".repeat(60);
        assert!(!matches(&pattern, &"a".repeat(59)));
        assert!(!matches(&format!("{pattern}b"), &"a".repeat(4000)));
    }
}
