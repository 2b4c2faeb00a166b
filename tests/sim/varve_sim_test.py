#!/usr/bin/env python3
"""The command line of varve-sim: exit codes, sweeps, soaks and their progress, guards, cases, pages.

    varve_sim_test.py VARVE_SIM [--sanitized]     --sanitized: a build whose workers cannot be jailed
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "varve-sim"
SANITIZED = "--sanitized" in sys.argv


def run(*arguments, timeout=300):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=timeout)


class UsageTest(unittest.TestCase):
    def test_bad_arguments_are_code_2_and_say_why(self):
        for arguments, said in (
                (["frobnicate"], "there is no command 'frobnicate'"),
                (["run", "--scenario", "moon"], "there is no scenario 'moon'"),
                (["soak", "--seeds", "9..1"], "expected FIRST..LAST"),
                (["sweep", "swarm"], "a sweep needs a short scenario"),
                (["sweep", "idle"], "a sweep needs a short scenario"),
                (["run", "--scenario", "blocks", "--node", "2", "--crash-at", "3"], "'blocks' has 1 node"),
                (["repro", "v1:x"], "a token looks like"),
                (["repro", "/nonexistent"], "no token (v1:4711), and no file"),
                (["corpus", "/nonexistent"], "no file that can be read"),
                (["shrink", "v1:1"], "there is nothing to shrink")):
            came = run(*arguments)
            self.assertEqual(2, came.returncode, came)
            self.assertIn(said, came.stderr)

    def test_a_file_that_is_no_case_is_refused(self):
        with tempfile.NamedTemporaryFile("w", suffix=".case") as file:
            file.write("something else\n")
            file.flush()
            came = run("repro", file.name)
            self.assertEqual(2, came.returncode)
            self.assertIn("a case begins with", came.stderr)


class ScenarioTest(unittest.TestCase):
    def test_the_disk_is_a_scenario(self):
        came = run("run", "--scenario", "disk", "--seed", "3", "--crash-at", "40", "--death", "process")
        self.assertEqual(0, came.returncode, came.stdout)
        self.assertIn("all invariants hold", came.stdout)
        came = run("run", "--scenario", "disk", "--faults", "all", "--trace")
        self.assertEqual(0, came.returncode, came.stdout[-2000:])
        self.assertIn("fault.disk.", came.stdout)

    def test_disks_do_not_depend_on_the_heap(self):
        came = run("diff", "--scenario", "disk", "--seed", "2", "--faults", "syncs")
        self.assertEqual(0, came.returncode, came.stdout)
        self.assertIn("equal: ", came.stdout)

    def test_sweeps_crash_at_places_of_the_disk(self):
        came = run("sweep", "disk", "--stride", "400")
        self.assertEqual(0, came.returncode, came.stdout)
        places = int(re.search(r"of (\d+) operations of the disk", came.stdout)[1])
        self.assertIn(f"{1 + (places + 399) // 400} runs, 0 failed", came.stdout)


class SoakTest(unittest.TestCase):
    def test_every_seed_runs_once_whatever_the_number_of_workers(self):
        sums = []
        for jobs in "1", "3":
            came = run("soak", "--seeds", "5..16", "--jobs", jobs, "--progress")
            self.assertEqual(0, came.returncode, came.stdout)
            self.assertIn("seeds 5..16: 12 seeds, 0 failed", came.stdout)
            for part in "faults injected: ", "situations met: ", "counted by nodes: ", " crashes, ":
                self.assertIn(part, came.stdout)
            sums.append(re.sub(r"\n\d+ s of wall time.*", "", came.stdout))
        self.assertEqual(sums[0], sums[1])

    def test_progress_goes_to_standard_error(self):
        came = run("soak", "--seeds", "1..3", "--progress")
        self.assertIn("soak: 3 of 3 seeds, 0 failed", came.stderr)
        self.assertEqual("", run("soak", "--seeds", "1..3").stderr)

    def test_a_limit_of_time_is_kept(self):
        came = run("soak", "--seeds", "100..1000000", "--seconds", "4", "--no-sometimes", "--progress", timeout=60)
        self.assertEqual(0, came.returncode, came.stdout)
        last, seeds = map(int, re.search(r"seeds 100\.\.(\d+): (\d+) seeds, 0 failed", came.stdout).groups())
        self.assertEqual(last - 99, seeds)
        self.assertRegex(came.stderr, r"soak: \d+ seeds, 0 failed, \d+ seeds/s, \d s left")


class GuardTest(unittest.TestCase):
    """Every command that runs a world arms the trip-wire, and workers of soaks sit in the jail."""

    def tripped(self, *arguments):
        came = run("--self-test-trip", "clock", *arguments)
        self.assertEqual(-signal.SIGABRT, came.returncode, (arguments, came.stdout, came.stderr))
        self.assertTrue(came.stderr.startswith("simulated code called clock_gettime(): "), came.stderr)

    def test_runs_trip(self):
        for scenario in "lifecycle", "disk", "swarm":
            self.tripped("run", "--scenario", scenario)
            self.tripped("diff", "--scenario", scenario)
        self.tripped("sweep", "lifecycle")
        self.tripped("sweep", "disk")
        self.tripped("repro", "v1:1")
        with tempfile.TemporaryDirectory() as folder:
            self.tripped("trace", "v1:1", "--html", f"{folder}/page.html")

    def test_soaks_trip_and_name_the_seed(self):
        came = run("--self-test-trip", "clock", "soak", "--seeds", "7..7")
        self.assertEqual(3, came.returncode, came.stdout)
        self.assertIn("FAIL the worker died by signal 6 at seed 7\n  repro: varve-sim repro v1:7\n", came.stdout)
        # In the jail the clock is read by an instruction that faults, if the wire has not been there before.
        self.assertIn("simulated code called clock_gettime()", came.stderr)

    def test_a_worker_that_dies_is_replaced_and_no_seed_is_lost(self):
        came = run("--self-test-trip", "clock", "soak", "--seeds", "1..4", "--jobs", "2")
        self.assertEqual(3, came.returncode, came.stdout)
        died = sorted(int(seed) for seed in re.findall(r"died by signal 6 at seed (\d+)", came.stdout))
        self.assertEqual([1, 2, 3, 4], died)

    def test_workers_of_soaks_sit_in_the_jail(self):
        alone = run("--self-test-trip", "cpu", "run", "--scenario", "swarm")
        self.assertEqual(0, alone.returncode, "no guard but the jail sees this one: " + alone.stderr)
        came = run("--self-test-trip", "cpu", "soak", "--seeds", "7..7")
        if SANITIZED:
            self.assertEqual(0, came.returncode, came.stdout)
            return
        self.assertEqual(3, came.returncode, came.stdout)
        self.assertIn("rdtsc", came.stderr)

    def test_cases_and_shrinking_are_armed(self):
        # A child that trips has "died": a passing run is then no passing run.
        came = run("--self-test-trip", "clock", "shrink", "v1:1")
        self.assertIn("kills its process", came.stderr)
        with tempfile.NamedTemporaryFile("w", suffix=".case") as file:
            file.write("varve-sim case 2\nscenario swarm\nseed 1\nmutant canary\ninvariant Canary\n")
            file.flush()
            self.assertEqual(0, run("corpus", file.name).returncode)
            came = run("--self-test-trip", "clock", "corpus", file.name)
            self.assertEqual(1, came.returncode)
            self.assertIn("now Died-6", came.stdout)


class ShrinkTest(unittest.TestCase):
    """On a seeded bug, which stands for one that nobody knows yet."""

    BUG = "--mutant", "duplicates-count"

    @classmethod
    def setUpClass(cls):
        soak = run("soak", "--seeds", "1..200", "--stop-at-failure", *cls.BUG)
        cls.token = re.search(r"repro: varve-sim repro (v1:\d+)", soak.stdout)[1]
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = f"{cls.folder.name}/one.case"
        cls.came = run("shrink", cls.token, "--out", cls.path, "--budget", "60", *cls.BUG)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def text(self, path=None):
        with open(path or self.path) as file:
            return file.read()

    def test_the_case_is_smaller_and_breaks_the_same_invariant(self):
        self.assertEqual(0, self.came.returncode, self.came.stdout + self.came.stderr)
        before, after = map(int, re.search(r"(\d+) -> (\d+) decisions", self.came.stdout).groups())
        self.assertLess(after, before / 2, self.came.stdout)
        invariant = re.search(r"^invariant (\S+)$", self.text(), re.M)[1]
        self.assertIn(f"FAIL {invariant} ", run("repro", self.token, "--quiet", *self.BUG).stdout)
        again = run("repro", self.path, "--quiet", *self.BUG)
        self.assertEqual(1, again.returncode)
        self.assertIn(f"FAIL {invariant} ", again.stdout)
        # Without the bug the same decisions are a run like any other.
        self.assertEqual(0, run("repro", self.path, "--quiet").returncode)
        checked = run("corpus", self.path)
        self.assertEqual(0, checked.returncode, checked.stdout)
        self.assertIn(f"with '{self.BUG[1]}' it breaks {invariant}", checked.stdout)

    def test_shrinking_again_gives_the_same_case(self):
        second = f"{self.folder.name}/second.case"
        run("shrink", self.token, "--out", second, "--budget", "60", *self.BUG)
        self.assertEqual(self.text(), self.text(second))

    def test_a_case_can_be_shrunk_further_and_keeps_its_notes(self):
        noted = f"{self.folder.name}/noted.case"
        with open(noted, "w") as file:
            file.write(self.text().replace("scenario ", "# What it was.\nscenario ", 1))
        out = f"{self.folder.name}/smaller.case"
        came = run("shrink", noted, "--out", out, "--budget", "20", *self.BUG)
        self.assertEqual(0, came.returncode, came.stdout + came.stderr)
        self.assertIn("\n# What it was.\nscenario ", self.text(out))
        self.assertLessEqual(len(self.text(out).split()), len(self.text(noted).split()))


class CorpusTest(unittest.TestCase):
    """A case must pass, and fail with its bug: else it has gone stale, and is made anew."""

    NOTE = "# Who goes on after an unknown outcome.\n"

    def case(self, folder, text):
        path = f"{folder}/one.case"
        with open(path, "w") as file:
            file.write("varve-sim case 2\n" + text)
        return path

    def test_a_case_that_passes_with_its_bug_is_stale_and_can_be_renewed(self):
        with tempfile.TemporaryDirectory() as folder:
            # No decisions: a calm world, which meets no bug.
            path = self.case(folder, self.NOTE + "scenario swarm\nseed 1\nmutant unknown-is-done\ninvariant I9\ntape\n")
            came = run("corpus", folder)
            self.assertEqual(1, came.returncode, came.stdout)
            self.assertIn(f"STALE {path}: it passes with 'unknown-is-done' switched on, too", came.stdout)
            self.assertIn("1 cases, 0 failed, 1 stale", came.stdout)
            self.assertIn(f"varve-sim corpus --renew {folder}", came.stdout)
            came = run("corpus", "--renew", folder, "--budget", "40")
            self.assertEqual(0, came.returncode, came.stdout)
            self.assertIn("1 cases, 0 failed, 0 stale", came.stdout)
            with open(path) as file:
                text = file.read()
            for kept in self.NOTE, "\nmutant unknown-is-done\n", "\ninvariant I9\n":
                self.assertIn(kept, text)
            came = run("corpus", folder)
            self.assertEqual(0, came.returncode, came.stdout)
            self.assertIn(f"ok    {path}: with 'unknown-is-done' it breaks I9", came.stdout)
            # What is sound is left alone.
            run("corpus", "--renew", folder)
            with open(path) as file:
                self.assertEqual(text, file.read())

    def test_a_story_is_searched_by_the_place_of_its_crash(self):
        with tempfile.TemporaryDirectory() as folder:
            path = self.case(folder, "scenario quarantine\nseed 1\nmutant skip-not-in-log\ninvariant any\ntape\n")
            came = run("corpus", "--renew", folder, "--budget", "10")
            self.assertEqual(0, came.returncode, came.stdout)
            self.assertEqual(0, run("corpus", path).returncode)

    def test_a_case_that_names_no_bug_proves_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            self.case(folder, "scenario swarm\nseed 1\ninvariant I1\ntape\n")
            for arguments in ["corpus", folder], ["corpus", "--renew", folder]:
                came = run(*arguments)
                self.assertEqual(1, came.returncode, came.stdout)
                self.assertIn("it names no seeded bug", came.stdout)

    def test_a_case_that_fails_by_itself_is_no_stale_one(self):
        with tempfile.TemporaryDirectory() as folder:
            self.case(folder, "scenario swarm\nseed 1\nmutant canary\ninvariant Canary\n")
            self.assertEqual(0, run("corpus", folder).returncode)
            came = run("--self-test-trip", "clock", "corpus", folder)
            self.assertEqual(1, came.returncode)
            self.assertIn("1 cases, 1 failed, 0 stale", came.stdout)


class TraceTest(unittest.TestCase):
    def test_a_run_becomes_a_page(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/page.html"
            came = run("trace", "v1:3", "--html", path)
            self.assertEqual(0, came.returncode, came.stdout)
            with open(path) as file:
                text = file.read()
        data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
        nodes = int(re.search(r"nodes=(\d+)", data["config"])[1])
        self.assertLessEqual({f"node-{n + 1}" for n in range(nodes)}, set(data["lanes"]))
        self.assertIn(f"{len(data['lines'])} lines", came.stdout)

    def test_a_path_that_cannot_be_written_is_refused(self):
        came = run("trace", "v1:3", "--html", "/nonexistent/page.html")
        self.assertEqual(2, came.returncode)
        self.assertIn("cannot write", came.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
