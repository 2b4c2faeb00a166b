#!/usr/bin/env python3
"""Hurts real servers under load for a while, and lets chaos_history.py judge what they said and what they have.

Three nodes and a projection worker on real Kafka and PostgreSQL; sixteen clients with Idempotency-Keys who retry as the
real client libraries do, on any node. Nodes are killed, stopped for longer than their session and woken up again (real
zombies), drained; the broker and PostgreSQL are restarted. Then: every acknowledged command took effect once and in an
order that real time allows, every agent is listed, reads saw a beginning of the history, the views equal a fold of the
topic as kcat reads it and as `varve verify` does, and what zombies wrote counts for nobody.

    chaos_test.py --varve build/dev/bin/varve [--profile cluster] [--seconds 45] [--seed N] [--brokers 3] [--long]

With three brokers there are three replicas of everything, and clients are served while one of the brokers is away.
`--profile embedded` does the same to one node on files. It ends with a report of one line.
"""

import argparse
import os
import random
import sys
import threading
import time
import traceback

import chaos_history
import chaos_nodes
import support
from chaos_history import AgentState, Operation
from support import Failure, Unreachable, check, check_equal, ok

CLIENTS = 16
AGENTS_PER_CLIENT_MAX = 3
BURST_MAX = 32
ZOMBIES_MORE_MAX = 4
SECONDS, SECONDS_LONG, LONG = 45, 300, "VARVE_LONG_TESTS"
BROKERS, BROKERS_MANY = 1, 3
SECONDS_MANY = 100  # Of a long run: with several brokers, if there is memory for them.
MEMORY_MANY_KB = 3 << 20
SECONDS_MAX = 1800
COMMAND_SECONDS_MAX = 120  # No command may fail for so long, whatever happens.
SETTLE_SECONDS_MAX = 60
BACKOFF_SECONDS, BACKOFF_SECONDS_MAX, RETRY_AFTER_SECONDS_MAX = 0.5, 4.0, 10.0


class Sender(threading.Thread):
    """One client, and what it knows. It keeps to one node until that one fails it."""

    def __init__(self, number, world, seed, at):
        super().__init__(daemon=True)
        self.number = number
        self.random = random.Random("%d/%d" % (seed, number))
        self.ports = [node.port for node in world.nodes]
        self.at = at
        self.client = support.Client(self.ports[at])
        self.agents = []
        self.counter = 0
        self.retries = 0
        self.operations = []
        self.raised = None

    def run(self):
        try:
            self.work()
        except BaseException as error:  # Handed to the main thread.
            self.raised = error
        finally:
            self.client.close()

    def work(self):
        raise NotImplementedError

    def unique(self, what):
        self.counter += 1
        # The semicolon ends it, so that no text is the beginning of another.
        return "%s c%d n%d;" % (what, self.number, self.counter)

    # -- requests

    def move(self):
        """To the next node, as a balancer would send us there."""
        self.client.close()
        self.at = (self.at + 1) % len(self.ports)
        self.client = support.Client(self.ports[self.at])

    def attempt(self, method, path, body, headers):
        """(answer, None), or (None, seconds that the server or the failure says to wait)."""
        try:
            answer = self.client.request(method, path, body, headers)
        except Unreachable:
            self.move()
            return None, None
        if answer.status < 500 and answer.status not in (408, 409, 429):
            return answer, None
        check(answer.headers.get("x-should-retry") != "false", "a %s with a key must stay retryable" % method, answer)
        try:
            return None, min(float(answer.headers.get("retry-after", "")), RETRY_AFTER_SECONDS_MAX)
        except ValueError:
            return None, None

    def request(self, method, path, body, key, accepted=(200,)):
        headers = {"idempotency-key": key} if key else {}
        deadline = time.monotonic() + COMMAND_SECONDS_MAX
        backoff = BACKOFF_SECONDS
        while True:
            answer, wait = self.attempt(method, path, body, headers)
            if answer is not None:
                check(answer.status in accepted, "%s %s must succeed in the end" % (method, path), answer)
                return answer
            self.retries += 1
            check(time.monotonic() < deadline, "%s %s had no success for %d s" % (method, path, COMMAND_SECONDS_MAX))
            time.sleep(wait if wait is not None else backoff * self.random.uniform(0.75, 1))
            backoff = min(2 * backoff, BACKOFF_SECONDS_MAX)

    def do(self, operation, method, path, body):
        """Sends a command until it succeeds, and writes down what is known of it."""
        self.operations.append(operation)
        answer = self.request(method, path, body, "chaos %s %s" % (operation.kind, operation.text))
        operation.end = time.monotonic()
        operation.visible = "varve-view" not in answer.headers
        for place in filter(None, answer.headers.get("varve-position", "").split(",")):
            partition, offset = place.split(":")
            operation.positions[int(partition)] = int(offset)
        return answer.json

    # -- what clients do

    def create(self):
        name = self.unique("agent").rstrip(";").replace(" ", "-")
        operation = Operation("create", name, name, time.monotonic())
        body = {"name": name, "model": support.MODEL,
                "memory_blocks": [{"label": "human", "value": name + " human 0;"}]}
        operation.result = self.do(operation, "POST", "/v1/agents/", body)["id"]
        self.agents.append(operation.result)

    def say(self, agent):
        operation = Operation("say", agent, self.unique("message"), time.monotonic())
        body = support.user_message(operation.text)
        answer = self.do(operation, "POST", "/v1/agents/%s/messages" % agent, body)
        operation.result = [spoken(message) for message in answer["messages"] if is_spoken(message)]

    def edit(self, agent):
        operation = Operation("edit", agent, self.unique("human"), time.monotonic(), label="human")
        path = "/v1/agents/%s/core-memory/blocks/human" % agent
        value = self.do(operation, "PATCH", path, {"value": operation.text})["value"]
        # The neighbour's, if that came later: the answer has the block as it is now.
        check(value.startswith("human "), "the answer to an edit", value)

    def read(self, agent):
        operation = Operation("read", agent, "", time.monotonic())
        path = "/v1/agents/%s/messages?order=asc&limit=100000" % agent
        answer = self.request("GET", path, None, None, (200, 404))
        operation.end = time.monotonic()
        if answer.status == 200:
            operation.result = [spoken(message)[1:] for message in answer.json if is_spoken(message)]
        self.operations.append(operation)


