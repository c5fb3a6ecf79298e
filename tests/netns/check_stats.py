#!/usr/bin/env python3
"""Check that a stats file balances: every received packet was sent on, answered, passed to the host or dropped.

Prints one line with the sums; exit status 1 with the reason if they do not balance or a field is missing.
"""

import argparse
import json
import sys


def count(holder, key):
    """A counter, or the reason why it is none."""
    value = holder.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} is {value!r} instead of a count")
    return value


def check(stats, rx_min):
    """The closing line; ValueError with the reason if the file is not acceptable."""
    rx, tx, replies, punts = (count(stats, key) for key in ("rx_packets", "tx_packets", "replies", "punts"))
    drops = {reason: count(stats["drops"], reason) for reason in stats["drops"]}
    dropped = sum(drops.values())
    if rx != tx + replies + punts + dropped:
        raise ValueError(f"rx_packets {rx} is not tx_packets {tx} + replies {replies} + punts {punts} + drops {dropped}")
    if rx < rx_min:
        raise ValueError(f"rx_packets {rx}, but the traffic alone was at least {rx_min}")
    if not stats["services"]:
        raise ValueError("services is empty")
    packets = sum(count(backend, "packets") for service in stats["services"] for backend in service["backends"])
    if rx_min and not packets:
        raise ValueError("no backend has packets")
    seen = {reason: number for reason, number in drops.items() if number}
    return f"rx {rx} = tx {tx} + replies {replies} + punts {punts} + drops {dropped} {seen or ''}".rstrip()


def main():
    """Read the file and check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--rx-min", type=int, default=0, help="packets that the traffic had at least")
    arguments = parser.parse_args()
    try:
        with open(arguments.file, encoding="utf-8") as file:
            print(check(json.load(file), arguments.rx_min))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        print(f"{arguments.file}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
