#!/usr/bin/env python3
"""The views of a cluster are made anew in PostgreSQL while two nodes serve, and the tool is killed on the way.

    rebuild_cluster_test.py --varve build/dev/bin/varve [--seed N]     ($VARVE_SERVICES, or ./dev services start)

What is shown: no read of any node fails or goes back in the course of it; a tool that is killed goes on; two at once are
refused; given up, nothing is left; `verify` finds the new views equal to the log; status tells the generation; a node
that verifies all the time finds nothing in the course of all this, and then a row that somebody changes.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import support  # noqa: E402
from cluster_test import Node, Place, real_services  # noqa: E402
from support import check, check_equal, create_agent, ok, user_message  # noqa: E402

KILLS = 20
FOUND_SECONDS_MAX = 90  # Until a round has found what was changed.


class Tools:
    """The commands of an operator."""

    def __init__(self, node, place):
        self.node = node
        self.place = place
        self.where = ["--log", "kafka", "--kafka-brokers", place.brokers, "--kafka-topic", place.topic, "--store",
                      "postgres", "--postgres-url", place.postgres_url]

    def run(self, *words, seconds=180):
        done = self.node.run_tool(*words, *self.where, seconds=seconds)
        return done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "replace")

    def begin(self, *words):
        return subprocess.Popen([self.node.binary, *words, *self.where], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.node.environment)

    def status(self):
        code, out, err = self.run("projections", "status", "--json")
        check_equal(code, 0, "exit code of status (%s)" % err)
        return json.loads(out)

    def sql(self, statement):
        return self.place.services.postgres.sql(statement, self.place.topic)

    def end_lease(self):
        """As after 15 s: whoever had it was killed. False: nobody had one."""
        schemas = self.sql("SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE "
                           "relname = 'rebuild' AND relkind = 'r'")
        for schema in schemas:
            self.sql("UPDATE %s.rebuild SET until = now()" % schema)
        return bool(schemas)

    def verify(self):
        code, out, err = self.run("verify")
        check(code == 0 and out.count("the views equal the log") == 4, "the views equal the log", (code, out, err))


class Clients:
    """Reads and writes by both nodes until stop()."""

    def __init__(self, nodes, agents):
        self.over = threading.Event()
        self.reads = self.writes = 0
        self.work = []
        for node in nodes:
            self.work.append(support.Background(lambda node=node: self.read(node, agents)))
            self.work.append(support.Background(lambda node=node: self.write(node, agents)))

    def read(self, node, agents):
        client = node.client()
        newest = dict.fromkeys(agents, 0)
        while not self.over.is_set():
            for agent in agents:
                got = len(client.expect(200, "GET", "/v1/agents/%s/messages?order=asc&limit=100000" % agent).json)
                check(got >= newest[agent], "a read must not go back (%d of %d messages)" % (got, newest[agent]))
                newest[agent] = got
                self.reads += 1
        client.close()

    def write(self, node, agents):
        client = node.client()
        while not self.over.is_set():
            client.expect(200, "POST", "/v1/agents/%s/messages" % agents[self.writes % len(agents)],
                          user_message("still there?"))
            self.writes += 1
        client.close()

    def stop(self):
        self.over.set()
        for one in self.work:
            one.result()


def killed_on_the_way(tools, chance):
    killed = resumed = 0
    for _ in range(KILLS):
        process = tools.begin("projections", "rebuild", "--grace", "0")
        time.sleep(chance.uniform(0.2, 1.2))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate(timeout=60)
        resumed += tools.end_lease()
    check(killed > 0 and resumed > 0, "some were killed on the way", (killed, resumed))

    def ended():
        tools.end_lease()
        code, out, err = tools.run("projections", "rebuild", "--grace", "1")
        check(code == 0 or "another rebuild is at work" in err, "only the lease of the killed one holds it up", err)
        return code == 0 and out

    out = support.poll("the rebuild ends", 90, ended, pause=1)
    check("verified" in out, "it says what it has done", out)
    ok("a rebuild that was killed %d times, %d of them at work, ends" % (killed, resumed))


def verify_metrics(node):
    client = node.client()
    text = client.expect(200, "GET", "/metrics").raw.decode()
    client.close()
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith("varve_verify_")}


def the_node_that_verifies_finds_a_changed_row(node, tools):
    told = support.poll("a round has ended", FOUND_SECONDS_MAX,
                        lambda: verify_metrics(node) if verify_metrics(node)["varve_verify_rounds_total"] else None)
    check_equal((told["varve_verify_differences_total"], told["varve_verify_partitions_differing"]), (0, 0),
                "nothing differed beside writes, rebuilds and kills")
    schema = "varve_views_%d" % tools.status()["generation"]
    tools.sql("UPDATE %s.messages SET content = 'x' WHERE id = (SELECT min(id) FROM %s.messages)" % (schema, schema))
    support.poll("a round has found the row", FOUND_SECONDS_MAX,
                 lambda: verify_metrics(node)["varve_verify_partitions_differing"] == 1)
    check("content is 'x', the log says '" in node.tail(), "the log of the node names it", node.tail())
    code, out, err = tools.run("verify", "--continuous", "--rate", "100000")
    check(code == 1 and "content is 'x', the log says '" in out, "so does the command", (code, out, err))
    ok("a node that verifies all the time (%d rounds) finds the row" % told["varve_verify_rounds_total"])


def two_at_once(tools):
    first = tools.begin("projections", "rebuild", "--grace", "60")
    support.poll("the next views are begun", 60, lambda: tools.status()["next"] is not None or first.poll() is not None,
                 pause=0.01)
    # Held where it is, as a machine that is slow would be: its lease is good for 15 s.
    first.send_signal(signal.SIGSTOP)
    if tools.status()["next"] is None:
        first.kill()
        first.communicate(timeout=60)
        return
    for words in (("projections", "rebuild"), ("projections", "rebuild", "--abort")):
        code, _, err = tools.run(*words)
        check(code == 1 and "another rebuild is at work" in err, "a second one is refused", (words, code, err))
    first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=120)
    ok("two rebuilds at once are refused")


def story(workshop, chosen):
    seed = chosen.seed if chosen.seed is not None else random.randrange(1 << 30)
    print("seed %d" % seed, flush=True)
    place = Place(workshop, real_services.shared(), "rebuild")
    verifies = {"VARVE_VERIFY_CONTINUOUS": "true", "VARVE_VERIFY_RATE": "4000", "VARVE_VERIFY_PAUSE": "0"}
    nodes = [Node(workshop, "one", place, ["--cluster", place.cluster], **verifies).start(),
             Node(workshop, "two", place, ["--cluster", place.cluster]).start()]
    client = nodes[0].client()
    agents = [create_agent(client, "agent-%d" % number, {"human": "h"}) for number in range(6)]
    for turn in range(8):
        for agent in agents:
            client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("hello %d" % turn))
    client.close()
    tools = Tools(nodes[0], place)
    generation = tools.status()["generation"]
    clients = Clients(nodes, agents)
    killed_on_the_way(tools, random.Random(seed))
    now = tools.status()
    check(now["generation"] > generation and now["next"] is None, "another generation is shown", now)
    for _ in range(2):
        code, out, err = tools.run("projections", "rebuild", "--grace", "0", "--jobs", "4")
        check(code == 0 and "verified" in out, "again and again", (code, out, err))
    two_at_once(tools)
    clients.stop()
    check(clients.reads > 20 and clients.writes > 5, "clients were at work", (clients.reads, clients.writes))
    tools.run("projections", "rebuild", "--abort")
    check(tools.status()["next"] is None, "nothing is left of it")
    tools.verify()
    ok("both nodes went on: %d reads, %d writes" % (clients.reads, clients.writes))
    the_node_that_verifies_finds_a_changed_row(nodes[0], tools)
    for node in nodes:
        check_equal(node.terminate(), 0, "exit code after SIGTERM")


if __name__ == "__main__":
    support.main(__doc__, story)
