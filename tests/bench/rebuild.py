#!/usr/bin/env python3
"""Measures `varve projections rebuild` on SQLite and on PostgreSQL against the raw loading of the same rows into the same
tables, in the same run, and prints tables for docs/benchmarks.md.

    ./dev bench rebuild [--events 5000000]        builds release, then runs this
    tests/bench/rebuild.py --bin build/release/bin [--events N] [--jobs 4] [--stores sqlite postgres] [--folder DIR]

The log is written first (not measured): agents that talk, call tools, change blocks and tags and trim their contexts.
Then for each store

quiet   the tool rebuilds the views while nobody uses them, and
        the bound: PostgreSQL: COPY of the same rows into tables without indexes by as many connections, then the same
        keys and indexes, as many at a time; SQLite: prepared inserts and the search index, without a journal, then the same
        indexes
live    the same beside a server with clients: two write, two read pages that may not go back, and none may fail

Ratio: time of the bound / time of the rebuild, which also reads and decodes the log, folds, sums, proves every row and
switches. Memory: the peak of the process that rebuilds (the tool; with SQLite and a server that one). The default of 20,000
events shows that it runs; its figures mean nothing.
"""

import argparse
import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

import support  # noqa: E402
from cluster_nodes import real_services  # noqa: E402
from support import Background, Failure, check, create_agent, poll, user_message  # noqa: E402

PARTITIONS = 4
WRITES_PER_SECOND = 10
GRACE_SECONDS = 1
FIRST_SECONDS_MAX = 3600
TOOL_SECONDS_MAX = 3600
MEMORY = "SET maintenance_work_mem = '256MB'"

# The statements that make what these tables have, in the tables of bench_raw; the largest first.
KEYS = """SELECT 'ALTER TABLE bench_raw.' || relname || ' ADD ' || pg_get_constraintdef(c.oid) FROM pg_constraint c
  JOIN pg_class t ON t.oid = conrelid WHERE contype = 'p' AND t.relnamespace = '%s'::regnamespace
  ORDER BY pg_relation_size(t.oid) DESC"""
INDEXES = """SELECT regexp_replace(regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ON ', 'INDEX ON '), '%s',
  'bench_raw') FROM pg_index i JOIN pg_class t ON t.oid = indrelid WHERE NOT indisprimary AND
  t.relnamespace = '%s'::regnamespace ORDER BY pg_relation_size(t.oid) DESC"""


def note(what):
    print(what, file=sys.stderr, flush=True)


class Measured:
    """A rebuild that has ended: seconds, phases, memory."""

    def __init__(self, seconds, phases, said, peak):
        self.seconds, self.phases, self.peak = seconds, phases, peak
        self.rows = int(re.search(r"(\d+) row changes", said).group(1))


