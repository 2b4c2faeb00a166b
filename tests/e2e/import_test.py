#!/usr/bin/env python3
"""Agent files and a real server: real files, damaged ones, a large one that is killed half-way.

Every .af of ../shared/data/agents (if it is there) is imported with `varve import` and must read back equal through
the API and through an export; the export imports again and gives the same export. A damaged copy is a 422 that
names the place. A file of 50 MiB is imported while the memory of the server is watched, and once more with SIGKILL
in the middle; `varve import --key` goes on with it.

    import_test.py --varve build/dev/bin/varve
"""

import glob
import json
import os
import subprocess
import time
import uuid

import support
from support import Client, Failure, Unreachable, check, check_equal, ok, poll

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../shared/data/agents")
LARGE_BYTES = 50 << 20
MEMORY_BYTES_MAX = 1 << 30
LIVE = ("id", "messages", "in_context_message_ids", "tool_ids", "block_ids", "core_memory", "memory_blocks", "tools",
        "in_context_message_indices", "metadata_")


def load(text):
    """The file as a value, also when it is a JSON text within a JSON text."""
    value = json.loads(text)
    return json.loads(value) if isinstance(value, str) else value


def current(file):
    """An older file in the terms of the current format."""
    if "agents" in file:
        return file
    agent = dict(file)
    blocks = [dict(block, id="block-%d" % i) for i, block in enumerate(agent.pop("core_memory"))]
    tools = [dict(tool, id="tool-%d" % i) for i, tool in enumerate(agent.pop("tools"))]
    messages = [dict(message, id="message-%d" % i) for i, message in enumerate(agent["messages"])]
    agent["messages"] = messages
    agent["in_context_message_ids"] = ["message-%d" % i for i in agent["in_context_message_indices"]]
    agent["metadata"] = agent.get("metadata_")
    agent["block_ids"] = [block["id"] for block in blocks]
    agent["tool_ids"] = [tool["id"] for tool in tools]
    return {"agents": [agent], "blocks": blocks, "tools": tools}


def by_id(items):
    return {item["id"]: item for item in items}


def upload(client, content, fields=None, key=None):
    boundary = uuid.uuid4().hex
    parts = [b'--%s\r\ncontent-disposition: form-data; name="file"; filename="a.af"\r\n\r\n%s\r\n'
             % (boundary.encode(), content)]
    for name, value in (fields or {}).items():
        parts.append(('--%s\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n'
                      % (boundary, name, value)).encode())
    parts.append(b"--%s--\r\n" % boundary.encode())
    headers = {"content-type": "multipart/form-data; boundary=" + boundary}
    if key:
        headers["idempotency-key"] = key
    return client.request("POST", "/v1/agents/import", b"".join(parts), headers)


def check_kept(wanted, seen, skipped, what):
    """Every member of `wanted` is in `seen`, with the same value."""
    for name, value in wanted.items():
        if name in skipped:
            continue
        check(name in seen, "%s: '%s' is kept" % (what, name), sorted(seen))
        check_equal(seen[name], value, "%s: '%s'" % (what, name))


def check_export(file, exported, name):
    agent, seen = file["agents"][0], exported["agents"][0]
    check_kept(agent, seen, LIVE, name)
    blocks, seen_blocks = by_id(file["blocks"]), by_id(exported["blocks"])
    check_equal(len(seen["block_ids"]), len(agent["block_ids"]), name + ": blocks")
    for mine, theirs in zip(agent["block_ids"], seen["block_ids"]):
        check_kept(blocks[mine], seen_blocks[theirs], ("id", "metadata_"), name + ": block " + blocks[mine]["label"])
    tools, seen_tools = by_id(file["tools"]), by_id(exported["tools"])
    check_equal(len(seen["tool_ids"]), len(agent["tool_ids"]), name + ": tools")
    for mine, theirs in zip(agent["tool_ids"], seen["tool_ids"]):
        check_kept(tools[mine], seen_tools[theirs], ("id",), name + ": tool " + tools[mine]["name"])
    check_equal(len(seen["messages"]), len(agent["messages"]), name + ": messages")
    for mine, theirs in zip(agent["messages"], seen["messages"]):
        check_kept(mine, theirs, ("id", "agent_id"), name + ": message " + mine["id"])
    places = {message["id"]: i for i, message in enumerate(agent["messages"])}
    seen_places = {message["id"]: i for i, message in enumerate(seen["messages"])}
    check_equal([seen_places[i] for i in seen["in_context_message_ids"]],
                [places[i] for i in agent["in_context_message_ids"]], name + ": what is in the context")


