#!/usr/bin/env python3
"""A cluster whose nodes do not agree what time it is: one is ten minutes ahead, one ten minutes behind.

    clock_test.py --varve build/dev/bin/varve --wrong-clock build/dev/tests/support/libwrong_clock.so
                  ($VARVE_SERVICES, or ./dev services start)

On real Kafka and PostgreSQL; tests/support/wrong_clock.cpp is loaded into the nodes. What is shown: each answers for the
other's agents, with deadlines and streams; a turn that the one began is ended by the other after SIGKILL, in both
directions, and after a planned stop; nothing acknowledged is lost; in the log no time runs backwards along a partition,
also not where the slow clock's node followed the fast one's; the views are the fold of the log.
"""

import calendar
import email.utils
import json
import os
import threading
import time

import cluster_test
import support
from cluster_test import (Load, Node, Place, events_of, make_agents, owners, real_services, said,
                          wait_until_shared)
from support import Background, check, check_equal, key, ok, poll, user_message

MINUTES, MINUTES_FAR = 10, 150
SECONDS_OFF_MAX = 60  # Of what a clock says from what it was told to say.
TURN_SECONDS_MAX = 60


def with_clock_off(node, minutes, library):
    node.environment.update(LD_PRELOAD=library, WRONG_CLOCK_SECONDS=str(60 * minutes))
    node.minutes = minutes
    return node


def shown_clock(node):
    """How many seconds its clock is ahead, as the Date of its answers says."""
    client = node.client()
    answer = client.expect(200, "GET", "/v1/health/")
    client.close()
    return calendar.timegm(email.utils.parsedate(answer.headers["date"])) - time.time()


def clocks_are_wrong(nodes):
    for node in nodes:
        off = shown_clock(node)
        check(abs(off - 60 * node.minutes) < SECONDS_OFF_MAX, "the clock of %s is off by %d minutes"
              % (node.base, node.minutes), "%.0f s" % off)


def each_answers_for_the_other(nodes, agents, shares):
    for agent, partition in agents:
        for node in nodes:
            client = node.client()
            text = "hello from %d" % node.port
            # The client's patience is a length of time, wherever the command is carried out.
            answer = client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message(text),
                                   {**key(agent + text), "x-stainless-timeout": "20"})
            check_equal(said(answer), ["plain answer"], "the answer")
            client.close()
    agent, partition = agents[0]
    for node in nodes:
        got = events_of(node, "/v1/agents/%s/messages/stream" % agent,
                        {**user_message("word by word"), "stream_tokens": True})
        check_equal(got[-1][1], "[DONE]", "the end of the stream at %s" % node.base)
    for node in nodes:
        check(support.answers(node.port, "/v1/ready/"), "%s is ready" % node.base)
    ok("each answers for the other's agents, with a deadline and in streams")


def begin_turn(owner, other, shares, agents, name):
    """A long turn of an agent of this node, asked for at the other one: (agent, what waits for the answer)."""
    agent = next(agent for agent, partition in agents if shares[partition] == owner.base)
    text = "take your time " + name

    def ask():
        client = other.client()
        try:
            return support.retried(client, "POST", "/v1/agents/%s/messages" % agent, user_message(text), key(name),
                                   time.monotonic() + TURN_SECONDS_MAX)
        finally:
            client.close()

    waiting = Background(ask)
    reader = other.client()
    poll("the turn is open", 20, lambda: ("user_message", text) in support.talk_of(reader, agent))
    reader.close()
    return agent, waiting


def turn_goes_on(how, goes, stays, agents, stop_it):
    """What the one has begun the other one ends, whatever its clock says, while clients write."""
    shares = wait_until_shared([stays, goes])
    stop = threading.Event()
    agent, waiting = begin_turn(goes, stays, shares, agents, "%s %d" % (how, goes.port))
    what = "%s-%d" % (how, goes.port)
    loads = [Load(stays, one, stop, what) for one, _ in agents if one != agent]
    began = time.monotonic()
    stop_it(goes)
    poll("%s owns everything" % stays.base, cluster_test.TAKEOVER_SECONDS_MAX,
         lambda: set(owners(stays).values()) == {stays.base}, pause=0.3)
    answer = waiting.result(TURN_SECONDS_MAX + 10)
    check_equal((answer.status, said(answer) if answer.status == 200 else answer.detail()), (200, ["slow answer"]),
                "the answer to the turn that the other node began")
    took = time.monotonic() - began
    client = stays.client()
    cluster_test.nothing_is_lost(client, loads, stop)
    client.close()
    goes.start()
    ok("%s of the node that is %+d minutes off: the one that is %+d ends its turn after %.1f s, nothing is lost"
       % (how, goes.minutes, stays.minutes, took))


