# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# How the power is cut. Sourced by makers of crash copies.
#
# The disk lies on a small filesystem of its own, which is frozen at the moment of the "power cut":
# no write of the mounted filesystem can come between the first and the last byte of the copy.
#
# A maker that uses this has $STAGE (a tmpfs), $BUILD and $MOUNT, and two functions: `attach OPTIONS`
# mounts $DISK at $MOUNT, `prove_dirty` proves that there is something to replay, and that a replay of
# a copy brings every fsynced file back (`check_log`).

LAB=$STAGE/lab

# open_lab: the filesystem that can be frozen.
open_lab() {
    mountpoint -q "$LAB" && return
    mkdir -p "$LAB"
    truncate -s "${LAB_MIB:-1024}M" "$STAGE/lab.img"
    mke2fs -q -F -t ext4 -O ^has_journal "$STAGE/lab.img" || die "mke2fs for the lab"
    mount -o loop,noatime "$STAGE/lab.img" "$LAB" || die "mount the lab"
    undo umount "$LAB"
    undo umount "$MOUNT"
    undo fsfreeze -u "$LAB"
}

# cut_power: the copy. The record of fsynced files is taken first: all of them are in the copy.
cut_power() {
    cp "$BUILD/log.growing" "$BUILD/log"
    fsfreeze -f "$LAB" || die "fsfreeze -f"
    local status=0
    cp --sparse=always "$LAB/disk.img" "$DISK" || status=$?
    fsfreeze -u "$LAB" || die "fsfreeze -u"
    ((status == 0)) || die "copying the frozen disk"
}

# crash LAYOUT [MOUNT OPTIONS]: $DISK, clean so far, becomes what a power cut leaves of it.
crash() {
    local layout=$1 writer='' name
    open_lab
    cp --sparse=always "$DISK" "$LAB/disk.img"
    : >"$BUILD/log.growing"
    DISK=$LAB/disk.img attach "${2:-}"
    case $layout in
    busy)
        python3 "$here/content.py" crash "$MOUNT" "$BUILD/log.growing" busy &
        writer=$!
        # In full swing: a few seconds of commits, checkpoints and write-back.
        while (($(wc -l <"$BUILD/log.growing") < 250)) && kill -0 "$writer" 2>/dev/null; do
            sleep 0.02
        done
        cut_power
        kill "$writer" 2>/dev/null || true
        wait "$writer" || true
        ;;
    orphan)
        # The files without a name stay open as long as the pipe does.
        mkfifo "$BUILD/hold"
        python3 "$here/content.py" crash "$MOUNT" "$BUILD/log.growing" orphan <"$BUILD/hold" &
        writer=$!
        exec {name}>"$BUILD/hold"
        while ! grep -q READY "$BUILD/log.growing"; do
            kill -0 "$writer" || die "the writer stopped"
            sleep 0.02
        done
        cut_power
        exec {name}>&-
        wait "$writer"
        rm "$BUILD/hold"
        ;;
    *)
        python3 "$here/content.py" crash "$MOUNT" "$BUILD/log.growing" "$layout" || die "$layout"
        cut_power
        ;;
    esac
    umount "$MOUNT" || die "umount"
    rm "$LAB/disk.img"
    prove_dirty
}

# check_log FOLDER: the fsynced files and those of the clean time, merged, hash as recorded.
check_log() {
    python3 - "$BUILD/log" "$RECORD" "$BUILD/all.json" <<'PYTHON'
import json, sys
record = json.load(open(sys.argv[2])) if sys.argv[2] else {}
for line in open(sys.argv[1]):
    name, _, digest = line.strip().rpartition(" ")
    if digest != "-":
        record[name] = digest
json.dump(record, open(sys.argv[3], "w"))
PYTHON
    python3 "$here/content.py" check "$1" "$BUILD/all.json" || die "fsynced files are not intact in the control"
}
