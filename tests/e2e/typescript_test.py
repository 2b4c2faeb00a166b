#!/usr/bin/env python3
"""The official TypeScript client of the Letta V1 API against a real server.

    typescript_test.py --varve build/dev/bin/varve [--rounds N]

Installs the pinned client into a folder of its own (so that the source tree stays clean) and runs client.mjs
with the echo model, and features.mjs with a mock model provider behind the server.
"""

import os
import shutil
import subprocess

import mock_provider
import support

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "typescript")


def run(command, directory, seconds, what):
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=seconds)
    if done.returncode != 0:
        raise support.Failure("%s:\n%s%s" % (what, done.stdout[-2000:], done.stderr[-3000:]))
    return done.stdout


def basics(workshop, client, rounds):
    server = workshop.server("data").start()
    for _ in range(rounds):
        print(run(["node", "client.mjs", server.base], client, 120, "the client met something unexpected"), end="")
    support.check_equal(server.terminate(), 0, "exit code after SIGTERM")
    server.verify()


def features(workshop, client, rounds):
    with mock_provider.Provider() as provider:
        server = workshop.server("features", provider=provider.url).start()
        locked = workshop.server("locked")
        locked.environment["LETTA_SERVER_PASS"] = "secret"
        locked.start()
        command = ["node", "features.mjs", server.base, support.PROVIDER_MODEL, locked.base]
        for _ in range(rounds):
            print(run(command, client, 120, "the client met something unexpected"), end="")
        support.check_equal([server.terminate(), locked.terminate()], [0, 0], "exit codes after SIGTERM")
        server.verify()


def story(workshop, chosen):
    client = os.path.join(workshop.directory, "typescript")
    shutil.copytree(SOURCE, client, ignore=shutil.ignore_patterns("node_modules"))
    run(["npm", "ci", "--no-audit", "--no-fund"], client, 300, "npm ci failed")
    basics(workshop, client, chosen.rounds)
    features(workshop, client, chosen.rounds)
    support.ok("a fresh fold of the log equals the views")


if __name__ == "__main__":
    support.main(__doc__, story)