def check_api(client, agent_id, file, name):
    agent = file["agents"][0]
    seen = client.expect(200, "GET", "/v1/agents/%s?include=agent.blocks&include=agent.tags&include=agent.tools"
                         % agent_id).json
    for member in ("name", "system", "agent_type", "description", "metadata", "tags"):
        check_equal(seen[member], agent.get(member), "%s: the agent's %s" % (name, member))
    check_equal(seen["tool_rules"], agent["tool_rules"], name + ": the agent's tool rules")
    blocks = by_id(file["blocks"])
    wanted = [(blocks[i]["label"], blocks[i]["value"], blocks[i]["limit"], blocks[i]["description"])
              for i in agent["block_ids"]]
    check_equal([(b["label"], b["value"], b["limit"], b["description"]) for b in seen["blocks"]], wanted,
                name + ": the agent's blocks")
    tools = by_id(file["tools"])
    check_equal(sorted(tool["name"] for tool in seen["tools"]),
                sorted(tools[i]["name"] for i in agent["tool_ids"]), name + ": the agent's tools")
    messages = support.list_messages(client, agent_id)
    texts = [part["text"] for message in agent["messages"] if message["role"] in ("user", "system")
             for part in message["content"]]
    check_equal([support.text_of(m) for m in messages if m["message_type"] in ("user_message", "system_message")],
                texts, name + ": the agent's messages")


def export_of(client, agent_id):
    answer = client.expect(200, "GET", "/v1/agents/%s/export" % agent_id)
    exported = dict(answer.json)
    exported.pop("created_at")
    return answer.raw, exported


def real_files(server, client):
    paths = sorted(glob.glob(os.path.join(DATA, "*.af")))
    if not paths:
        print("there are no files in %s: nothing to compare" % DATA)
    for path in paths:
        name = os.path.basename(path)
        with open(path, encoding="utf-8") as text:
            file = current(load(text.read()))
        done = server.run_tool("import", path, "--server", server.base)
        check(done.returncode == 0, "varve import " + name, done.stderr)
        check(done.stderr.startswith(b"key: "), "varve import prints its key first", done.stderr)
        agent_id = done.stdout.decode().split()[0]
        check_api(client, agent_id, file, name)
        raw, exported = export_of(client, agent_id)
        check_export(file, exported, name)
        again = upload(client, raw, {"append_copy_suffix": "false"})
        check(again.status == 200, name + ": its export imports", again)
        _, second = export_of(client, again.json["agent_ids"][0])
        check_equal(second, exported, name + ": export, import, export")
    ok("%d real agent files read back equal through the API and through an export" % len(paths))
    return paths


