#!/usr/bin/env python3
"""Bad input, bad neighbours and a full disk: every one gets a clear answer, and nothing is written.

    bad_input_test.py --varve build/dev/bin/varve
"""

import os
import resource
import subprocess
import time

import support
from support import Unreachable, check, check_equal, key, ok, user_message

NOBODY = "agent-00000000-0000-4000-8000-00000000dead"
NO_MESSAGE = "message-00000000-0000-4000-8000-00000000dead"
MIB = 1 << 20
FULL_DISK_SECONDS_MAX = 5


class Case:
    """A bad request, the statuses it may get, and words that the "detail" must hold."""

    def __init__(self, name, method, path, body=None, status=422, words=(), headers=None):
        self.name = name
        self.method = method
        self.path = path
        self.body = body
        self.statuses = status if isinstance(status, tuple) else (status,)
        self.words = words
        self.headers = headers


def refuse_all(server, client, cases):
    for case in cases:
        before = len(server.log_records())
        answer = client.request(case.method, case.path, case.body, case.headers)
        check(answer.status in case.statuses, "%s: wanted status %s" % (case.name, case.statuses), answer)
        detail = answer.detail()
        check(isinstance(detail, str) and detail, "%s: a \"detail\" must say why" % case.name, answer)
        for word in case.words:
            check(word in detail, "%s: the detail must name %r" % (case.name, word), detail)
        check_equal(len(server.log_records()), before, "%s: records in the log" % case.name)
    ok("%s: refused, nothing written" % ", ".join(case.name for case in cases))


def agent_body(**changes):
    body = {"name": "somebody", "model": support.MODEL}
    body.update(changes)
    return body


def unknown_things(agent, block):
    unknown = "/v1/agents/" + NOBODY
    no_block = "/v1/blocks/block-00000000-0000-4000-8000-00000000dead"
    return [
        Case("unknown agent", "GET", unknown, status=404, words=(NOBODY,)),
        Case("patch of an unknown agent", "PATCH", unknown, {"name": "x"}, 404),
        Case("delete of an unknown agent", "DELETE", unknown, status=404),
        Case("message to an unknown agent", "POST", unknown + "/messages", user_message("x"), 404),
        Case("messages of an unknown agent", "GET", unknown + "/messages", status=404),
        Case("unknown block", "GET", no_block, status=404),
        Case("patch of an unknown block", "PATCH", no_block, {"value": "x"}, 404),
        Case("unknown label", "PATCH", "/v1/agents/%s/core-memory/blocks/nope" % agent, {"value": "x"}, 404),
        Case("detaching what is not attached", "PATCH",
             "/v1/agents/%s/core-memory/blocks/detach/%s" % (agent, block), status=404),
        Case("unknown route", "GET", "/v1/nope", status=404, words=("Not Found",)),
        Case("unknown model", "POST", "/v1/agents/", agent_body(model="openai-proxy/none"), 404),
        Case("unknown message cursor", "GET", "/v1/agents/%s/messages?after=%s" % (agent, NO_MESSAGE), status=404),
    ]


def malformed_ids():
    return [
        Case("short id", "GET", "/v1/agents/agent-1"),
        Case("id of another kind", "GET", "/v1/agents/block-00000000-0000-4000-8000-00000000dead"),
        Case("id in capitals", "GET", "/v1/agents/" + NOBODY.upper()),
        Case("delete by a malformed id", "DELETE", "/v1/agents/zzz"),
        Case("message to a malformed id", "POST", "/v1/agents/zzz/messages", user_message("x")),
        Case("malformed block id", "PATCH", "/v1/blocks/zzz", {"value": "x"}),
    ]