def run_rebuild(command, environment):
    """Runs the tool, times what it says on standard error. The peak is of the tool itself."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=environment, text=True)
    phases, errors = {}, []
    for line in process.stderr:
        errors.append(line)
        seen = re.match(r"generation \d+: ([a-z ]+)", line)
        if seen:
            phases.setdefault(seen.group(1).strip(), time.monotonic() - begun)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    check(process.returncode == 0 and "verified" in said, "the rebuild ends well",
          (process.returncode, "".join(errors)[-2000:]))
    # What waits for readers of the old generation is chosen, not cost.
    if "waiting for readers of the old generation" in phases:
        seconds = phases["waiting for readers of the old generation"]
    return Measured(seconds, phases, said, usage.ru_maxrss * 1024)


class Clients:
    """Two write, two read the pages of agents of their own, until stop(). A failure or a step back is raised there."""

    def __init__(self, server):
        self.over = threading.Event()
        self.reads = self.writes = 0
        client = server.client()
        self.agents = [create_agent(client, "live-%d" % number, {"human": "h"}) for number in range(4)]
        client.close()
        self.work = [Background(lambda: self.write(server)) for _ in range(2)] + \
                    [Background(lambda: self.read(server)) for _ in range(2)]

    def write(self, server):
        client = server.client()
        while not self.over.wait(2 / WRITES_PER_SECOND):
            client.expect(200, "POST", "/v1/agents/%s/messages" % self.agents[self.writes % 4], user_message("still there?"))
            self.writes += 1
        client.close()

    def read(self, server):
        client = server.client()
        newest = dict.fromkeys(self.agents, 0)
        while not self.over.wait(0.02):
            for agent in self.agents:
                got = len(client.expect(200, "GET", "/v1/agents/%s/messages?order=asc&limit=100000" % agent).json)
                check(got >= newest[agent], "a read must not go back (%d of %d messages)" % (got, newest[agent]))
                newest[agent] = got
                self.reads += 1
        client.close()

    def stop(self):
        self.over.set()
        for one in self.work:
            one.result()
        return "%d reads and %d writes, none failed, none went back" % (self.reads, self.writes)


def peak_of(pid):
    for line in Path("/proc/%d/status" % pid).read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


class OnSqlite:
    name = "sqlite"

    def __init__(self, bench):
        self.bench = bench
        self.raw_path = os.path.join(bench.folder, "raw.db")

    def words(self):
        return []

    environment = {}

    def prepare(self):
        pass

    def raw(self):
        views = sorted(Path(self.bench.data).glob("views-*.db"))
        cost = self.bench.helper("raw", "--from", str(views[-1]), "--to", self.raw_path)
        os.remove(self.raw_path)
        return cost["seconds"]

    def rebuild_beside(self, server):
        done = self.bench.rebuild(self, "--server", server.base, "--grace", str(GRACE_SECONDS))
        done.peak = peak_of(server.process.pid)
        return done

    def erase(self):
        for path in Path(self.bench.data).glob("views-*"):
            path.unlink()


class OnPostgres:
    name = "postgres"

    def __init__(self, bench):
        self.bench = bench
        self.database = "rebuild_%d" % os.getpid()
        self.copies = os.path.join(bench.folder, "copies")
        self.postgres = bench.services.postgres
        self.url = "postgresql://varve@127.0.0.1:%d/%s" % (self.postgres.port, self.database)
        password = bench.services.addresses()["postgres"]["password"]
        self.environment = {"VARVE_POSTGRES_PASSWORD": password, "PGPASSWORD": password}

    def words(self):
        return ["--store", "postgres", "--postgres-url", self.url]

    def psql(self, *statements, stdin=None, stdout=None):
        command = [real_services.module.services_postgres.binary("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        for statement in statements:
            command += ["-c", statement]
        done = subprocess.run([*command, self.url], stdin=stdin or subprocess.DEVNULL, stdout=stdout or subprocess.PIPE,
                              stderr=subprocess.PIPE, env={**os.environ, **self.environment}, check=False)
        check(done.returncode == 0, "psql must work: %s" % (statements,), done.stderr)
        return done.stdout.decode().splitlines() if stdout is None else None

    def prepare(self):
        self.postgres.sql("CREATE DATABASE " + self.database)
        done = subprocess.run([self.bench.varve, "migrate", "--postgres-url", self.url], env=self.bench.environment(self),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        check(done.returncode == 0, "varve migrate must work", done.stdout)
        self.psql("SELECT make_generation(1, 1)", "SELECT show_first_generation(1)")

    def schema(self):
        return "varve_views_" + self.psql("SELECT number FROM varve_live.generation")[0]

    def pieces(self, schema):
        """(table, file) of all rows, the largest first; long ones in as many parts as there are connections."""
        os.makedirs(self.copies, exist_ok=True)
        found = []
        for table in self.psql("SELECT relname FROM pg_class WHERE relnamespace = '%s'::regnamespace AND relkind = 'r'"
                               % schema):
            path = os.path.join(self.copies, table)
            with open(path, "wb") as out:
                self.psql("COPY %s.%s TO STDOUT" % (schema, table), stdout=out)
            if os.path.getsize(path) > 1 << 20:
                subprocess.run(["split", "-n", "l/%d" % self.bench.jobs, path, path + "."], check=True)
                os.remove(path)
        for path in Path(self.copies).iterdir():
            found.append((path.stat().st_size, path.name.split(".")[0], str(path)))
        return [(table, path) for _, table, path in sorted(found, reverse=True)]

    def raw(self):
        schema = self.schema()
        pieces = self.pieces(schema)
        tables = sorted({table for table, _ in pieces})
        keys = self.psql(KEYS % schema)
        indexes = self.psql(INDEXES % (schema, schema))
        self.psql("CREATE SCHEMA bench_raw", *("CREATE TABLE bench_raw.%s (LIKE %s.%s)" % (table, schema, table)
                                               for table in tables))
        begun = time.monotonic()
        self.side_by_side(pieces, self.copy_in)
        copied = time.monotonic()
        self.side_by_side(indexes + keys, lambda statement: self.psql(MEMORY, statement))
        ended = time.monotonic()
        note("  raw: COPY %.1f s, indexes %.1f s" % (copied - begun, ended - copied))
        self.psql("DROP SCHEMA bench_raw CASCADE")
        for path in Path(self.copies).iterdir():
            path.unlink()
        return ended - begun

    def copy_in(self, piece):
        table, path = piece
        with open(path, "rb") as rows:
            self.psql("SET synchronous_commit = off; COPY bench_raw.%s FROM STDIN" % table, stdin=rows)

    def side_by_side(self, items, work):
        left = queue.Queue()
        for item in items:
            left.put(item)

        def take():
            with contextlib.suppress(queue.Empty):
                while True:
                    work(left.get_nowait())

        for one in [Background(take) for _ in range(self.bench.jobs)]:
            one.result(TOOL_SECONDS_MAX)

    def rebuild_beside(self, _):
        return self.bench.rebuild(self, "--grace", str(GRACE_SECONDS))

    def erase(self):
        self.postgres.sql("DROP DATABASE IF EXISTS %s WITH (FORCE)" % self.database)


class BenchServer(support.Server):
    def __init__(self, bench, store):
        super().__init__(bench.varve, bench.data)
        self.environment.update(store.environment)
        self.more = store.words()
        bench.servers.append(self)

    def command(self):
        return [*super().command(), "--drain-timeout", "5", *self.more]

    def wait_healthy(self):
        poll("the server is ready (its log: %s)" % self.log_path, FIRST_SECONDS_MAX,
             lambda: self.running() and support.answers(self.port, "/v1/agents/?limit=1"), pause=0.2)


class Bench:
    def __init__(self, chosen, folder, services):
        self.chosen, self.folder, self.services = chosen, folder, services
        self.jobs = chosen.jobs
        self.varve = os.path.join(chosen.bin, "varve")
        self.data = os.path.join(folder, "data")
        self.servers = []

    def helper(self, *words):
        done = subprocess.run([os.path.join(self.chosen.bin, "varve-bench-rebuild"), *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, check=False)
        check(done.returncode == 0, "varve-bench-rebuild %s must work" % words[0])
        return json.loads(done.stdout)

    def environment(self, store):
        return {**support.clean_environment(), **store.environment}

    def rebuild(self, store, *more):
        command = [self.varve, "projections", "rebuild", "--data-dir", self.data, "--jobs", str(self.jobs),
                   *store.words(), *more]
        done = run_rebuild(command, self.environment(store))
        note("  rebuild: %.1f s; phases begin at %s" % (done.seconds, {k: round(v, 1) for k, v in done.phases.items()}))
        return done

    def row(self, store, load, done, bound):
        # A change is a row or its closing; both are written.
        print("| %s | %s | %d | %.2f s | %.0f | %.0f | %.2f s | %.3f | %.0f MB |"
              % (store.name, load, self.events, done.seconds, self.events / done.seconds, done.rows / done.seconds, bound,
                 bound / done.seconds, done.peak / 1e6), flush=True)

    def run(self, store):
        store.prepare()
        note("%s, quiet" % store.name)
        self.row(store, "quiet", self.rebuild(store, "--grace", "0"), store.raw())
        if self.chosen.quiet:
            return
        note("%s, live" % store.name)
        server = BenchServer(self, store).start()
        clients = Clients(server)
        done = store.rebuild_beside(server)
        bound = store.raw()
        said = clients.stop()
        server.stop_for_good()
        self.row(store, "live", done, bound)
        note("  " + said)
        check(clients.reads > 0 and clients.writes > 0, "clients were at work", said)

    def measure(self):
        stores = {"sqlite": OnSqlite, "postgres": OnPostgres}
        written = self.helper("log", "--directory", self.data, "--events", str(self.chosen.events), "--agents",
                              str(max(20, self.chosen.events // 5000)), "--partitions", str(PARTITIONS))
        self.events = written["events"]
        note("log: %(events)d events in %(records)d records, written in %(seconds).1f s" % written)
        print("| store | load | events | rebuild | events/s | changes/s | raw load | ratio | peak memory |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name in self.chosen.stores:
            store = stores[name](self)
            try:
                self.run(store)
            finally:
                for server in self.servers:
                    server.stop_for_good()
                store.erase()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(ROOT / "build/release/bin"), help="folder of the programs")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, default=4, help="partitions, connections and indexes at a time")
    parser.add_argument("--stores", nargs="+", choices=("sqlite", "postgres"), default=["sqlite", "postgres"])
    parser.add_argument("--folder", help="where the data go; 5 million events need 12 GB (default: a temporary one)")
    parser.add_argument("--quiet", action="store_true", help="without the part beside clients")
    parser.add_argument("--shared-services", action="store_true", help="PostgreSQL of $VARVE_SERVICES, not one of its own")
    chosen = parser.parse_args()
    chosen.bin = os.path.abspath(chosen.bin)
    try:
        with contextlib.ExitStack() as open_things:
            if chosen.folder:
                os.makedirs(chosen.folder, exist_ok=True)
            folder = open_things.enter_context(tempfile.TemporaryDirectory(prefix="varve-rebuild-", dir=chosen.folder))
            os.chmod(folder, 0o755)  # PostgreSQL runs as another user.
            services = None
            if "postgres" in chosen.stores and chosen.shared_services:
                services = real_services.shared()
            elif "postgres" in chosen.stores:
                services = open_things.enter_context(real_services.Services(os.path.join(folder, "services")))
                services.start()
            Bench(chosen, folder, services).measure()
    except Failure as failure:
        sys.exit("FAILED: %s" % failure)


if __name__ == "__main__":
    main()
