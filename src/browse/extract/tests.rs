// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extraction out of filesystems that no healthy disk has. Real ones are in
//! `tests/browse`.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::browse::OpenVolume;
use crate::browse::fake::Fake;
use crate::browse::path::resolve;
use crate::fs::Identity;

/// Keeps what it is told.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn note(&self, event: &Event) {
        let text = match event {
            Event::Lost { path, cause } => format!("{path}: {cause}"),
            Event::Notice(text) => text.clone(),
            _ => return,
        };
        self.0.lock().unwrap().push(text);
    }
}

fn volume(fake: Fake) -> OpenVolume {
    let identity = Identity { name: "ext4".into(), ..Identity::default() };
    OpenVolume::of_files("1", identity, Arc::new(fake))
}

fn extract(
    volume: &OpenVolume,
    paths: &[&str],
    destination: &Path,
    options: &Options,
) -> Result<(Extracted, Vec<String>)> {
    let sources: Vec<Place> =
        paths.iter().map(|path| resolve(volume, path.as_bytes()).unwrap()).collect();
    let plan = Destination::plan(destination, &sources, options.overwrite)?;
    let heard = Heard::default();
    let extracted = run(&sources, &plan, options, &Cancel::default(), &heard)?;
    let heard = heard.0.into_inner().unwrap();
    assert_eq!(heard.len() as u64, extracted.lost + extracted.renamed, "{heard:?}");
    Ok((extracted, heard))
}

/// Nothing half done is left.
fn check_tidy(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        assert!(!name.as_bytes().starts_with(b".dacapo-"), "{name:?}");
        if entry.file_type().unwrap().is_dir() {
            check_tidy(&entry.path());
        }
    }
}

