#!/usr/bin/env python3
"""Compiles every header alone, or runs clang-tidy over every source, with the flags of the dev build.

    deploy/compile_check.py headers    needs build/dev/compile_commands.json (./dev check makes it)
    deploy/compile_check.py tidy

What passed is remembered by content in build/check/: the file, the headers of ours that it reaches, the flags
and the tool. So CI pays once, and a developer pays for what changed. A failure is never remembered.
"""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ["runtime", "eventlog", "actors", "cluster", "projections", "inspect", "api", "cli", "sim"]
CLANG, TIDY = "clang++-16", "clang-tidy-16"
# Flags that say nothing about whether a file is right.
DROPPED = re.compile(r"-(c|M[A-Z]*|Winvalid-pch|fpch-\S+)$|-f(no-)?sanitize\S*$")
DROPPED_WITH_VALUE = {"-o", "-MF", "-MT", "-Xclang"}


def compile_flags(command):
    """The flags of a compile command, without its files, outputs and precompiled headers."""
    words = iter(shlex.split(command["command"])[1:])
    flags = []
    for word in words:
        if word in DROPPED_WITH_VALUE:
            next(words)
        elif not DROPPED.match(word) and not word.endswith(".cpp"):
            flags.append(word)
    return flags


class Reach:
    """The headers of ours that a file reaches, and one hash of all their contents."""

    def __init__(self):
        self.direct = {}
        self.digests = {}

    def includes(self, rel):
        if rel not in self.direct:
            content = (ROOT / rel).read_bytes()
            self.digests[rel] = hashlib.sha256(content).hexdigest()
            names = re.findall(rb'(?m)^\s*#\s*include\s+"([^"]+)"', content)
            self.direct[rel] = [n for n in (name.decode() for name in names) if (ROOT / n).is_file()]
        return self.direct[rel]

    def key(self, rel, *extras):
        seen, waiting = set(), [rel]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting.extend(self.includes(one))
        digests = [f"{one} {self.digests[one]}" for one in sorted(seen)]
        return hashlib.sha256("\n".join([*digests, *extras]).encode()).hexdigest()


class Passed:
    """File -> key of what passed last."""

    def __init__(self, name):
        self.path = ROOT / "build" / "check" / f"{name}.json"
        self.lock = threading.Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.keys = json.loads(self.path.read_text())
        except (OSError, ValueError):
            self.keys = {}

    def add(self, rel, key):
        with self.lock:
            self.keys[rel] = key
            fresh = self.path.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(self.keys, indent=0, sort_keys=True))
            fresh.replace(self.path)


def has_code(rel):
    """False for files that only include, which compile a library's sources once."""
    text = re.sub(r"//[^\n]*", "", (ROOT / rel).read_text())
    return any(line.strip() and not line.startswith("#") for line in text.split("\n"))


def header_jobs(commands):
    """Headers, but those that a .cpp of their name compiles first (lint: own-header-first)."""
    by_folder = {}
    for rel, command in commands.items():
        by_folder.setdefault(rel.split("/")[0], compile_flags(command))
    for path in sorted(ROOT.glob("*/**/*.h")):
        rel = path.relative_to(ROOT).as_posix()
        folder = rel.split("/")[0]
        if folder not in [*PRODUCT, "tests", "migrations"] or rel[:-2] + ".cpp" in commands:
            continue
        flags = by_folder.get(folder) or next(iter(by_folder.values()))
        yield rel, [CLANG, *flags, "-fsyntax-only", "-include", rel, "-x", "c++", "/dev/null"]


def tidy_jobs(commands):
    for rel in sorted(commands):
        if rel.split("/")[0] in PRODUCT and has_code(rel):
            yield rel, [TIDY, "-p", "build/dev", "--quiet", rel]


def main(what):
    database = ROOT / "build" / "dev" / "compile_commands.json"
    commands = {}
    for command in json.loads(database.read_text()):
        path = Path(command["directory"], command["file"]).resolve()
        if path.is_relative_to(ROOT) and not path.is_relative_to(ROOT / "build"):
            commands[path.relative_to(ROOT).as_posix()] = command
    tool = CLANG if what == "headers" else TIDY
    version = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    settings = (ROOT / ".clang-tidy").read_text() if what == "tidy" else ""
    jobs = list((header_jobs if what == "headers" else tidy_jobs)(commands))

    reach, passed = Reach(), Passed(what)
    waiting = []
    for rel, arguments in jobs:
        flags = " ".join(compile_flags(commands[rel])) if rel in commands else " ".join(arguments)
        key = reach.key(rel, version, settings, flags)
        if passed.keys.get(rel) != key:
            waiting.append((rel, arguments, key))
    if not jobs:
        print(f"nothing to check in {database}")
        return 1

    failures = []

    def work(job):
        rel, arguments, key = job
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            passed.add(rel, key)
        else:
            # What a tool prints about its own progress ("12 warnings generated.") is left out.
            output = "\n".join(part.strip() for part in (done.stdout, done.stderr) if part.strip())
            failures.append(rel)
            print(re.sub(r"(?m)^\d+ (warnings?|errors?).*(generated|treated).*\n?", "", output), flush=True)

    with ThreadPoolExecutor(int(os.environ.get("VARVE_JOBS") or os.cpu_count() or 2)) as pool:
        list(pool.map(work, waiting))
    unchanged = len(jobs) - len(waiting)
    print(f"{len(jobs)} files, {unchanged} unchanged since they passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["headers"], ["tidy"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
