#!/usr/bin/env python3
"""Streams read by clients that stall, leave, come back, and outlive a killed server.

    stream_test.py --varve build/dev/bin/varve [--rounds N]

Read from raw sockets, so that nothing buffers, retries or mends on our side. What is shown: whatever a reader
does, the turn is finished once; no committed message is lost or comes twice; a reply that a kill cut off comes
again whole, under a new id; seq_id counts the run's committed messages.
"""

import json
import socket

import mock_provider
import support
from support import Failure, check, check_equal, key, ok, poll, user_message

LONG_WORDS = 9000  # About 900 KB of text, 4 MB of stream: more than the kernel keeps for a reader.
SMALL_BUFFER = 4096
RUN_SECONDS_MAX = 60
ENDED = ("completed", "failed", "cancelled")


class Stream:
    """A POST whose answer is read from the socket, event by event."""

    def __init__(self, server, path, body, headers=None, buffer=None):
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(RUN_SECONDS_MAX)
        self.socket.connect(("127.0.0.1", server.port))
        data = json.dumps(body).encode()
        head = "POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (
            path, len(data))
        head += "x-stainless-package-version: 1.12.1\r\n"  # As every 1.x client says.
        head += "".join("%s: %s\r\n" % item for item in (headers or {}).items())
        self.socket.sendall(head.encode() + b"\r\n" + data)
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        for line in iter(self.file.readline, b"\r\n"):
            name, _, value = line.decode().partition(":")
            self.headers[name.strip().lower()] = value.strip()
        kind = self.headers.get("content-type", "")
        if self.status != 200 or "event-stream" not in kind:
            body = self.file.read(int(self.headers.get("content-length", 0)))
            raise Failure("POST %s: wanted a stream, got %d %r" % (path, self.status, body[:500]))

    def close(self):
        self.file.close()
        self.socket.close()

    def text(self):
        """The body in pieces, whichever way it is framed. Ends where it ends; a cut connection raises OSError."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            yield from iter(lambda: self.file.read1(65536), b"")
            return
        while True:
            line = self.file.readline()
            if not line:
                raise ConnectionResetError("the stream ended without its last chunk")
            piece = self.file.read(int(line.split(b";")[0], 16))
            self.file.readline()
            if not piece:
                return
            yield piece

    def events(self):
        """(name, data) of each event; data is parsed but for "[DONE]", which must be the last."""
        rest = b""
        done = False
        for piece in self.text():
            rest += piece
            *whole, rest = rest.split(b"\n\n")
            for block in whole:
                check(not done, "nothing comes after [DONE]", block)
                fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if not line.startswith(":"))
                if not fields:
                    continue
                done = fields["data"] == "[DONE]"
                yield fields.get("event"), fields["data"] if done else json.loads(fields["data"])
        check(done and not rest, "a stream ends with [DONE]", rest)


class Seen:
    """What a reader has got so far: messages in order of their first chunk, and how the stream ended."""

    def __init__(self):
        self.order = []
        self.kinds = {}
        self.texts = {}
        self.places = {}
        self.run = None
        self.stop = None
        self.done = False
        self.last_place = 0

    def add(self, name, data):
        check(name is None, "an event without a name", (name, data))
        if data == "[DONE]":
            self.done = True
            return
        kind = data["message_type"]
        self.run = data.get("run_id") or self.run
        if kind == "stop_reason":
            self.stop = data["stop_reason"]
        if kind in ("ping", "stop_reason", "usage_statistics"):
            return
        message = data["id"]
        if message not in self.kinds:
            self.order.append(message)
            self.kinds[message] = kind
            self.texts[message] = ""
            self.places[message] = []
        check_equal(message, self.order[-1], "messages do not interleave: the id of a chunk")
        check_equal(kind, self.kinds[message], "the type of a chunk")
        self.texts[message] += text_of_chunk(data)
        self.places[message].append(data.get("seq_id"))
        self.last_place = data.get("seq_id") or self.last_place

    def read(self, stream, enough=lambda: False):
        """Reads until enough() or the end of the stream."""
        for name, data in stream.events():
            self.add(name, data)
            if enough():
                return self
        check(self.done, "the stream ended")
        return self

    def check_places(self, first):
        """Message k has seq_id k on its last chunk, k - 1 on those before it; the first one here is `first`."""
        for number, message in enumerate(self.order, first):
            places = self.places[message]
            check_equal(places, [number - 1] * (len(places) - 1) + [number], "seq_id of message %d's chunks" % number)

    def messages(self):
        return [(self.kinds[message], self.texts[message]) for message in self.order]


def text_of_chunk(data):
    if data["message_type"] == "tool_call_message":
        return data["tool_call"].get("arguments") or ""
    if data["message_type"] == "tool_return_message":
        return data["status"]
    return support.text_of(data)


class Reader:
    """A stream and what was seen of it."""

    def __init__(self, stream):
        self.stream = stream
        self.seen = Seen()

    def until(self, enough):
        return self.seen.read(self.stream, lambda: enough(self.seen))

    def to_the_end(self):
        self.seen.read(self.stream)
        self.stream.close()
        check_equal(self.seen.stop, "end_turn", "the stop reason")
        return self.seen


def ask(server, agent, text, **options):
    body = dict(user_message(text), streaming=True, stream_tokens=True)
    return Reader(Stream(server, "/v1/agents/%s/messages" % agent, body, **options))


def attach(server, run, after):
    return Reader(Stream(server, "/v1/runs/%s/stream" % run, {"starting_after": after}))


def tokens_seen(count):
    """True once the reply has begun and `count` chunks of it are there."""
    def enough(seen):
        return bool(seen.order) and seen.kinds[seen.order[-1]] == "assistant_message" and len(
            seen.places[seen.order[-1]]) >= count
    return enough


def wait_ended(client, run):
    def ended():
        state = client.expect(200, "GET", "/v1/runs/" + run).json
        return state if state["status"] in ENDED else None
    return poll("run %s has ended" % run, RUN_SECONDS_MAX, ended)


def check_finished_once(client, agent, run, wanted):
    """One run, completed; the history has exactly the wanted messages [(type, text)] after the system's."""
    state = wait_ended(client, run)
    check_equal((state["status"], state["stop_reason"]), ("completed", "end_turn"), "what became of the run")
    listed = client.expect(200, "GET", "/v1/runs/?agent_id=" + agent).json
    check_equal([item["id"] for item in listed], [run], "the agent's runs")
    history = [(m["message_type"], text_of_chunk(m)) for m in support.list_messages(client, agent)
               if m["message_type"] != "system_message"]
    check_equal(history[1:], wanted, "the history after the user's message")


