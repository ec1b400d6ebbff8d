#!/usr/bin/env python3
# Samples of LZFSE, packed by Apple's reference (PyPI: lzfse): tests/files/lzfse.bin.
#
#   scripts/make-images/lzfse_samples.py OUT
#
# Of each its length, that of the packed one, both as 32-bit numbers, and the packed one. What they
# unpack to is made anew by the test in src/fs/decmpfs/lzfse.rs.
import struct
import sys

import lzfse


def numbers(seed):
    state = seed
    while True:
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        yield state >> 16


def lines(length):
    text = b"".join(b"this is line %d of some text\n" % n for n in range(length // 20))
    return text[:length]


def noise(length):
    source = numbers(length)
    return bytes(next(source) & 0xFF for _ in range(length))


def skewed(length):
    """Letters of which some are frequent, and pieces that were there before."""
    source, out = numbers(length), bytearray()
    while len(out) < length:
        number = next(source)
        if number % 7 == 0 and len(out) > 100:
            start = next(source) % (len(out) - 90)
            out += out[start : start + next(source) % 80 + 4]
        else:
            out.append(97 + min(number % 5 * (number >> 8) % 26, 25))
    return bytes(out[:length])


samples = [lines(100), lines(3000), lines(65536), noise(900), noise(5000), skewed(5000)]
samples += [skewed(20000), bytes(65536), skewed(30000)[:10000] + noise(6000) + lines(20000)]
with open(sys.argv[1], "wb") as out:
    for sample in samples:
        packed = lzfse.compress(sample)
        assert lzfse.decompress(packed) == sample
        print(len(sample), len(packed), packed[:4], file=sys.stderr)
        out.write(struct.pack("<II", len(sample), len(packed)) + packed)
