# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# What a power cut leaves of ext3 and ext4. Sourced by `ext`; how the power is cut is in crash.sh.
#
# Before an image counts, a copy of it is mounted, so that the kernel replays the journal, and every
# file whose fsync had returned must be there: then a restored image has to show the same.

source "$here/crash.sh"

# prove_dirty: there is something to replay, the kernel's replay of a copy brings every fsynced file
# back, and e2fsck is content afterwards.
prove_dirty() {
    LOG=$BUILD/log
    # A file of the clean time that the crash layout wrote over or removed is not in its log.
    prove_features needs_recovery
    # -n: the bitmaps on the disk need not match the checksums in the descriptors on the disk.
    debugfs -n -R "logdump -a" "$DISK" >"$BUILD/journal" 2>/dev/null
    grep -q 'commit block' "$BUILD/journal" || die "not proven: a committed transaction in the journal"
    REPLAYED=$BUILD/replayed.img
    cp --sparse=always "$DISK" "$REPLAYED"
    # A mount would wait for the other machine that is not there.
    ! has_feature mmp || tune2fs -f -E clear_mmp "$REPLAYED" >/dev/null 2>&1 || die "clear_mmp"
    if [[ ${REPLAY_WITH:-kernel} == kernel ]]; then
        mount -o loop,noinit_itable "$REPLAYED" "$MOUNT" || die "mount of the crash copy"
        check_log "$MOUNT"
        umount "$MOUNT"
    else
        e2fsck -fy "$REPLAYED" >"$BUILD/fsck" 2>&1 || (($? == 1)) || die "e2fsck -fy"
        rm -rf "$BUILD/dump"
        mkdir "$BUILD/dump"
        debugfs -R "rdump / $BUILD/dump" "$REPLAYED" >/dev/null 2>&1
        check_log "$BUILD/dump"
        rm -rf "$BUILD/dump"
    fi
    e2fsck -fn "$REPLAYED" >"$BUILD/fsck" 2>&1 || die "e2fsck -fn after replay: $(tail -5 "$BUILD/fsck")"
}

# prove_stale: replay allocates what the bitmaps on the disk call free. An imager that trusts those
# loses data here.
prove_stale() {
    python3 - "$here" "$DISK" "$REPLAYED" <<'PYTHON' || die "not proven: the bitmaps on the disk are stale"
import sys
sys.path.insert(0, sys.argv[1])
import facts
before, after = facts.Ext(sys.argv[2], dirty=True).used(), facts.Ext(sys.argv[3]).used()
sys.exit(0 if facts.missing(after, before) else 1)
PYTHON
}

prove_journal() {
    grep -q -- "$1" "$BUILD/journal" || die "not proven: no '$1' in the journal"
}

prove_journal_feature() {
    head_of | sed -n 's/^Journal features: *//p' | tr ' ' '\n' | grep -qx "$1" ||
        die "not proven: journal feature $1: $(head_of | grep '^Journal features')"
}

# prove_wrapped: the live log goes on at the start of the journal.
prove_wrapped() {
    sed -n 's/^Found expected sequence .* at block \([0-9]*\)$/\1/p' "$BUILD/journal" |
        awk '$1 < last { found = 1 } { last = $1 } END { exit !found }' || return 1
}

# dirty LAYOUT MIB MKFS_ARGUMENTS...: the common course of a crash image.
dirty() {
    local layout=$1
    blank "$2"
    shift 2
    format "$@"
    populate "${BUDGET:-2097152}"
    crash "$layout" "${OPTIONS:-}"
    prove_stale
}

image_ext4-dirty-fresh() {
    PURPOSE="power cut right after fsync of new files; journal checksum v3, 64bit"
    dirty fresh 64 -t ext4
    prove_journal_feature journal_checksum_v3
    prove_journal_feature journal_64bit
}

image_ext4-dirty-fragmented() {
    PURPOSE="power cut after files grown in turns: extent trees of many extents"
    dirty fragmented 64 -t ext4
}

image_ext4-dirty-unlink() {
    PURPOSE="power cut after a folder was removed and its blocks used for data: revoke records"
    dirty unlink 64 -t ext4
    prove_journal "revoke"
}

image_ext4-dirty-unlink-1k() {
    PURPOSE="revokes with 1 KiB blocks, no extents, no checksums"
    dirty unlink 32 -t ext4 -b 1024 -O ^metadata_csum,^extent,^64bit
    prove_journal "revoke"
}

image_ext4-dirty-busy() {
    PURPOSE="power cut during heavy writes"
    dirty busy 96 -t ext4
}

image_ext4-dirty-busy-1k() {
    PURPOSE="power cut during heavy writes, 1 KiB blocks"
    dirty busy 64 -t ext4 -b 1024
}

