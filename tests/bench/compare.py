#!/usr/bin/env python3
"""Measures builds of the server against each other, in alternating runs, and prints the medians.

    compare.py --runs 5 BIN_OLD BIN_NEW        # folders with `varve`; varve-load comes from the last one

Every run starts a server on a fresh directory, makes 16 agents, and sends: POST messages on 1 connection (--single
of them, more than meet the fresh directory alone), POST messages on 16, GET messages?limit=20 on 16. "CPU" is what the
server's process has used (user and kernel) over the POSTs of 16 connections. Alternating runs spread what else the
machine does over all builds alike. Nothing is asserted: read the ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from support import Server, create_agent  # noqa: E402

AGENTS = 16
TICKS = os.sysconf("SC_CLK_TCK")
MEASURES = (
    ("POST, 1 client", "p50 ms"),
    ("POST, 1 client", "p99 ms"),
    ("POST, 16 clients", "per second"),
    ("POST, 16 clients", "p50 ms"),
    ("POST, 16 clients", "p99 ms"),
    ("POST, 16 clients", "CPU us each"),
    ("GET, 16 clients", "per second"),
    ("GET, 16 clients", "p50 ms"),
    ("GET, 16 clients", "p99 ms"),
)


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def load(binary, server, agents_file, connections, requests, *more):
    done = subprocess.run(
        [binary, "--port", str(server.port), "--connections", str(connections), "--requests", str(requests),
         "--agents-from-file", agents_file, *more],
        stdout=subprocess.PIPE, check=False)
    got = json.loads(done.stdout)
    if done.returncode != 0:
        raise SystemExit("varve-load failed: %s" % got)
    return {"per second": got["requests_per_second"], "p50 ms": got["p50_us"] / 1000, "p99 ms": got["p99_us"] / 1000}


def one_run(folder, load_binary, single, requests):
    post = ("--mode", "post", "--path", "/v1/agents/{}/messages", "--body", '{"input":"hello {n}"}')
    with tempfile.TemporaryDirectory(prefix="varve-compare-") as directory:
        server = Server(os.path.join(folder, "varve"), os.path.join(directory, "data")).start()
        try:
            agents = os.path.join(directory, "agents")
            with open(agents, "w") as out:
                for number in range(AGENTS):
                    out.write(create_agent(server.client(), "agent %d" % number) + "\n")
            load(load_binary, server, agents, 1, 200, *post)  # Warm.
            one = load(load_binary, server, agents, 1, single, *post)
            before = cpu_seconds(server.process.pid)
            many = load(load_binary, server, agents, AGENTS, requests, *post)
            many["CPU us each"] = (cpu_seconds(server.process.pid) - before) / requests * 1e6
            get = load(load_binary, server, agents, AGENTS, requests * 5, "--path", "/v1/agents/{}/messages?limit=20")
        finally:
            server.stop_for_good()
    return {"POST, 1 client": one, "POST, 16 clients": many, "GET, 16 clients": get}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="BIN")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--single", type=int, default=4000, help="POSTs on 1 connection")
    parser.add_argument("--requests", type=int, default=6000, help="POSTs on 16 connections")
    arguments = parser.parse_args()
    load_binary = os.path.join(arguments.folders[-1], "varve-load")
    runs = {folder: [] for folder in arguments.folders}
    for number in range(arguments.runs):
        for folder in arguments.folders:
            runs[folder].append(one_run(folder, load_binary, arguments.single, arguments.requests))
            print("run %d %s: %s" % (number + 1, folder, json.dumps(runs[folder][-1])), file=sys.stderr, flush=True)
    print("| what | %s | last / first |" % " | ".join(arguments.folders))
    print("|---|%s---|" % ("---|" * len(arguments.folders)))
    for what, measure in MEASURES:
        medians = [statistics.median(run[what][measure] for run in runs[folder]) for folder in arguments.folders]
        print("| %s, %s | %s | %.2f |" % (what, measure, " | ".join("%.4g" % m for m in medians),
                                          medians[-1] / medians[0]))


if __name__ == "__main__":
    main()
