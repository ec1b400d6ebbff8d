// SPDX-License-Identifier: MIT OR Apache-2.0
//! `[PARTITION:]PATH`: what a user calls a file of a disk.
//!
//! The part in front of the first colon that names a volume - by number, by
//! name, by label - is the volume. Without one the only volume with files is
//! meant. What begins with `/` is a path whatever it holds.

use std::fmt::Write as _;
use std::sync::Arc;

use super::names::{join, parts, shown};
use super::open::OpenDisk;
use super::volume::OpenVolume;
use super::walk::at;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::fs::Files;
use crate::fs::files::{DirectoryEntry, Node, NodeKind};

/// How many symbolic links are followed on the way to a file, as Linux does.
const MAX_LINKS: usize = 40;

/// A file, folder or anything else of a volume.
pub struct Place<'a> {
    /// The volume.
    pub volume: &'a OpenVolume,
    /// Its files.
    pub files: Arc<dyn Files>,
    /// What it is.
    pub node: Node,
    /// What kind of that.
    pub kind: NodeKind,
    /// Where it is found, from the volume's root: `/`, `/home/x`. With the
    /// letters that the filesystem has.
    pub path: Vec<u8>,
}

impl std::fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown(&self.path))
    }
}

impl Place<'_> {
    /// How a path of this volume is shown: "2:/home/x".
    #[must_use]
    pub fn shown(&self, path: &[u8]) -> String {
        self.volume.shown(path)
    }

    /// The last part of its path; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

/// What a user wrote, apart.
#[derive(Debug)]
pub struct Spec<'a> {
    /// The volume that was named.
    pub volume: Option<&'a OpenVolume>,
    /// The rest.
    pub path: Vec<u8>,
}

/// Takes apart what a user wrote.
///
/// # Errors
/// Usage, with a list of the volumes, if it seems to name one that is not there.
pub fn parse<'a>(disk: &'a OpenDisk, text: &[u8]) -> Result<Spec<'a>> {
    let volumes = disk.volumes();
    if text.starts_with(b"/") || text.starts_with(b"./") {
        return Ok(Spec { volume: None, path: text.to_vec() });
    }
    let colons = text.iter().enumerate().filter(|(_, byte)| **byte == b':');
    for (colon, _) in colons {
        let (name, rest) = text.split_at(colon);
        if let Some(volume) = named(volumes, name)? {
            return Ok(Spec {
                volume: Some(volume),
                path: rest.get(1..).unwrap_or_default().to_vec(),
            });
        }
    }
    // A number or name alone is more likely a volume than a file.
    let by_name = volumes.iter().find(|volume| volume.name.as_bytes() == text);
    if by_name.is_some() {
        return Ok(Spec { volume: by_name, path: Vec::new() });
    }
    let colon = text.iter().position(|byte| *byte == b':');
    if let Some(colon) = colon
        && matches!(text.get(colon + 1), None | Some(b'/' | b'\\'))
    {
        let name = shown(text.get(..colon).unwrap_or_default());
        return Err(Error::usage(format!("{} has no volume '{name}'", disk.name))
            .hint(format!("it has {}; a path begins with /", list_of(volumes))));
    }
    Ok(Spec { volume: None, path: text.to_vec() })
}

