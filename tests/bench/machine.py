"""The machine that is measured on: its CPUs, memory and hugepages."""

import os
import platform
import re
import subprocess

from processes import read_text

HUGEPAGES = "/proc/sys/vm/nr_hugepages"
HUGEPAGE_MIB = 2
# A buffer with its headers and what alignment takes.
MBUF_BYTES = 2560
OTHER_MIB = 192


def meminfo(key):
    """A line of /proc/meminfo, in kB or as a count."""
    found = re.search(rf"^{key}:\s*(\d+)", read_text("/proc/meminfo"), re.M)
    return int(found.group(1)) if found else 0


def mbufs_mib(mbufs):
    """Memory for a pool of so many packet buffers."""
    return mbufs * MBUF_BYTES // (1 << 20) + OTHER_MIB


class Machine:
    """What both sides run on, alike."""

    def __init__(self, testpmd):
        self.testpmd = testpmd
        self.cpus = sorted(os.sched_getaffinity(0))
        self.main_cpu = self.cpus[0]
        self.hugepages, self.memory_max_mib = False, 0
        self.hugepages_reserved = 0

    def worker_cpus(self, workers):
        """The CPUs of the workers; the first CPU is left to the rest while there are enough."""
        usable = self.cpus[1:] if len(self.cpus) > workers else self.cpus
        return [usable[number % len(usable)] for number in range(workers)]

    def eal_arguments(self, mbufs):
        """EAL arguments of both sides, apart from lcores and ports."""
        memory = ["-m", str(mbufs_mib(mbufs)), "--no-pci", "--log-level=3"]
        if self.hugepages:
            return ["--in-memory", *memory]
        return ["--no-huge", "--no-shconf", "--no-telemetry", *memory]

    def reserve_hugepages(self, mib):
        """Sees to hugepages for so much memory, free ones or reserved for this; true if they are there."""
        needed = mib // HUGEPAGE_MIB + 1
        if meminfo("Hugepagesize") != HUGEPAGE_MIB * 1024:
            return False
        short_of = needed - meminfo("HugePages_Free")
        if short_of > 0 and os.access(HUGEPAGES, os.W_OK):
            # Others may do the same at the same time: only the difference is ours.
            before = int(read_text(HUGEPAGES))
            write_number(HUGEPAGES, before + short_of)
            self.hugepages_reserved += max(0, int(read_text(HUGEPAGES)) - before)
        return meminfo("HugePages_Free") >= needed

    def give_back_hugepages(self):
        """Undoes `reserve_hugepages`."""
        if self.hugepages_reserved:
            write_number(HUGEPAGES, max(0, int(read_text(HUGEPAGES)) - self.hugepages_reserved))
            self.hugepages_reserved = 0

    def available_mib(self):
        """Memory that a run may take, without that of hugepages kept free for it."""
        huge = meminfo("HugePages_Free") * HUGEPAGE_MIB if self.hugepages else 0
        return meminfo("MemAvailable") // 1024 + huge

    def describe(self):
        """The machine in a few words, for people and for the JSON file."""
        model = re.search(r"^model name\s*:\s*(.*)$", read_text("/proc/cpuinfo"), re.M)
        dpdk = subprocess.run(["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True, check=False)
        return {
            "cpu": model.group(1) if model else platform.machine(),
            "cpus": len(self.cpus),
            "kernel": platform.release(),
            "memory_mib": meminfo("MemTotal") // 1024,
            "dpdk": dpdk.stdout.strip() or "unknown",
            "memory": "hugepages" if self.hugepages else "ordinary memory (--no-huge)",
        }


def write_number(path, number):
    """Writes a number to a file of the kernel; what it makes of it is read back by the caller."""
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(number))
    except OSError:
        pass
