"""A file of MacBinary II, by which hfsutils and genisoimage take both forks of a file, to standard output.

    macbinary.py NAME DATA RESOURCE

Its type is APPL, its creator DaCa, and its dates are 2800000000 and 3000000000 seconds after the
beginning of 1904.
"""
import binascii
import struct
import sys


def padded(fork):
    return fork + bytes(-len(fork) % 128)


def main():
    name = sys.argv[1].encode("mac_roman")
    data, resource = (open(path, "rb").read() for path in sys.argv[2:4])
    head = bytearray(128)
    head[1 : 2 + len(name)] = bytes([len(name)]) + name
    head[65:74] = b"APPLDaCa\x20"
    struct.pack_into(">4I", head, 83, len(data), len(resource), 2800000000, 3000000000)
    # The version, and the lowest that can read it.
    head[122:124] = b"\x81\x81"
    struct.pack_into(">H", head, 124, binascii.crc_hqx(bytes(head[:124]), 0))
    sys.stdout.buffer.write(bytes(head) + padded(data) + padded(resource))


main()
