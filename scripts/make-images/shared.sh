# shellcheck shell=bash
# What every maker of test images needs. Sourced, not run.
#
# A maker defines one function `image_NAME` for each image and ends with `make_images "$@"`. Such a
# function builds $DISK (and of a set of disks the others, $WORK/$NAME.2.img and so on, listed in
# COMPANIONS) and proves that it has the property it is for; then `finish` writes the facts and moves
# all to OUTDIR. Anything that fails ends the run with the image's name.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here

die() {
    echo "make-images: ${NAME:-start}: $*" >&2
    exit 1
}

# need PROGRAM...: all of them, or one message that names those missing.
need() {
    local program missing=()
    for program in "$@"; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    ((${#missing[@]} == 0)) || die "missing: ${missing[*]} (see scripts/test for the packages)"
}

# prove WHAT COMMAND...: the command succeeds, or the image is not what it is for.
prove() {
    local what=$1
    shift
    "$@" || die "not proven: $what ($*)"
}

# junk BYTES SEED: non-zero bytes, the same on every run. JUNK=pattern repeats one sector, for
# images that have to compress well.
junk() {
    if [[ ${JUNK:-random} == pattern ]]; then
        python3 - "$1" <<'PYTHON'
import sys
length = int(sys.argv[1])
sector = (b"free space holds junk, never zeros. " * 15)[:512]
sys.stdout.buffer.write((sector * (length // 512 + 1))[:length])
PYTHON
    else
        head -c "$1" /dev/zero | openssl enc -aes-128-ctr -nosalt \
            -K 6461636170646163617064616361706f -iv "$(printf '%032x' "$2")" 2>/dev/null
    fi
}

# blank MIB: $DISK, filled with junk. Above 96 MiB the junk is the first 64 MiB and 256 KiB in
# every 8 MiB, and the rest a hole: the image stays small and no structure lands on zeros only.
blank() {
    local mib=$1 at
    rm -f "$DISK"
    truncate -s "${mib}M" "$DISK"
    if ((mib <= 96)); then
        junk $((mib << 20)) 1 | dd of="$DISK" conv=notrunc bs=1M status=none
    else
        junk $((64 << 20)) 1 | dd of="$DISK" conv=notrunc bs=1M status=none
        junk $((256 << 10)) 2 >"$WORK/stretch"
        for ((at = 64; at < mib && at < 4096; at += 8)); do
            dd if="$WORK/stretch" of="$DISK" conv=notrunc bs=1M seek="$at" status=none
        done
    fi
}

# uuid_of NAME: the same identity on every run.
uuid_of() {
    local sum
    sum=$(printf '%s' "$1" | md5sum)
    echo "${sum:0:8}-${sum:8:4}-4${sum:13:3}-8${sum:17:3}-${sum:20:12}"
}

# note NAME=JSON: one more fact for the image being made.
note() {
    NOTES+=(--set "$1")
}

# undo COMMAND...: run at the end, last first, whatever happens.
UNDO=()
undo() {
    UNDO+=("$(printf '%q ' "$@")")
}

# release_loop DEVICE FILE: detaches a loop device, if it is still that of the file: one that was
# detached before belongs to somebody else by now.
release_loop() {
    local file
    file=$(losetup --noheadings --output BACK-FILE "$1" 2>/dev/null) || return 0
    [[ ${file% (deleted)} != "$(realpath -m "$2")" ]] || losetup -d "$1"
}

undo_all() {
    local status=$? at
    set +e
    for ((at = ${#UNDO[@]} - 1; at >= 0; at--)); do
        eval "${UNDO[at]}" 2>/dev/null
    done
    exit "$status"
}

# make_images KIND OUTDIR [NAME...]: all images of the maker, or those named.
make_images() {
    local kind=$1 out=${2:-} name began
    [[ -n $out ]] || {
        echo "usage: scripts/make-images/$kind OUTDIR [VARIANT...]" >&2
        echo "variants:" >&2
        declare -F | sed -n 's/^declare -f image_/  /p' >&2
        exit 2
    }
    shift 2
    mkdir -p "$out"
    OUT=$(cd "$out" && pwd)
    local wanted=("$@")
    ((${#wanted[@]})) || mapfile -t wanted < <(declare -F | sed -n 's/^declare -f image_//p')
    for name in "${wanted[@]}"; do
        declare -F "image_$name" >/dev/null || die "no such variant: $name"
    done
    for name in "${wanted[@]}"; do
        NAME=$name
        KIND=$kind
        DISK=$WORK/$NAME.img
        MOUNTABLE=false
        NOTES=() PARTS=() COMPANIONS=() PURPOSE='' RECORD='' LOG='' REPLAYED='' JUNK=random
        began=$(date +%s%N)
        "image_$name"
        [[ -n $PURPOSE ]] || die "no purpose"
        finish
        printf '%-34s %5d ms  %s\n' "$NAME" $((($(date +%s%N) - began) / 1000000)) "$PURPOSE"
    done
}

# finish: facts from the oracle, then both files to OUTDIR, the facts last so that an image with
# facts is a whole one.
finish() {
    local other arguments=("$DISK" --kind "$KIND" --set "purpose=$PURPOSE")
    note "kernel_mounts=$MOUNTABLE"
    [[ -z $RECORD ]] || arguments+=(--record "$RECORD")
    [[ -z $LOG ]] || arguments+=(--log "$LOG")
    [[ -z $REPLAYED ]] || arguments+=(--replayed "$REPLAYED")
    for other in "${COMPANIONS[@]}"; do
        arguments+=(--companion "$other")
    done
    python3 "$here/facts.py" "${arguments[@]}" "${NOTES[@]}" "${PARTS[@]}" || die "facts"
    rm -f "$OUT/$NAME.facts.json"
    for other in "${COMPANIONS[@]}"; do
        cp --sparse=always "$other" "$OUT/${other##*/}"
        rm -f "$other"
    done
    cp --sparse=always "$DISK" "$OUT/$NAME.img.new"
    mv "$OUT/$NAME.img.new" "$OUT/$NAME.img"
    cp "$WORK/$NAME.facts.json" "$OUT/$NAME.facts.json"
    rm -f "$DISK" "$REPLAYED" "$WORK/$NAME.facts.json"
}

WORK=$(mktemp -d "${TMPDIR:-/tmp}/make-images.XXXXXX")
readonly WORK
trap undo_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
[[ -n ${KEEP:-} ]] || undo rm -rf --one-file-system "$WORK"
