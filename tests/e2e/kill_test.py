#!/usr/bin/env python3
"""Kills a real server with SIGKILL again and again under load, and proves that nothing acknowledged is lost.

Eight clients write to agents of their own, most requests with an Idempotency-Key and retried until they succeed,
some without one and sent once. Afterwards every acknowledged message is listed exactly once and in order, with
its answer behind it; every block has its last acknowledged value (or a later one that nobody knows of); every
agent is listed once; nothing is in the log twice; and a fresh fold of the log equals the views.

    kill_test.py --varve build/dev/bin/varve [--rounds 25] [--seed N]
"""

import random
import threading
import time

import support
from support import Failure, Unreachable, check, check_equal, key, ok, user_message

CLIENTS = 8
AGENTS_PER_CLIENT_MAX = 4
RETRY_SECONDS_MAX = 90
SETTLE_SECONDS_MAX = 60


class Agent:
    """What one client knows of one of its agents."""

    def __init__(self, name):
        self.name = name
        self.id = None
        self.sent = []            # Texts in the order of sending.
        self.acknowledged = []    # Texts in the order of their acknowledgement.
        self.human_sent = []      # Values of the block "human": always with a key.
        self.persona_possible = [name + " persona 0;"]  # Last acknowledged value of "persona", and all after it.
        self.last_keyed = None    # (key, text) of the last message with a key.


class Load(threading.Thread):
    """One client: writes until told to stop, and remembers what it was told."""

    def __init__(self, number, port, seed, stop):
        super().__init__(daemon=True)
        self.number = number
        self.client = support.Client(port)
        self.random = random.Random("%d/%d" % (seed, number))
        self.stop = stop
        self.agents = []
        self.counter = 0
        self.keyless_lost = 0
        self.raised = None

    def run(self):
        try:
            self.create()
            while not self.stop.is_set():
                self.step(self.random.choice(self.agents))
        except BaseException as error:  # Handed to the main thread.
            self.raised = error
        finally:
            self.client.close()

    def unique(self, what):
        self.counter += 1
        # The semicolon ends it, so that no text is the beginning of another.
        return "%s c%d n%d;" % (what, self.number, self.counter)

    def keyed(self, method, path, body, name):
        deadline = time.monotonic() + RETRY_SECONDS_MAX
        answer = support.retried(self.client, method, path, body, key("kill-test " + name), deadline)
        check(answer.status == 200, "%s %s with a key must succeed in the end" % (method, path), answer)
        return answer

    def step(self, agent):
        choice = self.random.random()
        if choice < 0.55:
            self.say(agent)
        elif choice < 0.65:
            self.say_once(agent)
        elif choice < 0.85:
            self.write_human(agent)
        elif choice < 0.95:
            self.write_persona_once(agent)
        elif len(self.agents) < AGENTS_PER_CLIENT_MAX:
            self.create()

    def create(self):
        agent = Agent(self.unique("agent").replace(";", "").replace(" ", "-"))
        body = {
            "name": agent.name,
            "model": support.MODEL,
            "memory_blocks": [{"label": "human", "value": agent.name + " human 0;"},
                              {"label": "persona", "value": agent.persona_possible[0]}],
        }
        agent.id = self.keyed("POST", "/v1/agents/", body, agent.name).json["id"]
        self.agents.append(agent)

    def say(self, agent):
        text = self.unique("message")
        agent.sent.append(text)
        answer = self.keyed("POST", "/v1/agents/%s/messages" % agent.id, user_message(text), text)
        replies = [m for m in answer.json["messages"] if m["message_type"] == "assistant_message"]
        check(len(replies) == 1 and text in support.text_of(replies[0]), "the answer must hold the reply", answer)
        agent.acknowledged.append(text)
        agent.last_keyed = (text, answer.json["messages"])

    def say_once(self, agent):
        text = self.unique("keyless")
        agent.sent.append(text)
        try:
            answer = self.client.request("POST", "/v1/agents/%s/messages" % agent.id, user_message(text))
            check(answer.status in (200, 429) or answer.status >= 500, "a message without a key", answer)
            if answer.status == 200:
                agent.acknowledged.append(text)
            else:
                self.keyless_lost += 1
                time.sleep(0.05)
        except Unreachable:
            self.keyless_lost += 1
            time.sleep(0.05)

    def write_human(self, agent):
        value = self.unique("human")
        agent.human_sent.append(value)
        path = "/v1/agents/%s/core-memory/blocks/human" % agent.id
        answer = self.keyed("PATCH", path, {"value": value}, value)
        check_equal(answer.json["value"], value, "the answer to an edit")

    def write_persona_once(self, agent):
        value = self.unique("persona")
        agent.persona_possible.append(value)
        path = "/v1/agents/%s/core-memory/blocks/persona" % agent.id
        try:
            answer = self.client.request("PATCH", path, {"value": value})
            check(answer.status in (200, 429) or answer.status >= 500, "an edit without a key", answer)
            if answer.status == 200:
                agent.persona_possible = [value]
        except Unreachable:
            time.sleep(0.05)


