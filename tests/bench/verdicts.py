"""Whether a measured run did what its case is about."""

import os
import sys

from adversarial import HASHES
from processes import RunError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))
import check_stats  # noqa: E402  the balance of a statistics file is checked in one place

# Share of the packets that may be lost where none should be.
DROPS_MAX = 0.001
# Share of the packets that open a connection.
SHARE_NEW = {"est": (0, 0.0005), "new": (0.5, 1.001), "life": (0.499, 0.501), "mix": (0.099, 0.101)}
# What answering the API itself may take.
RSS_GROWTH_MAX_KB = 4096
# Below this share of its CPU's time a worker did not have the CPU to itself.
CPU_SHARE_MIN = 0.95


def check(case, found, stats):
    """RunError with the reason if it did not; what else there is to say, if it did."""
    try:
        check_stats.check(stats, found["packets"])
    except ValueError as error:
        raise RunError(f"the counters do not balance: {error}") from error
    if found["rss_growth_kb"] > RSS_GROWTH_MAX_KB:
        raise RunError(f"memory grew by {found['rss_growth_kb']} kB while it ran")
    said = check_drops(case, found)
    if case.flood_share:
        return said + check_full(case, found)
    share = found["created"] / found["packets"]
    least, most = SHARE_NEW["est" if case.kind in HASHES else case.kind]
    if not least <= share <= most:
        raise RunError(f"{share:.4f} of the packets opened a connection, not {least} to {most}")
    if case.reloads and (found["drops"] or found["created"]):
        raise RunError(f"reloads cost packets or connections: {found['drops']}, {found['created']} opened again")
    if case.kind in ("est", *HASHES) and found["active"] != case.flows + case.idle:
        raise RunError(f"{found['active']} connections are in the table, not {case.flows + case.idle}")
    return said


def check_drops(case, found):
    """Nothing is dropped but what a case is about."""
    drops = dict(found["drops"])
    if case.flood_share and case.config_mode == "nat":
        # NAT cannot forward what it cannot remember.
        drops.pop("table_full", None)
    dropped = sum(drops.values())
    if dropped <= DROPS_MAX * found["packets"]:
        return []
    if case.workers > 1 and set(drops) == {"ring_full"} and found["cpu_share"] < CPU_SHARE_MIN:
        # A worker that waits for its CPU does not empty its ring.
        return ["packets were dropped as ring_full while workers waited for their CPUs"]
    raise RunError(f"{dropped / found['packets']:.2%} of the packets were dropped: {', '.join(sorted(drops))}")


def check_full(case, found):
    """The table is full of established connections, and the flood pushes none of them out."""
    if found["active"] < 0.98 * case.connections:
        raise RunError(f"the table is not full: {found['active']} of {case.connections} connections")
    established = found["packets"] * (1 - case.flood_share)
    if found["adopted"] > DROPS_MAX * established:
        raise RunError(f"{found['adopted']} packets of established connections found their connection gone")
    return []
