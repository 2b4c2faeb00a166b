#!/usr/bin/env python3
"""What the archived Letta server answered, request for request, against a fresh server.

    wire_test.py --varve build/dev/bin/varve

The recording, the comparer and its mock provider lie in ../shared/wire beside the repository and are no part of
it; without them there is nothing to compare. Differences that are meant are in wire_differences.json, each with
its level (status, shape or value) and its reason and, where it helps, the only paths at which it may differ. A
listed difference that is gone fails like one that is not listed, but for those that chance makes ("sometimes").

Some requests are refused on purpose, and what follows lacks what they would have made. So that this hides
nothing, everything is compared a second time, against another fresh server and with those few requests changed to
what both accept: then each of them must be equal, and what follows too, but for what its "adapted" (a level, and
the only paths) leaves it.
"""

import collections
import json
import os
import re
import shutil
import subprocess
import sys

import support
from support import Failure, check, check_equal, ok

HERE = os.path.dirname(os.path.abspath(__file__))
WIRE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(HERE))), "shared", "wire")
LISTED = os.path.join(HERE, "wire_differences.json")
GROUPS = ("health", "unknown", "agents", "blocks", "core", "messages", "tags", "tools", "models", "runs", "auth")
EMBEDDING = "openai/text-embedding-3-small"  # That of the recording; without it no agent could be equal.
OTHER_OTID = "11111111-1111-4111-8111-111111111112"
# What the second pass sends instead: request -> (part of its path or body, replacement).
ADAPTED = {
    "blocks.create.nul_byte": ("\0", ""),
    "messages.create.nul_byte": ("\0", ""),
    "messages.create.max_steps_0": ("{{a2}}", "{{a3}}"),  # Nobody lists the messages of a3.
    "messages.create.otid_again": ("11111111-1111-4111-8111-111111111111", OTHER_OTID),
}
COMPARE_SECONDS_MAX = 300
DIFFERENCES_SHOWN = 6


def start_mock(workshop):
    port = support.free_port()
    log = open(os.path.join(workshop.directory, "mock.log"), "wb")
    process = subprocess.Popen([sys.executable, "-B", os.path.join(WIRE, "mock_openai.py"), "--port", str(port)],
                               stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    base = "http://127.0.0.1:%d/v1" % port

    try:
        support.poll("the mock provider answers", 30, lambda: support.answers(port, "/v1/models"))
    except Failure:
        process.kill()
        raise
    return process, base


def adapted_wire(workshop):
    """A folder with wire.py and the steps of the second pass."""
    place = os.path.join(workshop.directory, "wire")
    os.makedirs(place, exist_ok=True)
    shutil.copy(os.path.join(WIRE, "wire.py"), place)
    with open(os.path.join(WIRE, "steps.json"), encoding="utf-8") as file:
        steps = json.load(file)
    for step in steps:
        if step["name"] in ADAPTED:
            old, new = ADAPTED[step["name"]]
            for part in ("path", "body"):
                step[part] = json.loads(json.dumps(step[part]).replace(json.dumps(old)[1:-1], new))
    with open(os.path.join(place, "steps.json"), "w", encoding="utf-8") as file:
        json.dump(steps, file)
    return place


def compare(workshop, wire, name, provider):
    """Runs wire.py against a fresh server; gives back its summary line and its rows."""
    server = workshop.server(name, provider=provider).start()
    out = os.path.join(workshop.directory, name + ".json")
    command = [sys.executable, "-B", os.path.join(wire, "wire.py"), "compare", "--quiet", "--base", server.base,
               "--model", support.PROVIDER_MODEL, "--embedding", EMBEDDING, "--against",
               os.path.join(WIRE, "letta-0.16.8.jsonl"), "--json", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPARE_SECONDS_MAX, check=False)
    server.check_alive()
    check(os.path.exists(out), "wire.py must write its verdicts", done.stdout[-2000:] + done.stderr[-2000:])
    summary = [line for line in done.stdout.splitlines() if line.startswith("SUMMARY")]
    check_equal(len(summary), 1, "summary lines of wire.py")
    with open(out, encoding="utf-8") as verdicts:
        rows = json.load(verdicts)["rows"]
    for row in rows:
        row["value"] = [text for text in row["value"] if OTHER_OTID not in text]  # It was sent, so it is listed.
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    server.verify()
    return summary[0], rows


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
        elif level == "ok" and not meant.get("sometimes"):
            said.append("%s is listed and has become equal: take it off" % name)
        elif level not in ("ok", meant["level"]):
            said.append("%s is listed as %s and differs by %s" % (name, meant["level"], level) + details(row))
        elif level in ("shape", "value") and not paths_of(row) <= set(meant.get("only", paths_of(row))):
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
    """What is listed, and of that what must also differ in the second pass."""
    with open(LISTED, encoding="utf-8") as file:
        listed = json.load(file)
    for name, meant in listed.items():
        check(meant.get("level") in ("status", "shape", "value"), "%s: a level" % name, meant)
        check(len(meant.get("reason", "")) > 20, "%s: a reason" % name, meant)
        check(set(meant) <= {"level", "reason", "only", "sometimes", "adapted"}, "%s: no other members" % name, meant)
    own = {name: meant.get("adapted", meant) for name, meant in listed.items() if name not in ADAPTED}
    return listed, own


def report(rows, listed):
    said = complaints(rows, listed)
    check(not said, "%d of %d requests are not as they should be:\n  %s" % (len(said), len(rows), "\n  ".join(said)))
    ok("%d of %d requests are answered like the archived server did, %d differ on purpose"
       % (sum(level_of(row) == "ok" for row in rows), len(rows), len(listed)))


def story(workshop, _chosen):
    listed, own = read_list()
    if not os.path.isdir(WIRE):
        ok("not run: ../shared/wire is not here")
        return
    mock, base = start_mock(workshop)
    try:
        summary, rows = compare(workshop, WIRE, "data", base)
        print(summary, flush=True)
        print_groups(rows, listed)
        report(rows, listed)
        summary, rows = compare(workshop, adapted_wire(workshop), "adapted", base)
        print("with %d requests adapted: %s" % (len(ADAPTED), summary), flush=True)
        report(rows, own)
    finally:
        mock.kill()
        mock.wait()


if __name__ == "__main__":
    support.main(__doc__, story)
