"""What the end-to-end tests share: a real server as a child process, and requests to it.

A test starts its servers through Server and stops no other process. Everything that waits has a limit. A test
fails by raising Failure with a sentence that says what was expected and what was seen.
"""

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 40
REQUEST_SECONDS_MAX = 60

MODEL = "openai/gpt-4o-mini"  # Of the echo or the scripted model.
PROVIDER_MODEL = "openai-proxy/gpt-4o-mini"  # Of a provider given by OPENAI_BASE_URL.


class Failure(Exception):
    """Something was not as it must be."""


def check(condition, what, seen=None):
    if condition:
        return
    detail = "" if seen is None else "\n  seen: " + repr(seen)[:3000]
    raise Failure(what + detail)


def check_equal(seen, wanted, what):
    check(seen == wanted, "%s: wanted %s" % (what, repr(wanted)[:1500]), seen)


def ok(what):
    print("ok: " + what, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment():
    """Ours without what would configure a server."""
    ours = ("VARVE_", "LETTA_", "OPENAI_", "OLLAMA_", "VLLM_", "LMSTUDIO_", "OPENROUTER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def poll(what, seconds, work, pause=0.05):
    """Calls work() until it gives something true, and gives that back."""
    deadline = time.monotonic() + seconds
    while True:
        result = work()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise Failure("waited %g s in vain until %s" % (seconds, what))
        time.sleep(pause)


class Unreachable(Exception):
    """The connection failed: whether the request took effect is unknown."""


class Answer:
    """Status, headers (names in lower case) and the parsed body of an answer."""

    def __init__(self, status, headers, body, raw):
        self.status = status
        self.headers = headers
        self.json = body
        self.raw = raw

    def __iter__(self):
        return iter((self.status, self.headers, self.json))

    def __repr__(self):
        return "%d %s" % (self.status, self.raw[:600].decode("utf-8", "replace"))

    def detail(self):
        return self.json.get("detail") if isinstance(self.json, dict) else None


class Client:
    """Requests over one kept connection. One thread at a time."""

    def __init__(self, port, seconds=REQUEST_SECONDS_MAX):
        self.port = port
        self.seconds = seconds
        self.connection = None

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def request(self, method, path, body=None, headers=None):
        """A body that is not bytes is sent as JSON. Raises Unreachable if no whole answer came."""
        sent_headers = {"accept": "application/json", "user-agent": "letta-client/1.12.1"}
        if body is not None:
            sent_headers["content-type"] = "application/json"
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
        sent_headers.update(headers or {})
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.seconds)
            self.connection.request(method, path, body=body, headers=sent_headers)
            response = self.connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable("%s %s: %r" % (method, path, error)) from error
        names = {name.lower(): value for name, value in response.getheaders()}
        if names.get("connection", "").lower() == "close":
            self.close()
        parsed = None
        if raw and "json" in names.get("content-type", ""):
            try:
                parsed = json.loads(raw)
            except ValueError as error:
                raise Failure("%s %s: the answer is not JSON: %r" % (method, path, raw[:500])) from error
        return Answer(response.status, names, parsed, raw)

    def expect(self, status, method, path, body=None, headers=None):
        answer = self.request(method, path, body, headers)
        check(answer.status == status, "%s %s: wanted status %d" % (method, path, status), answer)
        return answer


def answers(port, path="/v1/health/"):
    """Whether a server on this port answers the path with 200 now."""
    client = Client(port, seconds=5)
    try:
        return client.request("GET", path).status == 200
    except Unreachable:
        return False
    finally:
        client.close()


def retried(client, method, path, body, headers, deadline, pause_max=0.5):
    """Sends the same request until it is answered with something other than 5xx or 429."""
    pause = 0.02
    while True:
        seen = "nothing"
        try:
            answer = client.request(method, path, body, headers)
            if answer.status < 500 and answer.status != 429:
                return answer
            seen = repr(answer)
            check(answer.headers.get("x-should-retry") != "false",
                  "%s %s has a key, and must stay retryable" % (method, path), answer)
        except Unreachable as error:
            seen = str(error)
        if time.monotonic() >= deadline:
            raise Failure("%s %s: no success in time; the last was %s" % (method, path, seen))
        time.sleep(pause)
        pause = min(pause * 1.5, pause_max)


def key(text):
    return {"idempotency-key": text}


def user_message(text):
    return {"messages": [{"role": "user", "content": text}]}


def text_of(message):
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [])


def list_messages(client, agent, page=100000):
    """Every message of an agent, oldest first, page by page."""
    items = []
    after = ""
    while True:
        got = client.expect(200, "GET", "/v1/agents/%s/messages?order=asc&limit=%d%s" % (agent, page, after)).json
        items += got
        if len(got) < page:
            return items
        after = "&after=" + got[-1]["id"]


def talk_of(client, agent):
    """[(message_type, text)] of what was said, without the system's messages."""
    said = ("user_message", "assistant_message")
    return [(m["message_type"], text_of(m)) for m in list_messages(client, agent) if m["message_type"] in said]


def create_agent(client, name, blocks=None, block_ids=None, model=MODEL):
    body = {
        "name": name,
        "model": model,
        "memory_blocks": [{"label": label, "value": value} for label, value in (blocks or {}).items()],
    }
    if block_ids:
        body["block_ids"] = block_ids
    return client.expect(200, "POST", "/v1/agents/", body).json["id"]


