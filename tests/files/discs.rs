// SPDX-License-Identifier: MIT OR Apache-2.0
//! ISO 9660 and UDF: discs of other programs against what these put on them,
//! and against Linux, whose drivers run in an emulated machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dacapo::fs::Files;
use dacapo::fs::files::{Node, NodeKind};

use super::{Judge, compare_files, find, list_all, read_all, volumes_of};
use crate::support::{all, dacapo, requires, run, temp_dir};

/// Files of every kind and size that a disc without Rock Ridge holds, too.
const PLAIN: &str = r#"
cd "$1"
mkdir -p tree/sub/deep tree/empty tree/d1/d2/d3/d4/d5/d6/d7/d8/d9/d10
cd tree
echo hello >'Read Me.txt'
head -c 300000 /dev/urandom >big.bin
: >zero
for n in $(seq 60); do echo $n >"sub/deep/file number $n with a rather long name, which goes on"; done
echo deep >d1/d2/d3/d4/d5/d6/d7/d8/d9/d10/f
printf 'a b c' >"$(printf '\303\251t\303\251 \320\226.wav')"
truncate -s 400000 sparse
chmod 600 sparse
"#;

/// Discs keep whole seconds.
const TIMES: &str = r#"
cd "$1"/tree
find . -exec touch -h -d '2001-02-03 04:05:06' {} +
touch -d '2011-12-13 14:15:16' zero sub/deep
"#;

/// What only Rock Ridge has.
const UNIX: &str = r#"
cd "$1"/tree
ln -s ../'Read Me.txt' sub/link
ln -s /etc/./passwd absolute
ln -s . here
ln -s "$(printf 'p%.0s' $(seq 200))/$(printf 'q%.0s' $(seq 200))/../." long
ln zero sub/another
mknod chr c 5 1
mknod blk b 259 4000
mkfifo pipe
printf x >"$(printf 'x%.0s' $(seq 240))"
printf x >"$(printf '\351\377 no UTF-8')"
printf x >LETTERS
printf y >letters
chmod 4755 zero
chmod 1700 sub
chown 1000:70001 big.bin
"#;

struct Scene {
    folder: crate::support::TempDir,
}

