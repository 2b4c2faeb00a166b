"""The servers of chaos_test.py, and what is done to them: one node on embedded stores, or a cluster on real Kafka and
PostgreSQL, killed, stopped, drained and started again while clients are at work."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import chaos_history
import support
from chaos_history import Killing
from support import check

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import services  # noqa: E402

SESSION_SECONDS = 6
PARTITIONS = 8
NODES = 3
READY_SECONDS_MAX = 90
LAG_MAX = 100  # Records; under load it is never 0 for long.
TOPIC, CLUSTER = "varve.events", "chaos"
KCAT_TRIES = 3
KCAT_SECONDS_MAX = 45  # The topic of a run is read in 2 s.
REPLICAS_MAX = 3
SERVED_WITHOUT_SECONDS_MAX = 60  # While one of three brokers is away.
SERVED_WITHOUT_MIN = 3  # Commands of each client: among its agents are some that the broker led.


class Node(support.Server):
    """A server whose command line is given. It may be stopped (SIGSTOP) and go on."""

    def __init__(self, workshop, name, arguments, environment=None):
        super().__init__(workshop.binary, os.path.join(workshop.directory, name))
        self.name = name
        self.arguments = arguments
        self.environment.update(environment or {})
        self.stopped = False
        self.served = []  # Partitions that it owned when it was last asked.
        workshop.servers.append(self)

    def command(self):
        return [self.binary, "serve", "--listen", "127.0.0.1:%d" % self.port, *self.arguments]

    def pause(self):
        self.check_alive()
        self.stopped = True
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.stopped = False
        self.process.send_signal(signal.SIGCONT)

    def partitions(self):
        """What it knows of them; nothing if it does not answer."""
        client = support.Client(self.port, seconds=5)
        try:
            answer = client.request("GET", "/v1/varve/cluster")
        except support.Unreachable:
            return []
        finally:
            client.close()
        return answer.json["partitions"] if answer.status == 200 else []

    def serves(self):
        """Of how many partitions it is the owner."""
        self.served = [one["partition"] for one in self.partitions() if one["here"] == "serving"]
        return len(self.served)

    def ready(self):
        return self.running() and not self.stopped and support.answers(self.port, "/v1/ready/")


class World:
    """The nodes, who takes requests, and a memory of what was done to whom."""

    def __init__(self, rng):
        self.random = rng
        self.nodes = []    # Take requests and own partitions.
        self.workers = []  # Fold.
        self.killings = []
        self.counts = {}
        self.burst = lambda node: None  # Sends a node many commands at once.
        self.done = lambda: []  # How many commands of each client are acknowledged.

    def everybody(self):
        return self.nodes + self.workers

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def hit(self, how, node):
        self.count(how)
        self.killings.append(Killing(how, node.base, time.monotonic(), time.time_ns() // 1000))

    def wait_ready(self):
        for node in self.everybody():
            support.poll("%s is ready (its log: %s)" % (node.name, node.log_path), READY_SECONDS_MAX, node.ready, 0.1)

    def wait_well(self):
        """Everybody is ready, every partition has an owner, and the views are hardly behind."""
        self.wait_ready()

        def served():
            seen = [node.partitions() for node in self.nodes]
            serving = sum(1 for known in seen for one in known if one["here"] == "serving")
            lags = [one["lag"] for known in seen for one in known]
            return all(seen) and serving == len(seen[0]) and all(lag is not None and lag <= LAG_MAX for lag in lags)
        support.poll("every partition is served, and the views are close", READY_SECONDS_MAX, served, 0.2)

    def owner(self):
        """A node that owns something: to hurt another one is no news to clients."""
        def some():
            return next((node for node in self.random.sample(self.nodes, len(self.nodes)) if node.serves()), None)
        return support.poll("a node owns a partition", READY_SECONDS_MAX, some, 0.2)

    # -- what is done; each leaves everything running, but not yet ready

    def kill(self, node=None, how="kill", pause=(0.2, 2.0)):
        node = node or self.owner()
        self.hit(how, node)
        node.kill9()
        time.sleep(self.random.uniform(*pause))
        node.start(wait=False)

    def kill_twice(self):
        """The second time while it recovers, or joins."""
        node = self.owner()
        self.kill(node)
        time.sleep(self.random.uniform(0.0, 1.5))
        self.kill(node, "kill again")

    def stop(self, seconds=SESSION_SECONDS + 2):
        """For longer than its session: when it goes on, others have taken its place, and many commands wait for it."""
        node = self.owner()
        self.hit("stop", node)
        node.pause()
        try:
            self.burst(node)
            time.sleep(seconds + self.random.uniform(0.5, 2))
        finally:
            node.resume()

    def stop_shortly(self):
        self.count("short stop")
        node = self.random.choice(self.everybody())
        node.pause()
        try:
            time.sleep(self.random.uniform(0.2, SESSION_SECONDS / 2))
        finally:
            node.resume()

    def drain(self):
        """A planned stop."""
        node = self.owner()
        self.hit("drain", node)
        support.check_equal(node.terminate(), 0, "the exit code of %s after SIGTERM" % node.name)
        time.sleep(self.random.uniform(0.0, 1.0))
        node.start(wait=False)

    def kill_worker(self):
        node = self.random.choice(self.workers)
        self.count("killed worker")
        node.kill9()
        time.sleep(self.random.uniform(0.0, 1.0))
        node.start(wait=False)


class Embedded(World):
    """One process with everything in files."""

    def __init__(self, workshop, rng):
        super().__init__(rng)
        self.directory = os.path.join(workshop.directory, "data")
        self.nodes = [Node(workshop, "data", ["--data-dir", self.directory])]

    def start(self):
        self.nodes[0].start()

    def faults(self):
        return [self.kill, lambda: self.stop(1), self.drain, self.kill_twice]

    def fold(self):
        fold = chaos_history.Fold()
        for line in self.nodes[0].log_records():
            fold.add(line["partition"], line["offset"],
                     json.dumps(line["record"], ensure_ascii=False, separators=(",", ":")))
        return fold

    def verify(self):
        self.nodes[0].verify()
        support.ok("varve verify finds that the views equal the log")

    def close(self):
        pass


class Cluster(World):
    """Three nodes and a projection worker on Kafka and PostgreSQL of their own. With three brokers every record has three
    replicas, and one broker may be away at any time."""

    def __init__(self, workshop, rng, folder=None, static=False, brokers=None):
        super().__init__(rng)
        self.directory = workshop.directory
        self.services = services.Services(folder or os.path.join(workshop.directory, "services"))
        self.keep_services = folder is not None
        self.services.start(brokers, fresh=folder is None)
        replicas = min(len(self.services.brokers), REPLICAS_MAX)
        addresses = self.services.addresses()
        postgres = addresses["postgres"]
        # Where log and views are; and what servers alone need to know.
        self.place = [
            "--log", "kafka", "--kafka-brokers", addresses["kafka"]["bootstrap"], "--kafka-topic", TOPIC,
            "--partitions", str(PARTITIONS), "--store", "postgres", "--postgres-url",
            "postgresql://%(user)s@%(host)s:%(port)d/%(database)s" % postgres]
        self.arguments = [*self.place, "--kafka-replication-factor", str(replicas), "--kafka-session-timeout",
                          str(SESSION_SECONDS), "--cluster", CLUSTER]
        self.environment = {"VARVE_POSTGRES_PASSWORD": postgres["password"], "VARVE_CLUSTER_SECRET": "chaos-secret"}
        for number in range(NODES):
            name = "node-%d" % number
            member = ["--kafka-static-member", name] if static else []
            self.nodes.append(self.node(workshop, name, ["--roles", "api,actors", *member]))
        self.workers.append(self.node(workshop, "worker", ["--roles", "projections"]))

    def node(self, workshop, name, arguments):
        return Node(workshop, name, [*self.arguments, *arguments], self.environment)

    def start(self):
        # The first makes the schema and the topic.
        self.nodes[0].arguments.append("--migrate")
        self.nodes[0].start()
        for node in self.everybody()[1:]:
            node.start(wait=False)
        for node in self.everybody():
            node.wait_healthy()

    def served_without(self, broker):
        """One of several is away: the others have every record, so clients need not wait for it."""
        if len(self.services.brokers) < REPLICAS_MAX:
            return
        before = self.done()
        support.poll("%d commands of each client are acknowledged without %s" % (SERVED_WITHOUT_MIN, broker.name),
                     SERVED_WITHOUT_SECONDS_MAX,
                     lambda: all(now - then >= SERVED_WITHOUT_MIN for then, now in zip(before, self.done())), 0.2)
        self.count("time with two brokers")

    def broker(self):
        self.count("broker restart")
        broker = self.random.choice(self.services.brokers)
        broker.stop()
        self.served_without(broker)
        broker.start()

    def kill_broker(self):
        self.count("broker kill")
        broker = self.random.choice(self.services.brokers)
        broker.kill()
        self.served_without(broker)
        broker.start()

    def postgres(self):
        self.count("postgres restart")
        self.services.postgres.restart()

    def kill_postgres(self):
        self.count("postgres kill")
        self.services.postgres.kill()
        self.services.postgres.start()

    def faults(self):
        """The first of them happen in every run."""
        return [self.kill, self.stop, self.broker, self.postgres, self.kill_worker, self.drain,
                self.kill_twice, self.stop_shortly, self.kill_broker, self.kill_postgres]

    def lines(self):
        """The topic as kcat reads it: an independent reader. A kcat started soon after the broker came back has been seen
        to find no end in two minutes, beside nodes that read and wrote: then another one is asked."""
        command = ["kcat", "-q", "-C", "-b", self.services.bootstrap, "-t", TOPIC, "-o", "beginning", "-e", "-X",
                   "check.crcs=true", "-X", "isolation.level=read_uncommitted", "-f", "%p %o %s\n"]
        done = None
        for attempt in range(KCAT_TRIES):
            try:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      timeout=KCAT_SECONDS_MAX, check=False)
                break
            except subprocess.TimeoutExpired:
                print("kcat found no end of the topic in %d s, attempt %d" % (KCAT_SECONDS_MAX, attempt + 1), flush=True)
        check(done is not None, "kcat must come to the end of the topic")
        check(done.returncode == 0, "kcat must read the topic", done.stderr.decode("utf-8", "replace"))
        with open(os.path.join(self.directory, "topic.txt"), "wb") as out:  # To look at after a failure.
            out.write(done.stdout)
        return done.stdout.decode("utf-8", "replace").splitlines()

    def fold(self):
        return chaos_history.fold_lines(line for line in self.lines() if line)

    def verify(self):
        done = subprocess.run([self.nodes[0].binary, "verify", *self.place], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
                              env=self.nodes[0].environment, check=False)
        check(done.returncode == 0, "varve verify must find that the views equal the log",
              done.stdout.decode("utf-8", "replace"))
        support.ok("varve verify finds that the views equal the log")

    def close(self):
        if not self.keep_services:
            self.services.stop(erase=True)
