#!/usr/bin/env python3
"""Erasable agents and a real server: every byte of the data directory is looked through.

As long as there is a key the agent is like any other, and no file holds a text of it in plain; what is verified and
rebuilt needs no key. Erased, it answers 410, at every moment of the past too, and the bytes of its keys are in no file;
also if the server is killed when the erasure is in the log and the keys are still there.

    erasable_test.py --varve build/dev/bin/varve
"""

import base64
import contextlib
import os
import sqlite3
import stat
from pathlib import Path

import support
from support import check, check_equal, list_messages, ok, poll, user_message

MARK = "Zyzzyva"  # In everything that is told to the agent; nothing else has it.


def body(name, erasable):
    return {
        "name": MARK + name,
        "description": MARK + " description",
        "system": MARK + " system",
        "model": support.MODEL,
        "erasable": erasable,
        "metadata": {"k": MARK + " metadata"},
        "tags": ["plain-tag"],
        "memory_blocks": [{"label": "human", "value": MARK + " value"},
                          {"label": "persona", "value": MARK + " persona"}],
    }


def files(server):
    """Every file that the server has written: {path: bytes}."""
    paths = [path for path in Path(server.data_dir).rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in [*paths, Path(server.log_path)]}


def holders(server, *needles):
    """The files that hold one of the texts, as bytes."""
    return sorted(Path(path).name for path, content in files(server).items()
                  if any(needle in content for needle in needles))


def forms(key):
    """How a key may have been written down."""
    return key, key.hex().encode(), base64.b64encode(key).rstrip(b"=")


@contextlib.contextmanager
def key_file(server):
    with contextlib.closing(sqlite3.connect(os.path.join(server.data_dir, "keys.db"), isolation_level=None)) as database:
        yield database


def keys_of(server):
    """{stream: key}"""
    with key_file(server) as database:
        return dict(database.execute("SELECT stream, key FROM stream_keys"))


def say(client, agent, text):
    answer = client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message(MARK + " " + text))
    return answer.headers["varve-position"]


def seen(client, agent):
    """What a client sees of an agent, without what differs from agent to agent."""
    got = client.expect(200, "GET", "/v1/agents/" + agent).json
    blocks = client.expect(200, "GET", "/v1/agents/%s/core-memory/blocks" % agent).json
    return ({name: got[name] for name in ("name", "description", "system", "metadata", "tags")},
            [(block["label"], block["value"]) for block in blocks],
            [(m["message_type"], m.get("content")) for m in list_messages(client, agent)])


def check_gone(client, agent, then):
    for past in ("", "?as_of=" + then):
        for route in ("", "/messages", "/core-memory/blocks", "/core-memory/blocks/human", "/export"):
            client.expect(410, "GET", "/v1/agents/%s%s%s" % (agent, route, past))
        listed = client.expect(200, "GET", "/v1/agents/" + past).json
        check(agent not in [one["id"] for one in listed], "it is in no list", past)
    client.expect(410, "POST", "/v1/agents/%s/messages" % agent, user_message("hello?"))


