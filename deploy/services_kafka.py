"""Apache Kafka for development and tests: brokers in KRaft mode on loopback, from jars that kafka/pom.xml names.

A broker has a plaintext listener, on which everybody may do everything, and two with SASL/PLAIN, the second inside
TLS, on which the user `varve` may do everything and `stranger` may log in and do nothing. Topics are made by who
needs them, never by the broker. Small on purpose: 256 MiB of heap. Standard library only.
"""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import kafka_wire
from services_process import POLL_SECONDS, Server, ServicesError, arguments_of, bare_environment

HERE = Path(__file__).resolve().parent / "kafka"
REPOSITORY = Path.home() / ".m2/repository"
LOCK_FILE = HERE / "jars.sha256"
FETCH_SECONDS_MAX = 900
TOOL_SECONDS_MAX = 120
CONTROLLERS_MAX = 3
PORT_NAMES = ("client", "controller", "sasl", "tls")
CERTIFICATE_DAYS = 3650
USERS = {"varve": "varve-sasl", "stranger": "stranger-sasl"}  # Of brokers that nobody else can reach.

LOCK_COMMENT = """\
# SHA-256 of each jar of the class path, in its order, below Maven's repository.
# After a change of pom.xml: deploy/services.py lock
"""

COMMON = """\
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SASL_SSL
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=PLAIN
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:varve
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
# A first join of a group waits this long for others, which tests would have to wait for, too.
group.initial.rebalance.delay.ms=0
# A broker that was killed may not come back before its predecessor's session is over.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=2
share.coordinator.state.topic.num.partitions=2
# The buffer of the cleaner is taken from the heap at the start; its default is half of ours.
offsets.topic.segment.bytes=4194304
log.cleaner.dedupe.buffer.size=8388608
"""