/// The volume of this name or label.
fn named<'a>(volumes: &'a [OpenVolume], name: &[u8]) -> Result<Option<&'a OpenVolume>> {
    let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
    if let Some(volume) = volumes.iter().find(|volume| volume.name == name) {
        return Ok(Some(volume));
    }
    let labels = |volume: &OpenVolume| {
        let own = volume.identity.as_ref().and_then(|identity| identity.label.clone());
        [own, volume.label.clone()].into_iter().flatten().collect::<Vec<_>>()
    };
    let with = |same: fn(&str, &str) -> bool| -> Vec<&OpenVolume> {
        let has = |volume: &&OpenVolume| labels(volume).iter().any(|label| same(label, name));
        volumes.iter().filter(has).collect()
    };
    let mut found = with(|a, b| a == b);
    if found.is_empty() {
        found = with(|a, b| a.to_lowercase() == b.to_lowercase());
    }
    // Of a group and the partition it lies on, the one with files is meant.
    if found.len() > 1 && found.iter().any(|volume| volume.may_have_files()) {
        found.retain(|volume| volume.may_have_files());
    }
    match found.as_slice() {
        [] => Ok(None),
        [volume] => Ok(Some(volume)),
        several => {
            let names: Vec<_> = several.iter().map(|volume| volume.name.as_str()).collect();
            Err(Error::usage(format!("several volumes are labelled '{}'", shown(name.as_bytes())))
                .hint(format!("name one of them: {}", names.join(", "))))
        }
    }
}

/// The volumes in words: "1 (ESP, FAT32), 2 (Windows, NTFS)".
#[must_use]
pub fn list_of<'a>(volumes: impl IntoIterator<Item = &'a OpenVolume>) -> String {
    let mut text = String::new();
    for volume in volumes {
        let comma = if text.is_empty() { "" } else { ", " };
        let label = volume.any_label().map(|label| shown(label.as_bytes()));
        let kind = volume.identity.as_ref().map(|identity| identity.name.clone());
        let facts: Vec<String> = [label, kind].into_iter().flatten().collect();
        let _ = write!(text, "{comma}{}", volume.name);
        if !facts.is_empty() {
            let _ = write!(text, " ({})", facts.join(", "));
        }
    }
    text
}

/// The disc that all of these volumes are parts of, or the same files by
/// another name. What is left of an older disc at the start of a disk is none:
/// partitions lie behind its end.
fn disc<'a>(volumes: &[&'a OpenVolume]) -> Option<&'a OpenVolume> {
    let disc = volumes.iter().find(|volume| volume.name == "disk")?;
    let all = Extent::new(0, disc.identity.as_ref()?.size);
    let is_of_it = |volume: &&OpenVolume| {
        let is_inside = volume.extent.is_some_and(|extent| all.contains(&extent));
        is_inside || volume.name == disc.name || volume.name.starts_with("disk/")
    };
    volumes.iter().all(is_of_it).then_some(disc)
}

/// The volume that is meant without a name: the only one with files, or the
/// disc that all others are parts of.
///
/// # Errors
/// Usage, with a list of the volumes, if there are several; unsupported if none
/// can be read.
pub fn only_volume(disk: &OpenDisk) -> Result<&OpenVolume> {
    let with_files: Vec<&OpenVolume> =
        disk.volumes().iter().filter(|volume| volume.may_have_files()).collect();
    if let Some(disc) = disc(&with_files) {
        return Ok(disc);
    }
    match (with_files.as_slice(), disk.volumes()) {
        ([volume], _) => Ok(volume),
        ([], [volume]) => Ok(volume),
        ([], volumes) => Err(Error::unsupported(format!(
            "{} has no volume whose files can be read; it has {}",
            disk.name,
            list_of(volumes)
        ))
        .hint(format!("'dacapo ls {}' says why", disk.name))),
        (several, _) => {
            let first = several.first().map_or("1", |volume| volume.name.as_str());
            Err(Error::usage(format!(
                "{} has several volumes with files: {}",
                disk.name,
                list_of(several.iter().copied())
            ))
            .hint(format!("name one in front of the path, as in {first}:/")))
        }
    }
}

/// Finds what a user wrote. Symbolic links on the way are followed inside of
/// the volume, and one at the end if it ends in `/`.
///
/// # Errors
/// Usage if it is not there; what keeps the volume from being read.
pub fn find<'a>(disk: &'a OpenDisk, text: &[u8]) -> Result<Place<'a>> {
    let spec = parse(disk, text)?;
    let volume = match spec.volume {
        Some(volume) => volume,
        None => only_volume(disk)?,
    };
    resolve(volume, &spec.path)
}

