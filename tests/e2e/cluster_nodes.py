"""The nodes of a cluster on real Kafka and PostgreSQL, as cluster_test.py, move_test.py and tests/bench/cluster.py start
them: each on a free port, which is its name; and who owns what among them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import support
from support import Failure, check, poll

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import services as real_services  # noqa: E402

READY_SECONDS_MAX = 60
TAKEOVER_SECONDS_MAX = 40
REFUSED_SECONDS_MAX = 60
PARTITIONS = 4  # The default.
SECRET = "what only nodes know"
SLOW_MS = 9000

SCRIPT = {
    "replies": [
        {"match": "take your time", "delay_ms": SLOW_MS, "text": "slow answer"},
        {"match": "word by word", "token_delay_ms": 150, "text": "one two three four five six seven eight"},
    ],
    "default": {"text": "plain answer"},
}


class Node(support.Server):
    """A member of a cluster. Its port is its identity here."""

    def __init__(self, workshop, name, place, more=(), **environment):
        super().__init__(workshop.binary, os.path.join(workshop.directory, name))
        self.place = place
        self.more = list(more)
        self.environment.update(VARVE_POSTGRES_PASSWORD=place.postgres_password, VARVE_CLUSTER_SECRET=SECRET)
        self.environment.update(environment)
        workshop.servers.append(self)

    def command(self):
        return [self.binary, "serve", "--listen", "127.0.0.1:%d" % self.port, "--log", "kafka", "--store", "postgres",
                "--kafka-brokers", self.place.brokers, "--kafka-topic", self.place.topic,
                "--kafka-replication-factor", "1", "--postgres-url", self.place.postgres_url, "--migrate",
                *self.place.model, *self.more]

    def wait_healthy(self):
        """Healthy is who lives; this waits until it answers for its agents."""

        def ready():
            if self.process.poll() is not None:
                raise Failure("the node ended with exit code %d before it was ready; it said:\n%s"
                              % (self.process.returncode, self.tail()))
            return support.answers(self.port, "/v1/agents/?limit=1")

        poll("the node at %s is ready (its log: %s)" % (self.base, self.log_path), READY_SECONDS_MAX, ready)

    def status(self):
        done = self.run_tool("cluster", "status", "--json", "--server", self.base)
        check(done.returncode == 0, "varve cluster status must work", done.stderr.decode("utf-8", "replace"))
        return json.loads(done.stdout)

    def refused(self):
        """Runs it until it ends by itself; gives back what it said."""
        self.start(wait=False)
        try:
            code = self.process.wait(REFUSED_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            self.stop_for_good()
            raise Failure("the node must end by itself; it said:\n" + self.tail()) from error
        self.process = None
        check(code in (1, 2), "its exit code says that it failed", (code, self.tail()))
        return self.tail()


class Place:
    """A topic and a database of our own on services that others may use, too. Without a script models echo."""

    def __init__(self, workshop, services, name, script=SCRIPT):
        unique = "%s_%d_%d" % (name, os.getpid(), int(time.time()))
        self.services = services
        addresses = services.addresses()
        self.brokers = addresses["kafka"]["bootstrap"]
        self.topic = unique
        self.cluster = unique  # Groups are named after it.
        services.postgres.sql("CREATE DATABASE %s" % unique)
        self.postgres_url = "postgresql://varve@127.0.0.1:%d/%s" % (services.postgres.port, unique)
        self.postgres_password = addresses["postgres"]["password"]
        self.model = []  # What the command line says of it.
        if script is not None:
            path = os.path.join(workshop.directory, name + ".script.json")
            with open(path, "w", encoding="utf-8") as out:
                json.dump(script, out)
            self.model = ["--model-script", path]


def partition_of(answer):
    """Of an agent, from the answer to what made or changed it."""
    return int(answer.headers["varve-position"].split(":")[0])


def owners(node):
    """{partition: url of its owner}, as this node sees it."""
    return {one["partition"]: one["url"] for one in node.status()["partitions"]}


def epochs(node):
    """{partition: epoch of its newest claim}, as this node sees it; 0 = none."""
    return {one["partition"]: one["epoch"] or 0 for one in node.status()["partitions"]}


def wait_until_shared(nodes):
    """Every node owns as many partitions as the others, or one more: the group has come to rest. Gives back owners()."""

    def shared():
        seen = owners(nodes[0])
        shares = [list(seen.values()).count(node.base) for node in nodes]
        return seen if sum(shares) == len(seen) and max(shares) - min(shares) <= 1 and min(shares) > 0 else None

    return poll("%s own as much each" % [node.base for node in nodes], TAKEOVER_SECONDS_MAX, shared, pause=0.3)


def make_agents(nodes, least, name, partitions=PARTITIONS):
    """[(id, partition)]; made at all nodes in turn, `least` of them and one in every partition."""
    agents = []
    for number in range(100):
        if number >= least and len({partition for _, partition in agents}) == partitions:
            break
        client = nodes[number % len(nodes)].client()
        body = {"name": "%s-%d" % (name, number), "model": support.MODEL,
                "memory_blocks": [{"label": "human", "value": "Ada"}]}
        answer = client.expect(200, "POST", "/v1/agents/", body)
        agents.append((answer.json["id"], partition_of(answer)))
        client.close()
    return agents
