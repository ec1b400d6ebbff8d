"""What dump.f2fs says of an F2FS. Its map is held against the one of partclone.f2fs."""

import os
import re
import subprocess
import sys
import tempfile

BLOCK = 4096
SEGMENT = 512


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"facts_f2fs.py: {' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


class F2fs:
    def __init__(self, image):
        self.image = os.path.abspath(image)
        with tempfile.TemporaryDirectory() as work:
            self.text = run("dump.f2fs", "-d", "1", self.image, cwd=work)
            segments = self.number("segment_count_main")
            run("dump.f2fs", "-s", f"0~{segments}", self.image, cwd=work)
            with open(os.path.join(work, "dump_sit")) as file:
                self.sit = file.read()
        self.segments = segments
        self.main = self.number("main_blkaddr")

    def number(self, name):
        found = re.findall(rf"^{re.escape(name)}\s+\[0x *[0-9a-f]+ : (\d+)\]", self.text, re.M)
        if not found:
            sys.exit(f"facts_f2fs.py: dump.f2fs says nothing of {name}")
        return int(found[-1])

    def valid(self):
        """Blocks of the main area that are in use."""
        blocks, seen = [], 0
        for part in self.sit.split("segno:")[1:]:
            head = re.match(r"\s*(\d+)\s+vblocks:\s*(\d+)", part)
            segment, count = int(head[1]), int(head[2])
            seen += 1
            bits = "".join(
                f"{int(byte, 16):08b}" for byte in re.findall(r"^  ((?:[0-9a-f]{2}\s*)+)$", part, re.M)
                for byte in byte.split()
            )
            if segment >= self.segments:
                continue
            if bits.count("1") != count:
                sys.exit(f"facts_f2fs.py: segment {segment}: {count} blocks, bitmap {bits}")
            start = self.main + segment * SEGMENT
            blocks += [start + n for n, bit in enumerate(bits) if bit == "1"]
        if seen < self.segments:
            sys.exit(f"facts_f2fs.py: dump.f2fs printed {seen} of {self.segments} segments")
        return blocks

    def read_on(self):
        """Free blocks that a mount looks at: the log of warm nodes to the end of its segment,
        where it would find fsynced files; and the next block of each other log."""
        blocks = []
        for kind in ("node", "data"):
            for log in range(3):
                segment = self.number(f"cur_{kind}_segno[{log}]")
                next_one = self.number(f"cur_{kind}_blkoff[{log}]")
                start = self.main + segment * SEGMENT
                warm = (kind, log) == ("node", 1)
                end = SEGMENT if warm else next_one + 1
                blocks += [start + n for n in range(next_one, end)]
        return blocks


def ranges(blocks):
    found = []
    for block in sorted(set(blocks)):
        if found and sum(found[-1]) == block:
            found[-1][1] += 1
        else:
            found.append([block, 1])
    return [[first * BLOCK, count * BLOCK] for first, count in found]


def partclone(image):
    """Blocks that partclone.f2fs calls used."""
    with tempfile.TemporaryDirectory() as work:
        target = os.path.join(work, "map")
        log = os.path.join(work, "log")
        run("partclone.f2fs", "-D", "-q", "-s", image, "-o", target, "-L", log)
        with open(target) as file:
            lines = file.read().splitlines()
    blocks = set()
    for line in lines:
        part = re.match(r"^(0x[0-9A-F]+)\s+(0x[0-9A-F]+)\s+\+$", line)
        if part:
            first, size = int(part[1], 16), int(part[2], 16)
            blocks.update(range(first // BLOCK, (first + size) // BLOCK))
    return blocks


def facts(image, arguments, facts):
    if facts["understood"] is not True and facts.get("unreadable"):
        return
    found = F2fs(image)
    main_end = found.main + found.segments * SEGMENT
    valid = found.valid()
    used = list(range(found.main)) + valid
    # It knows none below 100 MiB, and none with bitmaps behind the checksum.
    large_nat = found.number("ckpt_flags") & 0x400
    if facts["understood"] and facts["length"] >= 100 << 20 and not large_nat:
        theirs = {block for block in partclone(image) if found.main <= block < main_end}
        if theirs != set(valid):
            differs = sorted(theirs ^ set(valid))
            sys.exit(f"facts_f2fs.py: {image}: partclone's map differs in blocks {differs[:10]}")
    if facts["understood"]:
        used += found.read_on()
    facts.update(
        {
            "block_size": BLOCK,
            "filesystem_length": main_end * BLOCK,
            "used": ranges(used),
            "checkpoint_flags": found.number("ckpt_flags"),
            "features": re.findall(r"superblock features = \w+ :(.*)$", found.text, re.M)[0].split(),
        }
    )
