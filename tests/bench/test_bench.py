"""Tests of what the benchmark computes and reads; `python3 -m unittest discover -s tests/bench`."""

import struct
import time
import unittest
import unittest.mock

import adversarial
import captures
import capturing
import cases
import figures
import reloads
import tidegate
import verdicts
from processes import RunError, WORKER_NAME


def record(frame):
    """A frame as it is in a capture."""
    return captures.RECORD_HEADER.pack(0, 0, len(frame), len(frame)) + frame


def ones_sum(data):
    """The Internet checksum's sum; 0xffff over data that holds its checksum."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def frame_of(flags=0x02):
    """A TCP SYN over IPv4 with right checksums, as a record."""
    ip = bytearray(bytes.fromhex("4500002800004000400600 00c6120001c000020a".replace(" ", "")))
    tcp = bytearray(struct.pack(">HHIIBBHHH", 1234, 80, 7, 0, 0x50, flags, 0xFFFF, 0, 0))
    struct.pack_into(">H", ip, 10, ~ones_sum(bytes(ip)) & 0xFFFF)
    pseudo = bytes(ip[12:20]) + struct.pack(">HH", 6, len(tcp))
    struct.pack_into(">H", tcp, 16, ~ones_sum(pseudo + bytes(tcp)) & 0xFFFF)
    return record(bytes.fromhex("0200000000020200000000010800") + bytes(ip) + bytes(tcp))


def tcp_is_right(packet):
    """Whether both checksums hold."""
    ip, tcp = packet[30:50], packet[50:70]
    return ones_sum(ip) == 0xFFFF and ones_sum(ip[12:20] + struct.pack(">HH", 6, 20) + tcp) == 0xFFFF


class Reloads(unittest.TestCase):
    """reloads.py, and what is asked of a run with them."""

    def test_the_other_file_differs_in_one_weight(self):
        text = 'name = "b1"\naddress = "10.0.0.1"\nname = "b11"\n'
        self.assertEqual(reloads.changed(text), text.replace('"b1"\n', '"b1"\nweight = 99\n'))
        self.assertRaises(RunError, reloads.changed, 'name = "b2"\n')

    def test_too_few_are_no_measurement(self):
        running = reloads.Reloads("/nonexistent", ("a", "b"), 100)
        running.started_at = time.monotonic() - 10
        running.count = 890
        self.assertRaisesRegex(RunError, "of 100 reloads a second", running.check)
        running.count = 1000
        running.check()

    def test_what_they_cost_in_packets_or_connections_is_a_failure(self):
        case = next(case for case in cases.all_cases() if case.reloads)
        self.assertEqual(case.name, "gre-udp4-est-64k-reload100")
        stats = {"rx_packets": 0}
        good = {"packets": 10**6, "rss_growth_kb": 0, "created": 0, "active": case.flows, "drops": {}, "cpu_share": 1.0}
        with unittest.mock.patch.object(verdicts.check_stats, "check"):
            self.assertEqual(verdicts.check(case, good, stats), [])
            for change in ({"created": 1}, {"drops": {"no_backend": 1}}):
                self.assertRaisesRegex(RunError, "reloads cost", verdicts.check, case, {**good, **change}, stats)


class Capturing(unittest.TestCase):
    """capturing.py"""

    def test_a_capture_that_finds_something_or_has_ended_is_no_measurement(self):
        running = capturing.Capturing("/nonexistent", "capture-drop")
        self.assertRaisesRegex(RunError, "no capture begins", running.__enter__)
        good = {"running": True, "filter": "drop", "packets": 0, "lost": 0, "limited": 0}
        running.check(good)
        for change, said in (({"running": False}, "has ended"), ({"filter": "tcp"}, "has ended"), ({"packets": 1}, "1 packets match"),
                             ({"lost": 2, "limited": 1}, "3 packets match")):
            self.assertRaisesRegex(RunError, said, running.check, {**good, **change})


class Figures(unittest.TestCase):
    """figures.py"""

    def test_reads_what_testpmd_prints(self):
        text = "  RX-packets: 12         RX-missed: 3          RX-bytes:  720\n  TX-packets: 11         TX-errors: 0\n"
        self.assertEqual(figures.port_counters(text), {"RX-packets": 12, "TX-packets": 11})
        self.assertEqual(figures.port_counters("testpmd> "), {})

    def test_spread_leaves_out_what_is_missing(self):
        self.assertEqual(figures.spread([3, None, 1, 2]), {"median": 2, "min": 1, "max": 3})
        self.assertIsNone(figures.spread([None]))

    def test_ratios_are_of_pairs(self):
        self.assertEqual(figures.ratios([10, 30, None, 5], [20, 10, 1, 0]), [0.5, 3.0])

    def test_a_packet_costs_cpu_time_not_waiting(self):
        before = {"at_s": 10.0, "cpu_ns": 0, "packets": 100, "steal_s": 1.0}
        after = {"at_s": 12.0, "cpu_ns": 1_000_000_000, "packets": 10_000_100, "steal_s": 1.5}
        found = figures.per_packet(before, after, 1)
        self.assertEqual((found["ns"], found["wall_ns"], found["mpps"]), (100, 200, 5))
        self.assertEqual((found["cpu_share"], found["steal_share"]), (0.5, 0.25))
        with self.assertRaises(ValueError):
            figures.per_packet(before, before, 1)

    def test_steal_is_the_eighth_number_of_the_cpus_asked_for(self):
        text = "cpu  1 2 3 4 5 6 7 80 9 10\ncpu0 1 2 3 4 5 6 7 30 9 10\ncpu1 1 2 3 4 5 6 7 50 9 10\nintr 1\n"
        self.assertEqual(figures.steal_ticks(text, [1]), 50)
        self.assertEqual(figures.steal_ticks(text, [0, 1]), 80)

    def test_counts_in_names(self):
        self.assertEqual([figures.short(number) for number in (1 << 10, 1 << 19, 1 << 24, 1000)], ["1k", "512k", "16m", "1000"])

    def test_tables_are_aligned(self):
        self.assertEqual(figures.table([["a", "ns"], ["bcd", "1.5"]], {1}), ["a     ns", "bcd  1.5"])


class Captures(unittest.TestCase):
    """captures.py"""

    def test_a_fin_has_a_right_checksum(self):
        syn = frame_of()
        self.assertTrue(tcp_is_right(syn))
        fin = captures.as_fin(syn)
        self.assertEqual(fin[50 + 13], 0x11)
        self.assertTrue(tcp_is_right(fin))

    def test_a_reply_goes_back(self):
        reply = captures.as_reply(frame_of(), bytes.fromhex("020000000009"))
        self.assertEqual(reply[16:22].hex(), "020000000009")
        self.assertEqual(reply[42:50].hex(), "c000020ac6120001")
        self.assertEqual(struct.unpack(">HH", reply[50:54]), (80, 1234))
        self.assertTrue(tcp_is_right(reply))

    def test_mixtures_keep_every_frame(self):
        self.assertEqual(captures.evenly(list("abcdef"), list("xyz")), list("abxcdyefz"))
        self.assertEqual(sorted(captures.evenly(list("ab"), list("vwxyz"))), list("abvwxyz"))
        self.assertEqual(captures.interleave(list("abcd"), list("XY"), list("PQ")), list("abXPcdYQ"))
        self.assertEqual(captures.half_a_round_later([1, 2, 3, 4]), [3, 4, 1, 2])


class Adversarial(unittest.TestCase):
    """adversarial.py"""

    def test_the_hashes_are_the_known_ones(self):
        # The check value of CRC-32C, whose first 32 bits and result are inverted.
        inverted = bytes(byte ^ 0xFF for byte in b"1234") + b"56789"
        self.assertEqual(adversarial.crc32c(inverted) ^ 0xFFFFFFFF, 0xE3069283)
        # Microsoft's verification suite for RSS: 66.9.149.187:2794 to 161.142.100.80:1766.
        tuple_bytes = adversarial.tuple_bytes(0x420995BB, 2794, 0xA18E6450, 1766)
        self.assertEqual(adversarial.toeplitz(tuple_bytes), 0x51CCC178)

    def test_flows_collide_and_differ(self):
        for name, hash_of in adversarial.HASHES.items():
            flows = adversarial.colliding(hash_of, 16, 500, 0xC6120000, 0xC000020A, 80)
            low = {hash_of(adversarial.tuple_bytes(*flow, 0xC000020A, 80)) & 0xFFFF for flow in flows}
            self.assertEqual((name, len(low), len(set(flows))), (name, 1, 500))
            self.assertTrue(all(address >> 17 == 0xC6120000 >> 17 and port >= 1024 for address, port in flows))


class Cases(unittest.TestCase):
    """cases.py and verdicts.py"""

    def test_names_are_unique_and_found(self):
        names = [case.name for case in cases.all_cases()]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual([case.name for case in cases.selected(["gre-udp4-est-1k-2w"], False)], ["gre-udp4-est-1k-2w", "gre-udp4-est-1k-2w-placed"])
        self.assertTrue(all(case.mode == "dsr" for case in cases.selected(["dsr-*"], False)))
        self.assertEqual(cases.selected(["no such case"], False), [])

    def test_lost_packets_fail_a_case_by_name(self):
        case = cases.Case("gre", "udp", 4, "est", 1024)
        found = {"packets": 1000, "drops": {"no_backend": 2}, "cpu_share": 1.0}
        with self.assertRaisesRegex(RunError, "no_backend"):
            verdicts.check_drops(case, found)
        self.assertEqual(verdicts.check_drops(case, {**found, "drops": {"no_backend": 1}}), [])

    def test_a_ring_may_fill_while_its_worker_waits_for_a_cpu(self):
        case = cases.Case("gre", "udp", 4, "est", 1024, workers=2)
        found = {"packets": 1000, "drops": {"ring_full": 100}, "cpu_share": 0.7}
        self.assertEqual(len(verdicts.check_drops(case, found)), 1)
        with self.assertRaisesRegex(RunError, "ring_full"):
            verdicts.check_drops(case, {**found, "cpu_share": 1.0})

    def test_worker_threads_of_every_dpdk(self):
        self.assertTrue(all(map(WORKER_NAME.match, ("rte-worker-1", "lcore-worker-12", "dpdk-worker3"))))
        self.assertFalse(any(map(WORKER_NAME.match, ("tokio-rt-worker", "eal-intr-thread", "tidegate"))))

    def test_changes_between_statistics(self):
        connections = {"created": 5, "evicted": 0, "expired": 0, "active": 5, "bytes": 64}
        before = {"tx_packets": 1, "replies": 0, "handoffs": 0, "stateless": 0, "adopted": 0, "drops": {"no_backend": 1}, "connections": connections}
        after = {**before, "tx_packets": 9, "drops": {"no_backend": 1, "table_full": 2}, "connections": {**connections, "created": 7}}
        found = tidegate.changes(before, after)
        self.assertEqual((found["tx_packets"], found["created"], found["drops"]), (8, 2, {"table_full": 2}))


if __name__ == "__main__":
    unittest.main()
