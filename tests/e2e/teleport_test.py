#!/usr/bin/env python3
"""`varve teleport` between two real servers with different numbers of partitions.

Everything that the API says of an agent is the same at both; a repeated import changes nothing; whatever is killed
in the middle, the same command goes on; what is there already is refused, or forked; an agent that has moved answers
with its new place; the views equal the log.

    teleport_test.py --varve build/dev/bin/varve
"""

import glob
import json
import os
import signal
import subprocess
import time

import support
from support import check, check_equal, create_agent, key, list_messages, ok, poll, talk_of, user_message

SCRIPT = {
    "replies": [
        {"match": "remember tea", "then": "noted",
         "tool_calls": [{"name": "memory_insert", "arguments": {"label": "human", "new_string": "likes tea"}}]},
        {"match": "take your time", "delay_ms": 60000, "text": "slow answer"},
        {"match": "please fail", "error": {"status": 500, "message": "the model is down"}},
    ],
    "default": {"text": "plain answer"},
}
SEVEN = 7
AGENT_FILES = "/work/shared/data/agents/*.af"


class Elsewhere(support.Server):
    """A server whose log has another number of partitions."""

    def command(self):
        return super().command() + ["--partitions", str(SEVEN)]


def elsewhere(workshop, name):
    made = workshop.server(name, script=SCRIPT)
    made.__class__ = Elsewhere
    return made.start()


def teleport(server, *words, seconds=120):
    done = server.run_tool("teleport", *words, seconds=seconds)
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


def expect(code, server, *words):
    """Runs the command; gives back what it said on standard error, and its lines."""
    seen, said, error = teleport(server, *words)
    check_equal(seen, code, "varve teleport %s: %s" % (" ".join(words), error))
    return error, said.decode("utf-8", "replace").split()


def path_of(workshop, name):
    return os.path.join(workshop.directory, name)


def say(client, agent, text, headers=None):
    return client.request("POST", "/v1/agents/%s/messages" % agent, user_message(text), headers)


def routes_of(client, agent):
    """What can be asked about an agent."""
    base = "/v1/agents/" + agent
    routes = [base, base + "/core-memory", base + "/core-memory/blocks", base + "/tools", base + "/context",
              base + "/messages?limit=1000&order=asc", "/v1/runs/?limit=1000&agent_id=" + agent,
              "/v1/messages/?limit=1000"]
    for run in client.expect(200, "GET", "/v1/runs/?limit=1000&agent_id=" + agent).json:
        here = "/v1/runs/" + run["id"]
        routes += [here, here + "/messages", here + "/steps", here + "/usage"]
    for block in client.expect(200, "GET", base + "/core-memory/blocks").json:
        routes += ["/v1/blocks/" + block["id"], "/v1/blocks/" + block["id"] + "/agents"]
    return routes


LISTS = ["/v1/agents/?limit=1000", "/v1/agents/count", "/v1/blocks/?limit=1000", "/v1/blocks/count", "/v1/tags/",
         "/v1/tools/?limit=1000"]


def same_everywhere(source, target, agents, lists=True):
    routes = [route for agent in agents for route in routes_of(source, agent)] + (LISTS if lists else [])
    for route in sorted(set(routes)):
        here = source.expect(200, "GET", route).json
        check_equal(target.expect(200, "GET", route).json, here, "GET " + route + " is the same at both")
    for agent in agents:
        found = [client.expect(200, "POST", "/v1/messages/search", {"query": "plain", "agent_id": agent}).json
                 for client in (source, target)]
        check_equal(found[1], found[0], "a search finds the same")
    return len(routes)


def commits(server):
    return sum(one["record"]["kind"] == "commit" for one in server.log_records())


