#!/usr/bin/env python3
"""A UDF with a partition of a kind that Linux reads and does not write, byte by byte.

    udf_build.py metadata|virtual|old-virtual|sparable|large-folder FILE

Written from ECMA-167, third edition, and OSTA UDF 1.50 and 2.60. On it are a folder with a file in
two pieces, a file with a hole, one that is in its entry, and a link. Linux mounts each. The last
has a plain partition, and a folder of more than 64 MiB, nearly all of which are deleted names.
"""

import struct
import sys

BLOCK = 2048
START = 272
COUNT = 1024
# The blocks of a large folder: 2 KiB more than 64 MiB.
LARGE = (64 << 10) // 2 + 1


def crc(data):
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1) ^ 0x1021 if value & 0x8000 else value << 1
            value &= 0xFFFF
    return value


def tag(kind, location, body, version):
    head = struct.pack("<HHBBHHHI", kind, version, 0, 0, 1, crc(body), len(body), location)
    return head[:4] + bytes([sum(head) & 0xFF]) + head[5:] + body


def regid(name, suffix=b""):
    return bytes([0]) + name.encode().ljust(23, b"\0") + suffix.ljust(8, b"\0")


def dstring(text, size):
    data = b"\x08" + text.encode()
    return data.ljust(size - 1, b"\0") + bytes([len(data)])


CHARSET = b"\0" + b"OSTA Compressed Unicode".ljust(63, b"\0")
TIME = struct.pack("<HhBBBBBBBB", 0x1000, 2024, 1, 2, 3, 4, 5, 0, 0, 0)


def long_ad(length, block, partition):
    return struct.pack("<IIH6x", length, block, partition)