impl Scene {
    fn new(scripts: &[&str]) -> Self {
        let folder = temp_dir();
        for script in scripts {
            run("bash", &["-euc", script, "bash", folder.path().to_str().expect("a plain name")]);
        }
        Self { folder }
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    /// Sets the time of the root.
    fn touch(&self) {
        run("touch", &["-d", "2001-02-03 04:05:06", self.tree().to_str().expect("a plain name")]);
    }

    /// A disc of the tree.
    fn disc(&self, name: &str, command: &[&str]) -> PathBuf {
        let path = self.folder.path().join(name);
        let (tree, out) = (self.tree(), path.to_str().expect("a plain name").to_owned());
        let (program, options) = command.split_first().expect("a program");
        let mut args: Vec<&str> = options.to_vec();
        args.extend(["-quiet", "-o", &out, tree.to_str().expect("a plain name")]);
        run(program, &args);
        path
    }
}

/// The files of a disc, by the filesystem that is shown first.
#[track_caller]
fn disc_files(disc: &Path) -> std::sync::Arc<dyn Files> {
    let volumes = volumes_of(disc);
    let first = volumes.first().expect("a disc is a volume");
    first.files().unwrap_or_else(|error| panic!("{}: {error}", disc.display()))
}

#[test]
fn rock_ridge_is_as_the_makers_of_discs_wrote_it() {
    if !requires(&["root", "xorriso", "genisoimage"]) {
        return;
    }
    let scene = Scene::new(&[PLAIN, UNIX, TIMES]);
    for command in [
        &["xorriso", "-as", "mkisofs", "-R"][..],
        &["xorriso", "-as", "mkisofs", "-R", "-J", "-D"],
        &["genisoimage", "-R"],
        &["genisoimage", "-R", "-D", "-J", "-hfs"],
    ] {
        if command[0] == "genisoimage" {
            // It writes links of long parts that no reader can read.
            let _ = std::fs::remove_file(scene.tree().join("long"));
            let _ = std::fs::remove_dir(scene.tree().join("rr_moved"));
            scene.touch();
        }
        let disc = scene.disc("disc.iso", command);
        let files = disc_files(&disc);
        // What is too deep for ISO 9660 is in a folder of its own as well.
        if let Some(moved) = find(files.as_ref(), "rr_moved") {
            let known = files.attributes(moved).expect("asking for attributes");
            let time = known.times.modified.expect("a time").to_string();
            let script = "cd \"$1\"/tree; mkdir rr_moved; chmod 555 rr_moved; \
                          touch -d \"$2\" rr_moved";
            let folder = scene.folder.path().to_str().expect("a plain name");
            run("bash", &["-euc", script, "bash", folder, &time]);
            scene.touch();
        }
        let nodes = compare_files(files.as_ref(), &scene.tree(), Judge::FOREIGN);
        assert!(nodes > 90, "{nodes}");
    }
}

#[test]
fn joliet_and_udf_are_as_genisoimage_wrote_them() {
    if !requires(&["root", "xorriso", "genisoimage"]) {
        return;
    }
    // It gives everybody the same rights on a UDF.
    let rights = "cd \"$1\"/tree; find . -type f -exec chmod 444 {} +; \
                  find . -depth -type d -exec chmod 555 {} +";
    let scene = Scene::new(&[PLAIN, TIMES, rights]);
    for command in [
        &["genisoimage", "-J", "-joliet-long", "-D", "-input-charset", "utf-8"][..],
        &["xorriso", "-as", "mkisofs", "-J", "-joliet-long"],
        &["genisoimage", "-udf", "-D", "-input-charset", "utf-8"],
        &["genisoimage", "-udf", "-R", "-J", "-D", "-input-charset", "utf-8"],
    ] {
        let disc = scene.disc("disc.iso", command);
        let nodes = compare_files(disc_files(&disc).as_ref(), &scene.tree(), Judge::FOREIGN);
        assert!(nodes >= 80, "{command:?}: {nodes}");
    }
}

#[test]
fn plain_names_are_shown_as_recorded_and_found_in_any_case() {
    if !requires(&["genisoimage"]) {
        return;
    }
    let scene = Scene::new(&[PLAIN, TIMES]);
    let disc = scene.disc("disc.iso", &["genisoimage"]);
    let files = disc_files(&disc);
    let names: Vec<_> =
        list_all(files.as_ref(), files.root()).into_iter().map(|it| it.name).collect();
    assert!(names.contains(&b"READ_ME.TXT".to_vec()), "{names:?}");
    assert!(names.contains(&b"ZERO".to_vec()), "{names:?}");
    let node = find(files.as_ref(), "Sub/../read_me.txt".trim_start_matches("Sub/../")).unwrap();
    assert_eq!(read_all(files.as_ref(), node), b"hello\n");
    let same = find(files.as_ref(), "D1/D2").unwrap();
    assert_eq!(find(files.as_ref(), "d1/d2"), Some(same));
}

#[test]
fn compressed_files_are_as_before() {
    if !requires(&["genisoimage", "mkzftree"]) {
        return;
    }
    let scene = Scene::new(&[
        "mkdir \"$1\"/tree; cd \"$1\"/tree; seq 100000 >text; head -c 100000 /dev/urandom >junk; \
         (seq 5000; head -c 200000 /dev/zero; seq 9) >holes; : >zero; \
         mkzftree \"$1\"/tree \"$1\"/packed; mv \"$1\"/tree \"$1\"/plain; mv \"$1\"/packed \"$1\"/tree",
    ]);
    let disc = scene.disc("disc.iso", &["genisoimage", "-R", "-z"]);
    let plain = scene.folder.path().join("plain");
    let judge = Judge { modified: false, ..Judge::FOREIGN };
    assert_eq!(compare_files(disc_files(&disc).as_ref(), &plain, judge), 5);
}

#[test]
fn files_compressed_by_xorriso_are_as_it_extracts_them() {
    if !requires(&["root", "xorriso"]) {
        return;
    }
    let scene = Scene::new(&[
        "mkdir \"$1\"/tree; cd \"$1\"/tree; seq 100000 >text; : >zero; echo 1 >small; \
         (seq 5000; head -c 900000 /dev/zero; seq 9) >holes; (head -c 100000 /dev/urandom; seq 9999) >junk",
    ]);
    let at = |name: &str| scene.folder.path().join(name).to_str().unwrap().to_owned();
    let tree = at("tree");
    // The second version, marked in either way, and the first.
    for how in ["version_2=on:susp_z2=off", "version_2=on:susp_z2=on", "version_2=off"] {
        let (disc, out) = (at("disc.iso"), at("out"));
        let _ = std::fs::remove_file(&disc);
        let _ = std::fs::remove_dir_all(&out);
        let mut args = vec!["-zisofs", how, "-outdev", &disc, "-map", &tree, "/", "-find", "/"];
        args.extend(["-type", "f", "-exec", "set_filter", "--zisofs", "--", "-commit"]);
        run("xorriso", &args);
        let bytes = std::fs::read(&disc).unwrap();
        let has = |magic: &[u8]| bytes.windows(magic.len()).any(|it| it == magic);
        assert_eq!(has(b"\xef\x22\x55\xa1\xbc\x1b\x95\xa0"), how.contains("2=on"), "{how}");
        assert_eq!(has(b"Z2\x10\x02PZ"), how.ends_with("z2=on"), "{how}");
        run("xorriso", &["-osirrox", "on", "-indev", &disc, "-extract", "/", &out]);
        run("diff", &["-r", &tree, &out]);
        let judge = Judge { modified: false, ..Judge::FOREIGN };
        let files = disc_files(Path::new(&disc));
        assert_eq!(compare_files(files.as_ref(), Path::new(&out), judge), 6, "{how}");
    }
}

/// A session: where xorriso finds it, and its label.
fn sessions_by_xorriso(disc: &str) -> Vec<(String, String)> {
    let ran = run("xorriso", &["-indev", disc, "-toc"]);
    let said = format!("{}{}", ran.out(), ran.err());
    let lines = said.lines().filter_map(|line| line.strip_prefix("ISO session  :"));
    let fields = lines.map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
    fields.map(|it| (it[1].to_owned(), it[3].to_owned())).collect()
}

#[test]
fn every_session_is_as_xorriso_extracts_it() {
    if !requires(&["root", "xorriso", "genisoimage"]) {
        return;
    }
    let scene = Scene::new(&[
        "cd \"$1\"; mkdir a b c; echo one >a/one; echo two >b/two; echo three >c/three; \
         head -c 300000 /dev/urandom >b/random",
    ]);
    let at = |name: &str| scene.folder.path().join(name).to_str().unwrap().to_owned();
    // One that grows in a file, where the start shows the last session.
    let grown = at("grown.iso");
    let (a, b, c) = (at("a"), at("b"), at("c"));
    let mut args = vec!["-dev", &grown, "-volid", "S1", "-map", &a, "/", "-commit", "-volid", "S2"];
    args.extend(["-map", &b, "/", "-commit", "-volid", "S3", "-map", &c, "/sub", "-rm", "/one"]);
    args.extend(["--", "-commit"]);
    run("xorriso", &args);
    // One of a CD, where it shows the first one, and the second begins behind a gap.
    let (first, both) = (at("first.iso"), at("both.iso"));
    run("genisoimage", &["-quiet", "-R", "-V", "G1", "-o", &first, &a]);
    let start = (std::fs::metadata(&first).unwrap().len() / 2048 + 11_400).next_multiple_of(16);
    let (second, place) = (at("second.iso"), format!("0,{start}"));
    let args = ["-quiet", "-R", "-V", "G2", "-C", &place, "-M", &first, "-o", &second, &b];
    run("genisoimage", &args);
    std::fs::copy(&first, &both).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&both).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &std::fs::read(&second).unwrap(), start * 2048)
        .unwrap();
    let wanted = [("0".to_owned(), "G1".to_owned()), (start.to_string(), "G2".to_owned())];
    for (disc, wanted) in [(&grown, sessions_by_xorriso(&grown)), (&both, wanted.to_vec())] {
        let volumes = volumes_of(Path::new(disc));
        let sessions: Vec<_> = volumes.iter().filter(|it| it.name.contains("session")).collect();
        assert_eq!(sessions.len(), wanted.len(), "{sessions:?} {wanted:?}");
        for (number, (volume, (sector, label))) in sessions.iter().zip(&wanted).enumerate() {
            assert_eq!(volume.name, format!("disk/session{}", number + 1));
            assert_eq!(volume.any_label(), Some(label.as_str()));
            let out = at(&format!("out-{label}"));
            let mut args = vec!["-osirrox", "on", "-load", "sbsector", sector, "-indev", disc];
            args.extend(["-extract", "/", &out]);
            run("xorriso", &args);
            let files = volume.files().unwrap();
            let judge = Judge { modified: false, ..Judge::FOREIGN };
            let nodes = compare_files(files.as_ref(), Path::new(&out), judge);
            assert!(nodes > number, "{label}: {nodes}");
        }
    }
}