def people(client):
    """Two agents that share a block, one with a tool; turns that called tools, and one that failed."""
    tool = client.expect(200, "POST", "/v1/tools/", {
        "source_code": "def add(a: int, b: int) -> int:\n    \"\"\"Adds.\n\n    Args:\n        a (int): One.\n"
                       "        b (int): Two.\n    \"\"\"\n    return a + b\n"}).json["id"]
    shared = client.expect(200, "POST", "/v1/blocks/", {"label": "shared", "value": "of both"}).json["id"]
    gone = client.expect(200, "POST", "/v1/blocks/", {"label": "once", "value": "was attached once"}).json["id"]
    ann = create_agent(client, "ann", {"human": "Ann", "persona": "calm"}, [shared, gone])
    ben = create_agent(client, "ben", {"human": "Ben"}, [shared])
    client.expect(200, "PATCH", "/v1/agents/%s/tools/attach/%s" % (ann, tool))
    client.expect(200, "PATCH", "/v1/agents/" + ann, {"tags": ["red", "blue"], "metadata": {"n": 1.50}})
    client.expect(200, "PATCH", "/v1/agents/%s/core-memory/blocks/detach/%s" % (ann, gone))
    client.expect(200, "PATCH", "/v1/agents/" + ann, {"tags": ["red", "green"], "description": "first"})
    for agent in (ann, ben):
        check_equal(say(client, agent, "remember tea").status, 200, "a turn")
        check_equal(say(client, agent, "and then?").status, 200, "a turn")
    say(client, ann, "please fail")
    check_equal(say(client, ann, "with a key", key("k1")).status, 200, "a turn with a key")
    client.expect(200, "PATCH", "/v1/blocks/" + shared, {"value": "of both, changed"})
    return ann, ben, tool


