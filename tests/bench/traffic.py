"""The captures of each case."""

import os
import subprocess

from adversarial import HASHES
from captures import ROUNDS_OF_FLOODED, CaptureError, Captures
from tidegate import OWN_MAC

KINDS = ("est", "new", "life", "mix")
# Packets in the capture, of a flow.
PACKETS_OF_FLOW = {"new": 1, "life": 2, "mix": 1.25}


def packets(case):
    """Packets in the capture that comes again and again."""
    of_flow = PACKETS_OF_FLOW.get(case.kind, ROUNDS_OF_FLOODED if case.flood_share else 1)
    both = 2 if case.mode == "nat-both" else 1
    return int(case.flows * both * of_flow / (1 - case.flood_share)) + 1


class Traffic:
    """Makes them. `replay_config(case, path)` writes a configuration under which requests can be replayed."""

    def __init__(self, pktgen, binary, directory, replay_config):
        self.captures = Captures(pktgen, directory)
        self.binary, self.directory, self.replay_config = binary, directory, replay_config

    def of(self, case):
        """The capture that repeats; the one that comes before, once, or None; and plain traffic to compare with, or None."""
        captures, plain = self.captures, (case.flows, case.protocol, case.family)
        if case.kind == "new":
            return captures.syns(*plain), None, None
        if case.kind == "life":
            return captures.opened_and_closed(case.flows, case.family), None, None
        if case.kind == "mix":
            return captures.mixed(case.flows, case.family), self.openers(case), None
        if case.kind in HASHES:
            return captures.colliding(case.kind, case.flows), None, captures.established(*plain)
        if case.idle:
            fill = captures.established(case.flows + case.idle, case.protocol, case.family)
            return captures.first_of(fill, case.flows), fill, None
        established, openers = captures.established(*plain), self.openers(case)
        if case.mode == "nat-both":
            established = self.both_directions(case, established, openers or established)
        if case.flood_share:
            flooded, without = captures.flooded(case.name, established, case.protocol, case.family, case.flood_share)
            return flooded, openers, without
        return established, openers, None

    def openers(self, case):
        """NAT takes TCP connections from their SYN on only."""
        if case.protocol != "tcp" or case.config_mode != "nat":
            return None
        return self.captures.syns(case.flows, case.protocol, case.family)

    def both_directions(self, case, requests, openers):
        """Requests, and what the backends would answer, which `tidegate replay` tells."""
        name = f"both-{case.protocol}{case.family}-{case.flows}"
        if os.path.exists(self.captures.path(name)):
            return self.captures.path(name)
        out = os.path.join(self.directory, "translated.pcap")
        config = self.replay_config(case, os.path.join(self.directory, "replay.toml"))
        command = [self.binary, "replay", "--config", config, "--in", openers, "--out", out]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise CaptureError(f"tidegate replay fails: {result.stderr.strip()[-300:]}")
        return self.captures.with_replies(name, requests, out, OWN_MAC)
