#!/usr/bin/env python3
"""deploy/services.py with real servers: what it starts answers, what it stops is gone, and nobody else's is touched.
Starts services of its own in a temporary folder."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

from services import SCRIPT, Services, ServicesError  # noqa: E402

import kafka_wire  # noqa: E402
import services_kafka  # noqa: E402
import services_process  # noqa: E402


def run(*command, text_in=None, env=None):
    """(exit code, output) of a program."""
    done = subprocess.run(command, input=text_in, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, **(env or {})}, timeout=120)
    return done.returncode, done.stdout


def eventually(holds, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def listening_on(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


class OneOfEach(unittest.TestCase):
    """One broker and PostgreSQL, started once; each test leaves them running."""

    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="varve-services-")
        os.chmod(cls.holder.name, 0o755)
        cls.folder = Path(cls.holder.name) / "services"
        cls.addClassCleanup(cls.holder.cleanup)
        cls.services = Services(cls.folder)
        cls.addClassCleanup(lambda: cls.services.stop(erase=True))
        cls.services.start()

    def setUp(self):
        self.services.start()
        self.broker, self.postgres = self.services.brokers[0], self.services.postgres

    def command(self, *arguments):
        return run(sys.executable, "-B", str(SCRIPT), "--folder", str(self.folder), *arguments)

    def say(self, topic, text):
        code, output = run("kcat", "-P", "-b", self.broker.address, "-t", topic, "-X", "acks=all", text_in=text)
        self.assertEqual(0, code, output)

    def heard(self, topic):
        code, output = run("kcat", "-C", "-q", "-e", "-b", self.broker.address, "-t", topic)
        self.assertEqual(0, code, output)
        return output

    def test_both_answer_when_start_returns(self):
        self.assertEqual(["1"], self.postgres.sql("SELECT 1"))
        self.broker.create_topic("told", partitions=1)
        self.say("told", "once\n")
        self.assertEqual("once\n", self.heard("told"))

    def test_a_topic_that_was_removed_is_gone_and_can_be_made_again(self):
        self.broker.create_topic("again", partitions=2)
        with self.assertRaises(kafka_wire.KafkaError) as raised:
            self.broker.create_topic("again", partitions=2)
        self.assertEqual(kafka_wire.TOPIC_EXISTS, raised.exception.code)
        self.broker.delete_topic("again")
        self.broker.create_topic("again", partitions=3, config={"retention.ms": -1})
        with self.broker.connect() as connection:
            self.assertEqual([0, 1, 2], sorted(connection.metadata("again")[2]["again"]))

    def test_the_broker_makes_no_topic_by_itself(self):
        code, output = run("kcat", "-P", "-b", self.broker.address, "-t", "misspelt", "-X", "message.timeout.ms=3000",
                           text_in="x\n")
        self.assertEqual(1, code, output)

    def test_a_wrong_password_is_refused_by_postgresql(self):
        address = f"host=127.0.0.1 port={self.postgres.port} user=varve dbname=varve"
        code, output = run("psql", "-X", "-c", "SELECT 1", address, env={"PGPASSWORD": "guess"})
        self.assertEqual(2, code, output)
        self.assertIn("password authentication failed", output)

    def sasl(self, user, password, *arguments, text_in=None):
        return run("kcat", "-b", self.broker.sasl_address, "-X", "security.protocol=SASL_PLAINTEXT", "-X",
                   "sasl.mechanisms=PLAIN", "-X", f"sasl.username={user}", "-X", f"sasl.password={password}",
                   "-X", "message.timeout.ms=5000", *arguments, text_in=text_in)

    def test_a_stranger_may_log_in_to_kafka_and_do_nothing(self):
        self.broker.create_topic("secret", partitions=1)
        code, output = self.sasl("varve", "varve-sasl", "-P", "-t", "secret", text_in="x\n")
        self.assertEqual(0, code, output)
        code, output = self.sasl("stranger", "stranger-sasl", "-P", "-t", "secret", text_in="x\n")
        self.assertEqual(1, code, output)
        self.assertIn("authorization failed", output.lower())
        code, output = self.sasl("varve", "guess", "-L")
        self.assertEqual(1, code, output)

    def test_tls_needs_trust(self):
        listen = ["-L", "-b", self.broker.tls_address, "-X", "security.protocol=SASL_SSL", "-X", "sasl.mechanisms=PLAIN",
                  "-X", "sasl.username=varve", "-X", "sasl.password=varve-sasl", "-m", "3"]
        code, output = run("kcat", *listen, "-X", f"ssl.ca.location={self.broker.certificate}")
        self.assertEqual(0, code, output)
        code, output = run("kcat", *listen)
        self.assertEqual(1, code, output)
        self.assertIn("certificate verify failed", output)

    def test_data_survive_a_stop_and_stopping_twice_is_no_fault(self):
        self.broker.create_topic("kept", partitions=1)
        self.say("kept", "still here\n")
        self.postgres.sql("CREATE TABLE kept AS SELECT 7 AS n")
        for _ in range(2):
            self.assertEqual((0, "services: stopped\n"), self.command("stop"))
            self.assertEqual([], self.broker.pids() + self.postgres.pids())
            self.assertFalse((self.folder / "services.json").exists())
        self.assertEqual(1, self.command("status")[0])
        self.assertEqual(0, self.command("start")[0])
        self.assertEqual(["7"], self.postgres.sql("SELECT n FROM kept"))
        self.assertEqual("still here\n", self.heard("kept"))

    def test_what_runs_is_left_alone(self):
        before = [self.broker.main_pid(), self.postgres.main_pid()]
        code, output = self.command("start")
        self.assertEqual(0, code, output)
        self.assertEqual(before, [self.broker.main_pid(), self.postgres.main_pid()])

    def test_a_crash_is_repaired_by_the_next_start(self):
        self.broker.create_topic("crash", partitions=1)
        self.say("crash", "before\n")
        self.broker.kill()
        self.postgres.kill()
        code, output = self.command("status")
        self.assertEqual((1, 2), (code, output.count("not running")), output)
        self.services.start()
        self.assertEqual("before\n", self.heard("crash"))
        self.assertEqual(["1"], self.postgres.sql("SELECT 1"))

    def test_a_paused_server_is_seen_and_replaced(self):
        self.postgres.pause()
        self.assertIsNotNone(self.postgres.fault())
        self.postgres.resume()
        self.assertIsNone(self.postgres.fault())
        self.broker.pause()
        self.assertIsNotNone(self.broker.fault())
        self.services.start()
        self.assertIsNone(self.broker.fault())

    def test_postgresql_whose_children_outlive_it_starts_again(self):
        os.kill(self.postgres.main_pid(), signal.SIGKILL)
        self.postgres.start()
        self.assertEqual(["1"], self.postgres.sql("SELECT 1"))

    def test_another_number_of_brokers_is_refused(self):
        code, output = self.command("start", "--brokers", "3")
        self.assertEqual(1, code)
        self.assertIn("are of a cluster of 1, not of 3", output)
        self.assertIn("1 to 5 brokers, not 9", self.command("start", "--brokers", "9")[1])
        self.assertIn("there is no service kafka-2", self.command("kill", "kafka-2")[1])

    def test_those_of_another_folder_are_not_touched(self):
        other = Services(self.folder.with_name("services-other"))
        other.stop()
        other.stop(erase=True)
        self.assertEqual({}, other.status())
        self.assertEqual([], [server["name"] for server in self.services.status()["servers"] if not server["ready"]])

    def test_a_folder_whose_name_only_begins_alike_is_another(self):
        other = services_kafka.Broker(1, self.broker.folder.with_name("kafka-11"), self.folder / "log", "", [])
        self.assertEqual([], other.pids())
        self.assertNotEqual([], self.broker.pids())


class FromNothing(unittest.TestCase):
    """Starts that begin with an empty or a spoilt folder."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="varve-services-")
        os.chmod(holder.name, 0o755)
        self.addCleanup(holder.cleanup)
        self.services = Services(Path(holder.name) / "services")
        self.addCleanup(lambda: self.services.stop(erase=True))

    def test_a_start_that_was_killed_in_the_middle_is_begun_again(self):
        folder = self.services.folder
        for mark in (folder / "postgres/data.new", folder / "kafka-1/server.properties"):
            with open(os.devnull, "wb") as nothing:
                starter = subprocess.Popen([sys.executable, "-B", str(SCRIPT), "--folder", str(folder), "start"],
                                           stdout=nothing, stderr=nothing, start_new_session=True)
            self.assertTrue(eventually(mark.exists), f"{mark} did not appear")
            starter.kill()
            starter.wait()
        self.services.start()
        self.assertIsNone(self.services.brokers[0].fault())
        self.assertEqual(["1"], self.services.postgres.sql("SELECT 1"))

    def test_three_brokers_go_on_without_one(self):
        self.services.start(brokers=3)
        first, second, _ = self.services.brokers
        second.create_topic("majority", partitions=3)
        first.kill()
        with second.connect() as connection:  # Every partition gets a leader among the living ..
            self.assertTrue(eventually(
                lambda: set(connection.metadata("majority")[2]["majority"].values()) <= {2, 3}))
        code, output = run("kcat", "-P", "-b", self.services.bootstrap, "-t", "majority", "-X", "acks=all",
                           text_in="x\n" * 30)  # .. and takes what two of three have.
        self.assertEqual(0, code, output)
        first.start()
        self.assertIsNone(first.fault_with([1, 2, 3]))

    def test_a_port_that_somebody_took_is_replaced(self):
        self.services.start()
        self.services.postgres.sql("CREATE TABLE kept AS SELECT 7 AS n")
        self.services.stop()
        old = self.services.postgres.port
        with listening_on(old):
            self.services.start()
            self.assertNotEqual(old, self.services.postgres.port)
            self.assertEqual(["7"], self.services.postgres.sql("SELECT n FROM kept"))


