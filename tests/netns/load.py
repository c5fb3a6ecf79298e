#!/usr/bin/env python3
"""A client for the tests: many short connections, each one request, and a count of the servers that answered.

Prints one JSON object: {"ok": 1000, "failed": 0, "by": {"s1": 334, ...}, "errors": {...}, "stalled": 0, "seconds": 1.2}.
`stalled` counts answers that took 0.9 s or more, which is what a lost packet of a handshake costs.
Exit status 0 whatever the servers do; what is acceptable is for the caller to say.
"""

import argparse
import asyncio
import collections
import json
import signal
import sys
import time


class Datagram(asyncio.DatagramProtocol):
    """Completes a future with the first answer."""

    def __init__(self, answer):
        self.answer = answer

    def datagram_received(self, data, addr):
        if not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc):
        if not self.answer.done():
            self.answer.set_exception(exc)


async def over_tcp(host, port, path):
    """The name that a fresh TCP connection is answered with."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: tidegate\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(65536)
        while chunk := await reader.read(65536):
            answer += chunk
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError("answer " + repr(head[:40]))
    return body.decode("ascii").strip()


async def over_udp(host, port, number, size):
    """The name that a datagram from a fresh port is answered with."""
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    question = (b"%d" % number).ljust(size, b".")
    transport, _ = await loop.create_datagram_endpoint(lambda: Datagram(answer), remote_addr=(host, port))
    try:
        transport.sendto(question)
        name, _, echo = (await answer).partition(b" ")
    finally:
        transport.close()
    if echo != question:
        raise ValueError("another datagram's answer")
    return name.decode("ascii")


async def run(arguments):
    """All connections, `parallel` at a time, without a retry."""
    by, errors = collections.Counter(), collections.Counter()
    numbers = iter(range(arguments.connections))
    seconds = []

    async def worker():
        for number in numbers:
            begin = time.monotonic()
            try:
                if arguments.udp:
                    question = over_udp(arguments.host, arguments.port, number, arguments.size)
                else:
                    question = over_tcp(arguments.host, arguments.port, arguments.path)
                by[await asyncio.wait_for(question, arguments.timeout)] += 1
                seconds.append(time.monotonic() - begin)
            except (OSError, ValueError, asyncio.TimeoutError) as error:
                errors[f"{type(error).__name__}: {error}"] += 1

    start = time.monotonic()
    await asyncio.gather(*(worker() for _ in range(arguments.parallel)))
    return {
        "ok": sum(by.values()),
        "failed": sum(errors.values()),
        "by": dict(sorted(by.items())),
        "errors": dict(errors),
        "stalled": sum(one >= 0.9 for one in seconds),
        "seconds": round(time.monotonic() - start, 3),
    }


def main():
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--path", default="/who")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=20)
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds for one connection")
    parser.add_argument("--udp", action="store_true", help="datagrams instead of HTTP")
    parser.add_argument("--size", type=int, default=0, help="bytes of a datagram; beyond the MTU it comes in fragments")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))
    return 0


if __name__ == "__main__":
    # Ctrl-C ends it without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
