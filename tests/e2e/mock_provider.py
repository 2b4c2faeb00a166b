#!/usr/bin/env python3
"""A model provider as far as an OpenAI-compatible client can see, whose answers the last user message steers.

    mock_provider.py [--port 18999]

GET /v1/models, POST /v1/chat/completions (whole, or token by token as server-sent events), GET /stats. Every
token leaves in a write of its own, so that a reader sees a stream that trickles. Directives, anywhere in the
last user message:

    [[reply:TEXT]]        answers TEXT
    [[words:N]]           answers N words of 99 letters
    [[tool:NAME JSON]]    calls a tool; several are called one step after the other, then comes the reply
    [[delay:MS]]          waits before the answer (once a step)
    [[token_delay:MS]]    waits before every token but the first
    [[status:CODE]]       answers an error; [[status:CODE,N]] the first N times that this message is asked
    [[retry_after:SEC]]   sends Retry-After with it
    [[cut]]               closes the connection in the middle of the answer; [[cut:N]] the first N times

It listens on loopback only, and asks for no key. Standard library only.
"""

import argparse
import http.server
import json
import re
import threading
import time

REPLY = "Mock reply."
MODELS = ("gpt-4o-mini", "gpt-4o", "text-embedding-3-small")
PLAIN = re.compile(r"\[\[(reply|words|delay|token_delay|status|retry_after|cut)(?::(.*?))?\]\]", re.S)
TOOL = re.compile(r"\[\[tool:(\w+) ")
CLOSED_BY_READER = (BrokenPipeError, ConnectionResetError)


def text_of(content):
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or [])


def long_reply(words):
    return " ".join(("%d-" % number).ljust(99, "x") for number in range(words))


def tools_asked(text):
    """[(name, arguments)]: the JSON ends where a JSON reader says so; it may hold any bracket."""
    found = []
    for match in TOOL.finditer(text):
        _, end = json.JSONDecoder().raw_decode(text, match.end())
        found.append((match[1], text[match.end():end]))
    return found