def wrong_types(agent):
    messages = "/v1/agents/%s/messages" % agent
    human = "/v1/agents/%s/core-memory/blocks/human" % agent
    return [
        Case("name that is a number", "POST", "/v1/agents/", agent_body(name=5), words=("name",)),
        Case("tags that are a text", "POST", "/v1/agents/", agent_body(tags="x"), words=("tags",)),
        Case("blocks that are an object", "POST", "/v1/agents/", agent_body(memory_blocks={}), words=("memory_blocks",)),
        Case("block value that is a number", "POST", "/v1/agents/",
             agent_body(memory_blocks=[{"label": "human", "value": 5}]), words=("memory_blocks", "value")),
        Case("block without a label", "POST", "/v1/blocks/", {"value": "x"}, words=("label",)),
        Case("label that is a number", "POST", "/v1/blocks/", {"label": 5, "value": "x"}, words=("label",)),
        Case("edited value that is a list", "PATCH", human, {"value": []}, words=("value",)),
        Case("renamed to a list", "PATCH", "/v1/agents/" + agent, {"name": []}, words=("name",)),
        Case("messages that are a text", "POST", messages, {"messages": "x"}, words=("messages",)),
        Case("no message", "POST", messages, {"messages": []}, words=("messages",)),
        Case("a role that is none", "POST", messages, {"messages": [{"role": "king", "content": "x"}]}, words=("role",)),
        Case("content that is a number", "POST", messages, {"messages": [{"role": "user", "content": 5}]},
             words=("content",)),
        Case("limit that is no number", "GET", messages + "?limit=abc", words=("limit",)),
        Case("order that is none", "GET", messages + "?order=sideways", words=("order",)),
    ]


def malformed_bodies(agent):
    messages = "/v1/agents/%s/messages" % agent
    human = "/v1/agents/%s/core-memory/blocks/human" % agent
    bad = (400, 422)
    deep = b"[" * 100000 + b"]" * 100000
    return [
        Case("no body", "POST", messages, b"", bad),
        Case("half a body", "POST", messages, b'{"messages": [', bad),
        Case("a list as body", "POST", "/v1/agents/", b"[]", bad),
        Case("two bodies", "POST", "/v1/agents/", b"{}{}", bad),
        Case("U+0000 in a name", "POST", "/v1/agents/", b'{"name":"a\\u0000b","model":"openai/gpt-4o-mini"}', bad),
        Case("U+0000 in a value", "PATCH", human, b'{"value":"a\\u0000b"}', bad),
        Case("raw NUL in a value", "PATCH", human, b'{"value":"a\x00b"}', bad),
        Case("lone high surrogate", "PATCH", human, b'{"value":"a\\ud800b"}', bad),
        Case("lone low surrogate", "PATCH", human, b'{"value":"a\\udc00b"}', bad),
        Case("U+0000 in a message", "POST", messages,
             b'{"messages":[{"role":"user","content":"\\u0000"}]}', bad),
        Case("surrogate in metadata", "PATCH", "/v1/agents/" + agent, b'{"metadata":{"a":"\\ud83d"}}', bad),
        Case("U+0000 in a key of metadata", "PATCH", "/v1/agents/" + agent, b'{"metadata":{"\\u0000":1}}', bad),
        Case("invalid UTF-8", "PATCH", human, b'{"value":"\xff\xfe"}', bad),
        Case("overlong UTF-8", "PATCH", human, b'{"value":"\xc0\xaf"}', bad),
        Case("deep nesting", "PATCH", "/v1/agents/" + agent, b'{"metadata":{"a":' + deep + b"}}", bad),
        Case("deep nesting alone", "POST", messages, deep, bad),
    ]


def too_large(agent):
    human = "/v1/agents/%s/core-memory/blocks/human" % agent
    grown = {"value": "v" * (MIB + 1)}
    refused = (400, 413, 422)
    return [
        Case("a body of 5 MiB", "POST", "/v1/blocks/", {"label": "x", "value": "v" * (5 * MIB)}, 413, ("4194304",)),
        Case("a block edited past 1 MiB", "PATCH", human, grown, refused),
        Case("a block made past 1 MiB", "POST", "/v1/blocks/", dict(grown, label="x"), refused),
        Case("an agent with a block past 1 MiB", "POST", "/v1/agents/",
             agent_body(memory_blocks=[dict(grown, label="human")]), refused),
    ]


