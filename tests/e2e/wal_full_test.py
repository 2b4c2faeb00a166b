#!/usr/bin/env python3
"""PostgreSQL's write-ahead log finds no space: the server panics and stays down; nothing acknowledged is lost.

    wal_full_test.py --varve build/dev/bin/varve

A server with views in a PostgreSQL of our own, whose pg_wal is a file system of 96 MiB in a mount namespace of this
process. What clients see is measured: before, while PostgreSQL is down, and when it has room and runs again.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import support
from support import check, check_equal, key, ok, poll, user_message

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))

import services  # noqa: E402
import services_postgres  # noqa: E402

WAL_MIB = 96
VIEW_WAIT_SECONDS = 5  # How long a write waits for the views (ack=view).
DOWN_SECONDS_MAX = 60
BACK_SECONDS_MAX = 60


def in_a_namespace_of_our_own():
    """Where we may mount; it ends with us. Somebody who is not root becomes himself again after the mounting."""
    if os.environ.get("VARVE_WAL_FOLDER"):
        return
    folder = support.tempfile.mkdtemp(prefix="varve-wal-")
    again = [sys.executable, "-B", os.path.abspath(__file__), *sys.argv[1:]]
    mount = 'mount -t tmpfs -o size=%dm tmpfs "$VARVE_WAL_FOLDER" && exec "$@"' % WAL_MIB
    words = ["unshare", "--mount"]
    if os.geteuid() != 0:
        words += ["--user", "--map-root-user"]
        again = ["unshare", "--user", "--map-user=%d" % os.geteuid(), "--map-group=%d" % os.getegid(), *again]
    environment = dict(os.environ, VARVE_WAL_FOLDER=folder)
    try:
        done = subprocess.run([*words, "sh", "-c", mount, "sh", *again], env=environment, check=False)
    finally:
        os.rmdir(folder)
    sys.exit(done.returncode)


class Database(services_postgres.Postgres):
    """With its write-ahead log on the small file system."""

    def __init__(self, folder, wal):
        super().__init__(Path(folder) / "postgres", Path(folder) / "postgres.log", services.free_ports(1)[0])
        self.wal = Path(wal)

    def move_wal(self):
        """While it is stopped."""
        place = self.data / "pg_wal"
        self._own(self.wal)
        self.wal.chmod(0o700)
        subprocess.run(["cp", "-a", str(place) + "/.", str(self.wal)], check=True)
        subprocess.run(["rm", "-r", str(place)], check=True)
        place.symlink_to(self.wal)

    def fill(self):
        """Nothing is left; a segment that is there has room yet."""
        room = os.statvfs(self.wal)
        with open(self.wal / "filler", "wb") as filler:
            filler.write(b"\0" * (room.f_bavail * room.f_frsize))

    def make_room(self):
        (self.wal / "filler").unlink()

    def is_down(self):
        return self.main_pid() is None

    def words(self):
        return self.log.read_text(errors="replace")

    def try_sql(self, statement):
        """Whatever comes of it."""
        self._psql(services_postgres.DATABASE, statement)


class OnPostgres(support.Server):
    """Its log in its directory, its views in PostgreSQL."""

    def __init__(self, workshop, database):
        super().__init__(workshop.binary, os.path.join(workshop.directory, "views"))
        self.views = ["--store", "postgres", "--postgres-url",
                      "postgresql://varve@127.0.0.1:%d/varve" % database.port]
        self.environment["VARVE_POSTGRES_PASSWORD"] = services_postgres.PASSWORD
        workshop.servers.append(self)

    def command(self):
        return [*super().command(), *self.views, "--migrate"]


def said_once(client, agent, texts):
    heard = [text for kind, text in support.talk_of(client, agent) if kind == "user_message"]
    return sorted(heard) == sorted(texts)


def write_until_it_is_down(client, agent, database, acknowledged):
    """Commands of a client, and rows of somebody else that fill the log sooner."""
    deadline = time.monotonic() + DOWN_SECONDS_MAX
    number = 0
    while not database.is_down():
        check(time.monotonic() < deadline, "the write-ahead log gets full", database.words()[-500:])
        number += 1
        text = "while it fills %d" % number
        answer = client.request("POST", "/v1/agents/%s/messages" % agent, user_message(text), key(agent + text))
        check_equal(answer.status, 200, "a write, which the log has (%r)" % answer)
        acknowledged.append(text)
        database.try_sql("INSERT INTO filling SELECT repeat('x', 1000) FROM generate_series(1, 4000)")
    words = database.words()
    check("PANIC" in words and "No space left on device" in words, "PostgreSQL panics", words[-1500:])
    ok("PostgreSQL panics, and is down: its recovery finds no room either")


def while_it_is_down(client, agent, acknowledged):
    began = time.monotonic()
    text = "while it is down"
    answer = client.request("POST", "/v1/agents/%s/messages" % agent, user_message(text), key(agent + text))
    took = time.monotonic() - began
    check_equal(answer.status, 200, "a write (%r)" % answer)
    acknowledged.append(text)
    check_equal(answer.headers.get("varve-view"), "behind", "what it says of the views")
    check(took < VIEW_WAIT_SECONDS + 3, "it waits for the views, and no longer", took)
    print("a write with ack=view: 200, Varve-View: behind, after %.1f s" % took, flush=True)
    began = time.monotonic()
    answer = client.request("GET", "/v1/agents/" + agent)
    check_equal(answer.status, 503, "a read (%r)" % answer)
    check(answer.headers.get("retry-after"), "a read says when to come back", answer)
    print("a read: 503 after %.1f s: %s" % (time.monotonic() - began, answer.detail()), flush=True)
    answer = client.request("GET", "/v1/ready/")
    check_equal(answer.status, 503, "/v1/ready/ (%r)" % answer)
    ok("while PostgreSQL is down: writes 200 with Varve-View: behind, reads 503, not ready")


def story(workshop, _):
    database = Database(workshop.directory, os.environ["VARVE_WAL_FOLDER"])
    try:
        database.start()
        database.stop()
        database.move_wal()
        database.start()
        database.sql("CREATE TABLE filling (row text)")
        server = OnPostgres(workshop, database).start()
        client = server.client()
        agent = support.create_agent(client, "writer", {"human": "start"})
        acknowledged = ["before"]
        client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("before"), key("before"))
        check(said_once(client, agent, acknowledged), "the views have it")
        database.fill()
        write_until_it_is_down(client, agent, database, acknowledged)
        while_it_is_down(client, agent, acknowledged)
        database.make_room()
        began = time.monotonic()
        database.start()
        poll("the views are there again, and whole", BACK_SECONDS_MAX,
             lambda: client.request("GET", "/v1/agents/" + agent).status == 200
             and said_once(client, agent, acknowledged))
        print("whole again %.1f s after the start of PostgreSQL" % (time.monotonic() - began), flush=True)
        client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("after"), key("after"))
        acknowledged.append("after")
        check(said_once(client, agent, acknowledged), "every acknowledged message is there, once")
        done = server.run_tool("verify", "--data-dir", server.data_dir, *server.views)
        check_equal(done.returncode, 0, "verify: " + done.stdout.decode() + done.stderr.decode())
        check_equal(server.terminate(), 0, "exit code after SIGTERM")
        ok("with room again everything that was acknowledged is there, once, and the views equal the log")
    finally:
        database.kill()
        database.erase()


if __name__ == "__main__":
    in_a_namespace_of_our_own()
    support.main(__doc__, story)
