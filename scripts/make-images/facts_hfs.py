"""What the volume bitmap of an HFS says, bit by bit, held against the free bytes that hfsutils print.

The two ends, which have no bits, are in use.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile


def free_bytes(image):
    """By hmount, which mends what was not unmounted: of a copy."""
    with tempfile.TemporaryDirectory() as home:
        copy = shutil.copy(image, os.path.join(home, "volume"))
        done = subprocess.run(["hmount", copy], env={**os.environ, "HOME": home}, capture_output=True, text=True)
        found = re.search(r"Volume has (\d+) bytes free", done.stdout)
        if done.returncode != 0 or not found:
            sys.exit(f"facts_hfs.py: hmount {image} failed: {done.stderr.strip()}")
        return int(found[1])


def facts(image, arguments, facts):
    with open(image, "rb") as file:
        disk = file.read()
    half = lambda at: struct.unpack_from(">H", disk, 1024 + at)[0]
    bitmap, count, first, free = half(14) * 512, half(18), half(28) * 512, half(34)
    (size,) = struct.unpack_from(">I", disk, 1024 + 20)
    used = [[0, first]]
    for block in range(count):
        if disk[bitmap + block // 8] & 0x80 >> block % 8:
            start = first + block * size
            if sum(used[-1]) == start:
                used[-1][1] += size
            else:
                used.append([start, size])
    end = first + count * size
    used.append([end, len(disk) - end])
    if facts.get("understood") is not False:
        bits = count - (sum(length for _, length in used) - first - (len(disk) - end)) // size
        if not bits == free or bits * size != free_bytes(image):
            sys.exit(f"facts_hfs.py: {image}: {bits} blocks are free, the header says {free}")
    # And what the maker has cleared in the bitmap.
    used = sorted(used + facts.get("unmarked", []))
    facts.update({"filesystem_length": end + 1024, "block_size": size, "block_count": count, "used": joined(used)})
    for name in ("UUID", "LABEL"):
        done = subprocess.run(["blkid", "-p", "-o", "value", "-s", name, image], capture_output=True, text=True)
        facts["blkid_" + name.lower()] = done.stdout.strip()


def joined(ranges):
    """Without what touches."""
    result = []
    for start, length in ranges:
        if result and start == sum(result[-1]):
            result[-1][1] += length
        elif length:
            result.append([start, length])
    return result
