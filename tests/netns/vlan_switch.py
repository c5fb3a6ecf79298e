#!/usr/bin/env python3
"""A switch with one trunk and access ports, for kernels without VLAN support.

    vlan_switch.py TRUNK DEVICE=VLAN...

Frames from an access device leave on the trunk with its VLAN's tag, and tagged frames from the trunk leave on the access
device of their VLAN without it. All others end here.
"""

import selectors
import socket
import struct
import sys

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_OUTGOING = 4
# struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid.
AUXDATA = struct.Struct("=IIIHHHH")
VLAN_VALID = 1 << 4


def open_device(name):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((name, 0))
    sock.setblocking(False)
    return sock


def frames(sock):
    """What has come in: (VLAN or None, frame without its tag)."""
    for _ in range(64):
        try:
            data, ancillary, _, address = sock.recvmsg(65536, 256)
        except BlockingIOError:
            return
        if address[2] == PACKET_OUTGOING:
            continue
        # The kernel takes the tag out of the frame and tells it beside.
        vlan = None
        for level, kind, value in ancillary:
            if level == SOL_PACKET and kind == PACKET_AUXDATA and len(value) >= AUXDATA.size:
                status, _, _, _, _, tci, _ = AUXDATA.unpack_from(value)
                vlan = tci & 0x0FFF if status & VLAN_VALID else None
        if vlan is None and data[12:14] == b"\x81\x00":
            vlan = int.from_bytes(data[14:16], "big") & 0x0FFF
            data = data[:12] + data[16:]
        yield vlan, data


def send(sock, frame):
    try:
        sock.send(frame)
    except OSError:
        pass  # A full queue or a frame that is too long: lost, as on any switch.


def main():
    trunk = open_device(sys.argv[1])
    access = {int(vlan): open_device(name) for name, vlan in (word.split("=") for word in sys.argv[2:])}
    selector = selectors.DefaultSelector()
    selector.register(trunk, selectors.EVENT_READ, None)
    for vlan, sock in access.items():
        selector.register(sock, selectors.EVENT_READ, vlan)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            for vlan, frame in frames(key.fileobj):
                if key.data is not None:
                    tag = b"\x81\x00" + key.data.to_bytes(2, "big")
                    send(trunk, frame[:12] + tag + frame[12:])
                elif vlan in access:
                    send(access[vlan], frame)


if __name__ == "__main__":
    main()