image_ext4-dirty-wrapped() {
    PURPOSE="the live log goes past the end of the journal and on at its start"
    local try
    for try in 1 2 3 4 5 6; do
        BUDGET=$((1048576 + try * 65536)) dirty wrap 48 -t ext4 -b 1024 -J size=1
        ! prove_wrapped || return 0
    done
    die "not proven: the log wraps"
}

image_ext4-dirty-csum-v3-32bit() {
    PURPOSE="journal checksum v3 without 64bit"
    dirty fresh 64 -t ext4 -O ^64bit
    prove_journal_feature journal_checksum_v3
    prove_features ^64bit metadata_csum
}

image_ext4-dirty-csum-v1() {
    PURPOSE="journal checksum v1: a checksum over the transaction in its commit block"
    OPTIONS=journal_checksum dirty fresh 64 -t ext4 -O ^metadata_csum
    prove_journal_feature journal_checksum
}

image_ext4-dirty-async-commit() {
    PURPOSE="asynchronous commit: the checksum decides whether a transaction counts"
    OPTIONS=journal_async_commit,data=writeback dirty fresh 64 -t ext4 -O ^metadata_csum
    prove_journal_feature journal_async_commit
}

image_ext4-dirty-no-csum() {
    PURPOSE="no checksum in the journal, 64-bit tags"
    dirty fresh 64 -t ext4 -O ^metadata_csum
    prove_features ^metadata_csum
}

image_ext4-dirty-no-csum-32bit() {
    PURPOSE="no checksum in the journal, 32-bit tags"
    dirty fragmented 64 -t ext4 -O ^metadata_csum,^64bit
    prove_features ^metadata_csum ^64bit
}

image_ext3-dirty() {
    PURPOSE="ext3 after a power cut: no extents, indirect blocks in the journal"
    dirty fragmented 32 -t ext3 -b 1024
    prove_features ^extent
}

image_ext4-dirty-1k() {
    PURPOSE="power cut with 1 KiB blocks"
    dirty fragmented 48 -t ext4 -b 1024
}

image_ext4-dirty-bigalloc() {
    PURPOSE="power cut with bigalloc: journalled bitmaps count clusters"
    dirty fresh 300 -t ext4 -b 4096 -O bigalloc -C 65536 -g 1024
    prove_features bigalloc
}

image_ext4-dirty-meta-bg() {
    PURPOSE="power cut with meta_bg: journalled descriptors are spread out"
    dirty busy 64 -t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode
    prove_features meta_bg
}

image_ext4-dirty-uninit() {
    PURPOSE="power cut after writes that reached groups whose bitmaps were never written"
    dirty busy 90 -t ext4 -b 1024 -g 2048 -G 1
}

image_ext4-dirty-data-journal() {
    PURPOSE="data=journal, file blocks that start with the journal's magic: escaped in the log"
    blank 64
    format -t ext4 -b 4096
    populate 2097152
    crash magic data=journal
    prove_stale
    grep -Eq 'flags 0x[0-9a-f]*[13579bdf]\)' "$BUILD/journal" || die "not proven: an escaped block"
}

image_ext4-dirty-data-journal-1k() {
    PURPOSE="data=journal with 1 KiB blocks and escaped blocks, no checksum"
    blank 64
    format -t ext4 -b 1024 -O ^metadata_csum
    populate 2097152
    crash magic data=journal
    prove_stale
    grep -Eq 'flags 0x[0-9a-f]*[13579bdf]\)' "$BUILD/journal" || die "not proven: an escaped block"
}

image_ext4-dirty-orphan() {
    PURPOSE="power cut with deleted files still open: the orphan list"
    blank 48
    format -t ext4 -O ^orphan_file
    populate 2097152
    crash orphan
    # Only the journal knows of the list: its head is in the superblock that is logged there.
    cp --sparse=always "$DISK" "$BUILD/logged.img"
    e2fsck -fy "$BUILD/logged.img" >"$BUILD/fsck" 2>&1 || (($? == 1)) || die "e2fsck -fy"
    prove "orphans on the list" grep -q 'Clearing orphaned inode' "$BUILD/fsck"
    rm "$BUILD/logged.img"
}

image_ext4-dirty-orphan-file() {
    PURPOSE="power cut with deleted files still open: the orphan file"
    blank 48
    format -t ext4 -O orphan_file
    populate 2097152
    crash orphan
    prove_features orphan_file orphan_present
}

image_ext4-dirty-mmp() {
    PURPOSE="power cut of a filesystem with mmp: it still says it is in use"
    dirty fresh 48 -t ext4 -O mmp
    prove_features mmp
    note "understood=false"
    note "because=its MMP block says that it is in use"
}