def tool_of_right_clock(workshop, place, *words):
    tool = Node(workshop, "tool-" + words[0], place)
    return tool.run_tool(*words, "--log", "kafka", "--kafka-brokers", place.brokers, "--kafka-topic", place.topic)


def no_time_runs_backwards(workshop, place):
    done = tool_of_right_clock(workshop, place, "log", "dump", "--json")
    check_equal(done.returncode, 0, "the exit code of varve log dump (%s)" % done.stderr.decode()[-500:])
    newest, clock, slow_after_fast = {}, {}, 0
    for line in done.stdout.decode().splitlines():
        one = json.loads(line)
        if one["verdict"] != "admitted":
            continue
        partition, record = one["partition"], one["record"]
        before = newest.get(partition, (0, "nothing"))
        check(record["at"] >= before[0], "time runs on along partition %d" % partition, (before, record))
        newest[partition] = (record["at"], one["position"])
        # Of the node that owns it: a claim says who, and its own time shows whose clock it is.
        if record["kind"] == "claim":
            slow_after_fast += clock.get(partition) == "fast" and record["url"] == place.slow
            clock[partition] = "fast" if record["url"] == place.fast else "slow"
    check_equal(len(newest), cluster_test.PARTITIONS, "partitions that have records")
    check(slow_after_fast > 0, "a partition went from the fast clock to the slow one")
    ahead = max(at for at, _ in newest.values()) / 1e6 - time.time()
    check(ahead > 60 * (MINUTES - 5), "the fast clock has left its mark", "%.0f s" % ahead)
    ok("no time runs backwards along a partition, %d times also not from the fast clock to the slow one"
       % slow_after_fast)


def the_views_are_right(workshop, place):
    done = tool_of_right_clock(workshop, place, "verify", "--store", "postgres", "--postgres-url", place.postgres_url)
    said_words = (done.stdout + done.stderr).decode("utf-8", "replace")
    check(done.returncode == 0 and said_words.count("the views equal the log") == cluster_test.PARTITIONS,
          "varve verify finds that the views equal the log", said_words)
    ok("varve verify finds that the views equal the log")


def hours_ahead(workshop, services, library):
    """By itself a broker refuses what is more than an hour ahead; our topics have the broker's time."""
    place = Place(workshop, services, "far")
    node = with_clock_off(Node(workshop, "far", place, ["--cluster", place.cluster]), MINUTES_FAR, library).start()
    clocks_are_wrong([node])
    agent = make_agents([node], 1, "far")[0][0]
    client = node.client()
    answer = client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("what time is it?"))
    check_equal(said(answer), ["plain answer"], "the answer")
    client.close()
    check_equal(node.terminate(), 0, "exit code after SIGTERM")
    ok("a node that is hours ahead writes, too")


def story(workshop, chosen):
    place = Place(workshop, real_services.shared(), "clock")
    nodes = [with_clock_off(Node(workshop, name, place, ["--cluster", place.cluster]), minutes, chosen.wrong_clock)
             for name, minutes in (("fast", MINUTES), ("slow", -MINUTES))]
    fast, slow = nodes
    place.fast, place.slow = fast.base, slow.base
    for node in nodes:
        node.start()
    clocks_are_wrong(nodes)
    ok("one node is ten minutes ahead, one ten minutes behind")
    shares = wait_until_shared(nodes)
    agents = make_agents(nodes, 6, "clock")
    each_answers_for_the_other(nodes, agents, shares)
    turn_goes_on("SIGKILL", slow, fast, agents, lambda node: node.kill9())
    turn_goes_on("SIGKILL", fast, slow, agents, lambda node: node.kill9())
    turn_goes_on("SIGTERM", slow, fast, agents, lambda node: check_equal(node.terminate(), 0, "exit code"))
    wait_until_shared(nodes)
    for node in nodes:
        check_equal(node.terminate(), 0, "exit code after SIGTERM")
    no_time_runs_backwards(workshop, place)
    the_views_are_right(workshop, place)
    hours_ahead(workshop, place.services, chosen.wrong_clock)


def own_arguments(parser):
    parser.add_argument("--wrong-clock", required=True, type=os.path.abspath,
                        help="path of tests/support/wrong_clock.cpp as a library")


if __name__ == "__main__":
    support.main(__doc__, story, more=own_arguments)
