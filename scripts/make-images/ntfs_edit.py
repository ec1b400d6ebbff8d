#!/usr/bin/env python3
"""Changes to an NTFS volume that no driver at hand makes: flags, logs, maps that contradict.

Finds its way by ntfsinfo's figures of the boot sector and record 0 only, so it works on the simple
volumes of mkntfs: an unfragmented $MFT start, unnamed $DATA without an attribute list.
"""

import struct

STRIDE = 512


class Volume:
    def __init__(self, path):
        self.file = open(path, "r+b")
        boot = self.at(0, 512)
        self.sector = struct.unpack_from("<H", boot, 0x0B)[0]
        per = boot[0x0D]
        self.cluster = self.sector * (per if per <= 0x80 else 1 << (256 - per))
        self.sectors = struct.unpack_from("<Q", boot, 0x28)[0]
        self.clusters = self.sectors * self.sector // self.cluster
        self.mft, self.mirror = struct.unpack_from("<QQ", boot, 0x30)
        size = struct.unpack_from("<b", boot, 0x40)[0]
        self.record_size = size * self.cluster if size > 0 else 1 << -size

    def at(self, place, length):
        self.file.seek(place)
        return bytearray(self.file.read(length))

    def put(self, place, data):
        self.file.seek(place)
        self.file.write(data)
        self.file.flush()

    def record_places(self, number):
        places = [self.mft * self.cluster + number * self.record_size]
        if number < 4:
            places.append(self.mirror * self.cluster + number * self.record_size)
        return places

    def record(self, number):
        return unprotect(self.at(self.record_places(number)[0], self.record_size))

    def put_record(self, number, record):
        for place in self.record_places(number):
            self.put(place, protect(record))

    def attributes(self, record):
        """(type, name, offset, length) of each attribute."""
        at = struct.unpack_from("<H", record, 0x14)[0]
        while True:
            kind, length = struct.unpack_from("<II", record, at)
            if kind == 0xFFFFFFFF:
                return
            count, name = record[at + 9], struct.unpack_from("<H", record, at + 10)[0]
            yield kind, record[at + name : at + name + 2 * count].decode("utf-16le"), at, length
            at += length

    def find(self, record, kind, name=""):
        for found, own, at, length in self.attributes(record):
            if (found, own) == (kind, name):
                return at, length
        raise SystemExit(f"ntfs_edit.py: no attribute {kind:#x} {name!r}")

    def runs(self, number, kind=0x80, name=""):
        """(first cluster or None, count) of each run."""
        record = self.record(number)
        at, length = self.find(record, kind, name)
        assert record[at + 8] == 1, "resident"
        place = at + struct.unpack_from("<H", record, at + 0x20)[0]
        runs, cluster = [], 0
        while record[place]:
            head = record[place]
            a, b = head & 15, head >> 4
            count = int.from_bytes(record[place + 1 : place + 1 + a], "little", signed=True)
            delta = int.from_bytes(
                record[place + 1 + a : place + 1 + a + b], "little", signed=True
            )
            cluster += delta
            runs.append((cluster if b else None, count))
            place += 1 + a + b
        return runs

    def stream_place(self, number, offset):
        """Where a byte of an unnamed $DATA is on the volume."""
        for first, count in self.runs(number):
            if offset < count * self.cluster:
                return first * self.cluster + offset
            offset -= count * self.cluster
        raise SystemExit("ntfs_edit.py: behind the end of the stream")

    def set_bitmap(self, cluster, value):
        place = self.stream_place(6, cluster // 8)
        byte = self.at(place, 1)
        mask = 1 << cluster % 8
        byte[0] = byte[0] | mask if value else byte[0] & ~mask
        self.put(place, byte)

    def is_used(self, cluster):
        return bool(self.at(self.stream_place(6, cluster // 8), 1)[0] >> cluster % 8 & 1)

    def set_flags(self, flags):
        """The flags of $VOLUME_INFORMATION."""
        record = self.record(3)
        at, _ = self.find(record, 0x70)
        value = at + struct.unpack_from("<H", record, at + 0x14)[0]
        struct.pack_into("<H", record, value + 10, flags)
        self.put_record(3, record)

    def set_serial(self, serial):
        for place in (0, self.sectors * self.sector):
            self.put(place + 0x48, struct.pack("<Q", serial))

    def set_log(self, major, minor, clients, flags, lsn=(0x1000, 0x1001)):
        """Both restart pages. The second is the later."""
        for index in (0, 1):
            page = bytearray(4096)
            page[0:4] = b"RSTR"
            struct.pack_into("<HHQIIHHH", page, 4, 0x1E, 9, 0, 4096, 4096, 0x30, minor, major)
            length = sum(count for _, count in self.runs(2)) * self.cluster
            struct.pack_into(
                "<QHHHHIHHQ", page, 0x30, lsn[index], 1, 0xFFFF if clients else 0,
                0 if clients else 0xFFFF, flags, 0x2A, 0xE0, 0x40, length,
            )
            struct.pack_into("<H", page, 0x1E, 7)
            self.put(self.stream_place(2, index * 4096), protect(page))

    def add_bad_cluster(self, cluster):
        """A cluster in $BadClus, whose stream $Bad is one hole so far."""
        assert self.runs(8, 0x80, "$Bad") == [(None, self.clusters)] and not self.is_used(cluster)
        record = self.record(8)
        at, length = self.find(record, 0x80, "$Bad")
        start = at + struct.unpack_from("<H", record, at + 0x20)[0]
        runs = bytearray()
        for first, count in (
            (None, cluster), (cluster, 1), (None, self.clusters - cluster - 1)
        ):
            runs += bytes([0x04 if first is None else 0x44]) + struct.pack("<i", count)
            runs += b"" if first is None else struct.pack("<i", first)
        runs += b"\0"
        new = (start - at + len(runs) + 7) // 8 * 8
        tail = bytes(record[at + length : struct.unpack_from("<I", record, 0x18)[0]])
        record[start : start + len(runs)] = runs
        record[at + new : at + new + len(tail)] = tail
        struct.pack_into("<I", record, at + 4, new)
        struct.pack_into("<I", record, 0x18, at + new + len(tail))
        self.put_record(8, record)
        self.set_bitmap(cluster, True)

    def free(self):
        return [cluster for cluster in range(self.clusters) if not self.is_used(cluster)]


def unprotect(data):
    offset, count = struct.unpack_from("<HH", data, 4)
    for index in range(1, count):
        end = index * STRIDE
        assert data[end - 2 : end] == data[offset : offset + 2], "torn"
        data[end - 2 : end] = data[offset + 2 * index : offset + 2 * index + 2]
    return data


def protect(data):
    data = bytearray(data)
    offset, count = struct.unpack_from("<HH", data, 4)
    for index in range(1, count):
        end = index * STRIDE
        data[offset + 2 * index : offset + 2 * index + 2] = data[end - 2 : end]
        data[end - 2 : end] = data[offset : offset + 2]
    return data