#[test]
fn a_file_of_more_than_four_gibibytes_is_one_file() {
    if !all() || !requires(&["xorriso"]) {
        return;
    }
    let scene = Scene::new(&[
        "mkdir \"$1\"/tree; cd \"$1\"/tree; truncate -s 4500M large; echo end >>large; echo 1 >next",
    ]);
    let disc = scene.disc("disc.iso", &["xorriso", "-as", "mkisofs", "-R", "-iso-level", "3"]);
    let files = disc_files(&disc);
    let node = find(files.as_ref(), "large").unwrap();
    let size = files.attributes(node).unwrap().size;
    assert_eq!(size, (4500 << 20) + 4);
    let mut end = [1; 8];
    assert_eq!(files.read_at(node, size - 8, &mut end).unwrap(), 8);
    assert_eq!(&end, b"\0\0\0\0end\n");
    assert_eq!(list_all(files.as_ref(), files.root()).len(), 2);
}

/// What Linux shows of a disc, and we: kind, size, mode, owner, time and target
/// of each path, and the hash of each file.
type Shown = BTreeMap<String, String>;

/// Mounts discs in an emulated machine, each with its type and options, after
/// a script has prepared them.
fn by_linux(prepare: &str, discs: &[(&Path, &str)]) -> Vec<Shown> {
    let folder = temp_dir();
    let mut script = prepare.to_owned();
    for (index, (_, options)) in discs.iter().enumerate() {
        let disk = char::from(b'a' + u8::try_from(index).expect("a few discs"));
        let _ = write!(
            script,
            "\nmount -o ro {options} /dev/vd{disk} /mnt; cd /mnt; say DISC
find . -exec stat -c 'NODE|%F|%s|%a|%u|%g|%Y|%N' {{}} +
find . -type f -exec sha256sum {{}} +
cd /; umount /mnt\n"
        );
    }
    let path = folder.path().join("script");
    std::fs::write(&path, script).expect("writing a script");
    let mut args = vec!["--seconds".to_owned(), "900".to_owned()];
    args.push(path.to_str().expect("a plain name").to_owned());
    args.extend(discs.iter().map(|(disc, _)| disc.to_str().expect("a plain name").to_owned()));
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-images/guest");
    let ran = run(guest.to_str().expect("a plain name"), &args);
    let mut shown: Vec<Shown> = Vec::new();
    for line in ran.out().lines() {
        if line == "DISC" {
            shown.push(Shown::new());
            continue;
        }
        let Some(disc) = shown.last_mut() else { continue };
        if let Some(node) = line.strip_prefix("NODE|") {
            let fields: Vec<&str> = node.splitn(7, '|').collect();
            let [kind, size, mode, user, group, time, name] = fields[..] else {
                panic!("seven fields: {line}")
            };
            let (name, target) = name.split_once(" -> ").unwrap_or((name, ""));
            let name = name.trim_matches('\'').trim_start_matches("./").to_owned();
            let target = target.trim_matches('\'');
            let size = if kind.starts_with("regular") { size } else { "-" };
            let kind = kind.replace("regular empty file", "regular file");
            disc.insert(name, format!("{kind}|{size}|{mode}|{user}:{group}|{time}|{target}"));
        } else if let Some((hash, name)) = line.split_once("  ./") {
            let known = disc.get_mut(name).expect("a file that was listed");
            let _ = write!(known, "|{hash}");
        }
    }
    assert_eq!(shown.len(), discs.len());
    shown
}

