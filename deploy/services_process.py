"""One server process of deploy/services.py: started, found again, paused, killed, stopped.

A server is known by what it runs on, never by a stored process id: a PID file may be missing, or may name somebody
else by now. So a crash of whoever started it leaves nothing that cannot be found, and nobody else's process is ever
signalled. Standard library only; Linux.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

POLL_SECONDS = 0.05
KILLED_SECONDS_MAX = 30  # A killed process may have to be written to disk before it is gone.


class ServicesError(Exception):
    """A service cannot be had; the text says why, for people."""


def state_of(pid):
    """The letter of /proc/PID/stat, or None: Z is a process that only waits for its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[0]


def running_pids(is_meant):
    """Ids of the living processes for whose folder in /proc `is_meant` holds."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            meant = is_meant(folder)
        except OSError:  # Gone, or another user's.
            continue
        if meant and state_of(folder.name) not in (None, "Z", "X"):
            found.append(int(folder.name))
    return sorted(found)


def arguments_of(folder):
    return (folder / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def bare_environment(**more):
    """What a server needs. The caller's variables (PGDATA, KAFKA_OPTS, sanitizers) are not its business."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "JAVA_HOME") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", **more}


def tail(path, lines=25):
    try:
        return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return str(error)


class Server:
    """Base of Broker and Postgres: they say what to run, how to recognise it, and when it is ready."""

    stop_signal = signal.SIGTERM
    start_seconds_max = 90
    stop_seconds_max = 20

    def __init__(self, name, folder, log):
        self.name = name
        self.folder = Path(folder)
        self.log = Path(log)
        self._child = None

    # -- what a server is

    def prepare(self):
        """Makes the data and writes the configuration; may be repeated."""
        raise NotImplementedError

    def command(self):
        """(arguments, further arguments of Popen)."""
        raise NotImplementedError

    def is_ours(self, folder):
        """Whether the process of this folder in /proc belongs to this server."""
        raise NotImplementedError

    def fault(self):
        """None if it does its work, else why not. Asks the server; takes a second at most."""
        raise NotImplementedError

    def main_pid(self):
        """The process that the others, if there are any, belong to; None without one."""
        pids = self.pids()
        return pids[0] if pids else None

    # -- what can be done with it

    def pids(self):
        if self._child is not None:
            self._child.poll()  # Else it stays a zombie for as long as we live.
        return running_pids(self.is_ours)

    def launch(self):
        """Starts the process and does not wait for it to be ready."""
        self.prepare()
        arguments, more = self.command()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            log.write(f"---- {self.name}: started at {time.strftime('%F %T')}\n".encode())
            log.flush()
            self._child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           start_new_session=True, **more)

    def wait_ready(self):
        deadline = time.monotonic() + self.start_seconds_max
        while True:
            fault = self.fault()
            if fault is None:
                return
            if self._child is not None and self._child.poll() is not None:
                raise ServicesError(f"{self.name} ended with code {self._child.returncode} instead of starting; "
                                    f"the end of {self.log}:\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise ServicesError(f"{self.name} is not ready after {self.start_seconds_max} s ({fault}); "
                                    f"the end of {self.log}:\n{tail(self.log)}")
            time.sleep(POLL_SECONDS)

    def start(self):
        """Ready when it returns. One that runs already and does its work is left alone."""
        if not self.begin():
            self.wait_ready()

    def begin(self):
        """start() without the waiting: True if nothing had to be done."""
        if self.pids():
            if self.fault() is None:
                return True
            self.kill()  # Paused, half started, or what a killed one left.
        self.launch()
        return False

    def stop(self):
        """In the orderly way; by force if that takes too long. Nothing to do if it does not run."""
        self.ask_to_stop()
        self.wait_stopped()

    def ask_to_stop(self):
        pid = self.main_pid()
        if pid is not None:
            signal_all([pid], self.stop_signal)
        self.resume()  # A paused one would not hear of it.

    def wait_stopped(self):
        deadline = time.monotonic() + self.stop_seconds_max
        while self.pids():
            if time.monotonic() > deadline:
                return self.kill()
            time.sleep(POLL_SECONDS)

    def kill(self):
        """SIGKILL, as a crash; returns when nothing of it is left."""
        deadline = time.monotonic() + KILLED_SECONDS_MAX
        while pids := self.pids():
            signal_all(pids, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise ServicesError(f"{self.name}: processes {pids} do not end")
            time.sleep(POLL_SECONDS)

    def restart(self):
        self.stop()
        self.start()

    def pause(self):
        """SIGSTOP: it keeps its connections and answers nothing."""
        signal_all(self.pids(), signal.SIGSTOP)

    def resume(self):
        signal_all(self.pids(), signal.SIGCONT)
