#!/usr/bin/env python3
"""A cluster of real processes on real Kafka and PostgreSQL: any node answers for all, and nodes come and go.

    cluster_test.py --varve build/dev/bin/varve        ($VARVE_SERVICES, or ./dev services start)

What is shown: requests and streams at a node that does not own the agent; SIGKILL of an owner under load; a planned
stop during a long turn, and one while Kafka or PostgreSQL hangs; a static member that comes back; what operators get
wrong (secret, broker, password, schema); a second cluster on the same topic, and a record of another program.
"""

import json
import os
import subprocess
import threading
import time

import support
from cluster_nodes import (PARTITIONS, READY_SECONDS_MAX, SECRET, TAKEOVER_SECONDS_MAX, Node, Place, epochs, make_agents,
                           owners, real_services, wait_until_shared)
from support import Background, check, check_equal, key, ok, poll, user_message

STATIC_SESSION_SECONDS = 30  # Of members with a name: more than one needs to come back.


def said(answer):
    return [support.text_of(m) for m in answer.json["messages"] if m["message_type"] == "assistant_message"]


def any_node_answers_for_all(nodes):
    shares = wait_until_shared(nodes)
    agents = make_agents(nodes, 8, "shared")
    check(len({shares[partition] for _, partition in agents}) == 2, "the agents live on both nodes", (agents, shares))
    forwarded = 0
    for agent, partition in agents:
        for node in nodes:
            client = node.client()
            text = "hello from %d" % node.port
            answer = client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message(text), key(agent + text))
            check_equal(said(answer), ["plain answer"], "the answer")
            check(("user_message", text) in support.talk_of(client, agent), "the message is listed where it was sent")
            client.expect(200, "PATCH", "/v1/agents/%s/core-memory/blocks/human" % agent, {"value": text})
            check_equal(client.expect(404, "POST", "/v1/agents/agent-00000000-0000-4000-8000-000000000000/messages",
                                      user_message("x")).status, 404, "an agent that nobody has")
            forwarded += shares[partition] != node.base
            client.close()
    check_equal(forwarded, len(agents), "requests that went to the node that does not own")
    lists = [sorted(one["id"] for one in node.client().expect(200, "GET", "/v1/agents/?limit=100").json)
             for node in nodes]
    check_equal(lists[0], lists[1], "both nodes list the same agents")
    check(set(agent for agent, _ in agents) <= set(lists[0]), "and all of them")
    ok("any node answers for every agent")
    return agents, shares


def events_of(node, path, body):
    """The data lines of a stream, with the time of each."""
    got = []
    client = support.http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    client.request("POST", path, body=json.dumps(body).encode(),
                   headers={"content-type": "application/json", "x-stainless-package-version": "1.12.1"})
    response = client.getresponse()
    check_equal(response.status, 200, "the status of a stream")
    for line in response:
        if line.startswith(b"data: "):
            got.append((time.monotonic(), line[6:].strip().decode()))
    client.close()
    return got


def streams_are_forwarded(nodes, agents, shares):
    agent, partition = agents[0]
    other = next(node for node in nodes if node.base != shares[partition])
    body = {**user_message("word by word"), "stream_tokens": True}
    got = events_of(other, "/v1/agents/%s/messages/stream" % agent, body)
    check_equal(got[-1][1], "[DONE]", "the end of the stream")
    pieces = [json.loads(text) for _, text in got if text != "[DONE]"]
    words = "".join(support.text_of(p) for p in pieces if p.get("message_type") == "assistant_message")
    check_equal(words, "one two three four five six seven eight", "the reply, piece by piece")
    spread = got[-1][0] - got[0][0]
    check(spread > 0.5, "the pieces come as they are made, not all at the end", "%.2f s" % spread)
    ok("a stream at the other node comes piece by piece")


def seen_at(nodes, other):
    return [one for one in nodes[0].status()["nodes"] if one["url"] == other.base]


