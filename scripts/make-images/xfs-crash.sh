# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# What a power cut leaves of XFS. Sourced by `xfs`; how the power is cut is in crash.sh.
#
# Before an image counts, a copy of it is mounted, so that the kernel replays the log, and every file
# whose fsync had returned must be there: then a restored image has to show the same.

source "$here/crash.sh"

# log_state DISK: where the live part of the log begins and ends, and whether it is clean.
log_state() {
    # Not through a pipe that is closed early, which would count as a failure.
    xfs_logprint -t "$1" >"$BUILD/logprint" 2>&1 || true
    grep -a 'log tail:' "$BUILD/logprint" || true
}

# prove_dirty: there is something to replay, the kernel's replay of a copy brings every fsynced file
# back, and xfs_repair is content afterwards.
prove_dirty() {
    LOG=$BUILD/log
    log_state "$DISK" >"$BUILD/state"
    grep -q DIRTY "$BUILD/state" || die "not proven: the log is dirty: $(cat "$BUILD/state")"
    REPLAYED=$BUILD/replayed.img
    cp --sparse=always "$DISK" "$REPLAYED"
    mount -o loop,nouuid "$REPLAYED" "$MOUNT" || die "mount of the crash copy"
    check_log "$MOUNT"
    umount "$MOUNT"
    xfs_repair -n "$REPLAYED" >"$BUILD/repair" 2>&1 ||
        die "xfs_repair -n after the replay: $(tail -5 "$BUILD/repair")"
}

# prove_stale: the replay allocates what the trees on the disk call free. An imager that trusts those
# loses data here.
prove_stale() {
    python3 - "$here" "$DISK" "$REPLAYED" <<'PYTHON' || die "not proven: the trees on the disk are stale"
import sys
sys.path.insert(0, sys.argv[1])
import facts, facts_xfs
before, after = facts_xfs.Xfs(sys.argv[2]), facts_xfs.Xfs(sys.argv[3])
used = facts.complement(before.free, before.length)
sys.exit(0 if facts.missing(facts.complement(after.free, after.length), used) else 1)
PYTHON
}

