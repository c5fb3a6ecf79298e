#!/usr/bin/env python3
"""Read the TCP option that tells a backend who the client is, as a TOA module would: off the ACK that ends the handshake.

Prints `ready`, then a line for each connection to the port: its source as the kernel sees it, and the client of the option, or
`untold`. Options are walked to the end of their list and no further.
"""

import argparse
import ctypes
import ipaddress
import signal
import socket
import struct
import sys

ETH_P_ALL = 3
SYN, RST, ACK = 2, 4, 16
END, PADDING, TOA = 0, 1, 254


def client_of(options):
    """Client address and port of the option, if it is there."""
    at = 0
    while at + 1 < len(options) and options[at] != END:
        if options[at] == PADDING:
            at += 1
            continue
        length = options[at + 1]
        if options[at] == TOA and length in (8, 20):
            port, address = struct.unpack_from("!H", options, at + 2)[0], options[at + 4 : at + length]
            return f"{ipaddress.ip_address(bytes(address))} {port}"
        at += max(length, 2)
    return None


def segment_of(frame):
    """Source address and the TCP segment of a frame without VLAN tags, IP options or extension headers."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[23] == 6:
        return ipaddress.ip_address(frame[26:30]), frame[34:]
    if kind == b"\x86\xdd" and frame[20] == 6:
        return ipaddress.ip_address(frame[22:38]), frame[54:]
    return None, b""


def main():
    """Look at what comes in until a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    # SIGTERM when the shell that started this goes away without cleaning up.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    raw.bind((arguments.device, ETH_P_ALL))
    print("ready", flush=True)
    opening = {}
    while True:
        source, tcp = segment_of(raw.recv(65536))
        if len(tcp) < 20 or struct.unpack_from("!H", tcp, 2)[0] != arguments.port:
            continue
        sport, (sequence,) = struct.unpack_from("!H", tcp)[0], struct.unpack_from("!I", tcp, 4)
        if tcp[13] & (SYN | ACK) == SYN:
            opening[source, sport] = (sequence + 1) % 2**32
        elif tcp[13] & (ACK | RST) == ACK and opening.get((source, sport)) == sequence:
            del opening[source, sport]
            client = client_of(tcp[20 : (tcp[12] >> 4) * 4])
            print(source, sport, client or "untold", flush=True)


if __name__ == "__main__":
    sys.exit(main())
