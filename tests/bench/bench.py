#!/usr/bin/env python3
"""tidegate beside DPDK's testpmd, on the same port device and packets: one table, one JSON file. See ./bench.sh --help."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time

import cases
import runner
from captures import CaptureError
from figures import table
from machine import Machine, meminfo
from processes import RunError
from report import HEADINGS, RIGHT, row, summary


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.sh", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few small cases in about a minute, as a smoke test")
    parser.add_argument("--case", action="append", default=[], metavar="PATTERN", help="only cases with this in their name, or a glob; repeats")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--repeat", type=positive_int, metavar="N", help="measure each case N times [default: 5]")
    parser.add_argument("--seconds", type=positive_float, metavar="S", help="length of one measurement [default: 1]")
    parser.add_argument("--json", default="bench-results.json", metavar="FILE", help="results [default: bench-results.json]")
    parser.add_argument("--binary", metavar="PATH", help="the tidegate to measure [default: the one that is built]")
    parser.add_argument("--against", metavar="PATH", help="another tidegate to measure beside it, for before and after")
    parser.add_argument("--pktgen", metavar="PATH", help=argparse.SUPPRESS)
    return parser.parse_args()


def positive_int(text):
    """A number from 1 on."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def positive_float(text):
    """A number above 0."""
    value = float(text)
    if not 0 < value < 3600:
        raise ValueError
    return value


def main():
    """The whole run; the exit status."""
    options = arguments()
    chosen = cases.selected(options.case, options.quick)
    if not chosen:
        print(f"bench.sh: no case fits {' '.join(options.case)}; ./bench.sh --list names them", file=sys.stderr)
        return 2
    for path in filter(None, (options.binary, options.against)):
        if not os.access(path, os.X_OK):
            print(f"bench.sh: {path} is no program", file=sys.stderr)
            return 2
    if options.list:
        print("\n".join(case.name for case in chosen))
        return 0
    testpmd = shutil.which("dpdk-testpmd")
    if testpmd is None:
        print("bench.sh: dpdk-testpmd is missing: apt-get install dpdk-dev", file=sys.stderr)
        return 1
    # Also where the shell that started this in the background had it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    options.repeat = options.repeat or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.3 if options.quick else 1.0)
    options.warm_up = 0.2 if options.quick else 1.0
    machine = Machine(testpmd)
    try:
        with tempfile.TemporaryDirectory(prefix="tidegate-bench.") as directory:
            return measure_all(options, chosen, machine, directory)
    except OSError as error:
        print(f"bench.sh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench.sh: interrupted", file=sys.stderr)
        return 130
    finally:
        machine.give_back_hugepages()


def measure_all(options, chosen, machine, directory):
    """Measures the cases, one after the other, and reports."""
    with open(options.json, "a", encoding="utf-8"):
        pass
    bench = runner.Runner(options, machine, directory)
    refusals = {case.mode: bench.refusal(case) for case in chosen}
    unavailable = {mode: f"not available: {reason}" for mode, reason in refusals.items() if reason}
    chosen = [case for case in chosen if case.mode not in unavailable]
    memory_mib = max((bench.memory_mib(case) for case in chosen), default=0)
    # One kind of memory for the whole run, or its figures could not be compared.
    machine.memory_max_mib = min(memory_mib, meminfo("MemTotal") // 1024 // 2)
    machine.hugepages = machine.reserve_hugepages(machine.memory_max_mib)
    if not machine.hugepages:
        machine.give_back_hugepages()
    head = {**machine.describe(), **bench.describe(), "repeat": options.repeat, "seconds": options.seconds,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    minutes = sum(bench.expected_s(case) for case in chosen) / 60
    print(f"{head['cpu']}, {head['cpus']} CPUs, Linux {head['kernel']}, {head['memory']}; DPDK {head['dpdk']}; {head['tidegate']}")
    print(f"{len(chosen)} cases, {options.repeat} times {options.seconds:g} s each: about {max(minutes, 1):.0f} min", flush=True)
    results = [{"case": f"{mode}-*", "skipped": reason} for mode, reason in unavailable.items()]
    for result in results:
        print(f"{result['case']}: {result['skipped']}", flush=True)
    for number, case in enumerate(chosen, 1):
        start = time.monotonic()
        result = {"case": case.name}
        try:
            result.update(bench.measure(case))
        except (RunError, CaptureError, OSError, ValueError) as error:
            result["failed"] = str(error)
        bench.traffic.captures.forget()
        results.append(result)
        print(f"[{number}/{len(chosen)}] {time.monotonic() - start:5.1f} s  {case.name}: {summary(result)}", flush=True)
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"head": head, "cases": results}, file, indent=1)
            file.write("\n")
    print()
    print("\n".join(table([HEADINGS] + [row(result) for result in results], RIGHT)))
    failed = [result["case"] for result in results if "failed" in result]
    print(f"\n{len(results)} cases, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}; figures are in {options.json}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