def new_agent(client, name):
    return support.create_agent(client, name, {"human": "start"}, model=support.PROVIDER_MODEL)


def one_that_stalls(server, client, number):
    agent = new_agent(client, "stalls%d" % number)
    reader = ask(server, agent, "Stall. [[words:%d]]" % LONG_WORDS, buffer=SMALL_BUFFER)
    run = reader.until(lambda seen: seen.run).run
    reply = mock_provider.long_reply(LONG_WORDS)
    # Nothing is read from here on until the turn has ended.
    check_finished_once(client, agent, run, [("assistant_message", reply)])
    seen = reader.to_the_end()
    check_equal([len(text) for _, text in seen.messages()], [len(reply)], "lengths of what the stalled reader got")
    check_equal(seen.messages(), [("assistant_message", reply)], "what the stalled reader got in the end")
    seen.check_places(1)
    ok("a reader that stalls does not hold the turn, and still gets everything")


def one_that_leaves(server, client, provider, number):
    agent = new_agent(client, "leaves%d" % number)
    text = "Leave %d." % number
    reply = " ".join("word%d" % place for place in range(20))
    reader = ask(server, agent, text + " [[token_delay:50]] [[reply:%s]]" % reply)
    run = reader.until(tokens_seen(2)).run
    reader.stream.close()
    check_finished_once(client, agent, run, [("assistant_message", reply)])
    check_equal(provider.asked(text), 1, "model calls of a turn whose reader left")
    ok("a reader that leaves does not end the turn")


WITH_TOOL = "%s [[tool:memory_insert {\"label\": \"human\", \"new_string\": \"%s\"}]] [[token_delay:100]] [[reply:%s]]"


def turn_with_tool(number, name):
    """(text, the messages that it makes)"""
    reply = " ".join("%s%d" % (name, place) for place in range(15))
    note = "noted by %s %d" % (name, number)
    arguments = json.dumps({"label": "human", "new_string": note})
    return WITH_TOOL % (name, note, reply), note, [
        ("tool_call_message", arguments), ("tool_return_message", "success"), ("assistant_message", reply)]


