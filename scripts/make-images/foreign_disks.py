#!/usr/bin/env python3
"""Superblocks for which there is no program at hand that writes them, byte by byte from their
specifications. Other programs (blkid, mdadm) have to accept them; they hold no files.

    foreign_disks.py KIND IMAGE [NAME=VALUE]...
"""

import os
import struct
import sys
import uuid

GUID = uuid.UUID("01020304-0506-4708-890a-0b0c0d0e0f10")


def put(disk, at, data):
    disk.seek(at)
    disk.write(data)


def md_1(disk, length, version):
    """Linux RAID, superblock version 1: RAID1 of two disks, of which this is the first."""
    at = {"1.0": (length & ~0xFFF) - 0x2000, "1.1": 0, "1.2": 0x1000}[version]
    roles = struct.pack("<HH", 0, 1)
    data = {"1.0": 0, "1.1": 2048, "1.2": 2048}[version]
    size = (at // 512 if version == "1.0" else length // 512 - data) & ~7
    head = bytearray(256)
    struct.pack_into("<III", head, 0, 0xA92B4EFC, 1, 0)
    head[16:32] = GUID.bytes
    head[32:64] = b"studio:music".ljust(32, b"\0")
    # ctime, level, layout, size, chunk size, disks, bitmap offset.
    struct.pack_into("<QiIQIII", head, 64, 1700000000, 1, 0, size, 0, 2, 0)
    struct.pack_into("<QQQQ", head, 128, data, size, at // 512, 0)
    struct.pack_into("<I", head, 160, 0)
    head[168:184] = uuid.UUID("11111111-2222-4333-8444-555555555555").bytes
    struct.pack_into("<QQQ", head, 192, 1700000001, 7, 0xFFFFFFFFFFFFFFFF)
    struct.pack_into("<I", head, 220, 2)
    whole = bytes(head) + roles
    total = sum(struct.unpack(f"<{len(whole) // 4}I", whole))
    total = (total & 0xFFFFFFFF) + (total >> 32)
    struct.pack_into("<I", head, 216, total & 0xFFFFFFFF)
    put(disk, at, bytes(head) + roles + bytes(4096 - 256 - len(roles)))


def md_0(disk, length):
    """Linux RAID, superblock version 0.90, little-endian."""
    at = (length & ~0xFFFF) - 0x10000
    words = [0] * 1024
    numbers = struct.unpack(">4I", GUID.bytes)
    words[0:9] = [0xA92B4EFC, 0, 90, 0, 0, numbers[0], 1700000000, 1, at // 1024]
    # disks, raid disks, minor, not persistent, the rest of the UUID.
    words[9:16] = [2, 2, 0, 0, *numbers[1:]]
    # utime, state clean, active, working, failed, spare, checksum, events.
    words[32:41] = [1700000001, 1, 2, 2, 0, 0, 0, 7, 0]
    for number in range(2):
        words[128 + 32 * number : 128 + 32 * number + 5] = [number, 8, 16 * number, number, 6]
    words[992:997] = words[128:133]
    total = sum(words)
    words[38] = ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF
    put(disk, at, struct.pack("<1024I", *words))


def pair(name, kind, value):
    name = name.encode()
    body = struct.pack(">I", len(name)) + name + bytes(-len(name) % 4)
    body += struct.pack(">II", kind, 1) + value
    return struct.pack(">II", len(body) + 8, len(body) + 8) + body


def zfs(disk, length):
    """The four labels of a device of a ZFS pool."""
    text = lambda value: struct.pack(">I", len(value)) + value + bytes(-len(value) % 4)
    number = lambda value: struct.pack(">Q", value)
    tree = struct.pack(">II", 0, 1) + pair("type", 9, text(b"disk")) + pair("guid", 8, number(99))
    tree += pair("ashift", 8, number(12)) + bytes(8)
    pairs = [
        pair("version", 8, number(5000)),
        pair("name", 9, text(b"tank")),
        pair("state", 8, number(0)),
        pair("txg", 8, number(4)),
        pair("pool_guid", 8, number(1234567890123456789)),
        pair("guid", 8, number(987654321)),
        pair("vdev_tree", 19, tree),
    ]
    listed = struct.pack(">BBHII", 1, 1, 0, 0, 1) + b"".join(pairs) + bytes(8)
    label = bytearray(256 << 10)
    label[16 << 10 : (16 << 10) + len(listed)] = listed
    for slot in range(128):
        at = (128 << 10) + slot * 1024
        struct.pack_into("<QQQ", label, at, 0x00BAB10C, 5000, slot + 1)
    end = length - length % (256 << 10)
    for at in (0, 256 << 10, end - (512 << 10), end - (256 << 10)):
        put(disk, at, label)


def crc32c(data):
    total = 0xFFFFFFFF
    for byte in data:
        total ^= byte
        for _ in range(8):
            total = total >> 1 ^ (0x82F63B78 if total & 1 else 0)
    return total ^ 0xFFFFFFFF


def bcachefs(disk, length):
    magic = bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")
    for at in (0x1000, 2 << 20, length - (1 << 20)):
        head = bytearray(0x2F0)
        struct.pack_into("<HH", head, 16, 1024, 1024)
        head[24:40] = magic
        head[40:56] = uuid.UUID("99999999-8888-4777-8666-555555555555").bytes
        head[56:72] = GUID.bytes
        head[72:104] = b"samples".ljust(32, b"\0")
        struct.pack_into("<QQHBBI", head, 104, at // 512, 1, 8, 0, 1, 0)
        # The kind of the checksum, in the flags: CRC-32C.
        struct.pack_into("<Q", head, 144, 1 << 2)
        layout = 144 + 64 + 16 + 16
        head[layout : layout + 16] = magic
        struct.pack_into("<BBB", head, layout + 16, 0, 11, 1)
        size = layout + 16 + 8 + 61 * 8
        del head[size:]
        struct.pack_into("<I", head, 0, crc32c(bytes(head[16:])))
        put(disk, at, head)


def refs(disk, length):
    boot = bytearray(512)
    boot[3:11] = b"ReFS\0\0\0\0"
    boot[16:20] = b"FSRS"
    struct.pack_into("<HH", boot, 20, 512, 0)
    struct.pack_into("<QII", boot, 24, length // 512, 512, 128)
    boot[40:42] = b"\3\4"
    struct.pack_into("<Q", boot, 56, 0x1122334455667788)
    total = 0
    for byte in boot:
        total = ((total >> 1 | total << 15) + byte) & 0xFFFF
    struct.pack_into("<H", boot, 22, total)
    put(disk, 0, boot)
    put(disk, length - 512, boot)


def ufs(disk, length, version="2", order="<"):
    at = {"1": 8192, "2": 65536}[version]
    superblock = bytearray(1376)
    struct.pack_into(order + "I", superblock, 0x30, 16384)
    struct.pack_into(order + "I", superblock, 0x34, 2048)
    struct.pack_into(order + "II", superblock, 0x90, 0x5F000001, 0xABCDEF01)
    if version == "2":
        superblock[0x2A8 : 0x2A8 + 32] = b"RECORDINGS".ljust(32, b"\0")
    struct.pack_into(order + "I", superblock, 0x55C, 0x19540119 if version == "2" else 0x011954)
    put(disk, at, superblock)


def bitlocker(disk, length, kind="win7"):
    boot = bytearray(512)
    boot[510:] = b"\x55\xaa"
    if kind == "vista":
        boot[0:11] = b"\xeb\x52\x90-FVE-FS-"
        struct.pack_into("<HB", boot, 11, 512, 8)
        struct.pack_into("<Q", boot, 0x38, 4)
    elif kind == "win7":
        boot[0:11] = b"\xeb\x58\x90-FVE-FS-"
        struct.pack_into("<HB", boot, 11, 512, 8)
        boot[0xA0:0xB0] = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001").bytes_le
        struct.pack_into("<QQQ", boot, 0xB0, 0x4000, 0x40000, 0x80000)
    else:
        # A FAT32 that one can look at: the discovery volume.
        boot[0:11] = b"\xeb\x58\x90MSWIN4.1"
        struct.pack_into("<HBHBHHBH", boot, 11, 512, 1, 32, 2, 0, 0, 0xF8, 0)
        struct.pack_into("<I", boot, 0x20, length // 512)
        struct.pack_into("<I", boot, 0x24, 64)
        struct.pack_into("<I", boot, 0x2C, 2)
        boot[0x52:0x5A] = b"FAT32   "
        boot[0x1A8:0x1B8] = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001").bytes_le
        struct.pack_into("<QQQ", boot, 0x1B8, 0x4000, 0x40000, 0x80000)
    put(disk, 0, boot)
    text = "STUDIO-PC C: 1/2/2024\0".encode("utf-16-le")
    entry = struct.pack("<HHHH", 8 + len(text), 7, 2, 1) + text
    header = struct.pack("<IIII", 48 + len(entry), 1, 48, 48 + len(entry)) + GUID.bytes_le
    header += bytes(16)
    block = b"-FVE-FS-" + struct.pack("<HH", 0, 2) + bytes(52) + header + entry
    for at in (0x4000, 0x40000, 0x80000):
        put(disk, at, block)


def romfs(disk, length):
    head = bytearray(512)
    head[0:8] = b"-rom1fs-"
    struct.pack_into(">I", head, 8, 1024)
    head[16:32] = b"firmware".ljust(16, b"\0")
    # A folder that is its own ".".
    struct.pack_into(">IIII", head, 32, 0x49, 32, 0, 0)
    head[48:64] = b".".ljust(16, b"\0")
    total = sum(struct.unpack(">128I", head))
    struct.pack_into(">I", head, 12, -total & 0xFFFFFFFF)
    put(disk, 0, head)


def vmfs(disk, length):
    head = bytearray(512)
    struct.pack_into("<IIB", head, 0, 0x2FABF15E, 5, 5)
    head[9:25] = GUID.bytes
    head[29:157] = b"datastore1".ljust(128, b"\0")
    put(disk, 2 << 20, head)


def hpfs(disk, length):
    boot = bytearray(512)
    boot[0x26] = 0x28
    struct.pack_into("<I", boot, 0x27, 0x12345678)
    boot[0x2B:0x36] = b"OS2        "
    boot[0x36:0x3E] = b"HPFS    "
    boot[510:] = b"\x55\xaa"
    put(disk, 0, boot)
    put(disk, 0x2000, b"\x49\xe8\x95\xf9\xc5\xe9\x53\xfa\x02\x02")
    put(disk, 0x2200, b"\x49\x18\x91\xf9\xc5\x29\x52\xfa")


def ocfs2(disk, length):
    block = bytearray(512)
    block[0:6] = b"OCFSV2"
    struct.pack_into("<HH", block, 192, 0, 90)
    struct.pack_into("<II", block, 192 + 56, 12, 12)
    block[192 + 80 : 192 + 144] = b"cluster".ljust(64, b"\0")
    block[192 + 144 : 192 + 160] = GUID.bytes
    put(disk, 0x2000, block)


def gfs2(disk, length):
    block = bytearray(512)
    struct.pack_into(">II", block, 0, 0x01161970, 1)
    struct.pack_into(">II", block, 24, 1801, 1900)
    struct.pack_into(">II", block, 36, 4096, 12)
    block[96:160] = b"lock_nolock".ljust(64, b"\0")
    block[160:224] = b"studio:tapes".ljust(64, b"\0")
    block[256:272] = GUID.bytes
    put(disk, 0x10000, block)


KINDS = {
    "md-0.90": lambda disk, length: md_0(disk, length),
    "md-1.0": lambda disk, length: md_1(disk, length, "1.0"),
    "md-1.1": lambda disk, length: md_1(disk, length, "1.1"),
    "md-1.2": lambda disk, length: md_1(disk, length, "1.2"),
    "zfs": zfs,
    "bcachefs": bcachefs,
    "refs": refs,
    "ufs1": lambda disk, length: ufs(disk, length, "1"),
    "ufs2": ufs,
    "ufs2-big": lambda disk, length: ufs(disk, length, "2", ">"),
    "bitlocker": bitlocker,
    "bitlocker-vista": lambda disk, length: bitlocker(disk, length, "vista"),
    "bitlocker-to-go": lambda disk, length: bitlocker(disk, length, "to-go"),
    "romfs": romfs,
    "vmfs": vmfs,
    "hpfs": hpfs,
    "ocfs2": ocfs2,
    "gfs2": gfs2,
}

if __name__ == "__main__":
    with open(sys.argv[2], "r+b") as image:
        KINDS[sys.argv[1]](image, os.path.getsize(sys.argv[2]))
