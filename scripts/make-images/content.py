#!/usr/bin/env python3
"""Real files for the test images, the same on every run.

Every file's bytes come from a generator seeded with its own path, so what an image must hold is
known without looking at the image. The record of living files (path -> SHA-256) goes into the
image's facts and is what every later hash is held against.

    content.py fill  DIR RECORD BUDGET [--plain] [--magic]   write, delete, write again, in place
    content.py stage FIRST LATE DOOMED RECORD BUDGET [--plain]
                     the same as two folders and a list of what to delete between them, for images
                     that only mkfs -d, debugfs or mtools can fill
    content.py crash DIR RECORD LAYOUT                        fsynced files, one record line each
    content.py check DIR RECORD                               hash DIR, fail on any difference
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys

# The magic every block of a jbd2 journal starts with. A data block that starts with it has to be
# escaped when it travels through the journal.
JOURNAL_MAGIC = bytes.fromhex("c03b3998")
EDGE_SIZES = [0, 1, 100, 511, 512, 513, 1023, 1025, 4095, 4096, 4097, 65535, 65537]


def content(path, size):
    """The bytes of the file `path`: never zero-free by accident, never the same in two files."""
    return random.Random("dacapo " + path).randbytes(size)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Tree:
    """A folder being filled, and the record of what lives in it."""

    def __init__(self, root, record, magic=False):
        self.root = root
        self.record = record
        self.magic = magic

    def path(self, name):
        return os.path.join(self.root, name)

    def bytes_of(self, name, size):
        data = content(name, size)
        if self.magic and size >= 4:
            data = bytearray(data)
            for at in range(0, size - 3, 1024):
                data[at : at + 4] = JOURNAL_MAGIC
            data = bytes(data)
        return data

    def write(self, name, size, sync=False):
        data = self.bytes_of(name, size)
        target = self.path(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        self.record[name] = sha256(data)

    def write_holes(self, name, length, places):
        """A sparse file: data at `places` only, the rest a hole."""
        whole = bytearray(length)
        target = self.path(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            for place in places:
                piece = content(f"{name}@{place}", 3000)
                piece = piece[: length - place]
                file.seek(place)
                file.write(piece)
                whole[place : place + len(piece)] = piece
            file.truncate(length)
        self.record[name] = sha256(bytes(whole))

    def interleave(self, names, size, pieces):
        """Grow several files in turns, each piece on disk before the next one starts: fragments."""
        step = size // pieces
        blobs = {name: self.bytes_of(name, step * pieces) for name in names}
        files = {}
        for name in names:
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            files[name] = open(self.path(name), "wb")
        for piece in range(pieces):
            for name in names:
                files[name].write(blobs[name][piece * step : (piece + 1) * step])
                files[name].flush()
                os.fsync(files[name].fileno())
        for name in names:
            files[name].close()
            self.record[name] = sha256(blobs[name])

    def remove(self, name):
        os.unlink(self.path(name))
        del self.record[name]


def first(tree, budget, plain):
    for size in EDGE_SIZES:
        if size <= max(budget // 4, 4097):
            tree.write(f"edge/size-{size}.bin", size)
    tree.write("large/kept.bin", budget // 4)
    tree.write("large/deleted.bin", budget // 4)
    tree.write("deep/" + "/".join(f"level-{n}" for n in range(12)) + "/leaf.bin", 700)
    for n in range(min(max(budget // 16384, 8), 600)):
        tree.write(f"many/file-{n:04}.bin", 1 + (n * 977) % 5000)
    if not plain:
        tree.write_holes("sparse/holes.bin", budget // 2, [0, budget // 8 + 517, budget // 2 - 100])
        os.symlink("../large/kept.bin", tree.path("edge/short-link"))
        os.symlink("/" + "a-long-target/" * 12, tree.path("edge/long-link"))
        os.link(tree.path("large/kept.bin"), tree.path("edge/hard-link"))
        tree.record["edge/hard-link"] = tree.record["large/kept.bin"]


def doomed(record):
    """What is deleted again: one large file and every second small one."""
    small = sorted(name for name in record if name.startswith("many/"))
    return ["large/deleted.bin"] + small[::2]


def late(tree, budget):
    """Files that land in the holes the deleted ones left."""
    pieces = min(max(budget // 131072, 4), 40)
    tree.interleave(["late/one.bin", "late/two.bin", "late/three.bin"], budget // 12, pieces)
    tree.write("late/last.bin", budget // 16)


def fill(arguments):
    record = {}
    tree = Tree(arguments.dir, record, arguments.magic)
    first(tree, arguments.budget, arguments.plain)
    # On disk before the deletion: a file that never reached the disk frees nothing there.
    sync_filesystem(arguments.dir)
    for name in doomed(record):
        tree.remove(name)
    sync_filesystem(arguments.dir)
    late(tree, arguments.budget)
    save(arguments.record, record)


def stage(arguments):
    first_record, late_record = {}, {}
    shutil.rmtree(arguments.first, ignore_errors=True)
    shutil.rmtree(arguments.late, ignore_errors=True)
    os.makedirs(arguments.first)
    os.makedirs(arguments.late)
    first(Tree(arguments.first, first_record), arguments.budget, arguments.plain)
    gone = doomed(first_record)
    with open(arguments.doomed, "w") as file:
        file.writelines(name + "\n" for name in gone)
    for name in gone:
        del first_record[name]
    late(Tree(arguments.late, late_record), arguments.budget)
    save(arguments.record, first_record | late_record)


def crash(arguments):
    """Files whose fsync returned. One line `path sha256` each, appended only after the fsync."""
    record = {}
    tree = Tree(arguments.dir, record, arguments.layout == "magic")
    with open(arguments.record, "a") as log:

        def synced(name, size):
            tree.write(name, size, sync=True)
            log.write(f"{name} {record[name]}\n")
            log.flush()

        layouts[arguments.layout](tree, synced, log)


def crash_fresh(tree, synced, log):
    for n, size in enumerate([1, 300, 5000, 40000, 150000, 400000]):
        synced(f"crash/fresh-{n}.bin", size)


def crash_tiny(tree, synced, log):
    for n, size in enumerate([1, 300, 5000, 9000]):
        synced(f"crash/tiny-{n}.bin", size)


def crash_tiny_unlink(tree, synced, log):
    """crash_unlink in a few kilobytes."""
    os.makedirs(tree.path("crash/doomed"), exist_ok=True)
    for n in range(12):
        tree.write(f"crash/doomed/{'x' * 180}-{n}.bin", 0)
    sync_folder(tree.path("crash/doomed"))
    shutil.rmtree(tree.path("crash/doomed"))
    synced("crash/after.bin", 300)
    for n in range(4):
        synced(f"crash/reuse-{n}.bin", 4000)


def crash_fragmented(tree, synced, log):
    names = [f"crash/fragment-{n}.bin" for n in range(4)]
    tree.interleave(names, 120000, 30)
    for name in names:
        log.write(f"{name} {tree.record[name]}\n")


def crash_unlink(tree, synced, log):
    """Metadata blocks that are in the journal, freed and used again for data: without the revoke
    records a replay would write the old metadata over the new data."""
    os.makedirs(tree.path("crash/doomed"), exist_ok=True)
    for n in range(300):
        # Long names: many folder blocks, every one of them in the journal.
        tree.write(f"crash/doomed/{'x' * 180}-{n}.bin", 64)
    tree.interleave([f"crash/indirect-{n}.bin" for n in range(2)], 300000, 40)
    sync_folder(tree.path("crash/doomed"))
    synced("crash/before.bin", 20000)
    shutil.rmtree(tree.path("crash/doomed"))
    for n in range(2):
        os.unlink(tree.path(f"crash/indirect-{n}.bin"))
    synced("crash/after.bin", 3000)
    for n in range(12):
        synced(f"crash/reuse-{n}.bin", 90000)


def crash_busy(tree, synced, log):
    """Runs until it is killed or the disk is full."""
    for n in range(100000):
        name = f"crash/busy-{n % 7}/file-{n:05}.bin"
        tree.write(f"crash/unsynced-{n % 40}.bin", 9000)
        try:
            synced(name, 1 + (n * 7919) % 60000)
        except OSError as error:
            # Full: go on in the room of the oldest unsynced files, as a busy disk would.
            print(f"content.py: {error}, the writer stops", file=sys.stderr)
            return


def crash_wrap(tree, synced, log):
    """More journal than the journal holds, in small transactions."""
    for n in range(260):
        synced(f"crash/wrap-{n % 5}/file-{n:04}.bin", 1 + (n * 131) % 3000)
        if n % 3 == 2:
            tree.write(f"crash/churn-{n % 11}.bin", 5000)


def crash_orphan(tree, synced, log):
    """Files without a name that are still open when the copy is made: they are on the orphan list."""
    held = []
    for n in range(6):
        tree.write(f"crash/orphan-{n}.bin", 50000, sync=True)
        held.append(open(tree.path(f"crash/orphan-{n}.bin"), "rb"))
        os.unlink(tree.path(f"crash/orphan-{n}.bin"))
    sync_folder(tree.path("crash"))
    synced("crash/kept.bin", 30000)
    log.write("READY -\n")
    log.flush()
    sys.stdin.read()


layouts = {
    "fresh": crash_fresh,
    "tiny": crash_tiny,
    "tiny-unlink": crash_tiny_unlink,
    "magic": crash_fresh,
    "fragmented": crash_fragmented,
    "unlink": crash_unlink,
    "busy": crash_busy,
    "wrap": crash_wrap,
    "orphan": crash_orphan,
}


def sync_filesystem(path):
    subprocess.run(["sync", "-f", path], check=True)


def sync_folder(path):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def check(arguments):
    with open(arguments.record) as file:
        record = json.load(file)
    wrong = []
    for name, expected in sorted(record.items()):
        try:
            with open(os.path.join(arguments.dir, name), "rb") as file:
                found = sha256(file.read())
        except OSError as error:
            found = str(error)
        if found != expected:
            wrong.append(f"{name}: expected {expected}, found {found}")
    if not record:
        wrong.append("the record is empty: nothing was checked")
    for line in wrong[:10]:
        print(f"content.py: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


def save(path, record):
    with open(path, "w") as file:
        json.dump(record, file, indent=0, sort_keys=True)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for name, function, places in [
        ("fill", fill, ["dir", "record", "budget"]),
        ("stage", stage, ["first", "late", "doomed", "record", "budget"]),
        ("crash", crash, ["dir", "record", "layout"]),
        ("check", check, ["dir", "record"]),
    ]:
        command = commands.add_parser(name)
        for place in places:
            command.add_argument(place, type=int if place == "budget" else str)
        command.add_argument("--plain", action="store_true")
        command.add_argument("--magic", action="store_true")
        command.set_defaults(function=function)
    arguments = parser.parse_args()
    arguments.function(arguments)


main()
