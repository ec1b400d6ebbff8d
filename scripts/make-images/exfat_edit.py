"""An exFAT volume taken apart as far as the makers of its test images need: to change a flag, an
entry of the FAT or a bit, with the checksum of the boot regions made right again. It is no oracle."""

import struct

END, BAD = 0xFFFFFFFF, 0xFFFFFFF7


def boot_checksum(region):
    total = 0
    for at, byte in enumerate(region):
        if at not in (106, 107, 112):
            total = ((total >> 1 | total << 31) + byte) & 0xFFFFFFFF
    return total


def set_checksum(entries):
    total = 0
    for at, byte in enumerate(entries):
        if at not in (2, 3):
            total = ((total >> 1 | total << 15) + byte) & 0xFFFF
    return total


class Volume:
    def __init__(self, path):
        self.file = open(path, "r+b")
        self.parse()

    def parse(self):
        boot = self.read(0, 512)
        if boot[3:11] != b"EXFAT   ":
            raise SystemExit("exfat_edit.py: not an exFAT volume")
        self.sector = 1 << boot[108]
        self.cluster = self.sector << boot[109]
        self.copies = boot[110]
        self.length = struct.unpack_from("<Q", boot, 72)[0] * self.sector
        fat, fat_length, heap, self.clusters, self.root = struct.unpack_from("<IIIII", boot, 80)
        self.fat, self.fat_length = fat * self.sector, fat_length * self.sector
        self.heap = heap * self.sector
        self.bitmap = self.upcase = None
        for at, entry in self.entries(self.chain(self.root)):
            first, length = struct.unpack_from("<IQ", entry, 20)
            if entry[0] == 0x81 and entry[1] == 0:
                self.bitmap = (self.place(first), length)
            elif entry[0] == 0x82:
                self.upcase = (self.place(first), length)

    def read(self, at, length):
        self.file.seek(at)
        return self.file.read(length)

    def write(self, at, data):
        self.file.seek(at)
        self.file.write(data)
        self.file.flush()

    def place(self, cluster):
        return self.heap + (cluster - 2) * self.cluster

    def entry(self, cluster, copy=0):
        return struct.unpack("<I", self.read(self.fat + copy * self.fat_length + 4 * cluster, 4))[0]

    def put(self, cluster, value, copy=0):
        self.write(self.fat + copy * self.fat_length + 4 * cluster, struct.pack("<I", value))

    def chain(self, first):
        found = [first]
        while self.entry(found[-1]) != END:
            found.append(self.entry(found[-1]))
        return found

    def entries(self, clusters):
        for cluster in clusters:
            data = self.read(self.place(cluster), self.cluster)
            for at in range(0, len(data), 32):
                yield self.place(cluster) + at, data[at : at + 32]

    def is_used(self, cluster):
        byte = self.read(self.bitmap[0] + (cluster - 2) // 8, 1)[0]
        return byte >> (cluster - 2) % 8 & 1 == 1

    def mark(self, cluster, used, bitmap=None):
        at = (bitmap or self.bitmap)[0] + (cluster - 2) // 8
        byte, bit = self.read(at, 1)[0], 1 << (cluster - 2) % 8
        self.write(at, bytes([byte | bit if used else byte & ~bit]))

    def free(self):
        data = self.read(self.bitmap[0], (self.clusters + 7) // 8)
        return [n + 2 for n in range(self.clusters) if not data[n // 8] >> n % 8 & 1]

    def folders(self):
        """Every folder, as the clusters of it."""
        waiting = [self.chain(self.root)]
        while waiting:
            clusters = waiting.pop()
            yield clusters
            for _, is_folder, clusters in self.items(clusters):
                if is_folder and clusters:
                    waiting.append(clusters)

    def items(self, folder):
        """Name, whether it is a folder, and the clusters of everything in a folder."""
        entries = [entry for _, entry in self.entries(folder)]
        for at, entry in enumerate(entries):
            if entry[0] != 0x85:
                continue
            stream = entries[at + 1]
            first, length = struct.unpack_from("<IQ", stream, 20)
            name = b"".join(entries[at + 2 + n][2:] for n in range(-(-stream[3] // 15)))
            count = -(-length // self.cluster)
            if first == 0:
                clusters = []
            elif stream[1] & 2:
                clusters = list(range(first, first + count))
            else:
                clusters = self.chain(first)
            yield name.decode("utf-16-le")[: stream[3]], bool(entry[4] & 0x10), clusters

    def clusters_of(self, wanted):
        for folder in self.folders():
            for name, _, clusters in self.items(folder):
                if name == wanted:
                    return clusters
        raise SystemExit(f"exfat_edit.py: no file {wanted}")

    def is_contiguous(self, wanted):
        for folder in self.folders():
            entries = [entry for _, entry in self.entries(folder)]
            for at, (name, _, _) in zip(
                [n for n, entry in enumerate(entries) if entry[0] == 0x85], self.items(folder)
            ):
                if name == wanted:
                    return bool(entries[at + 1][1] & 2)
        raise SystemExit(f"exfat_edit.py: no file {wanted}")

    def change_boot(self, change, regions=(0, 12)):
        """Calls `change` with the boot sector of each region, and makes the checksum right."""
        for start in regions:
            region = bytearray(self.read(start * self.sector, 11 * self.sector))
            change(region)
            total = struct.pack("<I", boot_checksum(region))
            self.write(start * self.sector, bytes(region) + total * (self.sector // 4))
        self.parse()

    def set_flags(self, flags):
        # Only the main region: nobody keeps the state in the backup.
        self.change_boot(lambda region: struct.pack_into("<H", region, 106, flags), (0,))

    def to_4k_sectors(self):
        """The same volume in sectors of 4096 bytes: all parts are where they were."""
        shift = 12 - (self.sector.bit_length() - 1)
        region = bytearray(self.read(0, 512)) + bytes(4096 - 512)
        length, = struct.unpack_from("<Q", region, 72)
        fat, fat_length, heap = struct.unpack_from("<III", region, 80)
        if fat % 8 or heap % 8 or fat < 24 * 8 or region[109] < shift:
            raise SystemExit("exfat_edit.py: its parts are not on multiples of 4096 bytes")
        struct.pack_into("<Q", region, 72, length >> shift)
        struct.pack_into("<III", region, 80, fat >> shift, -(-fat_length // 8), heap >> shift)
        region[108], region[109] = 12, region[109] - shift
        for _ in range(8):
            region += bytes(4092) + b"\x00\x00\x55\xaa"
        region += bytes(2 * 4096)
        total = struct.pack("<I", boot_checksum(region))
        for start in (0, 12):
            self.write(start * 4096, bytes(region) + total * 1024)
        self.parse()

    def add_second_fat(self):
        """A second FAT behind the first, and a second bitmap in the last free clusters."""
        if self.fat + 2 * self.fat_length > self.heap:
            raise SystemExit("exfat_edit.py: no room for a second FAT")
        count = -(-self.bitmap[1] // self.cluster)
        free = self.free()
        own = free[-count:]
        if own[-1] - own[0] != count - 1:
            raise SystemExit("exfat_edit.py: no contiguous clusters for a second bitmap")
        for cluster, following in zip(own, own[1:] + [END]):
            self.mark(cluster, True)
            self.put(cluster, following)
        self.write(self.fat + self.fat_length, self.read(self.fat, self.fat_length))
        self.write(self.place(own[0]), self.read(*self.bitmap))
        slot = next(at for at, entry in self.entries(self.chain(self.root)) if entry[0] < 0x80)
        self.write(slot, struct.pack("<BB18xIQ", 0x81, 1, own[0], self.bitmap[1]))

        def change(region):
            region[110] = 2

        self.change_boot(change)
        return (self.place(own[0]), self.bitmap[1])
