"""PostgreSQL for development and tests: a server with its own data directory and port on loopback, not the system's.

PostgreSQL refuses to run as root: then it runs as the user that Debian's package made for it. Everybody needs a
password; `varve` owns everything. Data are as safe as in production (fsync), because benchmarks run here, too.
Standard library only.
"""

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

from services_process import Server, ServicesError, arguments_of, bare_environment

VERSION = 15
BINARIES = Path(f"/usr/lib/postgresql/{VERSION}/bin")
PROGRAMS = (str(BINARIES / "postgres"), str(BINARIES / "initdb"))
UNPRIVILEGED = "postgres"
USER, PASSWORD, DATABASE = "varve", "varve", "varve"  # Of a server that nobody else can reach.
TOOL_SECONDS_MAX = 120

# ICU and JIT cost start-up time and memory; a statement that nobody waits for any more holds locks.
CONFIGURATION = """\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
shared_buffers = 64MB
dynamic_shared_memory_type = posix
max_wal_size = 1GB
checkpoint_timeout = 15min
client_connection_check_interval = 5s
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u@%d '
log_min_error_statement = panic
"""

ACCESS = """\
# TYPE  DATABASE  USER  ADDRESS       METHOD
host    all       all   127.0.0.1/32  scram-sha-256
"""


def binary(name):
    path = BINARIES / name
    if not path.exists():
        raise ServicesError(f"there is no {path} on this machine; ./dev setup installs postgresql-{VERSION}")
    return str(path)


def unprivileged():
    """Arguments of Popen that give up root; none if we are not root."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise ServicesError(f"there is no user {UNPRIVILEGED}; ./dev setup installs postgresql-{VERSION}") from None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def passable(folder):
    """Whether every user can pass through this folder and those above it."""
    return all(os.stat(part).st_mode & stat.S_IXOTH for part in [folder, *folder.parents])


def data_folder(folder):
    """Where the data go: below `folder`, or elsewhere if the unprivileged user could not get there (/root/..)."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or passable(folder):
        return folder / "data"
    mark = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"varve-postgres-{mark}" / "data"


class Postgres(Server):
    """The one server. Its children are recognised by their working directory: they have other names."""

    stop_signal = signal.SIGINT  # "Fast": ends sessions, then writes a checkpoint.

    def __init__(self, folder, log, port):
        super().__init__("postgres", folder, log)
        self.port = port
        self.data = data_folder(self.folder)
        self.half_made = self.data.with_name("data.new")

    @property
    def url(self):
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self):
        if not (self.data / "PG_VERSION").exists():
            self._make_data()
        port = f"port = {self.port}\n"
        self._write(self.data / "postgresql.conf", CONFIGURATION + port)
        self._write(self.data / "pg_hba.conf", ACCESS)
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # Of a killed one: begin() has looked for processes.

    def _make_data(self):
        """In a folder with another name, so that a crash leaves nothing that looks complete."""
        parent, half = self.data.parent, self.half_made
        parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        if os.stat(parent).st_uid not in (os.geteuid(), 0):
            raise ServicesError(f"{parent} belongs to somebody else")
        for old in (half, self.data):
            shutil.rmtree(old, ignore_errors=True)
        half.mkdir(mode=0o700)
        password = parent / "password"
        self._write(password, PASSWORD + "\n")
        self._own(half)
        self._run([binary("initdb"), "-D", str(half), "-U", USER, "--pwfile", str(password), "--encoding=UTF8",
                   "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-sync", "--no-instructions"])
        password.unlink()
        half.rename(self.data)

    def _own(self, path):
        user = unprivileged()
        if user:
            os.chown(path, user["user"], user["group"])

    def _write(self, path, content):
        path.unlink(missing_ok=True)
        path.write_text(content)
        path.chmod(0o600)
        self._own(path)

    def _run(self, command):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, cwd="/", env=bare_environment(), timeout=TOOL_SECONDS_MAX, **unprivileged())
        if done.returncode != 0:
            raise ServicesError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")

    def command(self):
        return ([binary("postgres"), "-D", str(self.data)],
                {"env": bare_environment(), "cwd": "/", **unprivileged()})

    def is_ours(self, folder):
        """Also an initdb whose starter was killed, and what it runs."""
        arguments = arguments_of(folder)
        program, folders = arguments[0], {str(self.data), str(self.half_made)}
        if program in PROGRAMS and folders.intersection(arguments):
            return True
        return program.startswith(("postgres:", *PROGRAMS)) and os.readlink(folder / "cwd") in folders

    def main_pid(self):
        """The postmaster; without it the children end by themselves."""
        pids = self.pids()
        for pid in pids:
            try:
                if str(self.data) in arguments_of(Path(f"/proc/{pid}")):
                    return pid
            except OSError:
                pass
        return None

    def fault(self):
        found = self._psql("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'")
        if found.returncode != 0:
            return found.stdout.strip() or "psql says nothing"
        if found.stdout.strip() == "1":
            return None
        made = self._psql("postgres", f"CREATE DATABASE {DATABASE}")
        return None if made.returncode == 0 else made.stdout.strip()

    def _psql(self, database, statement):
        address = f"host=127.0.0.1 port={self.port} user={USER} dbname={database} connect_timeout=2"
        try:
            return subprocess.run([binary("psql"), "-X", "-q", "-A", "-t", "-c", statement, address],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, env=bare_environment(PGPASSWORD=PASSWORD), timeout=10)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess([], 1, "no answer within 10 s")

    def sql(self, statement, database=DATABASE):
        """Rows of a statement as lines of fields with | between them; for tests."""
        done = self._psql(database, statement)
        if done.returncode != 0:
            raise ServicesError(f"{statement}: {done.stdout.strip()}")
        return done.stdout.splitlines()

    def erase(self):
        shutil.rmtree(self.data, ignore_errors=True)
        if self.data.parent != self.folder:
            shutil.rmtree(self.data.parent, ignore_errors=True)