/// The same by us; modes and owners that a disc does not have as Linux makes
/// them up.
fn by_us(files: &dyn Files) -> Shown {
    let mut shown = Shown::new();
    show(files, files.root(), ".", &mut shown);
    shown
}

fn show(files: &dyn Files, node: Node, path: &str, shown: &mut Shown) {
    use sha2::Digest as _;
    let known = files.attributes(node).unwrap_or_else(|error| panic!("{path}: {error}"));
    let kind = match known.kind {
        NodeKind::File => "regular file",
        NodeKind::Folder => "directory",
        NodeKind::Link => "symbolic link",
        NodeKind::Device { is_block: true, .. } => "block special file",
        NodeKind::Device { .. } => "character special file",
        NodeKind::Pipe => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::Other(what) => what,
    };
    let size = if known.kind == NodeKind::File { known.size.to_string() } else { "-".into() };
    let mode = known.mode.unwrap_or(0o555);
    // Nobody, where there might be somebody.
    let nobody = if known.mode.is_some() { (65534, 65534) } else { (0, 0) };
    let (user, group) = known.owner.unwrap_or(nobody);
    let time = known.times.modified.map_or(0, jiff::Timestamp::as_second);
    let mut line = format!("{kind}|{size}|{mode:o}|{user}:{group}|{time}|");
    if known.kind == NodeKind::Link {
        let target = files.link_target(node).unwrap_or_else(|error| panic!("{path}: {error}"));
        line.push_str(&String::from_utf8_lossy(&target));
    }
    if known.kind == NodeKind::File {
        let hash = sha2::Sha256::digest(read_all(files, node));
        line.push('|');
        hash.iter().for_each(|byte| {
            let _ = write!(line, "{byte:02x}");
        });
    }
    shown.insert(path.to_owned(), line);
    if known.kind == NodeKind::Folder {
        for entry in list_all(files, node) {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            let path = if path == "." { name } else { format!("{path}/{name}") };
            show(files, entry.node, &path, shown);
        }
    }
}