def a_round_trip(workshop, source):
    client = source.client()
    ann, ben, _tool = people(client)
    archive = path_of(workshop, "all.zst")
    expect(0, source, "export", "--all", "--data-dir", source.data_dir, "--output", archive)
    again = path_of(workshop, "again.zst")
    expect(0, source, "export", "--all", "--server", source.base, "--output", again)
    with open(archive, "rb") as one, open(again, "rb") as other:
        check_equal(one.read(), other.read(), "the log and the server give the same archive")
    target = elsewhere(workshop, "target")
    there = target.client()
    _, agents = expect(0, target, "import", archive, "--server", target.base)
    check_equal(sorted(agents), sorted([ann, ben]), "the agents that were imported")
    count = same_everywhere(client, there, [ann, ben])
    ok("%d routes say the same at both, with 4 and with %d partitions" % (count, SEVEN))

    before = commits(target)
    error, _ = expect(0, target, "import", archive, "--server", target.base)
    check("everything was there already" in error, "it says so", error)
    check_equal(commits(target), before, "a repeated import writes nothing")
    # The request that was answered there is known here.
    replay = there.expect(200, "POST", "/v1/agents/%s/messages" % ann, user_message("with a key"), key("k1")).json
    first = client.expect(200, "POST", "/v1/agents/%s/messages" % ann, user_message("with a key"), key("k1")).json
    check_equal([m["id"] for m in replay["messages"]], [m["id"] for m in first["messages"]], "a retry is known")
    check_equal(say(there, ann, "remember tea").status, 200, "it lives on")
    check_equal(talk_of(there, ann)[:-2], talk_of(client, ann), "with its history")
    expect(0, target, "import", archive, "--server", target.base)
    target.verify()
    message = list_messages(there, ann)[1]["id"]
    for words_of in (["explain", message], ["replay", "--stream", ann]):
        told = target.run_tool(*words_of, "--data-dir", target.data_dir).stdout.decode()
        check("carried" in told and "UserMessageReceived of 20" in told, "what happened at the source is told", told)
    ok("a repeated import changes nothing, also of an agent that has lived on")

    with open(archive, "rb") as whole:
        damaged = bytearray(whole.read())
    damaged[len(damaged) // 2] ^= 4
    broken = path_of(workshop, "broken.zst")
    with open(broken, "wb") as out:
        out.write(damaged)
    empty = elsewhere(workshop, "empty")
    error, _ = expect(1, empty, "import", broken, "--server", empty.base)
    check("the archive is damaged at its frame" in error, "it names the frame", error)
    with open(broken, "wb") as out:
        out.write(damaged[:1000])
    error, _ = expect(1, empty, "import", broken, "--server", empty.base)
    check_equal(commits(empty), 0, "nothing was sent of what is damaged")
    empty.terminate()
    ok("a damaged archive is refused whole")
    return archive, target, ann, ben


def existing_ids(workshop, source, archive, ann):
    """A target that has an agent of this id from elsewhere, and a tool of this name."""
    lived = elsewhere(workshop, "lived")
    there = lived.client()
    expect(0, lived, "import", archive, "--server", lived.base)
    client = source.client()
    say(client, ann, "later, at the source")
    later = path_of(workshop, "later.zst")
    expect(0, source, "export", ann, "--data-dir", source.data_dir, "--output", later)
    before = commits(lived)
    error, _ = expect(1, lived, "import", later, "--server", lived.base)
    check(ann in error and "--fork" in error, "it names the agent, and the way out", error)
    check_equal(commits(lived), before, "nothing was appended")

    _, forks = expect(0, lived, "import", later, "--server", lived.base, "--fork")
    check(len(forks) == 1 and forks[0] != ann, "a fork has an id of its own", forks)
    check_equal(talk_of(there, forks[0]), talk_of(client, ann), "a fork has the history")
    check_equal(len(list_messages(there, forks[0])), len(list_messages(client, ann)), "all of it")
    block = "/v1/agents/%s/core-memory/blocks/human"
    check_equal(there.expect(200, "GET", block % forks[0]).json["value"],
                client.expect(200, "GET", block % ann).json["value"], "a fork has the memory")
    check(there.expect(200, "GET", block % forks[0]).json["id"] != client.expect(200, "GET", block % ann).json["id"],
          "in blocks of its own")
    before = commits(lived)
    _, same = expect(0, lived, "import", later, "--server", lived.base, "--fork")
    check_equal((same, commits(lived)), (forks, before), "the same fork again changes nothing")
    _, other = expect(0, lived, "import", later, "--server", lived.base, "--fork", "--fork-key", "x")
    check(other != forks, "another key, another fork", other)
    lived.verify()
    lived.terminate()

    busy = elsewhere(workshop, "busy")
    busy.client().expect(200, "POST", "/v1/tools/", {
        "source_code": "def add(a: int) -> int:\n    \"\"\"Other.\n\n    Args:\n        a (int): One.\n    \"\"\"\n"
                       "    return a\n"})
    before = commits(busy)
    error, _ = expect(1, busy, "import", archive, "--server", busy.base)
    check("another tool 'add'" in error, "it names the tool", error)
    check_equal(commits(busy), before, "nothing was appended")
    busy.terminate()
    ok("what is there already is refused by name, or forked")


def killed_half_way(workshop, source, archive, ann, ben):
    """The tool and the target, again and again: the same command goes on."""
    target = elsewhere(workshop, "killed")
    command = [target.binary, "teleport", "import", archive, "--server", target.base, "--retry-seconds", "60"]
    tools = 0
    for tries in range(8):
        tool = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                env=target.environment)
        time.sleep(0.05 + 0.06 * tries)
        if tries % 2 == 0:
            tool.kill()
            tool.wait()
            tools += 1
            continue
        target.kill9()
        target.start()
        tool.wait(120)
    expect(0, target, "import", archive, "--server", target.base)
    same_everywhere(source.client(), target.client(), [ben])
    events = [event for one in target.log_records() for part in one["record"].get("parts", [])
              for event in part["events"] if part["stream"] == ann]
    check_equal([event["type"] for event in events].count("TeleportSealed"), 1, "it was sealed once")
    target.verify()
    target.terminate()
    ok("%d killed tools and %d killed targets later it is whole" % (tools, 8 - tools))


