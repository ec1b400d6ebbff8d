#!/usr/bin/env python3
"""The files of an F2FS without a kernel that knows it: fsck.f2fs lists them, dump.f2fs reads them.

    f2fs_read.py IMAGE FOLDER
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile


def tree(image):
    """Path and inode of everything that is listed."""
    done = subprocess.run(["fsck.f2fs", "-t", "--dry-run", image], capture_output=True)
    stack, found = [], []
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        entry = re.match(r"^((?:\|   )*)\|-- (.*) <ino = 0x([0-9a-f]+)>, <encrypted \(", line)
        if entry:
            depth = len(entry[1]) // 4
            stack = stack[:depth] + [entry[2]]
            found.append(("/".join(stack), int(entry[3], 16)))
    return found


def main():
    image, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    for path, inode in tree(image):
        with tempfile.TemporaryDirectory() as work:
            # It asks before it writes a file, and writes no folders and no links.
            subprocess.run(
                ["dump.f2fs", "-i", hex(inode), image],
                cwd=work,
                input=b"y\n" * 8,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            dumped = os.path.join(work, "lost_found")
            names = os.listdir(dumped) if os.path.isdir(dumped) else []
            if len(names) == 1:
                target = os.path.join(folder, path)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.move(os.path.join(dumped, names[0]), target)


if __name__ == "__main__":
    main()
