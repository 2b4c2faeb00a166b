#!/usr/bin/env python3
"""Runs every command of README.md, in its order, and compares what comes with what README.md shows.

    readme_test.py --varve build/dev/bin/varve

Two terminals as in the README: one serves, the other talks. The server runs from a clone of this working tree
through the real ./dev; COMMANDS and substitutions() say all that is done otherwise than a reader would. A command
that COMMANDS does not know fails the test, so does one that the README has no longer, and so does a recording
(docs/quickstart) of other commands than the README's.
"""

import hashlib
import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import time

import python_test
import readme
import support
from support import Background, Failure, check, check_equal, ok, poll

COMMAND_SECONDS_MAX = 120
SWEEP_SECONDS_MAX = 400
SVG_BYTES_MAX = 300_000
SHOT = "docs/quickstart/quickstart"
CLONED = ("README.md", "dev", "CMakePresets.json", "docs/quickstart/hello.py", "docs/quickstart/hello.mjs",
          "deploy/.env.example", "deploy/docker-compose.yml")

# How a command is run: in the second terminal (TALK), there and once more with the same output (TWICE), in the
# first one in place of what ran there (SERVE), as the end of what runs there (KILL), on the side (ASIDE).
TALK, TWICE, SERVE, KILL, ASIDE = "talk", "twice", "serve", "kill", "aside"

# The beginning of every command that the README may have, in its order.
COMMANDS = (
    ("git clone <this repository> varve && cd varve && ./dev run", SERVE),
    ("B=", TALK),
    ("AGENT=$(curl -s $B/agents/ ", TALK),
    ("curl -s $B/agents/$AGENT/messages --json '{\"input\":\"Do you remember me?\"}'", TALK),
    ("OLLAMA_BASE_URL=http://127.0.0.1:11434 ./dev run", SERVE),
    ("BOB=$(curl -s $B/agents/ ", TALK),
    ("curl -N -s $B/agents/$BOB/messages/stream ", TALK),
    ("python3 -m venv build/client && build/client/bin/pip install -q letta-client", TALK),
    ("build/client/bin/python docs/quickstart/hello.py", TALK),
    ("npm install --no-save @letta-ai/letta-client", TALK),
    ("node docs/quickstart/hello.mjs", TALK),
    ("curl -s $B/agents/$AGENT/export > ann.af", TALK),
    ("build/release/bin/varve import ann.af", TALK),
    ("curl -s -D - -o /dev/null $B/agents/$AGENT/messages ", TALK),
    ("kill -9 $(cat varve-data/LOCK)", KILL),
    ("./dev run", SERVE),
    ("curl -s $B/agents/$AGENT/messages | grep ", TALK),
    ("curl -s -X PATCH $B/agents/$AGENT/core-memory/blocks/human ", TALK),
    ("curl -s $B/agents/$AGENT/messages -H 'Idempotency-Key: k1' --json '{\"input\":\"once\"}'", TWICE),
    ("curl -s $B/agents/$AGENT/messages -H 'Idempotency-Key: k1' --json '{\"input\":\"other\"}'", TALK),
    ("build/release/bin/varve log dump --data-dir varve-data", TALK),
    ("build/release/bin/varve verify --data-dir varve-data", TALK),
    ("./dev sim sweep lifecycle", ASIDE),
    ("cp deploy/.env.example deploy/.env", TALK),
    ("docker compose -f deploy/docker-compose.yml up -d", TALK),
)


def substitutions(repository, port, provider, python_client):
    """What a command says, and what the test runs in its place."""
    typescript = os.path.join(os.path.dirname(os.path.abspath(__file__)), "typescript")
    return (
        ("<this repository>", repository),
        ("127.0.0.1:8283", "127.0.0.1:%d" % port),  # Also in the cloned snippets; ./dev gets VARVE_LISTEN.
        ("127.0.0.1:11434", "127.0.0.1:%d" % provider.port),
        ("varve import ann.af", "varve import --server http://127.0.0.1:%d ann.af" % port),
        # The clients in the pinned versions of the other tests.
        ("python3 -m venv build/client && build/client/bin/pip install -q letta-client",
         "ln -s %s build/client" % os.path.dirname(os.path.dirname(python_client))),
        ("npm install --no-save @letta-ai/letta-client",
         "cp %s/package*.json . && npm ci --no-audit --no-fund" % typescript),
        # Images come from a registry, which a test has not; the file and its variables are read whole.
        ("docker compose -f deploy/docker-compose.yml up -d", "docker-compose -f deploy/docker-compose.yml config -q"),
    )