def hidden_until_sealed(workshop, archive, ann):
    """What is sent and not sealed is in no list; the same server shows it at the seal."""
    target = elsewhere(workshop, "hidden")
    there = target.client()
    # All pieces, and no seal: a proxy would be heavier than the pieces themselves.
    lines = subprocess.run(["zstd", "-dc", archive], stdout=subprocess.PIPE, check=False).stdout.splitlines() \
        if os.path.exists("/usr/bin/zstd") else []
    frames = [json.loads(line[65:]) for line in lines]
    records = [frame for frame in frames if frame["kind"] == "record" and frame["stream"] == ann]
    for record in records:
        if record["seq"] > 1:
            break
        events = []
        for number, event in enumerate(record["events"]):
            command = record["cmd"]
            data = {"at": record["at"], "cmd": command["id"], "hash": command["hash"],
                    "request": command.get("request"), **event}
            if number == 0:
                data.update(source="varve", client=command.get("client", False))
            events.append({"type": "EventTeleported", "v": 1, "data": data})
        there.expect(200, "POST", "/v1/varve/teleport/import",
                     {"stream": ann, "append": {"first": 1, "chain": "", "events": events}})
        there.expect(404, "GET", "/v1/agents/" + ann)
        check_equal(there.expect(200, "GET", "/v1/agents/").json, [], "it is in no list")
        check_equal(say(there, ann, "hello").status, 404, "it takes no messages")
    bad = [
        ({"stream": "agent-x"}, 422), ({"stream": ann, "append": {}}, 422), ({}, 422),
        ({"stream": ann, "append": {"first": 1, "chain": "", "events": []}}, 422),
        ({"stream": ann, "seal": {"events": 99, "chain": "x"}}, 409 if records else 404),
        ({"tool": {"id": "x"}}, 422)]
    for body, status in bad:
        there.expect(status, "POST", "/v1/varve/teleport/import", body)
    there.expect(405, "GET", "/v1/varve/teleport/import")
    there.expect(422, "GET", "/v1/varve/teleport/export")
    there.expect(404, "GET", "/v1/varve/teleport/export?agents=" + ann)
    expect(0, target, "import", archive, "--server", target.base)
    there.expect(200, "GET", "/v1/agents/" + ann)
    target.verify()
    target.terminate()
    ok("nothing is seen before the seal, and bad pieces are refused")


def moved(workshop, source):
    client = source.client()
    cleo = create_agent(client, "cleo", {"human": "Cleo"})
    say(client, cleo, "remember tea")
    says = talk_of(client, cleo)
    then = client.expect(200, "GET", "/v1/agents/" + cleo).json
    counted = client.expect(200, "GET", "/v1/agents/count").json
    target = elsewhere(workshop, "home")
    _, ids = expect(0, source, "move", cleo, "--server", source.base, "--to", target.base + "/",
                    "--archive", path_of(workshop, "move.zst"))
    check_equal(ids, [cleo], "the agent that has moved")
    there = target.client()
    check_equal(there.expect(200, "GET", "/v1/agents/" + cleo).json, then, "it is there as it was")
    check_equal(talk_of(there, cleo), says, "with its history")
    position = client.expect(410, "GET", "/v1/agents/" + cleo)
    check_equal((position.json["moved_to"], position.headers["varve-moved-to"]), (target.base, target.base),
                "its new place")
    check(target.base in position.detail(), "in words, too", position)
    for method, route, body in [
            ("GET", "/messages", None), ("GET", "/core-memory", None), ("GET", "/core-memory/blocks", None),
            ("GET", "/tools", None), ("GET", "/context", None), ("GET", "/export", None),
            ("PATCH", "", {"name": "x"}), ("DELETE", "", None), ("POST", "/messages", user_message("hello")),
            ("POST", "/messages/stream", user_message("hello")), ("PATCH", "/reset-messages", {}),
            ("PATCH", "/core-memory/blocks/human", {"value": "x"})]:
        client.expect(410, method, "/v1/agents/" + cleo + route, body)
    check_equal(client.expect(200, "GET", "/v1/agents/count").json, counted - 1, "it is in no count")
    check(cleo not in [one["id"] for one in client.expect(200, "GET", "/v1/agents/?limit=1000").json],
          "nor in a list")
    past = client.request("GET", "/v1/agents/%s?as_of=%s" % (cleo, then["created_at"]))
    check(past.status in (200, 404, 410), "as of a moment before", past)
    expect(0, source, "move", cleo, "--server", source.base, "--to", target.base,
           "--archive", path_of(workshop, "move.zst"))
    client.close()
    source.terminate()
    source.start()
    client = source.client()
    client.expect(410, "GET", "/v1/agents/" + cleo)
    client.expect(410, "POST", "/v1/agents/%s/messages" % cleo, user_message("hello"))
    source.verify()
    target.verify()
    client.expect(404, "GET", "/v1/agents/agent-00000000-0000-4000-8000-000000000000")
    kept = path_of(workshop, "kept.zst")
    expect(0, source, "export", cleo, "--data-dir", source.data_dir, "--output", kept)
    error, _ = expect(1, source, "import", kept, "--server", source.base)
    check(cleo in error, "it has been here", error)
    _, forks = expect(0, source, "import", kept, "--server", source.base, "--fork")
    check_equal(talk_of(client, forks[0]), says, "what the source keeps can live again, as another agent")
    client.expect(200, "DELETE", "/v1/agents/" + forks[0])
    ok("an agent that has moved answers with its new place, on every route, also after a restart")
    target.terminate()