/// Finds a path of a volume.
///
/// # Errors
/// As [`find`].
pub fn resolve<'a>(volume: &'a OpenVolume, path: &[u8]) -> Result<Place<'a>> {
    let mut path = path.to_vec();
    if volume.is_dos() {
        path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    let files = volume.files()?;
    let found = Resolver { volume, files: &*files, links: 0 }.resolve(&path)?;
    let (node, kind) = found
        .last()
        .map_or_else(|| (files.root(), NodeKind::Folder), |(_, entry)| (entry.node, entry.kind));
    let path = found.last().map_or_else(|| b"/".to_vec(), |(path, _)| path.clone());
    Ok(Place { volume, files, node, kind, path })
}

struct Resolver<'a> {
    volume: &'a OpenVolume,
    files: &'a dyn Files,
    links: usize,
}

/// The parts of a path that were found, each with its path.
type Chain = Vec<(Vec<u8>, DirectoryEntry)>;

impl Resolver<'_> {
    fn resolve(&mut self, path: &[u8]) -> Result<Chain> {
        let ends_in_folder = path.ends_with(b"/") || path.ends_with(b"/.");
        // What is still to do, the next part last.
        let mut left: Vec<Vec<u8>> = parts(path).map(<[u8]>::to_vec).collect();
        left.reverse();
        let mut chain = Chain::new();
        while let Some(part) = left.pop() {
            if part == b".." {
                chain.pop();
                continue;
            }
            let (above, folder) = chain.last().map_or_else(
                || (b"/".to_vec(), self.files.root()),
                |(path, entry)| (path.clone(), entry.node),
            );
            if let Some((path, entry)) = chain.last()
                && entry.kind != NodeKind::Folder
            {
                return Err(Error::usage(format!("{} is no folder", self.volume.shown(path))));
            }
            let path = join(&above, &part);
            let text = self.volume.shown(&path);
            let found = self.files.lookup(folder, &part).map_err(|error| at(&text, error))?;
            let Some(entry) = found else {
                return Err(self.nothing(&above, &part));
            };
            if entry.kind == NodeKind::Link && (!left.is_empty() || ends_in_folder) {
                self.links += 1;
                if self.links > MAX_LINKS {
                    return Err(Error::damaged(format!("{text}: too many symbolic links")));
                }
                let target =
                    self.files.link_target(entry.node).map_err(|error| at(&text, error))?;
                if target.starts_with(b"/") {
                    chain.clear();
                }
                let next: Vec<Vec<u8>> = parts(&target).map(<[u8]>::to_vec).collect();
                // A target of many parts, again and again.
                if left.len() + next.len() > 4096 {
                    return Err(Error::damaged(format!("{text}: too many symbolic links")));
                }
                left.extend(next.into_iter().rev());
                continue;
            }
            chain.push((join(&above, &entry.name), entry));
        }
        if let Some((path, entry)) = chain.last()
            && ends_in_folder
            && entry.kind != NodeKind::Folder
        {
            return Err(Error::usage(format!("{} is no folder", self.volume.shown(path))));
        }
        Ok(chain)
    }

    fn nothing(&self, folder: &[u8], name: &[u8]) -> Error {
        let volume = self.volume;
        let text = volume.shown(folder);
        let error = Error::usage(format!("there is no '{}' in {text}", shown(name)));
        error.hint(format!("'dacapo ls IMAGE {text}' lists what is there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::browse::Trouble;
    use crate::browse::fake::Fake;
    use crate::error::ErrorKind;
    use crate::fs::Identity;

    fn volume(name: &str, kind: &str, label: &str, fake: Fake) -> OpenVolume {
        let identity = Identity {
            name: kind.into(),
            label: (!label.is_empty()).then(|| label.into()),
            ..Identity::default()
        };
        OpenVolume::of_files(name, identity, Arc::new(fake))
    }

    fn tree() -> Fake {
        let mut fake = Fake::default();
        let home = fake.folder(0, b"home");
        let x = fake.folder(home, b"x");
        fake.file(x, b"a:b", b"1");
        fake.link(0, b"h", b"home/x");
        fake.link(0, b"abs", b"/home");
        fake.link(0, b"loop", b"loop");
        fake.link(home, b"up", b"../../../home/x");
        fake.file(0, b"c:d", b"2");
        fake.file(0, b"back\\slash", b"2");
        fake
    }

    fn disk(volumes: Vec<OpenVolume>) -> OpenDisk {
        OpenDisk::of_volumes("disk.img", volumes)
    }

    #[test]
    fn a_volume_is_named_by_number_name_or_label() {
        let disk = disk(vec![
            volume("1", "FAT32", "EFI: boot", tree()),
            volume("2", "NTFS", "Windows", tree()),
            volume("vg0/root", "ext4", "", tree()),
        ]);
        for (text, name, path) in [
            ("1:", "1", "/"),
            ("2:/home", "2", "/home"),
            ("2:home/", "2", "/home"),
            ("2", "2", "/"),
            ("Windows:/home/x", "2", "/home/x"),
            ("windows:\\home\\x", "2", "/home/x"),
            ("efi: boot:/c:d", "1", "/c:d"),
            ("vg0/root:/home/x/a:b", "vg0/root", "/home/x/a:b"),
            ("vg0/root:h/a:b", "vg0/root", "/home/x/a:b"),
            ("vg0/root:/abs/x", "vg0/root", "/home/x"),
            ("vg0/root:/home/up/", "vg0/root", "/home/x"),
            ("vg0/root:/h", "vg0/root", "/h"),
            ("vg0/root:/h/", "vg0/root", "/home/x"),
            ("vg0/root:back\\slash", "vg0/root", "/back\\slash"),
            ("vg0/root:/../..", "vg0/root", "/"),
        ] {
            let place = find(&disk, text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(place.volume.name, name, "{text}");
            assert_eq!(shown(&place.path), path, "{text}");
        }
        for (text, says) in [
            ("3:/x", "no volume '3'"),
            ("C:\\Users", "no volume 'C'"),
            ("/home", "several volumes"),
            ("2:/nothing", "no 'nothing' in 2:/"),
            ("2:/c:d/x", "is no folder"),
            ("2:/c:d/", "is no folder"),
            ("2:/loop/x", "too many"),
        ] {
            let error = find(&disk, text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn without_a_name_the_only_volume_is_meant() {
        let disk = disk(vec![volume("1", "ext4", "x", tree())]);
        for (text, path) in
            [("/home", "/home"), ("home/x", "/home/x"), ("c:d", "/c:d"), ("", "/"), ("./1", "")]
        {
            match find(&disk, text.as_bytes()) {
                Ok(place) => assert_eq!(shown(&place.path), path, "{text}"),
                Err(error) => assert!(path.is_empty(), "{text}: {error}"),
            }
        }
        let two = self::disk(vec![
            volume("1", "ext4", "same", tree()),
            volume("2", "ext4", "same", tree()),
        ]);
        let error = find(&two, b"same:/").unwrap_err();
        assert!(error.to_string().contains("several"), "{error}");
    }

    #[test]
    fn of_several_volumes_those_are_named_that_may_be_meant() {
        let of = |name: &str, kind: ErrorKind| {
            OpenVolume::of_trouble(name, None, Trouble { kind, why: "so it is".into() })
        };
        let disk = disk(vec![
            volume("1", "ext4", "x", tree()),
            of("2", ErrorKind::Unsupported),
            of("3", ErrorKind::Damaged),
        ]);
        let error = find(&disk, b"/home").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().ends_with("with files: 1 (x, ext4), 3"), "{error}");
    }
}
