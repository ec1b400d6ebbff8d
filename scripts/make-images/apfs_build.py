#!/usr/bin/env python3
"""Writes APFS containers, from Apple's "Apple File System Reference".

mkapfs makes empty containers of one checkpoint only. Here are files, deleted files, snapshots,
several volumes, older checkpoints and free queues, several checkpoint maps and what no healthy
container has. apfsck, The Sleuth Kit and partclone judge what comes out (see the maker).

Two transactions are written, each as its checkpoint: the first has a file "old.bin", which the
second deletes; the second adds the files whose hashes are recorded. What the second replaced is in
its free queues.

    apfs_build.py DISK BLOCKS NAME [--maps N] [--snapshot] [--volumes N] [--wrap] [--stale-copy]
                  [--torn] [--file KIB] [--pattern] [--far] [--spread] [--block-size N] [--record FILE]
                  [--container OFFSET:FORMAT:VALUE]... [--spaceman OFFSET:FORMAT:VALUE]...

--far puts half of a file into the last chunk, --spread a block into every chunk. The last two
change a field of the newest superblock or space manager; the checksum is right again afterwards.
"""

import argparse
import hashlib
import json
import struct
import uuid

PHYSICAL, EPHEMERAL, VIRTUAL = 0x40000000, 0x80000000, 0
NX, BTREE, NODE, SPACEMAN, CAB, CIB, QUEUE = 1, 2, 3, 5, 6, 7, 9
OMAP, MAP, FS, FSTREE, BLOCKREF, SNAPMETA, REAPER = 0xB, 0xC, 0xD, 0xE, 0xF, 0x10, 0x11
BS = 4096
DESCRIPTORS, DATA = 8, 52
SPACEMAN_OID, REAPER_OID, POOL_QUEUE, MAIN_QUEUE, FIRST_VOLUME = 1024, 1025, 1027, 1029, 1040
TIME = 1_700_000_000_000_000_000


def fletcher(data):
    low = high = 0
    for (word,) in struct.iter_unpack("<I", data):
        low = (low + word) % 0xFFFFFFFF
        high = (high + low) % 0xFFFFFFFF
    first = 0xFFFFFFFF - (low + high) % 0xFFFFFFFF
    return (0xFFFFFFFF - (low + first) % 0xFFFFFFFF) << 32 | first


def seal(block, oid, xid, kind, subtype=0):
    """The block with its header."""
    body = struct.pack("<QQII", oid, xid, kind, subtype) + bytes(block[32:])
    return struct.pack("<Q", fletcher(body)) + body


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