def a_block_that_lives_on(workshop, source):
    """Two agents share a block and move one after the other. The second has left when the block changes at its source."""
    client = source.client()
    first, second = [create_agent(client, name, {"human": name}) for name in ("first", "second")]
    block = client.expect(200, "POST", "/v1/blocks/", {"label": "town", "value": "Ulm"}).json["id"]
    for agent in (first, second):
        client.expect(200, "PATCH", "/v1/agents/%s/core-memory/blocks/attach/%s" % (agent, block), {})
    target = elsewhere(workshop, "shared-home")
    there = target.client()
    arguments = ("--server", source.base, "--to", target.base, "--archive", path_of(workshop, "shared.zst"))
    expect(0, source, "move", first, *arguments)
    move = {"agent": second, "place": target.base, "events": 0}
    refused = client.expect(409, "POST", "/v1/varve/teleport/move", move).detail()
    move["events"] = int(refused.split(" has ")[1].split()[0])
    client.expect(200, "POST", "/v1/varve/teleport/move", move)
    client.expect(200, "PATCH", "/v1/blocks/" + block, {"value": "Bonn"})
    expect(0, source, "move", second, *arguments)
    blocks = there.expect(200, "GET", "/v1/agents/%s/core-memory/blocks" % second).json
    check_equal(sorted(one["value"] for one in blocks), ["Ulm", "second"], "the block is what it was there")
    client.expect(410, "GET", "/v1/agents/" + second)
    target.terminate()
    ok("who has left arrives, whatever has become of a block that was carried before")


def a_move_that_is_killed(workshop, source):
    """SIGKILL of the tool at any moment: never do both servers take messages."""
    client = source.client()
    target = elsewhere(workshop, "killed-home")
    there = target.client()
    for number in range(4):
        agent = create_agent(client, "mover%d" % number, {"human": "M"})
        say(client, agent, "hello")
        command = [source.binary, "teleport", "move", agent, "--server", source.base, "--to", target.base,
                   "--archive", path_of(workshop, "killed.zst")]
        tool = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                env=source.environment)
        time.sleep(0.1 + 0.1 * number)
        tool.kill()
        tool.wait()
        took = [say(one, agent, "who hears me?").status == 200 for one in (client, there)]
        check(took != [True, True], "one of them took it at most", took)
        expect(0, source, *command[2:])
        check_equal(say(there, agent, "here now").status, 200, "it lives at the target")
        client.expect(410, "GET", "/v1/agents/" + agent)
        heard = [text for kind, text in talk_of(there, agent) if kind == "user_message"]
        check_equal(heard.count("who hears me?"), sum(took), "what was answered is there, once")
    target.verify()
    target.terminate()
    ok("a move that is killed goes on, and no message is lost or doubled")


def an_open_turn(workshop, source):
    client = source.client()
    agent = create_agent(client, "slow", {"human": "S"})
    turn = support.Background(lambda: say(source.client(), agent, "take your time"))
    poll("the turn is open", 20, lambda: ("user_message", "take your time") in talk_of(client, agent))
    archive = path_of(workshop, "open.zst")
    expect(0, source, "export", agent, "--data-dir", source.data_dir, "--output", archive)
    target = elsewhere(workshop, "open")
    expect(0, target, "import", archive, "--server", target.base)
    there = target.client()
    check_equal([run["status"] for run in there.expect(200, "GET", "/v1/runs/?agent_id=" + agent).json],
                ["cancelled"], "the turn was cancelled at the target")
    check_equal(say(there, agent, "and now?").status, 200, "the next one begins")
    client.expect(200, "POST", "/v1/agents/%s/messages/cancel" % agent, {})
    turn.result()
    target.verify()
    target.terminate()
    ok("a turn that was open is cancelled at the target")


