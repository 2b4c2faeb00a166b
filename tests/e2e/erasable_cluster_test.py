#!/usr/bin/env python3
"""Erasable agents of a cluster on real Kafka and PostgreSQL.

Neither the topic nor a dump of the database holds a text in plain; any node reads and erases; when the owner is killed
between the erasure and the destruction of the keys, whoever owns the agent next destroys them; and a server that moves
here from its directory takes its keys along with the command of docs/personal-data.md.

    erasable_cluster_test.py --varve build/dev/bin/varve        ($VARVE_SERVICES, or ./dev services start)
"""

import contextlib
import os
import re
import subprocess
from pathlib import Path

import support
from cluster_nodes import TAKEOVER_SECONDS_MAX, Node, Place, owners, partition_of, real_services, wait_until_shared
from erasable_test import MARK, body, check_gone, say, seen
from support import Background, check, check_equal, ok, poll, user_message


class Database:
    def __init__(self, place):
        self.url = place.postgres_url
        self.environment = {**os.environ, "PGPASSWORD": place.postgres_password}

    def run(self, *command):
        done = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, timeout=120, check=False)
        check_equal(done.returncode, 0, "exit code of " + command[0])
        return done.stdout

    def dump(self):
        """Everything but the keys, which are no text."""
        return self.run("pg_dump", "--dbname", self.url)

    def keys(self):
        """{stream: key in hexadecimal}"""
        lines = self.run("psql", self.url, "-Atc", "SELECT stream, encode(key, 'hex') FROM stream_keys").decode()
        return dict(line.split("|") for line in lines.splitlines())

    @contextlib.contextmanager
    def keys_held(self):
        """Nobody can make or destroy a key meanwhile; they can be read."""
        with subprocess.Popen(["psql", self.url, "-Atq"], env=self.environment, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as session:
            session.stdin.write("BEGIN; LOCK TABLE stream_keys IN SHARE MODE; SELECT 'held';\n")
            session.stdin.flush()
            check_equal(session.stdout.readline().strip(), "held", "the lock")
            yield
            session.stdin.write("ROLLBACK;\n\\q\n")
            session.stdin.close()
            session.wait(30)


def topic(place):
    """Every byte of every record."""
    return subprocess.run(["kcat", "-C", "-b", place.brokers, "-t", place.topic, "-o", "beginning", "-e", "-q"],
                          stdout=subprocess.PIPE, timeout=60, check=True).stdout


def make_at(nodes, owner, name):
    """An erasable agent of a partition that this node owns."""
    for number in range(100):
        client = nodes[number % len(nodes)].client()
        answer = client.expect(200, "POST", "/v1/agents/", body(name, True))
        client.close()
        if owners(nodes[0])[partition_of(answer)] == owner.base:
            return answer.json["id"]
    raise support.Failure("no agent of a hundred is the node's")


def read_and_erased_anywhere(place, database, nodes):
    ann = make_at(nodes, nodes[0], "ann")
    then = ""
    for node in nodes:
        client = node.client()
        then = say(client, ann, "at %d" % node.port)
        client.expect(200, "PATCH", "/v1/agents/%s/core-memory/blocks/human" % ann, {"value": MARK + str(node.port)})
        client.close()
    told = [seen(node.client(), ann) for node in nodes]
    check_equal(told[0], told[1], "both nodes show the same")
    check(MARK in str(told[0]), "and it is readable", told[0])
    check(len(topic(place)) > 1000 and MARK.encode() not in topic(place), "the topic holds no text in plain")
    dump = database.dump()
    check(b"varve-sealed:1:" in dump and MARK.encode() not in dump, "the database holds no text in plain")
    keys = database.keys()
    check(ann in keys, "it has a key", keys)
    for hexadecimal in keys.values():
        check(bytes.fromhex(hexadecimal) not in topic(place), "no key is in the topic")
        check_equal(dump.count(hexadecimal.encode()), 1, "a dump has a key once")
    client = nodes[1].client()
    client.expect(200, "DELETE", "/v1/agents/%s?erase=true" % ann)
    client.close()
    check(ann not in database.keys(), "its key is destroyed", database.keys())
    check(keys[ann].encode() not in database.dump(), "it is in no dump")
    for node in nodes:
        client = node.client()
        check_gone(client, ann, then)
        client.close()
    ok("an agent of one node is read and erased at the other")


def the_owner_is_killed(place, database, nodes):
    ann = make_at(nodes, nodes[0], "killed")
    survivor = nodes[1]
    client = survivor.client()
    then = say(client, ann, "one")
    client.close()
    keys = {stream for stream in database.keys()}
    check(ann in keys, "it has a key", keys)

    def erase():
        eraser = survivor.client()
        with contextlib.suppress(support.Unreachable):
            eraser.request("DELETE", "/v1/agents/%s?erase=true" % ann)
        eraser.close()
        return True

    with database.keys_held():
        waiting = Background(erase)
        poll("the erasure is in the topic", 30, lambda: any(
            ann.encode() in line and b'"AgentErased"' in line for line in topic(place).splitlines()))
        nodes[0].kill9()
        poll("the other node owns everything", TAKEOVER_SECONDS_MAX,
             lambda: set(owners(survivor).values()) == {survivor.base}, pause=0.3)
        check(ann in database.keys(), "the key is still there")
    poll("the new owner has destroyed the key", 60, lambda: ann not in database.keys(), pause=0.3)
    waiting.result(60)
    client = survivor.client()
    check_gone(client, ann, then)
    client.expect(200, "DELETE", "/v1/agents/%s?erase=true" % ann)
    client.close()
    ok("the owner is killed before the keys are destroyed: the next one does it")


class OldServer(support.Server):
    """On a directory, in the cluster that it will belong to."""

    def __init__(self, workshop, place):
        super().__init__(workshop.binary, os.path.join(workshop.directory, "old"))
        self.place = place
        workshop.servers.append(self)

    def command(self):
        return [*super().command(), "--cluster", self.place.cluster]


def documented(directory, url):
    """The command that takes keys along, as the page has it."""
    page = (Path(__file__).resolve().parents[2] / "docs/personal-data.md").read_text(encoding="ascii")
    command = re.search(r"^    (sqlite3 DIR/keys\.db .*)$", page, re.M)
    check(command is not None, "the page says how keys move")
    return command.group(1).replace("DIR", directory).replace("URL", url)


def keys_move_with_the_log(workshop):
    place = Place(workshop, real_services.shared(), "erasable_move", script=None)
    old = OldServer(workshop, place).start()
    client = old.client()
    ann = client.expect(200, "POST", "/v1/agents/", body("ann", True)).json["id"]
    then = say(client, ann, "one")
    wanted = seen(client, ann)
    client.close()
    check_equal(old.terminate(), 0, "exit code")
    done = old.run_tool("log", "copy", "--data-dir", old.data_dir, "--kafka-brokers", place.brokers, "--kafka-topic",
                        place.topic, "--kafka-replication-factor", "1")
    check(done.returncode == 0, "the log is copied", done.stderr)
    node = Node(workshop, "moved", place, ["--cluster", place.cluster]).start()
    client = node.client()
    client.expect(404, "GET", "/v1/agents/" + ann)
    client.expect(503, "POST", "/v1/agents/%s/messages" % ann, user_message("hello?"))
    database = Database(place)
    database.run("bash", "-c", "set -o pipefail; " + documented(old.data_dir, place.postgres_url))
    check_equal(seen(client, ann), wanted, "with its keys the agent is there")
    say(client, ann, "two")
    client.expect(200, "DELETE", "/v1/agents/%s?erase=true" % ann)
    check_equal(database.keys(), {}, "keys that are left")
    check_gone(client, ann, then)
    client.close()
    ok("keys move with the log, by the documented command")


def story(workshop, _chosen):
    place = Place(workshop, real_services.shared(), "erasable", script=None)
    nodes = [Node(workshop, name, place, ["--cluster", place.cluster]).start() for name in ("a", "b")]
    wait_until_shared(nodes)
    database = Database(place)
    read_and_erased_anywhere(place, database, nodes)
    the_owner_is_killed(place, database, nodes)
    keys_move_with_the_log(workshop)


if __name__ == "__main__":
    support.main(__doc__, story)
