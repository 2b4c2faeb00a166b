#!/usr/bin/env python3
"""A PostgreSQL of one test's own, which it may hurt: postgres_own_server.h runs this as a child process.

    postgres_own_server.py FOLDER

Prints the url when the server is ready. Then one command a line, each answered by "ok" or "error: WHY":
stop, start, restart, kill, pause, resume, full PATH (the file of a relation, below the data directory: every write
to it finds no space, as /dev/full does), room PATH (undoes that). Ends, and erases everything, with its input.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "deploy"))

import services  # noqa: E402
import services_postgres  # noqa: E402


def fill(path):
    path.rename(path.with_name(path.name + ".kept"))
    path.symlink_to("/dev/full")


def empty(path):
    path.unlink()
    path.with_name(path.name + ".kept").rename(path)


def obey(server, command):
    word, _, rest = command.partition(" ")
    if word == "kill":
        server.kill()
    elif word == "full":
        fill(server.data / rest)
    elif word == "room":
        empty(server.data / rest)
    elif word in ("stop", "start", "restart", "pause", "resume"):
        getattr(server, word)()
    else:
        raise ValueError(f"no such command: {command}")


def main(folder):
    server = services_postgres.Postgres(Path(folder) / "postgres", Path(folder) / "postgres.log",
                                        services.free_ports(1)[0])
    try:
        server.start()
        print(server.url, flush=True)
        for line in sys.stdin:
            try:
                obey(server, line.strip())
                print("ok", flush=True)
            except Exception as error:  # The test says what it expected.
                print("error:", str(error).replace("\n", " "), flush=True)
    finally:
        server.kill()
        server.erase()


if __name__ == "__main__":
    main(sys.argv[1])