class Load(Sender):
    """Writes to agents of its own, and to one that it shares with its neighbour, until it is told to stop."""

    def __init__(self, number, world, seed, stop, shared, pause):
        super().__init__(number, world, seed, number % len(world.nodes))
        self.stop = stop
        self.shared = shared  # Number of two neighbours -> agent, once it is there.
        self.pause = pause

    def work(self):
        self.create()
        if self.number % 2 == 0:
            self.shared[self.number // 2] = self.agents[0]
        while not self.stop.is_set():
            neighbours = self.shared.get(self.number // 2)
            self.step(self.random.choice(self.agents + ([neighbours] if neighbours else [])))
            self.stop.wait(self.random.uniform(0, 2 * self.pause))

    def step(self, agent):
        choice = self.random.random()
        if choice < 0.6:
            self.say(agent)
        elif choice < 0.75:
            self.edit(agent)
        elif choice < 0.95 or len(self.agents) >= AGENTS_PER_CLIENT_MAX:
            self.read(agent)
        else:
            self.create()


class OneEdit(Sender):
    """Waits for a node that does not answer now."""

    def __init__(self, number, world, seed, node, agent):
        super().__init__(number, world, seed, world.nodes.index(node))
        self.agent = agent

    def work(self):
        self.edit(self.agent)


class Crowd:
    """All clients of a run."""

    def __init__(self, world, seed, chosen):
        self.world, self.seed = world, seed
        self.stop = threading.Event()
        shared = {}
        self.loads = [Load(number, world, seed, self.stop, shared, chosen.pause) for number in range(chosen.clients)]
        self.senders = list(self.loads)
        world.burst = self.burst
        world.done = lambda: [acknowledged(load.operations) for load in self.loads]

    def start(self):
        for load in self.loads:
            load.start()

    def burst(self, node):
        """To a node that is stopped: what it finds when it goes on, it takes for its own to do. Rather to agents that were
        its own when it was last asked."""
        own = set(node.served)
        agents = [agent for load in self.loads for agent in load.agents]
        agents.sort(key=lambda agent: self.partition_of(agent) not in own)
        for agent in agents[:BURST_MAX]:
            sender = OneEdit(len(self.senders), self.world, self.seed, node, agent)
            self.senders.append(sender)
            sender.start()

    def partition_of(self, agent):
        """As the answer to its creation said; nothing yet, or several, is none."""
        for load in self.loads:
            for one in list(load.operations):
                if one.kind == "create" and one.result == agent and len(one.positions) == 1:
                    return next(iter(one.positions))
        return None

    def check(self):
        for sender in self.senders:
            if sender.raised is not None:
                raise sender.raised

    def join(self):
        self.stop.set()
        for sender in self.senders:
            sender.join(COMMAND_SECONDS_MAX + 60)
            check(not sender.is_alive(), "client %d must come to its end" % sender.number)
        self.check()

    def operations(self):
        return [one for sender in self.senders for one in sender.operations]

    def retries(self):
        return sum(sender.retries for sender in self.senders)


def is_spoken(message):
    return message["message_type"] in chaos_history.SAID


def spoken(message):
    return message["id"], chaos_history.SAID[message["message_type"]], support.text_of(message)


# ---- the run

def torment(world, crowd, chosen):
    """One fault after another until the time is over, and each of the first ones at least once."""
    start = time.monotonic()
    faults = world.faults()
    first = faults[:6]
    world.random.shuffle(first)
    number = 0
    while number < len(first) or time.monotonic() - start < chosen.seconds:
        check(time.monotonic() - start < SECONDS_MAX, "the faults must come to an end")
        fault = first[number] if number < len(first) else world.random.choice(faults)
        fault()
        crowd.check()
        # Mostly they get well in between; sometimes the next fault meets what has not recovered yet.
        if number < len(first) or world.random.random() < 0.7:
            world.wait_well()
        time.sleep(world.random.uniform(0.2, 1.5))
        number += 1
        print("%5.1f s: %d faults, %d commands acknowledged"
              % (time.monotonic() - start, number, acknowledged(crowd.operations())), flush=True)
    # A zombie may hear what has become of it before it writes: then there is another one.
    for _ in range(ZOMBIES_MORE_MAX if chosen.profile == "cluster" else 0):
        if world.fold().verdicts["fenced"] > 0:
            break
        world.stop()
        world.wait_well()
    return time.monotonic() - start


def acknowledged(operations):
    return sum(1 for one in operations if one.kind != "read" and one.acknowledged)


def list_agents(client):
    """[(id, name)], page by page."""
    listed, after = [], ""
    while True:
        page = client.expect(200, "GET", "/v1/agents/?limit=50&order=asc" + after).json
        listed += [(item["id"], item["name"]) for item in page]
        if len(page) < 50:
            return listed
        after = "&after=" + page[-1]["id"]
        check(len(listed) <= 50 * CLIENTS * AGENTS_PER_CLIENT_MAX, "the list of agents comes to an end")


def state_of(client, agent, name):
    messages = [spoken(one) for one in support.list_messages(client, agent) if is_spoken(one)]
    human = client.expect(200, "GET", "/v1/agents/%s/core-memory/blocks/human" % agent).json["value"]
    return AgentState(name, messages, {"human": human})


def final_states(node):
    """What the API of a node says in the end: [(id, name)], {id: AgentState}."""
    client = node.client()
    listed = list_agents(client)
    states = {agent: state_of(client, agent, name) for agent, name in listed}
    client.close()
    return listed, states


def settle(world):
    """Turns that nobody waits for any more come to their end; gives back how many questions have no answer."""
    client = world.nodes[0].client()
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    silent = 0
    for agent, _ in list_agents(client):
        def answered(agent=agent):
            talk = [kind for kind, _ in support.talk_of(client, agent)]
            return not talk or talk[-1] == "assistant_message"
        while not answered() and time.monotonic() < deadline:
            time.sleep(0.1)
        silent += 0 if answered() else 1
    client.close()
    return silent


def judged(world, operations):
    """The fold of the log; Failure if the judge complains."""
    listed, states = final_states(world.nodes[0])
    for node in world.nodes[1:]:
        check_equal(final_states(node) == (listed, states), True, "%s says the same as the first node" % node.name)
    ok("%d nodes say the same of %d agents and %d messages"
       % (len(world.nodes), len(listed), sum(len(state.messages) for state in states.values())))
    for node in world.everybody():
        check_equal(node.terminate(), 0, "the exit code of %s after SIGTERM" % node.name)
    with open(os.path.join(world.directory, "history.txt"), "w", encoding="utf-8") as out:  # To look at after a failure.
        out.writelines("%r\n" % (one,) for one in sorted(operations, key=lambda one: one.begin))
    fold = world.fold()
    complaints = chaos_history.judge(operations, listed, states, fold)
    check(not complaints, "the history is impossible:\n  " + "\n  ".join(complaints))
    ok("the history is possible, and the views are the fold of the log: %s"
       % ", ".join("%d %s" % (count, verdict) for verdict, count in fold.verdicts.items()))
    world.verify()
    return fold


def report(world, retries, operations, fold, seconds):
    done = ", ".join("%d x %s" % (count, what) for what, count in sorted(world.counts.items()))
    took = chaos_history.failovers(world.killings, operations, fold)
    times = "; ".join("failover after %s p50 %.1f s max %.1f s (%d partitions)"
                      % (how, chaos_history.middle(values), values[-1], len(values))
                      for how, values in sorted(took.items()))
    print("chaos: %.0f s, %d commands acknowledged, %d attempts repeated, %s; %d fenced, %d duplicate, %d gap; %s"
          % (seconds, acknowledged(operations), retries, done, fold.verdicts["fenced"],
             fold.verdicts["duplicate"], fold.verdicts["gap"], times or "no failover"), flush=True)


def story(workshop, chosen):
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1 << 32)
    print("seed %d, %g s%s" % (seed, chosen.seconds, ", %d brokers" % chosen.brokers if chosen.brokers else ""), flush=True)
    rng = random.Random(seed)
    if chosen.profile == "embedded":
        world = chaos_nodes.Embedded(workshop, rng)
    else:
        world = chaos_nodes.Cluster(workshop, rng, chosen.services, chosen.static, chosen.brokers)
    try:
        world.start()
        world.wait_well()
        crowd = Crowd(world, seed, chosen)
        crowd.start()
        try:
            seconds = torment(world, crowd, chosen)
        finally:
            crowd.stop.set()
        crowd.join()
        world.wait_well()
        silent = settle(world)
        operations = crowd.operations()
        fold = judged(world, operations)
        report(world, crowd.retries(), operations, fold, seconds)
        check(acknowledged(operations) > 10 * chosen.clients, "the load must have done something")
        if chosen.profile == "cluster":
            check(fold.verdicts["fenced"] > 0, "zombies must have written something", fold.verdicts)
        if silent:
            print("note: %d agents have a question without an answer" % silent, flush=True)
    finally:
        for node in world.everybody():
            if node.stopped and node.running():
                node.resume()
            node.stop_for_good()
        world.close()


def memory_left_kb():
    with open("/proc/meminfo", encoding="ascii") as facts:
        return next(int(line.split()[1]) for line in facts if line.startswith("MemAvailable:"))


def runs(chosen):
    """[(seconds, brokers)]: a long test is two of them, if the machine can carry the second."""
    if chosen.seconds or not chosen.long:
        return [(chosen.seconds or SECONDS, chosen.brokers)]
    if chosen.profile != "cluster" or chosen.services or chosen.brokers:
        return [(SECONDS_LONG, chosen.brokers)]
    if memory_left_kb() < MEMORY_MANY_KB:
        print("note: there is no memory for %d brokers" % BROKERS_MANY, flush=True)
        return [(SECONDS_LONG, BROKERS)]
    return [(SECONDS_LONG - SECONDS_MANY, BROKERS), (SECONDS_MANY, BROKERS_MANY)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--varve", required=True, help="path of the varve binary")
    parser.add_argument("--profile", choices=["cluster", "embedded"], default="cluster")
    parser.add_argument("--seconds", type=float, help="of load with faults (default %d)" % SECONDS)
    parser.add_argument("--long", action="store_true", default=bool(os.environ.get(LONG)),
                        help="%d seconds; also by $%s" % (SECONDS_LONG, LONG))
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two commands of a client")
    parser.add_argument("--seed", type=int, help="of this test's own choices")
    parser.add_argument("--brokers", type=int, help="of Kafka (default %d, or as many as --services has)" % BROKERS)
    parser.add_argument("--static", action="store_true", help="nodes are static members of their group")
    parser.add_argument("--services", help="a folder of services that run already, empty, and may be hurt")
    parser.add_argument("--keep", action="store_true", help="keep the data directory")
    chosen = parser.parse_args()
    try:
        for chosen.seconds, chosen.brokers in runs(chosen):
            with support.Workshop(os.path.abspath(chosen.varve)) as workshop:
                workshop.keep = chosen.keep
                story(workshop, chosen)
    except Failure as failure:
        print("FAILED: %s" % failure, file=sys.stderr)
        sys.exit(1)
    except Exception:  # A fault of the test itself, or a connection that should have held.
        traceback.print_exc()
        print("FAILED: see above", file=sys.stderr)
        sys.exit(1)
    ok("all")


if __name__ == "__main__":
    main()
