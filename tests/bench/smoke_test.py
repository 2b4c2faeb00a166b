#!/usr/bin/env python3
"""The benchmarks of Kafka, PostgreSQL, a cluster and rebuilds run at all; their counts are so small that they measure
nothing.

    smoke_test.py --bin build/dev/bin        ($VARVE_SERVICES, or ./dev services start)
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from cluster_nodes import real_services  # noqa: E402
from support import Failure, check, ok  # noqa: E402

SECONDS_MAX = 240
FIGURE = r"(\d+(?:\.\d+)?)"
# What each prints; every figure in it is more than nothing.
KAFKA = (r"KafkaEventLog, appends read back +%s/s   ratio %s" % (FIGURE, FIGURE),
         r"append until it is read back +p50 +%s ms" % FIGURE,
         r"8 agents, one command in flight each, 200 commands, records of %s bytes" % FIGURE,
         r"durable commands through actors +%s/s   ratio 1\.00   batch +%s   processor +%s us, this thread +%s us"
         % ((FIGURE,) * 4),
         r"raw librdkafka producer, batches as actors' +%s/s   ratio %s   batch +%s" % ((FIGURE,) * 3))
POSTGRES = (r"live %s events/s, %s rows/s, %s changes/s" % ((FIGURE,) * 3),
            r"round trips: %s for %s batches" % ((FIGURE,) * 2))
CLUSTER = (r"\| 1 client, `ack=view` \| %s ms \| %s ms \| %s/s \|" % ((FIGURE,) * 3),
           r"\| 16 clients, `ack=log` \| %s ms \| %s ms \| %s/s \|" % ((FIGURE,) * 3),
           r"\| `ack=log` \| %s ms \| %s ms \| -?\d+\.\d+ ms \|" % ((FIGURE,) * 2),
           r"\| 2 nodes, ratio %s \| %s/s \| %s ms \| %s ms \|" % ((FIGURE,) * 4),
           r"\| SIGKILL, default settings \| 1, [1-6] agents \| %s s \| %s s \|" % ((FIGURE,) * 2),
           r"\| SIGTERM \(a planned stop\) \| 1, [1-6] agents \| %s s \| %s s \|" % ((FIGURE,) * 2),
           r"\| SIGKILL, static member, started again at once \| 1, [1-6] agents \| %s s \| %s s \|" % ((FIGURE,) * 2))
REBUILD = tuple(r"\| %s \| %s \| \d+ \| %s s \| %s \| %s \| %s s \| %s \| %s MB \|" % ((store, load) + (FIGURE,) * 6)
                for store in ("sqlite", "postgres") for load in ("quiet", "live"))


def runs(command, lines):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=SECONDS_MAX, check=False)
    printed = done.stdout.decode()
    check(done.returncode == 0, "%s must end well" % command[0], done.stderr.decode("utf-8", "replace")[-3000:])
    for line in lines:
        found = re.search(line, printed)
        check(found is not None, "%s prints a line like %r" % (command[0], line), printed)
        check(all(float(figure) > 0 for figure in found.groups()), "its figures are of something", found.group(0))
    ok("%s runs" % command[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder of the programs")
    binaries = Path(parser.parse_args().bin).resolve()
    addresses = real_services.shared().addresses()
    try:
        runs([binaries / "varve-bench-kafka", "--brokers", addresses["kafka"]["bootstrap"], "--records", 400, "--in-flight",
              64, "--single", 20, "--rounds", 1, "--commands", 200, "--agents", 8], KAFKA)
        runs([binaries / "varve-bench-postgres", "--url", addresses["postgres"]["url"], "--turns", 20, "--agents", 2,
              "--single", 5, "--rounds", 1], POSTGRES)
        runs([ROOT / "tests/bench/rebuild.py", "--bin", binaries, "--events", 2000, "--shared-services"], REBUILD)
        runs([ROOT / "tests/bench/cluster.py", "--bin", binaries, "--quick", "--shared-services"], CLUSTER)
    except Failure as failure:
        sys.exit("FAILED: %s" % failure)


if __name__ == "__main__":
    main()