class Plan:
    """What the last user message of a request asks for."""

    def __init__(self, body, times_asked):
        messages = body.get("messages") or []
        asked = [i for i, message in enumerate(messages) if message.get("role") == "user"]
        self.text = text_of(messages[asked[-1]].get("content")) if asked else ""
        after = messages[asked[-1] + 1:] if asked else []
        results = sum(message.get("role") == "tool" for message in after)
        plain = {match[1]: match[2] or "" for match in PLAIN.finditer(self.text)}
        times_asked[self.text] = times_asked.get(self.text, 0) + 1
        nth = times_asked[self.text]
        self.reply = plain.get("reply", REPLY) if "words" not in plain else long_reply(int(plain["words"]))
        self.delay = int(plain.get("delay", 0)) / 1000
        self.token_delay = int(plain.get("token_delay", 0)) / 1000
        self.retry_after = plain.get("retry_after")
        code, _, times = plain.get("status", "200").partition(",")
        self.status = int(code) if not times or nth <= int(times) else 200
        self.cut = "cut" in plain and (not plain["cut"] or nth <= int(plain["cut"]))
        tools = tools_asked(self.text)
        self.tool = tools[results] if results < len(tools) else None

    def tokens(self):
        return re.findall(r"\S+\s*", self.reply) or [self.reply]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        path = self.path.partition("?")[0].rstrip("/")
        if path == "/v1/models":
            models = [{"id": name, "object": "model", "created": 1, "owned_by": "mock"} for name in MODELS]
            self.answer(200, {"object": "list", "data": models})
        elif path == "/stats":
            self.answer(200, self.server.provider.stats())
        else:
            self.refuse(404, "unknown route")

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.partition("?")[0].rstrip("/") != "/v1/chat/completions":
            self.refuse(404, "unknown route")
            return
        try:
            body = json.loads(raw)
            plan, number = self.server.provider.opened(body)
        except ValueError as error:
            self.refuse(400, "neither the body nor a directive may hold broken JSON: %s" % error)
            return
        provider = self.server.provider
        hung_up = False
        try:
            self.chat(plan, number, body)
        except CLOSED_BY_READER:
            hung_up = self.close_connection = True
        finally:
            provider.closed(hung_up)

    def chat(self, plan, number, body):
        self.server.provider.wait(plan.delay)
        if plan.status != 200:
            self.refuse(plan.status, "mock error %d" % plan.status, plan.retry_after)
        elif body.get("stream"):
            self.stream(plan, number, body)
        else:
            self.answer(200, whole(plan, number, body), cut=plan.cut)

    def stream(self, plan, number, body):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        chunks = list(deltas(plan, number, body))
        half = len(chunks) // 2
        for place, chunk in enumerate(chunks):
            if plan.cut and place == half:
                self.close_connection = True
                return
            if place > 1:  # The first two are the role and the first token.
                self.server.provider.wait(plan.token_delay)
            self.write_chunk(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.write_chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def write_chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def refuse(self, status, message, retry_after=None):
        error = {"message": message, "type": "mock_error", "param": None, "code": None}
        self.answer(status, {"error": error}, retry_after)

    def answer(self, status, body, retry_after=None, cut=False):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if retry_after:
            self.send_header("retry-after", retry_after)
        self.end_headers()
        self.wfile.write(data[:len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    def log_message(self, *_):
        pass


def call_of(tool, number):
    return {"id": "call_mock%06d" % number, "type": "function",
            "function": {"name": tool[0], "arguments": tool[1]}}


USAGE = {"prompt_tokens": 100, "completion_tokens": 3, "total_tokens": 103}


def whole(plan, number, body):
    message = {"role": "assistant", "content": None if plan.tool else plan.reply}
    if plan.tool:
        message["tool_calls"] = [call_of(plan.tool, number)]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if plan.tool else "stop"}
    return {"id": "chatcmpl-mock%06d" % number, "object": "chat.completion", "created": int(time.time()),
            "model": body.get("model"), "choices": [choice], "usage": USAGE}


def deltas(plan, number, body):
    head = {"id": "chatcmpl-mock%06d" % number, "object": "chat.completion.chunk", "created": int(time.time()),
            "model": body.get("model")}

    def chunk(delta, finish=None):
        return dict(head, choices=[{"index": 0, "delta": delta, "finish_reason": finish}])

    yield chunk({"role": "assistant", "content": None if plan.tool else ""})
    if plan.tool:
        call = dict(call_of(plan.tool, number), index=0)
        arguments = call["function"]["arguments"]
        call["function"] = {"name": plan.tool[0], "arguments": ""}
        yield chunk({"tool_calls": [call]})
        for start in range(0, len(arguments), 12):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments[start:start + 12]}}]})
    else:
        for token in plan.tokens():
            yield chunk({"content": token})
    yield chunk({}, "tool_calls" if plan.tool else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield dict(head, choices=[], usage=USAGE)


class Provider:
    """Runs on a port of its own until close(). Counts what it was asked; keeps the request bodies."""

    def __init__(self, port=0):
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.bodies = []
        self.times_asked = {}
        self.counts = {"chat": 0, "open": 0, "open_max": 0, "hung_up": 0}
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.server.provider = self
        self.port = self.server.server_address[1]
        self.url = "http://127.0.0.1:%d/v1" % self.port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()

    def opened(self, body):
        with self.lock:
            plan = Plan(body, self.times_asked)
            self.counts["chat"] += 1
            self.counts["open"] += 1
            self.counts["open_max"] = max(self.counts["open_max"], self.counts["open"])
            self.bodies.append(body)
            return plan, self.counts["chat"]

    def closed(self, hung_up):
        with self.lock:
            self.counts["open"] -= 1
            self.counts["hung_up"] += hung_up

    def stats(self):
        with self.lock:
            return dict(self.counts)

    def asked(self, text):
        """How often a request's last user message held this text."""
        with self.lock:
            return sum(times for said, times in self.times_asked.items() if text in said)

    def wait(self, seconds):
        if seconds > 0:
            self.stopped.wait(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=18999)
    provider = Provider(parser.parse_args().port)
    print("the mock provider listens on " + provider.url, flush=True)
    try:
        provider.thread.join()
    except KeyboardInterrupt:
        provider.close()


if __name__ == "__main__":
    main()
