// SPDX-License-Identifier: MIT OR Apache-2.0
//! A volume inside another, as it is shown.

use serde::{Deserialize, Serialize};

use super::Region;
use crate::fs::Identity;

/// A volume inside a region: a logical volume, or a partition inside of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inner {
    /// Its name: "vg0/root", "partition 1".
    pub name: String,
    /// How many bytes of what it is in are its.
    pub size: u64,
    /// What fills it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Identity>,
    /// How many of its bytes are stored.
    pub used: u64,
    /// Why all of it is stored; `None` if a used map says what is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<String>,
    /// What else is worth knowing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What the user can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The volumes inside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Inner>,
}

impl Inner {
    /// A volume all of which is stored.
    pub(super) fn whole(name: String, size: u64, why: String) -> Self {
        Self { name, size, used: size, whole: Some(why), ..Self::default() }
    }

    /// A region of a disk that is itself inside a volume.
    pub(super) fn of_region(region: Region) -> Self {
        Self {
            name: region.title(),
            size: region.extent.len(),
            filesystem: region.filesystem,
            used: region.used,
            whole: region.whole,
            notes: region.notes,
            advice: region.advice,
            volumes: region.volumes,
        }
    }

    /// The name of what fills it, "-" if that is not known.
    #[must_use]
    pub fn content(&self) -> &str {
        self.filesystem.as_ref().map_or("-", |identity| &identity.name)
    }

    /// Stores all of it, and all inside it.
    pub(super) fn store_whole(&mut self, why: &str) {
        self.used = self.size;
        self.whole = Some(why.to_owned());
        self.advice = None;
        self.volumes.iter_mut().for_each(|inner| inner.store_whole(why));
    }
}