#[track_caller]
fn assert_same(disc: &Path, ours: &Shown, theirs: &Shown) {
    let mut differences = Vec::new();
    for (path, line) in theirs {
        match ours.get(path) {
            Some(own) if own == line => {}
            own => differences.push(format!("{path}: {line}\n    ours: {own:?}")),
        }
    }
    for path in ours.keys().filter(|path| !theirs.contains_key(*path)) {
        differences.push(format!("{path}: only by us"));
    }
    let (count, first) = (differences.len(), differences.iter().take(12));
    let first: Vec<&str> = first.map(String::as_str).collect();
    assert!(differences.is_empty(), "{}: {count}:\n{}", disc.display(), first.join("\n"));
    println!("{}: {} nodes", disc.display(), theirs.len());
}

/// The names of the volumes of a disc, what fills them, and whether their
/// files can be read.
fn volumes(disc: &Path) -> Vec<(String, String, bool)> {
    let volumes = volumes_of(disc);
    let kind = |volume: &dacapo::browse::OpenVolume| {
        volume.identity.as_ref().map_or_else(String::new, |identity| identity.name.clone())
    };
    volumes.iter().map(|it| (it.name.clone(), kind(it), it.files().is_ok())).collect()
}

#[test]
fn every_filesystem_of_a_disc_and_its_partitions_can_be_reached() {
    if !requires(&["xorriso", "genisoimage", "mformat", "mcopy"]) {
        return;
    }
    let scene = Scene::new(&[
        PLAIN,
        TIMES,
        "truncate -s 2M \"$1\"/tree/efi.img; \
        mformat -i \"$1\"/tree/efi.img ::; mcopy -i \"$1\"/tree/efi.img \"$1\"/tree/zero ::/inside",
    ]);
    let row = |name: &str, kind: &str, has: bool| (name.to_owned(), kind.to_owned(), has);
    let bridge = scene.disc("bridge.iso", &["genisoimage", "-udf", "-J", "-D"]);
    assert_eq!(volumes(&bridge), [row("disk", "UDF", true), row("disk/iso9660", "ISO 9660", true)]);
    let mac = scene.disc("mac.iso", &["genisoimage", "-hfs", "-R", "-D"]);
    assert_eq!(volumes(&mac)[0], row("disk", "ISO 9660", true));
    assert_eq!(volumes(&mac)[1].1, "HFS");
    let efi = scene.tree().join("efi.img").to_str().expect("a plain name").to_owned();
    for options in [
        &["-e", "efi.img", "-no-emul-boot", "-efi-boot-part", "--efi-boot-image"][..],
        &["-append_partition", "2", "0xef", &efi, "-partition_offset", "16"],
    ] {
        let command = [&["xorriso", "-as", "mkisofs", "-R"], options].concat();
        let hybrid = scene.disc("hybrid.iso", &command);
        let found = volumes(&hybrid);
        println!("{options:?}: {found:?}");
        assert_eq!(found[0], row("disk", "ISO 9660", true));
        let is_fat = |it: &(String, String, bool)| it.1.starts_with("FAT") && it.2;
        assert!(found[1..].iter().any(is_fat), "{found:?}");
        // What the FAT calls free is a part of a file: nothing is left out.
        let disk = super::DiskFile::open(&hybrid);
        let scan = dacapo::layout::scan(&disk).expect("looking at a disc");
        let len = std::fs::metadata(&hybrid).unwrap().len();
        assert_eq!(scan.used.bytes(), len, "{:?}", scan.layout);
    }
}

