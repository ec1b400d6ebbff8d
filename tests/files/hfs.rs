// SPDX-License-Identifier: MIT OR Apache-2.0
//! HFS, against hfsutils, which also make the volumes, and against Linux.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use dacapo::fs::Files;
use dacapo::fs::files::{Node, NodeKind};
use dacapo::ondisk::Fields as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{find, list_all, read_all, volumes_of};
use crate::support::{TempDir, all, dacapo, requires, run, temp_dir};

const TOOLS: &[&str] =
    &["python3", "hformat", "hmount", "hmkdir", "hls", "hcopy", "hdel", "hattrib"];

/// Seconds from the beginning of 1904 to that of 1970.
const EPOCH: i64 = 2_082_844_800;

/// Makes a file of MacBinary with both forks: NAME DATA RESOURCE.
pub(crate) const MACBINARY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make-images/macbinary.py");

/// A volume with as many folders and files in each as there is asked for, deep
/// folders, names of all kinds, resource forks, and flags.
const MANY: &str = r#"
cd "$1"; export HOME=$1
truncate -s 40M many.hfs
hformat -l 'Many Files' many.hfs >/dev/null
for d in $(seq "$3"); do
  mkdir "f$d"
  for n in $(seq "$4"); do head -c $((n * d)) /dev/urandom >"f$d/file $n of folder $d"; done
  hmkdir ":Folder $d"
  hcopy -r "f$d"/* ":Folder $d:"
done
path=:
for d in $(seq 12); do
  path="${path}deep $d:"; hmkdir "${path%:}"
  echo "$d" >deep; hcopy -r deep "$path"
done
hmkdir ':empty'
head -c 100000 /dev/urandom >data; head -c 54321 /dev/urandom >resource; : >none
for name in 'a/b' 'plain' $'caf\303\251' $'\342\202\254 \317\200 \357\243\277' '31 letters is the longest there'; do
  python3 "$2" "$name" data resource >x.bin; hcopy -m x.bin :
done
python3 "$2" 'only a resource fork' none resource >x.bin; hcopy -m x.bin :
hattrib +l ':plain'
hattrib +i ':only a resource fork'
humount
"#;

/// A floppy with no room but between its files.
const TORN: &str = r#"
cd "$1"; export HOME=$1
truncate -s 1440K torn.hfs
hformat -l 'Torn' torn.hfs >/dev/null
mkdir small
for n in $(seq 1000 1560); do head -c 1500 /dev/urandom >small/$n; done
hcopy -r small/* :
n=0
while head -c 3000 /dev/urandom >fill && hcopy -r fill ":fill $((++n))" 2>/dev/null; do :; done
hdel $(seq -f ':%g' 1000 2 1560)
head -c 300000 /dev/urandom >data; head -c 70000 /dev/urandom >resource
python3 "$2" both data resource >x.bin; hcopy -m x.bin :
humount
"#;

struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        Self(temp_dir())
    }

    #[track_caller]
    fn run(&self, script: &str, args: &[&str]) {
        let folder = self.0.path().to_str().expect("a plain name");
        run("bash", &[&["-euc", script, "bash", folder, MACBINARY], args].concat());
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

/// What hfsutils show of a volume, by its path.
#[track_caller]
fn theirs(image: &Path) -> BTreeMap<String, Value> {
    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make-images/hfs_judge.py");
    let ran = run("python3", &[judge, image.to_str().expect("a plain name")]);
    let lines = ran.out().lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    lines.map(|it: Value| (it["path"].as_str().expect("a path").to_owned(), it)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The same by us.
fn ours(files: &dyn Files, folder: Node, path: &str, shown: &mut BTreeMap<String, Value>) {
    for entry in list_all(files, folder) {
        let name = String::from_utf8(entry.name.clone()).expect("UTF-8");
        let path = format!("{path}{name}");
        let found = files.lookup(folder, &entry.name).expect("looking a name up");
        assert_eq!(found.as_ref(), Some(&entry), "{path}");
        let known = files.attributes(entry.node).expect("asking for attributes");
        let flags = known.dos.expect("flags");
        let modified = known.times.modified.expect("a time");
        if entry.kind == NodeKind::Folder {
            let listed = modified.strftime("%b %e %H:%M").to_string();
            let it = json!({ "path": path, "invisible": flags.hidden, "listed": listed });
            shown.insert(path.clone(), it);
            ours(files, entry.node, &format!("{path}/"), shown);
            continue;
        }
        let streams = files.streams(entry.node).expect("asking for streams");
        let mut resource = vec![0; streams.first().map_or(0, |(_, size)| *size as usize)];
        if let Some((name, _)) = streams.first() {
            let read = files.read_stream_at(entry.node, name, 0, &mut resource);
            assert_eq!(read.expect("reading a resource fork"), resource.len());
            assert_eq!((name.as_slice(), streams.len()), (&b"rsrc"[..], 1), "{path}");
        }
        let data = read_all(files, entry.node);
        let places = files.places(entry.node).expect("asking for places").expect("places");
        assert_eq!(places.bytes(), data.len() as u64, "{path}");
        let finder = files.extended_attributes(entry.node).expect("asking for attributes");
        assert_eq!(finder[0].0, b"com.apple.FinderInfo", "{path}");
        let seconds = |time: Option<jiff::Timestamp>| time.expect("a time").as_second() + EPOCH;
        let it = json!({
            "path": path,
            "invisible": flags.hidden,
            "locked": flags.read_only,
            "type": hex(&finder[0].1[..4]),
            "creator": hex(&finder[0].1[4..8]),
            "lengths": [known.size, resource.len()],
            "data": hex(&Sha256::digest(&data)),
            "resource": hex(&Sha256::digest(&resource)),
            "created": seconds(known.times.created),
            "modified": seconds(known.times.modified),
        });
        shown.insert(path, it);
    }
}

/// The same names, flags, dates and forks; returns how many there are.
#[track_caller]
fn compare(image: &Path) -> usize {
    let volumes = volumes_of(image);
    let is_hfs = |volume: &&dacapo::browse::OpenVolume| {
        volume.identity.as_ref().is_some_and(|identity| identity.name == "HFS")
    };
    let volume = volumes.iter().find(is_hfs).expect("an HFS");
    let files = volume.files().unwrap_or_else(|error| panic!("{}: {error}", image.display()));
    assert_eq!(files.notice(), None);
    let (theirs, mut shown) = (theirs(image), BTreeMap::new());
    ours(files.as_ref(), files.root(), "", &mut shown);
    for (path, wanted) in &theirs {
        assert_eq!(shown.get(path), Some(wanted), "{path}");
    }
    for path in shown.keys() {
        assert!(theirs.contains_key(path), "{path}: only by us");
    }
    println!("{}: {} files and folders", image.display(), shown.len());
    shown.len()
}

/// The depth of a tree and how many records it has; its place is at this offset
/// of the master directory block.
fn tree(image: &Path, offset: usize) -> (u16, u32) {
    let disk = fs::read(image).expect("reading a volume");
    let block = &disk[1024..];
    let size = block.u32_be(0x14).unwrap() as usize;
    let start = usize::from(block.u16_be(0x1c).unwrap()) * 512;
    let node = &disk[start + usize::from(block.u16_be(offset).unwrap()) * size..];
    (node.u16_be(14).unwrap(), node.u32_be(20).unwrap())
}

const OVERFLOW: usize = 0x86;
const CATALOG: usize = 0x96;

#[test]
fn volumes_of_hfsutils_are_as_these_read_them() {
    if !requires(TOOLS) {
        return;
    }
    let scene = Scene::new();
    let (folders, files) = if all() { (40, 75) } else { (6, 60) };
    scene.run(MANY, &[&folders.to_string(), &files.to_string()]);
    let (depth, records) = tree(&scene.at("many.hfs"), CATALOG);
    assert!(depth >= 3, "{depth}");
    assert!(compare(&scene.at("many.hfs")) > folders * files, "{records}");
    scene.run(TORN, &[]);
    let (depth, records) = tree(&scene.at("torn.hfs"), OVERFLOW);
    assert!(depth >= 2 && records > 50, "{depth}: {records}");
    assert!(compare(&scene.at("torn.hfs")) > 200);
}

/// Discs for Macs and for others.
const HYBRIDS: &str = r#"
cd "$1"; export HOME=$1
mkdir -p tree/sub
head -c 100000 /dev/urandom >data; head -c 4321 /dev/urandom >resource
python3 "$2" 'An Installer' data resource >'tree/sub/An Installer.bin'
for n in $(seq 150); do echo $n >"tree/sub/file $n"; done
echo hello >'tree/Read Me'
genisoimage -quiet -hfs --macbin -R -hfs-volid 'Synth for Mac' -V SYNTH -o disc.iso tree
genisoimage -quiet -hfs --macbin -part -R -hfs-volid 'Synth for Mac' -V SYNTH -o map.iso tree
"#;

#[test]
fn discs_for_macs_are_browsed_and_extracted() {
    if !requires(&[TOOLS, &["genisoimage"]].concat()) {
        return;
    }
    let scene = Scene::new();
    scene.run(HYBRIDS, &[]);
    for (name, volume) in [("disc.iso", "disk/hfs"), ("map.iso", "2")] {
        let disc = scene.at(name);
        assert!(compare(&disc) > 150, "{name}");
        let disc = disc.to_str().expect("a plain name");
        let listed = dacapo(&["ls", disc]).success();
        let line = listed.out().lines().find(|line| line.starts_with(volume));
        assert!(line.is_some_and(|line| line.contains("HFS")), "{name}: {listed}");
        let line = listed.out().lines().find(|line| line.starts_with("disk "));
        assert!(line.is_some_and(|line| line.contains("ISO 9660")), "{name}: {listed}");
        let wanted = format!("{volume}:/sub");
        let listed = dacapo(&["ls", "-l", disc, &wanted]).success();
        assert!(listed.out().contains("An Installer"), "{listed}");
        let found = dacapo(&["find", disc, &format!("{volume}:an inst*")]).success();
        assert!(found.out().contains("An Installer"), "{found}");
        let to = scene.at(&format!("{name}.files"));
        let to = to.to_str().expect("a plain name");
        dacapo(&["extract", "--streams", disc, &wanted, to]).success();
        let read = |name: &str| fs::read(Path::new(to).join(name)).expect("an extracted file");
        assert!(read("An Installer") == fs::read(scene.at("data")).unwrap());
        assert!(read("An Installer:rsrc") == fs::read(scene.at("resource")).unwrap());
        assert_eq!(read("file 150"), b"150\n");
    }
    let map = scene.at("map.iso");
    // What the HFS calls free may be of the other filesystem: all of it is saved.
    let scan = dacapo::layout::scan(&super::DiskFile::open(&map)).expect("looking at a disc");
    assert_eq!(scan.used.bytes(), fs::metadata(&map).unwrap().len(), "{:?}", scan.layout);
    let info = dacapo(&["disc", "info", map.to_str().expect("a plain name")]).success();
    assert!(info.out().contains("HFS"), "{info}");
}

/// What Linux shows: the size, date and hash of each path.
#[test]
fn linux_shows_the_same_files() {
    if !all() || !requires(&[TOOLS, &["qemu-system-x86_64", "network"]].concat()) {
        return;
    }
    let scene = Scene::new();
    scene.run(MANY, &["40", "75"]);
    scene.run(TORN, &[]);
    let mut script = String::from("modprobe -a hfs nls_utf8 mac-roman\n");
    for disk in ["a", "b"] {
        let _ = writeln!(
            script,
            "mount -t hfs -o ro,codepage=macroman,iocharset=utf8 /dev/vd{disk} /mnt; cd /mnt; say DISC
find . -type d -exec stat -c 'FOLDER|%n' {{}} +
find . -type f -exec sha256sum {{}} +
cd /; umount /mnt"
        );
    }
    let path = scene.at("script");
    fs::write(&path, script).expect("writing a script");
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make-images/guest");
    let disks = [scene.at("many.hfs"), scene.at("torn.hfs")];
    let args = [&path, &disks[0], &disks[1]].map(|path| path.to_str().expect("a plain name"));
    let ran = run(guest, &[&["--seconds", "900"], &args[..]].concat());
    let mut parts = ran.out().split("DISC\n").skip(1);
    for disk in &disks {
        let part = parts.next().expect("two discs");
        let mut shown = BTreeMap::new();
        let files = volumes_of(disk)[0].files().expect("its files");
        ours(files.as_ref(), files.root(), "", &mut shown);
        let mut count = 0;
        for line in part.lines() {
            if let Some((hash, name)) = line.split_once("  ./") {
                assert_eq!(shown[name]["data"], hash, "{name}");
            } else if let Some(name) = line.strip_prefix("FOLDER|./") {
                assert!(find(files.as_ref(), name).is_some(), "{name}");
            } else {
                continue;
            }
            count += 1;
        }
        assert_eq!(count, shown.len(), "{}", disk.display());
    }
}
