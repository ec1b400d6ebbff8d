// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver against `dump.f2fs` and `partclone.f2fs`: the facts beside the
//! committed disks.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::extent::{Extent, ExtentSet};
use crate::fs::Filesystem;
use crate::fs::f2fs::F2fs;
use crate::io::{Memory, ReadAt};

#[test]
fn the_committed_disks_are_read_as_their_makers_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(name) = name.strip_suffix(".img.zst").filter(|name| name.starts_with("f2fs"))
        else {
            continue;
        };
        let facts = fs::read(folder.join(format!("{name}.facts.json"))).unwrap();
        let facts: Value = serde_json::from_slice(&facts).unwrap();
        let bytes = zstd::decode_all(fs::File::open(&path).unwrap()).unwrap();
        let volume = Memory::new(bytes);
        let readers: &[&dyn ReadAt] = &[&volume];
        let result = F2fs.used(readers);
        seen += 1;
        if facts["understood"] == Value::Bool(false) {
            assert!(result.map_or(true, |used| used.whole.is_some()), "{name}");
            continue;
        }
        let map = result.unwrap();
        assert_eq!(map.whole, None, "{name}");
        let number = |value: &Value| value.as_u64().unwrap();
        let used: ExtentSet = facts["used"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| Extent::at(number(&pair[0]), number(&pair[1])))
            .collect();
        assert!(!used.is_empty());
        assert_eq!(map.extents, used, "{name}");
    }
    assert!(seen >= 4, "{seen} disks");
}