def substituted(text, table):
    for wanted, instead in table:
        text = text.replace(wanted, instead)
    return text


class Terminal:
    """A shell that keeps its variables from command to command."""

    MARK = "--done--"

    def __init__(self, directory, environment):
        self.shell = subprocess.Popen(["bash", "--noprofile", "--norc"], cwd=directory, env=environment,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def close(self):
        self.shell.stdin.close()
        self.shell.wait(COMMAND_SECONDS_MAX)
        self.shell.stdout.close()

    def run(self, text, seconds=COMMAND_SECONDS_MAX):
        """Gives back (exit code, output)."""
        self.shell.stdin.write(("%s\nprintf '\\n%s%%d\\n' $?\n" % (text, self.MARK)).encode())
        self.shell.stdin.flush()
        deadline = time.monotonic() + seconds
        seen = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.shell.stdout, selectors.EVENT_READ)
            while not (seen.endswith(b"\n") and self.MARK.encode() in seen):
                if not selector.select(max(0, deadline - time.monotonic())):
                    raise Failure("%s: did not end within %d s; it said:\n%s" % (text, seconds, seen[-3000:]))
                more = os.read(self.shell.stdout.fileno(), 65536)
                check(more, "%s: the shell ended" % text, seen)
                seen += more
        output, _, code = seen.decode().rpartition("\n" + self.MARK)
        return int(code), output


