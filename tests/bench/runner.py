"""Measures a case: testpmd, tidegate, testpmd, tidegate ..., each time from a fresh start."""

import os
import subprocess
import sys

from captures import Captures, CaptureError
from figures import ratios, spread
from machine import mbufs_mib
from processes import RunError
from testpmd import Testpmd
from tidegate import OWN_MAC, Tidegate, configuration

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))
import check_stats  # noqa: E402  the balance of a statistics file is checked in one place

# Packets of a case that may be lost to the first round through the capture, a share of all.
DROPS_MAX = 0.001
# Buffers beside those that hold the capture: in flight and in caches.
MBUFS_SPARE = 8192
SHARE_NEW = {"est": (0, 0.0005), "new": (0.5, 1.001), "life": (0.499, 0.501), "mix": (0.09, 0.11)}


class Runner:
    """Everything that is the same for all cases."""

    def __init__(self, options, machine, directory):
        self.options, self.machine, self.directory = options, machine, directory
        self.captures = Captures(options.pktgen, directory)

    def describe(self):
        """Which programs are measured."""
        version = subprocess.run([self.options.binary, "--version"], capture_output=True, text=True, check=False)
        return {"tidegate": version.stdout.strip(), "binary": self.options.binary, "against": self.options.against}

    # ---- what a case takes ---------------------------------------------------------------------------------------

    @staticmethod
    def packets(case):
        """Packets in the capture."""
        return int(case.flows * {"est": 2 if case.mode == "nat-both" else 1, "new": 1, "life": 2, "mix": 1.25}[case.kind])

    def mbufs(self, case):
        """Buffers that hold the capture, and some more."""
        return self.packets(case) + MBUFS_SPARE

    def memory_mib(self, case):
        """Memory of a run."""
        return mbufs_mib(self.mbufs(case)) + case.connections * (120 if case.config_mode == "nat" else 60) * (case.family // 2 - 1) // (1 << 20)

    def expected_s(self, case):
        """About how long a case takes."""
        runs = 2 + bool(self.options.against)
        return self.options.repeat * (runs * (1.5 + self.options.warm_up + self.options.seconds + case.flows / 400_000) + self.options.seconds)

    # ---- traffic -------------------------------------------------------------------------------------------------

    def traffic(self, case):
        """The captures of a case: one that repeats, and one that comes before once, or None."""
        captures, plain = self.captures, (case.flows, case.protocol, case.family)
        if case.kind == "new":
            return captures.syns(*plain), None
        if case.kind == "life":
            return captures.opened_and_closed(case.flows, case.family), None
        if case.kind == "mix":
            return captures.mixed(case.flows, case.family), self.fill(case, plain)
        requests, fill = captures.established(*plain), self.fill(case, plain)
        if case.mode == "nat-both":
            return self.both_directions(case, requests, fill or requests), fill
        return requests, fill

    def fill(self, case, plain):
        """NAT takes TCP connections from their SYN on only."""
        return self.captures.syns(*plain) if case.protocol == "tcp" and case.config_mode == "nat" else None

    def both_directions(self, case, requests, openers):
        """Requests, and what the backends would answer, which `tidegate replay` tells."""
        out, config = os.path.join(self.directory, "translated.pcap"), os.path.join(self.directory, "replay.toml")
        name = f"both-{case.protocol}{case.family}-{case.flows}"
        if os.path.exists(self.captures.path(name)):
            return self.captures.path(name)
        self.write_config(case, {"main": "net_null0"}, 1, config)
        command = [self.options.binary, "replay", "--config", config, "--in", openers, "--out", out]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise CaptureError(f"tidegate replay fails: {result.stderr.strip()[-300:]}")
        return self.captures.with_replies(name, requests, out, OWN_MAC)

    def device(self, capture, workers):
        """The port device on which a capture comes again and again, with a queue for each worker."""
        files = [capture] if workers == 1 else self.captures.halves(capture)
        return "net_pcap0," + ",".join(f"rx_pcap={file}" for file in files) + ",infinite_rx=1"

    def write_config(self, case, devices, workers, path):
        """Writes the configuration of a case."""
        setup = {"mode": case.config_mode, "protocol": case.protocol, "family": case.family, "connections": case.connections,
                 "mbufs": self.mbufs(case)}
        text = configuration(setup, devices, self.machine.worker_cpus(workers), self.machine.eal_arguments(setup["mbufs"]),
                             os.path.join(self.directory, "api.sock"))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    # ---- measuring -----------------------------------------------------------------------------------------------

    def measure(self, case):
        """All repetitions of a case; what the JSON file holds of it."""
        if self.memory_mib(case) > self.machine.available_mib():
            return {"skipped": f"{self.memory_mib(case)} MiB of memory are needed, {self.machine.available_mib()} are free"}
        if self.machine.hugepages and not self.machine.reserve_hugepages(self.memory_mib(case)):
            raise RunError("the hugepages that were free at the start are taken by another program")
        refused = self.refusal(case)
        if refused:
            return {"skipped": f"not available: {refused}"}
        capture, fill = self.traffic(case)
        device = self.device(capture, case.workers)
        sides = {"tidegate": self.options.binary, "against": self.options.against}
        runs = {"macswap": [], "5tswap": [], **{side: [] for side, binary in sides.items() if binary}}
        for turn in range(self.options.repeat):
            for side in [None, *sides] if turn % 2 == 0 else [*reversed(sides), None]:
                if side is None:
                    self.run_testpmd(case, device, runs)
                elif sides[side]:
                    runs[side].append(self.run_tidegate(case, sides[side], device, fill))
        return figures(runs)

    def refusal(self, case):
        """Why tidegate does not take this mode, or None."""
        config = self.write_config(case, {"main": "net_null0"}, case.workers, os.path.join(self.directory, "check.toml"))
        result = subprocess.run([self.options.binary, "check", config], capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return None
        first = (result.stderr + result.stdout).strip().splitlines()[0]
        if f"`{case.config_mode}`" in first or case.config_mode == "full-nat":
            return first.split(": ", 1)[-1]
        raise RunError(f"tidegate check refuses the configuration: {first}")

    def run_testpmd(self, case, device, runs):
        """testpmd in both modes."""
        log = os.path.join(self.directory, "testpmd.log")
        with Testpmd(device, self.machine, case.workers, self.mbufs(case), log) as testpmd:
            for mode in ("macswap", "5tswap"):
                runs[mode].append(testpmd.measure(mode, self.options.warm_up / 2, self.options.seconds))
            testpmd.quit()

    def run_tidegate(self, case, binary, device, fill):
        """tidegate, once; RunError if it did not do what the case is about."""
        devices = {"main": device}
        if fill:
            devices["fill"] = f"net_pcap1,rx_pcap={fill}"
        config = self.write_config(case, devices, case.workers, os.path.join(self.directory, "run.toml"))
        with Tidegate(binary, config, self.machine, case.workers, self.directory) as tidegate:
            tidegate.await_packets()
            if case.kind == "est":
                tidegate.await_connections(case.flows)
            found = tidegate.measure(self.options.warm_up, self.options.seconds)
            stats = tidegate.finish()
        check(case, found, stats)
        return found


def check(case, found, stats):
    """RunError with the reason if packets were lost, or connections came about in another number than the case says."""
    try:
        check_stats.check(stats, found["packets"])
    except ValueError as error:
        raise RunError(f"the counters do not balance: {error}") from error
    dropped = sum(found["drops"].values())
    if dropped > DROPS_MAX * found["packets"]:
        shares = ", ".join(f"{reason} {number}" for reason, number in found["drops"].items())
        raise RunError(f"{dropped} of {found['packets']} packets were dropped: {shares}")
    least, most = SHARE_NEW[case.kind]
    share = found["created"] / found["packets"]
    if not least <= share <= most:
        raise RunError(f"{share:.4f} of the packets opened a connection, not {least} to {most}")
    if case.kind == "est" and found["active"] != case.flows:
        raise RunError(f"{found['active']} connections are in the table, not {case.flows}")


def figures(runs):
    """Medians and spreads, and every single measurement."""
    result = {f"{side}_ns": spread([run["ns"] for run in found]) for side, found in runs.items()}
    ns = {side: [run["ns"] for run in found] for side, found in runs.items()}
    result["ratio"] = spread(ratios(ns["macswap"], ns["tidegate"]))
    result["ratio_5tswap"] = spread(ratios(ns["5tswap"], ns["tidegate"]))
    if "against" in ns:
        result["against_ratio"] = spread(ratios(ns["against"], ns["tidegate"]))
    result["tidegate_mpps"] = spread([run["mpps"] for run in runs["tidegate"]])
    result["steal_share"] = spread([run["steal_share"] for found in runs.values() for run in found])
    if any(run["created"] for run in runs["tidegate"]):
        per_cpu_second = [run["created"] / (run["ns"] * run["packets"]) * 1e9 for run in runs["tidegate"]]
        result["connections_per_s"] = spread(per_cpu_second)
    result["runs"] = runs
    return result