def damaged(client, paths):
    for path in paths:
        with open(path, "rb") as whole:
            content = whole.read()
        cut = upload(client, content[:len(content) * 2 // 3])
        check(cut.status == 422 and "byte" in cut.detail(), "a file that is cut off is a 422 with the place", cut)
        file = load(content)
        agent = file["agents"][0] if "agents" in file else file
        agent["messages"][0]["role"] = 7
        wrong = upload(client, json.dumps(file).encode())
        check(wrong.status == 422 and "messages[0].role: expected" in wrong.detail(),
              "a wrong role is a 422 with the place", wrong)
    ok("damaged copies are refused with the place")


def large_file(path):
    messages = [{"type": "message", "role": "system", "id": "message-0", "content": [{"type": "text", "text": "S"}]}]
    size, number = 0, 0
    while size < LARGE_BYTES - (1 << 16):
        number += 1
        text = "%d " % number + "word " * 400
        message = {"type": "message", "role": "user" if number % 2 else "assistant", "id": "message-%d" % number,
                   "content": [{"type": "text", "text": text, "signature": None}], "name": None, "model": "m",
                   "tool_calls": None, "tool_returns": [], "created_at": "2025-10-10T07:14:29.912336+00:00"}
        size += len(json.dumps(message)) + 2
        messages.append(message)
    file = {"agents": [{"name": "large", "id": "agent-0", "system": "S", "agent_type": "letta_v1_agent",
                        "tool_ids": [], "block_ids": ["block-0"], "tags": [], "messages": messages,
                        "in_context_message_ids": [message["id"] for message in messages]}],
            "blocks": [{"id": "block-0", "label": "human", "value": "Ann"}], "tools": []}
    with open(path, "w", encoding="utf-8") as out:
        json.dump(file, out)
    return number + 1


def peak_memory(server):
    with open("/proc/%d/status" % server.process.pid, encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise Failure("there is no VmHWM")


def count_messages(client, agent):
    return len(support.list_messages(client, agent, page=10000))


def large(workshop):
    path = os.path.join(workshop.directory, "large.af")
    count = large_file(path)
    size = os.path.getsize(path)
    server = workshop.server("large").start()
    client = server.client()
    before = peak_memory(server)
    begun = time.monotonic()
    done = server.run_tool("import", path, "--server", server.base, seconds=500)
    seconds = time.monotonic() - begun
    check(done.returncode == 0, "a large file imports", done.stderr)
    peak = peak_memory(server)
    print("a file of %.1f MiB, %d messages: imported in %.1f s; the server's peak memory %d MiB (before: %d MiB)"
          % (size / (1 << 20), count, seconds, peak >> 20, before >> 20), flush=True)
    check_equal(count_messages(client, done.stdout.decode().split()[0]), count, "messages of the large file")
    # ASan's shadow and quarantine are not the server's.
    with open(server.binary, "rb") as program:
        sanitized = b"__asan" in program.read()
    check(sanitized or peak < MEMORY_BYTES_MAX, "the memory of an import is bounded", peak)
    client.close()
    ok("a large file imports with bounded memory")

    agents_before = len(server.client().expect(200, "GET", "/v1/agents/").json)
    log = os.path.join(server.data_dir, "log.db")
    size_before = os.path.getsize(log)
    command = [server.binary, "import", path, "--server", server.base, "--retry-seconds", "0"]
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=server.environment)
    try:
        poll("the import is half-way", 300, lambda: os.path.getsize(log) > size_before + LARGE_BYTES // 3, pause=0.01)
        server.kill9()
        out, errors = running.communicate(timeout=60)
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
    check(running.returncode == 1 and not out, "an import whose server died fails", (out, errors))
    key = errors.decode().splitlines()[0].removeprefix("key: ")
    check(("--key " + key) in errors.decode(), "it says how to go on", errors)
    server.start()
    client = server.client()
    check_equal(len(client.expect(200, "GET", "/v1/agents/").json), agents_before, "agents while one is half imported")
    resumed = server.run_tool("import", path, "--server", server.base, "--key", key, seconds=500)
    check(resumed.returncode == 0, "varve import --key goes on", resumed.stderr)
    agent = resumed.stdout.decode().split()[0]
    check_equal(count_messages(client, agent), count, "messages of the resumed import")
    once_more = server.run_tool("import", path, "--server", server.base, "--key", key, seconds=500)
    check_equal(once_more.stdout.decode().split(), [agent], "the same key again")
    check_equal(len(client.expect(200, "GET", "/v1/agents/").json), agents_before + 1, "agents at the end")
    client.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    server.verify()
    ok("an import that is killed half-way goes on with its key")


def limits(client):
    big = upload(client, b'"' + b"x" * (64 << 20) + b'"')
    check(big.status == 413, "more than 64 MiB are refused", big)
    other = Client(client.port)
    try:
        answer = other.request("POST", "/v1/agents/", b'{"name":"' + b"x" * (5 << 20) + b'"}')
        check(answer.status == 413, "other routes take 4 MiB", answer)
    except Unreachable:
        pass  # The refusal may be lost to a client that goes on sending.
    other.close()
    ok("bodies are limited")


def busy(server):
    """Two large requests that do not end; the third is told to come back."""
    hanging = []
    head = ("POST /v1/agents/import HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=B\r\n"
            "content-length: 50000000\r\n\r\n").encode()
    try:
        for _ in range(2):
            connection = support.socket.create_connection(("127.0.0.1", server.port), timeout=10)
            connection.sendall(head)
            hanging.append(connection)

        def refused():
            with support.socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                connection.sendall(head)
                return connection.recv(100).startswith(b"HTTP/1.1 429")

        poll("a third large request is refused", 10, refused)
    finally:
        for connection in hanging:
            connection.close()
    ok("two large requests at a time")


def story(workshop, _arguments):
    server = workshop.server("real").start()
    client = server.client()
    paths = real_files(server, client)
    damaged(client, paths)
    busy(server)
    limits(server.client())
    client.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    server.verify()
    large(workshop)


if __name__ == "__main__":
    support.main(__doc__, story)
