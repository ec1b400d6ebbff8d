// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own client, set up by nbd-client, in a guest that has it; and
//! libguestfs.

use std::fs;

use super::{EXT4, LEN, MAKERS, Serving, saved};
use crate::support::{
    GUEST_NEEDS, Guest, Ran, all, finish, hash_of, requires, search_path, sha256_of, temp_dir,
};

/// The image is /in/disk.img.zst.
const SCRIPT: &str = r#"
modprobe nbd
ip link set lo up
sha() { sha256sum "$1" | cut -d ' ' -f 1; }
# refuses NAME: it cannot be written to.
refuses() { ! dd if=/dev/zero of="$1" count=1 conv=fsync 2>/dev/null; }

dacapo serve /in/disk.img.zst >/tmp/serve 2>&1 &
until_so 'nbd-client -l 127.0.0.1 >/tmp/list 2>/dev/null'
sed 's/^[0-9a-z]*:/export &/' /tmp/list
nbd-client 127.0.0.1 /dev/nbd0 -N disk -C 2 >/tmp/client 2>&1 || cat /tmp/client
say "connections: $(netstat -tn | grep -c '127.0.0.1:10809 *ESTABLISHED')"
say "disk: $(blockdev --getsize64 /dev/nbd0) $(blockdev --getro /dev/nbd0) $(sha /dev/nbd0)"
refuses /dev/nbd0 && say "disk refuses"
until_so '[ -b /dev/nbd0p2 ]'
mount -t ext4 -o ro /dev/nbd0p2 /mnt
for file in random text; do say "$file: $(sha /mnt/$file)"; done
umount /mnt
nbd-client 127.0.0.1 /dev/nbd1 -N 2 >/tmp/client 2>&1 || cat /tmp/client
say "partition: $(blockdev --getsize64 /dev/nbd1) $(blockdev --getro /dev/nbd1) $(sha /dev/nbd1)"
nbd-client -d /dev/nbd1 >/dev/null 2>&1
nbd-client -d /dev/nbd0 >/dev/null 2>&1
kill -INT $(pidof dacapo)
wait

dacapo serve /in/disk.img.zst --overlay --scratch /tmp --socket /tmp/socket >/tmp/serve 2>&1 &
until_so '[ -S /tmp/socket ]'
nbd-client -unix /tmp/socket /dev/nbd2 -N disk -C 2 >/tmp/client 2>&1 || cat /tmp/client
say "overlay: $(blockdev --getro /dev/nbd2)"
until_so '[ -b /dev/nbd2p2 ]'
mount -t ext4 /dev/nbd2p2 /mnt
cp /mnt/random /mnt/again
rm /mnt/text
umount /mnt
nbd-client -d /dev/nbd2 >/dev/null 2>&1
nbd-client -unix /tmp/socket /dev/nbd3 -N 2 >/tmp/client 2>&1 || cat /tmp/client
mount -t ext4 /dev/nbd3 /mnt
say "written: $(ls /mnt | tr '\n' ' ')$(sha /mnt/again)"
umount /mnt
nbd-client -d /dev/nbd3 >/dev/null 2>&1
kill -INT $(pidof dacapo)
wait
say "image: $(sha /in/disk.img.zst)"
"#;

#[test]
fn the_kernel_has_the_image_as_a_disk() {
    // A start of an emulated computer.
    if !all() || !requires(&MAKERS) || !requires(&["nbd-client"]) || !requires(GUEST_NEEDS) {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let guest = Guest::new(&["nbd-client"]);
    let _ = fs::copy(saved.image(), guest.file("disk.img.zst")).unwrap();
    let ran = guest.run(SCRIPT, &[]);
    let partition = folder.join("partition.raw");
    let bytes = fs::read(saved.content()).unwrap();
    fs::write(&partition, &bytes[EXT4.0 as usize..][..EXT4.1 as usize]).unwrap();
    let [random, text] = ["random", "text"].map(|name| sha256_of(saved.file(name)));
    let wanted = [
        "connections: 2".to_owned(),
        format!("disk: {LEN} 1 {}", sha256_of(saved.content())),
        "disk refuses".to_owned(),
        format!("random: {random}"),
        format!("text: {text}"),
        format!("partition: {} 1 {}", EXT4.1, sha256_of(&partition)),
        "overlay: 0".to_owned(),
        format!("written: again lost+found random {random}"),
        format!("image: {}", sha256_of(saved.image())),
    ];
    assert!(ran.out().contains("\nexport 2: partition 2, ext4"), "{ran}");
    for line in wanted {
        assert!(ran.out().lines().any(|it| it == line), "no '{line}'\n{ran}");
    }
}

/// Runs commands of guestfish on what is served.
#[track_caller]
fn guestfish(serving: &Serving, options: &[&str], commands: &str) -> Ran {
    let uri = serving.ready["uri"].as_str().unwrap();
    let mut command = std::process::Command::new("guestfish");
    command.args(options).args(["--format=raw", "-a", uri]).env("PATH", search_path());
    command.env("LIBGUESTFS_BACKEND", "direct");
    // Nothing here may depend on the processor of the machine.
    command.env("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg");
    finish(command, commands.as_bytes()).success()
}

#[test]
fn libguestfs_reads_files_of_the_image() {
    // It starts a computer of its own; and its packages take 500 MB.
    if !all() || !requires(&MAKERS) || !requires(&["root", "guestfish", "qemu-system-x86_64"]) {
        return;
    }
    let saved = saved();
    let before = hash_of(saved.image());
    let serving = Serving::start_at_port(&saved.image(), &[]);
    let commands = "run\nlist-filesystems\nmount-ro /dev/sda2 /\nchecksum sha256 /random\n\
                    checksum-device sha256 /dev/sda\n";
    let ran = guestfish(&serving, &["--ro"], commands);
    let lines: Vec<&str> = ran.out().lines().collect();
    let [random, disk] = [saved.file("random"), saved.content()].map(sha256_of);
    assert_eq!(lines, ["/dev/sda1: vfat", "/dev/sda2: ext4", &random, &disk], "{ran}");
    assert_eq!(serving.end().0, 0);
    // Written to, as long as it is served.
    let serving = Serving::start_at_port(&saved.image(), &["--overlay"]);
    let _ = guestfish(&serving, &[], "run\nmount /dev/sda2 /\ncp /random /again\n");
    let commands = "run\nmount-ro /dev/sda2 /\nchecksum sha256 /again\n";
    assert_eq!(guestfish(&serving, &["--ro"], commands).out().trim(), random);
    assert_eq!(serving.end().0, 0);
    assert_eq!(hash_of(saved.image()), before);
}
