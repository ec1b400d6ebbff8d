// SPDX-License-Identifier: MIT OR Apache-2.0
//! Placeholder until relocation lands.
use crate::error::Result;
use crate::extent::ExtentSet;
use crate::io::ReadAt;
/// The changes that a target of another size needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relocation {
    /// Writes.
    pub writes: Vec<(u64, Vec<u8>)>,
    /// Blank.
    pub blank: ExtentSet,
    /// Steps.
    pub steps: Vec<String>,
}
/// Placeholder.
pub fn relocate(_: &dyn ReadAt, _: &ExtentSet, _: u64) -> Result<Relocation> {
    Ok(Relocation::default())
}