def methods_and_cursors(server, client, agent):
    before = len(server.log_records())
    for method, path, allowed in [("PUT", "/v1/agents/", "POST"), ("DELETE", "/v1/health/", "GET"),
                                  ("HEAD", "/v1/health/", "GET"), ("PUT", "/v1/agents/" + agent, "PATCH")]:
        answer = client.expect(405, method, path)
        check(allowed in answer.headers.get("allow", ""), "%s %s names what is allowed" % (method, path), answer.headers)
    ok("a wrong method is 405 and says which are allowed")
    everyone = [item["id"] for item in client.expect(200, "GET", "/v1/agents/?limit=5").json]
    same = [item["id"] for item in client.expect(200, "GET", "/v1/agents/?limit=5&after=" + NOBODY).json]
    check_equal(same, everyone, "the list after an unknown agent")
    ok("an unknown agent cursor is ignored")
    check_equal(len(server.log_records()), before, "records in the log after reads")


def idempotency(server, client, agent):
    messages = "/v1/agents/%s/messages" % agent
    human = "/v1/agents/%s/core-memory/blocks/human" % agent
    requests = [("POST", messages, user_message("say it once"), user_message("say something else")),
                ("PATCH", human, {"value": "written once"}, {"value": "another value"}),
                ("POST", "/v1/blocks/", {"label": "once", "value": "1"}, {"label": "once", "value": "2"}),
                ("POST", "/v1/agents/", agent_body(name="once"), agent_body(name="twice"))]
    for number, (method, path, body, other) in enumerate(requests):
        name = key("idempotency %d" % number)
        first = client.expect(200, method, path, body, name)
        before = len(server.log_records())
        again = client.expect(200, method, path, body, name)
        check_equal(again.json, first.json, "%s %s again: the answer" % (method, path))
        reordered = dict(reversed(list(body.items())))
        check_equal(client.expect(200, method, path, reordered, name).json, first.json, "the same with members reordered")
        conflict = client.expect(409, method, path, other, name)
        check_equal(conflict.headers.get("x-should-retry"), "false", "x-should-retry of a key used twice")
        check(conflict.detail(), "a conflict says why", conflict)
        check_equal(len(server.log_records()), before, "%s %s again: records in the log" % (method, path))
    said = [text for kind, text in support.talk_of(client, agent) if kind == "user_message"]
    check_equal(said.count("say it once"), 1, "how often the message is listed")
    ok("same key, same body: the same answer and no second effect; another body: 409, not to be retried")


