"""The captures that the benchmark's traffic comes from, made by pktgen and put together here."""

import itertools
import os
import struct
import subprocess

from adversarial import HASHES, colliding

FILE_HEADER_LEN = 24
RECORD_HEADER = struct.Struct("<IIII")
# pktgen's own: the clients' network, the VIP and its port.
CLIENTS, VIP, VIP_PORT = 0xC6120000, 0xC000020A, 80
# As many bits of a hash as pick a bucket in tables of some thousand buckets and more.
COLLIDING_BITS = 16
# Rounds of established traffic in a capture with a flood.
ROUNDS_OF_FLOODED = 3


class CaptureError(Exception):
    """A capture cannot be made."""


def records(path):
    """The file header, and each frame with its record header."""
    with open(path, "rb") as file:
        data = file.read()
    found, at = [], FILE_HEADER_LEN
    while at < len(data):
        end = at + RECORD_HEADER.size + RECORD_HEADER.unpack_from(data, at)[2]
        found.append(data[at:end])
        at = end
    return data[:FILE_HEADER_LEN], found


def write(path, header, frames):
    """A capture of these records."""
    with open(path, "wb") as file:
        file.write(header)
        file.writelines(frames)
    return path


def with_checksum_change(frame, at, old, new):
    """Sets a 16-bit checksum right for one 16-bit word that changed (RFC 1624)."""
    checksum = struct.unpack_from(">H", frame, at)[0]
    total = (~checksum & 0xFFFF) + (~old & 0xFFFF) + new
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into(">H", frame, at, ~total & 0xFFFF)


def l4_offset(frame):
    """Where TCP or UDP begins in a record without VLAN, IP options and extension headers."""
    ethertype = frame[RECORD_HEADER.size + 12:RECORD_HEADER.size + 14]
    return RECORD_HEADER.size + 14 + (20 if ethertype == b"\x08\x00" else 40)


def as_fin(record):
    """The same TCP segment with FIN and ACK in place of its flags."""
    frame, at = bytearray(record), l4_offset(record)
    old = struct.unpack_from(">H", frame, at + 12)[0]
    new = old & 0xFF00 | 0x11
    struct.pack_into(">H", frame, at + 12, new)
    with_checksum_change(frame, at + 16, old, new)
    return bytes(frame)


def as_reply(record, own_mac):
    """What the receiver of a packet would answer, by its addresses and ports; no checksum changes by this."""
    l4 = l4_offset(record)
    l3 = RECORD_HEADER.size + 14
    length = 4 if l4 - l3 == 20 else 16
    addresses = l4 - 2 * length
    src, dst = record[addresses:addresses + length], record[addresses + length:l4]
    mac = RECORD_HEADER.size
    return b"".join((record[:mac], own_mac, record[mac + 6:addresses], dst, src,
                     record[l4 + 2:l4 + 4], record[l4:l4 + 2], record[l4 + 4:]))


