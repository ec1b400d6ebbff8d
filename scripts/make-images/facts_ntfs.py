"""What ntfsinfo and partclone say of an NTFS volume."""

import os
import re
import subprocess
import sys
import tempfile


def facts(image, arguments, facts):
    # A volume that is cut short or damaged cannot be asked; the one before it was can.
    asked = arguments.replayed or image
    info = subprocess.run(["ntfsinfo", "-f", "-m", asked], capture_output=True, text=True)
    if info.returncode != 0:
        sys.exit(f"facts.py: ntfsinfo {asked}: {info.stderr.strip()}")

    def number(what):
        found = re.search(rf"^\s*{re.escape(what)}: *(\d+)", info.stdout, re.MULTILINE)
        if not found:
            sys.exit(f"facts.py: ntfsinfo says nothing of {what}")
        return int(found.group(1))

    cluster, clusters = number("Cluster Size"), number("Volume Size in Clusters")
    length = cluster * clusters
    used = partclone(asked, length)
    if clusters - number("Free Clusters") != sum(size for _, size in used) // cluster:
        sys.exit("facts.py: ntfsinfo and partclone do not agree how much is free")
    facts.update(
        {
            # What is behind the last cluster belongs to none: the backup boot sector.
            "filesystem_length": length,
            "block_size": cluster,
            "uuid": blkid(asked, "UUID"),
            "label": blkid(asked, "LABEL"),
            "used": used,
        }
    )


def blkid(image, field):
    done = subprocess.run(
        ["blkid", "-p", "-o", "value", "-s", field, image], capture_output=True, text=True
    )
    return done.stdout.strip()


def partclone(image, length):
    """The domain map: $Bitmap as partclone reads it, cut at the last cluster."""
    with tempfile.TemporaryDirectory() as folder:
        path, log = os.path.join(folder, "map"), os.path.join(folder, "log")
        done = subprocess.run(
            ["partclone.ntfs", "-D", "-q", "-I", "-s", image, "-o", path, "-L", log],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            sys.exit(f"facts.py: partclone.ntfs {image}: {done.stderr.strip()}")
        used = []
        with open(path) as file:
            for line in file:
                parts = line.split()
                if len(parts) == 3 and parts[2] == "+":
                    first, size = int(parts[0], 16), int(parts[1], 16)
                    size = min(size, length - first)
                    if size > 0:
                        used.append([first, size])
        return used