#[test]
fn a_tree_comes_out_as_it_is() {
    let mut fake = Fake::default();
    let a = fake.folder(0, b"a");
    let big = vec![7; 3 << 20];
    fake.file(a, b"big", &big);
    let mut sparse = vec![0; 4 << 20];
    sparse[2 << 20] = 1;
    fake.file(a, b"sparse", &sparse);
    fake.file(a, b"empty", b"");
    fake.link(a, b"link", b"/etc/passwd");
    let one = fake.file(a, b"one", b"hard");
    fake.link_folder(0, b"two", one);
    fake.get_mut(one).attributes.links = 2;
    fake.get_mut(a).attributes.mode = Some(0o2710);
    let set = fake.file(a, b"setuid", b"x");
    fake.get_mut(set).attributes.mode = Some(0o4755);
    fake.get_mut(set).attributes.owner = Some((1, 1));
    let of_nobody = fake.file(a, b"of-nobody", b"x");
    fake.get_mut(of_nobody).attributes.mode = Some(0o6755);
    fake.node(a, b"pipe", NodeKind::Pipe, b"");
    let volume = volume(fake);
    let out = tempfile::tempdir().unwrap();
    let (extracted, heard) = extract(&volume, &["/"], out.path(), &Options::default()).unwrap();
    assert!(heard.is_empty(), "{heard:?}");
    assert_eq!((extracted.files, extracted.folders), (6, 1));
    assert_eq!((extracted.hard_links, extracted.others), (1, 1));
    extracted.finding().unwrap();
    let a = out.path().join("a");
    assert_eq!(fs::read(a.join("big")).unwrap(), big);
    assert_eq!(fs::read(a.join("sparse")).unwrap(), sparse);
    assert_eq!(fs::read(a.join("empty")).unwrap(), b"");
    let of = |path: &Path| fs::symlink_metadata(path).unwrap();
    assert!(of(&a.join("sparse")).blocks() * 512 < 1 << 20, "no holes");
    assert_eq!(fs::read_link(a.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(of(&a.join("one")).ino(), of(&out.path().join("two")).ino());
    assert_eq!(of(&a).permissions().mode() & 0o7777, 0o2710);
    assert_eq!(of(&a.join("setuid")).permissions().mode() & 0o7777, 0o755);
    assert!(!a.join("pipe").exists());
    for path in [a.clone(), a.join("big"), a.join("link")] {
        assert_eq!((of(&path).mtime(), of(&path).mtime_nsec()), (1_700_000_000, 123_456_700));
    }
    let notes = extracted.notes.join("\n");
    assert!(notes.contains("1 pipe left") && notes.contains("2 setuid"), "{notes}");
    check_tidy(out.path());
    // Once more: everything is there already.
    let error = extract(&volume, &["/"], out.path(), &Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let options = Options { overwrite: true, special: true, setuid: true, ..Options::default() };
    let (extracted, heard) = extract(&volume, &["/"], out.path(), &options).unwrap();
    assert!(heard.is_empty() && extracted.lost == 0, "{heard:?}");
    // A program runs as its owner, and only if that is whom it was made for.
    let is_root = nix::unistd::geteuid().is_root();
    let mode = |name: &str| of(&a.join(name)).permissions().mode() & 0o7777;
    assert_eq!(mode("setuid"), if is_root { 0o4755 } else { 0o755 });
    assert_eq!(mode("of-nobody"), 0o755);
    assert_eq!(of(&a.join("one")).ino(), of(&out.path().join("two")).ino());
    assert!(a.join("pipe").exists());
    check_tidy(out.path());
}

#[test]
fn nothing_is_written_outside_of_the_destination() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().as_os_str().as_bytes();
    let victim = outside.path().join("victim");
    fs::write(&victim, "as it was").unwrap();
    let mut fake = Fake::default();
    for name in [&b".."[..], b"../x", b"/abs", b"a/../../x", b"."] {
        fake.file(0, name, b"escaped");
    }
    // A link, and then a folder of the same name with a file in it.
    fake.link(0, b"twice", target);
    let twice = fake.folder(0, b"twice");
    fake.file(twice, b"escaped", b"x");
    // And a file in the place of a link, both ways round.
    fake.link(0, b"file", victim.as_os_str().as_bytes());
    fake.file(0, b"file", b"escaped");
    fake.file(0, b"other", b"escaped");
    fake.link(0, b"other", victim.as_os_str().as_bytes());
    // What a link planted before would lead to.
    let planted = fake.folder(0, b"planted");
    fake.file(planted, b"escaped", b"x");
    fake.file(0, b"planted-file", b"escaped");
    let volume = volume(fake);
    for overwrite in [false, true] {
        let out = tempfile::tempdir().unwrap();
        let into = out.path().join("into");
        fs::create_dir(&into).unwrap();
        if overwrite {
            std::os::unix::fs::symlink(outside.path(), into.join("planted")).unwrap();
            std::os::unix::fs::symlink(&victim, into.join("planted-file")).unwrap();
        }
        let options = Options { overwrite, ..Options::default() };
        let (extracted, heard) = extract(&volume, &["/"], &into, &options).unwrap();
        assert!(extracted.lost >= 5, "{heard:?}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{heard:?}");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
        if overwrite {
            assert_eq!(fs::read(into.join("planted-file")).unwrap(), b"escaped");
            assert!(
                heard.iter().any(|text| text.contains("planted") && text.contains("no folder"))
            );
        } else {
            assert_eq!(fs::read(into.join("planted/escaped")).unwrap(), b"x");
        }
        check_tidy(&into);
    }
}

#[test]
fn the_name_of_a_stream_is_no_path() {
    let out = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let mut fake = Fake::default();
    let z = fake.file(0, b"z", b"content");
    let absolute = [b"/", outside.path().as_os_str().as_bytes(), b"/a"].concat();
    fake.get_mut(z).streams = [&b"../../../escaped"[..], b"/../../escaped", b"a\0b", &absolute]
        .map(|name| (name.to_vec(), b"stream".to_vec()))
        .into();
    // Their first parts are folders that are there.
    fake.folder(0, b"z:");
    fake.folder(0, b"z:..");
    // That of a folder is a link by then, which leads out.
    let many = fake.folder(0, b"many");
    fake.get_mut(many).streams = vec![(b"/escaped".to_vec(), b"stream".to_vec())];
    let volume = volume(fake);
    let into = out.path().join("deep/into");
    fs::create_dir_all(&into).unwrap();
    std::os::unix::fs::symlink(outside.path(), into.join("many:")).unwrap();
    let options = Options { streams: true, overwrite: true, ..Options::default() };
    let (extracted, heard) = extract(&volume, &["/"], &into, &options).unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{heard:?}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "{heard:?}");
    assert_eq!(fs::read_dir(out.path().join("deep")).unwrap().count(), 1, "{heard:?}");
    assert_eq!(fs::read_dir(into.join("z:")).unwrap().count(), 0, "{heard:?}");
    // Each is told, and its content is there under a name that leads nowhere.
    assert_eq!((extracted.renamed, extracted.lost), (5, 0), "{heard:?}");
    assert_eq!(extracted.finding().unwrap_err().kind(), ErrorKind::Losses);
    for part in ["1:/z:../../../escaped was extracted as ", "1:/z:a\\x00b ", "1:/many:/escaped "] {
        assert!(heard.iter().any(|text| text.starts_with(part)), "{part}: {heard:?}");
    }
    let kept = fs::read_dir(&into).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.filter(|it| it.is_file() && fs::read(it).unwrap() == b"stream").count();
    assert_eq!(kept, 5, "{heard:?}");
    check_tidy(&into);
}

#[test]
fn what_is_damaged_is_named_and_all_else_is_there() {
    let mut fake = Fake::default();
    let bad = fake.file(0, b"bad\x1b[2J", &[1; 100_000]);
    fake.get_mut(bad).is_damaged = true;
    let gone = fake.folder(0, b"gone");
    fake.get_mut(gone).is_damaged = true;
    let long = fake.file(0, b"short", b"abc");
    fake.get_mut(long).attributes.size = 1 << 40;
    fake.file(0, b"good", b"good");
    fake.node(0, b"cloud", NodeKind::Other("a reparse point of a cloud"), b"");
    let volume = volume(fake);
    let out = tempfile::tempdir().unwrap();
    let (extracted, heard) = extract(&volume, &["/"], out.path(), &Options::default()).unwrap();
    assert_eq!(extracted.lost, 4, "{heard:?}");
    assert_eq!(extracted.finding().unwrap_err().kind(), ErrorKind::Losses);
    for part in ["1:/bad\\x1b[2J: file at byte", "1:/gone: folder", "1:/short: it ends", "1:/cloud"]
    {
        assert!(heard.iter().any(|text| text.starts_with(part)), "{part}: {heard:?}");
    }
    let mut names: Vec<_> =
        fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["gone", "good"]);
}

