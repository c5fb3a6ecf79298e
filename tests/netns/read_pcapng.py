#!/usr/bin/env python3
"""Reads a pcapng file without the product's code: one JSON object with interfaces, packets and statistics."""

import json
import struct
import sys


def options(data):
    """Values by code; all of them are used once."""
    found = {}
    while len(data) >= 4:
        code, length = struct.unpack_from("<HH", data)
        if code == 0:
            break
        found[code] = data[4:4 + length]
        data = data[4 + (length + 3) // 4 * 4:]
    return found


def blocks(data):
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        assert length % 4 == 0 and at + length <= len(data), f"block at {at} is cut"
        assert struct.unpack_from("<I", data, at + length - 4)[0] == length, f"block at {at}: two lengths"
        yield kind, data[at + 8:at + length - 4]
        at += length


def packet(body, interfaces):
    interface, high, low, kept, length = struct.unpack_from("<IIIII", body)
    extra = options(body[20 + (kept + 3) // 4 * 4:])
    return {
        "interface": interfaces[interface]["name"],
        "ns": high << 32 | low,
        "len": length,
        "hex": body[20:20 + kept].hex(),
        "comment": extra[1].decode(),
        "direction": struct.unpack("<I", extra[2])[0] & 3,
        "id": struct.unpack("<Q", extra[5])[0],
    }


def read(data):
    result = {"interfaces": [], "packets": [], "received": 0, "dropped": 0, "statistics": 0}
    for kind, body in blocks(data):
        if kind == 0x0A0D0D0A:
            assert struct.unpack_from("<IHH", body) == (0x1A2B3C4D, 1, 0)
        elif kind == 1:
            link, _, snaplen = struct.unpack_from("<HHI", body)
            extra = options(body[8:])
            assert (link, extra[9]) == (1, b"\x09")
            result["interfaces"].append({"name": extra[2].decode(), "snaplen": snaplen, "filter": extra.get(11, b"\0")[1:].decode()})
        elif kind == 6:
            result["packets"].append(packet(body, result["interfaces"]))
        elif kind == 5:
            extra = options(body[12:])
            result["statistics"] += 1
            result["received"] += struct.unpack("<Q", extra[4])[0]
            result["dropped"] += struct.unpack("<Q", extra[5])[0]
        else:
            raise AssertionError(f"block of type {kind}")
    return result


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        print(json.dumps(read(file.read())))
