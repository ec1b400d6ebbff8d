// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which image and which disk somebody means who is not there to be asked:
//! exactly one of each, or none.

use super::{Kind, Target};
use crate::device::Disk;
use crate::layout::Layout;
use crate::media::FoundImage;
use crate::units::human;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<T> {
    /// Nothing that is there.
    None,
    /// This, and nothing else.
    One(T),
    /// More than one.
    Several,
}

impl<T> Choice<T> {
    fn of(mut found: impl Iterator<Item = T>) -> Self {
        match (found.next(), found.next()) {
            (None, _) => Self::None,
            (Some(one), None) => Self::One(one),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

/// The image of this label, file name or path on its drive. Copies of one
/// image on several drives are one.
#[must_use]
pub fn image<'a>(wanted: &str, found: &'a [FoundImage]) -> Choice<&'a FoundImage> {
    let mut meant: Vec<&FoundImage> = Vec::new();
    for image in found.iter().filter(|image| is_called(image, wanted)) {
        let id = |image: &FoundImage| image.facts.as_ref().map(|facts| facts.image_id);
        let same = meant.iter_mut().find(|other| id(image).is_some() && id(other) == id(image));
        match same {
            // A whole copy is better than a broken one.
            Some(other) if other.error.is_some() => *other = image,
            Some(_) => {}
            None => meant.push(image),
        }
    }
    Choice::of(meant.into_iter())
}

fn is_called(image: &FoundImage, wanted: &str) -> bool {
    let path = &image.path_on_medium;
    let point = image.medium.point.as_deref();
    let is_label = image
        .facts
        .as_ref()
        .and_then(|facts| facts.label.as_deref())
        .is_some_and(|label| label.trim() == wanted.trim());
    is_label
        || path.to_str() == Some(wanted.trim_start_matches('/'))
        || path.file_name().and_then(|name| name.to_str()) == Some(wanted)
        || point.is_some_and(|point| point.join(path).to_str() == Some(wanted))
}

/// The disk of this serial number; of a disk without one, its size in bytes.
#[must_use]
pub fn target<'a>(wanted: &str, disks: &'a [Disk]) -> Choice<&'a Disk> {
    Choice::of(disks.iter().filter(|disk| as_target(disk).is_named(wanted)))
}

fn as_target(disk: &Disk) -> Target {
    let identity = &disk.identity;
    Target {
        path: identity.path.clone(),
        kind: Kind::Device {
            model: identity.model.clone(),
            serial: identity.serial.clone(),
            size: identity.size,
        },
        layout: Layout::default(),
    }
}

/// A line about an image, for somebody who looks why none was chosen.
#[must_use]
pub fn describe_image(image: &FoundImage) -> String {
    let path = image.path_on_medium.display();
    let what = match &image.facts {
        Some(facts) => format!("'{}' of {}", facts.title(), facts.created),
        None => "broken".into(),
    };
    let error = image.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    format!("{what}: {path} {}{error}", image.medium)
}

/// A line about a disk, for somebody who looks why none was chosen.
#[must_use]
pub fn describe_disk(disk: &Disk) -> String {
    let identity = &disk.identity;
    let model = identity.model.as_deref().unwrap_or("a disk without a model");
    let serial = match identity.serial.as_deref().map(str::trim).filter(|it| !it.is_empty()) {
        Some(serial) => format!("serial {serial}"),
        None => format!("no serial number, {} bytes", identity.size),
    };
    format!("{model}, {serial}, {}: {}", human(identity.size), identity.path)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::device::{DeviceNumber, DiskIdentity};
    use crate::media::{Facts, Medium};

    fn facts(id: u128, label: &str) -> Facts {
        Facts {
            image_id: Uuid::from_u128(id),
            label: Some(label.into()),
            note: None,
            created: "2026-11-20".into(),
            machine: None,
            disk: DiskIdentity::default(),
            disk_len: 1,
            used: 1,
            layout: Layout::default(),
        }
    }

    fn found(device: &str, path: &str, facts: Option<Facts>) -> FoundImage {
        let medium = Medium { device: device.into(), ..Medium::default() };
        let error = facts.is_none().then(|| "broken".into());
        FoundImage { medium, path_on_medium: path.into(), size: 1, facts, error }
    }

    #[test]
    fn an_image_is_named_by_label_name_or_path() {
        let images = [
            found("/dev/sdb1", "images/a.img.zst", Some(facts(1, "Studio"))),
            found("/dev/sdb1", "images/b.img.zst", Some(facts(2, "Live"))),
        ];
        for name in ["Studio", " Studio", "a.img.zst", "images/a.img.zst", "/images/a.img.zst"] {
            assert_eq!(image(name, &images), Choice::One(&images[0]), "{name}");
        }
        for name in ["studio", "Stud", "c.img.zst", "b/a.img.zst", ""] {
            assert_eq!(image(name, &images), Choice::None, "{name}");
        }
    }

    #[test]
    fn two_images_of_one_label_are_no_choice_but_two_copies_are_one() {
        let two = [
            found("/dev/sdb1", "a.img.zst", Some(facts(1, "Studio"))),
            found("/dev/sdb1", "b.img.zst", Some(facts(2, "Studio"))),
        ];
        assert_eq!(image("Studio", &two), Choice::Several);
        let mut copies = [
            found("/dev/sdb1", "a.img.zst", Some(facts(1, "Studio"))),
            found("/dev/sdc1", "a.img.zst", Some(facts(1, "Studio"))),
        ];
        assert_eq!(image("Studio", &copies), Choice::One(&copies[0]));
        copies[0].error = Some("its end is missing".into());
        assert_eq!(image("Studio", &copies), Choice::One(&copies[1]));
        // Nobody knows whether a broken one is the same.
        let broken = [copies[1].clone(), found("/dev/sdd1", "a.img.zst", None)];
        assert_eq!(image("a.img.zst", &broken), Choice::Several);
    }

    fn disk(path: &str, serial: Option<&str>, size: u64) -> Disk {
        let identity = DiskIdentity {
            path: path.into(),
            serial: serial.map(str::to_owned),
            size,
            ..DiskIdentity::default()
        };
        Disk {
            identity,
            name: String::new(),
            number: DeviceNumber { major: 8, minor: 0 },
            read_only: false,
            removable: false,
            discard: false,
            zoned: false,
            users: Vec::new(),
            partitions: Vec::new(),
        }
    }

    #[test]
    fn a_disk_is_named_by_its_serial_number_only() {
        let disks = [
            disk("/dev/sda", Some("S1 "), 1000),
            disk("/dev/sdb", Some("S2"), 1000),
            disk("/dev/sdc", None, 2000),
        ];
        assert_eq!(target("s1", &disks), Choice::One(&disks[0]));
        assert_eq!(target("2000", &disks), Choice::One(&disks[2]));
        for name in ["1000", "S", "", "/dev/sda"] {
            assert_eq!(target(name, &disks), Choice::None, "{name}");
        }
    }

    #[test]
    fn two_disks_alike_are_no_choice() {
        let disks = [disk("/dev/sda", Some("0123"), 1000), disk("/dev/sdb", Some("0123"), 1000)];
        assert_eq!(target("0123", &disks), Choice::Several);
        let disks = [disk("/dev/sda", None, 1000), disk("/dev/sdb", None, 1000)];
        assert_eq!(target("1000", &disks), Choice::Several);
    }
}