def kill_again_and_again(server, rounds, rng, clients):
    early = 0
    for number in range(rounds):
        # Every fifth time the server dies while it still recovers from the last time.
        if number % 5 == 3:
            early += 1
            time.sleep(rng.uniform(0.0, 0.4))
        else:
            server.wait_healthy()
            time.sleep(rng.uniform(0.2, 1.2))
        server.kill9()
        server.start(wait=False)
        for client in clients:
            if client.raised is not None:
                raise client.raised
        if (number + 1) % 5 == 0:
            done = sum(len(agent.acknowledged) for client in clients for agent in client.agents)
            print("round %d of %d: %d messages acknowledged" % (number + 1, rounds, done), flush=True)
    server.wait_healthy()
    ok("%d kills, %d of them while it recovered" % (rounds, early))


def settled_talk(client, agent):
    """The agent's talk once its last question has its answer."""

    def settled():
        talk = support.talk_of(client, agent.id)
        return talk if talk and talk[-1][0] == "assistant_message" else None

    if not support.talk_of(client, agent.id):
        return []
    return support.poll("the last turn of %s is finished" % agent.id, SETTLE_SECONDS_MAX, settled)


def check_messages(client, agent):
    talk = settled_talk(client, agent)
    listed = [text for kind, text in talk if kind == "user_message"]
    check_equal(len(set(listed)), len(listed), "messages of %s listed once each" % agent.id)
    missing = [text for text in agent.acknowledged if text not in set(listed)]
    check(not missing, "acknowledged messages of %s are missing" % agent.id, missing)
    unknown = [text for text in listed if text not in set(agent.sent)]
    check(not unknown, "messages of %s that nobody sent" % agent.id, unknown)
    check_equal(listed, [text for text in agent.sent if text in set(listed)], "the order of sending in %s" % agent.id)
    acknowledged = set(agent.acknowledged)
    check_equal([text for text in listed if text in acknowledged], agent.acknowledged,
                "the order of acknowledgement in %s" % agent.id)
    kinds = [kind for kind, _ in talk]
    check_equal(kinds, ["user_message", "assistant_message"] * len(listed), "question and answer in %s" % agent.id)
    for (_, question), (_, reply) in zip(talk[0::2], talk[1::2]):
        check(question in reply, "the answer behind %r belongs to it" % question, reply)
    # Small pages give the same list.
    whole = [m["id"] for m in support.list_messages(client, agent.id)]
    check_equal([m["id"] for m in support.list_messages(client, agent.id, page=7)], whole, "paging by 7")
    return len(listed)


