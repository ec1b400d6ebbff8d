// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzz targets reach of the parsers here: what firmware and an EFI
//! system partition say is somebody else's.

use super::esp::Esp;
use super::load_option::LoadOption;
use super::loader::{fallback_files, loaders};
use crate::error::Result;
use crate::extent::Extent;
use crate::io::ReadAt;

/// Reads a boot entry; what is understood of it is the same when it is written
/// and read again.
pub fn boot_entry(bytes: &[u8]) {
    let Some(option) = LoadOption::parse(bytes) else { return };
    let _ = option.to_string();
    if let Some(bytes) = option.to_bytes() {
        assert_eq!(LoadOption::parse(&bytes), Some(option));
    }
}

/// Does with a volume what the steps do, in memory; returns how much of it
/// would be written.
///
/// # Errors
/// If it is no FAT filesystem, or one that cannot be written to.
pub fn esp(disk: &dyn ReadAt) -> Result<usize> {
    let extent = Extent::new(0, disk.len());
    let volume = Esp::open(disk, extent)?;
    let found = loaders(&volume, "x64")?;
    for loader in &found {
        let shown = format!("{}{}{}", loader.label, loader.path(), loader.arguments);
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
    let Some(loader) = found.first() else { return Ok(0) };
    for (_, to, content) in fallback_files(&volume, loader, "x64")? {
        volume.create(&to, &content)?;
    }
    let mut written = 0;
    for (position, bytes) in volume.changes(extent)?.concat() {
        assert!(extent.contains(&Extent::at(position, bytes.len() as u64)), "outside of it");
        written += bytes.len();
    }
    Ok(written)
}