class Parts(unittest.TestCase):
    """What needs no server."""

    def test_a_jar_with_other_bytes_is_refused(self):
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "a.jar").write_bytes(b"not what was locked")
            lock = Path(name) / "jars.sha256"
            lock.write_text("# A comment.\n" + "0" * 64 + "  a.jar\n")
            with mock.patch.multiple(services_kafka, REPOSITORY=Path(name), LOCK_FILE=lock):
                with self.assertRaisesRegex(ServicesError, "remove it to fetch it again"):
                    services_kafka.class_path()

    def test_the_lock_file_names_the_version_of_the_pom(self):
        names = [rel for _, rel in services_kafka.locked_jars()]
        pom = (ROOT / "deploy/kafka/pom.xml").read_text()
        self.assertIn("<version>4.1.0</version>", pom)
        for jar in ("kafka_2.13", "kafka-tools"):
            self.assertIn(f"org/apache/kafka/{jar}/4.1.0/{jar}-4.1.0.jar", names)

    def test_a_zombie_does_not_count_as_running(self):
        child = subprocess.Popen(["sleep", "1000.25"])
        sleeps = lambda folder: services_process.arguments_of(folder)[:2] == ["sleep", "1000.25"]  # noqa: E731
        self.assertTrue(eventually(lambda: child.pid in services_process.running_pids(sleeps)))
        child.kill()
        self.assertTrue(eventually(lambda: child.pid not in services_process.running_pids(sleeps)))
        child.wait()


if __name__ == "__main__":
    unittest.main(verbosity=2)
