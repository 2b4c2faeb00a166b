#!/usr/bin/env python3
"""Plays the quick start of README.md in two real terminals and records it: quickstart.cast and quickstart.svg.

    docs/quickstart/record.py

Run it when a command of the quick start has changed (tests/e2e/readme_test.py says so). It clones this repository's
last commit, builds it, serves on 8283 with a stand-in for Ollama on 11434 (tests/e2e/mock_provider.py), and installs
both clients from PyPI and npm: nothing that is shown was written by hand. Only waiting is cut short. Needs Debian's
package termtosvg and both ports.
"""

import fcntl
import hashlib
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tests", "e2e"))
import readme  # noqa: E402
import support  # noqa: E402

COLUMNS, ROWS = 100, 30
PORT = 8283
PAUSE_MAX = 1.2  # Seconds that the recording waits for anything.
KEYS_AT_ONCE = 6
BUILD_SECONDS_MAX = 1800
PROMPT = "$ "


class Recording:
    """Events of an asciinema file (version 2), with pauses cut short."""

    def __init__(self):
        self.events = []
        self.time = 0.0
        self.real = time.monotonic()

    def add(self, kind, text):
        now = time.monotonic()
        self.time += min(now - self.real, PAUSE_MAX)
        self.real = now
        self.events.append([round(self.time, 2), kind, text])

    def rest(self, seconds):
        self.time += seconds

    def bytes(self):
        head = {"version": 2, "width": COLUMNS, "height": ROWS, "env": {"TERM": "xterm-256color"}}
        return "".join(json.dumps(line) + "\n" for line in [head] + self.events).encode()


class Terminal:
    """A shell on a pseudo terminal. What it says while another one is shown is kept until it is shown again."""

    def __init__(self, name, directory, environment, recording):
        self.name = name
        self.recording = recording
        self.shown = False
        self.kept = ""
        self.last = ""
        self.child, self.master = pty.fork()
        if self.child == 0:
            os.chdir(directory)
            os.execvpe("bash", ["bash", "--noprofile", "--norc", "-i"], environment)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def read(self, seconds):
        """Takes what comes within the time; false if nothing did."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        text = os.read(self.master, 65536).decode("utf-8", "replace")
        self.last = (self.last + text)[-200:]
        if self.shown:
            self.recording.add("o", text)
        else:
            self.kept += text
        return True

    def show(self):
        self.shown = True
        self.recording.add("o", "\r\x1b[K\x1b[7m %s \x1b[0m\r\n%s" % (self.name, self.kept.lstrip("\r\n") or PROMPT))
        self.kept = ""

    def type(self, text):
        for start in range(0, len(text), KEYS_AT_ONCE):
            keys = text[start:start + KEYS_AT_ONCE]
            self.recording.add("i", keys)
            os.write(self.master, keys.encode())
            while self.read(0.06):
                pass

    def wait(self, what, seconds, done):
        deadline = time.monotonic() + seconds
        while not done():
            self.read(0.1)
            if time.monotonic() > deadline:
                raise support.Failure("waited in vain until " + what)

    def prompts(self):
        return self.last.endswith(PROMPT)


def healthy():
    return support.answers(PORT)


def play(book, home, recording):
    environment = support.clean_environment()
    environment.update(PS1=PROMPT, PS2="> ", TERM="xterm-256color", HOME=home, COLUMNS=str(COLUMNS), LINES=str(ROWS),
                       npm_config_update_notifier="false", npm_config_fund="false", npm_config_audit="false",
                       PIP_DISABLE_PIP_VERSION_CHECK="1", INPUTRC=os.path.join(home, "inputrc"))
    with open(os.path.join(home, "inputrc"), "w", encoding="ascii") as file:
        file.write("set enable-bracketed-paste off\nset horizontal-scroll-mode off\n")
    terminals = [Terminal("terminal 1", home, environment, recording)]

    def turn_to(number):
        if len(terminals) <= number:
            terminals.append(Terminal("terminal 2", os.path.join(home, "varve"), environment, recording))
            terminals[number].wait("the shell prompts", 20, lambda: PROMPT in terminals[number].last)
            terminals[number].kept = PROMPT
        if not terminals[number].shown:
            for other in terminals:
                other.shown = False
            terminals[number].show()
        return terminals[number]

    terminals[0].wait("the shell prompts", 20, lambda: PROMPT in terminals[0].last)
    terminals[0].kept = PROMPT
    for command in book.commands:
        if not command.quick:
            continue
        serves = command.text.endswith("./dev run")
        terminal = turn_to(0 if serves else 1)
        if serves and healthy():
            terminal.type("\x03")
            terminal.wait("the server has stopped", 60, terminal.prompts)
        terminal.last = ""
        terminal.type(readme.recorded(command.text).replace("\n", "\r") + "\r")
        if serves:
            terminal.wait("the server answers", BUILD_SECONDS_MAX, healthy)
            terminal.wait("it has said so", 5, lambda: not terminal.read(0.5))
        else:
            terminal.wait("%r has ended" % command, 300, terminal.prompts)
        recording.rest(1.0)
    turn_to(0).type("\x03")
    terminals[0].wait("the server has stopped", 60, terminals[0].prompts)


def main():
    book = readme.Readme()
    recording = Recording()
    # Always the same place: a compiler cache then knows the second recording's build.
    home = os.path.join(tempfile.gettempdir(), "varve-record")
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home)
    with readme.ollama(11434):
        subprocess.run(["git", "clone", "-q", "--bare", readme.ROOT, os.path.join(home, readme.RECORDED_REPOSITORY)],
                       check=True)
        play(book, home, recording)
    shutil.rmtree(home)
    cast = recording.bytes()
    with open(os.path.join(HERE, "quickstart.cast"), "wb") as file:
        file.write(cast)
    picture = os.path.join(HERE, "quickstart.svg")
    subprocess.run(["termtosvg", "render", os.path.join(HERE, "quickstart.cast"), picture, "-t", "window_frame",
                    "-m", "150", "-D", "3000"], check=True)
    with open(picture, encoding="utf-8") as file:
        svg = file.read()
    # So that the test can tell whether one was made of the other.
    svg = re.sub(r"(<svg )", "<!-- of the recording %s -->\n\\1" % hashlib.sha256(cast).hexdigest(), svg, count=1)
    with open(picture, "w", encoding="utf-8") as file:
        file.write(svg)
    print("%d bytes of recording, %d bytes of picture" % (len(cast), len(svg)))


if __name__ == "__main__":
    main()
