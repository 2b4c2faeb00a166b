"""What README.md promises, as data: its commands in order, what it shows of their output, and the model of its stories.

Used by readme_test.py, which runs every command, and by docs/quickstart/record.py, which plays the quick start.
Whatever it cannot read is a Failure, so that nothing in the README goes untested.
"""

import os
import re
import subprocess

import mock_provider
from support import Failure, check

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUICKSTART = os.path.join(ROOT, "docs", "quickstart")
SNIPPETS = ("hello.py", "hello.mjs")
QUICKSTART_ENDS = "## "  # The quick start is what comes before the first of these.
RECORDED_REPOSITORY = "varve.git"
COMMENT = re.compile(r"\s{2,}# .*$")

TOKEN = re.compile(r"""(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z)
    | (?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})
    | (?P<cut>[0-9a-f]{8}-\.\.\.)
    | (?P<hex>\b[0-9a-f]{8}\b)
    | (?P<place>\b\d+:\d+\b)
    | (?P<any>\s*\.\.\.\s*)
    | (?P<after_comma>(?<=[,{\[])\s+)
    | (?P<space>\s+)""", re.X)
PATTERNS = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z",
    "uuid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "cut": r"[0-9a-f]{8}-.*",
    "hex": r"[0-9a-f]{8}",
    "place": r"\d+:\d+",
    "any": r".*",
    "after_comma": r"\s*",
    "space": r"\s+",
}


class Command:
    """One command of the README and what is shown of its output, None if nothing is."""

    def __init__(self, text, line, quick):
        self.text = text
        self.line = line
        self.quick = quick  # In the quick start?
        self.shown = None

    def __repr__(self):
        return "README.md:%d: %s" % (self.line, self.text)

    def check_output(self, seen):
        if self.shown is not None:
            check(re.fullmatch(pattern_of(self.shown), seen.strip(), re.S),
                  "%r: README shows another output:\n%s" % (self, self.shown), seen)


def pattern_of(shown):
    """Ids, times, places in the log and `...` stand for any; a line break after a comma is the README's."""
    pattern = ""
    end = 0
    for match in TOKEN.finditer(shown):
        pattern += re.escape(shown[end:match.start()]) + PATTERNS[match.lastgroup]
        end = match.end()
    return pattern + re.escape(shown[end:])


def complete(text):
    """Whether a shell would run this now, or wait for another line."""
    done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, check=False)
    return done.returncode == 0 and not text.endswith("\\")


def blocks(text):
    """[(number of the first line, lines without their indentation)] of what is indented."""
    check("\n```" not in text, "README.md indents its commands; this test does not read fences")
    found = []
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        start = number
        while number < len(lines) and (lines[number].startswith("    ") or
                                       (number > start and not lines[number] and
                                        lines[number + 1:number + 2] and lines[number + 1].startswith("    "))):
            number += 1
        if number > start:
            found.append((start + 1, [line[4:] for line in lines[start:number]]))
        number = max(number, start + 1)
    return found


class Readme:
    """README.md, read."""

    def __init__(self, path=os.path.join(ROOT, "README.md")):
        with open(path, encoding="utf-8") as file:
            self.text = file.read()
        self.commands = []
        self.snippets = set()
        self.quick_lines = self.text[:self.text.index("\n" + QUICKSTART_ENDS)].count("\n") + 1
        for line, block in blocks(self.text):
            self.read_block(line, block)
        missing = set(SNIPPETS) - self.snippets
        check(not missing, "README.md must show these, word for word: docs/quickstart/: %s" % sorted(missing))
        self.check_inline()

    def read_block(self, line, block):
        whole = "\n".join(block)
        for name in SNIPPETS:
            with open(os.path.join(QUICKSTART, name), encoding="utf-8") as file:
                if whole.strip() == file.read().strip():
                    self.snippets.add(name)
                    return
        if whole.startswith("{"):
            check(self.commands, "README.md:%d: an output without a command" % line)
            self.commands[-1].shown = whole
        elif whole.startswith("$ "):
            self.read_console(line, block)
        else:
            self.read_script(line, block)

    def read_script(self, line, block):
        text = ""
        for number, part in enumerate(block):
            text = text + "\n" + part if text else COMMENT.sub("", part)
            if text and complete(text):
                self.add(text, line + number)
                text = ""
        if text:
            raise Failure("README.md:%d: neither a whole command, an output, nor a snippet of docs/quickstart:\n%s"
                          % (line, text))

    def read_console(self, line, block):
        for number, part in enumerate(block):
            if part.startswith("$ "):
                self.add(COMMENT.sub("", part[2:]), line + number)
            elif part:
                last = self.commands[-1]
                part = COMMENT.sub("", part)
                last.shown = part if last.shown is None else last.shown + "\n" + part

    def add(self, text, line):
        self.commands.append(Command(text, line, line < self.quick_lines))

    def check_inline(self):
        """A command in the middle of a sentence is one of those in the blocks, or part of one."""
        all_of_them = "\n".join(command.text for command in self.commands)
        for inline in re.findall(r"`([^`\n]+)`", self.text):
            if re.match(r"(\./dev|build/|curl|git|npm|pip|python3|node) ", inline):
                check(inline in all_of_them, "README.md says `%s` in a sentence, and no block has it" % inline)


def recorded(text):
    """How the recording types it: the README cannot know where its repository is."""
    return text.replace("<this repository>", RECORDED_REPOSITORY)


# ---- the model of the stories

MODEL = "qwen3"
STORY = "Once upon a time a lake laid down a layer of clay each year, and never lost one."
ANSWERS = (("story", STORY), ("Python", "Hello, Carl!"), ("TypeScript", "Hello from the bottom of the lake!"))


class Plan(mock_provider.Plan):
    """Answers the questions of the README in words that fit."""

    def __init__(self, body, times_asked):
        super().__init__(body, times_asked)
        self.reply = next((answer for word, answer in ANSWERS if word in self.text), self.reply)
        self.token_delay = 0.08


def ollama(port=0):
    """A provider whose list of models is that of an Ollama with the README's model."""
    mock_provider.MODELS = (MODEL,)
    mock_provider.Plan = Plan
    return mock_provider.Provider(port)
