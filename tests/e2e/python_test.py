#!/usr/bin/env python3
"""The official Python clients of the Letta V1 API, with a mock model provider behind a real server.

    python_test.py --varve build/dev/bin/varve

Each version is installed, pinned by hashes, into a virtual environment in build/python-clients-VERSION, which is
kept; all versions run at the same time, each against servers of its own.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

import mock_provider
import support
from support import Background, Failure, check_equal, ok

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "python")
BUILD = os.path.join(os.path.dirname(os.path.dirname(HERE)), "build")
VERSIONS = ("1.7.12", "1.12.1")
INSTALL_SECONDS_MAX = 300
STORY_SECONDS_MAX = 200


def run(command, seconds, what):
    """Gives back what it wrote; `what` says what is wrong if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds,
                          env=support.clean_environment(), check=False)
    if done.returncode != 0:
        raise Failure("%s:\n%s%s" % (what, done.stdout[-3000:], done.stderr[-6000:]))
    return done.stdout


def installed(version):
    """The interpreter of an environment that has this version of the client."""
    wanted = os.path.join(SOURCE, "requirements-%s.txt" % version)
    with open(wanted, "rb") as file:
        digest = hashlib.sha256(file.read() + sys.version.encode()).hexdigest()
    place = os.path.join(BUILD, "python-clients-" + version)
    stamp = os.path.join(place, "stamp-" + digest)
    if not os.path.exists(stamp):
        os.makedirs(BUILD, exist_ok=True)
        fresh = tempfile.mkdtemp(prefix="python-clients-", dir=BUILD)
        run([sys.executable, "-m", "venv", fresh], INSTALL_SECONDS_MAX, "python3 -m venv failed")
        run([os.path.join(fresh, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes",
             "--only-binary=:all:", "-r", wanted], INSTALL_SECONDS_MAX, "pip install failed")
        open(os.path.join(fresh, os.path.basename(stamp)), "wb").close()
        # Whoever comes second finds the first one's, whole.
        shutil.rmtree(place, ignore_errors=True)
        os.rename(fresh, place)
    return os.path.join(place, "bin", "python")


def live(workshop, provider, version, chapters):
    server = workshop.server("data-" + version, provider=provider.url).start()
    locked = workshop.server("locked-" + version)
    locked.environment["LETTA_SERVER_PASS"] = "secret"
    locked.start()
    command = [installed(version), "-B", os.path.join(SOURCE, "client.py"), server.base, support.PROVIDER_MODEL,
               locked.base, *chapters]
    said = run(command, STORY_SECONDS_MAX, "the client %s met something unexpected" % version)
    check_equal([server.terminate(), locked.terminate()], [0, 0], "exit codes after SIGTERM")
    server.verify()
    return said


def story(workshop, _chosen):
    chapters = os.environ.get("CHAPTERS", "").split()
    with mock_provider.Provider() as provider:
        calls = [Background(lambda version=version: live(workshop, provider, version, chapters)) for version in VERSIONS]
        for call in calls:
            print(call.result(INSTALL_SECONDS_MAX * 2 + STORY_SECONDS_MAX), end="", flush=True)
    ok("a fresh fold of the log equals the views")


if __name__ == "__main__":
    support.main(__doc__, story)
