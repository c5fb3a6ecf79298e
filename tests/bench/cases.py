"""The cases of the benchmark: which traffic, through which mode, on how many workers."""

import fnmatch
from dataclasses import dataclass, replace

from figures import short

FLOWS = (1 << 10, 1 << 16, 1 << 19)
TABLE = 1_000_000


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    # gre, dsr, full-nat, nat (requests only) or nat-both (requests and replies).
    mode: str
    protocol: str
    family: int
    # est: packets of known connections; new: SYNs or first packets that push each other out of a small table; life: SYN,
    # FIN, SYN ...; mix: 80 % established, 10 % SYN, 10 % FIN.
    kind: str
    flows: int
    workers: int = 1
    connections: int = TABLE

    @property
    def name(self):
        """As in `--case`."""
        ending = "-2w" if self.workers == 2 else ""
        return f"{self.mode}-{self.protocol}{self.family}-{self.kind}-{short(self.flows)}{ending}"

    @property
    def config_mode(self):
        """The mode in the configuration."""
        return "nat" if self.mode == "nat-both" else self.mode


def all_cases():
    """Every case there is, in the order in which they are measured."""
    for mode in ("gre", "nat", "nat-both", "dsr", "full-nat"):
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
    for mode in ("gre", "nat", "nat-both"):
        for flows in FLOWS:
            yield replace(Case(mode, "udp", 4, "est", flows), workers=2)


QUICK = ("gre-udp4-est-1k", "nat-udp4-est-1k", "gre-tcp4-life-1k")


def selected(patterns, quick):
    """Cases of which one of the patterns, as a glob or as a part, fits the name."""
    cases = list(all_cases())
    if quick:
        cases += [replace(Case("gre", "tcp", 4, "life", FLOWS[0]))]
        cases = [case for case in cases if case.name in QUICK]
    if not patterns:
        return cases
    return [case for case in cases if any(pattern in case.name or fnmatch.fnmatchcase(case.name, pattern) for pattern in patterns)]