class Captures:
    """Makes captures in a directory, each one once."""

    def __init__(self, pktgen, directory):
        self.pktgen, self.directory = pktgen, directory

    def forget(self):
        """Removes all captures: together they would take gigabytes."""
        for name in os.listdir(self.directory):
            if name.endswith(".pcap"):
                os.remove(os.path.join(self.directory, name))

    def path(self, name):
        """Where the capture of this name is."""
        return os.path.join(self.directory, name + ".pcap")

    def pktgen_pcap(self, name, flows, protocol, family, kind=None, seed=1):
        """One packet of each flow."""
        path = self.path(name)
        if os.path.exists(path):
            return path
        command = [self.pktgen, "pcap", "--out", path, "--flows", str(flows), "--packets", str(flows),
                   "--protocol", protocol, "--family", str(family), "--seed", str(seed)]
        result = subprocess.run(command + (["--kind", kind] if kind else []), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise CaptureError(f"pktgen pcap fails: {result.stderr.strip()}")
        return path

    def established(self, flows, protocol, family):
        """Packets in the middle of connections."""
        kind = "established" if protocol == "tcp" else None
        return self.pktgen_pcap(f"est-{protocol}{family}-{flows}", flows, protocol, family, kind)

    def syns(self, flows, protocol, family, seed=1):
        """First packets of connections; seed 1 has the flows that `established` has."""
        kind = "syn" if protocol == "tcp" else None
        return self.pktgen_pcap(f"syn-{protocol}{family}-{flows}-{seed}", flows, protocol, family, kind, seed)

    def opened_and_closed(self, flows, family):
        """SYN and FIN in turn: every second packet opens a connection, however often the capture comes."""
        path = self.path(f"life-tcp{family}-{flows}")
        if not os.path.exists(path):
            header, syns = records(self.syns(flows, "tcp", family))
            write(path, header, interleave(syns, half_a_round_later([as_fin(syn) for syn in syns])))
        return path

    def mixed(self, flows, family):
        """Of ten packets eight are of established connections, one opens another connection and one closes it."""
        path = self.path(f"mix-tcp{family}-{flows}")
        if not os.path.exists(path):
            header, data = records(self.established(flows, "tcp", family))
            _, syns = records(self.syns(max(flows // 8, 8), "tcp", family, seed=2))
            write(path, header, interleave(data, syns, half_a_round_later([as_fin(syn) for syn in syns])))
        return path

    def flooded(self, name, established, protocol, family, share):
        """Established traffic with new flows mixed in, `share` of all packets, each from its own client; and as much
        without them."""
        flooded, plain = self.path(name), self.path(name + "-plain")
        if not (os.path.exists(flooded) and os.path.exists(plain)):
            header, data = records(established)
            flood = round(ROUNDS_OF_FLOODED * len(data) * share / (1 - share))
            _, first = records(self.syns(flood, protocol, family, seed=3))
            # Two rounds without flood: by the second packet a connection is established, and the table is full of them.
            mixed = data * (ROUNDS_OF_FLOODED - 1) + evenly(data, first)
            write(flooded, header, mixed)
            write(plain, header, itertools.islice(itertools.cycle(data), len(mixed)))
        return flooded, plain

    def colliding(self, hash_name, flows):
        """One packet of each of so many flows that collide under an unkeyed hash."""
        path = self.path(f"adv-{hash_name}-{flows}")
        if not os.path.exists(path):
            header, data = records(self.established(flows, "udp", 4))
            chosen = colliding(HASHES[hash_name], COLLIDING_BITS, flows, CLIENTS, VIP, VIP_PORT)
            write(path, header, [from_client(record, *flow) for record, flow in zip(data, chosen)])
        return path

    def first_of(self, capture, flows):
        """The first packets of a capture of packets of one length, without reading the rest."""
        path = capture[:-5] + f"-first-{flows}.pcap"
        if not os.path.exists(path):
            with open(capture, "rb") as file, open(path, "wb") as out:
                header = file.read(FILE_HEADER_LEN + RECORD_HEADER.size)
                out.write(header)
                length = RECORD_HEADER.unpack_from(header, FILE_HEADER_LEN)[2]
                out.write(file.read(flows * (RECORD_HEADER.size + length) - RECORD_HEADER.size))
        return path

    def halves(self, capture):
        """Two captures with every second packet of this one."""
        paths = [capture[:-5] + f"-{half}.pcap" for half in "ab"]
        if not all(map(os.path.exists, paths)):
            header, frames = records(capture)
            for number, path in enumerate(paths):
                write(path, header, frames[number::2])
        return paths

    def with_replies(self, name, requests, translated, own_mac):
        """Each request and the backend's answer to it; `translated` is the capture of the requests as backends get them."""
        path = self.path(name)
        header, frames = records(requests)
        _, sent = records(translated)
        if len(frames) != len(sent):
            raise CaptureError(f"{len(sent)} of {len(frames)} requests reach a backend in replay")
        mac = bytes.fromhex(own_mac.replace(":", ""))
        pairs = zip(frames, (as_reply(record, mac) for record in sent))
        return write(path, header, [record for pair in pairs for record in pair])


def from_client(record, address, port):
    """The same IPv4 UDP packet from another client."""
    frame, l4 = bytearray(record), l4_offset(record)
    l3, checksums = l4 - 20, {l4 - 20 + 10: (l4 - 8, l4 - 6), l4 + 6: (l4 - 8, l4 - 6, l4)}
    changed = {l3 + 12: address >> 16, l3 + 14: address & 0xFFFF, l4: port}
    for checksum, places in checksums.items():
        for at in places:
            with_checksum_change(frame, checksum, struct.unpack_from(">H", record, at)[0], changed[at])
    for at, word in changed.items():
        struct.pack_into(">H", frame, at, word)
    return bytes(frame)


def evenly(data, extra):
    """All of both, the shorter one spread over the longer."""
    long, few = (data, extra) if len(data) >= len(extra) else (extra, data)
    cuts = [number * len(long) // len(few) for number in range(len(few) + 1)]
    return list(itertools.chain.from_iterable(
        [*long[start:end], one] for start, end, one in zip(cuts, cuts[1:], few)))


def half_a_round_later(frames):
    """The same, turned by half, so that each comes half a round after its place."""
    half = len(frames) // 2
    return frames[half:] + frames[:half]


def interleave(data, *others):
    """After every `len(data) / len(other)` records of `data` one of each of the others."""
    step = len(data) // len(others[0])
    mixed = []
    for number, extra in enumerate(zip(*others)):
        mixed += data[number * step:(number + 1) * step]
        mixed += extra
    return mixed