def some_that_attach(server, client, number):
    agent = new_agent(client, "attach%d" % number)
    text, _, wanted = turn_with_tool(number, "attached")
    first = ask(server, agent, text)
    run = first.until(tokens_seen(3)).run
    places = first.seen.last_place
    check_equal(places, 2, "committed messages once the reply has begun")
    readers = [attach(server, run, after) for after in (0, 1, places)]
    seen = [reader.to_the_end() for reader in readers]
    first.to_the_end()
    check_equal(first.seen.messages(), wanted, "what the first reader got")
    first.seen.check_places(1)
    for after, got in zip((0, 1, 2), seen):
        check_equal(got.order, first.seen.order[after:], "ids after message %d" % after)
        check_equal(got.messages(), wanted[after:], "messages after message %d" % after)
        got.check_places(after + 1)
    late = attach(server, run, 1).to_the_end()
    check_equal((late.order, late.messages()), (first.seen.order[1:], wanted[1:]), "what one gets who comes after the end")
    check_equal(attach(server, run, 3).to_the_end().order, [], "messages after the last")
    check_finished_once(client, agent, run, wanted)
    ok("readers that attach while the turn runs, and after it, get what they have not seen, once")


def one_that_outlives_the_server(server, provider, number):
    client = server.client()
    agent = new_agent(client, "outlives%d" % number)
    text, note, wanted = turn_with_tool(number, "outlived")
    reader = ask(server, agent, text, headers=key("outlives %d" % number))
    seen = reader.until(tokens_seen(3))
    check_equal((len(seen.order), seen.last_place), (3, 2), "messages begun and committed before the kill")
    client.close()
    server.kill9()
    try:
        seen.read(reader.stream)
        raise Failure("the stream of a killed server came to a regular end")
    except OSError:
        pass
    server.start()
    client = server.client()
    again = attach(server, seen.run, seen.last_place).to_the_end()
    check_equal(again.messages(), wanted[2:], "what comes after the restart: the reply, whole")
    check(again.order[0] != seen.order[2], "a reply that was cut off comes again under a new id", seen.order)
    again.check_places(3)
    everything = attach(server, seen.run, 0).to_the_end()
    check_equal(everything.messages(), wanted, "the whole run, read after its end")
    check_equal(everything.order, seen.order[:2] + again.order, "its ids")
    everything.check_places(1)
    check_finished_once(client, agent, seen.run, wanted)
    value = client.expect(200, "GET", "/v1/agents/%s/core-memory/blocks/human" % agent).json["value"]
    check_equal(value.count(note), 1, "how often the tool has edited the block")
    check_equal(provider.asked(text), 3, "model calls of the killed turn")
    client.close()
    ok("after SIGKILL the turn is finished once, and a reader that comes back misses nothing and gets nothing twice")


def one_whose_provider_breaks_off(server, client, provider, number):
    agent = new_agent(client, "breaks%d" % number)
    text = "Break off %d. [[cut]] [[reply:one two three four]]" % number
    stream = ask(server, agent, text).stream
    events = list(stream.events())
    stream.close()
    kinds = [data if data == "[DONE]" else data["message_type"] for _, data in events]
    check_equal(kinds[-3:], ["stop_reason", "error_message", "[DONE]"], "the end of a failed turn's stream")
    check_equal([name for name, _ in events][-3:], [None, "error", None], "names of its events")
    check("assistant_message" in kinds, "tokens came before the provider broke off", kinds)
    check_equal(events[-3][1]["stop_reason"], "llm_api_error", "the stop reason")
    check_equal(wait_ended(client, events[0][1]["run_id"])["status"], "failed", "what became of the run")
    check_equal(provider.asked(text), 1, "model calls after tokens were handed out")
    again = "Try twice %d. [[status:503,1]] [[reply:at last]]" % number
    check_equal(ask(server, agent, again).to_the_end().messages(), [("assistant_message", "at last")], "the next reply")
    check_equal(provider.asked(again), 2, "model calls of a provider that was busy once")
    check_equal(support.talk_of(client, agent), [("user_message", text), ("user_message", again),
                                                 ("assistant_message", "at last")], "the history")
    ok("a provider that breaks off fails the turn and loses nothing; one that is busy is asked again")


def story(workshop, chosen):
    with mock_provider.Provider() as provider:
        server = workshop.server("data", provider=provider.url).start()
        for number in range(chosen.rounds):
            client = server.client()
            one_that_stalls(server, client, number)
            one_that_leaves(server, client, provider, number)
            some_that_attach(server, client, number)
            one_whose_provider_breaks_off(server, client, provider, number)
            client.close()
            one_that_outlives_the_server(server, provider, number)
        check_equal(server.terminate(), 0, "exit code after SIGTERM")
        server.verify()
        ok("a fresh fold of the log equals the views")


if __name__ == "__main__":
    support.main(__doc__, story)
