#!/usr/bin/env python3
"""varve migrate against a real PostgreSQL: what it prints, and its exit codes.

    migrate_test.py --varve build/dev/bin/varve      (PostgreSQL: tests/support/services.py)
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import services  # noqa: E402

SECONDS_MAX = 120
DATABASE = f"migrate_cli_{os.getpid()}"
FIRST = "0001_control"


class Case:
    def __init__(self, varve, server):
        self.varve, self.server = varve, server
        self.url = f"postgresql://varve@127.0.0.1:{server.port}/{DATABASE}"

    def run(self, *words, url=None, password="varve", code):
        """What it printed, standard output and error together."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("VARVE_", "PG"))}
        environment["VARVE_POSTGRES_PASSWORD"] = password
        done = subprocess.run([self.varve, "migrate", "--postgres-url", url or self.url, *words], env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=SECONDS_MAX)
        assert done.returncode == code, f"{words}: exit code {done.returncode}, not {code}:\n{done.stdout}"
        return done.stdout

    def tables(self):
        return self.server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", DATABASE)[0]


def expect(text, *parts):
    for part in parts:
        assert part in text, f"'{part}' is not in:\n{text}"


def check_all(case):
    printed = case.run("--check", code=1)
    expect(printed, case.url, " lacks ", FIRST, "run varve migrate")
    assert case.tables() == "0", "--check made tables"
    expect(case.run(code=0), case.url, "is up to date now; applied ", FIRST)
    expect(case.run(code=0), "is up to date: " + FIRST)
    expect(case.run("--check", code=0), "is up to date: " + FIRST)
    print("ok: a schema is looked at, made, and found")

    case.server.sql("UPDATE schema_migrations SET checksum = checksum + 1 WHERE number = 1", DATABASE)
    expect(case.run(code=1), "another text of the migration " + FIRST)
    case.server.sql("UPDATE schema_migrations SET checksum = checksum - 1 WHERE number = 1", DATABASE)
    case.server.sql("INSERT INTO schema_migrations (number, name, checksum) VALUES (900, '0900_later', 1)", DATABASE)
    expect(case.run("--check", code=1), "newer version of Varve", "0900_later", "upgrade this program")
    case.server.sql("DELETE FROM schema_migrations WHERE number = 900", DATABASE)
    print("ok: a schema that is not ours is refused by name")

    wrong = case.run(password="s3cret-wrong", code=1)
    expect(wrong, "PostgreSQL refuses the password")
    assert "s3cret" not in wrong, wrong
    expect(case.run(url=case.url.replace(DATABASE, "nowhere"), code=1), "no such database")
    expect(case.run(url=case.url.replace(str(case.server.port), "1"), code=1), "Connection refused")
    print("ok: what an operator got wrong is said")

    for words in ((), ("--check",)):
        bare = subprocess.run([case.varve, "migrate", *words], env={"PATH": os.environ["PATH"]}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS_MAX)
        assert bare.returncode == 2, bare.stdout
        expect(bare.stdout, "--postgres-url", "embedded store migrates itself")
    print("ok: without a url it asks for one")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--varve", required=True)
    server = services.shared().postgres
    server.sql(f"CREATE DATABASE {DATABASE}")
    try:
        check_all(Case(arguments.parse_args().varve, server))
    finally:
        server.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")


if __name__ == "__main__":
    main()