/// UDF of every version and kind of medium that mkudffs makes and Linux writes
/// to, with files on it.
const UDF_KINDS: [&[&str]; 7] = [
    &["--media-type=hd", "--udfrev=0x0102", "--blocksize=2048"],
    &["--media-type=hd", "--udfrev=0x0150", "--blocksize=512"],
    &["--media-type=hd", "--udfrev=0x0200", "--blocksize=1024"],
    &["--media-type=hd", "--udfrev=0x0201", "--blocksize=4096"],
    &["--media-type=hd", "--udfrev=0x0201", "--blocksize=512", "--ad=long", "--strategy=4096"],
    &["--media-type=cdrw", "--udfrev=0x0150", "--spartable=2"],
    &["--media-type=dvdram", "--udfrev=0x0201", "--ad=short"],
];

/// Fills /mnt.
const FILL: &str = r#"
mkdir -p /mnt/sub/deep /mnt/empty
cd /mnt
echo hello >'Read Me.txt'
seq 60000 >numbers
dd if=/dev/urandom of=random bs=1000 count=200 2>/dev/null
: >zero
ln -s ../numbers sub/link
ln -s /etc/./passwd absolute
ln zero another
mknod chr c 5 1
mkfifo pipe
dd if=/dev/zero of=sparse bs=1 count=1 seek=2000000 2>/dev/null
for n in $(seq 30); do echo $n >"sub/deep/file number $n with a rather long name, which goes on"; done
for n in $(seq 5 2 25); do rm "sub/deep/file number $n with a rather long name, which goes on"; done
dd if=numbers of=torn bs=4096 2>/dev/null
for n in $(seq 12); do dd if=numbers bs=3000 skip=$n count=1 >>torn 2>/dev/null; echo x >>zero; sync; done
for n in $(seq 300); do echo $n | dd of=holes bs=4096 seek=$((2 * n)) conv=notrunc 2>/dev/null; done
for n in $(seq 90); do
  for half in left right; do dd if=numbers bs=4096 skip=$n count=1 >>$half 2>/dev/null; done
