// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which drives are attached, to see when one is plugged in or pulled out: a
//! list of them follows by itself. A stick may take seconds to be seen, and
//! nobody should have to know that R looks again.

use std::path::Path;
use std::time::{Duration, Instant};

use super::load::Load;
use super::screen::Next;
use super::widgets::List;

/// How often is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// The drives as they were seen last.
#[derive(Debug)]
pub(crate) struct Drives {
    seen: Vec<String>,
    asked: Instant,
    /// What is chosen in the list, while it is made anew.
    chosen: Option<String>,
}

impl Default for Drives {
    fn default() -> Self {
        Self { seen: attached(Path::new("/sys/class/block")), asked: Instant::now(), chosen: None }
    }
}

impl Drives {
    /// What a list of drives does every moment: none if it has to be made anew,
    /// because others are attached. One that was made anew has the same chosen.
    pub(crate) fn tick<T: Send + 'static>(
        &mut self,
        found: &mut Load<T>,
        list: &mut List,
        names: impl FnOnce(&T) -> Vec<String>,
    ) -> Option<Next> {
        if !found.is_running() && self.have_changed() {
            return None;
        }
        if !found.tick() {
            return Some(Next::Stay);
        }
        if let Some(found) = found.ready()
            && let Some(chosen) = self.chosen.take()
        {
            list.follow(&chosen, names(found));
        }
        Some(Next::Draw)
    }

    /// True if others are attached than when this was asked the last time.
    fn have_changed(&mut self) -> bool {
        if self.asked.elapsed() < INTERVAL {
            return false;
        }
        let found = Self { chosen: self.chosen.take(), ..Self::default() };
        let changed = found.seen != self.seen;
        *self = found;
        changed
    }

    /// Remembers what is chosen in a list that is going to be made anew.
    pub(crate) fn remember(&mut self, chosen: Option<String>) {
        self.chosen = chosen;
    }
}

/// The names of all block devices with their sizes: of a card reader only the
/// size tells that there is a card.
fn attached(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        // Files that stand for disks come and go, and none of them is a drive.
        .filter(|name| !name.starts_with("loop") && !name.starts_with("ram"))
        .map(|name| {
            let size = std::fs::read_to_string(folder.join(&name).join("size"));
            format!("{name} {}", size.unwrap_or_default().trim())
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_that_comes_a_card_and_no_loop_device_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let add = |name: &str, size: &str| {
            let folder = folder.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("size"), size).unwrap();
        };
        add("sda", "2048\n");
        let first = attached(folder.path());
        assert_eq!(first, ["sda 2048"]);
        add("loop0", "8\n");
        assert_eq!(attached(folder.path()), first);
        add("sdb", "0\n");
        let reader = attached(folder.path());
        assert_ne!(reader, first);
        add("sdb", "4096\n");
        assert_ne!(attached(folder.path()), reader);
        assert!(attached(&folder.path().join("missing")).is_empty());
    }
}
