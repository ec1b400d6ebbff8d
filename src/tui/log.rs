// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was done, a line for each event. In the rescue system it is a file
//! that all screens share; elsewhere it is kept in memory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Context, Result};

/// Where the rescue system keeps it.
pub(crate) const FILE: &str = "/run/dacapo/log.txt";
/// No more than this of its end is shown.
const SHOWN: u64 = 256 << 10;
/// As many lines are kept in memory.
const KEPT: usize = 5000;

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<PathBuf>,
    lines: Mutex<Vec<String>>,
}

impl Log {
    /// A log in a file, or in memory.
    pub(crate) fn new(file: Option<&Path>) -> Self {
        Self { file: file.map(Path::to_owned), lines: Mutex::default() }
    }

    /// Adds a line with the time.
    pub(crate) fn add(&self, event: &str) {
        let event = crate::cmd::output::plain(event).replace('\n', " ");
        let line = format!("{} {event}", crate::save::now());
        if let Some(path) = &self.file {
            let write = || -> std::io::Result<()> {
                let mut file = OpenOptions::new().append(true).create(true).open(path)?;
                file.write_all(format!("{line}\n").as_bytes())
            };
            if write().is_ok() {
                return;
            }
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= KEPT {
            lines.remove(0);
        }
        lines.push(line);
    }

    /// The lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.file.as_deref().map(end_of).unwrap_or_default();
        lines.extend(self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        lines
    }

    /// Writes all of it to a new file.
    ///
    /// # Errors
    /// If there is one already, or it cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let what = || format!("writing {}", path.display());
        let mut file = OpenOptions::new().write(true).create_new(true).open(path).context(what)?;
        if let Some(log) = &self.file {
            let mut log = File::open(log).context(|| "reading the log".into())?;
            std::io::copy(&mut log, &mut file).context(what)?;
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        file.write_all(format!("{lines}\n").as_bytes()).and_then(|()| file.sync_all()).context(what)
    }
}

fn end_of(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(SHOWN)))?;
        let mut bytes = Vec::new();
        file.take(SHOWN).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default().lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_kept_and_can_be_saved() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.txt");
        for log in [Log::new(None), Log::new(Some(&file))] {
            log.add("restore: began\nand more\u{7}");
            log.add("restore: done");
            let lines = log.lines();
            assert_eq!(lines.len(), 2);
            assert!(lines[0].ends_with(" restore: began and more?"), "{lines:?}");
            assert!(lines[0].starts_with("20"), "{lines:?}");
            let copy = folder.path().join("copy.txt");
            log.save(&copy).unwrap();
            assert!(std::fs::read_to_string(&copy).unwrap().contains("restore: done"));
            assert!(log.save(&copy).is_err(), "nothing is overwritten");
            std::fs::remove_file(&copy).unwrap();
        }
        let lost = Log::new(Some(Path::new("/nonexistent/log.txt")));
        lost.add("kept in memory then");
        assert_eq!(lost.lines().len(), 1);
    }
}
