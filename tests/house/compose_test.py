#!/usr/bin/env python3
"""deploy/: the compose file is valid for Debian's docker-compose 1.29 and for Compose v2 where that is installed, opens
no port to other machines, and names no image, metric or variable that cannot be replaced or does not exist."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
SUFFIXES = r"_(?:bucket|sum|count)$"


def composes():
    """The programs that read compose files here: at least one."""
    found = [[name] for name in ("docker-compose",) if shutil.which(name)]
    plugin = ["docker", "compose"]
    if shutil.which("docker") and subprocess.run([*plugin, "version"], stdout=subprocess.DEVNULL,
                                                 stderr=subprocess.DEVNULL).returncode == 0:
        found.append(plugin)
    return found


def config(program, *arguments, env_file=DEPLOY / ".env.example", env=None):
    done = subprocess.run([*program, "-f", str(COMPOSE), "--env-file", str(env_file), "config", *arguments],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", **(env or {})}, timeout=60)
    return done.returncode, done.stdout


def blocks(heading):
    """{name: text} of what stands below a heading of the compose file."""
    below = re.search(rf"(?ms)^{heading}:\n(.*?)(?=^\S|\Z)", COMPOSE.read_text()).group(1)
    parts = re.split(r"(?m)^  ([a-z][\w-]*):", below)
    return dict(zip(parts[1::2], parts[2::2]))


class Compose(unittest.TestCase):
    def test_is_valid(self):
        self.assertNotEqual([], composes(), "there is no docker-compose; ./dev setup installs it")
        for program in composes():
            with self.subTest(program=program):
                code, output = config(program, "--quiet")
                self.assertEqual(0, code, output)

    def test_secrets_must_be_chosen(self):
        with tempfile.NamedTemporaryFile() as empty:
            for program in composes():
                code, output = config(program, "--quiet", env_file=empty.name)
                self.assertNotEqual(0, code)
                self.assertIn("see deploy/.env.example", output)

    def test_example_sets_what_must_be_chosen_and_names_what_may_be(self):
        example = (DEPLOY / ".env.example").read_text()
        for name, rest in re.findall(r"\$\{(\w+)(:[-?])", COMPOSE.read_text()):
            if name == "VARVE_PARTITIONS":
                continue  # Fixed by the first start: not for an example that is edited later.
            mark = "" if rest == ":?" else "#"
            self.assertRegex(example, rf"(?m)^{mark}{name}=", f"{name} is not in .env.example")
        self.assertEqual([], re.findall(r"(?m)^\w*(?:SECRET|PASSWORD)=(?!change-me$).*", example))

    def test_every_image_is_replaceable(self):
        images = re.findall(r"(?m)^ +image: *(.*)$", COMPOSE.read_text())
        self.assertEqual(5, len(images), images)
        names = []
        for image in images:
            name, default = re.fullmatch(r"\$\{(\w+_IMAGE):-([^}]+)\}", image).groups()
            names.append(name)
            self.assertTrue(default == "varve" or ":" in default, f"{default} has no tag")
        for program in composes():
            code, output = config(program, env={name: f"local/{name.lower()}:mine" for name in names})
            self.assertEqual(0, code, output)
            seen = set(re.findall(r"(?m)^ +image: *(.*)$", output))
            self.assertEqual({f"local/{name.lower()}:mine" for name in names}, seen)

    def test_ports_are_published_on_loopback_only(self):
        ports = [line for text in blocks("services").values()
                 for line in re.findall(r"(?m)^      - (.*\d)$", text.partition("ports:")[2].partition("volumes:")[0])]
        self.assertEqual(6, len(ports), ports)
        for port in ports:
            self.assertRegex(port, r"^127\.0\.0\.1:\$\{\w+_PORT:-\d+\}:\d+$")

    def test_every_service_is_limited_and_watched(self):
        varve = re.search(r"(?ms)^x-varve: &varve\n(.*?)^\S", COMPOSE.read_text()).group(1)
        for name, text in blocks("services").items():
            whole = text + (varve if "<<: *varve\n" in text else "")
            for needed in ("mem_limit:", "cpus:", "logging:", "restart:", "image:"):
                self.assertIn(needed, whole, f"{name} lacks {needed}")
            if "<<: *varve\n" not in text:  # Ours has its health check in the image.
                self.assertIn("healthcheck:", text, name)

    def test_mounted_files_exist(self):
        for source in re.findall(r"(?m)^      - (\./[^:]+):", COMPOSE.read_text()):
            self.assertTrue((DEPLOY / source).exists(), source)

    def test_variables_of_the_server_are_keys_of_its_configuration(self):
        rules = (ROOT / "cli/config_rules.cpp").read_text()
        text = COMPOSE.read_text() + (DEPLOY / "Dockerfile").read_text()
        keys = {name.lower() for name in re.findall(r"(?<![{\w])VARVE_([A-Z_0-9]+)[:=] ?[^{\n]", text)} - {"jobs"}
        self.assertIn("kafka_brokers", keys)
        missing = {key for key in keys if f'.key = "{key}"' not in rules}
        self.assertEqual(set(), missing)


class Image(unittest.TestCase):
    def test_runs_without_rights_and_on_bases_of_choice(self):
        text = (DEPLOY / "Dockerfile").read_text()
        stages = re.findall(r"(?m)^FROM (\S+)", text)
        self.assertEqual(["${BUILD_IMAGE}", "${RUNTIME_IMAGE}"], stages)
        last = text.rpartition("\nFROM ")[2]
        self.assertRegex(last, r"(?m)^USER [1-9]\d*:[1-9]\d*$")
        self.assertIn("HEALTHCHECK", last)


class Watching(unittest.TestCase):
    def known(self):
        return set(re.findall(r"(?m)^\| `(\w+)`", (ROOT / "docs/metrics.md").read_text()))

    def assert_known(self, expressions):
        names = {re.sub(SUFFIXES, "", name) for text in expressions
                 for name in re.findall(r"\b(?:varve|process)_\w+", text)}
        self.assertNotEqual(set(), names)
        self.assertEqual(set(), names - self.known())

    def board(self):
        return json.loads((DEPLOY / "grafana/boards/varve.json").read_text())

    def test_the_board_asks_for_metrics_that_exist(self):
        self.assert_known([target["expr"] for panel in self.board()["panels"] for target in panel.get("targets", [])])

    def test_the_board_shows_what_was_promised(self):
        expressions = json.dumps(self.board())
        for name in ("varve_view_lag_seconds", "varve_append_duration_seconds", "varve_claims_total", "fenced",
                     "varve_turn_duration_seconds", "varve_quarantine_events"):
            self.assertIn(name, expressions)

    def test_panels_do_not_overlap(self):
        taken = set()
        for panel in self.board()["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertEqual(set(), cells & taken, panel["title"])
            taken |= cells

    def test_alerts_ask_for_metrics_that_exist(self):
        self.assert_known(re.findall(r"(?m)^ +expr: (.*)$", (DEPLOY / "prometheus/alerts.yml").read_text()))

    def test_prometheus_asks_every_node(self):
        asked = (DEPLOY / "prometheus/prometheus.yml").read_text()
        nodes = [name for name, text in blocks("services").items() if "VARVE_NODE_URL" in text]
        self.assertEqual(3, len(nodes))
        for name in nodes:
            self.assertIn(f'"{name}:8283"', asked)

    def test_the_board_and_its_source_know_each_other(self):
        source = (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
        used = {panel["datasource"]["uid"] for panel in self.board()["panels"] if "datasource" in panel}
        self.assertEqual({re.search(r"(?m)^ +uid: (\w+)$", source).group(1)}, used)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], *("-q" if argument == "--quiet" else argument for argument in sys.argv[1:])]
    unittest.main()
