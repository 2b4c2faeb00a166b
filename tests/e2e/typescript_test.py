#!/usr/bin/env python3
"""The official TypeScript client of the Letta V1 API against a real server.

Installs the pinned client into a folder of its own (so that the source tree stays clean) and runs client.mjs.
"""

import os
import shutil
import subprocess

import support

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "typescript")


def run(command, directory, seconds, what):
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=seconds)
    support.check(done.returncode == 0, what, done.stdout[-2000:] + done.stderr[-3000:])
    return done.stdout


def story(workshop, chosen):
    client = os.path.join(workshop.directory, "typescript")
    shutil.copytree(SOURCE, client, ignore=shutil.ignore_patterns("node_modules"))
    run(["npm", "ci", "--no-audit", "--no-fund"], client, 300, "npm ci failed")
    server = workshop.server("data").start()
    for _ in range(chosen.rounds):
        url = "http://127.0.0.1:%d" % server.port
        print(run(["node", "client.mjs", url], client, 120, "the client met something unexpected"), end="")
    support.check_equal(server.terminate(), 0, "exit code after SIGTERM")
    server.verify()
    support.ok("a fresh fold of the log equals the views")


if __name__ == "__main__":
    support.main(__doc__, story)