def refused_start(command, word):
    """Runs a server that cannot start; gives back what it said."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=30, check=False)
    said = done.stdout.decode("utf-8", "replace")
    check(done.returncode > 0, "it must end with a non-zero exit code of its own, not by a signal (%d)"
          % done.returncode, said)
    check(word in said, "what it says must name %s" % word, said)
    check("ERROR: AddressSanitizer" not in said and "terminate called" not in said, "it must not crash", said)
    return done.returncode


def second_server(workshop, server, client, agent):
    twin = support.Server(server.binary, server.data_dir)
    code = refused_start(twin.command(), server.data_dir)
    client.expect(200, "GET", "/v1/agents/" + agent)
    client.expect(200, "PATCH", "/v1/agents/" + agent, {"description": "still writing"})
    ok("a second server on the same data directory is refused (exit code %d), the first one goes on" % code)
    neighbour = workshop.server("neighbour")
    neighbour.port = server.port
    code = refused_start(neighbour.command(), str(server.port))
    client.expect(200, "GET", "/v1/agents/" + agent)
    ok("a second server on the same port is refused (exit code %d)" % code)


def largest_file(directory):
    sizes = [os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(directory) for name in names]
    return max(sizes)


def write_until_full(server, client, agent, acknowledged):
    """Edits and talks until writes are refused; gives back the edits that may have happened."""
    refusals = 0
    possible = []
    for number in range(200):
        started = time.monotonic()
        value = "value %d; " % number + "v" * 200_000
        text = "message %d; " % number + "m" * 20_000
        edit = number % 2 == 0
        path = "/v1/agents/%s/%s" % (agent, "core-memory/blocks/human" if edit else "messages")
        try:
            answer = client.request("PATCH" if edit else "POST", path, {"value": value} if edit else user_message(text))
        except Unreachable as error:
            server.check_alive()
            raise support.Failure("a full disk must be answered, not hung up on: %s" % error) from error
        took = time.monotonic() - started
        if answer.status == 200:
            acknowledged["value" if edit else "texts"].append(value if edit else text)
            if edit:
                possible = []
            continue
        check_equal(answer.status, 503, "the answer of a full disk (%r)" % answer)
        check("retry-after" in answer.headers, "503 says when to retry", answer.headers)
        check(took <= FULL_DISK_SECONDS_MAX + 1, "503 comes within %d s" % FULL_DISK_SECONDS_MAX, took)
        if edit:
            possible.append(value)
        refusals += 1
        if refusals == 4:
            return possible
    raise support.Failure("the disk never got full: the limit has no effect")


def full_disk(workshop):
    server = workshop.server("full").start()
    client = server.client()
    agent = support.create_agent(client, "full", {"human": "start"})
    client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("before the limit"))
    client.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")

    limit = largest_file(server.data_dir) + 4 * MIB
    server.preexec = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    server.start()
    acknowledged = {"value": [], "texts": []}
    possible = write_until_full(server, client, agent, acknowledged)
    server.check_alive()
    client.expect(200, "GET", "/v1/health/")
    check_equal(client.expect(200, "GET", "/v1/agents/" + agent).json["id"], agent, "reads on a full disk")
    ok("a full disk: %d writes took effect, then 503 with Retry-After, and reads go on"
       % (len(acknowledged["value"]) + len(acknowledged["texts"])))
    client.close()
    server.kill9()

    server.preexec = None
    server.start()
    value = client.expect(200, "GET", "/v1/agents/%s/core-memory/blocks/human" % agent).json["value"]
    check(value in acknowledged["value"][-1:] + possible, "the block has its last acknowledged value", value[:40])
    listed = [text for kind, text in support.talk_of(client, agent) if kind == "user_message"]
    counts = [listed.count(text) for text in ["before the limit"] + acknowledged["texts"]]
    check_equal(set(counts), {1}, "how often each acknowledged message is listed")
    client.expect(200, "PATCH", "/v1/agents/%s/core-memory/blocks/human" % agent, {"value": "after"})
    client.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    server.verify()
    ok("with room again everything acknowledged is there, and writes work")


def story(workshop, _chosen):
    server = workshop.server("data").start()
    client = server.client()
    agent = support.create_agent(client, "victim", {"human": "Ada"})
    block = client.expect(200, "POST", "/v1/blocks/", {"label": "alone", "value": "x"}).json["id"]
    client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("hello"))

    refuse_all(server, client, unknown_things(agent, block))
    refuse_all(server, client, malformed_ids())
    refuse_all(server, client, wrong_types(agent))
    refuse_all(server, client, malformed_bodies(agent))
    refuse_all(server, client, too_large(agent))
    methods_and_cursors(server, client, agent)
    human = client.expect(200, "GET", "/v1/agents/%s/core-memory/blocks/human" % agent).json["value"]
    check_equal(human, "Ada", "the block after all refusals")
    idempotency(server, client, agent)
    second_server(workshop, server, client, agent)
    client.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    server.verify()
    full_disk(workshop)


if __name__ == "__main__":
    support.main(__doc__, story)