def check_blocks(client, agent):
    path = "/v1/agents/%s/core-memory/blocks/" % agent.id
    human = client.expect(200, "GET", path + "human").json["value"]
    wanted = agent.human_sent[-1] if agent.human_sent else agent.name + " human 0;"
    check_equal(human, wanted, "the last acknowledged value of human of %s" % agent.id)
    persona = client.expect(200, "GET", path + "persona").json["value"]
    check(persona in agent.persona_possible, "persona of %s has its last acknowledged value or a later one %r"
          % (agent.id, agent.persona_possible), persona)


def check_registry(client, agents):
    listed = []
    after = ""
    while True:
        page = client.expect(200, "GET", "/v1/agents/?limit=10&order=asc" + after).json
        if not page:
            break
        listed += [item["id"] for item in page]
        after = "&after=" + page[-1]["id"]
        check(len(listed) <= 10 * len(agents) + 100, "the list of agents comes to an end")
    check_equal(sorted(listed), sorted(agent.id for agent in agents), "the agents that exist")


def check_log(server, agents):
    """Every unique text is in exactly the events it belongs to: none of them twice."""
    seen = {}
    for line in server.log_records():
        if line.get("verdict") not in (None, "admitted", "Admitted"):
            continue
        for part in (line.get("record") or {}).get("parts", []):
            for event in part.get("events", []):
                for text in texts_in(event.get("data")):
                    seen[(event.get("type"), text)] = seen.get((event.get("type"), text), 0) + 1
    for agent in agents:
        for value in agent.human_sent + agent.acknowledged:
            counts = [count for (_, text), count in seen.items() if text == value]
            check(counts and max(counts) == 1, "%r of %s must be in the log once for each type of event"
                  % (value, agent.id), counts)


def texts_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def check_retry_after_the_end(client, agent):
    """A retry long after gets the same answer and does nothing."""
    if agent.last_keyed is None or agent.last_keyed[0] != agent.sent[-1]:
        return 0
    text, messages = agent.last_keyed
    path = "/v1/agents/%s/messages" % agent.id
    before = len(support.list_messages(client, agent.id))
    answer = client.expect(200, "POST", path, user_message(text), key("kill-test " + text))
    check_equal([(m["id"], support.text_of(m)) for m in answer.json["messages"]],
                [(m["id"], support.text_of(m)) for m in messages], "the answer to a retry")
    check_equal(len(support.list_messages(client, agent.id)), before, "messages after a retry")
    return 1


def story(workshop, chosen):
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1 << 32)
    print("seed %d" % seed, flush=True)
    server = workshop.server("data").start()
    stop = threading.Event()
    clients = [Load(number, server.port, seed, stop) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        kill_again_and_again(server, chosen.rounds, random.Random(seed), clients)
    finally:
        stop.set()
    for client in clients:
        client.join(RETRY_SECONDS_MAX + 30)
        check(not client.is_alive(), "client %d must come to its end" % client.number)
        if client.raised is not None:
            raise client.raised
    server.check_alive()

    reader = server.client()
    agents = [agent for client in clients for agent in client.agents]
    messages = sum(check_messages(reader, agent) for agent in agents)
    acknowledged = sum(len(agent.acknowledged) for agent in agents)
    check(acknowledged > 0, "the load must have done something")
    ok("%d messages listed once and in order, %d of them acknowledged" % (messages, acknowledged))
    ok("%d requests without a key got no success; each took effect at most once"
       % sum(client.keyless_lost for client in clients))
    for agent in agents:
        check_blocks(reader, agent)
    ok("blocks of %d agents have their last acknowledged values" % len(agents))
    check_registry(reader, agents)
    ok("every acknowledged agent is listed once")
    retries = sum(check_retry_after_the_end(reader, agent) for agent in agents)
    ok("%d retries after the end got the same answer and changed nothing" % retries)
    check_log(server, agents)
    ok("nothing is in the log twice")
    reader.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    server.verify()
    ok("a fresh fold of the log equals the views")


if __name__ == "__main__":
    support.main(__doc__, story, rounds=25)
