#!/usr/bin/env python3
"""What lvs and pvs say of LVM2's disks: which bytes belong to which logical volume.

    facts_lvm2.py place REPORT VOLUME FILE    write FILE to where the volume's bytes lie
    facts_lvm2.py text CHANGE < OLD > NEW     turn the text of a group into one with what needs the
                                              device mapper to be made

REPORT is a JSON file with the devices, and the output of pvs and lvs about them. What is in use on
a logical volume says dumpe2fs; of one that is no plain run of extents, everything.
"""

import json
import os
import re
import sys

HEADER_PAGE = 4096


class Report:
    """Devices, physical volumes and logical volumes as LVM2's own programs list them."""

    def __init__(self, path):
        with open(path) as file:
            report = json.load(file)
        # Path, number of the disk (None: not given to anybody), first byte on it.
        self.devices = {it["path"]: it for it in report["devices"]}
        self.physical = {row["pv_name"]: row for row in report["pvs"]}
        self.allocated = report["pvsegs"]
        self.segments = report["lvs"]

    def extent_size(self):
        return int(next(iter(self.physical.values()))["vg_extent_size"])

    def place(self, device, extent):
        """Disk and byte of an extent."""
        found = self.devices[device]
        start = int(self.physical[device]["pe_start"]) + extent * self.extent_size()
        return found["disk"], found["offset"] + start

    def pieces(self, name):
        """(disk, first byte, length) of a linear or striped volume, in its own order."""
        rows = [row for row in self.segments if row["lv_name"].strip("[]") == name]
        rows.sort(key=lambda row: int(row["seg_start"]))
        pieces = []
        for row in rows:
            if row["segtype"] not in ("linear", "striped"):
                return None
            columns = []
            for part in row["seg_pe_ranges"].split():
                device, _, extents = part.rpartition(":")
                first = int(extents.split("-")[0])
                if device not in self.devices:
                    return None
                columns.append(self.place(device, first))
            size = int(row["seg_size"])
            if len(columns) == 1:
                pieces.append((*columns[0], size))
                continue
            stripe = int(row["stripe_size"])
            for number in range(size // stripe):
                disk, start = columns[number % len(columns)]
                pieces.append((disk, start + number // len(columns) * stripe, stripe))
        return pieces


def project(pieces, ranges):
    """Ranges of a volume, where they lie: (disk, first byte, length)."""
    found, at = [], 0
    ranges = sorted(ranges)
    behind = 0
    for disk, start, length in pieces:
        while behind < len(ranges) and sum(ranges[behind]) <= at:
            behind += 1
        number = behind
        while number < len(ranges) and ranges[number][0] < at + length:
            first = max(ranges[number][0], at)
            end = min(sum(ranges[number]), at + length)
            if end > first:
                found.append((disk, start + first - at, end - first))
            number += 1
        at += length
    return found


def facts(image, arguments, facts):
    import facts as shared

    report = Report(facts.pop("report"))
    lengths = [facts["length"]] + [it["length"] for it in facts.get("companions", [])]
    used = [[] for _ in lengths]
    volumes = {}
    for part in arguments.part:
        name, offset, kind, path, record = part.split(",")
        offset = int(offset)
        pieces = report.pieces(name)
        length = sum(piece[2] for piece in pieces)
        if kind == "ext":
            free = shared.Ext(path).free
        else:
            free = [[HEADER_PAGE, os.path.getsize(path) - HEADER_PAGE]]
        free = [[offset + first, size] for first, size in free]
        volumes[name] = {"kind": kind, "offset": offset, "length": os.path.getsize(path)}
        volumes[name]["pieces"] = pieces
        volumes[name]["files"] = {}
        if record:
            with open(record) as file:
                volumes[name]["files"] = json.load(file)
        volumes[name]["used"] = shared.complement(free, length)
        if any(disk is None for disk, _, _ in pieces):
            # Nobody can read it without the other disk.
            volumes[name]["used"] = [[0, length]]
            volumes[name]["kind"] = "missing"
    for device in report.devices.values():
        disk, offset = device["disk"], device["offset"]
        if disk is None or device["path"] not in report.physical:
            continue
        row = report.physical[device["path"]]
        end = int(row["pe_start"]) + int(row["pv_pe_count"]) * report.extent_size()
        whole = device["length"]
        used[disk] += [[offset, int(row["pe_start"])], [offset + end, whole - end]]
        # All around the partition it is on.
        used[disk] += [[0, offset], [offset + whole, lengths[disk] - offset - whole]]
    for row in report.allocated:
        name = row["lv_name"].strip("[]")
        if not name or name in volumes:
            continue
        disk, start = report.place(row["pv_name"], int(row["pvseg_start"]))
        if disk is not None:
            used[disk].append([start, int(row["pvseg_size"]) * report.extent_size()])
    for volume in volumes.values():
        for disk, start, length in project(volume["pieces"], volume.pop("used")):
            if disk is not None:
                used[disk].append([start, length])
    used = [merge(ranges) for ranges in used]
    facts["used"] = used[0]
    for number, companion in enumerate(facts.get("companions", []), 1):
        companion["used"] = used[number]
    if facts["understood"] is False:
        facts["used"] = [[0, facts["length"]]]
    facts["volumes"] = {n: v for n, v in volumes.items() if v["kind"] != "missing"}


def merge(ranges):
    merged = []
    for first, size in sorted(it for it in ranges if it[1] > 0):
        if merged and first <= sum(merged[-1]):
            merged[-1][1] = max(merged[-1][1], first + size - merged[-1][0])
        else:
            merged.append([first, size])
    return merged


def place(path, name, source):
    report = Report(path)
    pieces = report.pieces(name)
    handles = {}
    with open(source, "rb") as file:
        for disk, start, length in pieces:
            data = file.read(length)
            image = next(it["image"] for it in report.devices.values() if it["disk"] == disk)
            handle = handles.setdefault(image, os.open(image, os.O_WRONLY))
            os.pwrite(handle, data, start)
        if file.read(1):
            sys.exit(f"facts_lvm2.py: {source} is larger than {name}")
    for handle in handles.values():
        os.close(handle)


# -- what cannot be made without the device mapper --------------------------------------------


def section(name, body, status='"READ", "WRITE"'):
    identifier = "ZZZZZZ-aaaa-bbbb-cccc-dddd-eeee-" + (re.sub("[^A-Za-z0-9]", "", name) + "ffffff")[:6]
    return (
        f'{name} {{\nid = "{identifier}"\nstatus = [{status}]\nflags = []\n'
        f'creation_time = 1795745936\ncreation_host = "here"\nsegment_count = 1\n'
        f"segment1 {{\nstart_extent = 0\n{body}\n}}\n}}\n"
    )


VISIBLE = '"READ", "WRITE", "VISIBLE"'


def hide(text, old, new):
    """A logical volume under another name, as a part of something."""
    start = text.index(f"\t\t{old} {{")
    end = text.index("\n\t\t}", start)
    body = text[start:end].replace(f"\t\t{old} {{", f"\t\t{new} {{", 1)
    return text[:start] + body.replace(', "VISIBLE"', "", 1) + text[end:]


def thin(text):
    text = hide(hide(text, "one", "pool_tdata"), "two", "pool_tmeta")
    pool = (
        'extent_count = 4\ntype = "thin-pool"\nmetadata = "pool_tmeta"\npool = "pool_tdata"\n'
        'transaction_id = 1\nchunk_size = 128\ndiscards = "passdown"\nzero_new_blocks = 1'
    )
    volume = 'extent_count = 16\ntype = "thin"\nthin_pool = "pool"\ntransaction_id = 0\ndevice_id = 1'
    return text, section("pool", pool, VISIBLE) + section("thin1", volume, VISIBLE)


def snapshot(text):
    body = (
        'extent_count = 4\ntype = "snapshot"\nchunk_size = 8\norigin = "one"\ncow_store = "two"'
    )
    return text, section("snapshot0", body)


def cache(text):
    text = hide(hide(hide(text, "one", "origin_corig"), "two", "cache_cdata"), "three", "cache_cmeta")
    pool = (
        'extent_count = 1\ntype = "cache-pool"\ndata = "cache_cdata"\nmetadata = "cache_cmeta"\n'
        'metadata_format = 2\nchunk_size = 128\ncache_mode = "writethrough"\npolicy = "smq"\n'
        "policy_settings {\nmigration_threshold = 2048\n}"
    )
    cached = 'extent_count = 4\ntype = "cache"\ncache_pool = "cache"\norigin = "origin_corig"'
    return text, section("cache", pool) + section("origin", cached, VISIBLE)


def raid1(text):
    for old, new in [("one", "r_rimage_0"), ("two", "r_rimage_1"), ("three", "r_rmeta_0"), ("four", "r_rmeta_1")]:
        text = hide(text, old, new)
    body = (
        'extent_count = 4\ntype = "raid1"\ndevice_count = 2\nregion_size = 4096\n'
        'raids = [\n"r_rmeta_0", "r_rimage_0",\n"r_rmeta_1", "r_rimage_1"\n]'
    )
    return text, section("r", body, VISIBLE)


def mirror(text):
    text = hide(hide(text, "one", "m_mimage_0"), "two", "m_mimage_1")
    body = (
        'extent_count = 4\ntype = "mirror"\nmirror_count = 2\nregion_size = 128\n'
        'mirrors = [\n"m_mimage_0", 0,\n"m_mimage_1", 0\n]'
    )
    return text, section("m", body, VISIBLE)


def pvmove(text):
    """Half of a move: a mirror of extents, with the volume on top of it."""
    start = text.index("\t\tone {")
    end = text.index("\n\t\t}", start)
    body = text[start:end]
    extents = re.findall(r'"(pv\d)", (\d+)', body)
    target = re.findall(r'"(pv\d)", (\d+)', text[text.index("\t\ttwo {"):])
    moved = re.sub(r'"pv\d", \d+', '"pvmove0", 0', body)
    moved = moved.replace('"VISIBLE"', '"VISIBLE", "LOCKED"', 1)
    text = text[:start] + moved + text[end:]
    start = text.index("\t\ttwo {")
    text = text[:start] + text[text.index("\n\t\t}", start) + 4:]
    mirror = (
        'extent_count = 4\ntype = "mirror"\nmirror_count = 2\nextents_moved = 2\nregion_size = 128\n'
        f'mirrors = [\n"{extents[0][0]}", {extents[0][1]},\n"{target[0][0]}", {target[0][1]}\n]'
    )
    status = '"READ", "WRITE", "PVMOVE", "LOCKED"'
    return text, section("pvmove0", mirror, status) .replace(
        'flags = []', 'flags = []\nallocation_policy = "contiguous"', 1
    )


def change(what):
    changes = {
        "thin": thin, "snapshot": snapshot, "cache": cache, "raid1": raid1, "mirror": mirror,
        "pvmove": pvmove,
    }
    text, more = changes[what](sys.stdin.read())
    end = text.rindex("\n\t}\n")
    sys.stdout.write(text[:end] + "\n" + more + text[end:])


if __name__ == "__main__":
    if sys.argv[1] == "place":
        place(*sys.argv[2:])
    elif sys.argv[1] == "text":
        change(sys.argv[2])
    else:
        sys.exit(__doc__)
