"""What the benchmark computes from its readings, and how it reads what programs print."""

import re
import statistics

PORT_COUNTER = re.compile(r"\b(RX-packets|TX-packets|RX-nombuf):\s*(\d+)")


def port_counters(text):
    """The counters of testpmd's `show port stats`, by name; empty if there are none."""
    return {name: int(number) for name, number in PORT_COUNTER.findall(text)}


def spread(values):
    """Median, least and greatest of the values that are there."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": statistics.median(known), "min": min(known), "max": max(known)}


def ratios(over, under):
    """`over / under`, pair by pair; pairs of which one is missing are left out."""
    return [a / b for a, b in zip(over, under) if a is not None and b]


def per_packet(before, after, workers):
    """The window between two readings: rates and nanoseconds a packet, of the wall clock and of the workers' CPU time.

    A reading has `at_s`, `cpu_ns` (all workers together), `packets` and `steal_s` (of the workers' CPUs).
    """
    packets = after["packets"] - before["packets"]
    seconds = after["at_s"] - before["at_s"]
    if packets <= 0 or seconds <= 0:
        raise ValueError(f"no packets passed within {seconds:.1f} s")
    cpu_ns = after["cpu_ns"] - before["cpu_ns"]
    return {
        "packets": packets,
        "seconds": seconds,
        "mpps": packets / seconds / 1e6,
        "ns": cpu_ns / packets,
        "wall_ns": seconds * 1e9 * workers / packets,
        "cpu_share": cpu_ns / (seconds * 1e9 * workers),
        "steal_share": (after["steal_s"] - before["steal_s"]) / (seconds * workers),
    }


def steal_ticks(proc_stat, cpus):
    """Time that the hypervisor took from these CPUs, from the text of /proc/stat, in ticks."""
    wanted = {f"cpu{cpu}" for cpu in cpus}
    rows = (line.split() for line in proc_stat.splitlines())
    return sum(int(row[8]) for row in rows if row and row[0] in wanted and len(row) > 8)


def short(number):
    """A count as in the names of cases: 1k, 64k, 16m."""
    for unit, size in (("m", 1 << 20), ("k", 1 << 10)):
        if number >= size and number % size == 0:
            return f"{number // size}{unit}"
    return str(number)


def table(rows, right):
    """Rows of text in columns; those whose number is in `right` are set to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = (cell.rjust(width) if column in right else cell.ljust(width)
                 for column, (cell, width) in enumerate(zip(row, widths)))
        lines.append("  ".join(cells).rstrip())
    return lines