image_ext4-dirty-inline() {
    PURPOSE="power cut with inline files and folders"
    dirty fresh 48 -t ext4 -O inline_data
    prove_features inline_data
}

image_ext4-dirty-fast-commit() {
    PURPOSE="fast commits pending: allocations known to nothing but their records, stored whole"
    dirty fresh 64 -t ext4 -O fast_commit
    prove_journal "Fast Commit Area"
    prove_journal "tag ADD_RANGE"
    note "understood=false"
    note "because=fast commits are pending"
}

image_ext4-dirty-empty-log() {
    PURPOSE="mounted and cut off before the first commit: to recover, but nothing in the log"
    blank 48
    format -t ext4
    populate 2097152
    open_lab
    cp --sparse=always "$DISK" "$LAB/disk.img"
    : >"$BUILD/log.growing"
    DISK=$LAB/disk.img attach
    cut_power
    umount "$MOUNT"
    rm "$LAB/disk.img"
    prove_features needs_recovery
    LOG=$BUILD/log REPLAYED=$BUILD/replayed.img
    cp --sparse=always "$DISK" "$REPLAYED"
    mount -o loop,noinit_itable "$REPLAYED" "$MOUNT" || die "mount of the crash copy"
    umount "$MOUNT"
}

# craft VERSION: a crash written by debugfs, for what today's kernel does not write by itself. New
# files are made on a copy; of what they changed, the blocks that were free go straight to their
# place (as data does) and the others into the journal, behind a transaction that logs junk for one
# of the data blocks and one that revokes it.
craft() {
    local version=$1 after=$BUILD/after.img
    cp --sparse=always "$DISK" "$after"
    : >"$BUILD/log"
    if [[ $MOUNTABLE == true ]]; then
        DISK=$after attach
        python3 "$here/content.py" crash "$MOUNT" "$BUILD/log" fresh || die "fresh"
        umount "$MOUNT"
    else
        rm -rf "$BUILD/first"
        mkdir "$BUILD/first"
        python3 "$here/content.py" crash "$BUILD/first" "$BUILD/log" fresh || die "fresh"
        {
            echo "mkdir crash"
            for name in "$BUILD"/first/crash/*; do
                echo "write $name crash/${name##*/}"
            done
        } >"$BUILD/commands"
        debugfs -w -f "$BUILD/commands" "$after" >/dev/null 2>&1 || die "debugfs"
        e2fsck -fy "$after" >/dev/null 2>&1 || (($? == 1)) || die "e2fsck -fy"
    fi
    python3 - "$here" "$DISK" "$after" "$BUILD" "$version" <<'PYTHON' || die "comparing before and after"