#[test]
fn names_that_the_destination_cannot_hold_are_told() {
    let mut fake = Fake::default();
    let long = "\u{4e2d}".repeat(200);
    fake.file(0, long.as_bytes(), b"long");
    let folder = fake.folder(0, (long.clone() + ".d").as_bytes());
    fake.file(folder, b"x\ny\xff", b"strange");
    // Two of one name cannot both be there.
    fake.file(0, b"same", b"1");
    fake.file(0, b"same", b"2");
    let volume = volume(fake);
    let out = tempfile::tempdir().unwrap();
    let (extracted, heard) = extract(&volume, &["/"], out.path(), &Options::default()).unwrap();
    // The destination is empty, so that what is in the way was put there now.
    assert_eq!((extracted.renamed, extracted.lost), (3, 0), "{heard:?}");
    let new = out.path().join("new");
    let (extracted, heard) = extract(&volume, &["/"], &new, &Options::default()).unwrap();
    assert_eq!((extracted.renamed, extracted.lost), (3, 0), "{heard:?}");
    assert_eq!(extracted.finding().unwrap_err().kind(), ErrorKind::Losses);
    assert_eq!(extracted.files, 4);
    let folder =
        fs::read_dir(&new).unwrap().map(|entry| entry.unwrap().path()).find(|it| it.is_dir());
    let strange = folder.unwrap().join(std::ffi::OsStr::from_bytes(b"x\ny\xff"));
    assert_eq!(fs::read(strange).unwrap(), b"strange");
}

