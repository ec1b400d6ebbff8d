"""The used map of a FAT filesystem, decoded independently of dacapo.

partclone's map is wrong on FAT12 and with 4096-byte sectors, and no other tool prints one. So the
map is decoded here, straight from the specification, and its counts are held against fsck.fat.
"""

import os
import re
import struct
import subprocess
import sys

BAD = {12: 0xFF7, 16: 0xFFF7, 32: 0x0FFFFFF7}


class Fat:
    """Geometry and allocation tables of one filesystem."""

    def __init__(self, image):
        with open(image, "rb") as disk:
            boot = disk.read(4096)
            self.sector = struct.unpack_from("<H", boot, 11)[0]
            self.cluster = boot[13] * self.sector
            reserved = struct.unpack_from("<H", boot, 14)[0]
            self.copies = boot[16]
            root_entries = struct.unpack_from("<H", boot, 17)[0]
            sectors = struct.unpack_from("<H", boot, 19)[0] or struct.unpack_from("<I", boot, 32)[0]
            fat_sectors = struct.unpack_from("<H", boot, 22)[0] or struct.unpack_from("<I", boot, 36)[0]
            root_sectors = -(-root_entries * 32 // self.sector)
            data_sector = reserved + self.copies * fat_sectors + root_sectors
            self.length = sectors * self.sector
            self.data = data_sector * self.sector
            self.clusters = (sectors - data_sector) // boot[13]
            # Linux, mtools and fsck.fat tell FAT32 by this field, whatever the number of clusters.
            is_fat32 = struct.unpack_from("<H", boot, 22)[0] == 0
            self.bits = 32 if is_fat32 else 12 if self.clusters < 4085 else 16
            self.fats = []
            for copy in range(self.copies):
                disk.seek((reserved + copy * fat_sectors) * self.sector)
                self.fats.append(disk.read(fat_sectors * self.sector))

    def entry(self, fat, cluster):
        if self.bits == 12:
            pair = struct.unpack_from("<H", fat, cluster + cluster // 2)[0]
            return pair >> 4 if cluster & 1 else pair & 0xFFF
        if self.bits == 16:
            return struct.unpack_from("<H", fat, cluster * 2)[0]
        return struct.unpack_from("<I", fat, cluster * 4)[0] & 0x0FFFFFFF

    def clusters_where(self, test):
        return [c for c in range(2, self.clusters + 2) if test([self.entry(f, c) for f in self.fats])]

    def used(self):
        """Everything in front of the clusters, and each cluster that is not zero in some copy."""
        ranges = [[0, self.data]]
        for cluster in self.clusters_where(any):
            at = self.data + (cluster - 2) * self.cluster
            if ranges[-1][0] + ranges[-1][1] == at:
                ranges[-1][1] += self.cluster
            else:
                ranges.append([at, self.cluster])
        behind = self.data + self.clusters * self.cluster
        if behind < self.length:
            if ranges[-1][0] + ranges[-1][1] == behind:
                ranges[-1][1] += self.length - behind
            else:
                ranges.append([behind, self.length - behind])
        return ranges


def check_with_fsck(image, fat):
    """fsck.fat counts the used clusters of the first copy; the decoder has to agree."""
    done = subprocess.run(["fsck.fat", "-n", "-v", image], capture_output=True, text=True)
    found = re.search(r"(\d+)/(\d+) clusters", done.stdout)
    if not found or done.returncode != 0:
        # With a fault in it, what fsck.fat counts is what it would have after its repairs.
        return done, False
    bad = len(fat.clusters_where(lambda entries: entries[0] == BAD[fat.bits]))
    first = len(fat.clusters_where(lambda entries: entries[0] != 0))
    if int(found[2]) != fat.clusters or int(found[1]) not in (first, first - bad):
        sys.exit(
            f"fat_map.py: {image}: fsck.fat counts {found[1]} of {found[2]} clusters, "
            f"the decoder {first} ({bad} of them bad) of {fat.clusters}"
        )
    return done, True


def facts(image):
    fat = Fat(image)
    done, counted = check_with_fsck(image, fat)
    return {
        "filesystem_length": fat.length,
        "fat_bits": fat.bits,
        "block_size": fat.cluster,
        "sector_size": fat.sector,
        "copies": fat.copies,
        "block_count": fat.clusters,
        "used_blocks": len(fat.clusters_where(any)),
        "free_blocks": fat.clusters - len(fat.clusters_where(any)),
        "counted_by_fsck": counted,
        "fsck_exit": done.returncode,
        "used": fat.used(),
    }


if __name__ == "__main__":
    print(facts(os.path.abspath(sys.argv[1])))