import re, subprocess, sys
sys.path.insert(0, sys.argv[1])
import facts
before, after, build = sys.argv[2:5]
found = facts.Ext(before)
size = found.block_size
free = set()
for first, length in found.free:
    free.update(range(first // size, (first + length) // size))
stat = subprocess.run(["debugfs", "-R", "stat <8>", before], capture_output=True, text=True).stdout
journal = set()
for first, last in re.findall(r":(\d+)-(\d+)", stat.split("EXTENTS:")[1]):
    journal.update(range(int(first), int(last) + 1))
logged, revoked = [], None
with open(before, "r+b") as old, open(after, "rb") as new, open(build + "/logged", "wb") as log:
    for block in range(found.blocks):
        old.seek(block * size)
        new.seek(block * size)
        piece = new.read(size)
        if block in journal or old.read(size) == piece:
            continue
        if block in free:
            old.seek(block * size)
            old.write(piece)
            revoked = block
        else:
            logged.append(block)
            log.write(piece)
with open(build + "/revoked", "wb") as junk:
    junk.write(b"old metadata, revoked. " * size)
    junk.truncate(size)
with open(build + "/commands", "w") as commands:
    commands.write(f"jo -c -v {sys.argv[5]}\n")
    commands.write(f"jw -b {revoked} {build}/revoked\n")
    commands.write(f"jw -r {revoked}\n")
    commands.write(f"jw -b {','.join(map(str, logged))} {build}/logged\n")
    commands.write("jc\n")
PYTHON
    debugfs -w -f "$BUILD/commands" "$DISK" >"$BUILD/debugfs.log" 2>&1 || die "debugfs journal_write"
    rm "$after"
    prove_dirty
    prove_stale
}

image_ext4-dirty-csum-v2() {
    PURPOSE="journal checksum v2: short checksums in the tags"
    blank 64
    format -t ext4 -b 1024
    populate 2097152
    craft 2
    prove_journal_feature journal_checksum_v2
    prove_journal revoke
}

image_ext4-dirty-csum-v2-32bit() {
    PURPOSE="journal checksum v2 with 32-bit tags"
    blank 64
    format -t ext4 -O ^64bit
    populate 2097152
    craft 2
    prove_journal_feature journal_checksum_v2
}

image_ext4-dirty-64k() {
    PURPOSE="something to replay with 64 KiB blocks"
    blank 128
    populate_without_kernel 2097152 -t ext4 -b 65536
    REPLAY_WITH=e2fsck craft 3
    prove_field "Block size" 65536
}

image_ext4-dirty-bigalloc-busy() {
    PURPOSE="power cut during heavy writes with bigalloc, several groups"
    dirty busy 160 -t ext4 -b 1024 -O bigalloc -C 8192 -g 2048
    prove_features bigalloc
    prove_groups 8
}

image_ext4-dirty-external-journal() {
    PURPOSE="to replay from another device: stored whole"
    open_lab
    with_external_journal 48 "$LAB/device.img"
    populate 2097152 "journal_path=$LOOP"
    cp --sparse=always "$DISK" "$LAB/disk.img"
    : >"$BUILD/log.growing"
    DISK=$LAB/disk.img attach "journal_path=$LOOP"
    python3 "$here/content.py" crash "$MOUNT" "$BUILD/log.growing" fresh || die "fresh"
    cut_power
    umount "$MOUNT"
    losetup -d "$LOOP"
    rm "$LAB/disk.img" "$LAB/device.img"
    prove_features needs_recovery
    MOUNTABLE=false
    note "state=dirty"
    note "sb_free_may_differ=true"
    note "understood=false"
    note "because=the journal to replay is on another device"
}

image_ext4-dirty-damaged-log() {
    PURPOSE="a transaction in the middle of the log is damaged: nobody knows what to replay"
    dirty fragmented 64 -t ext4 -J size=16
    local block
    # A logged block of the fifth transaction; its checksum is in the tag.
    block=$(awk '/^Found expected sequence .*descriptor/ { n++ }
        n == 5 && /logged at journal block/ { print $(NF - 2); exit }' "$BUILD/journal")
    [[ -n $block ]] || die "the log is too short"
    python3 - "$DISK" "$block" <<'PYTHON' || die "damaging the log"
import subprocess, sys
image, block = sys.argv[1], sys.argv[2]
found = subprocess.run(["debugfs", "-n", "-R", f"bmap <8> {block}", image], capture_output=True, text=True)
with open(image, "r+b") as disk:
    disk.seek(int(found.stdout) * 4096 + 77)
    byte = disk.read(1)
    disk.seek(-1, 1)
    disk.write(bytes([byte[0] ^ 0x10]))
PYTHON
    debugfs -n -R "logdump -a" "$DISK" >"$BUILD/journal" 2>/dev/null
    e2fsck -fn "$DISK" >"$BUILD/fsck" 2>&1 || true
    cp --sparse=always "$DISK" "$BUILD/damaged.img"
    prove "the kernel refuses the log" refused "$BUILD/damaged.img"
    rm "$BUILD/damaged.img"
    MOUNTABLE=false LOG='' REPLAYED=''
    note "state=dirty"
    note "sb_free_may_differ=true"
    note "read_files=false"
    note "understood=false"
    note "because=a block in the log does not match its checksum"
}

refused() {
    ! mount -t ext4 -o loop "$1" "$MOUNT" 2>/dev/null || {
        umount "$MOUNT"
        return 1
    }
}

image_ext4-dirty-error-flag() {
    PURPOSE="power cut of a filesystem that had errors before"
    dirty fresh 48 -t ext4
    debugfs -n -w -R "set_super_value state 2" "$DISK" 2>/dev/null
    prove "the error flag" grep -q 'with errors' <(head_of)
    note "understood=false"
    note "because=the error flag is set"
}

# -- small enough to be kept in images/ ----------------------------------------------------------

image_ext4-tiny-dirty() {
    PURPOSE="power cut; 1 KiB blocks, journal checksum v3, 64bit"
    JUNK=pattern BUDGET=16384 dirty tiny 3 -t ext4 -b 1024 -J size=1
    prove_journal_feature journal_checksum_v3
}

image_ext4-tiny-dirty-revoke() {
    PURPOSE="power cut after blocks of a removed folder were used again; no checksums, 32-bit tags"
    JUNK=pattern BUDGET=16384 dirty tiny-unlink 3 -t ext4 -b 1024 -J size=1 -O ^metadata_csum,^64bit
    prove_journal revoke
}

image_ext4-tiny-dirty-fast-commit() {
    PURPOSE="fast commits pending: stored whole"
    JUNK=pattern BUDGET=16384 dirty tiny 6 -t ext4 -b 1024 -O fast_commit -J size=1
    prove_journal "tag ADD_RANGE"
    note "understood=false"
    note "because=fast commits are pending"
}