def content(name, length, is_pattern):
    """The same bytes on every run, other ones for every name."""
    if is_pattern:
        return (hashlib.sha256(name.encode()).digest() * (length // 32 + 1))[:length]
    return hashlib.shake_128(name.encode()).digest(length)


def node(oid, xid, storage, subtype, records, sizes=None, level=0, total=None, nodes=1, root=True):
    """A node of a tree; `sizes` are those of keys and values where all are alike."""
    keys, values, table = b"", b"", b""
    tail = 40 if root else 0
    for key, value in records:
        at = len(keys)
        keys += key
        values = (value or b"") + values
        off = len(values) if value is not None else 0xFFFF
        if sizes:
            table += struct.pack("<HH", at, off)
        else:
            table += struct.pack("<HHHH", at, len(key), off, len(value))
    if sizes:
        space = (BS - 56) // (sum(sizes) + 4) * 4
    else:
        space = (len(records) + 7) // 8 * 64 + 64
    free = BS - 56 - tail - space - len(keys) - len(values)
    assert free >= 0, "node is full"
    flags = (1 if root else 0) | (2 if level == 0 else 0) | (4 if sizes else 0)
    head = struct.pack("<HHI8H", flags, level, len(records), 0, space, len(keys), free, 0xFFFF, 0, 0xFFFF, 0)
    block = bytes(32) + head + table.ljust(space, b"\0") + keys + bytes(free) + values
    if root:
        bt = {PHYSICAL: 0x10, EPHEMERAL: 0x08, VIRTUAL: 0}[storage]
        bt |= 0x04 if subtype == QUEUE else 0
        bt |= 0 if sizes else 0x40
        longest = sizes or (max([len(k) for k, _ in records], default=0), max([len(v) for _, v in records], default=0))
        block += struct.pack("<IIIIIIQQ", bt, BS, *(sizes or (0, 0)), *longest, len(records) if total is None else total, nodes)
    return seal(block, oid, xid, storage | (BTREE if root else NODE), subtype)


def node_limit(nodes):
    # Two nodes would leave no room for a new root.
    return 3 if nodes == 2 else nodes


def poke(block, fields):
    for field in fields:
        offset, form, value = field.split(":")
        struct.pack_into("<" + form, block, int(offset, 0), int(value, 0))


class Volume:
    def __init__(self, number, name):
        self.name = name
        self.oid = FIRST_VOLUME + 10 * number
        self.root_oid = self.oid + 1
        self.number = number
        self.files = {}  # name: (inode, length, [(block, count)])
        self.blocks = {}  # what is replaced by every transaction: block
        self.snapshot = None  # its xid, superblock, tree, and mappings that stay
        self.kept = []
        self.tree = None
        self.next_inode = 16
        self.freed = 0
        self.made = 0


class Container:
    def __init__(self, path, blocks, arguments):
        self.disk = open(path, "r+b")
        self.count = blocks
        self.arguments = arguments
        self.name = arguments.name
        self.used = bytearray((blocks + 7) // 8)
        self.per_chunk, self.per_cib, self.per_cab = 8 * BS, (BS - 40) // 32, (BS - 40) // 8
        self.chunks = -(-blocks // self.per_chunk)
        self.cibs = -(-self.chunks // self.per_cib)
        self.cabs = -(-self.cibs // self.per_cab) if self.cibs > self.per_cab else 0
        self.pool_count = 3 * (self.chunks + self.cibs + self.cabs)
        self.pool_bitmaps = -(-self.pool_count // self.per_chunk)
        # Small ones are as macOS makes them. apfsck wants no object of a number below 1024, which
        # for most objects is that of their block.
        self.data = 1200 if blocks > 8192 else DATA
        self.ring_base = 1 + DESCRIPTORS + self.data
        self.pool_base = self.ring_base + 16 * self.pool_bitmaps
        self.pool_used, self.pool_free = set(), iter(range(self.pool_base, self.pool_base + self.pool_count))
        self.pool_now = []
        self.next = self.pool_base + self.pool_count
        self.uuid = self.uuid_of("container")
        self.mark(0, self.next)
        # apfsck wants zeros behind the end of the bitmaps that nobody has written yet.
        for block in [*range(1, 1 + DESCRIPTORS), *range(self.ring_base, self.pool_base)]:
            self.put(block, bytes(BS))
        self.queue, self.pool_queue = [], []
        self.index, self.data_index = 0, self.data - 6 if arguments.wrap else 0
        self.limits = [node_limit(3 * (self.chunks + 751) // 1127 - 1), self.main_limit()]
        self.volumes = []
        self.main = {}
        self.xid = 1

    def uuid_of(self, what):
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{self.name}/{what}").bytes

    def put(self, block, data):
        assert len(data) == BS
        self.disk.seek(block * BS)
        self.disk.write(data)

    def mark(self, first, count):
        for block in range(first, first + count):
            assert not self.used[block >> 3] >> (block & 7) & 1
            self.used[block >> 3] |= 1 << (block & 7)

    def unmark(self, first, count):
        for block in range(first, first + count):
            self.used[block >> 3] &= ~(1 << (block & 7))

    def alloc(self, count=1):
        first = self.next
        self.next += count
        self.mark(first, count)
        return first

    def replace(self, holder, what):
        """A new block for something; the old one is queued."""
        if what in holder:
            self.queue.append((self.xid, holder[what], 1))
        holder[what] = self.alloc()
        return holder[what]

    # -- volumes -------------------------------------------------------------------------------

    def add_file(self, volume, name, length, pieces=1):
        data = content(f"{self.name}/{volume.name}/{name}", length, self.arguments.pattern)
        blocks = -(-length // BS)
        extents, left = [], blocks
        for piece in range(pieces):
            count = left // (pieces - piece)
            if self.arguments.far and piece:
                # Into the last chunk.
                first = self.count - 200 - piece * 2 * count
                self.mark(first, count)
            else:
                first = self.alloc(count)
                # A hole of free blocks between the pieces.
                self.next += 3
            extents.append((first, count))
            left -= count
        at = 0
        for first, count in extents:
            part = data[at : at + count * BS].ljust(count * BS, b"\0")
            self.disk.seek(first * BS)
            self.disk.write(part)
            at += count * BS
        volume.files[name] = (volume.next_inode, length, extents, self.xid)
        volume.next_inode += 1
        volume.made += blocks
        return hashlib.sha256(data).hexdigest()

    def delete_file(self, volume, name):
        _, _, extents, _ = volume.files.pop(name)
        if volume.snapshot is None:
            volume.freed += sum(count for _, count in extents)
            self.queue += [(self.xid, first, count) for first, count in extents]

    def drec_key(self, parent, name):
        utf32 = b"".join(struct.pack("<I", ord(letter.lower())) for letter in name)
        hashed = (crc32c(utf32) & 0x3FFFFF) << 10 | len(name) + 1
        return struct.pack("<QI", 9 << 60 | parent, hashed) + name.encode() + b"\0"

    def inode(self, parent, private, mode, children, name, length=None, blocks=0):
        value = struct.pack(
            "<QQQQQQQIIIIIIHHQ", parent, private, TIME, TIME, TIME, TIME, 0, children, 0, 1, 0, 99, 99, mode, 0, 0
        )
        name_bytes = name.encode() + b"\0"
        fields = [(4, 2, name_bytes)]
        if length is not None:
            fields.append((8, 0x20, struct.pack("<QQQQQ", length, blocks * BS, 0, length, 0)))
        heads = b"".join(struct.pack("<BBH", kind, flags, len(data)) for kind, flags, data in fields)
        datas = b"".join(data.ljust(-(-len(data) // 8) * 8, b"\0") for _, _, data in fields)
        return value + struct.pack("<HH", len(fields), len(datas)) + heads + datas

    def catalog(self, volume):
        records = [
            (self.drec_key(1, "private-dir"), struct.pack("<QQH", 3, TIME, 4)),
            (self.drec_key(1, "root"), struct.pack("<QQH", 2, TIME, 4)),
            (struct.pack("<Q", 3 << 60 | 2), self.inode(1, 2, 0o40755, len(volume.files), "root")),
            (struct.pack("<Q", 3 << 60 | 3), self.inode(1, 3, 0o40755, 0, "private-dir")),
        ]
        for name, (inode, length, extents, _) in volume.files.items():
            blocks = sum(count for _, count in extents)
            records.append((self.drec_key(2, name), struct.pack("<QQH", inode, TIME, 8)))
            key = lambda kind: struct.pack("<Q", kind << 60 | inode)
            value = self.inode(2, inode, 0o100644, 1, name, length, blocks)
            records.append((key(3), value))
            records.append((key(6), struct.pack("<I", 1)))
            at = 0
            for first, count in extents:
                records.append((key(8) + struct.pack("<Q", at), struct.pack("<QQQ", count * BS, first, 0)))
                at += count * BS

        def order(record):
            (head,) = struct.unpack_from("<Q", record[0])
            rest = record[0][8:]
            low = struct.unpack_from("<I", rest)[0] if head >> 60 == 9 else 0
            low = struct.unpack_from("<Q", rest)[0] if head >> 60 == 8 else low
            return head & (1 << 60) - 1, head >> 60, low

        return sorted(records, key=order)

    def extent_records(self, volume, since):
        """The extents that transactions after `since` made."""
        extents = []
        for inode, _, pieces, xid in volume.files.values():
            if xid > since:
                extents += [(first, count, 1, inode, 1) for first, count in pieces]
        # What only the snapshot has any more: one reference less.
        for name, (inode, _, pieces, _) in (volume.snapshot or {"files": {}})["files"].items():
            if name not in volume.files:
                extents += [(first, count, 2, (1 << 64) - 1, -1) for first, count in pieces]
        return [
            (struct.pack("<Q", 2 << 60 | first), struct.pack("<QQi", kind << 60 | count, owner, references))
            for first, count, kind, owner, references in sorted(extents)
        ]

    def write_volume(self, volume):
        xid, blocks = self.xid, volume.blocks
        mappings = [(volume.root_oid, version, block) for version, block in volume.kept]
        if volume.snapshot and "catalog" in blocks and not volume.kept:
            volume.kept.append((volume.snapshot["xid"], blocks.pop("catalog")))
            mappings = [(volume.root_oid, version, block) for version, block in volume.kept]
        catalog = self.replace(blocks, "catalog")
        omap, omap_tree = self.replace(blocks, "omap"), self.replace(blocks, "omap tree")
        if volume.snapshot and not volume.snapshot.get("kept"):
            # The tree of extents goes over to the snapshot.
            volume.snapshot["tree"] = blocks.pop("extents")
            volume.snapshot["kept"] = True
        extents = self.replace(blocks, "extents")
        snapshots = self.replace(blocks, "snapshots")
        since = volume.snapshot["xid"] if volume.snapshot else 0

        records = self.catalog(volume)
        self.put(catalog, node(volume.root_oid, xid, VIRTUAL, FSTREE, records))
        mappings.append((volume.root_oid, xid, catalog))
        mappings = [
            (struct.pack("<QQ", oid, version), struct.pack("<IIQ", 0, BS, block))
            for oid, version, block in sorted(mappings)
        ]
        self.put(omap_tree, node(omap_tree, xid, PHYSICAL, OMAP, mappings, (16, 16)))
        snapshot_tree, newest = 0, 0
        snapshot_records = []
        if volume.snapshot:
            newest = volume.snapshot["xid"]
            snapshot_tree = self.replace(blocks, "omap snapshots")
            entry = [(struct.pack("<Q", newest), struct.pack("<IIQ", 0, 0, 0))]
            self.put(snapshot_tree, node(snapshot_tree, xid, PHYSICAL, 0x13, entry, (8, 16)))
            label = b"before\0"
            snapshot_records = [
                (
                    struct.pack("<Q", 1 << 60 | newest),
                    struct.pack(
                        "<QQQQQIIH", volume.snapshot["tree"], volume.snapshot["superblock"], TIME, TIME,
                        volume.next_inode, PHYSICAL | BTREE, 0, len(label),
                    )
                    + label,
                ),
                (
                    struct.pack("<QH", 11 << 60 | (1 << 60) - 1, len(label)) + label,
                    struct.pack("<Q", newest),
                ),
            ]
        block = struct.pack(
            "<IIIIQQQQQ", 0, 1 if volume.snapshot else 0, PHYSICAL | BTREE, PHYSICAL | BTREE,
            omap_tree, snapshot_tree, newest, 0, 0,
        )
        self.put(omap, seal((bytes(32) + block).ljust(BS, b"\0"), omap, xid, PHYSICAL | OMAP))
        self.put(extents, node(extents, xid, PHYSICAL, BLOCKREF, self.extent_records(volume, since)))
        self.put(snapshots, node(snapshots, xid, PHYSICAL, SNAPMETA, snapshot_records))

        superblock = self.superblock_of(volume, catalog, omap, extents, snapshots)
        place = self.replace(blocks, "superblock")
        self.put(place, seal(superblock, volume.oid, xid, VIRTUAL | FS))
        return superblock

    def superblock_of(self, volume, catalog, omap, extents, snapshots):
        taken = 5 + sum(count for _, _, pieces, _ in volume.files.values() for _, count in pieces)
        if volume.snapshot:
            taken += 3 + sum(count for _, _, pieces, _ in volume.snapshot["files"].values() for _, count in pieces)
        block = bytearray(BS)
        struct.pack_into("<4sIQQQQQQQ", block, 0x20, b"APSB", volume.number, 2, 0, 1, TIME, 0, 0, taken)
        struct.pack_into("<HHIIIHH", block, 0x60, 5, 0, 0, 6, 0, 1, 0)
        struct.pack_into("<III", block, 0x74, VIRTUAL | BTREE, PHYSICAL | BTREE, PHYSICAL | BTREE)
        struct.pack_into("<QQQQ", block, 0x80, omap, volume.root_oid, extents, snapshots)
        struct.pack_into("<Q", block, 0xB0, volume.next_inode)
        struct.pack_into("<QQQQQ", block, 0xB8, len(volume.files), 0, 0, 0, 1 if volume.snapshot else 0)
        struct.pack_into("<QQ", block, 0xE0, volume.made, volume.freed)
        block[0xF0:0x100] = self.uuid_of(volume.name)
        struct.pack_into("<QQ", block, 0x100, TIME, 1)
        block[0x110:0x130] = b"dacapo make-images".ljust(32, b"\0")
        struct.pack_into("<QQ", block, 0x130, TIME, 2)
        block[0x2C0 : 0x2C0 + len(volume.name)] = volume.name.encode()
        struct.pack_into("<I", block, 0x3C0, 3)
        return block

    def take_snapshot(self, volume, superblock):
        place = self.alloc()
        # These trees are named in the volume, if at all.
        superblock[0x80:0x88] = bytes(8)
        superblock[0x90:0xA0] = bytes(16)
        self.put(place, seal(superblock, place, self.xid, PHYSICAL | FS))
        volume.snapshot = {"xid": self.xid, "superblock": place, "files": dict(volume.files)}

    # -- the container -------------------------------------------------------------------------

    def pool_block(self):
        block = next(self.pool_free)
        self.pool_used.add(block)
        self.pool_now.append(block)
        return block

    def write_bitmaps(self):
        """Bitmaps, chunk-info blocks and address blocks; returns the addresses for the space manager."""
        before, self.pool_now = self.pool_now, []
        self.free = 0
        cibs = []
        for index in range(self.cibs):
            infos = b""
            place = self.pool_block()
            for chunk in range(index * self.per_cib, min(self.chunks, (index + 1) * self.per_cib)):
                first = chunk * self.per_chunk
                count = min(self.per_chunk, self.count - first)
                bits = bytes(self.used[first // 8 : (first + count + 7) // 8])
                taken = int.from_bytes(bits, "little").bit_count() if bits.strip(b"\0") else 0
                bitmap = 0
                if taken:
                    bitmap = self.pool_block()
                    self.put(bitmap, bits.ljust(BS, b"\0"))
                infos += struct.pack("<QQIIQ", self.xid, first, count, count - taken, bitmap)
                self.free += count - taken
            block = bytes(32) + struct.pack("<II", index, len(infos) // 32) + infos
            self.put(place, seal(block.ljust(BS, b"\0"), place, self.xid, PHYSICAL | CIB))
            cibs.append(place)
        self.pool_queue += [(self.xid, block, 1) for block in sorted(before)]
        if not self.cabs:
            return cibs
        cabs = []
        for index in range(self.cabs):
            part = cibs[index * self.per_cab : (index + 1) * self.per_cab]
            place = self.pool_block()
            block = bytes(32) + struct.pack("<II", index, len(part)) + struct.pack(f"<{len(part)}Q", *part)
            self.put(place, seal(block.ljust(BS, b"\0"), place, self.xid, PHYSICAL | CAB))
            cabs.append(place)
        return cabs

    def queue_tree(self, oid, records):
        """The nodes of a free queue; more than one if its records do not fit."""
        pairs = [
            (struct.pack("<QQ", xid, first), struct.pack("<Q", count) if count > 1 else None)
            for xid, first, count in sorted(records)
        ]
        parts = [pairs[at : at + 100] for at in range(0, len(pairs), 100)] or [[]]
        if len(parts) == 1:
            return [(oid, BTREE, QUEUE, node(oid, self.xid, EPHEMERAL, QUEUE, pairs, (16, 8)))]
        leaves = [
            (oid + 100 + n, NODE, QUEUE, node(oid + 100 + n, self.xid, EPHEMERAL, QUEUE, part, (16, 8), root=False))
            for n, part in enumerate(parts)
        ]
        index = [(part[0][0], struct.pack("<Q", leaf[0])) for leaf, part in zip(leaves, parts)]
        root = node(oid, self.xid, EPHEMERAL, QUEUE, index, (16, 8), 1, len(pairs), 1 + len(leaves))
        return [(oid, BTREE, QUEUE, root)] + leaves

    def spaceman(self, addresses):
        parts = self.pool_bitmaps
        numbers = 0x9D8 + 8 * parts
        following_at = numbers + -(-2 * parts // 8) * 8
        offset = following_at + 2 * 16 * parts
        size = -(-(offset + 8 * len(addresses) + 8) // BS) * BS
        block = bytearray(size)
        struct.pack_into("<IIII", block, 0x20, BS, self.per_chunk, self.per_cib, self.per_cab)
        struct.pack_into("<QQIIQI", block, 0x30, self.count, self.chunks, self.cibs, self.cabs, self.free, offset)
        struct.pack_into("<I", block, 0x80, offset + 8 * len(addresses))
        struct.pack_into(
            "<IIQIIQQ", block, 0x90, 1, 16, self.pool_count, parts, 16 * parts, self.ring_base, self.pool_base,
        )
        for at, oid, records, nodes in (
            (0xC8, POOL_QUEUE, self.pool_queue, self.limits[0]),
            (0xF0, MAIN_QUEUE, self.queue, self.limits[1]),
        ):
            oldest = min([xid for xid, _, _ in records], default=0)
            struct.pack_into("<QQQH", block, at, sum(count for _, _, count in records), oid, oldest, nodes)
        # The bitmaps of the pool are a ring of sixteen times as many blocks as one version has:
        # a list of free ones, whose last one is the one before those in use.
        ring, now = 16 * parts, [(self.xid - 1) * parts + part for part in range(parts)]
        head, tail = (now[-1] + 1) % ring, now[0] - 1
        following = [0xFFFF if n in now or n == tail else (n + 1) % ring for n in range(ring)]
        struct.pack_into("<HHIIIII", block, 0x140, head, tail, 0x9D8, numbers, following_at, 1, 0x9D8)
        struct.pack_into(f"<{parts}Q", block, 0x9D8, *[self.xid] * parts)
        struct.pack_into(f"<{parts}H", block, numbers, *now)
        struct.pack_into(f"<{ring}H", block, following_at, *following)
        struct.pack_into(f"<{len(addresses)}Q", block, offset, *addresses)
        bits = bytearray(BS * parts)
        for place in self.pool_used:
            at = place - self.pool_base
            bits[at >> 3] |= 1 << (at & 7)
        for part, number in enumerate(now):
            self.put(self.ring_base + number, bytes(bits[part * BS : (part + 1) * BS]))
        poke(block, self.arguments.spaceman)
        return seal(block, SPACEMAN_OID, self.xid, EPHEMERAL | SPACEMAN)

    def main_limit(self):
        """The most nodes of the main free queue, as apfsck expects them."""
        if self.count < 1 << 18:
            return node_limit(1 + (self.count - 1) // 4544)
        return 512 if self.count >= 1 << 20 else 116 + (self.count - 261281) // 2272

    def checkpoint(self):
        """Everything that the transaction has."""
        xid = self.xid
        superblocks = [self.write_volume(volume) for volume in self.volumes]
        omap, tree = self.replace(self.main, "omap"), self.replace(self.main, "tree")
        records = [
            (struct.pack("<QQ", volume.oid, xid), struct.pack("<IIQ", 0, BS, volume.blocks["superblock"]))
            for volume in self.volumes
        ]
        self.put(tree, node(tree, xid, PHYSICAL, OMAP, records, (16, 16)))
        block = struct.pack("<IIIIQQQQQ", 1, 0, PHYSICAL | BTREE, PHYSICAL | BTREE, tree, 0, 0, 0, 0)
        self.put(omap, seal((bytes(32) + block).ljust(BS, b"\0"), omap, xid, PHYSICAL | OMAP))

        reaper = bytearray(BS)
        struct.pack_into("<Q", reaper, 0x20, 1)
        struct.pack_into("<I", reaper, 0x40, 1)
        struct.pack_into("<I", reaper, 0x6C, BS - 0x70)
        if self.arguments.snapshot and xid == 2:
            for volume, superblock in zip(self.volumes, superblocks):
                self.take_snapshot(volume, superblock)
        addresses = self.write_bitmaps()
        objects = [
            (SPACEMAN_OID, SPACEMAN, 0, self.spaceman(addresses)),
            (REAPER_OID, REAPER, 0, seal(reaper, REAPER_OID, xid, EPHEMERAL | REAPER)),
        ]
        objects += self.queue_tree(POOL_QUEUE, self.pool_queue) + self.queue_tree(MAIN_QUEUE, self.queue)
        mappings, began = [], self.data_index
        for oid, kind, subtype, data in objects:
            first = 1 + DESCRIPTORS + self.data_index
            mappings.append(struct.pack("<IIIIQQQ", EPHEMERAL | kind, subtype, len(data), 0, 0, oid, first))
            for at in range(0, len(data), BS):
                self.put(1 + DESCRIPTORS + self.data_index, data[at : at + BS])
                self.data_index = (self.data_index + 1) % self.data
        first_index = self.index
        maps = self.arguments.maps
        per_map = -(-len(mappings) // maps)
        for number in range(maps):
            part = mappings[number * per_map : (number + 1) * per_map]
            place = 1 + self.index
            block = bytes(32) + struct.pack("<II", int(number == maps - 1), len(part)) + b"".join(part)
            self.put(place, seal(block.ljust(BS, b"\0"), place, xid, PHYSICAL | MAP))
            self.index = (self.index + 1) % DESCRIPTORS
        place = 1 + self.index
        self.index = (self.index + 1) % DESCRIPTORS
        block = bytearray(BS)
        struct.pack_into("<4sIQQQQ", block, 0x20, b"NXSB", BS, self.count, 0, 0, 2)
        block[0x48:0x58] = self.uuid
        struct.pack_into("<QQII", block, 0x58, 2048, xid + 1, DESCRIPTORS, self.data)
        struct.pack_into("<QQII", block, 0x70, 1, 1 + DESCRIPTORS, self.index, self.data_index)
        taken = (self.data_index - began) % self.data
        struct.pack_into("<IIII", block, 0x88, first_index, maps + 1, began, taken)
        struct.pack_into("<QQQ", block, 0x98, SPACEMAN_OID, omap, REAPER_OID)
        most = min(-(-self.count * BS // (512 << 20)), 100)
        struct.pack_into("<II", block, 0xB0, 0, max(most, len(self.volumes)))
        struct.pack_into(f"<{len(self.volumes)}Q", block, 0xB8, *[volume.oid for volume in self.volumes])
        least = 8 if self.count >= 1 << 15 else self.main_limit()
        struct.pack_into("<Q", block, 0x520, least << 32 | 4 << 16 | 1)
        if xid == 3:
            poke(block, self.arguments.container)
        block = seal(block, 1, xid, EPHEMERAL | NX)
        self.put(place, block)
        return block


def main():
    global BS
    parser = argparse.ArgumentParser()
    parser.add_argument("disk")
    parser.add_argument("blocks", type=int)
    parser.add_argument("name")
    parser.add_argument("--maps", type=int, default=1)
    parser.add_argument("--snapshot", action="store_true")
    parser.add_argument("--volumes", type=int, default=1)
    parser.add_argument("--wrap", action="store_true")
    parser.add_argument("--stale-copy", action="store_true")
    parser.add_argument("--far", action="store_true")
    parser.add_argument("--file", type=int, default=40)
    parser.add_argument("--pattern", action="store_true")
    parser.add_argument("--block-size", type=int, default=BS)
    parser.add_argument("--torn", action="store_true")
    parser.add_argument("--spread", action="store_true")
    parser.add_argument("--container", action="append", default=[])
    parser.add_argument("--spaceman", action="append", default=[])
    parser.add_argument("--record")
    arguments = parser.parse_args()
    BS = arguments.block_size

    container = Container(arguments.disk, arguments.blocks, arguments)
    labels = ["Music", "Samples", "Backup"][: arguments.volumes]
    container.volumes = [Volume(number, label) for number, label in enumerate(labels)]
    hashes = {}
    container.xid = 2
    for volume in container.volumes:
        container.add_file(volume, "old.bin", 12345)
    first = container.checkpoint()
    container.xid = 3
    for volume in container.volumes:
        container.delete_file(volume, "old.bin")
        for name, length, pieces in (("small.txt", 77, 1), ("pieces.bin", arguments.file << 10, 2), ("one.bin", 30000, 1)):
            hashes[f"{volume.name}/{name}"] = container.add_file(volume, name, length, pieces)
    if arguments.spread:
        # Behind the internal pool.
        for chunk in range(8, container.chunks):
            container.mark(chunk * container.per_chunk + chunk % 1000, 1)
    last = container.checkpoint()
    container.put(0, first if arguments.stale_copy else last)
    if arguments.torn:
        # The newest superblock was being written when the power went.
        container.put(DESCRIPTORS // 2, last[: BS // 2] + first[BS // 2 :][:-1] + b"\1")
    if arguments.record:
        with open(arguments.record, "w") as file:
            json.dump(hashes, file)


if __name__ == "__main__":
    main()