done
chmod 4755 zero; chmod 700 sub; chown 1000:1001 random
mkdir gone; touch gone/x; rm -r gone
touch -d '2001-02-03 04:05:06' numbers
printf x >"$(printf '\303\251t\303\251 \320\226.wav')"
cd /
"#;

#[test]
fn udf_that_linux_wrote_is_as_linux_mounts_it() {
    if !all() || !requires(&["qemu-system-x86_64", "mkudffs", "network"]) {
        return;
    }
    let folder = temp_dir();
    let mut script = String::from("modprobe udf\n");
    let mut discs = Vec::new();
    for (index, options) in UDF_KINDS.iter().enumerate() {
        let path = folder.path().join(format!("{index}.udf"));
        crate::support::sparse_file(&path, 40 << 20);
        run("mkudffs", &[&["--utf8"][..], options, &[path.to_str().unwrap()]].concat());
        let block = options.iter().find_map(|it| it.strip_prefix("--blocksize=")).unwrap_or("2048");
        let disk = char::from(b'a' + u8::try_from(index).unwrap());
        let mount = format!("-t udf -o bs={block},iocharset=utf8");
        let _ = write!(script, "\nmount {mount} /dev/vd{disk} /mnt\n{FILL}\numount /mnt\n");
        discs.push((path, format!("{mount},unhide")));
    }
    let discs: Vec<(&Path, &str)> =
        discs.iter().map(|(path, options)| (path.as_path(), options.as_str())).collect();
    let theirs = by_linux(&script, &discs);
    for ((disc, _), theirs) in discs.iter().zip(&theirs) {
        assert!(theirs.len() > 30, "{theirs:?}");
        assert_same(disc, &by_us(disc_files(disc).as_ref()), theirs);
        // Files in so many pieces that blocks of their own say where they are.
        let bytes = std::fs::read(disc).unwrap();
        let is_one = |it: &&[u8]| {
            let rest = it[..4].iter().chain(&it[5..16]).fold(0_u8, |sum, it| sum.wrapping_add(*it));
            it[..2] == 258_u16.to_le_bytes() && rest == it[4]
        };
        let count = bytes.chunks(512).filter(is_one).count();
        println!("{count} blocks of allocation descriptors");
        assert!(count >= 2, "{}", disc.display());
    }
}

#[test]
fn discs_are_as_linux_mounts_them() {
    if !all() || !requires(&["root", "qemu-system-x86_64", "genisoimage", "xorriso", "network"]) {
        return;
    }
    let scene = Scene::new(&[PLAIN, UNIX, TIMES]);
    let script = "cd \"$1\"/tree; rm long *UTF-8";
    run("bash", &["-euc", script, "bash", scene.folder.path().to_str().expect("a plain name")]);
    scene.touch();
    let charset = ["-input-charset", "utf-8"];
    let made = |name: &str, command: &[&str]| scene.disc(name, command);
    let rock_ridge = made("rr.iso", &["xorriso", "-as", "mkisofs", "-R", "-J"]);
    let moved = made("moved.iso", &["genisoimage", "-R"]);
    let bridge = made("bridge.iso", &[&["genisoimage", "-udf", "-D", "-R"], &charset[..]].concat());
    let joliet = &["genisoimage", "-J", "-joliet-long", "-D"][..];
    // Linux finds either of two names that differ in case only.
    std::fs::remove_file(scene.tree().join("letters")).unwrap();
    scene.touch();
    let joliet = made("joliet.iso", &[joliet, &charset[..]].concat());
    let discs = [
        (rock_ridge.as_path(), "-t iso9660 -o iocharset=utf8"),
        (&moved, "-t iso9660"),
        (&bridge, "-t udf -o iocharset=utf8"),
        (&joliet, "-t iso9660 -o iocharset=utf8"),
    ];
    let theirs = by_linux("modprobe -a udf isofs nls_utf8\n", &discs);
    for ((disc, _), theirs) in discs.iter().zip(&theirs) {
        assert!(theirs.len() > 50, "{theirs:?}");
        assert_same(disc, &by_us(disc_files(disc).as_ref()), theirs);
    }
}

