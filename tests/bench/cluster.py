#!/usr/bin/env python3
"""Measures a cluster on real Kafka and PostgreSQL, and prints tables for docs/benchmarks.md.

    ./dev bench cluster [--quick]                 builds release, then runs this
    tests/bench/cluster.py --bin build/release/bin [--rounds 3] [--seconds 4] [--kills 8] [--only latency ..]

Services, nodes and load run on this machine and share its processors, in a temporary folder that is gone afterwards.

latency      POST messages to one node, 1 and 16 clients, ack=view and ack=log
forwarding   the same agent's messages, sent to the node that owns it and to another one
nodes        three nodes against one, 16 clients; requests go to any node, so two of three are forwarded
worker       messages to a node without the role `projections`, whose views a process of their own folds
failover     how long the agents of a node have no answer: after SIGKILL, after SIGTERM, and after SIGKILL of a static
             member (kafka_static_member) that is started again at once

Where two things are compared, their rounds alternate, and the medians count. Load is a closed loop of varve-load on
fresh agents of the echo model. Nothing is asserted but that requests succeed. Everything ends within --minutes: what
there is no time for is left out, and said.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

import support  # noqa: E402
from cluster_nodes import Node, Place, make_agents, owners, real_services, wait_until_shared  # noqa: E402
from support import Background, Failure, check, check_equal, key, poll, user_message  # noqa: E402

PARTITIONS = 6  # Two for each of three nodes.
CLIENTS = 16
REQUESTS_MAX = 1_000_000  # Time ends a load, not this.
VIEWS_SECONDS_MAX = 60    # Until the views have caught up.
OUTAGE_SECONDS_MAX = 60   # Until an agent has an owner again.
PAUSE = 0.02              # Between two requests of a client that waits for its agent.
PARTS = ("latency", "forwarding", "nodes", "worker", "failover")


def note(what):
    print(what, file=sys.stderr, flush=True)


class Bench:
    """What was chosen, the clock, and the clusters: each has a topic and a database of its own."""

    def __init__(self, workshop, services, chosen):
        self.workshop, self.services, self.chosen = workshop, services, chosen
        self.varve_load = os.path.join(chosen.bin, "varve-load")
        self.deadline = time.monotonic() + 60 * chosen.minutes
        self.agents_made = 0

    def left(self):
        return self.deadline - time.monotonic()

    def cluster(self, name, count, place=None, members=(), roles=""):
        """Ready nodes that share the partitions. `members`: their names as static members. `roles`: otherwise all."""
        place = place or Place(self.workshop, self.services, name, script=None)
        nodes = []
        for number in range(count):
            more = ["--cluster", place.cluster, "--partitions", str(PARTITIONS)]
            if members:
                more += ["--kafka-static-member", members[number]]
            if roles:
                more += ["--roles", roles]
            nodes.append(Node(self.workshop, "%s-%d" % (name, number), place, more))
        nodes[0].start()  # It makes the topic and the schema.
        for node in nodes[1:]:
            node.start(wait=False)
        for node in nodes:
            node.wait_healthy()
        wait_until_shared(nodes)
        note("%s: %d nodes are ready" % (name, count))
        return nodes

    def agents(self, nodes, least):
        """[(id, partition)], new ones: what is measured does not depend on what was measured before."""
        self.agents_made += 1
        return make_agents(nodes, least, "bench-%d" % self.agents_made, PARTITIONS)

    def load(self, nodes, paths, clients, ack):
        """Messages to these agents, by so many clients at once. {"p50": ms, "p99": ms, "rate": requests per second}"""
        lines = os.path.join(self.workshop.directory, "paths")
        with open(lines, "w", encoding="utf-8") as out:
            out.writelines("/v1/agents/%s/messages?ack=%s\n" % (agent, ack) for agent in paths)
        done = subprocess.run(
            [self.varve_load, "--port", ",".join(str(node.port) for node in nodes), "--connections", str(clients),
             "--requests", str(REQUESTS_MAX), "--seconds-max", str(self.chosen.seconds), "--mode", "post",
             "--agents-from-file", lines, "--body", '{"input":"hello {n}"}'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=self.chosen.seconds + 60, check=False)
        got = json.loads(done.stdout or b"{}")
        check(got.get("requests", 0) > 0 and got["errors"] == 0, "every request of the load is served", got)
        poll("the views have caught up", VIEWS_SECONDS_MAX, lambda: all(one["lag"] == 0 for one in partitions(nodes[0])))
        return {"p50": got["p50_us"] / 1000, "p99": got["p99_us"] / 1000, "rate": got["requests_per_second"]}

    def fresh_load(self, nodes, clients, ack):
        return self.load(nodes, [agent for agent, _ in self.agents(nodes, CLIENTS)], clients, ack)

    def warm(self, nodes):
        if self.chosen.quick:
            return
        for clients in (1, CLIENTS):
            self.fresh_load(nodes, clients, "view")


def partitions(node):
    client = node.client()
    try:
        return client.expect(200, "GET", "/v1/varve/cluster").json["partitions"]
    finally:
        client.close()


def epochs(node):
    """Of the partitions' newest claims."""
    return {one["partition"]: one["epoch"] or 0 for one in partitions(node)}


