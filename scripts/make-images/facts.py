#!/usr/bin/env python3
"""What an oracle says of a test image, as JSON beside the image.

The oracle is always somebody else's program (dumpe2fs, e2fsck, fsck.fat, sgdisk, sfdisk) or, where
there is none for a whole map, a decoder that is checked against one (fat_map.py).

    facts.py IMAGE --kind KIND [--record FILE] [--log FILE] [--replayed IMAGE]
             [--companion IMAGE]...
                   [--part NUMBER,OFFSET,KIND,IMAGE,RECORD]... [--set NAME=JSON]...

ext, fat, swap and table are here; any other KIND is a module facts_KIND.py with a function
`facts(image, arguments, facts)` that adds what its oracle says. Of a set of disks, `--companion`
names the others; the module adds "used" to each of facts["companions"].

Ranges are [first byte, length in bytes], sorted, from the start of the image.
"""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys

import fat_map


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"facts.py: {' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def complement(free, length):
    """Ranges of `length` that are not in `free` (sorted, not overlapping)."""
    used, at = [], 0
    for first, size in free:
        if first > at:
            used.append([at, first - at])
        at = max(at, first + size)
    if at < length:
        used.append([at, length - at])
    return used


def total(ranges):
    return sum(size for _, size in ranges)


class Ext:
    """dumpe2fs of one filesystem.

    Of a dirty one dumpe2fs complains (a bitmap's new checksum may be only in the journal), but it
    still prints the map.
    """

    def __init__(self, image, dirty=False):
        done = subprocess.run(["dumpe2fs", image], capture_output=True, text=True)
        if done.returncode != 0 and not dirty:
            sys.exit(f"facts.py: dumpe2fs {image} failed: {done.stderr.strip()}")
        self.text = done.stdout
        self.head = self.text.split("\n\n\n")[0]
        self.block_size = int(self.field("Block size"))
        self.cluster_size = int(self.field("Cluster size", self.block_size))
        self.blocks = int(self.field("Block count"))
        self.free_blocks = int(self.field("Free blocks"))
        self.features = self.field("Filesystem features").split()
        self.length = self.blocks * self.block_size
        self.free = self.free_ranges()
        # A group without the line would count as used: safe to say, but then nothing was proven.
        if len(re.findall(r"^  Free blocks:", self.text, re.MULTILINE)) != self.groups():
            sys.exit(f"facts.py: {image}: dumpe2fs prints no map for some group")

    def field(self, name, default=None):
        found = re.search(rf"^{re.escape(name)}:\s*(.*)$", self.head, re.MULTILINE)
        if found:
            return found.group(1).strip()
        if default is None:
            sys.exit(f"facts.py: dumpe2fs says nothing of {name}")
        return default

    def free_ranges(self):
        # With bigalloc a range is given by the first block of its first and of its last cluster.
        ratio = self.cluster_size // self.block_size
        ranges = []
        for line in re.findall(r"^  Free blocks: *(.*)$", self.text, re.MULTILINE):
            for part in filter(None, line.split(", ")):
                first, _, last = part.partition("-")
                first, last = int(first), int(last or first) + ratio
                last = min(last, self.blocks)
                ranges.append([first * self.block_size, (last - first) * self.block_size])
        return sorted(ranges)

    def used(self):
        return complement(self.free, self.length)

    def groups(self):
        return len(re.findall(r"^Group \d+:", self.text, re.MULTILINE))


def ext(image, arguments, facts):
    dirty = arguments.replayed is not None
    found = Ext(image, dirty)
    facts.update(
        {
            "filesystem_length": found.length,
            "block_size": found.block_size,
            "cluster_size": found.cluster_size,
            "features": found.features,
            "block_count": found.blocks,
            "group_count": found.groups(),
            "free_blocks": total(found.free) // found.block_size,
            "used_blocks": found.blocks - total(found.free) // found.block_size,
            "uuid": found.field("Filesystem UUID"),
            "label": found.field("Filesystem volume name").replace("<none>", ""),
            "used": found.used(),
        }
    )
    if not dirty and "sb_free_may_differ" not in facts:
        # Two statements of the same oracle: the bitmaps and the superblock's counter.
        if abs(found.free_blocks - facts["free_blocks"]) * found.block_size >= found.cluster_size:
            sys.exit(
                f"facts.py: {image}: bitmaps say {facts['free_blocks']} free blocks, "
                f"the superblock {found.free_blocks}"
            )
    facts.setdefault("state", "dirty" if dirty else "clean")
    if dirty:
        facts["used_after_replay"] = Ext(arguments.replayed).used()
        facts["allocated_by_replay"] = total(missing(facts["used_after_replay"], facts["used"]))


