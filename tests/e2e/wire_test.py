#!/usr/bin/env python3
"""What the archived Letta server answered, request for request, against a fresh server.

    wire_test.py --varve build/dev/bin/varve

The recording, the comparer and its mock provider lie in ../shared/wire beside the repository and are no part of
it; without them there is nothing to compare. Differences that are meant are in wire_differences.json, each with
its level (status, shape or value), its reason and, where it helps, the only paths at which it may differ. A
listed difference that is gone fails like one that is not listed.
"""

import collections
import json
import os
import re
import subprocess
import sys

import support
from support import Failure, check, check_equal, ok

HERE = os.path.dirname(os.path.abspath(__file__))
WIRE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(HERE))), "shared", "wire")
LISTED = os.path.join(HERE, "wire_differences.json")
GROUPS = ("health", "unknown", "agents", "blocks", "core", "messages", "tags", "tools", "models", "runs", "auth")
EMBEDDING = "openai/text-embedding-3-small"  # That of the recording; without it no agent could be equal.
COMPARE_SECONDS_MAX = 300
DIFFERENCES_SHOWN = 6


def start_mock(workshop):
    port = support.free_port()
    log = open(os.path.join(workshop.directory, "mock.log"), "wb")
    process = subprocess.Popen([sys.executable, "-B", os.path.join(WIRE, "mock_openai.py"), "--port", str(port)],
                               stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    base = "http://127.0.0.1:%d/v1" % port

    def listens():
        client = support.Client(port, seconds=5)
        try:
            return client.request("GET", "/v1/models").status == 200
        except support.Unreachable:
            return False
        finally:
            client.close()

    try:
        support.poll("the mock provider answers", 30, listens)
    except Failure:
        process.kill()
        raise
    return process, base


def compare(workshop, server):
    """Runs wire.py; gives back its summary line and its rows."""
    out = os.path.join(workshop.directory, "verdicts.json")
    command = [sys.executable, "-B", os.path.join(WIRE, "wire.py"), "compare", "--quiet", "--base", server.base,
               "--model", support.PROVIDER_MODEL, "--embedding", EMBEDDING, "--against",
               os.path.join(WIRE, "letta-0.16.8.jsonl"), "--json", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPARE_SECONDS_MAX, check=False)
    server.check_alive()
    check(os.path.exists(out), "wire.py must write its verdicts", done.stdout[-2000:] + done.stderr[-2000:])
    summary = [line for line in done.stdout.splitlines() if line.startswith("SUMMARY")]
    check_equal(len(summary), 1, "summary lines of wire.py")
    with open(out, encoding="utf-8") as verdicts:
        return summary[0], json.load(verdicts)["rows"]


def level_of(row):
    if row["status"] != row["status_ref"]:
        return "status"
    return "shape" if row["shape"] else "value" if row["value"] else "ok"


def paths_of(row):
    """Where a row differs, list places left out: {"$[].tags"}."""
    return {re.sub(r"\[\d+\]", "[]", text.split(": ")[0]) for text in row["shape"] + row["value"]}


def group_of(name):
    return name.split(".")[0]


def complaints(rows, listed):
    """Sentences about rows that are not as the list says."""
    seen = {row["name"]: row for row in rows}
    said = ["%s is listed and was not asked" % name for name in listed if name not in seen]
    for name, row in seen.items():
        level = level_of(row)
        meant = listed.get(name)
        if meant is None:
            if level != "ok" and group_of(name) in GROUPS:
                said.append("%s differs (%s) and is not listed" % (name, level) + details(row))
        elif level == "ok":
            said.append("%s is listed and has become equal: take it off" % name)
        elif level != meant["level"]:
            said.append("%s is listed as %s and differs by %s" % (name, meant["level"], level) + details(row))
        elif level != "status" and not paths_of(row) <= set(meant.get("only", paths_of(row))):
            said.append("%s differs elsewhere than listed" % name + details(row))
    return said


def details(row):
    lines = [] if level_of(row) != "status" else ["status %s, here %s" % (row["status_ref"], row["status"])]
    lines += row["shape"] + row["value"]
    more = ["... %d more" % (len(lines) - DIFFERENCES_SHOWN)] if len(lines) > DIFFERENCES_SHOWN else []
    return "".join("\n    " + line[:300] for line in lines[:DIFFERENCES_SHOWN] + more)


def print_groups(rows, listed):
    groups = collections.defaultdict(collections.Counter)
    for row in rows:
        count = groups[group_of(row["name"])]
        level = level_of(row)
        count["all"] += 1
        count["equal" if level == "ok" else "meant" if row["name"] in listed else level] += 1
    for name, count in sorted(groups.items(), key=lambda item: (item[0] not in GROUPS, item[0])):
        parts = ["%d %s" % (count[what], what) for what in ("equal", "meant", "status", "shape", "value") if count[what]]
        print("  %-14s %3d requests: %s%s" % (name, count["all"], ", ".join(parts),
                                            "" if name in GROUPS else " (not asked for)"), flush=True)


def read_list():
    with open(LISTED, encoding="utf-8") as file:
        listed = json.load(file)
    for name, meant in listed.items():
        check(meant.get("level") in ("status", "shape", "value"), "%s: a level" % name, meant)
        check(len(meant.get("reason", "")) > 20, "%s: a reason" % name, meant)
        check(set(meant) <= {"level", "reason", "only"}, "%s: no other members" % name, meant)
    return listed


def story(workshop, _chosen):
    listed = read_list()
    if not os.path.isdir(WIRE):
        ok("not run: ../shared/wire is not here")
        return
    mock, base = start_mock(workshop)
    try:
        server = workshop.server("data", provider=base).start()
        summary, rows = compare(workshop, server)
        print(summary, flush=True)
        print_groups(rows, listed)
        said = complaints(rows, listed)
        check(not said, "%d of %d requests are not as they should be:\n  %s" % (len(said), len(rows), "\n  ".join(said)))
        ok("%d of %d requests are answered like the archived server did, %d differ on purpose"
           % (sum(level_of(row) == "ok" for row in rows), len(rows), len(listed)))
        check_equal(server.terminate(), 0, "exit code after SIGTERM")
        server.verify()
        ok("a fresh fold of the log equals the views")
    finally:
        mock.kill()
        mock.wait()


if __name__ == "__main__":
    support.main(__doc__, story)