def medians(rounds):
    return {measure: statistics.median(figures[measure] for figures in rounds) for measure in rounds[0]}


def in_turns(bench, what, cases):
    """{case: medians}; `cases` is {case: work that measures it once}."""
    rounds = {case: [] for case in cases}
    for number in range(bench.chosen.rounds):
        for case, work in cases.items():
            if number > 0 and bench.left() < 0:
                note("%s: no time for round %d" % (what, number + 1))
                continue
            figures = work()
            rounds[case].append(figures)
            note("%s, round %d, %s: p50 %.2f ms, p99 %.2f ms, %.0f/s"
                 % (what, number + 1, case, figures["p50"], figures["p99"], figures["rate"]))
    return {case: medians(figures) for case, figures in rounds.items()}


def table(head, rows):
    print("| %s |\n|%s" % (" | ".join(head), "---|" * len(head)))
    for row in rows:
        print("| %s |" % " | ".join(row))
    print(flush=True)


# ---- latency, forwarding, more nodes

def latency(bench, one):
    cases = {(clients, ack): lambda clients=clients, ack=ack: bench.fresh_load(one, clients, ack)
             for clients in (1, CLIENTS) for ack in ("view", "log")}
    table(("POST messages, one node", "p50", "p99", "requests"),
          [("%d client%s, `ack=%s`" % (clients, "" if clients == 1 else "s", ack), "%.2f ms" % seen["p50"],
            "%.2f ms" % seen["p99"], "%.0f/s" % seen["rate"])
           for (clients, ack), seen in in_turns(bench, "latency", cases).items()])


def worker_apart(bench):
    place = Place(bench.workshop, bench.services, "apart", script=None)
    nodes = bench.cluster("apart", 1, place, roles="api,actors")
    worker = Node(bench.workshop, "worker", place, ["--cluster", place.cluster, "--partitions", str(PARTITIONS),
                                                    "--roles", "projections"])
    worker.start(wait=False)  # It answers no clients; the first load waits for its views.
    bench.warm(nodes)
    cases = {clients: lambda clients=clients: bench.fresh_load(nodes, clients, "view") for clients in (1, CLIENTS)}
    table(("POST messages, `ack=view`, one node and a projection worker", "p50", "p99", "requests"),
          [("%d client%s" % (clients, "" if clients == 1 else "s"), "%.2f ms" % seen["p50"], "%.2f ms" % seen["p99"],
            "%.0f/s" % seen["rate"]) for clients, seen in in_turns(bench, "worker", cases).items()])
    for node in (*nodes, worker):
        check_equal(node.terminate(), 0, "the exit code after SIGTERM")


def forwarding(bench, nodes):
    agent, partition = bench.agents(nodes, 1)[0]
    shares = owners(nodes[0])
    owner = next(node for node in nodes if node.base == shares[partition])
    other = next(node for node in nodes if node is not owner)
    cases = {(ack, where): lambda ack=ack, node=node: bench.load([node], [agent], 1, ack)
             for ack in ("log", "view") for where, node in (("owner", owner), ("other", other))}
    seen = in_turns(bench, "forwarding", cases)
    table(("one agent, 1 client, %d nodes" % len(nodes), "sent to its owner, p50", "to another node, p50", "difference"),
          [("`ack=%s`" % ack, "%.2f ms" % seen[ack, "owner"]["p50"], "%.2f ms" % seen[ack, "other"]["p50"],
            "%.2f ms" % (seen[ack, "other"]["p50"] - seen[ack, "owner"]["p50"])) for ack in ("log", "view")])


