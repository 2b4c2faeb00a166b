#!/usr/bin/env python3
"""Real Kafka and PostgreSQL on loopback, for development and tests. `./dev services` calls this.

    deploy/services.py start [--brokers 3] [--fresh]     returns when both answer; leaves alone what runs
    deploy/services.py stop [--erase]                    ends what start began; may be repeated
    deploy/services.py status [--json]                   exit code 1 if something does not run
    deploy/services.py kill|restart|pause|resume NAME    postgres, kafka-1, kafka-2 ..
    deploy/services.py lock                              writes kafka/jars.sha256 after a change of kafka/pom.xml

Everything lies in one folder: $VARVE_SERVICES_DIR, or build/services. `services.json` there has the addresses, and
is there only while the services run; logs/ has what they log. Ports are free ones, chosen once. Tests that hurt
their services make their own: Services(folder). Never touches the system's PostgreSQL, never listens for other
machines, never signals a process that does not run on this folder. Standard library only.
"""

import argparse
import contextlib
import fcntl
import json
import os
import random
import shutil
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import services_kafka  # noqa: E402
import services_postgres  # noqa: E402
from services_process import POLL_SECONDS, ServicesError  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
BROKERS_MAX = 5
PORTS = range(20000, 32000)  # Below those that the kernel gives to whoever asks for any.


def default_folder():
    return Path(os.environ.get("VARVE_SERVICES_DIR") or ROOT / "build/services")