def owns_nothing_and_is_seen(nodes, other):
    poll("a process without partitions is listed", 10, lambda: seen_at(nodes, other))
    one = seen_at(nodes, other)[0]
    check_equal((one["roles"], one["partitions"]), (["api"], 0), "what it is")
    check(one["seen_seconds"] <= 15, "it was seen lately", one)
    status = nodes[0].status()
    check_equal(status["processes_fault"], None, "the table of processes answers")
    both = [one for one in status["nodes"] if one["url"] in [node.base for node in nodes] and one["roles"]]
    check_equal(len(both), len(nodes), "and so are those that own some")


def nobody_without_the_secret(workshop, nodes, place, agents):
    client = nodes[0].client()
    for headers in ({}, {"varve-cluster-secret": SECRET + "!"}):
        client.expect(403, "POST", "/v1/varve/node", {"ask": "run"}, headers)
    client.close()
    stranger = Node(workshop, "stranger", place, ["--cluster", place.cluster, "--roles", "api"],
                    VARVE_CLUSTER_SECRET="another").start()
    client = stranger.client()
    check(len(client.expect(200, "GET", "/v1/agents/?limit=100").json) >= len(agents), "it may read the views")
    owns_nothing_and_is_seen(nodes, stranger)
    began = time.monotonic()
    answer = client.expect(503, "PATCH", "/v1/agents/" + agents[0][0], {"name": "stolen"})
    check(answer.headers.get("retry-after"), "a 503 says when to come back", answer)
    check(time.monotonic() - began < 25, "nobody waits for long", time.monotonic() - began)
    client.close()
    check("cluster_secret" in stranger.tail(), "its log says why", stranger.tail())
    check_equal(stranger.terminate(), 0, "exit code after SIGTERM")
    check_equal(seen_at(nodes, stranger), [], "one that has stopped is listed no more")
    ok("a node with another secret is not heard")


def records_of_others_are_skipped(place, nodes, agents):
    for partition in range(PARTITIONS):
        done = subprocess.run(["kcat", "-P", "-b", place.brokers, "-t", place.topic, "-p", str(partition)],
                              input=b"not one of ours\n", timeout=30, check=False)
        check_equal(done.returncode, 0, "kcat writes")
    client = nodes[1].client()
    for agent, _ in agents:
        answer = client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("and now"))
        check_equal(said(answer), ["plain answer"], "the answer behind a record of another program")
    client.close()
    counted = 0
    for node in nodes:
        client = node.client()
        lines = client.expect(200, "GET", "/metrics").raw.decode().splitlines()
        counted += sum(int(float(line.split()[-1])) for line in lines
                       if line.startswith("varve_log_records_total") and 'verdict="foreign"' in line)
        client.close()
    check(counted >= PARTITIONS, "the owners have counted the records of others", counted)
    poll("the views have passed them", 20, lambda: all(one["lag"] == 0 for one in nodes[0].status()["partitions"]))
    ok("records of another program are skipped and counted, and nothing stops")


def a_second_cluster_stops(workshop, place, nodes, agents):
    second = Node(workshop, "second", place, ["--cluster", "another"])
    words = second.refused()
    check("another" in words and place.cluster in words, "it names both clusters", words)
    client = nodes[0].client()
    client.expect(200, "POST", "/v1/agents/%s/messages" % agents[0][0], user_message("still here"))
    client.close()
    ok("a second cluster on the topic stops with a sentence; the first serves on")


def the_status_is_printed(nodes):
    done = nodes[0].run_tool("cluster", "status", "--server", nodes[0].base)
    words = done.stdout.decode()
    for word in ("PARTITION", "OWNER", "EPOCH", "LAG", nodes[1].base, "roles: api actors projections", "SEEN", " s ago"):
        check(word in words, "cluster status prints %r" % word, words)
    done = nodes[0].run_tool("cluster", "status", "--server", "http://127.0.0.1:%d" % support.free_port())
    check(done.returncode == 1 and b"no answer from" in done.stderr, "without a server it says so", done.stderr)
    ok("varve cluster status prints nodes, partitions, owners and epochs")