class Disc:
    def __init__(self, kind):
        self.kind = kind
        self.count = COUNT + LARGE if kind == "large-folder" else COUNT
        self.data = bytearray(BLOCK * (START + self.count))
        self.revision = 0x0250 if kind == "metadata" else 0x0150 if kind in ("old-virtual", "sparable") else 0x0201
        self.version = 2 if self.revision < 0x0200 else 3
        # Of each block of the partition that files are described in, where it is.
        self.places = {}
        self.upper = 0 if kind in ("sparable", "large-folder") else 1

    def put(self, block, data):
        self.data[block * BLOCK : block * BLOCK + len(data)] = data

    def put_tagged(self, block, kind, body):
        self.put(block, tag(kind, block, body, self.version))

    def entry(self, block, file_type, size, allocation, flags, at=None, location=None):
        """A file entry; `block` is that of the upper partition."""
        icb = struct.pack("<IHHHBB6xH", 0, 4, 0, 1, 0, file_type, flags)
        mode = 0b00101_00101_00111 if file_type == 4 else 0b00100_00100_00110
        mode = (mode & 31) << 10 | (mode >> 5 & 31) << 5 | mode >> 10
        body = icb + struct.pack("<IIIHBBIQ", 7, 8, mode, 1, 0, 0, 0, size)
        if self.version == 3:
            body += struct.pack("<QQ", size, (size + BLOCK - 1) // BLOCK) + TIME * 4
            body += struct.pack("<II", 1, 0) + bytes(16 + 16) + regid("*made byte by byte")
        else:
            body += struct.pack("<Q", (size + BLOCK - 1) // BLOCK) + TIME * 3
            body += struct.pack("<I", 1) + bytes(16) + regid("*made byte by byte")
        body += struct.pack("<QII", 20 + block, 0, len(allocation)) + allocation
        place = self.place(block) if at is None else at
        kind = 266 if self.version == 3 else 261
        self.put(START + place, tag(kind, block if location is None else location, body, self.version))

    def place(self, block):
        """Where a block of the upper partition is on the partition below."""
        if self.kind == "metadata":
            return 10 + block if block < 4 else 300 + block
        if self.kind in ("sparable", "large-folder"):
            return block
        return self.places.setdefault(block, 700 - 7 * block)

    def name(self, name, block, flags=0):
        text = b"\x08" + name if name else b""
        body = struct.pack("<HBB", 1, flags, len(text)) + long_ad(BLOCK, block, self.upper)
        body += struct.pack("<H", 0) + text
        body += bytes(-(len(body) + 16) % 4)
        return tag(257, 0, body, self.version)

    def data_at(self, block, data):
        self.put(START + block, data)

    def build(self):
        for number, name in enumerate([b"BEA01", b"NSR02" if self.version == 2 else b"NSR03", b"TEA01"]):
            self.put(16 + number, b"\0" + name + b"\1")
        self.files()
        end = len(self.data) // BLOCK - 1
        suffix = struct.pack("<H", self.revision)
        physical = struct.pack("<BBHH", 1, 6, 1, 0)

        def second(name, rest):
            head = struct.pack("<BBH", 2, 64, 0) + regid(name, suffix) + struct.pack("<HH", 1, 0)
            return (head + rest).ljust(64, b"\0")

        if self.kind == "metadata":
            rest = struct.pack("<IIIIHB", 0, 1, 0xFFFFFFFF, 32, 1, 0)
            maps = physical + second("*UDF Metadata Partition", rest)
        elif self.kind == "sparable":
            rest = struct.pack("<HBBI4I", 32, 1, 0, BLOCK, 260, 0, 0, 0)
            maps = second("*UDF Sparable Partition", rest)
        elif self.kind == "large-folder":
            maps = physical
        else:
            maps = physical + second("*UDF Virtual Partition", b"")
        count = 1 if self.upper == 0 else 2
        primary = struct.pack("<II", 1, 0) + dstring("Disc", 32) + struct.pack("<HHHHII", 1, 1, 2, 2, 1, 1)
        primary += dstring("0123456789abcdefDisc", 128) + CHARSET * 2 + bytes(16) + regid("")
        primary += TIME + regid("*made byte by byte") + bytes(64 + 4 + 2 + 22)
        logical = struct.pack("<I", 2) + CHARSET + dstring("Disc", 128) + struct.pack("<I", BLOCK)
        logical += regid("*OSTA UDF Compliant", suffix) + long_ad(BLOCK, 0, self.upper)
        logical += struct.pack("<II", len(maps), count) + regid("*made byte by byte") + bytes(128)
        logical += struct.pack("<II", 2 * BLOCK, 64) + maps
        contents = regid("+NSR02" if self.version == 2 else "+NSR03")
        partition = struct.pack("<IHH", 3, 1, 0) + contents + bytes(128)
        partition += struct.pack("<III", 1 if "virtual" not in self.kind else 2, START, self.count)
        partition += regid("*made byte by byte") + bytes(128 + 156)
        for first in (32, 48):
            for number, (kind, body) in enumerate(
                [(1, primary), (6, logical), (5, partition), (7, struct.pack("<II", 4, 0)), (8, bytes(496))]
            ):
                self.put_tagged(first + number, kind, body)
        own = regid("*made byte by byte") + struct.pack("<IIHHH", 4, 2, self.revision, self.revision, self.revision)
        integrity = TIME + struct.pack("<III", 1, 0, 0) + struct.pack("<Q24x", 100)
        integrity += struct.pack("<II", count, len(own)) + struct.pack("<I", 0) * count
        integrity += struct.pack("<I", self.count) * count + own
        self.put_tagged(64, 9, integrity)
        self.put_tagged(65, 8, bytes(496))
        anchor = struct.pack("<IIII", 16 * BLOCK, 32, 16 * BLOCK, 48) + bytes(480)
        self.put_tagged(256, 2, anchor)
        if "virtual" not in self.kind:
            self.put_tagged(end, 2, anchor)

    def files(self):
        upper = self.upper
        file_set = TIME + struct.pack("<HHIIII", 3, 3, 1, 1, 0, 0) + CHARSET + dstring("Disc", 128)
        file_set += CHARSET + dstring("Disc", 32) + bytes(64) + long_ad(BLOCK, 1, upper)
        file_set += regid("*OSTA UDF Compliant", struct.pack("<H", self.revision)) + bytes(16 + 16 + 32)
        self.put(START + self.place(0), tag(256, 0, file_set, self.version))
        names = self.name(b"", 1, 2 | 8) + self.name(b"folder", 2, 2) + self.name(b"inside", 5)
        names += self.name(b"gone", 5, 4) + self.name(b"link", 6)
        self.entry(1, 4, len(names), names, 3)
        names = self.name(b"", 1, 2 | 8) + self.name(b"pieces", 3) + self.name(b"hole", 4)
        where = 7
        if self.kind == "large-folder":
            where, gone = COUNT, self.name(b"x" * 25, 5, 4)
            names += gone * ((LARGE * BLOCK - len(names)) // len(gone))
        self.put(START + self.place(where), names)
        self.entry(2, 4, len(names), long_ad(len(names), where, upper), 1)
        self.data_at(100, b"first " * 1024)
        self.data_at(220, b"second " * 500)
        where = long_ad(3 * BLOCK, 100, 0) + long_ad(3500, 220, 0)
        self.entry(3, 5, 3 * BLOCK + 3500, where, 1)
        self.data_at(230, b"x" * BLOCK)
        where = long_ad(BLOCK, 230, 0) + struct.pack("<IIH6x", 2 << 30 | 5 * BLOCK, 0, 0) + long_ad(100, 230, 0)
        self.entry(4, 5, 6 * BLOCK + 100, where, 1)
        self.entry(5, 5, 14, b"session notes\n", 3)
        parts = struct.pack("<BBH", 5, 7, 0) + b"\x08folder" + struct.pack("<BBH", 5, 7, 0) + b"\x08pieces"
        self.entry(6, 12, len(parts), parts, 3)
        if self.kind == "metadata":
            where = struct.pack("<IIII", 4 * BLOCK, 10, 28 * BLOCK, 304)
            self.entry(0, 250, 32 * BLOCK, where, 0, at=0)
            self.entry(1, 251, 32 * BLOCK, where, 0, at=1)
        elif self.kind == "sparable":
            # The packet of blocks 96 to 127 is in the last 32 blocks, and junk in its place.
            old, new = (START + 96) * BLOCK, (START + COUNT - 32) * BLOCK
            self.data[new : new + 32 * BLOCK] = self.data[old : old + 32 * BLOCK]
            self.data[old : old + 32 * BLOCK] = b"junk" * (8 * BLOCK)
            table = regid("*UDF Sparing Table", struct.pack("<H", 0x0150)) + struct.pack("<HHI", 2, 0, 1)
            table += struct.pack("<IIII", 96, START + COUNT - 32, 0xFFFFFFFF, START + COUNT - 64)
            self.put_tagged(260, 0, table)
        elif self.kind != "large-folder":
            # The first copy of an entry, which was written anew since.
            self.entry(5, 5, 4, b"old\n", 3, at=800)
            table = b"".join(struct.pack("<I", self.place(block)) for block in range(8))
            if self.kind == "virtual":
                head = struct.pack("<HH", 152, 0) + dstring("Disc", 128)
                head += struct.pack("<IIIHHHH", 0xFFFFFFFF, 4, 2, 0x0201, 0x0201, 0x0201, 0)
                table, kind = head + table, 248
            else:
                table, kind = table + regid("*UDF Virtual Alloc Tbl") + struct.pack("<I", 0xFFFFFFFF), 0
            self.entry(COUNT - 1, kind, len(table), table, 3, at=COUNT - 1)


def main():
    disc = Disc(sys.argv[1])
    disc.build()
    with open(sys.argv[2], "wb") as out:
        out.write(disc.data)


main()
