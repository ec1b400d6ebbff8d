"""What hfsutils say of an HFS volume: its folders and files, one JSON object a line.

    hfs_judge.py IMAGE [PARTITION]

Names, kinds, flags and the lengths of both forks are those that hls prints; the forks themselves, the
dates and what the Finder keeps come out of the MacBinary files that hcopy makes. Names are decoded
by Python. A slash in a name is a colon here, as everything that reads these volumes on a Unix has it.
"""
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

# Where hls begins the date of a line, and the name.
DATE, NAME = 33, 46


def shown(name):
    return name.decode("mac_roman").replace("/", ":")


class Judge:
    def __init__(self, home):
        self.home = home

    def call(self, *command, may_fail=False):
        done = subprocess.run(command, env={**os.environ, "HOME": self.home, "TZ": "UTC"}, capture_output=True)
        if done.returncode != 0 and not may_fail:
            sys.exit(f"hfs_judge.py: {command} failed: {done.stderr!r}")
        return done.stdout

    def walk(self, folder, path):
        """`folder` is its name for hfsutils, with a colon at its end."""
        files, folders = {}, []
        for line in self.call("hls", "-alN", folder).split(b"\n"):
            if not line:
                continue
            name, kind = line[NAME:], line[:1]
            found = {"path": path + shown(name), "invisible": line[1:2] == b"i"}
            if kind == b"d":
                found["listed"] = line[DATE : NAME - 1].decode().strip()
                folders.append(name)
            else:
                resource, data = line[12:32].split()
                found |= {"locked": kind == b"F", "type": line[3:7].hex(), "creator": line[8:12].hex(),
                          "lengths": [int(data), int(resource)]}
            files[name] = found
        if len(files) > len(folders):
            # It complains that it copies no folders.
            self.copy(files, folder + b"*", may_fail=True)
        for name, found in files.items():
            if "listed" not in found and "data" not in found:
                # What is invisible no pattern means.
                self.copy(files, folder + name)
            print(json.dumps(found))
        for name in folders:
            self.walk(folder + name + b":", path + shown(name) + "/")

    def copy(self, files, what, may_fail=False):
        with tempfile.TemporaryDirectory() as out:
            self.call("hcopy", "-m", what, out, may_fail=may_fail)
            for entry in os.listdir(os.fsencode(out)):
                with open(os.path.join(os.fsencode(out), entry), "rb") as file:
                    self.unpack(files, file.read())

    def unpack(self, files, macbinary):
        name = macbinary[2 : 2 + macbinary[1]]
        data, resource, created, modified = struct.unpack_from(">4I", macbinary, 83)
        end = 128 + data
        start = (end + 127) // 128 * 128
        found = files[name]
        if found["lengths"] != [data, resource] or len(macbinary) < start + resource:
            sys.exit(f"hfs_judge.py: {found}: MacBinary has other lengths")
        found["data"] = hashlib.sha256(macbinary[128:end]).hexdigest()
        found["resource"] = hashlib.sha256(macbinary[start : start + resource]).hexdigest()
        # Seconds since 1904, which are those of a clock on a wall.
        found["created"], found["modified"] = created, modified


def main():
    with tempfile.TemporaryDirectory() as home:
        judge = Judge(home)
        # They open a volume for writing, and mend one that was not unmounted.
        copy = shutil.copy(sys.argv[1], os.path.join(home, "volume"))
        judge.call("hmount", copy, *sys.argv[2:])
        judge.walk(b":", "")
        judge.call("humount")


main()
