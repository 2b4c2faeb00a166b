#!/usr/bin/env python3
"""The simulated Kafka must contain what the real one does: one random script runs on both, one judge reads both.

The judge knows the promises of the log's port (eventlog/event_log.h) and nothing of either implementation. What the
real broker was seen to do (a feature: an append of unknown outcome that landed, one that did not, a reader that was
refused ...) while it was killed, paused and restarted must be among what the simulation was seen to do. kcat reads
the topic at the end, so the judge does not rely on our own reader.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import unittest
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.support.services import Services  # noqa: E402

SIM_SEEDS = 60
SIM_OPERATIONS = 150
REAL_OPERATIONS = 2000  # About 45 seconds: longer than the disturbances.
MESSAGE_TIMEOUT_SECONDS = 15  # Of the producer (message.timeout.ms).
PARTITIONS = 2


# ---- the judge

def judge(run):
    """Sentences about what broke a promise of the port, and the set of features seen."""
    wrong, features = [], set()
    for partition in range(PARTITIONS):
        mine = [op for op in run["operations"] if op["partition"] == partition]
        judge_partition(mine, run["final"][partition], wrong, features)
    return wrong, features


def judge_partition(operations, final, wrong, features):
    offsets = [offset for offset, _ in final]
    if any(a >= b for a, b in zip(offsets, offsets[1:])):
        wrong.append("offsets do not increase")
    if offsets and offsets != list(range(len(offsets))):
        features.add("offsets have gaps")
    places = {}
    for offset, record in final:
        if record in places:
            wrong.append(f"record {record} is there twice")
        places[record] = offset
    appends = [op for op in operations if op["what"] == "append"]
    judge_appends(appends, places, wrong, features)
    judge_order(appends, places, wrong, features)
    known = {op["id"] for op in appends}
    wrong += [f"record {record} was never appended" for record in places if record not in known]
    judge_reads(operations, final, wrong, features)


def judge_appends(appends, places, wrong, features):
    for op in appends:
        outcome, there = op.get("outcome", "open"), op["id"] in places
        if outcome == "written":
            features.add("append: written")
            if places.get(op["id"]) != op["offset"]:
                wrong.append(f"record {op['id']} was reported at {op['offset']}, it is at {places.get(op['id'])}")
        elif outcome == "outcome_unknown":
            features.add("append: unknown, landed" if there else "append: unknown, lost")
        elif outcome.startswith("refused") or outcome == "unavailable":
            features.add("append: refused" if outcome.startswith("refused") else "append: not written")
            if there:
                wrong.append(f"record {op['id']} was said not to be written ({outcome}), and is there")
        else:
            wrong.append(f"append {op['id']} ended as {outcome}")


def judge_order(appends, places, wrong, features):
    """Appends land in the order in which they were made. After an unknown outcome a log may have another producer,
    and what the former one has on the way may land behind records of the next."""
    landed = [op for op in appends if op["id"] in places]
    unknown = [op["ended"] for op in appends if op.get("outcome") == "outcome_unknown"]
    newest = -1
    for op in landed:
        offset = places[op["id"]]
        if offset < newest:
            if not unknown or op["begun"] < min(unknown):
                wrong.append(f"record {op['id']} overtook one that was appended before it")
            features.add("append: overtaken after an unknown outcome")
        newest = max(newest, offset)


def judge_reads(operations, final, wrong, features):
    seen_until = []  # (when the read ended, one behind the newest record that it saw)
    for op in operations:
        if op["what"] == "read":
            if op.get("outcome") != "read":
                features.add(f"read: {op.get('outcome', 'open')}")
                continue
            there = [pair for pair in final if op["from"] <= pair[0] < op["next"]]
            if op["records"] != there:
                wrong.append(f"a read of {op['from']}..{op['next']} saw {op['records']}, at the end there is {there}")
            features.add("read: records" if op["records"] else "read: nothing")
            if op["records"]:
                seen_until.append((op["ended"], op["records"][-1][0] + 1))
        elif op["what"] == "end":
            if op.get("outcome") != "end":
                features.add(f"end: {op.get('outcome', 'open')}")
                continue
            features.add("end")
            late = [until for ended, until in seen_until if ended < op["begun"] and until > op["offset"]]
            if late:
                wrong.append(f"the end is {op['offset']}, a record before {max(late)} had been read")


# ---- the runs

def script(binary, *words, **more):
    done = subprocess.run([binary, *map(str, words)], stdout=subprocess.PIPE, timeout=300, check=False, **more)
    if done.returncode != 0:
        raise AssertionError(f"log_script {words} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def kcat_reads(brokers, topic):
    """What an independent reader finds, in the form of "final"."""
    out = subprocess.run(
        ["kcat", "-b", brokers, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-u", "-f", "%p %o %s\n"],
        stdout=subprocess.PIPE, timeout=120, check=True).stdout.decode()
    final = [[] for _ in range(PARTITIONS)]
    for line in out.splitlines():
        partition, offset, text = line.split(" ", 2)
        final[int(partition)].append([int(offset), text.split(":", 1)[0]])
    return [sorted(records) for records in final]


class LogConformance(unittest.TestCase):
    binary = None

    def simulated(self):
        features = set()
        for seed in range(1, SIM_SEEDS + 1):
            run = script(self.binary, "sim", seed, SIM_OPERATIONS)
            wrong, seen = judge(run)
            self.assertEqual([], wrong, f"the simulated log, seed {seed}")
            features |= seen
        return features

    def test_the_simulation_contains_what_a_real_broker_does(self):
        simulated = self.simulated()
        with tempfile.TemporaryDirectory(prefix="varve-conformance-") as folder, Services(Path(folder)) as services:
            real = self.real_run(services)
        print("seen of the real broker: " + "; ".join(sorted(real)))
        print("only of the simulated one: " + "; ".join(sorted(simulated - real)))
        self.assertEqual(set(), real - simulated, "the real log did what the simulated one never does")

    @staticmethod
    def disturb(broker):
        """The lengths are those of the faults: nothing is waited for with them."""
        time.sleep(2)
        broker.kill()
        time.sleep(1)
        broker.start()
        for seconds in (3, MESSAGE_TIMEOUT_SECONDS + 3):
            time.sleep(2)
            broker.pause()
            time.sleep(seconds)
            broker.resume()

    def real_run(self, services):
        services.start(brokers=1)
        brokers, topic = services.bootstrap, "conformance-" + uuid.uuid4().hex[:8]
        process = subprocess.Popen(
            [self.binary, "kafka", "17", str(REAL_OPERATIONS), brokers, topic], stdout=subprocess.PIPE)
        try:
            self.assertEqual(b"running\n", process.stdout.readline())
            self.disturb(services.brokers[0])
            out = process.communicate(timeout=240)[0]
        finally:
            process.kill()
        self.assertEqual(0, process.returncode)
        run = json.loads(out.splitlines()[-1])
        final = kcat_reads(brokers, topic)
        self.assertEqual(final, run["final"], "kcat and our reader see the same records")
        wrong, features = judge(run)
        self.assertEqual([], wrong, "the real log")
        self.assertIn("append: written", features)
        return features


class Judge(unittest.TestCase):
    """The judge itself: each promise broken once."""

    @staticmethod
    def append(record, outcome, offset=None, begun=0):
        op = {"what": "append", "partition": 0, "id": record, "outcome": outcome, "begun": begun, "ended": begun + 1}
        return op if offset is None else op | {"offset": offset}

    def said(self, operations, final):
        return judge({"operations": operations, "final": [final, []]})[0]

    def test_a_good_run(self):
        operations = [self.append("a", "written", 0), self.append("b", "outcome_unknown"),
                      {"what": "read", "partition": 0, "from": 0, "next": 1, "records": [[0, "a"]], "outcome": "read",
                       "begun": 4, "ended": 5},
                      {"what": "end", "partition": 0, "offset": 1, "outcome": "end", "begun": 6, "ended": 7}]
        self.assertEqual([], self.said(operations, [[0, "a"]]))

    def test_what_breaks_a_promise_is_named(self):
        read = {"what": "read", "partition": 0, "from": 0, "next": 2, "records": [[0, "a"], [1, "x"]],
                "outcome": "read", "begun": 4, "ended": 5}
        end = {"what": "end", "partition": 0, "offset": 1, "outcome": "end", "begun": 6, "ended": 7}
        a, b = self.append("a", "written", 0), self.append("b", "written", 1, begun=2)
        for operations, final, word in (
                ([a], [], "reported at 0"),
                ([self.append("a", "unavailable")], [[0, "a"]], "said not to be written"),
                ([self.append("a", "refused unavailable")], [[0, "a"]], "said not to be written"),
                ([self.append("a", "corrupt")], [], "ended as corrupt"),
                ([a], [[0, "a"], [1, "a"]], "twice"),
                ([a], [[0, "a"], [1, "z"]], "never appended"),
                ([self.append("a", "written", 1), self.append("b", "written", 0)], [[0, "b"], [1, "a"]], "overtook"),
                ([a, b, read], [[0, "a"], [1, "b"]], "a read of"),
                ([a, b, read | {"records": [[0, "a"], [1, "b"]]}, end], [[0, "a"], [1, "b"]], "the end is 1"),
                ([a], [[1, "a"], [0, "b"]], "do not increase")):
            self.assertTrue(any(word in text for text in self.said(operations, final)), word)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--script", required=True, help="the binary log_script")
    options, rest = parser.parse_known_args()
    LogConformance.binary = options.script
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
