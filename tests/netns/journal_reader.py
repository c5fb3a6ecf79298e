#!/usr/bin/env python3
"""Stands for journald: takes its native protocol on a socket, and writes each entry to standard output as a line of JSON.

journal_reader.py SOCKET; prints "ready" once it listens. Python's standard library only.
"""

import json
import socket
import sys


def fields(data):
    """`KEY=value` lines, or a key, the length of its value in eight bytes, and the value."""
    entry = {}
    while data:
        line, _, rest = data.partition(b"\n")
        key, separator, value = line.partition(b"=")
        if not separator:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        entry[key.decode()] = value.decode()
        data = rest
    return entry


def main():
    """Read until the end."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(sys.argv[1])
    print("ready", flush=True)
    while True:
        entry = fields(listener.recv(1 << 20))
        # An empty datagram is a greeting.
        if entry:
            print(json.dumps(entry), flush=True)


if __name__ == "__main__":
    sys.exit(main())
