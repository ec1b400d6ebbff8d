#!/usr/bin/env python3
"""HFS+ volumes made byte by byte after Apple's Technical Note TN1150, because Debian has no program
that makes them. The Sleuth Kit, libfshfs and partclone judge what comes out.

    hfsplus_build.py IMAGE FOLDER [NAME=VALUE]...

Writes over the start of IMAGE, which may hold junk: only what the volume uses is written.
"""

import json
import os
import random
import struct
import sys

DATE = 0xD9000000
JOURNAL_MAGIC = 0x4A4E4C78
EMPTY = struct.pack(">II", 0, 0)

DEFAULTS = {
    "offset": 0,  # first byte of the volume in the image
    "length": 0,  # bytes of the partition, all of the image if 0
    "blocks": 0,  # blocks of the volume, as many as fit if 0
    "block_size": 4096,
    "node_size": 4096,
    "hfsx": False,
    "binary": False,  # compare keys of HFSX by their bytes
    "label": "dacapo",
    "id": 0x0123456789ABCDEF,
    "journal": "",  # empty, little, wrapped, dirty, init, elsewhere
    "pieces": 1,  # extents of the allocation file
    "catalog_pieces": 1,
    "fragments": 0,  # extents of every large file
    "attributes": "empty",  # or none, or forks: one with more than eight extents
    "bad": 0,  # runs of bad blocks
    "startup": 0,  # blocks of the startup file
    "flags": 0x80000100,
    "nodes": 16,  # nodes of each tree, at least
    "overflow_nodes": 0,  # the same of the overflow file, if it is to be larger
    "shuffle": False,  # leaves in no order
    "full": False,
    "unmarked": 0,  # blocks of the largest file that the bitmap calls free
    "long_bitmap": 0,  # bytes of the allocation file beyond what is needed
    "copy": "good",  # of the volume header: good, old, lost, other
    "mounted": "10.0",
    "spread": False,  # files all over the volume, not at its start
    "finder": False,  # files with types and creators, a hard link and a compressed one
}


def fork(size, blocks, extents, clump=0):
    return struct.pack(">QII", size, clump, blocks) + record(extents[:8])


def record(extents):
    packed = b"".join(struct.pack(">II", *extent) for extent in extents)
    return packed + EMPTY * (8 - len(extents))


