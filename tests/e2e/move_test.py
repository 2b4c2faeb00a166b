#!/usr/bin/env python3
"""A server moves from its directory to Kafka and PostgreSQL, and nobody loses anything.

    move_test.py --varve build/dev/bin/varve        ($VARVE_SERVICES, or ./dev services start)

What is shown: `varve log copy` keeps every record and its offset, is gone on with, and refuses what is no copy; the
new server answers with the same agents, messages and positions; `log dump`, `log tail` and `verify` read either place.
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import support  # noqa: E402
from cluster_nodes import SCRIPT, Node, Place, real_services  # noqa: E402
from support import check, check_equal, create_agent, list_messages, ok, user_message  # noqa: E402


def fill(server):
    """Agents with messages; {id: what its messages are}."""
    client = server.client()
    agents = [create_agent(client, "moves-%d" % number) for number in range(6)]
    for turn in range(3):
        for agent in agents:
            client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("hello %d" % turn))
    seen = {agent: list_messages(client, agent) for agent in agents}
    client.close()
    return seen


def tool(server, *words):
    done = server.run_tool(*words)
    return done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "replace")


def copy_of(server, place, topic):
    return tool(server, "log", "copy", "--data-dir", server.data_dir, "--kafka-brokers", place.brokers,
                "--kafka-topic", topic, "--kafka-replication-factor", "1")


def the_log_is_copied(old, place):
    code, out, err = copy_of(old, place, place.topic)
    check_equal(code, 0, "exit code of the copy (%s)" % err)
    check("the topic is the log" in out and " 0 were there already" in out, "it says what it has done", out)
    code, again, err = copy_of(old, place, place.topic)
    check_equal(code, 0, "exit code of a second copy (%s)" % err)
    check("the topic is the log: 0 records copied" in again, "nothing is written twice", again)
    topic = ("--log", "kafka", "--kafka-brokers", place.brokers, "--kafka-topic", place.topic)
    for words in (("log", "dump", "--json"), ("log", "tail", "-n", "50", "--json")):
        _, here, _ = tool(old, *words, "--data-dir", old.data_dir)
        _, there, err = tool(old, *words, *topic)
        check(here and here == there, "`%s` prints the same of the topic" % " ".join(words), (here[:300], there[:300], err))
    ok("every record is in the topic, at its own offset")


def the_new_server_has_everything(workshop, place, seen):
    node = Node(workshop, "new", place, ["--cluster", place.cluster]).start()
    client = node.client()
    for agent, messages in seen.items():
        check_equal(list_messages(client, agent), messages, "messages of %s" % agent)
    agent = next(iter(seen))
    client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("are you still there?"))
    check(len(list_messages(client, agent)) > len(seen[agent]), "the agent goes on")
    client.close()
    node.environment["VARVE_POSTGRES_PASSWORD"] = place.postgres_password
    code, out, err = tool(node, "verify", "--log", "kafka", "--kafka-brokers", place.brokers, "--kafka-topic",
                          place.topic, "--store", "postgres", "--postgres-url", place.postgres_url)
    check(code == 0 and out.count("the views equal the log") == 4, "verify proves the views of PostgreSQL", (out, err))
    ok("the new server has every agent and message, and goes on with them")
    return node


def reading_makes_no_topic(node, place):
    missing = place.topic + "_missing"
    topic = ("--log", "kafka", "--kafka-brokers", place.brokers, "--kafka-topic", missing)
    views = ("--store", "postgres", "--postgres-url", place.postgres_url)
    node.environment["VARVE_POSTGRES_PASSWORD"] = place.postgres_password
    for words in (("log", "dump"), ("log", "tail"), ("verify", *views)):
        code, out, err = tool(node, *words, *topic)
        check_equal((code, out), (1, ""), "exit code and output of %s on a topic that is missing" % " ".join(words[:2]))
        check(missing in err and place.brokers in err, "it names the topic and the brokers", err)
    done = subprocess.run(["kcat", "-L", "-b", place.brokers], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          timeout=30, check=False)
    listed = done.stdout.decode()
    check('"%s"' % place.topic in listed and missing not in listed, "no topic was made", listed)
    ok("commands that read refuse a topic that is missing, and make none")


def what_is_no_copy_is_refused(old, node, place):
    code, _, err = copy_of(old, place, place.topic)
    check(code == 1 and "no copy of this log" in err and "where the original ends" in err,
          "a topic that has gone on is left alone", (code, err))
    node.terminate()
    code, _, err = tool(old, "log", "copy", "--data-dir", old.data_dir)
    check(code == 2 and "which Kafka?" in err, "without Kafka it says what is missing", (code, err))
    old.start()
    code, _, err = copy_of(old, place, place.topic + "_2")
    check(code == 3 and "another server" in err, "a log that is written to is not copied", (code, err))
    ok("what cannot be copied is refused, with a sentence")


def story(workshop, chosen):
    place = Place(workshop, real_services.shared(), "move")
    old = workshop.server("old", SCRIPT)
    whole = old.command
    old.command = lambda: [*whole(), "--cluster", place.cluster]
    old.start()
    seen = fill(old)
    check_equal(old.terminate(), 0, "exit code after SIGTERM")
    the_log_is_copied(old, place)
    node = the_new_server_has_everything(workshop, place, seen)
    reading_makes_no_topic(old, place)
    what_is_no_copy_is_refused(old, node, place)


if __name__ == "__main__":
    support.main(__doc__, story)
