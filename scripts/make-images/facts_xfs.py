"""What xfs_db says of an image of XFS.

It counts the blocks of the AGFL, which wait to be used by the free-space trees, among the free ones.
With a log to replay it reads the disk as it is.
"""

import re
import subprocess
import sys


def xfs_db(image, *commands):
    arguments = []
    for command in commands:
        arguments += ["-c", command]
    done = subprocess.run(["xfs_db", "-r", *arguments, image], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"facts_xfs.py: xfs_db {image}: {done.stderr.strip()}")
    return done.stdout


class Xfs:
    """The superblock and the free ranges."""

    def __init__(self, image):
        text = xfs_db(image, "sb 0", "p")
        self.fields = dict(re.findall(r"^(\w+) = (.*)$", text, re.MULTILINE))
        self.block_size = int(self.fields["blocksize"])
        self.blocks = int(self.fields["dblocks"])
        self.group_blocks = int(self.fields["agblocks"])
        self.groups = int(self.fields["agcount"])
        self.length = self.blocks * self.block_size
        self.free = self.free_ranges(image)

    def free_ranges(self, image):
        ranges = []
        lines = xfs_db(image, "freesp -d").splitlines()
        if not lines or lines[0].split() != ["agno", "agbno", "len"]:
            sys.exit(f"facts_xfs.py: {image}: xfs_db lists no free ranges")
        for line in lines[1:]:
            words = line.split()
            if words[0] == "from":
                break
            group, first, count = map(int, words)
            first += group * self.group_blocks
            ranges.append([first * self.block_size, count * self.block_size])
        return sorted(ranges)

    def used(self):
        from __main__ import complement

        return complement(self.free, self.length)


def facts(image, arguments, facts):
    from __main__ import missing, total

    readable = facts.pop("oracle", True)
    if not readable:
        return
    found = Xfs(image)
    # "versionnum [0xb4b5+0x18a] = V5,NLINK,DIRV2,..."
    version = xfs_db(image, "version")
    facts.update(
        {
            "filesystem_length": found.length,
            "block_size": found.block_size,
            "block_count": found.blocks,
            "group_count": found.groups,
            "features": version.split(" = ")[-1].strip().lower().split(","),
            "uuid": found.fields["uuid"],
            "label": found.fields["fname"].strip('"').split("\\000")[0],
            "used": found.used(),
        }
    )
    facts.setdefault("state", "dirty" if arguments.replayed else "clean")
    if arguments.replayed:
        facts["used_after_replay"] = Xfs(arguments.replayed).used()
        facts["allocated_by_replay"] = total(missing(facts["used_after_replay"], facts["used"]))
