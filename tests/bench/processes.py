"""Programs that are measured while they run: their threads, their end, and the machine under them."""

import contextlib
import os
import re
import signal
import subprocess
import time

from figures import steal_ticks

WORKER_NAME = re.compile(r"^(rte|lcore|dpdk)-worker-?\d+$")
# On a busy machine a measurement takes longer, but not longer than this.
WINDOW_MAX_S = 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class RunError(Exception):
    """A measured program does not do what it should."""


def read_text(path):
    """A file's text."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


class Program:
    """A running program with DPDK worker threads."""

    def __init__(self, command, log_path, cpus, **options):
        self.name, self.cpus, self.log_path = os.path.basename(command[0]), cpus, log_path
        # Ctrl-C is for the driver, which then ends its programs in good order.
        self.process = subprocess.Popen(command, process_group=0, **options)

    def workers(self):
        """Thread ids of the workers."""
        folder, found = f"/proc/{self.process.pid}/task", []
        for thread in os.listdir(folder):
            with contextlib.suppress(OSError):
                if WORKER_NAME.match(read_text(f"{folder}/{thread}/comm").strip()):
                    found.append(int(thread))
        return found

    def keep_others_away(self, cpu):
        """Leaves the workers' CPUs to the workers."""
        workers = self.workers()
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            if int(thread) not in workers:
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(thread), {cpu})

    def cpu_ns(self):
        """CPU time of all workers."""
        folder = f"/proc/{self.process.pid}/task"
        return sum(int(read_text(f"{folder}/{thread}/schedstat").split()[0]) for thread in self.workers())

    def steal_s(self):
        """Time that the hypervisor took from the workers' CPUs."""
        return steal_ticks(read_text("/proc/stat"), self.cpus) / TICKS_PER_SECOND

    def rss_kb(self):
        """Resident memory."""
        return int(re.search(r"^VmRSS:\s*(\d+)", read_text(f"/proc/{self.process.pid}/status"), re.M).group(1))

    def reading(self, packets):
        """What the clocks say around the moment at which `packets` gives the counters.

        The counters come from another process: where it took long, nobody knows when it read them, so it is asked again.
        """
        for _ in range(10):
            start, cpu_start = time.monotonic(), self.cpu_ns()
            counters = packets()
            end, cpu_end = time.monotonic(), self.cpu_ns()
            if end - start < 0.01:
                break
        return {**counters, "at_s": (start + end) / 2, "cpu_ns": (cpu_start + cpu_end) / 2, "steal_s": self.steal_s()}

    def window(self, packets, window_s):
        """Two readings `window_s` apart, or further where the workers got less than half of that of their CPUs' time."""
        before = self.reading(packets)
        deadline = time.monotonic() + max(WINDOW_MAX_S, 2 * window_s)
        time.sleep(window_s)
        while self.cpu_ns() - before["cpu_ns"] < window_s * 1e9 * len(self.cpus) / 2 and time.monotonic() < deadline:
            time.sleep(window_s / 4)
        after = self.reading(packets)
        self.check_alive()
        return before, after

    def check_alive(self):
        """RunError with the end of its log if it has ended."""
        status = self.process.poll()
        if status is not None:
            last = [line for line in read_text(self.log_path).splitlines() if line.strip()][-3:]
            raise RunError(f"{self.name} ended with status {status}: {' / '.join(last) or 'without a word'}")

    def end(self, patience_s=20):
        """SIGTERM, later SIGKILL; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RunError(f"{self.name} does not end on SIGTERM within {patience_s} s") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