def more_nodes(bench, one, several):
    cases = {count: lambda nodes=nodes: bench.fresh_load(nodes, CLIENTS, "view")
             for count, nodes in ((len(one), one), (len(several), several))}
    seen = in_turns(bench, "nodes", cases)
    ratio = seen[len(several)]["rate"] / seen[len(one)]["rate"]
    table(("POST messages, %d clients, `ack=view`" % CLIENTS, "requests", "p50", "p99"),
          [("%d node%s" % (count, "" if count == 1 else "s, ratio %.2f" % ratio), "%.0f/s" % figures["rate"],
            "%.2f ms" % figures["p50"], "%.2f ms" % figures["p99"]) for count, figures in seen.items()])


# ---- failover

class Visitor:
    """A client that sends messages to one agent through one node, as fast as they are answered, and tries again when it
    is told to."""

    def __init__(self, node, agent):
        self.node, self.agent = node, agent
        self.answered = []  # (when it began, when it was answered)
        self.stop = threading.Event()
        self.work = Background(self.run)

    def run(self):
        client = self.node.client()
        while not self.stop.is_set():
            began = time.monotonic()
            text = "%s visit %f" % (self.agent, began)
            answer = support.retried(client, "POST", "/v1/agents/%s/messages" % self.agent, user_message(text), key(text),
                                     began + OUTAGE_SECONDS_MAX, PAUSE)
            check_equal(answer.status, 200, "the answer in the end")
            self.answered.append((began, time.monotonic()))
            time.sleep(PAUSE)
        client.close()

    def wait_answered(self):
        """Until a request that begins from now on is answered."""
        now = time.monotonic()

        def done():
            check(self.work.is_alive(), "a client goes on", self.work.raised)
            return self.answered and self.answered[-1][0] > now
        poll("%s answers again" % self.agent, OUTAGE_SECONDS_MAX, done, PAUSE)

    def longest_wait(self, begin):
        """The longest time without an answer, from `begin` on."""
        times = [begin] + [end for _, end in self.answered if end > begin]
        return max(late - early for early, late in zip(times, times[1:]))


def kill(node):
    node.kill9()
    return lambda: node.start()


def kill_and_start(node):
    node.kill9()
    node.start(wait=False)
    return node.wait_healthy


def drain(node):
    node.process.send_signal(signal.SIGTERM)

    def again():
        check_equal(node.process.wait(support.STOP_SECONDS_MAX), 0, "the exit code after SIGTERM")
        node.process = None
        node.start()
    return again


def outage(nodes, victim, agents, hurt):
    """Seconds for which agents of the victim, one of each of its partitions, had no answer at another node."""
    shares = owners(nodes[0])
    mine = {partition: agent for agent, partition in agents if shares[partition] == victim.base}
    check(mine, "the victim owns an agent", shares)
    other = next(node for node in nodes if node is not victim)
    before = epochs(other)
    visitors = [Visitor(other, agent) for agent in mine.values()]
    try:
        for visitor in visitors:
            visitor.wait_answered()
        began = time.monotonic()
        again = hurt(victim)

        def owned():
            now = epochs(other)
            return all(now[partition] > before[partition] for partition in mine)
        poll("somebody owns the partitions of the victim", OUTAGE_SECONDS_MAX, owned, PAUSE)
        for visitor in visitors:
            visitor.wait_answered()
    finally:
        for visitor in visitors:
            visitor.stop.set()
    for visitor in visitors:
        visitor.work.result(OUTAGE_SECONDS_MAX)
    again()
    wait_until_shared(nodes)
    return [visitor.longest_wait(began) for visitor in visitors]


