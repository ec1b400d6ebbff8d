"""The oracle of what is known by name only: what blkid prints."""

import subprocess
import sys


def facts(image, arguments, facts):
    facts["understood"] = False
    facts["because"] = "it is known by name only"
    if "blkid" in facts:
        # Given, because the one at hand is older than what it would have to know.
        return
    facts["blkid"] = {}
    for name in ("TYPE", "VERSION", "LABEL", "UUID"):
        # As values: in lists, blkid replaces what is not ASCII.
        done = subprocess.run(["blkid", "-p", "-o", "value", "-s", name, image], capture_output=True)
        value = done.stdout.decode().strip()
        if value:
            facts["blkid"][name] = value
    if "TYPE" not in facts["blkid"]:
        sys.exit(f"facts_foreign.py: blkid -p {image} finds nothing")
