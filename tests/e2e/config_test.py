#!/usr/bin/env python3
"""What a server is told and who may ask it: configuration, passwords, CORS, request ids, logs, log tail.

    config_test.py --varve build/dev/bin/varve
"""

import json
import os
import selectors
import signal
import stat
import subprocess
import time

import mock_provider
import support
from support import check, check_equal, ok

STEP_SECONDS_MAX = 20
PASSWORD = "open sesame"
BEARER = {"authorization": "Bearer " + PASSWORD}
PAGE = "https://chat.example"


def write(workshop, name, text):
    path = os.path.join(workshop.directory, name)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    return path


def said(done):
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def with_environment(server, **variables):
    server.environment = {**support.clean_environment(), **variables}
    return server


def shows_where_values_come_from(workshop):
    server = workshop.server("shown")
    config = write(workshop, "shown.toml", 'listen = "127.0.0.1:1"\npartitions = 7\npassword = "hunter2"\n'
                   '[providers.ollama]\nmodels = ["tiny"]\n')
    with_environment(server, VARVE_CONFIG=config, VARVE_LISTEN="127.0.0.1:2", OPENAI_API_KEY="sk-hunter2",
                     OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    done = server.run_tool("config", "show", "--json", "--log-format", "json")
    check_equal(done.returncode, 0, "exit code of config show; it said " + said(done))
    shown = {line["key"]: (line["value"], line["source"]) for line in json.loads(done.stdout)["settings"]}
    for key, wanted in {
            "config": (config, "environment VARVE_CONFIG"), "data_dir": (None, "default"),
            "listen": ("127.0.0.1:2", "environment VARVE_LISTEN"), "partitions": (7, "file %s:2" % config),
            "password": ("(set)", "file %s:3" % config), "log_format": ("json", "flag --log-format"),
            "providers.ollama.models": (["tiny"], "file %s:5" % config),
            "providers.openai-proxy.api_key": ("(set)", "environment OPENAI_API_KEY")}.items():
        check_equal(shown.get(key), wanted, "the setting " + key)
    text = said(server.run_tool("config", "show"))
    check("hunter2" not in text + said(done), "config show prints no secret", text)
    check("environment VARVE_LISTEN" in text, "the table says where values come from", text)
    ok("config show says what holds and why, without secrets")


def refuses_what_it_does_not_know(workshop):
    server = workshop.server("refused")
    config = write(workshop, "refused.toml", 'data_dir = "x"\nlisen = "127.0.0.1:1"\n')
    for arguments, environment, words in (
            (("--config", config), {}, config + ":2: unknown key 'lisen'; did you mean 'listen'?"),
            ((), {"VARVE_LOG_LEVLE": "x"}, "'VARVE_LOG_LEVLE'; did you mean 'VARVE_LOG_LEVEL'?"),
            (("--lisen", "127.0.0.1:1"), {}, "did you mean '--listen'?"),
            ((), {}, "--data-dir"),
            (("--data-dir", "x", "--partitions", "0"), {}, "expected a whole number from 1 to 1024, got '0'"),
            (("--data-dir", "x", "--password-file", "/nowhere"), {}, "cannot read '/nowhere': No such file"),
            (("--data-dir", "x", "--password-file", workshop.directory), {}, "Is a directory"),
            (("--data-dir", "x", "--listen", "0.0.0.0:0"), {}, "--password-file")):
        with_environment(server, **environment)
        done = server.run_tool("serve", *arguments)
        check_equal(done.returncode, 2, "exit code of serve %s; it said %s" % (arguments, said(done)))
        check(words in said(done), "serve %s %s must say %r" % (arguments, environment, words), said(done))
    with_environment(server)
    done = server.run_tool("frobnicate")
    check_equal(done.returncode, 2, "exit code of a command that does not exist")
    check("there is no command 'frobnicate'" in said(done), "the unknown command is named", said(done))
    check(not os.path.exists("x"), "a refused command has made no directory")
    ok("unknown keys, wrong values and open doors are refused with a sentence, exit code 2")


def asks_for_the_password(workshop):
    server = workshop.server("locked")
    secret = write(workshop, "secret", PASSWORD + "\n")
    os.chmod(secret, stat.S_IRUSR)
    server.more = ["--password-file", secret, "--cors-origins", PAGE, "--log-format", "json", "--log-level", "debug"]
    start(server)
    client = server.client()
    answer = client.expect(401, "GET", "/v1/agents/")
    check_equal(answer.json, {"detail": "Unauthorized"}, "the body of a 401")
    check_equal(answer.headers.get("www-authenticate"), "Bearer", "www-authenticate")
    for headers in ({"authorization": "Bearer open"}, {"authorization": PASSWORD}, {"x-bare-password": PASSWORD}):
        client.expect(401, "GET", "/v1/agents/", headers=headers)
    client.expect(401, "POST", "/v1/agents/", {"name": "nobody"})
    client.expect(200, "GET", "/v1/agents/", headers=BEARER)
    client.expect(200, "GET", "/v1/agents/", headers={"x-bare-password": "password " + PASSWORD})
    check_equal(client.expect(200, "GET", "/v1/health/").json.get("status"), "ok", "health without a password")
    ok("nobody gets in without the password")

    asked = {"origin": PAGE, "access-control-request-method": "POST",
             "access-control-request-headers": "authorization, content-type"}
    answer = client.expect(200, "OPTIONS", "/v1/agents/", headers=asked)
    check_equal(answer.headers.get("access-control-allow-origin"), PAGE, "the origin of a preflight")
    check_equal(answer.headers.get("access-control-allow-headers"), "authorization, content-type", "allowed headers")
    client.expect(401, "OPTIONS", "/v1/agents/", headers={**asked, "origin": "https://other.example"})
    answer = client.expect(200, "GET", "/v1/agents/", headers={**BEARER, "origin": PAGE})
    check_equal(answer.headers.get("access-control-allow-origin"), PAGE, "the origin of an answer")
    ok("an allowed page may ask, another one may not")

    request_id = "trace-42"
    answer = client.expect(200, "GET", "/v1/agents/", headers={**BEARER, "x-request-id": request_id})
    check_equal(answer.headers.get("x-request-id"), request_id, "the client's own request id")
    made = client.expect(401, "GET", "/v1/agents/").headers.get("x-request-id", "")
    check_equal(len(made), 36, "length of a request id that the server made")
    client.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    with open(server.log_path, encoding="utf-8") as log:
        lines = [json.loads(line) for line in log]
    check(all(set(line) == {"time", "level", "message"} for line in lines), "every line has three members", lines)
    for wanted in (request_id, made):
        check(any(line["level"] == "debug" and wanted in line["message"] for line in lines),
              "the log has the request " + wanted, lines)
    check(PASSWORD not in repr(lines), "the log has no password")
    ok("every line of the log is a JSON object, and requests are found by their ids")


def uses_its_providers(workshop):
    with mock_provider.Provider() as provider:
        server = workshop.server("provided", provider=provider.url).start()
        client = server.client()
        agent = client.expect(200, "POST", "/v1/agents/", {"name": "ann"}).json
        check_equal(agent["model"], support.PROVIDER_MODEL, "the default model")
        answer = client.expect(200, "POST", "/v1/agents/%s/messages" % agent["id"], support.user_message("hi"))
        check("Mock reply." in answer.raw.decode(), "the provider answers", answer)
        client.expect(200, "POST", "/v1/agents/", {"name": "bob", "model": "varve/echo"})
        client.expect(404, "POST", "/v1/agents/", {"name": "cy", "model": support.MODEL})
        client.close()
        check_equal(server.terminate(), 0, "exit code after SIGTERM")
    ok("agents get the first model of the first provider; echo is there too, under its own name")

    begun = time.monotonic()
    nobody = "http://127.0.0.1:%d/v1" % support.free_port()
    server = workshop.server("lonely")
    with_environment(server, OLLAMA_BASE_URL=nobody, LETTA_DEFAULT_LLM_HANDLE="ollama/tiny").start()
    client = server.client()
    check_equal(client.expect(200, "POST", "/v1/agents/", {"name": "dee"}).json["model"], "ollama/tiny", "its model")
    check("warning" in server.tail(), "a provider that is down is warned about", server.tail())
    client.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    ok("a provider that is down does not keep a server from starting (%.1f s)" % (time.monotonic() - begun))


def start(server):
    """A server with more flags than the others have."""
    plain = server.command
    server.command = lambda: plain() + server.more
    return server.start()


class Follower:
    """`varve log tail --follow` as a child process; reads its lines as they come."""

    def __init__(self, server, *arguments):
        self.process = subprocess.Popen(
            [server.binary, "log", "tail", "--data-dir", server.data_dir, *arguments], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=server.environment)
        self.text = b""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def read_until(self, words):
        deadline = time.monotonic() + STEP_SECONDS_MAX
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while words.encode() not in self.text:
                left = deadline - time.monotonic()
                check(left > 0 and selector.select(left), "log tail shows %r in time" % words, self.text[-3000:])
                piece = os.read(self.process.stdout.fileno(), 1 << 16)
                check(piece, "log tail goes on until it has shown %r" % words, self.text[-3000:])
                self.text += piece


def follows_the_log(workshop):
    server = workshop.server("tailed").start()
    client = server.client()
    agent = support.create_agent(client, "ann")
    client.expect(200, "POST", "/v1/agents/%s/messages" % agent, support.user_message("first"))

    with Follower(server, "--follow", "-n", "1") as follower:
        follower.read_until("TurnFinished")
        check("AgentCreated" not in follower.text.decode(), "-n 1 shows one record", follower.text)
        client.expect(200, "POST", "/v1/agents/%s/messages" % agent, support.user_message("second"))
        follower.read_until("UserMessageReceived")
        follower.process.send_signal(signal.SIGINT)
        check_equal(follower.process.wait(STEP_SECONDS_MAX), 0, "exit code after SIGINT")
    ok("log tail --follow shows a message that is posted while it runs")

    with Follower(server, "-f", "-n", "0") as follower:
        follower.process.stdout.close()
        check_equal(follower.process.wait(STEP_SECONDS_MAX), 0, "exit code after its reader has gone")
    ok("log tail --follow ends when nobody reads it")

    def newest(*arguments):
        done = server.run_tool("log", "tail", "--data-dir", server.data_dir, "--json", *arguments)
        check_equal(done.returncode, 0, "exit code of log tail; it said " + said(done))
        return [json.loads(line) for line in done.stdout.splitlines()]

    everything = server.log_records()
    by_position = {line["position"]: line for line in everything}
    tailed = newest("-n", "100000")
    check_equal(len(tailed), len(everything), "records of log tail")
    check(all(by_position[line["position"]] == line for line in tailed), "they are those of log dump", tailed)
    times = [line["record"]["time"] for line in tailed if "time" in (line["record"] or {})]
    check_equal(times, sorted(times), "their order")
    check_equal(newest("-n", "3"), tailed[-3:], "the newest three")
    check_equal({line["partition"] for line in newest("--partition", "2")}, {2}, "partitions with --partition 2")
    check_equal(server.run_tool("log", "tail", "--data-dir", server.data_dir, "--partition", "9").returncode, 2,
                "exit code for a partition that does not exist")
    client.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    ok("log tail has what log dump has, in the order of time")


def story(workshop, _chosen):
    shows_where_values_come_from(workshop)
    refuses_what_it_does_not_know(workshop)
    asks_for_the_password(workshop)
    uses_its_providers(workshop)
    follows_the_log(workshop)


if __name__ == "__main__":
    support.main(__doc__, story)