def missing(wanted, have):
    """The parts of `wanted` that `have` does not cover. Both sorted, neither overlapping itself."""
    left, behind = [], 0
    for first, size in wanted:
        at, end = first, first + size
        while behind < len(have) and sum(have[behind]) <= at:
            behind += 1
        next_one = behind
        while at < end:
            if next_one == len(have) or have[next_one][0] >= end:
                left.append([at, end - at])
                break
            start, length = have[next_one]
            if start > at:
                left.append([at, start - at])
            at = max(at, start + length)
            next_one += 1
    return left


def fat(image, arguments, facts):
    facts.update(fat_map.facts(image))


def plain(image, arguments, facts):
    pass


def table(image, arguments, facts):
    """A whole disk: used is everything but what a filesystem in a partition calls free."""
    free, files = [], {}
    for part in arguments.part:
        number, offset, kind, path, record = part.split(",")
        offset = int(offset)
        if kind == "ext":
            inside = Ext(path).free
        elif kind == "fat":
            decoder = fat_map.Fat(path)
            inside = complement(decoder.used(), decoder.length)
        else:
            # swap: its header page is 4 KiB in these images.
            inside = [[4096, os.path.getsize(path) - 4096]]
        free += [[offset + first, size] for first, size in inside]
        if record:
            with open(record) as file:
                files[number] = json.load(file)
    facts["used"] = complement(sorted(free), facts["length"])
    facts["partition_files"] = files


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("--kind", required=True)
    parser.add_argument("--record")
    parser.add_argument("--log")
    parser.add_argument("--part", action="append", default=[])
    parser.add_argument("--replayed")
    parser.add_argument("--companion", action="append", default=[])
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()

    facts = {
        "image": os.path.basename(arguments.image),
        "kind": arguments.kind,
        "length": os.path.getsize(arguments.image),
        "understood": True,
    }
    for pair in arguments.set:
        name, _, value = pair.partition("=")
        try:
            facts[name] = json.loads(value)
        except ValueError:
            facts[name] = value
    if arguments.companion:
        facts["companions"] = [
            {"image": os.path.basename(path), "length": os.path.getsize(path)}
            for path in arguments.companion
        ]
    known = {"ext": ext, "fat": fat, "swap": plain, "table": table}
    if arguments.kind in known:
        known[arguments.kind](arguments.image, arguments, facts)
    else:
        module = importlib.import_module("facts_" + arguments.kind)
        module.facts(arguments.image, arguments, facts)
    files = {}
    if arguments.record:
        with open(arguments.record) as file:
            files = json.load(file)
    if arguments.log:
        fsynced = {}
        with open(arguments.log) as file:
            for line in file:
                name, _, digest = line.strip().rpartition(" ")
                if digest != "-":
                    fsynced[name] = digest
        facts["fsynced"] = fsynced
        files = files | fsynced
    facts["files"] = files

    target = re.sub(r"\.img$", "", arguments.image) + ".facts.json"
    with open(target, "w") as file:
        write(facts, file)


def write(facts, file):
    """One line per field, one per file and ten ranges a line: readable, and small to compare."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            inner = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            text = "{\n" + inner + "\n  }"
        elif isinstance(value, list) and len(value) > 10 and isinstance(value[0], list):
            rows = [value[n : n + 10] for n in range(0, len(value), 10)]
            text = "[\n    " + ",\n    ".join(json.dumps(row)[1:-1] for row in rows) + "\n  ]"
        else:
            text = json.dumps(value)
        lines.append(f"  {json.dumps(name)}: {text}")
    file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