class Server:
    """A real server on a data directory of its own. It can be killed and started again."""

    def __init__(self, binary, data_dir, model_script=None, preexec=None, provider=None):
        self.binary = binary
        self.data_dir = data_dir
        self.model_script = model_script
        self.preexec = preexec
        self.environment = clean_environment()
        if provider:
            self.environment.update(OPENAI_BASE_URL=provider, OPENAI_API_KEY="x")
        self.port = free_port()
        self.base = "http://127.0.0.1:%d" % self.port
        self.process = None
        self.log_path = data_dir + ".stderr"

    def command(self):
        command = [self.binary, "serve", "--data-dir", self.data_dir, "--listen", "127.0.0.1:%d" % self.port]
        if self.model_script:
            command += ["--model-script", self.model_script]
        return command

    def start(self, wait=True):
        check(self.process is None, "a server is started once at a time")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment, preexec_fn=self.preexec)
        if wait:
            self.wait_healthy()
        return self

    def wait_healthy(self):
        def healthy():
            if self.process.poll() is not None:
                raise Failure("the server ended with exit code %d before it answered; it said:\n%s"
                              % (self.process.returncode, self.tail()))
            return answers(self.port)

        poll("the server at %s answers (its log: %s)" % (self.base, self.log_path), START_SECONDS_MAX, healthy)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill9(self):
        """SIGKILL; the server must not have ended by itself before."""
        self.check_alive()
        self.process.kill()
        self.process.wait(STOP_SECONDS_MAX)
        self.process = None

    def terminate(self):
        """SIGTERM; gives back the exit code."""
        self.check_alive()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            self.stop_for_good()
            raise Failure("the server did not stop %d s after SIGTERM" % STOP_SECONDS_MAX) from error
        self.process = None
        return code

    def check_alive(self):
        check(self.running(), "the server ended by itself; it said:\n" + self.tail())

    def stop_for_good(self):
        if self.running():
            self.process.kill()
            self.process.wait(STOP_SECONDS_MAX)
        self.process = None

    def tail(self):
        try:
            with open(self.log_path, "rb") as log:
                return log.read()[-4000:].decode("utf-8", "replace")
        except OSError:
            return "(nothing)"

    def client(self):
        return Client(self.port)

    def run_tool(self, *arguments, seconds=120):
        """Runs another command of the binary; gives back the finished process."""
        return subprocess.run([self.binary, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=seconds, env=self.environment, check=False)

    def log_records(self):
        """The records of the log as parsed JSON. Works while the server runs."""
        done = self.run_tool("log", "dump", "--data-dir", self.data_dir, "--json")
        check(done.returncode == 0, "varve log dump must work", done.stderr.decode("utf-8", "replace"))
        return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    def verify(self):
        """A fresh fold of the log must equal the views."""
        done = self.run_tool("verify", "--data-dir", self.data_dir, seconds=600)
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        check(done.returncode == 0, "varve verify must find that the views equal the log", said)


class Background(threading.Thread):
    """Runs work on a thread; result() gives back what it gave, or raises what it raised."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work = work
        self.outcome = None
        self.raised = None
        self.start()

    def run(self):
        try:
            self.outcome = self.work()
        except BaseException as error:  # Handed to the thread that asks for the result.
            self.raised = error

    def result(self, seconds=REQUEST_SECONDS_MAX):
        self.join(seconds)
        check(not self.is_alive(), "a request did not end within %d s" % seconds)
        if self.raised is not None:
            raise self.raised
        return self.outcome


class Workshop:
    """A temporary directory and the servers that a test has started; stops them at its end."""

    def __init__(self, binary):
        self.binary = binary
        self.directory = tempfile.mkdtemp(prefix="varve-e2e-")
        self.servers = []
        self.keep = False

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for server in self.servers:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                server.stop_for_good()
        if self.keep or kind is not None:
            print("the data is kept in " + self.directory, file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def server(self, name, script=None, preexec=None, provider=None):
        """A server that is not started yet. `provider`: the base URL of an OpenAI-compatible one."""
        script_path = None
        if script is not None:
            script_path = os.path.join(self.directory, name + ".script.json")
            with open(script_path, "w", encoding="utf-8") as out:
                json.dump(script, out)
        server = Server(self.binary, os.path.join(self.directory, name), script_path, preexec, provider)
        self.servers.append(server)
        return server


def arguments(about, rounds, more):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--varve", required=True, help="path of the varve binary")
    parser.add_argument("--rounds", type=int, default=rounds, help="how often (default %d)" % rounds)
    parser.add_argument("--seed", type=int, default=None, help="seed of this test's own choices")
    parser.add_argument("--keep", action="store_true", help="keep the data directory")
    if more:
        more(parser)
    return parser.parse_args()


def main(about, story, rounds=1, more=None):
    """Runs story(workshop, arguments) and ends the process with 0 or 1. more(parser): adds a test's own arguments."""
    chosen = arguments(about, rounds, more)
    binary = os.path.abspath(chosen.varve)
    if not os.access(binary, os.X_OK):
        print("FAILED: there is no program at " + binary, file=sys.stderr)
        sys.exit(1)
    try:
        with Workshop(binary) as workshop:
            workshop.keep = chosen.keep
            story(workshop, chosen)
    except Failure as failure:
        print("FAILED: %s" % failure, file=sys.stderr)
        sys.exit(1)
    except Exception:  # A fault of the test itself, or a connection that should have held.
        traceback.print_exc()
        print("FAILED: see above", file=sys.stderr)
        sys.exit(1)
    ok("all")
