#!/usr/bin/env python3
"""Take tunnels off on a backend: packets lose their outer headers and enter the kernel through a TUN device.

For kernels without ip_gre, ipip and fou modules. GRE and IPIP come from raw sockets, GUE from a UDP socket. Needs root, in the backend's network namespace. The VIPs belong on `lo` there;
replies then leave by the ordinary route, straight to the client. Prints "ready" once packets are taken, counters to
standard error at SIGTERM, and exits 0.
"""

import argparse
import ctypes
import errno
import fcntl
import os
import selectors
import signal
import socket
import struct
import sys

GRE = 47
# IPv4 and IPv6 in IP (RFC 2003, RFC 2473).
IPIP = (4, 41)
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x0001 | 0x1000
SO_RCVBUFFORCE = 33
# Inner family by GRE protocol type (RFC 2784 section 2.4), with the IP version it must carry.
INNER_VERSION = {0x0800: 4, 0x86DD: 6}


class Malformed(Exception):
    """The packet is not GRE as RFC 2784 and RFC 2890 allow it, or what it carries is not IP."""


def gre_payload(packet):
    """The inner IP packet of a GRE packet without its outer IP header."""
    if len(packet) < 4:
        raise Malformed("shorter than a GRE header")
    flags, kind = struct.unpack_from("!HH", packet)
    # Bits 1 and 4 to 15 (routing, reserved, version) must be zero; only C, K and S are left.
    if flags & ~0xB000:
        raise Malformed(f"flags 0x{flags:04x}")
    if kind not in INNER_VERSION:
        raise Malformed(f"protocol type 0x{kind:04x}")
    length = 4 + 4 * (bool(flags & 0x8000) + bool(flags & 0x2000) + bool(flags & 0x1000))
    inner = packet[length:]
    if len(inner) < 20 or inner[0] >> 4 != INNER_VERSION[kind]:
        raise Malformed("inner packet is not what the protocol type says")
    return inner


def bare_payload(packet):
    """The inner IP packet where nothing stands before it: IPIP, and GUE variant 1."""
    if len(packet) < 20 or packet[0] >> 4 not in INNER_VERSION.values():
        raise Malformed("inner packet is not IP")
    return packet


def without_outer_ipv4(packet):
    """A raw IPv4 socket hands out the packet with its outer header."""
    length = (packet[0] & 0x0F) * 4 if packet else 0
    if length < 20 or len(packet) < length:
        raise Malformed("outer IPv4 header")
    return packet[length:]


def open_tun(name):
    """A TUN device without the packet-information header, up."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        siocgifflags, siocsifflags, iff_up = 0x8913, 0x8914, 0x1
        request = struct.pack("16sH22x", name.encode(), 0)
        flags = struct.unpack_from("16sH", fcntl.ioctl(control, siocgifflags, request))[1]
        fcntl.ioctl(control, siocsifflags, struct.pack("16sH22x", name.encode(), flags | iff_up))
    return tun


def raw_socket(family, protocol):
    """A raw socket for a tunnel's protocol."""
    return with_room(socket.socket(family, socket.SOCK_RAW, protocol))


def udp_socket(family, port):
    """A UDP socket for GUE."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", port))
    return with_room(sock)


def with_room(sock):
    """The socket with room for a burst, not blocking."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    except PermissionError:
        # Root of a user namespace only gets what everybody gets.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    sock.setblocking(False)
    return sock


def write_sysctl(path, value):
    """Set a sysctl of this namespace where the kernel has it."""
    try:
        with open("/proc/sys/" + path, "w", encoding="ascii") as file:
            file.write(value)
    except FileNotFoundError:
        pass


def die_with_parent():
    """SIGTERM when the shell that started this goes away without cleaning up."""
    if not os.environ.get("TIDEGATE_TEST_OUTLIVE"):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Decapsulator:
    """Moves packets from the sockets to the TUN device and counts them."""

    def __init__(self, device, payload):
        self.payload = payload
        self.tun = open_tun(device)
        self.counts = {"packets": 0, "malformed": 0, "refused": 0, "errors": 0}
        self.last_error = None

    def take(self, sock, has_outer_ipv4):
        """Everything that waits in one socket, at most 256 packets, so that both families get their turn."""
        for _ in range(256):
            try:
                packet = sock.recv(65535)
            except BlockingIOError:
                return
            except OSError as error:
                self.failed("errors", error)
                return
            try:
                inner = self.payload(without_outer_ipv4(packet) if has_outer_ipv4 else packet)
                os.write(self.tun, inner)
                self.counts["packets"] += 1
            except Malformed as error:
                self.failed("malformed", error)
            except OSError as error:
                # The kernel refuses packets that it cannot take; the next one may be good.
                self.failed("refused", error)

    def drain_tun(self):
        """Nothing is routed into the device on purpose; what the kernel sends there (router solicitations) is read away."""
        try:
            while os.read(self.tun, 65535):
                pass
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR):
                self.failed("errors", error)

    def failed(self, counter, error):
        """Count a packet that was not handed in, and keep the reason for the closing line."""
        self.counts[counter] += 1
        self.last_error = error


def main():
    """Set up, say so, and run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encap", choices=("gre", "ipip", "gue"), default="gre", help="which tunnel (default %(default)s)")
    parser.add_argument("--gue-port", type=int, default=6080, help="UDP port of GUE (default %(default)s)")
    parser.add_argument("--device", default="tunnel_in", help="name of the TUN device (default %(default)s)")
    arguments = parser.parse_args()

    die_with_parent()
    stop_read, stop_write = os.pipe()
    os.set_blocking(stop_write, False)
    signal.set_wakeup_fd(stop_write)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    write_sysctl("net/ipv4/conf/all/rp_filter", "0")
    work = Decapsulator(arguments.device, gre_payload if arguments.encap == "gre" else bare_payload)
    # The effective filter is the larger of `all` and the device's own.
    write_sysctl(f"net/ipv4/conf/{arguments.device}/rp_filter", "0")
    write_sysctl(f"net/ipv6/conf/{arguments.device}/accept_ra", "0")

    selector = selectors.DefaultSelector()
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            if arguments.encap == "gue":
                sockets = [udp_socket(family, arguments.gue_port)]
            else:
                sockets = [raw_socket(family, protocol) for protocol in ((GRE,) if arguments.encap == "gre" else IPIP)]
        except OSError as error:
            if family == socket.AF_INET:
                raise
            print(f"tunnel_decap: without IPv6: {error}", file=sys.stderr)
            continue
        # Raw sockets hand out IPv4 packets with their header, and nothing else with one.
        has_outer = family == socket.AF_INET and arguments.encap != "gue"
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ, lambda sock, has_outer=has_outer: work.take(sock, has_outer))
    selector.register(work.tun, selectors.EVENT_READ, lambda _: work.drain_tun())
    selector.register(stop_read, selectors.EVENT_READ, None)
    print("ready", flush=True)

    while True:
        for key, _ in selector.select():
            if key.data is None:
                print(f"tunnel_decap: {work.counts}, last error: {work.last_error}", file=sys.stderr, flush=True)
                return 0
            key.data(key.fileobj)


if __name__ == "__main__":
    sys.exit(main())
