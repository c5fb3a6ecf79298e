"""tidegate on a port device, measured over its API."""

import http.client
import json
import os
import socket
import subprocess
import time

from figures import per_packet
from processes import Program, RunError, read_text

PATIENCE_S = 120
OWN_MAC = "02:00:00:00:00:02"
BACKENDS = 8
# Also from run to run, so that replay and run pick the same backends.
HASH_KEY = "000102030405060708090a0b0c0d0e0f"

HEAD = """\
[dataplane]
workers = {cpus}
connections = {connections}
mbufs = {mbufs}
hash_key = "{hash_key}"
idle = "spin"
eal = {eal}

[control]
socket = "{socket}"
grace = 0
"""

PORT = """
[[port]]
name = "{name}"
device = "{device}"
addresses = ["{network4}.2/24", "{network6}::2/64"]
mac = "{mac}"
"""

PLACED = 'spread = "queues"\n'

MAIN_PORT = """\
gateway = "10.0.0.1"
gateway6 = "fd00::1"
neighbors = {{ {neighbors} }}
"""

SERVICE = """
[[service]]
name = "bench"
vip = "{vip}"
port = 80
protocol = "{protocol}"
mode = "{mode}"
scheduler = "{scheduler}"
timeouts = {{ tcp_syn = 32000, tcp_fin = 32000, udp_oneway = 32000, udp = 32000 }}
"""

LOCAL = {4: 'local_addresses = ["10.0.0.101", "10.0.0.102", "10.0.0.103", "10.0.0.104"]\n',
         6: 'local_addresses = ["fd00::101", "fd00::102", "fd00::103", "fd00::104"]\n'}

BACKEND = """
[[service.backend]]
name = "b{number}"
address = "{address}"
"""


def configuration(setup, devices, cpus, eal, socket_path):
    """The configuration of a case. `setup` has mode, protocol, family, connections, mbufs, is_placed, scheduler; `devices` is by port name."""
    direct = setup["mode"] == "dsr"
    networks = {4: "10.0.0." if direct else "10.1.0.", 6: "fd00::1:" if direct else "fd01::1:"}
    addresses = {family: [f"{network}{10 + number}" for number in range(1, BACKENDS + 1)]
                 for family, network in networks.items()}
    macs = {"10.0.0.1": "02:00:00:00:00:01", "fd00::1": "02:00:00:00:00:01"}
    if direct:
        macs.update({address: f"02:00:00:00:01:{number:02x}"
                     for both in addresses.values() for number, address in enumerate(both, 1)})
    neighbors = ", ".join(f'"{address}" = "{mac}"' for address, mac in macs.items())
    text = HEAD.format(cpus=cpus, connections=setup["connections"], mbufs=setup["mbufs"], hash_key=HASH_KEY,
                       eal=json.dumps(eal), socket=socket_path)
    for number, (name, device) in enumerate(devices.items()):
        text += PORT.format(name=name, device=device, network4=f"10.0.{number}", network6=f"fd00:{number}" if number else "fd00",
                            mac=OWN_MAC)
        if setup["is_placed"]:
            text += PLACED
        if number == 0:
            text += MAIN_PORT.format(neighbors=neighbors)
    service = SERVICE
    if setup["mode"] == "full-nat":
        # Four have ports for all flows, however they fall on the backends.
        service += LOCAL[setup["family"]]
    text += service.format(vip="192.0.2.10" if setup["family"] == 4 else "2001:db8::10", protocol=setup["protocol"],
                           mode=setup["mode"], scheduler=setup["scheduler"])
    return text + "".join(BACKEND.format(number=number, address=address)
                          for number, address in enumerate(addresses[setup["family"]], 1))


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Tidegate(Program):
    """A tidegate that runs on a configuration."""

    def __init__(self, binary, config_path, machine, workers, directory):
        self.stats_path = os.path.join(directory, "stats.json")
        self.socket_path = os.path.join(directory, "api.sock")
        log_path = os.path.join(directory, "tidegate.log")
        self.main_cpu, self.worker_count = machine.main_cpu, workers
        # Should the driver be killed, it does not stay for ever.
        command = [binary, "run", "--config", config_path, "--for", "600", "--stats", self.stats_path]
        with open(log_path, "w", encoding="utf-8") as log:
            super().__init__(command, log_path, machine.worker_cpus(workers), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.connection = UnixConnection(self.socket_path)

    def ask(self, path):
        """An answer of the API."""
        try:
            self.connection.request("GET", path)
            return json.loads(self.connection.getresponse().read())
        except (BrokenPipeError, http.client.RemoteDisconnected):
            # It does not keep a connection for ever.
            self.connection.close()
            self.connection.request("GET", path)
            return json.loads(self.connection.getresponse().read())

    def counters(self):
        """What it has counted so far."""
        stats = self.ask("/v1/stats")
        return {"packets": stats["rx_packets"], "stats": stats}

    def await_packets(self, packets):
        """Waits until so many packets have come."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                if self.counters()["packets"] >= packets:
                    return
            except (OSError, http.client.HTTPException):
                self.connection.close()
            time.sleep(0.05)
        raise RunError(f"tidegate does not forward {packets} packets within {PATIENCE_S} s")

    def await_connections(self, active):
        """Waits until so many connections are in the table."""
        deadline = time.monotonic() + PATIENCE_S
        found = 0
        while time.monotonic() < deadline:
            self.check_alive()
            found = self.counters()["stats"]["connections"]["active"]
            if found >= active:
                return
            time.sleep(0.1)
        raise RunError(f"only {found} of {active} connections are in the table after {PATIENCE_S} s")

    def measure(self, warm_up_s, window_s):
        """Two readings some time apart, and what lies between them."""
        self.keep_others_away(self.main_cpu)
        time.sleep(warm_up_s)
        rss_kb = self.rss_kb()
        before, after = self.window(self.counters, window_s)
        found = per_packet(before, after, self.worker_count)
        found.update(changes(before["stats"], after["stats"]))
        found["rss_growth_kb"] = self.rss_kb() - rss_kb
        return found

    def finish(self):
        """Ends it, and returns the figures that it leaves."""
        self.connection.close()
        status = self.end()
        if status != 0:
            raise RunError(f"tidegate ends with status {status}: {read_text(self.log_path).strip().splitlines()[-1:]}")
        with open(self.stats_path, encoding="utf-8") as file:
            return json.load(file)


def changes(before, after):
    """What was counted between two statistics."""
    drops = {reason: number - before["drops"].get(reason, 0) for reason, number in after["drops"].items()}
    counted = {key: after[key] - before.get(key, 0) for key in ("tx_packets", "replies", "handoffs", "stateless", "adopted")}
    connections = {key: after["connections"][key] - before["connections"][key] for key in ("created", "evicted", "expired")}
    return {**counted, **connections, "drops": {reason: number for reason, number in drops.items() if number},
            "active": after["connections"]["active"], "table_bytes": after["connections"]["bytes"]}