def metric(node, name):
    client = node.client()
    lines = client.expect(200, "GET", "/metrics").raw.decode().splitlines()
    client.close()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def nodes_hear_of_each_others_batches(nodes):
    for node in nodes:
        check(metric(node, "varve_view_notifications_total") > 0, "PostgreSQL has told %s of batches" % node.base)
        check_equal(metric(node, 'varve_postgres_connections_total{event="listening"}'), 1, "it listens on one connection")
    ok("PostgreSQL tells nodes of each other's batches")


def a_bisect_asks_the_shared_views(nodes, place, agents):
    agent = agents[0][0]
    client = nodes[0].client()
    guilty = client.expect(200, "PATCH", "/v1/agents/%s/core-memory/blocks/human" % agent, {"value": "guilty"})
    client.expect(200, "PATCH", "/v1/agents/%s/core-memory/blocks/human" % agent, {"value": "guilty as well"})
    done = nodes[0].run_tool("bisect", "--where", 'block("human").value contains "guilty"', "--about", agent, "--json",
                             "--log", "kafka", "--kafka-brokers", place.brokers, "--kafka-topic", place.topic,
                             "--store", "postgres", "--postgres-url", place.postgres_url)
    check_equal(done.returncode, 0, "varve bisect: " + done.stderr.decode())
    report = json.loads(done.stdout)
    check_equal((report["by"], report["position"]), ("views", guilty.headers["varve-position"]), "what it names")
    for node in nodes:
        other = node.client()
        told = other.expect(200, "GET", "/v1/varve/bisect?about=%s&where=block.value+contains+%%22guilty%%22" % agent)
        other.close()
        check_equal((told.json["by"], told.json["position"]), ("views", report["position"]), "what a node names")
    client.close()
    ok("varve bisect and every node find the event in the shared views")


class Load:
    """One client that writes to one agent through one node, with keys, until it is told to stop."""

    def __init__(self, node, agent, stop, what="load"):
        self.agent = agent
        self.what = what  # It says; no other client of this agent says so.
        self.acknowledged = []
        self.work = Background(lambda: self.run(node, stop))

    def run(self, node, stop):
        client = node.client()
        number = 0
        while not stop.is_set():
            text = "%s %s %d" % (self.agent, self.what, number)
            number += 1
            answer = support.retried(client, "POST", "/v1/agents/%s/messages" % self.agent, user_message(text),
                                     key(text), time.monotonic() + TAKEOVER_SECONDS_MAX)
            check_equal(answer.status, 200, "the answer in the end")
            self.acknowledged.append(text)
        client.close()


def nothing_is_lost(client, loads, stop):
    """The clients end; what was acknowledged to them is there, once each and in order."""
    stop.set()
    for load in loads:
        load.work.result(TAKEOVER_SECONDS_MAX + 10)
        check(load.acknowledged, "every client got something done")
        listed = [text for kind, text in support.talk_of(client, load.agent) if kind == "user_message"]
        mine = [text for text in listed if " %s " % load.what in text]
        check_equal(mine, load.acknowledged, "messages of %s, once each and in order" % load.agent)


def an_owner_is_killed(nodes, agents):
    survivor, victim = nodes
    shares = wait_until_shared(nodes)
    stop = threading.Event()
    loads = [Load(survivor, agent, stop) for agent, _ in agents]
    time.sleep(1)
    victim.kill9()
    began = time.monotonic()
    affected = [agent for agent, partition in agents if shares[partition] == victim.base]
    check(affected, "the victim owned an agent")
    client = survivor.client()
    answer = support.retried(client, "POST", "/v1/agents/%s/messages" % affected[0], user_message("anyone?"),
                             key("after the kill"), time.monotonic() + TAKEOVER_SECONDS_MAX)
    took = time.monotonic() - began
    check_equal(said(answer), ["plain answer"], "the answer of the next owner")
    poll("the survivor owns everything", TAKEOVER_SECONDS_MAX,
         lambda: set(owners(survivor).values()) == {survivor.base}, pause=0.3)
    nothing_is_lost(client, loads, stop)
    client.close()
    ok("SIGKILL of an owner: the other one answers after %.1f s, and nothing acknowledged is lost" % took)


