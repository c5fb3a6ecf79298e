"""The cases of the benchmark: which traffic, through which mode, on how many workers."""

import fnmatch
from dataclasses import dataclass

from adversarial import HASHES
from capturing import FILTERS
from figures import short

FLOWS = (1 << 10, 1 << 16, 1 << 19)
TABLE = 1_000_000
# Share of new flows in the traffic at a full table.
# Those whose cost for new connections is measured beside maglev's.
SCHEDULERS = ("rr", "wrr", "sh", "lc", "wlc", "lrt")
FLOODS = {"full10": 0.1, "full50": 0.5}


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    # gre, ipip, gue, dsr, full-nat, nat (requests only) or nat-both (requests and replies).
    mode: str
    protocol: str
    family: int
    # est: packets of known connections; new: SYNs or first packets that push each other out of a small table; life: SYN,
    # FIN, SYN ...; mix: 80 % established, 10 % SYN, 10 % FIN; full10, full50: a flood of new flows at a full table; the
    # name of a hash: flows that collide under it.
    kind: str
    flows: int
    workers: int = 1
    connections: int = TABLE

    # Connections that are in the table beside the active ones.
    idle: int = 0
    # Whether tidegate knows that the queues keep connections together, as a NIC's RSS does; else it sees to that itself.
    is_placed: bool = False
    scheduler: str = "maglev"
    # Reloads a second meanwhile.
    reloads: int = 0
    # What looks on and finds nothing, of capturing.FILTERS.
    capture: str = ""

    @property
    def name(self):
        """As in `--case`."""
        size = f"{short(self.flows)}-of-{short(self.flows + self.idle)}" if self.idle else short(self.flows)
        ending = ("-2w" if self.workers == 2 else "") + ("-placed" if self.is_placed else "")
        ending += "" if self.scheduler == "maglev" else f"-{self.scheduler}"
        ending += f"-reload{self.reloads}" if self.reloads else ""
        ending += f"-{self.capture}" if self.capture else ""
        return f"{self.mode}-{self.protocol}{self.family}-{self.kind}-{size}{ending}"

    @property
    def config_mode(self):
        """The mode in the configuration."""
        return "nat" if self.mode == "nat-both" else self.mode

    @property
    def flood_share(self):
        """Share of the packets that a flood of new flows has, at a full table."""
        return FLOODS.get(self.kind, 0)


def all_cases():
    """Every case there is, in the order in which they are measured."""
    for mode in ("gre", "ipip", "gue", "nat", "nat-both", "dsr", "full-nat"):
        for protocol in ("udp", "tcp"):
            for family in (4, 6):
                for flows in FLOWS:
                    yield Case(mode, protocol, family, "est", flows)
    for mode in ("gre", "nat"):
        for family in (4, 6):
            yield Case(mode, "tcp", family, "new", FLOWS[2], connections=FLOWS[2] // 8)
            yield Case(mode, "tcp", family, "life", FLOWS[2])
            yield Case(mode, "tcp", family, "mix", FLOWS[1])
    yield Case("nat", "udp", 4, "new", FLOWS[2], connections=FLOWS[2] // 8)
    for scheduler in SCHEDULERS:
        yield Case("gre", "tcp", 4, "new", FLOWS[2], connections=FLOWS[2] // 8, scheduler=scheduler)
    for mode in ("gre", "nat", "nat-both"):
        for flows in FLOWS:
            yield Case(mode, "udp", 4, "est", flows, workers=2)
    for flows in FLOWS:
        yield Case("gre", "udp", 4, "est", flows, workers=2, is_placed=True)
    yield Case("gre", "udp", 4, "est", FLOWS[2], connections=17_000_000, idle=(1 << 24) - FLOWS[2])
    for mode in ("gre", "nat-both"):
        yield Case(mode, "udp", 4, "est", FLOWS[1], reloads=100)
    for mode in ("gre", "nat", "nat-both"):
        for family in (4, 6):
            for capture in FILTERS:
                yield Case(mode, "tcp", family, "est", FLOWS[0], capture=capture)
    for flood in FLOODS:
        yield Case("gre", "tcp", 4, flood, FLOWS[1], connections=FLOWS[1])
        yield Case("nat-both", "udp", 4, flood, FLOWS[1], connections=FLOWS[1])
    for hash_name in HASHES:
        yield Case("gre", "udp", 4, hash_name, FLOWS[1])
        yield Case("nat", "udp", 4, hash_name, FLOWS[1])


QUICK = (Case("gre", "udp", 4, "est", FLOWS[0]), Case("nat", "udp", 4, "est", FLOWS[0]), Case("gre", "tcp", 4, "life", FLOWS[0]))


def selected(patterns, quick):
    """Cases of which one of the patterns, as a glob or as a part, fits the name."""
    cases = QUICK if quick else all_cases()
    return [case for case in cases
            if not patterns or any(pattern in case.name or fnmatch.fnmatchcase(case.name, pattern) for pattern in patterns)]