#[test]
fn the_destination_is_that_of_cp() {
    let mut fake = Fake::default();
    fake.file(0, b"a", b"1");
    let b = fake.folder(0, b"b");
    fake.file(b, b"a", b"2");
    let volume = volume(fake);
    let out = tempfile::tempdir().unwrap();
    let at = |name: &str| out.path().join(name);
    let options = Options::default();
    let go = |paths: &[&str], name: &str| {
        extract(&volume, paths, &at(name), &options).map_err(|error| error.kind())
    };
    go(&["/a"], "new").unwrap();
    assert_eq!(fs::read(at("new")).unwrap(), b"1");
    go(&["/b"], "folder").unwrap();
    assert_eq!(fs::read(at("folder/a")).unwrap(), b"2");
    go(&["/b", "/a"], "folder").unwrap_err();
    go(&["/b"], "folder").unwrap();
    assert_eq!(fs::read(at("folder/b/a")).unwrap(), b"2");
    go(&["/a", "/b"], "several").unwrap();
    assert_eq!(fs::read(at("several/b/a")).unwrap(), b"2");
    for (paths, name, kind) in [
        (&["/a"][..], "new", ErrorKind::Refused),
        (&["/b"], "new", ErrorKind::Usage),
        (&["/a"], "folder", ErrorKind::Refused),
        (&["/"], "folder", ErrorKind::Refused),
        (&["/a", "/b/a"], "other", ErrorKind::Usage),
        (&["/a"], "nowhere/x", ErrorKind::Usage),
    ] {
        assert_eq!(go(paths, name).unwrap_err(), kind, "{paths:?} {name}");
    }
    assert_eq!(fs::read(at("new")).unwrap(), b"1");
}

/// Cancels as soon as so many bytes are done.
struct CancelsAt {
    cancel: Cancel,
    bytes: AtomicU64,
    limit: u64,
}

impl Progress for CancelsAt {
    fn advance(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.limit {
            self.cancel.cancel();
        }
    }
}

