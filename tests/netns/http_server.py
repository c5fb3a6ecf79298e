#!/usr/bin/env python3
"""A backend for the tests: HTTP over TCP and a datagram echo over UDP, every answer with the server's name.

/who      the name and a line feed
/from     the client's address as the server sees it
/big      the 10 MB of `payload()`, whose SHA-256 is PAYLOAD_SHA256
/slow     the same bytes at 2 MB/s
/upload   POST: SHA-256 of the body, in hexadecimal

Prints "ready" once it listens, exits 0 at SIGTERM. Python's standard library only.
"""

import argparse
import asyncio
import ctypes
import hashlib
import os
import random
import signal
import sys

PAYLOAD_BYTES = 10_000_000
PAYLOAD_SHA256 = "9d36f9e7bd84a501a8840235136bca291422403593b0536d49cca3e0dfa67fd0"
BODY_BYTES_MAX = 64 << 20
SLOW_BYTES_S = 2_000_000
SLOW_CHUNK = 20_000


def payload():
    """The same bytes on every machine and in every process."""
    return random.Random(1).getrandbits(8 * PAYLOAD_BYTES).to_bytes(PAYLOAD_BYTES, "little")


class Server:
    """Answers as one named backend."""

    def __init__(self, name):
        self.name = name
        self.payload = payload()

    async def serve(self, reader, writer):
        """One connection, with keep-alive; whatever a client does ends at most its own connection."""
        try:
            while await self.request(reader, writer):
                pass
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def request(self, reader, writer):
        """One request; true if another may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, version = head[0].split(" ")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        if headers.get("expect") == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(headers.get("content-length", 0))
        if not 0 <= length <= BODY_BYTES_MAX:
            raise ValueError("body length")
        body = await reader.readexactly(length)
        close = version == "HTTP/1.0" or headers.get("connection") == "close"

        status, answer, slow = self.answer(method, target.split("?")[0], body, writer.get_extra_info("peername"))
        writer.write(
            f"HTTP/1.1 {status}\r\nX-Server: {self.name}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Length: {len(answer)}\r\nConnection: {'close' if close else 'keep-alive'}\r\n\r\n".encode()
        )
        if method != "HEAD":
            await self.send(writer, answer, slow)
        await writer.drain()
        return not close

    def answer(self, method, path, body, peer):
        """Status line, body, and whether it goes out slowly."""
        if path == "/who":
            return "200 OK", f"{self.name}\n".encode(), False
        if path == "/from":
            return "200 OK", f"{peer[0]}\n".encode(), False
        if path in ("/big", "/slow"):
            return "200 OK", self.payload, path == "/slow"
        if path == "/upload" and method == "POST":
            return "200 OK", hashlib.sha256(body).hexdigest().encode() + b"\n", False
        return "404 Not Found", b"not here\n", False

    @staticmethod
    async def send(writer, answer, slow):
        """The body, paced if `slow`."""
        if not slow:
            writer.write(answer)
            return
        for at in range(0, len(answer), SLOW_CHUNK):
            writer.write(answer[at : at + SLOW_CHUNK])
            await writer.drain()
            await asyncio.sleep(SLOW_CHUNK / SLOW_BYTES_S)


class Echo(asyncio.DatagramProtocol):
    """Answers a datagram with the server's name and the datagram."""

    def __init__(self, name):
        self.name = name.encode()
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(self.name + b" " + data, addr)


async def run(arguments):
    """Listen on every address of both families until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(arguments.name)
    hosts = ["0.0.0.0", "::"] if os.path.exists("/proc/net/if_inet6") else ["0.0.0.0"]
    await asyncio.start_server(server.serve, hosts, arguments.port, backlog=4096)
    # A UDP answer leaves from the address its socket is bound to, so each VIP needs its own.
    for address in arguments.udp:
        await loop.create_datagram_endpoint(lambda: Echo(arguments.name), local_addr=(address, arguments.port))
    print("ready", flush=True)
    await stop.wait()


def main():
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the server's name in every answer")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--udp", action="append", default=[], metavar="ADDRESS", help="also echo datagrams on ADDRESS")
    arguments = parser.parse_args()
    if not os.environ.get("TIDEGATE_TEST_OUTLIVE"):
        # SIGTERM when the shell that started this goes away without cleaning up.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    asyncio.run(run(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