JAVA = ["-Xms96m", "-Xmx256m", "-XX:+UseSerialGC", "-Xshare:auto", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"]


# ---- jars

def needed(program):
    if shutil.which(program) is None:
        raise ServicesError(f"there is no {program} on this machine; ./dev setup installs it")


def maven(*arguments):
    needed("mvn")
    command = ["mvn", "-q", "-B", f"-Dmaven.repo.local={REPOSITORY}", "-f", str(HERE / "pom.xml"), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=FETCH_SECONDS_MAX)
    if done.returncode != 0:
        raise ServicesError(f"maven could not fetch Kafka:\n{done.stdout[-2000:]}")


def locked_jars():
    """[(sha256, path below the repository)] in the order of the class path."""
    lines = LOCK_FILE.read_text().splitlines()
    return [tuple(line.split("  ", 1)) for line in lines if line and not line.startswith("#")]


def class_path():
    """The jars in Maven's cache, fetched if one is missing, refused if one has other bytes."""
    needed("java")
    jars = [(digest, REPOSITORY / rel) for digest, rel in locked_jars()]
    if not all(jar.exists() for _, jar in jars):
        maven("dependency:resolve")
    for digest, jar in jars:
        if not jar.exists():
            raise ServicesError(f"maven did not fetch {jar}; kafka/pom.xml and kafka/jars.sha256 differ")
        seen = hashlib.sha256(jar.read_bytes()).hexdigest()
        if seen != digest:
            raise ServicesError(f"{jar} has sha256 {seen}, not {digest}; remove it to fetch it again")
    return ":".join(str(jar) for _, jar in jars)


def write_lock_file():
    """Asks Maven for the class path of pom.xml and writes down what it consists of."""
    output = REPOSITORY / "varve-kafka.classpath"
    maven("dependency:build-classpath", f"-Dmdep.outputFile={output}")
    jars = [Path(jar) for jar in output.read_text().strip().split(":")]
    output.unlink()
    rows = [f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.relative_to(REPOSITORY)}" for jar in jars]
    LOCK_FILE.write_text(LOCK_COMMENT + "\n".join(rows) + "\n")
    return len(rows)


# ---- brokers

class Broker(Server):
    """Node `node` of a cluster. `ports` is the whole cluster's: [{name: port}] by node, names as in PORT_NAMES."""

    def __init__(self, node, folder, log, cluster_id, ports):
        super().__init__(f"kafka-{node}", folder, log)
        self.node = node
        self.cluster_id = cluster_id
        self.ports = ports
        self.config = self.folder / "server.properties"
        self.formatted = self.folder / "formatted"
        self.jars = None

    @property
    def address(self):
        return f"127.0.0.1:{self.ports[self.node - 1]['client']}"

    @property
    def sasl_address(self):
        return f"127.0.0.1:{self.ports[self.node - 1]['sasl']}"

    @property
    def tls_address(self):
        return f"127.0.0.1:{self.ports[self.node - 1]['tls']}"

    @property
    def certificate(self):
        """What clients of the TLS listener must trust: it signed itself."""
        return self.folder / "certificate.pem"

    def controllers(self):
        """Three or more brokers agree by a majority of three, so that one may be killed; fewer have one controller."""
        return range(1, (CONTROLLERS_MAX if len(self.ports) >= CONTROLLERS_MAX else 1) + 1)

    def configuration(self):
        mine, count = self.ports[self.node - 1], min(len(self.ports), 3)
        listeners = {"CLIENT": mine["client"], "SASL": mine["sasl"], "TLS": mine["tls"]}
        advertised = ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())
        roles = "broker"
        if self.node in self.controllers():
            listeners["CONTROLLER"] = mine["controller"]
            roles += ",controller"
        users = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
        login = f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        rows = {
            "process.roles": roles,
            "node.id": self.node,
            "controller.quorum.voters": ",".join(
                f"{node}@127.0.0.1:{self.ports[node - 1]['controller']}" for node in self.controllers()),
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
            "advertised.listeners": advertised,
            "log.dirs": self.folder / "data",
            "default.replication.factor": count,
            "min.insync.replicas": min(count, 2),
            "offsets.topic.replication.factor": count,
            "transaction.state.log.replication.factor": count,
            "transaction.state.log.min.isr": min(count, 2),
            "share.coordinator.state.topic.replication.factor": count,
            "share.coordinator.state.topic.min.isr": min(count, 2),
            "listener.name.sasl.plain.sasl.jaas.config": login,
            "listener.name.tls.plain.sasl.jaas.config": login,
            "listener.name.tls.ssl.keystore.type": "PEM",
            "listener.name.tls.ssl.keystore.location": self.folder / "key-and-certificate.pem",
        }
        return COMMON + "".join(f"{key}={value}\n" for key, value in rows.items())

    def prepare(self):
        self.jars = self.jars or class_path()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self.configuration())
        if not self.certificate.exists():
            self._make_certificate()
        if not self.formatted.exists():
            shutil.rmtree(self.folder / "data", ignore_errors=True)  # Half of a format is worth nothing.
            self.tool("kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", str(self.config))
            self.formatted.write_text("")

    def _make_certificate(self):
        needed("openssl")
        key, half, both = (self.folder / name for name in ("key.new", "certificate.new", "key-and-certificate.pem"))
        done = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
             "-out", half, "-days", str(CERTIFICATE_DAYS), "-subj", "/CN=127.0.0.1",
             "-addext", "subjectAltName=IP:127.0.0.1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        if done.returncode != 0:
            raise ServicesError(f"openssl made no certificate:\n{done.stdout}")
        both.write_text(key.read_text() + half.read_text())
        key.unlink()
        half.rename(self.certificate)  # Last: its being there says that all of it is.

    def tool(self, main_class, *arguments):
        """Runs one of Kafka's own programs and returns its output."""
        self.jars = self.jars or class_path()
        short_lived = ["-XX:TieredStopAtLevel=1"]
        done = subprocess.run(["java", *JAVA, *short_lived, "-cp", self.jars, main_class, *arguments],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=bare_environment(), timeout=TOOL_SECONDS_MAX)
        if done.returncode != 0:
            raise ServicesError(f"{main_class} {' '.join(arguments)} failed:\n{done.stdout[-3000:]}")
        return done.stdout

    def command(self):
        return ["java", *JAVA, "-cp", self.jars, "kafka.Kafka", str(self.config)], {"env": bare_environment()}

    def is_ours(self, folder):
        """Also a formatting tool whose starter was killed."""
        arguments = arguments_of(folder)
        return arguments[0] == "java" and str(self.config) in arguments

    def connect(self, seconds=1.0):
        return kafka_wire.Connection(self.address, seconds)

    def fault(self):
        return self.fault_with(())

    def fault_with(self, others):
        """None if it leads what it should and knows these other nodes."""
        try:
            with self.connect() as connection:
                nodes, controller, _ = connection.metadata()
                missing = {self.node, *others} - set(nodes)
                if missing or controller < 0:
                    return f"it does not know of node {min(missing)}" if missing else "there is no controller"
                connection.init_producer_id()
                connection.find_coordinator("varve-services")  # Makes the topic of offsets.
                _, _, topics = connection.metadata("__consumer_offsets")
                leaders = list(topics.get("__consumer_offsets", {}).values())
                return None if leaders and min(leaders) >= 0 else "the offsets have no leader"
        except (OSError, kafka_wire.KafkaError) as error:
            return str(error)

    # -- topics

    def create_topic(self, name, partitions=4, replication=None, config=None, seconds=30.0):
        """Returns when all partitions have a leader that this broker knows of."""
        replication = replication or min(len(self.ports), 3)
        with self.connect(seconds) as connection:
            connection.create_topic(name, partitions, replication, config or {}, int(seconds * 1000))
            self._until(seconds, lambda: self._leads(connection, name, partitions), f"topic {name} has no leaders")

    def delete_topic(self, name, seconds=30.0):
        """Returns when this broker has forgotten it."""
        with self.connect(seconds) as connection:
            connection.delete_topic(name, int(seconds * 1000))
            self._until(seconds, lambda: name not in connection.metadata(name)[2], f"topic {name} stays")

    @staticmethod
    def _leads(connection, name, partitions):
        leaders = connection.metadata(name)[2].get(name, {})
        return len(leaders) == partitions and min(leaders.values()) >= 0

    @staticmethod
    def _until(seconds, holds, complaint):
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise ServicesError(f"{complaint} after {seconds} s")
            time.sleep(POLL_SECONDS)


def new_cluster_id():
    """A UUID as Kafka writes it: 22 characters of URL-safe base64."""
    import base64
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=").replace("-", "A")
