#!/usr/bin/env python3
"""docs/spec/run.py notices what it must notice: a rule that is not broken by what should break it, a model that
does not hold, a checker that is not the pinned one or cannot be had. Never passes without having run TLC."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Run(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.spec = Path(holder.name) / "spec"
        shutil.copytree(ROOT / "docs/spec", self.spec)

    def expect(self, text):
        (self.spec / "expected.txt").write_text(text)

    def run_it(self, *args, **env):
        done = subprocess.run([sys.executable, "-B", str(self.spec / "run.py"), *args], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env={**os.environ, **env}, timeout=300)
        return done.returncode, done.stdout

    def test_accepts_what_is_expected(self):
        self.expect("fast a import-two none ok\nfast b import-two append-again WholeWhenVisible\n")
        code, text = self.run_it()
        self.assertEqual(0, code, text)
        self.assertIn("2 configurations as expected", text)

    def test_a_rule_that_nothing_breaks_is_a_surprise(self):
        self.expect("fast b import-two none WholeWhenVisible\n")
        code, text = self.run_it()
        self.assertEqual(1, code, text)
        self.assertIn("SURPRISE", text)

    def test_a_model_that_does_not_hold_is_a_surprise_and_shows_its_counterexample(self):
        self.expect("fast a import-two append-again ok\n")
        code, text = self.run_it()
        self.assertEqual(1, code, text)
        self.assertIn("Invariant WholeWhenVisible is violated", text)

    def test_a_model_that_does_not_parse_is_a_surprise(self):
        self.expect("fast a import-two none ok\n")
        (self.spec / "Import.tla").write_text("nothing")
        self.assertEqual(1, self.run_it()[0])

    def test_other_bytes_than_the_pinned_ones_are_refused(self):
        runner = self.spec / "run.py"
        runner.write_text(runner.read_text().replace('JAR_SHA256 = "f', 'JAR_SHA256 = "0'))
        code, text = self.run_it("import-two")
        self.assertEqual(1, code, text)
        self.assertIn("has sha256", text)

    def test_without_java_it_fails_and_says_how_to_get_it(self):
        code, text = self.run_it("import-two", PATH="/nowhere")
        self.assertEqual(1, code, text)
        self.assertIn("./dev setup", text)

    def test_a_filter_that_fits_nothing_is_an_error(self):
        self.assertEqual(2, self.run_it("no such name")[0])


if __name__ == "__main__":
    unittest.main()
