#!/usr/bin/env python3
"""A provider of models that does what its path says: for openai_model_test.cpp.

    provider_stub.py FOLDER

Makes certificates in FOLDER (by openssl), listens on three free ports of 127.0.0.1 (plain, TLS, TLS with a
certificate of another host), prints them in one line, and ends when its standard input does. The base URL of a
behaviour is http://127.0.0.1:PORT/BEHAVIOUR/NAME/v1; NAME keeps the counts of one test apart from another's.
"""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time

KEEP_SECONDS_MAX = 60  # Nothing is held longer, whatever the client does.
asked = {}  # (behaviour, name) -> times of its chat requests.
left = {}  # name -> how many clients have hung up on us.
lock = threading.Lock()


def completion(text):
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 1}}


def chunk(delta, reason=None):
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


STREAM = (chunk({"role": "assistant", "content": ""}) + chunk({"content": "one "}) + chunk({"content": "two"}) +
          chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}]}) +
          chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}) + chunk({}, "tool_calls") +
          b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\ndata: [DONE]\n\n')


class Provider(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body, kind="application/json", headers=()):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def start_stream(self, kind="text/event-stream", status=200):
        """A stream that ends with its connection."""
        self.close_connection = True
        self.send_response(status)
        self.send_header("content-type", kind)
        self.end_headers()

    def send_chunked(self, body):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    def wait_until_left(self):
        self.close_connection = True
        self.connection.settimeout(KEEP_SECONDS_MAX)
        try:
            while self.connection.recv(4096):
                pass
        except OSError:
            pass
        with lock:
            left[self.name] = left.get(self.name, 0) + 1

    def do_GET(self):
        _, behaviour, self.name, *_ = self.path.split("/")
        with lock:
            times = asked.setdefault((behaviour + "-list", self.name), [])
            times.append(time.monotonic())
        if behaviour == "down" or (behaviour == "down-later" and len(times) > 1):
            return self.send(503, {"error": {"message": "down, %s" % self.headers["authorization"]}})
        if behaviour == "nonsense":
            return self.send(200, b"<html>")
        if behaviour == "hang":
            return self.wait_until_left()
        self.send(200, {"data": [{"id": "small"}, {"id": "org/large", "max_model_len": 4096},
                                 {"id": "text-embedding-3-large"}]})

    def do_POST(self):
        _, behaviour, self.name, *_ = self.path.split("/")
        body = self.rfile.read(int(self.headers["content-length"]))
        with lock:
            times = asked.setdefault((behaviour, self.name), [])
            times.append(time.monotonic())
        name = "do_" + behaviour.replace("-", "_")
        if behaviour.startswith("status-"):
            return self.send(int(behaviour[7:]), {"error": {"message": "because"}})
        getattr(self, name)(body, times)

    def do_ok(self, _body, times):
        self.send(200, completion("ok %d" % len(times)))

    def do_echo(self, body, _times):
        head = {name: self.headers[name] for name in ("authorization", "content-type", "accept", "expect")}
        self.send(200, completion(json.dumps([self.path, head, json.loads(body)])))

    def do_port(self, _body, _times):
        self.send(200, completion(str(self.client_address[1])))

    def do_state(self, _body, _times):
        with lock:
            counts = {behaviour: len(times) for (behaviour, name), times in asked.items() if name == self.name}
            counts["left"] = left.get(self.name, 0)
        self.send(200, completion(json.dumps(counts)))

    def do_stream(self, body, _times):
        assert json.loads(body)["stream"] is True
        self.send_chunked(STREAM)

    def do_limited(self, _body, times):
        if len(times) == 1:
            return self.send(429, {"error": {"message": "slow down"}}, headers=[("retry-after", "1")])
        self.send(200, completion("waited" if times[1] - times[0] >= 1 else "did not wait"))

    def do_limited_for_long(self, _body, _times):
        self.send(429, {"error": {"message": "come back tomorrow"}}, headers=[("retry-after", "86400")])

    def do_fail_twice(self, _body, times):
        if len(times) <= 2:
            return self.send(500 + len(times), b"<html>oops</html>", "text/html")
        self.send(200, completion("third time"))

    def do_slam_once(self, body, times):
        if len(times) == 1:
            self.close_connection = True
            return
        self.do_stream(body, times)

    def do_hang(self, _body, _times):
        self.wait_until_left()

    def do_stall(self, _body, _times):
        self.start_stream()
        self.wfile.write(chunk({"content": "one "}))
        self.wait_until_left()

    def do_cut(self, _body, _times):
        self.start_stream()
        self.wfile.write(STREAM[:STREAM.index(b"two")])

    def do_cut_whole(self, _body, _times):
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices":')

    def do_cut_after_all(self, _body, _times):
        self.start_stream()
        self.wfile.write(STREAM[:STREAM.index(b"usage")])

    def do_linger(self, _body, _times):
        self.start_stream()
        self.wfile.write(STREAM)
        self.wait_until_left()

    def do_drip(self, _body, _times):
        self.start_stream()
        for i in range(len(STREAM)):
            self.wfile.write(STREAM[i:i + 1])
            if i % 40 == 0:
                time.sleep(0.001)

    def do_bad_json(self, _body, _times):
        self.send(200, b"{nonsense")

    def do_huge_line(self, _body, _times):
        self.start_stream()
        try:
            self.wfile.write(chunk({"content": "one "}) + b"data: ")
            for _ in range(64):
                self.wfile.write(b"x" * (1 << 20))
        except OSError:
            pass
        self.wait_until_left()

    def do_endless_error(self, _body, _times):
        self.start_stream("text/plain", 400)
        try:
            while True:
                self.wfile.write(b"x" * (1 << 16))
        except OSError:
            pass

    def do_redirect(self, _body, _times):
        self.send(307, {}, headers=[("location", "/echo/%s/v1/chat/completions" % self.name)])

    def do_leak(self, _body, _times):
        self.send(401, {"error": {"message": "Incorrect API key: %s." % self.headers["authorization"][7:]}})


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # A client that hangs up or does not trust us is what the tests are about.


def serve(certificate=None):
    server = Server(("127.0.0.1", 0), Provider)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate + ".pem", certificate + ".key")
        # The handshake belongs to the connection's thread, not to the one that accepts.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def certify(path, host):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-keyout", path + ".key", "-out", path + ".pem", "-days", "2", "-subj", "/CN=stub",
                    "-addext", "subjectAltName=" + host], check=True, stdin=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return path


def main():
    folder = sys.argv[1]
    ours = certify(os.path.join(folder, "ours"), "IP:127.0.0.1")
    other = certify(os.path.join(folder, "other"), "DNS:elsewhere.example")
    print(serve(), serve(ours), serve(other), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
