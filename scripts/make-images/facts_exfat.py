"""The oracle of exFAT: the map of partclone.exfat, and the geometry that dump.exfat prints."""

import os
import re
import subprocess
import sys
import tempfile


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"facts_exfat.py: {' '.join(command)} failed: {done.stdout}{done.stderr}")
    return done.stdout


def partclone(image):
    """The used ranges by partclone, from its domain map."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "map")
        run("partclone.exfat", "-D", "-q", "-s", image, "-o", path, "-L", path + ".log")
        ranges = []
        with open(path) as file:
            for line in file:
                fields = line.split()
                if len(fields) == 3 and fields[2] == "+":
                    ranges.append([int(fields[0], 16), int(fields[1], 16)])
    length = os.path.getsize(image)
    # The domain map may reach a sector too far.
    return [[at, min(size, length - at)] for at, size in ranges if at < length]


def dump(image):
    text = run("dump.exfat", image)

    def number(name):
        found = re.search(rf"^{re.escape(name)}\D*?\s(\d+)\s*$", text, re.MULTILINE)
        if not found:
            sys.exit(f"facts_exfat.py: dump.exfat says nothing of {name}")
        return int(found.group(1))

    return {
        "sectors": number("Volume Length(sectors):"),
        "bits": number("Sector Size Bits:"),
        "per_cluster": number("Sector per Cluster bits:"),
        "clusters": number("Cluster Count:"),
        "free": number("Free Clusters:"),
        "heap": number("Cluster Heap Offset (sector offset):"),
    }


def facts(image, arguments, facts):
    """With --replayed IMAGE that one is asked: it is the same volume before what the programs do
    not understand was done to it."""
    asked = arguments.replayed or image
    if facts.get("understood") is False:
        # All of it has to be stored; a program that reads the rest of it is not always there.
        return
    found = dump(asked)
    sector = 1 << found["bits"]
    used = partclone(asked)
    facts["filesystem_length"] = found["sectors"] * sector
    facts["block_size"] = sector
    facts["cluster_size"] = sector << found["per_cluster"]
    facts["free_clusters"] = found["free"]
    facts["used"] = used
    # Two statements of two programs: the bits and their count.
    total = sum(size for _, size in used)
    expected = found["sectors"] * sector - found["free"] * facts["cluster_size"]
    if abs(total - expected) > facts["cluster_size"] + 2 * sector:
        sys.exit(
            f"facts_exfat.py: {image}: by partclone {total} bytes are used, "
            f"by dump.exfat {expected}"
        )