def free_ports(count):
    """So many different ports of loopback that nobody has now."""
    with contextlib.ExitStack() as held:
        ports = []
        for port in random.sample(PORTS, len(PORTS)):
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise ServicesError("there are no free ports")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Services:
    """All services of one folder, whoever started them. `brokers` and `postgres` are Servers (services_process.py)."""

    def __init__(self, folder=None):
        self.folder = Path(folder or default_folder()).resolve()
        self.settings_file = self.folder / "settings.json"  # Ports and the like, kept over a stop.
        self.addresses_file = self.folder / "services.json"
        self.logs = self.folder / "logs"
        self.brokers = []
        self.postgres = None
        self._known = None
        self._know()

    def _know(self):
        """Builds the servers that settings.json names, none without it; keeps them as long as it stays the same."""
        settings = json.loads(self.settings_file.read_text()) if self.settings_file.exists() else None
        if settings == self._known:
            return
        self._known = settings
        if settings is None:
            self.brokers, self.postgres = [], None
            return
        self.brokers = [services_kafka.Broker(node, self.folder / f"kafka-{node}", self.logs / f"kafka-{node}.log",
                                              settings["cluster_id"], settings["kafka_ports"])
                        for node in range(1, len(settings["kafka_ports"]) + 1)]
        self.postgres = services_postgres.Postgres(self.folder / "postgres", self.logs / "postgres.log",
                                                   settings["postgres_port"])

    @property
    def servers(self):
        return [*([self.postgres] if self.postgres else []), *self.brokers]

    def server(self, name):
        for server in self.servers:
            if server.name == name:
                return server
        names = ", ".join(server.name for server in self.servers) or "nothing: start them first"
        raise ServicesError(f"there is no service {name}; there is {names}")

    @property
    def bootstrap(self):
        return ",".join(broker.address for broker in self.brokers)

    # -- start

    @contextlib.contextmanager
    def _locked(self):
        """Two starts at once would fight for one folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(self, brokers=None, fresh=False):
        """Ready when it returns. Without a number: as many brokers as there were, or one."""
        if brokers is not None and not 1 <= brokers <= BROKERS_MAX:
            raise ServicesError(f"1 to {BROKERS_MAX} brokers, not {brokers}")
        with self._locked():
            if fresh:
                self._erase()
            self._know()
            if self.brokers and brokers not in (None, len(self.brokers)):
                raise ServicesError(f"the data in {self.folder} are of a cluster of {len(self.brokers)}, not of {brokers}: "
                                    "stop --erase first, or start --fresh")
            self._choose_ports(brokers or len(self.brokers) or 1)
            waiting = [server for server in self.servers if not server.begin()]
            for server in waiting:
                server.wait_ready()
            self._wait_for_all_nodes()
            self._write(self.addresses_file, self.addresses())

    def _choose_ports(self, brokers):
        """Those of last time, unless somebody took one meanwhile."""
        running = [server for server in self.servers if server.pids()]
        if self.servers and (running or all(is_free(port) for port in self._ports())):
            return
        cluster_id = self.brokers[0].cluster_id if self.brokers else services_kafka.new_cluster_id()
        names = services_kafka.PORT_NAMES
        ports = free_ports(1 + len(names) * brokers)
        kafka = [dict(zip(names, ports[1 + i * len(names):])) for i in range(brokers)]
        self._write(self.settings_file, {"cluster_id": cluster_id, "postgres_port": ports[0], "kafka_ports": kafka})
        self._know()

    def _ports(self):
        return [self.postgres.port, *(port for ports in self.brokers[0].ports for port in ports.values())]

    def _wait_for_all_nodes(self):
        nodes = [broker.node for broker in self.brokers]
        deadline = time.monotonic() + services_kafka.Broker.start_seconds_max
        for broker in self.brokers:
            while fault := broker.fault_with(nodes):
                if time.monotonic() > deadline:
                    raise ServicesError(f"{broker.name} is not ready: {fault}")
                time.sleep(POLL_SECONDS)

    @staticmethod
    def _write(path, value):
        half = path.with_suffix(".new")
        half.write_text(json.dumps(value, indent=2) + "\n")
        half.rename(path)

    # -- stop

    def stop(self, erase=False):
        with self._locked():
            self._know()
            self.addresses_file.unlink(missing_ok=True)
            if erase:
                return self._erase()
            for server in self.servers:
                server.ask_to_stop()  # All at once: the last broker would wait for a majority in vain.
            for server in self.servers:
                server.wait_stopped()

    def _erase(self):
        """By force: data that are to be removed need no orderly end."""
        self._know()
        self.addresses_file.unlink(missing_ok=True)
        for server in self.servers:
            server.kill()
        if self.postgres:
            self.postgres.erase()
        for broker in self.brokers:
            shutil.rmtree(broker.folder, ignore_errors=True)
        shutil.rmtree(self.folder / "postgres", ignore_errors=True)
        shutil.rmtree(self.logs, ignore_errors=True)
        self.settings_file.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(erase=True)

    # -- what there is

    def addresses(self):
        postgres = {"url": self.postgres.url, "host": "127.0.0.1", "port": self.postgres.port,
                    "user": services_postgres.USER, "password": services_postgres.PASSWORD,
                    "database": services_postgres.DATABASE}
        kafka = {"bootstrap": self.bootstrap, "sasl": ",".join(broker.sasl_address for broker in self.brokers),
                 "tls": ",".join(broker.tls_address for broker in self.brokers),
                 "tls_certificates": [str(broker.certificate) for broker in self.brokers],
                 "sasl_mechanism": "PLAIN", "sasl_users": services_kafka.USERS, "brokers": len(self.brokers)}
        return {"kafka": kafka, "postgres": postgres, "logs": str(self.logs)}

    def status(self):
        """addresses(), and for every server its process and whether it does its work; {} before the first start."""
        if not self.servers:
            return {}
        rows = []
        for server in self.servers:
            pid = server.main_pid()
            fault = server.fault() if pid else "not running"
            address = server.address if server in self.brokers else f"127.0.0.1:{server.port}"
            rows.append({"name": server.name, "address": address, "pid": pid, "ready": fault is None, "fault": fault,
                         "log": str(server.log)})
        return {**self.addresses(), "servers": rows}


# ---- the command line

def print_status(services, as_json):
    status = services.status()
    rows = status.get("servers", [])
    if as_json:
        print(json.dumps(status, indent=2))
    elif not rows:
        print(f"services: nothing was started in {services.folder}")
    else:
        for row in rows:
            state = f"pid {row['pid']}" if row["ready"] else row["fault"].splitlines()[-1]
            print(f"{row['name']:10} {row['address']:21} {state}")
        print(f"kafka      {status['kafka']['bootstrap']}\npostgres   {status['postgres']['url']}")
        print(f"logs       {status['logs']}")
    return 0 if rows and all(row["ready"] for row in rows) else 1


def parsed(arguments):
    parser = argparse.ArgumentParser(prog="./dev services", description="Real Kafka and PostgreSQL on loopback.")
    parser.add_argument("--folder", type=Path, help="default: $VARVE_SERVICES_DIR, or build/services")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="returns when both answer")
    start.add_argument("--brokers", type=int, metavar="N", help=f"1 to {BROKERS_MAX}, default 1")
    start.add_argument("--fresh", action="store_true", help="without the data of before")
    stop = commands.add_parser("stop", help="may be repeated")
    stop.add_argument("--erase", action="store_true", help="and removes all data")
    status = commands.add_parser("status", help="addresses and processes")
    status.add_argument("--json", action="store_true")
    for name in ("kill", "restart", "pause", "resume"):
        commands.add_parser(name).add_argument("server", help="postgres, kafka-1 ..")
    commands.add_parser("lock", help="after a change of kafka/pom.xml")
    return parser.parse_args(arguments)


def run(args):
    if args.command == "lock":
        print(f"services: {services_kafka.write_lock_file()} jars in {services_kafka.LOCK_FILE}")
        return 0
    services = Services(args.folder)
    if args.command == "status":
        return print_status(services, args.json)
    started = time.monotonic()
    if args.command == "start":
        services.start(args.brokers, args.fresh)
        print(f"services: ready after {time.monotonic() - started:.1f} s")
        return print_status(services, False)
    if args.command == "stop":
        services.stop(args.erase)
        print("services: stopped")
    else:
        getattr(services.server(args.server), args.command)()
        print(f"services: {args.command} {args.server}: done in {time.monotonic() - started:.1f} s")
    return 0


def main(arguments):
    try:
        return run(parsed(arguments))
    except ServicesError as why:
        print(f"services: {why}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
