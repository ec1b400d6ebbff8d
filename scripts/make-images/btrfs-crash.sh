# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# What a power cut leaves of btrfs. Sourced by `btrfs`; how the power is cut is in crash.sh.
#
# Before an image counts, a copy of it is mounted, so that the kernel replays the log trees, and every
# file whose fsync had returned must be there: then a restored image has to show the same.

source "$here/crash.sh"

# prove_dirty: the kernel's replay of a copy brings every fsynced file back, and btrfs check is
# content with the copy before and after.
prove_dirty() {
    local file number=2 copies=() disk=$DISK companions=("${COMPANIONS[@]}")
    forget
    LOG=$BUILD/log
    [[ ${NO_LOG:-} == yes ]] || prove "a log tree" test "$(log_root)" != 0
    REPLAYED=$BUILD/replayed.img
    cp --sparse=always "$DISK" "$REPLAYED"
    for file in "${companions[@]}"; do
        cp --sparse=always "$file" "$BUILD/replayed.$number.img"
        copies+=("$BUILD/replayed.$number.img")
        number=$((number + 1))
    done
    DISK=$REPLAYED
    COMPANIONS=("${copies[@]}")
    attach
    check_log "$MOUNT"
    detach
    check
    DISK=$disk
    COMPANIONS=("${companions[@]}")
    note "fsck=dirty"
    note "state=dirty"
    ((${#copies[@]} == 0)) || note "replayed_companions=$(printf '"%s",' "${copies[@]}" | sed 's/^/[/; s/,$/]/')"
}

log_root() {
    head_of | awk '$1 == "log_root" { print $2 }'
}

# prove_new_data: the log names data that is not in the extent tree. An imager that trusts that one
# loses it.
prove_new_data() {
    python3 - "$here" "$DISK" "${COMPANIONS[@]}" <<'PYTHON' || die "not proven: data that only the log names"
import sys
sys.path.insert(0, sys.argv[1])
import facts, facts_btrfs
head, trees = facts_btrfs.Super(sys.argv[2]), facts_btrfs.Trees(sys.argv[2:])
node = head.number("nodesize")
old = facts_btrfs.joined([(a, b) for a, b, _ in trees.extents(node)])
new = facts_btrfs.joined([(a, b) for a, b, is_data in trees.log(node) if is_data])
sys.exit(0 if facts.missing(new, old) else 1)
PYTHON
}

# dirty LAYOUT MIB MKFS_ARGUMENTS...: the common course of a crash image.
dirty() {
    local layout=$1
    blank "$2"
    shift 2
    format "$@"
    populate "${BUDGET:-2097152}"
    crash "$layout" "${OPTIONS:-}"
}

image_btrfs-dirty-fresh() {
    PURPOSE="power cut right after fsync of new files"
    dirty fresh 128
    prove_new_data
}

image_btrfs-dirty-fragmented() {
    PURPOSE="power cut after files grown in turns, each piece on disk before the next"
    dirty fragmented 128
    prove_new_data
}

image_btrfs-dirty-unlink() {
    PURPOSE="power cut after a folder was removed and new files were fsynced"
    NO_LOG=yes dirty unlink 128 -m single
}

image_btrfs-dirty-busy() {
    PURPOSE="power cut during heavy writes"
    NO_LOG=yes dirty busy 160
}

image_btrfs-dirty-commits() {
    PURPOSE="power cut after many commits, with fsyncs between them"
    OPTIONS=commit=1 NO_LOG=yes dirty busy 160 -n 4096 -m single
}

image_btrfs-dirty-wrapped() {
    PURPOSE="power cut after hundreds of fsyncs: the log was written anew many times"
    dirty wrap 128 -n 4096
    prove_new_data
}

image_btrfs-dirty-orphan() {
    PURPOSE="power cut with deleted files still open"
    NO_LOG=yes dirty orphan 128
}

image_btrfs-dirty-compressed() {
    PURPOSE="power cut after fsync of compressed files, old features, free space cache v1"
    OPTIONS=compress-force=zstd,space_cache=v1 dirty fragmented 128 -O ^no-holes,^skinny-metadata \
        -R ^free-space-tree
}

image_btrfs-dirty-mixed() {
    PURPOSE="power cut, mixed block groups: log trees and data side by side"
    dirty fresh 96 -M
    prove_new_data
}

image_btrfs-dirty-quota() {
    PURPOSE="power cut with quota groups, sha256"
    blank 128
    format --csum sha256
    attach
    btrfs quota enable "$MOUNT"
    btrfs subvolume create "$MOUNT/sub" >/dev/null
    fill 2097152
    detach
    check
    crash fresh
    prove_new_data
}

# crash_set COUNT MIB LAYOUT MKFS_ARGUMENTS...: all devices of a set at the same moment.
crash_set() {
    local layout=$3 number disk=$DISK companions
    disks "$1" "$2"
    companions=("${COMPANIONS[@]}")
    shift 3
    format "$@"
    populate 2097152
    open_lab
    for ((number = 0; number < ${#companions[@]}; number++)); do
        cp --sparse=always "${companions[number]}" "$LAB/companion-$number.img"
        COMPANIONS[number]=$LAB/companion-$number.img
    done
    cp --sparse=always "$disk" "$LAB/disk.img"
    DISK=$LAB/disk.img
    : >"$BUILD/log.growing"
    attach
    python3 "$here/content.py" crash "$MOUNT" "$BUILD/log.growing" "$layout" || die "$layout"
    DISK=$disk
    cut_power_of_set "${companions[@]}"
    umount "$MOUNT" || die "umount"
    forget
    rm "$LAB/disk.img" "$LAB"/companion-*.img
    COMPANIONS=("${companions[@]}")
    prove_dirty
}

# cut_power_of_set FILE...: as cut_power, with the other disks.
cut_power_of_set() {
    local number=0 file status=0
    cp "$BUILD/log.growing" "$BUILD/log"
    fsfreeze -f "$LAB" || die "fsfreeze -f"
    cp --sparse=always "$LAB/disk.img" "$DISK" || status=$?
    for file in "$@"; do
        cp --sparse=always "$LAB/companion-$number.img" "$file" || status=$?
        number=$((number + 1))
    done
    fsfreeze -u "$LAB" || die "fsfreeze -u"
    ((status == 0)) || die "copying the frozen disks"
}

image_btrfs-dirty-raid0() {
    PURPOSE="power cut of two devices: data RAID0, metadata RAID1"
    crash_set 2 128 fragmented -d raid0 -m raid1
    prove_new_data
}

image_btrfs-dirty-raid1-one-behind() {
    PURPOSE="power cut between the superblocks of two devices: the second is a commit behind"
    local file place
    disks 2 128
    format -d raid1 -m raid1
    populate 2097152
    for file in before after; do
        attach
        # Its superblocks of the last commit but one, at 64 KiB and at 64 MiB.
        for place in 16 16384; do
            dd if="${COMPANIONS[0]}" of="$BUILD/superblock.$place" bs=4096 skip="$place" count=1 status=none
        done
        echo "$file" >"$MOUNT/$file"
        detach
    done
    check
    for place in 16 16384; do
        dd if="$BUILD/superblock.$place" of="${COMPANIONS[0]}" bs=4096 seek="$place" conv=notrunc status=none
    done
    note "state=dirty"
    note "fsck=dirty"
}

# -- small enough to be kept in images/ ----------------------------------------------------------

image_btrfs-tiny-dirty() {
    PURPOSE="power cut after fsync: log trees; mixed block groups, 4 KiB nodes"
    JUNK=pattern BUDGET=16384 dirty tiny 16 -M -n 4096 -m single -d single
}