class Reader:
    """Someone who follows the README."""

    def __init__(self, workshop, provider):
        self.home = workshop.directory
        self.clone = os.path.join(self.home, "varve")
        self.port = support.free_port()
        repository = os.path.join(self.home, "repository")
        self.table = substitutions(repository, self.port, provider, python_test.installed(python_test.VERSIONS[-1]))
        self.fill_repository(repository)
        self.environment = support.clean_environment()
        self.environment.update(PATH=self.make_stand_ins(workshop.binary) + ":" + os.environ["PATH"],
                                VARVE_LISTEN="127.0.0.1:%d" % self.port)
        self.server = None
        self.terminal = None
        self.aside = []
        self.told = ""  # What the second terminal showed, pieces of streams put together.

    def fill_repository(self, repository):
        """This working tree, as far as the commands need it, with the port of this test."""
        for name in CLONED:
            target = os.path.join(repository, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(os.path.join(readme.ROOT, name), target)
            if "/hello." in name:
                with open(target, encoding="utf-8") as file:
                    text = substituted(file.read(), self.table)
                with open(target, "w", encoding="utf-8") as file:
                    file.write(text)
        for step in (["init", "-q"], ["add", "."],
                     ["-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-q", "-m", "test: tree"]):
            subprocess.run(["git", "-C", repository, *step], check=True, stdin=subprocess.DEVNULL, timeout=60)

    def make_stand_ins(self, varve):
        """cmake without the compilers: the programs are built already. Nothing is installed by a test."""
        directory = os.path.join(self.home, "stand-ins")
        os.makedirs(directory)
        cmake = ("#!/bin/sh\nmkdir -p build/release/bin build/dev/bin\n"
                 "ln -sf '%s' build/release/bin/varve\nln -sf '%s-sim' build/dev/bin/varve-sim\n" % (varve, varve))
        query = "#!/bin/sh\nfor name; do echo \"installed $name\"; done\n"
        for name, text in (("cmake", cmake), ("dpkg-query", query)):
            path = os.path.join(directory, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, 0o755)
        return directory

    def run(self, command, how):
        text = substituted(command.text, self.table)
        if how == SERVE:
            self.serve(text)
        elif how == ASIDE:
            self.aside.append((command, Background(lambda: self.run_aside(text))))
        else:
            output = self.talk(command, text)
            if how == TWICE:
                check_equal(self.talk(command, text), output, "%r: the second output" % command)
            if how == KILL:
                self.wait_stopped()

    def talk(self, command, text):
        if self.terminal is None:
            self.terminal = Terminal(self.clone, self.environment)
        code, output = self.terminal.run(text)
        check(code == 0, "%r: exit code 0" % command, (code, output))
        check("\"detail\"" not in output or "detail" in (command.shown or ""), "%r: no error" % command, output)
        command.check_output(output)
        self.told += output + "".join(re.findall(r'"content":"([^"]*)"', output))
        return output

    def run_aside(self, text):
        done = subprocess.run(["bash", "-c", text], cwd=self.clone, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SWEEP_SECONDS_MAX, check=False)
        return done.returncode, done.stdout.decode()

    def finish_aside(self):
        for command, background in self.aside:
            code, output = background.result(SWEEP_SECONDS_MAX)
            check(code == 0, "%r: exit code 0" % command, (code, output))
            command.check_output(output)

    def serve(self, text):
        self.interrupt()
        directory = self.clone if os.path.isdir(self.clone) else self.home
        with open(os.path.join(self.home, "terminal-1"), "ab") as log:
            self.server = subprocess.Popen(["bash", "-c", text], cwd=directory, env=self.environment, stdout=log,
                                           stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        poll("the server answers; its terminal: %s" % log.name, support.START_SECONDS_MAX, self.healthy)

    def healthy(self):
        if self.server.poll() is not None:
            with open(os.path.join(self.home, "terminal-1"), encoding="utf-8") as log:
                raise Failure("the server ended; its terminal says:\n" + log.read()[-3000:])
        return support.answers(self.port)

    def interrupt(self):
        """What Ctrl-C does."""
        if self.server is None:
            return
        os.killpg(self.server.pid, signal.SIGINT)
        self.wait_stopped()

    def wait_stopped(self):
        self.server.wait(support.STOP_SECONDS_MAX)
        self.server = None

        def free():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) != 0

        poll("the port is free again", support.STOP_SECONDS_MAX, free)

    def close(self):
        if self.terminal is not None:
            self.terminal.close()
        if self.server is not None and self.server.poll() is None:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait(support.STOP_SECONDS_MAX)


def known(commands):
    """[(command, how)]: exactly those of COMMANDS, in that order."""
    for command in commands:
        check(any(command.text.startswith(start) for start, _ in COMMANDS),
              "%r is not known: add to COMMANDS how it is tested" % command)
    for start, _ in COMMANDS:
        check(any(command.text.startswith(start) for command in commands), "README.md has no longer: " + start)
    check(len(commands) == len(COMMANDS) and
          all(command.text.startswith(start) for command, (start, _) in zip(commands, COMMANDS)),
          "the commands of README.md must be those of COMMANDS, in their order", commands)
    return [(command, how) for command, (_, how) in zip(commands, COMMANDS)]


def check_recording(book):
    """It plays the commands of the quick start, the picture was made of it, and it gives nothing away."""
    check(SHOT + ".svg" in book.text, "README.md shows %s.svg" % SHOT)
    with open(os.path.join(readme.ROOT, SHOT + ".cast"), "rb") as file:
        cast = file.read()
    with open(os.path.join(readme.ROOT, SHOT + ".svg"), "rb") as file:
        svg = file.read()
    events = [json.loads(line) for line in cast.splitlines()[1:]]
    typed = "".join(text for _, kind, text in events if kind == "i").replace("\r", "\n").replace("\x03", "")
    wanted = "".join(readme.recorded(command.text) + "\n" for command in book.commands if command.quick)
    check_equal(typed, wanted, "the recording's commands are the README's (docs/quickstart/record.py makes it anew)")
    check(hashlib.sha256(cast).hexdigest().encode() in svg, "quickstart.svg was made of quickstart.cast")
    check(len(svg) <= SVG_BYTES_MAX, "quickstart.svg has at most %d bytes" % SVG_BYTES_MAX, len(svg))
    for private in (b"/work/", b"/home/", b"/root/", b"/tmp/"):
        check(private not in cast and private not in svg, "the recording shows no place of its author's", private)


def story(workshop, _chosen):
    book = readme.Readme()
    commands = known(book.commands)
    with readme.ollama() as provider:
        reader = Reader(workshop, provider)
        try:
            # What runs on the side takes longest, and needs only the clone.
            order = sorted(commands[1:], key=lambda command: command[1] != ASIDE)
            for command, how in commands[:1] + order:
                reader.run(command, how)
                ok("README.md:%d" % command.line)
            for _, answer in readme.ANSWERS:
                check(answer in reader.told, "one of the commands shows what the model said: " + answer)
            reader.interrupt()
            reader.finish_aside()
        finally:
            reader.close()
    check_recording(book)
    ok("the recording plays the commands of the quick start")


if __name__ == "__main__":
    support.main(__doc__, story)