def a_turn_outlives_a_planned_stop(nodes, agents):
    stays, goes = nodes
    shares = wait_until_shared(nodes)
    mine = [agent for agent, partition in agents if shares[partition] == goes.base]
    check(len(mine) >= 2, "the node that goes owns two agents at least", shares)

    def ask(node, agent, headers):
        client = node.client()
        try:
            return client.request("POST", "/v1/agents/%s/messages" % agent, user_message("take your time"), headers)
        finally:
            client.close()

    keyed = Background(lambda: ask(goes, mine[0], key("slow")))
    keyless = Background(lambda: ask(goes, mine[1], None))
    reader = stays.client()
    for agent in mine[:2]:
        poll("the turn is open", 20, lambda agent=agent: ("user_message", "take your time")
             in support.talk_of(reader, agent))
    began = time.monotonic()
    stopped = Background(goes.terminate)
    for name, waiting, header in (("keyed", keyed, None), ("keyless", keyless, "false")):
        answer = waiting.result(40)
        check_equal(answer.status, 503, "the answer to a %s turn that goes on elsewhere" % name)
        check(answer.headers.get("retry-after"), "it says when to come back", answer.headers)
        check_equal(answer.headers.get("x-should-retry"), header, "x-should-retry of the %s one" % name)
    check_equal(stopped.result(40), 0, "exit code after SIGTERM")
    took = time.monotonic() - began
    answer = support.retried(reader, "POST", "/v1/agents/%s/messages" % mine[0], user_message("take your time"),
                             key("slow"), time.monotonic() + 60)
    check_equal(said(answer), ["slow answer"], "the same key finds the same turn at the next owner")
    for agent in mine[:2]:
        poll("the turn has ended", 60, lambda agent=agent: ("assistant_message", "slow answer")
             in support.talk_of(reader, agent))
        asked = [text for kind, text in support.talk_of(reader, agent) if kind == "user_message"]
        check_equal(asked.count("take your time"), 1, "the message is there once")
    reader.close()
    ok("a planned stop takes %.1f s; turns go on at the next owner" % took)


def a_static_member_comes_back(workshop, services):
    """Killed and started again within its session: its partitions are its own as before, and nobody else's move."""
    place = Place(workshop, services, "static")
    nodes = [Node(workshop, "static-" + name, place,
                  ["--cluster", place.cluster, "--kafka-static-member", name,
                   "--kafka-session-timeout", str(STATIC_SESSION_SECONDS)]).start() for name in ("x", "y")]
    stays, dies = nodes
    shares = wait_until_shared(nodes)
    agents = make_agents(nodes, 4, "static")
    before = epochs(stays)
    stop = threading.Event()
    loads = [Load(stays, agent, stop) for agent, _ in agents]
    time.sleep(1)
    began = time.monotonic()
    dies.kill9()
    dies.start(wait=False)

    def serves_again():
        now = epochs(stays)
        return all(now[partition] > before[partition] for partition, url in shares.items() if url == dies.base)
    poll("the one that came back has claimed its partitions again", STATIC_SESSION_SECONDS - 5, serves_again, pause=0.1)
    took = time.monotonic() - began
    dies.wait_healthy()
    client = stays.client()
    nothing_is_lost(client, loads, stop)
    client.close()
    time.sleep(max(0.0, began + STATIC_SESSION_SECONDS + 2 - time.monotonic()))  # Would the group miss anybody now?
    after = epochs(stays)
    check_equal(owners(stays), shares, "every partition is owned by whom it was")
    for partition, url in shares.items():
        claims = 1 if url == dies.base else 0
        check_equal(after[partition] - before[partition], claims, "claims of partition %d, which is %s's"
                    % (partition, url))
    for node in nodes:
        check_equal(node.terminate(), 0, "exit code after SIGTERM")
    ok("a static member that was killed has its partitions back after %.1f s, and no other one moved" % took)


