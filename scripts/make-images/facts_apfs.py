"""What The Sleuth Kit and partclone say of an APFS container."""

import os
import re
import subprocess
import sys
import tempfile


def run(image, *command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"facts_apfs.py: {image}: {command[0]} failed: {done.stderr.strip()}")
    return done.stdout


def partclone(image):
    """The used ranges of partclone's domain map."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "map")
        run(image, "partclone.apfs", "-D", "-q", "-s", image, "-o", path, "-L", path + ".log")
        with open(path) as file:
            lines = re.findall(r"^0x(\w+)\s+0x(\w+)\s+\+", file.read(), re.MULTILINE)
    return [[int(first, 16), int(size, 16)] for first, size in lines]


def facts(image, arguments, facts):
    # Of a container with something that nobody knows nobody knows what is free.
    if facts["understood"] is False:
        return
    if facts.pop("pstat", True) is False:
        facts["used"] = [[first, size] for first, size in partclone(image) if size]
        return
    text = run(image, "pstat", image)
    number = lambda name: int(re.search(rf"{name}: +(\d+)", text).group(1))
    size, count = number("Block Size"), number("Number of Blocks")
    free = [
        (int(first, 16), int(last, 16) + 1)
        for first, last in re.findall(r"^\|\s+0x(\w+)-0x(\w+)$", text, re.MULTILINE)
    ]
    # Two statements of the same oracle: the bitmaps and the space manager's counter.
    if sum(end - first for first, end in free) != number("Number of Free Blocks"):
        sys.exit(f"facts_apfs.py: {image}: the free blocks of pstat are not as many as it says")
    used, at = [], 0
    for first, end in [*free, (count, count)]:
        if first > at:
            used.append([at * size, (first - at) * size])
        at = end
    if facts.pop("partclone", True):
        theirs = [[first, size] for first, size in partclone(image) if size]
        if theirs != used:
            sys.exit(f"facts_apfs.py: {image}: pstat and partclone do not agree")
    facts.update(
        {
            "filesystem_length": size * count,
            "block_size": size,
            "uuid": re.search(r"^Container (\S+)$", text, re.MULTILINE).group(1),
            "label": ", ".join(re.findall(r"Name \(Role\): (.*) \(", text)),
            "used": used,
        }
    )
    facts.setdefault("state", "clean")