def plain_nowhere(workshop):
    server = workshop.server("plain").start()
    client = server.client()
    before = holders(server, MARK.encode())
    check_equal(before, [], "the mark is no word of ours")
    ann = client.expect(200, "POST", "/v1/agents/", body("ann", True)).json["id"]
    then = say(client, ann, "one")
    client.expect(200, "PATCH", "/v1/agents/%s/core-memory/blocks/human" % ann, {"value": MARK + " edited"})
    client.expect(422, "POST", "/v1/agents/%s/messages" % ann, {"messages": MARK})
    say(client, ann, "two")
    wanted = seen(client, ann)
    check_equal(holders(server, MARK.encode()), [], "files with a text in plain")
    keys = keys_of(server)
    check_equal(len(keys), 3, "an agent and two blocks have a key each")
    mode = stat.S_IMODE(os.stat(os.path.join(server.data_dir, "keys.db")).st_mode)
    check_equal(mode, 0o600, "who may read the keys")
    for key in keys.values():
        check_equal(holders(server, *forms(key)), ["keys.db"], "files with a key")
    ok("no file holds a text in plain, and one file holds keys")

    client.close()
    server.kill9()
    server.start()
    check_equal(seen(client, ann), wanted, "from the log, after a kill")
    client.close()
    check_equal(server.terminate(), 0, "exit code")
    server.start()
    check_equal(seen(client, ann), wanted, "from snapshots, after a stop")
    check_equal(client.expect(200, "GET", "/v1/agents/?name=" + MARK + "ann").json, [], "found by name")
    check_equal(client.expect(200, "POST", "/v1/messages/search", {"query": MARK}).json, [], "found by the search")
    check_equal(holders(server, MARK.encode()), [], "files with a text in plain, after restarts")
    client.close()
    check_equal(server.terminate(), 0, "exit code")
    server.verify()
    for _ in range(2):
        done = server.run_tool("projections", "rebuild", "--data-dir", server.data_dir, seconds=600)
        check(done.returncode == 0, "a rebuild needs no key", done.stderr)
    check_equal(holders(server, MARK.encode()), [], "files with a text in plain, after rebuilds")
    server.start()
    check_equal(seen(client, ann), wanted, "after a rebuild")
    ok("restarts, verify and rebuild: the agent is what it was")

    # Beside it one that is not erasable: the search for the mark does find what is plain.
    bob = client.expect(200, "POST", "/v1/agents/", body("bob", False)).json["id"]
    found = holders(server, MARK.encode())
    check(any(name.startswith("log.db") for name in found), "a text in plain would be found", found)
    client.expect(422, "DELETE", "/v1/agents/%s?erase=true" % bob)
    ok("what is not erasable is not erased")

    client.expect(200, "DELETE", "/v1/agents/%s?erase=true" % ann)
    client.expect(200, "DELETE", "/v1/agents/%s?erase=true" % ann)
    check_gone(client, ann, then)
    check_equal(keys_of(server), {}, "keys that are left")
    for key in keys.values():
        check_equal(holders(server, *forms(key)), [], "files with a destroyed key")
    client.close()
    server.kill9()
    server.start()
    check_gone(client, ann, then)
    client.close()
    check_equal(server.terminate(), 0, "exit code")
    server.verify()
    for key in keys.values():
        check_equal(holders(server, *forms(key)), [], "files with a destroyed key, after restarts")
    ok("erased: 410 at every moment, and its keys are in no file")


def killed_between(workshop):
    """The erasure is in the log, the keys are not destroyed, and the server dies."""
    server = workshop.server("killed").start()
    client = server.client()
    ann = client.expect(200, "POST", "/v1/agents/", body("ann", True)).json["id"]
    then = say(client, ann, "one")
    keys = keys_of(server)
    check_equal(len(keys), 3, "an agent and two blocks have a key each")

    def erase():
        eraser = server.client()
        with contextlib.suppress(support.Unreachable):
            eraser.request("DELETE", "/v1/agents/%s?erase=true" % ann)
        eraser.close()
        return True

    def in_log():
        return any(event["type"] == "AgentErased" for one in server.log_records()
                   for part in one["record"].get("parts", []) for event in part["events"])

    with key_file(server) as holder:
        holder.execute("BEGIN EXCLUSIVE")  # Nobody can destroy a key now.
        waiting = support.Background(erase)
        poll("the erasure is in the log", 30, in_log)
        client.close()
        server.kill9()
        holder.execute("ROLLBACK")
    waiting.result(60)
    check_equal(keys_of(server), keys, "the keys are all there")
    server.start()
    poll("the keys are destroyed, though nobody asks", 30, lambda: not keys_of(server))
    for key in keys.values():
        check_equal(holders(server, *forms(key)), [], "files with a destroyed key")
    check_gone(client, ann, then)
    client.expect(200, "DELETE", "/v1/agents/%s?erase=true" % ann)
    client.close()
    check_equal(server.terminate(), 0, "exit code")
    server.verify()
    ok("killed between the erasure and its end: it is brought to its end at the next start")


def story(workshop, _chosen):
    plain_nowhere(workshop)
    killed_between(workshop)


if __name__ == "__main__":
    support.main(__doc__, story)