def roles_are_apart(workshop, place):
    """Nodes that own, a process that folds, and one that does nothing but ask them."""
    cluster = ["--cluster", place.cluster]
    views = Node(workshop, "views", place, [*cluster, "--roles", "projections"])
    views.start(wait=False)
    actors = Node(workshop, "actors", place, [*cluster, "--roles", "actors"])
    actors.start(wait=False)
    door = Node(workshop, "door", place, [*cluster, "--roles", "api"]).start()
    poll("somebody owns every partition", READY_SECONDS_MAX,
         lambda: set(owners(door).values()) == {actors.base}, pause=0.3)
    agents = make_agents([door], 2, "apart")
    client = door.client()
    answer = client.expect(200, "POST", "/v1/agents/%s/messages" % agents[0][0], user_message("hello"))
    check_equal(said(answer), ["plain answer"], "the answer")
    check("varve-view" not in answer.headers, "the views have it", answer.headers)
    client.close()
    for node in (views, actors):
        client = node.client()
        client.expect(200, "GET", "/v1/health/")
        poll("it is ready", 30, lambda client=client: client.request("GET", "/v1/agents/").status == 404)
        client.close()
    for node in (door, actors, views):
        check_equal(node.terminate(), 0, "exit code after SIGTERM")
    ok("API, actors and projections run as processes of their own")


def what_operators_get_wrong(workshop, services, place):
    nowhere = "127.0.0.1:%d" % support.free_port()
    node = Node(workshop, "broker", place)
    node.place = Place.__new__(Place)
    node.place.__dict__.update(place.__dict__, brokers=nowhere)
    words = node.refused()
    check(nowhere in words or "broker" in words.lower(), "without a broker it says so", words)

    node = Node(workshop, "password", place, VARVE_POSTGRES_PASSWORD="wr0ng-one")
    words = node.refused()
    check("password" in words and "wr0ng-one" not in words, "a wrong password is named, not shown", words)

    fresh = Place(workshop, services, "fresh")
    node = Node(workshop, "schema", fresh)
    node.command = lambda whole=node.command: [word for word in whole() if word != "--migrate"]
    words = node.refused()
    check("migrate" in words, "an old schema names the command", words)
    ok("no broker, a wrong password and an old schema are refused with a sentence")


def a_stop_ends_in_time(workshop):
    """Also while Kafka or PostgreSQL hangs; on services of our own, which this hurts."""
    with real_services.Services(os.path.join(workshop.directory, "own-services")) as own:
        own.start()
        for name in ("kafka-1", "postgres"):
            place = Place(workshop, own, "stop_" + name.partition("-")[0])
            node = Node(workshop, "stop-" + name, place, ["--cluster", place.cluster, "--drain-timeout", "5"]).start()
            make_agents([node], 1, "stop")
            own.server(name).pause()
            try:
                began = time.monotonic()
                check_equal(node.terminate(), 0, "exit code after SIGTERM while %s hangs" % name)
                took = time.monotonic() - began
                check(took < 12, "it stops about when its drain time is over while %s hangs" % name, "%.1f s" % took)
            finally:
                own.server(name).resume()
    ok("a stop ends in time while Kafka or PostgreSQL hangs")


def story(workshop, chosen):
    services = real_services.shared()
    place = Place(workshop, services, "e2e")
    cluster = ["--cluster", place.cluster]
    nodes = [Node(workshop, name, place, cluster).start() for name in ("a", "b")]
    agents, shares = any_node_answers_for_all(nodes)
    streams_are_forwarded(nodes, agents, shares)
    nobody_without_the_secret(workshop, nodes, place, agents)
    records_of_others_are_skipped(place, nodes, agents)
    a_second_cluster_stops(workshop, place, nodes, agents)
    the_status_is_printed(nodes)
    nodes_hear_of_each_others_batches(nodes)
    a_bisect_asks_the_shared_views(nodes, place, agents)
    an_owner_is_killed(nodes, agents)
    nodes[1].start()
    a_turn_outlives_a_planned_stop(nodes, agents)
    check_equal(nodes[0].terminate(), 0, "exit code after SIGTERM")
    roles_are_apart(workshop, place)
    what_operators_get_wrong(workshop, services, place)
    a_static_member_comes_back(workshop, services)
    a_stop_ends_in_time(workshop)


if __name__ == "__main__":
    support.main(__doc__, story)
