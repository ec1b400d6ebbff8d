// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of volumes that every shell and file manager takes.

use std::collections::HashSet;

/// How many characters of a label are used.
const MAX_LABEL: usize = 48;

/// Names that were given.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// The name of a volume: its number and label, `2-Windows`; of a logical
    /// volume its own name, `vg0-root`. No two are the same.
    pub(super) fn name(&mut self, volume: &str, label: Option<&str>) -> String {
        let mut name = safe(volume, usize::MAX);
        let is_numbered = volume.rsplit('/').next().is_some_and(|it| it.parse::<u32>().is_ok());
        let label = label.map(|label| safe(label, MAX_LABEL)).filter(|label| !label.is_empty());
        if let Some(label) = label.filter(|_| is_numbered) {
            name = format!("{name}-{label}");
        }
        let mut unique = name.clone();
        let mut number = 2_u32;
        while !self.taken.insert(unique.clone()) {
            unique = format!("{name}~{number}");
            number = number.saturating_add(1);
        }
        unique
    }
}

/// Letters and digits of all languages stay; what means something to a shell,
/// ends a line or is part of a path becomes `-` or `_`.
fn safe(text: &str, most: usize) -> String {
    let replaced: String = text
        .chars()
        .take(most)
        .map(|c| match c {
            ' ' => '_',
            c if c.is_alphanumeric() || "-_.+~@".contains(c) => c,
            _ => '-',
        })
        .collect();
    replaced.trim_matches(['-', '_', '.', '~']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_each_is_there_once() {
        let mut names = Names::default();
        for (volume, label, wanted) in [
            ("2", Some("Windows"), "2-Windows"),
            ("1", Some("EFI system partition"), "1-EFI_system_partition"),
            ("3", None, "3"),
            ("4", Some("../../etc; rm -rf *\n"), "4-etc-_rm_-rf"),
            ("5", Some("Gro\u{df} \u{97f3}\u{697d}"), "5-Gro\u{df}_\u{97f3}\u{697d}"),
            ("6", Some("\u{202e}\u{1b}[2J"), "6-2J"),
            ("7", Some("..."), "7"),
            ("vg0/root", Some("label"), "vg0-root"),
            ("vg0-root", None, "vg0-root~2"),
            ("vg0/vm/1", Some("EFI"), "vg0-vm-1-EFI"),
            ("disk", None, "disk"),
        ] {
            assert_eq!(names.name(volume, label), wanted);
        }
    }
}
