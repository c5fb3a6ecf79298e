"""Measures a case: testpmd, tidegate, testpmd, tidegate ..., each time from a fresh start."""

import os
import shutil
import subprocess
from dataclasses import replace

import reloads
import traffic
from capturing import Capturing
from figures import ratios, spread
from machine import mbufs_mib
from processes import RunError
from testpmd import Testpmd
from tidegate import Tidegate, configuration
from verdicts import check

# Buffers beside those that hold the capture: in flight and in caches.
MBUFS_SPARE = 8192
# Table memory of a connection, and of an address family as a factor, generously.
CONNECTION_BYTES = 64
# Bytes of a packet in a capture.
CAPTURE_BYTES = 80
# Times through the capture before anything is measured.
ROUNDS = 3


class Runner:
    """Everything that is the same for all cases."""

    def __init__(self, options, machine, directory):
        self.options, self.machine, self.directory = options, machine, directory
        self.traffic = traffic.Traffic(options.pktgen, options.binary, directory, self.plain_config)

    def describe(self):
        """Which programs are measured."""
        version = subprocess.run([self.options.binary, "--version"], capture_output=True, text=True, check=False)
        return {"tidegate": version.stdout.strip(), "binary": self.options.binary, "against": self.options.against}

    # ---- what a case takes ---------------------------------------------------------------------------------------

    @staticmethod
    def mbufs(case):
        """Buffers that hold the capture, and some more."""
        return traffic.packets(case) + MBUFS_SPARE

    def memory_mib(self, case):
        """Memory of a run, which all of it may have to come from hugepages."""
        entries = case.connections * (2 if case.config_mode == "nat" else 1)
        return mbufs_mib(self.mbufs(case)) + entries * CONNECTION_BYTES * (1 if case.family == 4 else 2) // (1 << 20)

    def expected_s(self, case):
        """About how long a case takes."""
        options = self.options
        compared = bool(options.against) + (case.flood_share > 0 or case.reloads > 0 or bool(case.capture) or case.kind not in traffic.KINDS)
        startup = 1.2 + traffic.packets(case) / 1e6 + case.idle / 2e6
        return options.repeat * ((2 + compared) * (startup + options.warm_up + options.seconds) + options.seconds)

    # ---- configuration -------------------------------------------------------------------------------------------

    def device(self, capture, workers):
        """The port device on which a capture comes again and again, with a queue for each worker."""
        files = [capture] if workers == 1 else self.traffic.captures.halves(capture)
        return "net_pcap0," + ",".join(f"rx_pcap={file}" for file in files) + ",infinite_rx=1"

    def write_config(self, case, devices, path):
        """Writes the configuration of a case."""
        setup = {"mode": case.config_mode, "protocol": case.protocol, "family": case.family, "connections": case.connections,
                 "mbufs": self.mbufs(case), "is_placed": case.is_placed, "scheduler": case.scheduler}
        text = configuration(setup, devices, self.machine.worker_cpus(case.workers), self.machine.eal_arguments(setup["mbufs"]),
                             os.path.join(self.directory, "api.sock"))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def plain_config(self, case, path):
        """The same on a port without traffic."""
        return self.write_config(case, {"main": "net_null0"}, path)

    def refusal(self, case):
        """Why tidegate does not have the mode of a case, or None."""
        config = self.plain_config(case, os.path.join(self.directory, "check.toml"))
        result = subprocess.run([self.options.binary, "check", config], capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return None
        first = ((result.stderr + result.stdout).strip().splitlines() or ["without a word"])[0]
        if f"mode `{case.config_mode}` is not supported" in first:
            return first.split(": ", 1)[-1]
        raise RunError(f"tidegate check refuses the configuration: {first}")

    # ---- measuring -----------------------------------------------------------------------------------------------

    def measure(self, case):
        """All repetitions of a case; what the JSON file holds of it."""
        lacking = self.lacking(case)
        if lacking:
            return {"skipped": lacking}
        if self.machine.hugepages and not self.machine.reserve_hugepages(self.memory_mib(case)):
            raise RunError("not enough hugepages are left")
        capture, fill, plain = self.traffic.of(case)
        binary, against = self.options.binary, self.options.against
        sides = {"testpmd": self.run_testpmd, "tidegate": lambda *args: self.run_tidegate(*args, binary, fill)}
        if case.reloads or case.capture:
            sides["plain"] = lambda case, device, runs: self.run_tidegate(
                replace(case, reloads=0, capture=""), device, runs, binary, fill, "plain")
        if plain:
            sides["plain"] = lambda case, _, runs: self.run_tidegate(case, self.device(plain, case.workers), runs, binary, fill, "plain")
        if against:
            sides["against"] = lambda *args: self.run_tidegate(*args, against, fill, "against")
        runs = {}
        for turn in range(self.options.repeat):
            # Every second time in the other order, so that a machine that gets slower is not taken for one side's fault.
            for side in list(sides)[::-1 if turn % 2 else 1]:
                sides[side](case, self.device(capture, case.workers), runs)
        beside_plain = "speed_in_flood" if case.flood_share else "reload_cost" if case.reloads else "capture_cost" if case.capture else "cost"
        return figures(runs, beside_plain)

    def lacking(self, case):
        """What the machine has too little of for a case, or None."""
        capture_mib = (traffic.packets(case) + case.idle) * CAPTURE_BYTES >> 20
        # The captures' directory may be memory, too.
        needed_mib, free_mib = self.memory_mib(case) + capture_mib, self.machine.available_mib()
        if needed_mib > free_mib:
            return f"{needed_mib} MiB of memory are needed, {free_mib} are free"
        if self.machine.hugepages and self.memory_mib(case) > self.machine.memory_max_mib:
            return f"{self.memory_mib(case)} MiB of hugepages would be more than half of the memory"
        disk_mib = shutil.disk_usage(self.directory).free >> 20
        # Made in parts, which are there at the same time.
        if 3 * capture_mib > disk_mib:
            return f"{3 * capture_mib} MiB are needed in {self.directory}, {disk_mib} are free"
        return None

    def run_testpmd(self, case, device, runs):
        """testpmd in both modes."""
        log = os.path.join(self.directory, "testpmd.log")
        with Testpmd(device, self.machine, case.workers, self.mbufs(case), log) as testpmd:
            for mode in ("macswap", "5tswap"):
                found = testpmd.measure(mode, self.options.warm_up / 2, self.options.seconds, ROUNDS * traffic.packets(case))
                runs.setdefault(mode, []).append(found)
            testpmd.quit()

    def run_tidegate(self, case, device, runs, binary, fill, side="tidegate"):
        """tidegate, once; RunError if it did not do what the case is about."""
        devices = {"main": device}
        if fill:
            devices["fill"] = f"net_pcap1,rx_pcap={fill}"
        config = self.write_config(case, devices, os.path.join(self.directory, "run.toml"))
        with Tidegate(binary, config, self.machine, case.workers, self.directory) as tidegate:
            tidegate.await_packets(ROUNDS * traffic.packets(case))
            if case.kind == "est":
                tidegate.await_connections(case.flows + case.idle)
            found = self.measure_one(tidegate, case, config)
            stats = tidegate.finish()
        found["notes"] = check(case, found, stats) if side != "plain" else []
        runs.setdefault(side, []).append(found)


    def measure_one(self, tidegate, case, config):
        """What a tidegate measures, with reloads or a capture beside it if the case has them."""
        options = self.options
        if case.capture:
            with Capturing(tidegate.socket_path, case.capture) as running:
                found = tidegate.measure(options.warm_up, options.seconds)
                running.check(tidegate.ask("/v1/capture"))
            return found
        if not case.reloads:
            return tidegate.measure(options.warm_up, options.seconds)
        with open(config, encoding="utf-8") as file:
            text = file.read()
        other = os.path.join(self.directory, "other.toml")
        with open(other, "w", encoding="utf-8") as file:
            file.write(reloads.changed(text))
        with reloads.Reloads(tidegate.socket_path, (other, config), case.reloads) as running:
            found = tidegate.measure(options.warm_up, options.seconds)
            running.check()
        return found


def figures(runs, beside_plain):
    """Medians and spreads, and every single measurement; `beside_plain` is what to say of the plain traffic, if there is."""
    ns = {side: [run["ns"] for run in found] for side, found in runs.items()}
    result = {f"{side}_ns": spread(found) for side, found in ns.items()}
    result["ratio"] = spread(ratios(ns["macswap"], ns["tidegate"]))
    result["ratio_5tswap"] = spread(ratios(ns["5tswap"], ns["tidegate"]))
    if "against" in ns:
        result["against_ratio"] = spread(ratios(ns["against"], ns["tidegate"]))
    if "plain" in ns:
        over, under = ("plain", "tidegate") if beside_plain == "speed_in_flood" else ("tidegate", "plain")
        result[beside_plain] = spread(ratios(ns[over], ns[under]))
    result["mpps_per_core"] = spread([1e3 / value for value in ns["tidegate"]])
    result["cpu_share"] = spread([run["cpu_share"] for found in runs.values() for run in found])
    result["steal_share"] = spread([run["steal_share"] for found in runs.values() for run in found])
    if any(run["created"] for run in runs["tidegate"]):
        result["share_new"] = spread([run["created"] / run["packets"] for run in runs["tidegate"]])
        result["connections_per_s"] = spread([run["created"] / (run["ns"] * run["packets"]) * 1e9 for run in runs["tidegate"]])
    result["notes"] = sorted({note for run in runs["tidegate"] for note in run["notes"]})
    result["runs"] = runs
    return result