#[test]
fn partitions_that_linux_only_reads_are_as_it_mounts_them() {
    if !all() || !requires(&["qemu-system-x86_64", "python3", "network"]) {
        return;
    }
    let folder = temp_dir();
    let maker = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-images/udf_build.py");
    let maker = maker.to_str().expect("a plain name");
    let kinds = ["metadata", "virtual", "old-virtual", "sparable"];
    let discs = kinds.map(|kind| {
        let path = folder.path().join(kind);
        run("python3", &[maker, kind, path.to_str().expect("a plain name")]);
        path
    });
    let discs: Vec<(&Path, &str)> =
        discs.iter().map(|disc| (disc.as_path(), "-t udf -o bs=2048")).collect();
    let theirs = by_linux("modprobe udf\n", &discs);
    for ((disc, _), theirs) in discs.iter().zip(&theirs) {
        assert_eq!(theirs.len(), 6);
        assert_same(disc, &by_us(disc_files(disc).as_ref()), theirs);
    }
}

#[test]
fn a_folder_that_is_too_large_is_named_and_all_else_is_read() {
    if !requires(&["python3", "cmp"]) {
        return;
    }
    let folder = temp_dir();
    let (disc, copy) = (folder.join("disc.udf"), folder.join("copy.iso"));
    let maker = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make-images/udf_build.py");
    let _ = run("python3", &[maker, "large-folder", &disc]);
    let why = "disk:/folder: a folder or link of 67110852 bytes";
    let listed = dacapo(&["ls", "-R", &disc, "/"]).exits(3).says(why).says("67108864");
    assert_eq!(listed.out(), "folder/\ninside\nlink\n");
    // What is sought may be in it.
    let _ = dacapo(&["find", &disc, "inside"]).exits(3).says(why).says("disk:/inside");
    // As a file of a disc it is whole.
    let _ = dacapo(&["disc", "read", &disc, &copy]).success();
    let _ = run("cmp", &[&disc, &copy]);
}

/// Discs as their vendors publish them, of Debian's packages.
const VENDORS: [&str; 4] = [
    "/usr/lib/grub-rescue/grub-rescue-cdrom.iso",
    "/usr/lib/ipxe/ipxe.iso",
    "/usr/lib/memtest86+/memtest86+ia32.iso",
    "/usr/lib/memtest86+/memtest86+x64.iso",
];

#[test]
fn discs_of_vendors_are_as_xorriso_extracts_them() {
    if !requires(&["root", "xorriso"]) {
        return;
    }
    let folder = temp_dir();
    for disc in VENDORS.iter().map(Path::new).filter(|disc| disc.exists()) {
        let name = disc.file_stem().and_then(|name| name.to_str()).expect("a plain name");
        let out = folder.path().join(name);
        let (disc_name, out_name) = (disc.to_str().unwrap(), out.to_str().unwrap());
        run("xorriso", &["-osirrox", "on", "-indev", disc_name, "-extract", "/", out_name]);
        // It makes what it extracts readable for its owner.
        let judge = Judge { modified: false, ..Judge::FOREIGN };
        let nodes = compare_files(disc_files(disc).as_ref(), &out, judge);
        println!("{name}: {nodes}, {:?}", volumes(disc));
        assert!(nodes > 3, "{name}: {nodes}");
    }
}
