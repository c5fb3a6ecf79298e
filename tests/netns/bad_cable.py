#!/usr/bin/env python3
"""A cable between two interfaces that loses, repeats and reorders frames, for kernels without such a queue.

Prints `ready` when it forwards, and a line with what it did when it ends. The faults follow the seed.
"""

import argparse
import ctypes
import heapq
import random
import select
import signal
import socket
import sys
import time

ETH_P_ALL = 3
PACKET_OUTGOING = 4
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_MR_PROMISC = 1


def raw_socket(device):
    """All frames that come in by a device, whoever they are for."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    raw.bind((device, ETH_P_ALL))
    membership = socket.if_nametoindex(device).to_bytes(4, sys.byteorder) + PACKET_MR_PROMISC.to_bytes(2, sys.byteorder)
    raw.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership + bytes(10))
    raw.setblocking(False)
    return raw


class Cable:
    """Both directions, and the frames that are late."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.rng = random.Random(arguments.seed)
        self.ends = [raw_socket(device) for device in arguments.devices]
        self.late = []
        self.number = 0
        self.counts = {"passed": 0, "lost": 0, "repeated": 0, "reordered": 0}
        self.stopped = False

    def stop(self, *_):
        """From a signal."""
        self.stopped = True

    def happens(self, percent, what):
        """Whether a fault befalls a frame; counted."""
        if self.rng.random() * 100 >= percent:
            return False
        self.counts[what] += 1
        return True

    def frame(self, end, frame):
        """One frame that has come in by `end`."""
        if self.happens(self.arguments.loss, "lost"):
            return
        if self.happens(self.arguments.reorder, "reordered"):
            self.number += 1
            due = time.monotonic() + self.rng.uniform(0.001, 0.006)
            heapq.heappush(self.late, (due, self.number, end, frame))
            return
        self.send(end, frame)
        if self.happens(self.arguments.repeat, "repeated"):
            self.send(end, frame)

    def send(self, end, frame):
        """Out by the other end; a full queue is one more loss."""
        try:
            self.ends[1 - end].send(frame)
            self.counts["passed"] += 1
        except OSError:
            self.counts["lost"] += 1

    def run(self):
        """Until a signal."""
        while not self.stopped:
            now = time.monotonic()
            while self.late and self.late[0][0] <= now:
                _, _, end, frame = heapq.heappop(self.late)
                self.send(end, frame)
            wait_s = max(0, self.late[0][0] - now) if self.late else 0.2
            readable, _, _ = select.select(self.ends, [], [], wait_s)
            for raw in readable:
                self.take(self.ends.index(raw))
        print(self.counts, flush=True)

    def take(self, end):
        """What has come in by `end` so far, a burst at most."""
        for _ in range(64):
            try:
                frame, (_, _, kind, _, _) = self.ends[end].recvfrom(65536)
            except BlockingIOError:
                return
            except OSError:
                continue
            # What is sent here comes by as well.
            if kind != PACKET_OUTGOING:
                self.frame(end, frame)


def main():
    """Parse the command line and forward."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", nargs=2, metavar="DEVICE")
    parser.add_argument("--loss", type=float, default=1, metavar="PERCENT")
    parser.add_argument("--repeat", type=float, default=1, metavar="PERCENT")
    parser.add_argument("--reorder", type=float, default=2, metavar="PERCENT", help="late by 1 to 6 ms")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    # SIGTERM when the shell that started this goes away without cleaning up.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    cable = Cable(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, cable.stop)
    print("ready", flush=True)
    cable.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