def failover(bench, nodes, what, hurt):
    """A row of the table."""
    agents = bench.agents(nodes, PARTITIONS)
    waits, times = [], 0
    while times < bench.chosen.kills:
        if times > 0 and bench.left() < 0:
            note("%s: no time for more than %d" % (what, times))
            break
        seen = outage(nodes, nodes[times % len(nodes)], agents, hurt)
        waits += seen
        times += 1
        note("%s, %d: %s" % (what, times, ", ".join("%.2f s" % seconds for seconds in seen)))
    return (what, "%d, %d agents" % (times, len(waits)), "%.2f s" % statistics.median(waits), "%.2f s" % max(waits))


def failovers(bench, nodes):
    rows = [failover(bench, nodes, "SIGKILL, default settings", kill),
            failover(bench, nodes, "SIGTERM (a planned stop)", drain)]
    for node in nodes:
        check_equal(node.terminate(), 0, "the exit code after SIGTERM")
    members = ["member-%d" % number for number in range(len(nodes))]
    nodes = bench.cluster("static", len(nodes), nodes[0].place, members)
    rows.append(failover(bench, nodes, "SIGKILL, static member, started again at once", kill_and_start))
    table(("agents of a node without an answer, %d nodes" % len(nodes), "times", "p50", "max"), rows)


# ---- all

def conditions(bench):
    with open("/proc/meminfo", encoding="ascii") as info:
        memory = int(info.readline().split()[1]) / 2**20
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, check=False).stdout.decode().strip()
    chosen = bench.chosen
    print("Conditions: %s, %s, commit %s, binaries of %s. One Kafka broker, PostgreSQL (fsync on), all nodes and the load "
          "share this machine's %d cores and %.0f GiB, over loopback; replication factor 1, %d partitions, echo model; "
          "medians of %d alternating rounds of %d s. Load average before: %.2f.\n"
          % (time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), os.uname().machine, commit or "unknown",
             os.path.relpath(chosen.bin, ROOT), os.cpu_count(), memory, PARTITIONS, chosen.rounds, chosen.seconds,
             os.getloadavg()[0]), flush=True)


def story(bench):
    wanted = bench.chosen.only
    conditions(bench)
    one = bench.cluster("one", 1) if {"latency", "nodes"} & set(wanted) else []
    if one:
        bench.warm(one)
    if "latency" in wanted:
        latency(bench, one)
    several = bench.cluster("several", bench.chosen.nodes) if set(wanted) - {"latency", "worker"} else []
    if {"forwarding", "nodes"} & set(wanted):
        bench.warm(several)
    if "forwarding" in wanted:
        forwarding(bench, several)
    if "nodes" in wanted:
        more_nodes(bench, one, several)
    for node in one:
        check_equal(node.terminate(), 0, "the exit code after SIGTERM")
    if "worker" in wanted:
        worker_apart(bench)
    if "failover" in wanted:
        failovers(bench, several)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(ROOT / "build/release/bin"), help="folder of varve and varve-load")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of load in each round")
    parser.add_argument("--kills", type=int, default=8, help="of each kind")
    parser.add_argument("--nodes", type=int, default=3, help="of the larger cluster")
    parser.add_argument("--minutes", type=float, default=7, help="after which nothing new is begun")
    parser.add_argument("--quick", action="store_true", help="whether it runs at all: its figures mean nothing")
    parser.add_argument("--shared-services", action="store_true",
                        help="those of $VARVE_SERVICES or ./dev services, instead of some of its own")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.kills, chosen.nodes = 1, 1, 1, 2
    chosen.bin = os.path.abspath(chosen.bin)
    return chosen


def main():
    chosen = parsed()
    began = time.monotonic()
    try:
        with support.Workshop(os.path.join(chosen.bin, "varve")) as workshop:
            if chosen.shared_services:
                story(Bench(workshop, real_services.shared(), chosen))
            else:
                with real_services.Services(os.path.join(workshop.directory, "services")) as services:
                    services.start()
                    story(Bench(workshop, services, chosen))
                    for server in workshop.servers:
                        server.stop_for_good()
    except Failure as failure:
        sys.exit("FAILED: %s" % failure)
    except Exception:  # A fault of the script itself, or a connection that should have held.
        traceback.print_exc()
        sys.exit("FAILED: see above")
    print("It took %.0f s. Load average after: %.2f." % (time.monotonic() - began, os.getloadavg()[0]))


if __name__ == "__main__":
    main()
