#!/usr/bin/env python3
"""A capture for `tidegate replay`, and the check of what came out of it.

make DIR    writes DIR/in.pcap (300 short connections in one second), DIR/tidegate.toml (a GRE service with three
            backends) and DIR/events.jsonl (backend s2 goes down half-way)
check DIR   reads DIR/out.pcap: each packet in a GRE packet to one backend, unchanged, a connection always to the same
            one, all three in use, no new connection to s2 once it is down. Prints the spread; exit status 1 with the reason
"""

import collections
import json
import os
import struct
import sys

CONNECTIONS = 300
DOWN_AT = 0.5
BACKENDS = {"s1": "10.1.0.11", "s2": "10.1.0.12", "s3": "10.1.0.13"}
PORT_MAC, ROUTER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:fe"
VIP = "192.0.2.10"

CONFIG = """\
[dataplane]
workers = 1
connections = 10_000
hash_key = "000102030405060708090a0b0c0d0e0f"

[[port]]
name = "net"
device = "net_null0"
addresses = ["10.1.0.2/24"]
gateway = "10.1.0.254"
mac = "{mac}"
neighbors = {{ {neighbors} }}

[[service]]
name = "web"
vip = "{vip}"
port = 80
protocol = "tcp"
mode = "gre"
scheduler = "maglev"
"""


def mac(text):
    """Six bytes of a MAC address."""
    return bytes.fromhex(text.replace(":", ""))


def ipv4(text):
    """Four bytes of an IPv4 address."""
    return bytes(int(part) for part in text.split("."))


def checksum(data):
    """RFC 1071, of any length."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tcp_packet(source, sport, flags, payload=b""):
    """An IPv4 packet to the VIP with right checksums."""
    segment = struct.pack("!HHIIBBHHH", sport, 80, 1000, 0, 0x50, flags, 64000, 0, 0) + payload
    pseudo = source + ipv4(VIP) + struct.pack("!BBH", 0, 6, len(segment))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), sport, 0x4000, 63, 6, 0) + source + ipv4(VIP)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + segment


def connections():
    """(start in seconds, the three packets) of every connection."""
    for number in range(CONNECTIONS):
        source, sport = ipv4(f"198.51.100.{1 + number % 100}"), 20000 + number
        request = b"GET /who HTTP/1.1\r\nHost: tidegate\r\n\r\n"
        packets = [tcp_packet(source, sport, 2), tcp_packet(source, sport, 16), tcp_packet(source, sport, 24, request)]
        yield number / CONNECTIONS, packets


def write_pcap(path, packets):
    """Classic pcap, microseconds, Ethernet; PACKETS are (seconds, frame) in time order."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for at, frame in packets:
            file.write(struct.pack("<IIII", 1_700_000_000 + int(at), int(at % 1 * 1e6), len(frame), len(frame)) + frame)


def read_pcap(path):
    """The frames of a classic pcap of this machine's byte order, microseconds or nanoseconds."""
    with open(path, "rb") as file:
        magic, *_, link = struct.unpack("<IHHiIII", file.read(24))
        if magic not in (0xA1B2C3D4, 0xA1B23C4D) or link != 1:
            raise ValueError(f"{path} is not an Ethernet pcap")
        while head := file.read(16):
            yield file.read(struct.unpack("<IIII", head)[2])


def make(folder):
    """Capture, configuration and events."""
    frames = [
        (start + index * 0.0005, mac(PORT_MAC) + mac(ROUTER_MAC) + b"\x08\x00" + packet)
        for start, packets in connections()
        for index, packet in enumerate(packets)
    ]
    write_pcap(os.path.join(folder, "in.pcap"), frames)
    neighbors = {"10.1.0.254": ROUTER_MAC}
    neighbors.update({address: f"02:00:00:00:01:{number:02x}" for number, address in enumerate(BACKENDS.values(), 1)})
    listed = ", ".join(f'"{address}" = "{station}"' for address, station in neighbors.items())
    with open(os.path.join(folder, "tidegate.toml"), "w", encoding="utf-8") as file:
        file.write(CONFIG.format(mac=PORT_MAC, neighbors=listed, vip=VIP))
        for name, address in BACKENDS.items():
            file.write(f'\n[[service.backend]]\nname = "{name}"\naddress = "{address}"\n')
    with open(os.path.join(folder, "events.jsonl"), "w", encoding="utf-8") as file:
        file.write(json.dumps({"at": DOWN_AT, "backend": "web/s2", "state": "down"}) + "\n")


def check(folder):
    """The line with the spread; ValueError with the reason if a packet is not as it must be."""
    names = {ipv4(address): name for name, address in BACKENDS.items()}
    started, expected = {}, collections.Counter()
    for start, packets in connections():
        started[packets[0][12:16] + packets[0][20:22]] = start
        expected.update(packets)
    chosen = {}
    for frame in read_pcap(os.path.join(folder, "out.pcap")):
        outer, inner = frame[14:34], frame[38:]
        if frame[12:14] != b"\x08\x00" or outer[9] != 47 or frame[34:38] != b"\0\0\x08\0" or checksum(outer):
            raise ValueError("a frame that is no GRE packet came out: " + frame.hex())
        if not expected[inner]:
            raise ValueError("an inner packet came out twice, changed or from nowhere: " + inner.hex())
        expected[inner] -= 1
        name = names.get(outer[16:20])
        if name is None:
            raise ValueError("a packet went to an address that is no backend: " + frame.hex())
        connection = inner[12:16] + inner[20:22]
        if chosen.setdefault(connection, name) != name:
            raise ValueError("a connection changed its backend: " + frame.hex())
        if name == "s2" and started[connection] >= DOWN_AT:
            raise ValueError("a new connection went to s2 after it was down: " + frame.hex())
    lost = sum(expected.values())
    if lost:
        raise ValueError(f"{lost} of {3 * CONNECTIONS} packets did not come out")
    spread = collections.Counter(chosen.values())
    if set(spread) != set(BACKENDS):
        raise ValueError(f"not every backend was used: {dict(spread)}")
    return " ".join(f"{name} {spread[name]}" for name in sorted(spread))


def main():
    """Dispatch on the command."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("make", "check"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(make(sys.argv[2]) or "made" if sys.argv[1] == "make" else check(sys.argv[2]))
    except (OSError, ValueError, struct.error, IndexError) as error:
        print(f"replay_capture: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