def name_of(text):
    encoded = text.encode("utf-16-be")
    return struct.pack(">H", len(encoded) // 2) + encoded


class Volume:
    def __init__(self, disk, options):
        self.disk = disk
        for name, value in options.items():
            setattr(self, name, value)
        self.length = self.length or os.fstat(disk.fileno()).st_size - self.offset
        self.total = self.blocks or self.length // self.block_size
        self.used = bytearray(-(-self.total // 8))
        self.marked = 0
        self.next = 0
        self.catalog, self.overflow, self.attribute_records = [], [], []
        self.next_id, self.files, self.folders = 16, 0, 0
        self.random = random.Random("dacapo")
        self.bad_blocks, self.largest = [], (0, 0)

    # -- blocks ----------------------------------------------------------------------------------

    def is_used(self, block):
        return self.used[block >> 3] >> (7 - (block & 7)) & 1

    def mark(self, start, count):
        for block in range(start, start + count):
            if self.is_used(block):
                sys.exit(f"hfsplus_build.py: block {block} is in use twice")
            self.used[block >> 3] |= 0x80 >> (block & 7)
        self.marked += count

    def run(self, count):
        """The next `count` free blocks in a row."""
        at = self.next
        while True:
            if at + count > self.total:
                sys.exit("hfsplus_build.py: the volume is too small")
            taken = next((b for b in range(at, at + count) if self.is_used(b)), None)
            if taken is None:
                self.mark(at, count)
                self.next = at + count
                return at
            at = taken + 1

    def allocate(self, count, pieces=1):
        """Blocks in so many extents, with a free block between them."""
        extents, pieces = [], max(1, min(pieces, count))
        for number in range(pieces):
            size = count // pieces + (number < count % pieces)
            if size:
                extents.append((self.run(size), size))
                self.next += pieces > 1
        return extents

    def write(self, position, data):
        self.disk.seek(self.offset + position)
        self.disk.write(data)

    def fill(self, extents, data):
        """The bytes of a file into its extents; the rest of its last block stays as it was."""
        at = 0
        for start, count in extents:
            size = count * self.block_size
            self.write(start * self.block_size, data[at : at + size])
            at += size

    def blocks_for(self, size):
        return -(-size // self.block_size)

    # -- files -----------------------------------------------------------------------------------

    def new_id(self):
        self.next_id += 1
        return self.next_id - 1

    def key(self, parent, name):
        packed = struct.pack(">I", parent) + name_of(name)
        # A zero comes last, unless bytes count.
        folded = name.lower().replace("\0", "\uffff")
        order = name.encode("utf-16-be") if self.hfsx and self.binary else folded.encode("utf-16-be")
        return (parent, order), packed

    def overflow_of(self, number, kind, extents):
        at = sum(count for _, count in extents[:8])
        for first in range(8, len(extents), 8):
            part = extents[first : first + 8]
            key = struct.pack(">BBII", kind, 0, number, at)
            self.overflow.append(((number, kind, at), key, record(part)))
            at += sum(count for _, count in part)

    def store(self, number, kind, data, pieces=1):
        """The fork of a file with this data."""
        extents = self.allocate(self.blocks_for(len(data)), pieces)
        self.largest = max([self.largest, *extents], key=lambda extent: extent[1])
        self.fill(extents, data)
        self.overflow_of(number, kind, extents)
        return fork(len(data), sum(count for _, count in extents), extents)

    def node(self, kind, number, mode):
        """What files and folders have in common, up to the Finder's information."""
        common = struct.pack(">IIIII", DATE, DATE, DATE, DATE, 0)
        return common + struct.pack(">IIBBHI", 0, 0, 0, 0, mode, 1)

    def add(self, parent, name, number, data):
        self.catalog.append((*self.key(parent, name), data))
        thread = 4 if data[:2] == b"\0\2" else 3
        thread = struct.pack(">HHI", thread, 0, parent) + name_of(name)
        self.catalog.append((*self.key(number, ""), thread))

    def add_folder(self, parent, name, number, valence, finder=bytes(32)):
        head = struct.pack(">HHII", 1, 0, valence, number)
        self.add(parent, name, number, head + self.node(1, number, 0o040755) + finder + bytes(8))
        self.folders += number != 2

    def add_file(self, parent, name, data, resource=b"", mode=0o100644, pieces=1, kind=b"", node=b""):
        number = self.new_id()
        head = struct.pack(">HHII", 2, 2, 0, number) + (node or self.node(2, number, mode))
        head += kind.ljust(32, b"\0") + bytes(8)
        forks = self.store(number, 0, data, pieces) + self.store(number, 0xFF, resource)
        self.add(parent, name, number, head + forks)
        self.files += 1
        return number

    def add_tree(self, parent, folder):
        """Everything below a folder; the number of things in it."""
        names = sorted(os.listdir(folder))
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                number = self.new_id()
                self.add_folder(parent, name, number, self.add_tree(number, path))
            else:
                with open(path, "rb") as file:
                    data = file.read()
                if self.spread:
                    self.next = self.random.randrange(self.total * 9 // 10)
                many = self.blocks_for(len(data)) > 8
                self.add_file(parent, name, data, pieces=self.fragments if many else 1)
        return len(names)

    # -- trees -----------------------------------------------------------------------------------

    def tree(self, records, node_size, longest_key, flags, compare=0, at_least=0):
        """A B-tree of sorted records: (order, key without length, data)."""
        records = sorted(records)
        pack = lambda key, data: struct.pack(">H", len(key)) + key + bytes(len(key) & 1) + data
        nodes = {}
        free = self.numbers()

        def level(entries, kind, height):
            """One level of nodes; the first key and number of each."""
            groups, room = [[]], node_size - 14 - 2
            for key, data in entries:
                entry = pack(key, data)
                entry += bytes(len(entry) & 1)
                if len(entry) + 2 > room:
                    groups.append([])
                    room = node_size - 14 - 2
                room -= len(entry) + 2
                groups[-1].append((key, entry))
            numbers = [next(free) for _ in groups]
            if self.shuffle:
                self.random.shuffle(numbers)
            for index, (number, group) in enumerate(zip(numbers, groups)):
                forward = numbers[index + 1] if index + 1 < len(numbers) else 0
                back = numbers[index - 1] if index else 0
                parts = [entry for _, entry in group]
                nodes[number] = self.pack_node(forward, back, kind, height, parts, node_size)
            return [(group[0][0], number) for number, group in zip(numbers, groups)]

        depth, root, first, last, entries = 0, 0, 0, 0, [(key, data) for _, key, data in records]
        count = len(entries)
        if entries:
            depth = 1
            found = level(entries, 0xFF, 1)
            first, last = found[0][1], found[-1][1]
            while len(found) > 1:
                depth += 1
                # Keys in the index of the overflow file are all as long as the longest.
                wide = lambda key: key if flags & 4 else key.ljust(longest_key, b"\0")
                found = level([(wide(k), struct.pack(">I", n)) for k, n in found], 0, depth)
            root = found[0][1]
        # The map: in the header node, then in nodes of its own.
        in_header = node_size - 256
        in_node = (node_size - 20) & ~3
        used = max(nodes, default=0) + 1
        total = max(used, at_least)
        while True:
            map_nodes = max(0, -(-(-(-total // 8) - in_header) // in_node))
            if used + map_nodes <= total:
                break
            total = used + map_nodes
        chain = list(range(used, used + map_nodes))
        taken = sorted([0, *nodes, *chain])
        bits = bytearray(in_header + map_nodes * in_node)
        for number in taken:
            bits[number >> 3] |= 0x80 >> (number & 7)
        head = struct.pack(">HIIII", depth, root, count, first, last)
        head += struct.pack(">HHII", node_size, longest_key, total, total - len(taken))
        head += struct.pack(">HIBBI", 0, node_size, 0, compare, flags) + bytes(64)
        parts = [head, bytes(128), bytes(bits[:in_header])]
        nodes[0] = self.pack_node(chain[0] if chain else 0, 0, 1, 0, parts, node_size)
        for index, number in enumerate(chain):
            part = bytes(bits[in_header + index * in_node :][:in_node])
            forward = chain[index + 1] if index + 1 < len(chain) else 0
            back = chain[index - 1] if index else 0
            nodes[number] = self.pack_node(forward, back, 2, 0, [part], node_size)
        return total * node_size, {number * node_size: data for number, data in nodes.items()}

    @staticmethod
    def numbers():
        number = 1
        while True:
            yield number
            number += 1

    @staticmethod
    def pack_node(forward, back, kind, height, parts, node_size):
        node = struct.pack(">IIBBHH", forward, back, kind, height, len(parts), 0)
        offsets = [len(node)]
        for part in parts:
            node += part
            offsets.append(len(node))
        table = b"".join(struct.pack(">H", offset) for offset in reversed(offsets))
        if len(node) + len(table) > node_size:
            sys.exit("hfsplus_build.py: a node overflows")
        return node + bytes(node_size - len(node) - len(table)) + table

    def overflow_tree(self):
        at_least = max(self.nodes, self.overflow_nodes)
        return self.tree(self.overflow, self.node_size, 10, 2, at_least=at_least)

    def store_tree(self, number, tree, pieces=1):
        """A special file with a tree: only its nodes are written, unused ones are zeros."""
        size, nodes = tree
        unit = max(self.block_size, len(next(iter(nodes.values()))))
        size = -(-size // unit) * unit
        data = bytearray(size)
        for at, node in nodes.items():
            data[at : at + len(node)] = node
        extents = self.allocate(self.blocks_for(size), pieces)
        self.fill(extents, bytes(data))
        self.overflow_of(number, 0, extents)
        return fork(size, sum(count for _, count in extents), extents, size)

    # -- the volume ------------------------------------------------------------------------------

    def make(self, folder):
        size = self.block_size
        # Boot blocks and header; its copy and a reserved sector at the end.
        head = self.blocks_for(1536)
        self.mark(0, head)
        end = min(self.total * size, self.length)
        tail = (end - 1024) // size
        if self.length - self.total * size < size and tail * size < self.total * size:
            self.mark(tail, self.total - tail)
        self.next = head

        bitmap_size = self.blocks_for(-(-self.total // 8) + self.long_bitmap) * size
        bitmap = self.allocate(bitmap_size // size, self.pieces)
        self.overflow_of(6, 0, bitmap)
        info = 0
        if self.journal:
            info = self.make_journal()
        startup = fork(0, 0, [])
        if self.startup:
            startup = self.store(7, 0, self.random.randbytes(self.startup * size), 1)
        for _ in range(self.bad):
            self.next += 3
            self.bad_blocks.append((self.run(2), 2))
        valence = 0
        if folder:
            valence = self.add_tree(2, folder)
            valence += self.add_special_files()
        if self.journal and self.journal != "elsewhere":
            valence += 2
        self.add_folder(1, self.label, 2, valence)
        self.next = head
        if self.full:
            self.fill_up()
        self.write_bad_blocks()

        attributes = fork(0, 0, [])
        if self.attributes != "none":
            tree = self.tree(self.attribute_records, max(self.node_size, 4096), 266, 6, at_least=self.nodes)
            attributes = self.store_tree(8, tree)
        compare = 0xBC if self.binary else 0xCF
        tree = self.tree(self.catalog, max(self.node_size, 4096), 516, 6, compare if self.hfsx else 0, self.nodes)
        catalog = self.store_tree(4, tree, self.catalog_pieces)
        overflow = self.store_tree(3, self.overflow_tree())

        if self.unmarked:
            start, count = self.largest
            for block in range(start, start + min(self.unmarked, count)):
                self.used[block >> 3] &= ~(0x80 >> (block & 7))
                self.marked -= 1
        self.fill(bitmap, bytes(self.used).ljust(bitmap_size, b"\0"))
        allocation = fork(bitmap_size, bitmap_size // size, bitmap, size)

        finder = bytes(24) + struct.pack(">Q", self.id)
        flags = self.flags | (0x2000 if self.journal else 0) | (0x200 if self.bad else 0)
        header = struct.pack(">2sHI4sI", b"HX" if self.hfsx else b"H+", 5 if self.hfsx else 4,
                             flags, self.mounted.encode().ljust(4)[:4], info)
        header += struct.pack(">IIIIII", DATE, DATE + 60, 0, DATE, self.files, self.folders)
        header += struct.pack(">IIIIIIII", size, self.total, self.total - self.marked, head,
                              65536, 65536, self.next_id, 7)
        header += struct.pack(">Q", 1) + finder
        header += allocation + overflow + catalog + attributes + startup
        assert len(header) == 512
        self.write(0, bytes(1024))
        self.write(1024, header)
        self.write_copy(header)

    def write_copy(self, header):
        # Where the partition ends, if that is less than a block behind the last one.
        end = self.length
        if end - self.total * self.block_size >= self.block_size:
            end = self.total * self.block_size
        if self.copy == "lost":
            header = bytes(512)
        elif self.copy == "old":
            # As macOS leaves it: counts and dates of the day the volume was made.
            header = header[:20] + struct.pack(">IIIII", DATE, 0, DATE, 0, 0) + header[40:48] + \
                struct.pack(">I", self.total - 20) + header[52:]
        elif self.copy == "other":
            header = header[:44] + struct.pack(">I", self.total + 8) + header[48:]
        self.write(end - 1024, header + bytes(512))

    def make_journal(self):
        """The journal and its info block, both of them files of the root folder; the block."""
        size = max(256 * 1024, self.block_size * 4)
        if self.total * self.block_size <= 4 << 20:
            size = max(32 * 1024, self.block_size)
        info = self.allocate(1)
        where = self.allocate(self.blocks_for(size))
        offset = where[0][0] * self.block_size
        flags = {"init": 5, "elsewhere": 2}.get(self.journal, 1)
        block = struct.pack(">I", flags) + bytes(32) + struct.pack(">QQ", offset, size)
        self.fill(info, block.ljust(self.block_size, b"\0"))
        order = "<" if self.journal == "little" else ">"
        start = end = 512 * 7
        if self.journal == "wrapped":
            start, end = 512, size
        elif self.journal == "dirty":
            end = start + 512 * 9
        head = struct.pack(order + "IIQQQIIII", JOURNAL_MAGIC, 0x12345678, start, end, size, 4096, 0, 512, 77)
        total = 0
        for byte in head[:44]:
            total = ((total << 8) ^ (total + byte)) & 0xFFFFFFFF
        head = head[:36] + struct.pack(order + "I", ~total & 0xFFFFFFFF) + head[40:]
        if self.journal != "init":
            self.write(offset, head.ljust(512, b"\0"))
        if self.journal != "elsewhere":
            for name, extents, length in [(".journal", where, size),
                                          (".journal_info_block", info, self.block_size)]:
                number = self.new_id()
                node = struct.pack(">HHII", 2, 2, 0, number) + self.node(2, number, 0o100000)
                node += b"jrnlhfs+" + bytes(24) + bytes(8)
                node += fork(length, sum(c for _, c in extents), extents) + fork(0, 0, [])
                self.add(2, name, number, node)
                self.files += 1
        return info[0][0]

    def write_bad_blocks(self):
        at = 0
        for first in range(0, len(self.bad_blocks), 8):
            part = self.bad_blocks[first : first + 8]
            key = struct.pack(">BBII", 0, 0, 5, at)
            self.overflow.append(((5, 0, at), key, record(part)))
            at += sum(count for _, count in part)

    def add_special_files(self):
        """A resource fork, a symbolic link, and files that link to one indirect node."""
        size = self.block_size
        extra = {"resource.bin": 2 * size + 100}
        self.add_file(2, "resource.bin", b"", self.random.randbytes(extra["resource.bin"]))
        self.add_file(2, "link", b"large/kept.bin", mode=0o120755, kind=b"slnkrhap")
        count = 2
        if self.attributes == "forks":
            number = self.add_file(2, "attributed.bin", b"attributed")
            inline = struct.pack(">IIII", 0x10, 0, 0, 5) + b"value\0"
            self.attribute_records.append(self.attribute(number, "inline", 0, inline))
            extents = self.allocate(21, 21)
            self.fill(extents, self.random.randbytes(21 * size))
            data = struct.pack(">II", 0x20, 0) + fork(21 * size, 21, extents)
            self.attribute_records.append(self.attribute(number, "large", 0, data))
            at = 8
            for first in range(8, 21, 8):
                part = extents[first : first + 8]
                data = struct.pack(">II", 0x30, 0) + record(part)
                self.attribute_records.append(self.attribute(number, "large", at, data))
                at += len(part)
            count += 1
        if self.finder:
            count += self.add_finder_files()
        return count

    def add_finder_files(self):
        """What the Finder keeps: 16 bytes, and as many behind them, of which macOS has some."""
        first = struct.pack(">4s4sHhhh", b"TEXT", b"DaCa", 0x4100, 12, -34, 0)
        own = struct.pack(">IIHHI", 0x11111111, 0x22222222, 0x8004, 0x0506, 0x33333333)
        self.add_file(2, "typed.txt", b"typed", kind=first + own)
        self.add_file(2, "added.txt", b"added", kind=bytes(16) + own[:8] + bytes(4) + own[12:])
        self.add_file(2, "link to typed", b"typed.txt", mode=0o120755, kind=b"slnkrhap" + bytes(8) + own[:8])
        window = struct.pack(">hhhhHhhh", 40, 50, 240, 350, 0x0400, 0, 0, 0)
        self.add_folder(2, "window", self.new_id(), 0, window + own)
        # A file with two names, which is in a folder of the volume's own.
        private = self.new_id()
        node = self.node(2, 0, 0o100644)
        number = self.next_id
        self.add_file(private, f"iNode{number}", b"shared", kind=first, node=node[:-4] + struct.pack(">I", 2))
        self.add_folder(2, "\0\0\0\0HFS+ Private Data", private, 1)
        for name in ("one name.txt", "other name.txt"):
            node = self.node(2, 0, 0o100444)[:-4] + struct.pack(">I", number)
            self.add_file(2, name, b"", kind=b"hlnkhfs+" + bytes(8) + own, node=node)
        # One that macOS has compressed, with a chunk that is not.
        node = bytearray(self.node(2, 0, 0o100644))
        node[29] = 0x20
        number = self.add_file(2, "compressed.txt", b"", kind=first, node=bytes(node))
        value = struct.pack("<4sIQ", b"fpmc", 3, 8) + b"\xffpackedup"
        inline = struct.pack(">IIII", 0x10, 0, 0, len(value)) + value + bytes(len(value) & 1)
        self.attribute_records.append(self.attribute(number, "com.apple.decmpfs", 0, inline))
        return 8

    def attribute(self, number, name, start, data):
        encoded = name.encode("utf-16-be")
        key = struct.pack(">HIIH", 0, number, start, len(encoded) // 2) + encoded
        return (number, encoded, start), key, data

    def fill_up(self):
        """One file over all that is free but what the trees will take."""
        keep = 3 * self.blocks_for(self.nodes * max(self.node_size, 4096) * 2) + 64
        extents, block = [], 0
        free = self.total - self.marked - keep
        while free > 0 and block < self.total:
            start = block
            while block < self.total and not self.is_used(block) and block - start < free:
                block += 1
            if block > start:
                extents.append((start, block - start))
                free -= block - start
            block += 1
        for start, count in extents:
            self.mark(start, count)
        number = self.new_id()
        self.overflow_of(number, 0, extents)
        blocks = sum(count for _, count in extents)
        node = struct.pack(">HHII", 2, 2, 0, number) + self.node(2, number, 0o100644) + bytes(40)
        self.add(2, "filler", number, node + fork(blocks * self.block_size, blocks, extents) + fork(0, 0, []))
        self.files += 1


def wrap(disk, options):
    """An HFS volume with nothing in it but the HFS+: its header, its copy, its bitmap. Where the
    HFS+ is, is returned."""
    size = os.fstat(disk.fileno()).st_size
    block, first = 4096, 32
    blocks = (size - 1024 - first * 512) // block
    start = 8
    count = blocks - start
    header = struct.pack(">2sIIHHHHHIIH", b"BD", DATE, DATE, 0x0100, 0, 3, 0, blocks, block, block, first)
    header += struct.pack(">IH", 16, 0) + bytes([6]) + b"dacapo".ljust(27, b"\0")
    header = header.ljust(0x7C, b"\0") + b"H+" + struct.pack(">HH", start, count)
    header = header.ljust(512, b"\0")
    for at in (1024, size - 1024):
        disk.seek(at)
        disk.write(header)
    options["offset"], options["length"] = first * 512 + start * block, count * block


def main():
    options = dict(DEFAULTS)
    wrapped = False
    for pair in sys.argv[3:]:
        name, _, value = pair.partition("=")
        if name == "wrapper":
            wrapped = True
            continue
        if name not in options:
            sys.exit(f"hfsplus_build.py: no such option: {name}")
        known = options[name]
        options[name] = value if isinstance(known, str) else int(value, 0)
    with open(sys.argv[1], "r+b") as disk:
        if wrapped:
            wrap(disk, options)
        volume = Volume(disk, options)
        volume.make(sys.argv[2])


if __name__ == "__main__":
    main()
