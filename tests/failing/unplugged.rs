// SPDX-License-Identifier: MIT OR Apache-2.0
//! USB drives that are pulled out in the middle of a save and come back: by
//! the same name, and by another one, while a strange drive has taken theirs.

use std::fs;

use super::mapper::Back;
use crate::support::{
    GUEST_NEEDS, Guest, all, hash_of, junk, requires, run, sparse_file, temp_dir,
};

const MIB: u64 = 1 << 20;
const LEN: u64 = 24 * MIB;

/// The drives are plugged in as USB-0001 and USB-0002; what is saved goes to
/// /dev/vda.
const SCRIPT: &str = r#"
modprobe -a xhci-pci usb-storage sd_mod
mount -t ext4 /dev/vda /mnt
plug() { monitor "device_add usb-storage,bus=xhci.0,id=$1,drive=$1,serial=$2"; }
# there SERIAL NAME: waits until the drive has this name.
there() { until_so "[ -e /sys/block/$2 ] && dd if=/dev/$2 of=/dev/null count=1 2>/dev/null &&
    grep -q $1 /sys/block/$2/device/../../../../serial"; }
pull() { monitor "device_del $1"; until_so "[ ! -e /sys/block/$2 ]"; }
save() {
    name=$1 code=0
    shift
    dacapo save "$@" "/mnt/$name.img.zst" >"/mnt/$name.out" 2>>"/mnt/$name.err" || code=$?
    say "$name: $code"
    echo $code >"/tmp/$name.code"
}
# more FILE BLOCKS: waits until it has grown to more than that.
more() { until_so "[ \$(stat -c %b $1 2>/dev/null || echo 0) -gt $2 ]"; }
# said NAME TEXT TIMES
said() { until_so "[ \$(grep -c '$2' /mnt/$1.err) -ge $3 ]"; }

plug one USB-0001
there USB-0001 sda

# Twice: it comes back as sda; then another one is sda, and it is sdb.
save live /dev/sda &
more /mnt/live.img.zst.partial 8000
pull one sda
said live "does not answer" 1
plug one USB-0001
said live "is back" 1
there USB-0001 sda
more /mnt/live.img.zst.rescue 28000
pull one sda
said live "does not answer" 2
plug two USB-0002
there USB-0002 sda
sleep 3
plug one USB-0001
there USB-0001 sdb
until_so '[ -s /tmp/live.code ]'
pull one sdb

# Given up while it is away; the other one has its name on another day.
pull two sda
plug one USB-0001
there USB-0001 sda
save later /dev/sda &
more /mnt/later.img.zst.partial 8000
pull one sda
said later "does not answer" 1
kill -INT $(pidof dacapo)
until_so '[ -s /tmp/later.code ]'
plug two USB-0002
there USB-0002 sda
plug one USB-0001
there USB-0001 sdb
save later /dev/sda
save later /dev/sdb
umount /mnt
"#;

#[test]
fn a_drive_that_is_pulled_out_and_comes_back_is_known_again() {
    // A start of an emulated computer, and drives of four megabytes a second.
    if !all() || !requires(&["mke2fs", "debugfs"]) || !requires(GUEST_NEEDS) {
        return;
    }
    let folder = temp_dir();
    let path = |name: &str| folder.join(name);
    let (one, two, backup) = (path("one.raw"), path("two.raw"), path("backup.raw"));
    fs::write(&one, junk(LEN as usize, 1)).unwrap();
    fs::write(&two, junk(LEN as usize, 2)).unwrap();
    sparse_file(&backup, 256 * MIB);
    let _ = run("mke2fs", &["-q", "-F", "-t", "ext4", &backup]);
    let before = [hash_of(&one), hash_of(&two)];

    let mut guest = Guest::new(&[]).with(&["-device", "qemu-xhci,id=xhci"]);
    for (name, file) in [("one", &one), ("two", &two)] {
        let group = format!("throttle-group,id=slow-{name},x-bps-total=4194304");
        let node = format!(
            "driver=throttle,node-name={name},throttle-group=slow-{name},file.driver=raw,\
             file.file.driver=file,file.file.filename={file}"
        );
        guest = guest.with(&["-object", &group, "-blockdev", &node]);
    }
    let ran = guest.run(SCRIPT, &[&backup]);
    let back = Back::new(&backup);
    let lines: Vec<&str> = ran.out().lines().collect();
    assert_eq!(lines, ["live: 0", "later: 130", "later: 5", "later: 0"], "{ran}");
    for name in ["live", "later"] {
        assert!(back.check_image(&format!("{name}.img.zst"), &one).is_empty(), "{name}");
    }
    assert!(back.text("later.err").contains("of another drive"), "{}", back.text("later.err"));
    assert_eq!([hash_of(&one), hash_of(&two)], before, "a drive was written to");
}