# prove_wrapped: the live part of the log goes on at its start.
prove_wrapped() {
    local line head tail
    line=$(log_state "$DISK")
    tail=$(sed 's/.*log tail: *\([0-9]*\).*/\1/' <<<"$line")
    head=$(sed 's/.*head: *\([0-9]*\).*/\1/' <<<"$line")
    ((head < tail))
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

image_xfs-dirty-fresh() {
    PURPOSE="power cut right after fsync of new files"
    dirty fresh 96
    prove_stale
}

image_xfs-dirty-first-mount() {
    PURPOSE="power cut in the first mount after mkfs: trees on the disk know of no file"
    blank 96
    format
    RECORD=''
    MOUNTABLE=true
    crash fresh
    prove_stale
}

image_xfs-dirty-fragmented() {
    PURPOSE="power cut after files grown in turns"
    dirty fragmented 96
    prove_stale
}

image_xfs-dirty-unlink() {
    PURPOSE="power cut after a folder was removed and its blocks used for data: cancelled buffers"
    dirty unlink 96 -b size=1024
    prove_stale
}

image_xfs-dirty-busy() {
    PURPOSE="power cut during heavy writes"
    dirty busy 96
    prove_stale
}

image_xfs-dirty-wrapped() {
    PURPOSE="the live part of the log goes past its end and on at its start"
    local turn head blocks
    blank 64
    format -b size=1024 -m reflink=0
    populate 1048576
    blocks=$(($(field "sb 0" logblocks) * 2))
    # Clean turns bring the end of the log near the end of its ring.
    for ((turn = 0; turn < 40; turn++)); do
        head=$(log_state "$DISK" | sed 's/.*head: *\([0-9]*\).*/\1/')
        ((head * 100 < blocks * 80)) || break
        attach
        mkdir "$MOUNT/turn"
        (cd "$MOUNT/turn" && touch {1..300})
        sync -f "$MOUNT"
        rm -r "$MOUNT/turn"
        umount "$MOUNT"
    done
    crash wrap
    prove_wrapped || die "not proven: the log wraps: $(log_state "$DISK")"
    prove_stale
}

image_xfs-dirty-rmapbt() {
    PURPOSE="power cut with rmapbt and reflink: intents in the log"
    dirty unlink 96 -m rmapbt=1
    prove_stale
}

image_xfs-dirty-reflink() {
    PURPOSE="power cut after blocks were shared and copied on write"
    blank 96
    format
    populate 2097152
    attach
    for n in 1 2 3 4; do
        cp --reflink=always "$MOUNT/large/kept.bin" "$MOUNT/copy-$n.bin"
    done
    umount "$MOUNT"
    crash fragmented
    prove_stale
}

image_xfs-dirty-log-stripe() {
    PURPOSE="power cut with log records of 256 KiB, padded to the stripe"
    OPTIONS=logbsize=256k dirty busy 128 -l su=256k
    prove_stale
}

image_xfs-dirty-4k-sectors() {
    PURPOSE="power cut with sectors of 4 KiB"
    dirty fresh 96 -s size=4096
    prove_stale
}

image_xfs-dirty-64k() {
    PURPOSE="power cut with blocks of 64 KiB"
    LAB_MIB=1024 dirty fresh 400 -b size=65536
    prove_stale
}

image_xfs-dirty-orphan() {
    PURPOSE="power cut with deleted files still open"
    dirty orphan 64
}

image_xfs-dirty-uuid() {
    PURPOSE="power cut after the UUID had been changed: buffers carry the old one, records the new one"
    blank 64
    format
    populate 2097152
    xfs_admin -U "$(uuid_of other)" "$DISK" >/dev/null || die "xfs_admin -U"
    prove_feature meta_uuid
    crash fresh
    prove_stale
}

image_xfs-dirty-v4() {
    PURPOSE="version 4 with a record at the end of its log that is not of an unmount: stored whole"
    simple_without_kernel 48 -m crc=0
    # No kernel at hand writes version 4. The operation in the last record is an unmount by one bit.
    local start at
    log_state "$DISK" >/dev/null
    start=$(sed -n 's/.*log device:.*daddr: \([0-9]*\).*/\1/p' "$BUILD/logprint")
    at=$(((start + 1) * 512 + 9))
    [[ $(od -An -tx1 -j $at -N1 "$DISK") == " 20" ]] || die "the first record is not of an unmount"
    printf '\x10' | dd of="$DISK" bs=1 seek=$at conv=notrunc status=none
    log_state "$DISK" >"$BUILD/state"
    grep -q DIRTY "$BUILD/state" || die "not proven: the log is dirty: $(cat "$BUILD/state")"
    RECORD='' NOTES=()
    note "understood=false"
    note "state=dirty"
    note "because=of version 4"
}

image_xfs-dirty-torn() {
    PURPOSE="power cut, and a damaged record in the log: stored whole"
    dirty fresh 64
    local line tail start
    line=$(log_state "$DISK")
    tail=$(sed 's/.*log tail: *\([0-9]*\).*/\1/' <<<"$line")
    start=$(sed -n 's/.*log device:.*daddr: \([0-9]*\).*/\1/p' "$BUILD/logprint")
    printf 'torn' | dd of="$DISK" bs=1 seek=$(((start + tail) * 512 + 600)) conv=notrunc status=none
    REPLAYED='' LOG='' RECORD=''
    NOTES=()
    note "understood=false"
    note "state=dirty"
    note "because=a record of the log is damaged"
}

image_xfs-tiny-dirty() {
    PURPOSE="small XFS after a power cut for byte sweeps and fuzz seeds"
    JUNK=pattern
    tiny_dirty 34 -d agcount=2
}

image_xfs-tiny-dirty-rmapbt() {
    PURPOSE="small XFS after a power cut, with rmapbt and small blocks, for byte sweeps and fuzz seeds"
    JUNK=pattern
    tiny_dirty 34 -d agcount=2 -m rmapbt=1 -b size=1024
}

# tiny_dirty MIB MKFS_ARGUMENTS...
tiny_dirty() {
    blank "$1"
    shift
    format "$@"
    RECORD=''
    MOUNTABLE=true
    crash tiny-unlink
    prove_stale
}
