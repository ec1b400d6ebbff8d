// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a target of another size needs differently.
use super::TABLES;
use crate::error::Result;
use crate::extent::ExtentSet;
use crate::io::ReadAt;
/// What a target of another size needs differently from the disk that was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relocation {}
/// x
/// # Errors
/// x
pub fn relocate(_: &dyn ReadAt, _: &ExtentSet, _: u64) -> Result<Relocation> {
    let _ = TABLES;
    Ok(Relocation::default())
}