#[test]
fn a_hundred_thousand_names_and_an_interruption() {
    const COUNT: usize = 100_000;
    let mut fake = Fake::default();
    for n in 0..COUNT {
        fake.file(0, format!("{n:06}").as_bytes(), b"content");
    }
    let volume = volume(fake);
    let listed = crate::browse::walk::list(&*volume.files().unwrap(), Node::new(0));
    assert_eq!(listed.entries.len(), COUNT);
    let sources = [resolve(&volume, b"/").unwrap()];
    let out = tempfile::tempdir().unwrap();
    let plan = Destination::plan(out.path(), &sources, false).unwrap();
    let cancel = Cancel::default();
    let progress = CancelsAt { cancel: cancel.clone(), bytes: AtomicU64::new(0), limit: 7 * 1000 };
    let error = run(&sources, &plan, &Options::default(), &cancel, &progress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    check_tidy(out.path());
    // What is there is whole, and it is not all of it.
    let mut count = 0;
    for entry in fs::read_dir(out.path()).unwrap() {
        assert_eq!(fs::read(entry.unwrap().path()).unwrap(), b"content");
        count += 1;
    }
    assert!((1..COUNT / 2).contains(&count), "{count}");
}

#[test]
fn a_new_folder_is_closed_to_others_until_it_is_complete() {
    /// Looks at the permissions of a folder at every file.
    struct Looks<'a>(&'a Path, Mutex<Vec<u32>>);
    impl Progress for Looks<'_> {
        fn advance(&self, _: u64) {
            let mode = fs::metadata(self.0).unwrap().permissions().mode() & 0o7777;
            self.1.lock().unwrap().push(mode);
        }
    }
    let mut fake = Fake::default();
    fake.get_mut(0).attributes.mode = Some(0o751);
    let a = fake.folder(0, b"a");
    fake.file(a, b"x", b"1");
    fake.file(0, b"y", b"1");
    let volume = volume(fake);
    let out = tempfile::tempdir().unwrap();
    // The content of a volume, and several things in a folder that is new.
    for (paths, name, is_root) in [(&["/"][..], "new", true), (&["/a", "/y"], "several", false)] {
        let to = out.path().join(name);
        let sources: Vec<Place> =
            paths.iter().map(|path| resolve(&volume, path.as_bytes()).unwrap()).collect();
        let plan = Destination::plan(&to, &sources, false).unwrap();
        let looks = Looks(&to, Mutex::default());
        let extracted =
            run(&sources, &plan, &Options::default(), &Cancel::default(), &looks).unwrap();
        assert_eq!((extracted.files, extracted.lost), (2, 0));
        let seen = looks.1.into_inner().unwrap();
        assert!(!seen.is_empty() && seen.iter().all(|mode| *mode == 0o700), "{seen:?}");
        let found = fs::metadata(&to).unwrap();
        let mode = found.permissions().mode() & 0o7777;
        if is_root {
            assert_eq!((mode, found.mtime()), (0o751, 1_700_000_000));
        } else {
            let usual = out.path().join("usual");
            fs::create_dir(&usual).unwrap();
            assert_eq!(mode, fs::metadata(usual).unwrap().permissions().mode() & 0o7777);
        }
    }
    // One that was there keeps its own.
    let there = out.path().join("there");
    fs::create_dir(&there).unwrap();
    fs::set_permissions(&there, fs::Permissions::from_mode(0o710)).unwrap();
    extract(&volume, &["/"], &there, &Options::default()).unwrap();
    assert_eq!(fs::metadata(&there).unwrap().permissions().mode() & 0o7777, 0o710);
}

#[test]
fn attributes_that_are_not_taken_are_told() {
    let mut fake = Fake::default();
    let long = fake.file(0, b"long", b"1");
    // Longer than any name of an attribute, and than any value.
    fake.get_mut(long).extended =
        vec![(vec![b'n'; 300], b"1".to_vec()), (b"user.value".to_vec(), vec![1; 100_000])];
    let folder = fake.folder(0, b"folder");
    fake.get_mut(folder).extended = vec![(b"user.value".to_vec(), vec![1; 100_000])];
    let link = fake.link(0, b"link", b"long");
    // No filesystem of Linux has these on links.
    fake.get_mut(link).extended = vec![(b"user.a".to_vec(), b"1".to_vec())];
    let good = fake.file(0, b"good", b"1");
    fake.get_mut(good).extended = vec![(b"user.a".to_vec(), b"1".to_vec())];
    fake.get_mut(good).attributes.mode = Some(0o444);
    let volume = volume(fake);
    let out = tempfile::tempdir().unwrap();
    let (extracted, heard) = extract(&volume, &["/"], out.path(), &Options::default()).unwrap();
    assert_eq!((extracted.files, extracted.lost), (2, 3), "{heard:?}");
    assert_eq!(extracted.finding().unwrap_err().kind(), ErrorKind::Losses);
    for part in
        ["1:/long, its extended attribute user.nnn", "1:/long, its extended", "1:/folder, its ext"]
    {
        assert!(heard.iter().any(|text| text.starts_with(part)), "{part}: {heard:?}");
    }
    let notes = extracted.notes.join("\n");
    assert!(notes.contains("1 extended attribute 'user.*' not kept"), "{notes}");
    let mut value = [0; 8];
    let len = rustix::fs::getxattr(out.path().join("good"), "user.a", &mut value).unwrap();
    assert_eq!(&value[..len], b"1");
}
