"""What btrfs-progs says of the disks of a btrfs.

The oracle is `btrfs inspect-internal`: dump-tree prints the items of the chunk tree, the extent tree
and the log trees, dump-super the superblock. What this module adds is arithmetic: from the logical
addresses that the trees speak of to the bytes of each device, by the stripes of the chunks. That is
held against partclone, the kernel's mount and `btrfs check` by the tests.
"""

import bisect
import re
import subprocess

STRIPE = 65536
FIRST_MIB = (0, 1 << 20)
SUPERBLOCKS = [64 << 10, 64 << 20, 256 << 30]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"facts_btrfs.py: {' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def joined(ranges):
    """[first, size] of sorted, merged ranges of (first, end)."""
    merged = []
    for first, end in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([first, end])
    return [[first, end - first] for first, end in merged]


class Super:
    def __init__(self, image):
        self.text = run("btrfs", "inspect-internal", "dump-super", image)

    def __getitem__(self, name):
        found = re.search(rf"^{re.escape(name)}[ \t]+(.*)$", self.text, re.MULTILINE)
        if not found:
            raise SystemExit(f"facts_btrfs.py: dump-super says nothing of {name}")
        return found.group(1).strip()

    def number(self, name):
        return int(self[name].split()[0], 0)

    def flags(self, name):
        found = re.search(rf"^{name}[ \t]+\S+\n((?:\t\t\t.*\n)*)", self.text, re.MULTILINE)
        return re.findall(r"[A-Z0-9_]+", found.group(1)) if found else []


class Trees:
    """dump-tree of all devices together."""

    def __init__(self, images):
        self.images = images
        self.chunks = []
        self.devices = {}
        text = self.dump("-t", "chunk")
        for devid, size in re.findall(r"^\t\tdevid (\d+) total_bytes (\d+)", text, re.MULTILINE):
            self.devices[int(devid)] = int(size)
        pattern = r"key \(FIRST_CHUNK_TREE CHUNK_ITEM (\d+)\)"
        for part in re.split(r"\n\titem ", text):
            found = re.search(pattern, part)
            if not found:
                continue
            length, kind = re.search(r"length (\d+) .*type (\S+)", part).groups()
            stripes = re.findall(r"stripe \d+ devid (\d+) offset (\d+)", part)
            self.chunks.append(
                (
                    int(found.group(1)),
                    int(length),
                    kind.split("|")[-1].lower(),
                    [(int(devid), int(offset)) for devid, offset in stripes],
                )
            )
        self.chunks.sort()

    def dump(self, *options):
        return run("btrfs", "inspect-internal", "dump-tree", *options, *self.images)

    def extents(self, node_size):
        """Logical (first, end, is_data) of everything in the extent tree."""
        found = []
        text = self.dump("-t", "extent")
        pattern = re.compile(
            r"key \((\d+) (EXTENT_ITEM|METADATA_ITEM) (\d+)\).*\n\t\trefs \d+ gen \d+ flags (\S+)"
        )
        for first, kind, size, flags in pattern.findall(text):
            first, size = int(first), int(size)
            size = node_size if kind == "METADATA_ITEM" else size
            found.append((first, first + size, "DATA" in flags))
        return found

    def log(self, node_size):
        """Logical (first, end, is_data) of the log trees and of what they name."""
        found = []
        text = self.dump()
        for block in re.split(r"(?m)^(?=(?:leaf|node) \d+ (?:level \d+ )?items )", text):
            head = block.split("\n", 1)[0]
            if not head.endswith("owner TREE_LOG"):
                continue
            first = int(head.split()[1])
            found.append((first, first + node_size, False))
            for start, size in re.findall(r"(?:extent|prealloc) data disk byte (\d+) nr (\d+)", block):
                if int(start):
                    found.append((int(start), int(start) + int(size), True))
        return found

    def on_device(self, devid, logical):
        """Bytes (first, end) of a device for logical (first, end)."""
        starts = [chunk[0] for chunk in self.chunks]
        ranges = []
        for first, end, *_ in logical:
            number = bisect.bisect_right(starts, first) - 1
            start, length, profile, stripes = self.chunks[number]
            if not (start <= first and end <= start + length):
                raise SystemExit(f"facts_btrfs.py: logical {first} is in no chunk")
            for index, (device, offset) in enumerate(stripes):
                if device == devid:
                    for a, b in pieces(profile, index, len(stripes), first - start, end - start):
                        ranges.append((offset + a, offset + b))
        return ranges


