"""DPDK's testpmd, the yardstick, on a port device."""

import re
import subprocess
import time

from figures import per_packet, port_counters
from processes import Program, RunError, read_text

PATIENCE_S = 60


class Testpmd(Program):
    """testpmd, told what to do through its standard input."""

    def __init__(self, device, machine, workers, mbufs, log_path):
        cpus = machine.worker_cpus(workers)
        lcores = ",".join([f"0@{machine.main_cpu}"] + [f"{number}@{cpu}" for number, cpu in enumerate(cpus, 1)])
        # stdbuf: an answer shall come when it is given, not when a buffer is full.
        command = ["stdbuf", "-oL", machine.testpmd, *machine.eal_arguments(mbufs), f"--lcores={lcores}", f"--vdev={device}",
                   "--", "-i", "--forward-mode=macswap", f"--nb-cores={workers}", f"--rxq={workers}", f"--txq={workers}",
                   f"--total-num-mbufs={mbufs}", "--no-flush-rx"]
        self.log = open(log_path, "w", encoding="utf-8")
        super().__init__(command, log_path, cpus, stdin=subprocess.PIPE, stdout=self.log, stderr=self.log, text=True)
        self.name = "dpdk-testpmd"
        self.started = False
        self.worker_count, self.main_cpu = workers, machine.main_cpu

    def answer(self, command, wanted):
        """What it prints after a command, as soon as `wanted` is in it."""
        start = len(read_text(self.log_path))
        if command:
            try:
                self.process.stdin.write(command + "\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                self.process.wait()
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            text = read_text(self.log_path)[start if command else 0:]
            if re.search(wanted, text):
                return text
            self.check_alive()
            time.sleep(0.0005 if self.started else 0.05)
        raise RunError(f"testpmd does not answer `{command}` within {PATIENCE_S} s")

    def counters(self):
        """Packets received and sent so far."""
        found = port_counters(self.answer("show port stats 0", r"TX-packets: \d+ .*\n"))
        return {"packets": found["RX-packets"], "tx": found["TX-packets"]}

    def measure(self, mode, warm_up_s, window_s, packets_min):
        """Forwards in this mode for some time, measured after `packets_min` packets at the earliest."""
        if not self.started:
            self.answer("", r"testpmd> ")
            self.started = True
        else:
            self.answer("stop", r"Done\.")
        self.answer(f"set fwd {mode}", r"packet forwarding mode")
        self.answer("start", r"packet forwarding - ports")
        self.keep_others_away(self.main_cpu)
        time.sleep(warm_up_s)
        while self.counters()["packets"] < packets_min:
            time.sleep(0.05)
        before, after = self.window(self.counters, window_s)
        found = per_packet(before, after, self.worker_count)
        sent = after["tx"] - before["tx"]
        if sent < 0.999 * found["packets"] - 100:
            raise RunError(f"testpmd {mode} received {found['packets']} packets and sent only {sent}")
        return found

    def quit(self):
        """Ends it in good order."""
        try:
            self.process.stdin.write("quit\n")
            self.process.stdin.close()
            self.process.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired) as error:
            raise RunError(f"testpmd does not end: {error}") from error
        if self.process.returncode != 0:
            raise RunError(f"testpmd ended with status {self.process.returncode}")