def agent_files(workshop):
    files = sorted(glob.glob(AGENT_FILES))
    if not files:
        print("no agent files at " + AGENT_FILES, flush=True)
        return
    source = workshop.server("files").start()
    done = source.run_tool("import", "--server", source.base, *files)
    check_equal(done.returncode, 0, "the agent files: " + done.stderr.decode())
    agents = done.stdout.decode().split()
    target = elsewhere(workshop, "files-target")
    archive = path_of(workshop, "files.zst")
    expect(0, source, "export", *agents, "--server", source.base, "--output", archive)
    expect(0, target, "import", archive, "--server", target.base)
    same_everywhere(source.client(), target.client(), agents)
    target.verify()
    # And on: what was carried is carried again.
    third = workshop.server("files-third").start()
    expect(0, target, "export", "--all", "--server", target.base, "--output", archive)
    expect(0, third, "import", archive, "--server", third.base)
    same_everywhere(source.client(), third.client(), agents)
    third.verify()
    ok("%d imported agents are the same after two teleports" % len(agents))
    for server in (source, target, third):
        server.terminate()


def words(workshop, source):
    code, said, error = teleport(source, "export", "--data-dir", source.data_dir)
    check_equal((code, said), (2, b""), "without agents: " + error)
    code, said, error = teleport(source, "export", "agent-00000000-0000-4000-8000-000000000000", "--data-dir",
                                 source.data_dir)
    check(code == 1 and "there is no agent" in error, "an agent that is not there", error)
    code, said, error = teleport(source, "export", "--all", "--data-dir", source.data_dir)
    check(code == 0 and said.startswith(b"\x28\xb5\x2f\xfd"), "an archive on standard output", error)
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execv(source.binary, [source.binary, "teleport", "export", "--all", "--data-dir", source.data_dir])
    seen = b""
    while True:
        try:
            more = os.read(terminal, 4096)
        except OSError:
            break
        if not more:
            break
        seen += more
    _, status = os.waitpid(pid, 0)
    check(os.waitstatus_to_exitcode(status) == 2 and b"not for a terminal" in seen, "a terminal is refused", seen)
    ok("what is no archive, and where none belongs")


def erasable_agents(workshop, source):
    client = source.client()
    dora = client.expect(200, "POST", "/v1/agents/", {"name": "dora", "model": support.MODEL,
                                                       "erasable": True}).json["id"]
    code, said, error = teleport(source, "export", dora, "--data-dir", source.data_dir)
    check(code == 1 and said == b"" and dora in error and "erasable" in error, "it stays where its key is", error)
    error, _ = expect(0, source, "export", "--all", "--data-dir", source.data_dir, "--output",
                      path_of(workshop, "without.zst"))
    check("left out: '%s'" % dora in error, "of all it is left out, and that is said", error)
    client.expect(200, "DELETE", "/v1/agents/%s?erase=true" % dora)
    client.expect(410, "GET", "/v1/agents/" + dora)
    error, _ = expect(0, source, "export", "--all", "--data-dir", source.data_dir, "--output",
                      path_of(workshop, "without.zst"))
    check(dora not in error, "nobody misses one that was erased", error)
    ok("erasable agents are not carried")


def story(workshop, _chosen):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    source = workshop.server("source", script=SCRIPT).start()
    archive, target, ann, ben = a_round_trip(workshop, source)
    target.terminate()
    words(workshop, source)
    erasable_agents(workshop, source)
    hidden_until_sealed(workshop, archive, ann)
    killed_half_way(workshop, source, archive, ann, ben)
    existing_ids(workshop, source, archive, ann)
    an_open_turn(workshop, source)
    moved(workshop, source)
    a_block_that_lives_on(workshop, source)
    a_move_that_is_killed(workshop, source)
    source.verify()
    agent_files(workshop)


if __name__ == "__main__":
    support.main(__doc__, story)