def pieces(profile, index, count, first, end):
    """The parts of stripe `index` that hold bytes `first` to `end` of a chunk."""
    if profile in ("raid0", "raid10", "raid5", "raid6"):
        copies = 2 if profile == "raid10" else 1
        parity = {"raid5": 1, "raid6": 2}.get(profile, 0)
        width = count // copies - parity
        at = first
        while at < end:
            piece = at // STRIPE
            upto = min(end, (piece + 1) * STRIPE)
            row = piece // width
            if parity:
                # Every stripe of the row: the parity covers all of it.
                yield row * STRIPE, (row + 1) * STRIPE
            elif piece % width == index // copies:
                yield row * STRIPE + at % STRIPE, row * STRIPE + at % STRIPE + upto - at
            at = upto
    else:
        yield first, end


def used_of(image, trees, logical):
    head = Super(image)
    devid = head.number("dev_item.devid")
    ranges = trees.on_device(devid, logical)
    ranges.append(FIRST_MIB)
    size = head.number("dev_item.total_bytes")
    ranges += [(at, at + 4096) for at in SUPERBLOCKS if at + 4096 <= size]
    return joined(ranges)


def facts(image, arguments, facts):
    head = Super(image)
    features = head.flags("incompat_flags") + head.flags("compat_ro_flags")
    facts.update(
        {
            "filesystem_length": head.number("dev_item.total_bytes"),
            "features": features,
            "uuid": head["fsid"],
            "label": head["label"] if re.search(r"^label\t+\S", head.text, re.MULTILINE) else "",
            "checksum": head["csum_type"].split("(")[1].rstrip(")"),
            "sector_bytes": head.number("sectorsize"),
            "node_bytes": head.number("nodesize"),
            "devices": head.number("num_devices"),
            "generation": head.number("generation"),
        }
    )
    facts.setdefault("state", "dirty" if head.number("log_root") else "clean")
    if facts["understood"] is False and not facts.get("has_oracle"):
        # Nothing to compare: all has to be stored.
        return
    images = [image] + arguments.companion
    trees = Trees(images)
    node = facts["node_bytes"]
    logical = trees.extents(node)
    committed = sum(end - first for first, end, _ in logical)
    if committed != head.number("bytes_used"):
        raise SystemExit(
            f"facts_btrfs.py: the extents are {committed} bytes, the superblock says {head['bytes_used']}"
        )
    if head.number("log_root"):
        log = trees.log(node)
        if not log:
            raise SystemExit("facts_btrfs.py: no log tree, though the superblock has a log root")
        facts["logged_extents"] = sum(1 for *_, is_data in log if is_data)
        facts["log_blocks"] = sum(1 for *_, is_data in log if not is_data)
        logical += log
    if facts.get("apart"):
        # Each disk is saved without the others: all that is in a chunk on it counts.
        logical = [(start, start + length) for start, length, *_ in trees.chunks]
    facts["used"] = used_of(image, trees, logical)
    for companion, path in zip(facts.get("companions", []), arguments.companion):
        companion["used"] = used_of(path, trees, logical)
    if arguments.replayed:
        # What the replay wrote need not be stored, what it read has to be: the data. A chunk that
        # it added has a place that was free before.
        after = Trees([arguments.replayed] + facts.get("replayed_companions", []))
        known = set(chunk[0] for chunk in trees.chunks)
        starts = [chunk[0] for chunk in after.chunks]
        data = [
            extent
            for extent in after.extents(node)
            if extent[2] and starts[bisect.bisect_right(starts, extent[0]) - 1] in known
        ]
        data = joined(after.on_device(head.number("dev_item.devid"), data))
        facts["replayed_data"] = sum(size for _, size in data)
        import facts as ranges

        left = ranges.missing(data, facts["used"])
        if left:
            raise SystemExit(f"facts_btrfs.py: the replay uses data that no log names: {left[:3]}")
