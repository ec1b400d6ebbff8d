"""What The Sleuth Kit says of an HFS+ volume: its blocks one by one, and its header.

The blocks come from the allocation file, which it reads through the extents overflow file; their
sum is held against the count in the volume header. The two ends are in use whatever it says.
"""

import re
import subprocess
import sys


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"facts_hfsplus.py: {' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def blocks(image):
    """The runs of allocated blocks, and how many blocks are free."""
    runs, free = [], 0
    with subprocess.Popen(
        ["blkls", "-el", "-f", "hfs", image], stdout=subprocess.PIPE, text=True
    ) as listing:
        for line in listing.stdout:
            block, _, state = line.strip().partition("|")
            if state == "a":
                block = int(block)
                if runs and sum(runs[-1]) == block:
                    runs[-1][1] += 1
                else:
                    runs.append([block, 1])
            elif state == "f":
                free += 1
    if listing.returncode != 0:
        sys.exit(f"facts_hfsplus.py: blkls {image} failed")
    return runs, free


def facts(image, arguments, facts):
    if facts.get("because") == "it is larger than its partition":
        return
    text = run("fsstat", "-f", "hfs", image)
    field = lambda name: re.search(rf"^{name}: *(.*)$", text, re.MULTILINE)[1]
    size = int(field("Allocation Block Size"))
    count = int(field("Block Range").split()[2]) + 1
    runs, free = blocks(image)
    if free != int(field("Number of Free Blocks")) or free + sum(n for _, n in runs) != count:
        sys.exit(f"facts_hfsplus.py: {image}: {free} blocks are free, the volume header says "
                 f"{field('Number of Free Blocks')} of {count}")
    offset = facts.get("embedded_offset", 0)
    end = offset + count * size
    used = [[offset + start * size, length * size] for start, length in runs]
    # The boot blocks, the header and its copy; and all of a wrapper.
    used += [[0, offset + 1536], [end - 1024, 1024]]
    if offset:
        used.append([end, facts["length"] - end])
    facts.update(
        {
            "filesystem_length": facts["length"] if offset else end,
            "block_size": size,
            "block_count": count,
            "free_blocks": free,
            "label": field("Volume Name").strip(),
            "version": field("File System Version"),
            "unmounted": "Volume Unmounted Properly" in text,
            "journaled": "Journal Info Block" in text,
            "used": joined(used),
        }
    )
    facts.setdefault("state", "clean" if facts["unmounted"] else "dirty")
    for name in ("UUID", "LABEL"):
        done = subprocess.run(
            ["blkid", "-p", "-o", "value", "-s", name, image], capture_output=True, text=True
        )
        facts["blkid_" + name.lower()] = done.stdout.strip()


def joined(ranges):
    """Sorted, and without overlaps."""
    result = []
    for start, length in sorted(ranges):
        if result and start <= sum(result[-1]):
            result[-1][1] = max(sum(result[-1]), start + length) - result[-1][0]
        else:
            result.append([start, length])
    return result
