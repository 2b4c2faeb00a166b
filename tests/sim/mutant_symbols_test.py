#!/usr/bin/env python3
"""A server can switch on no seeded bug: its mutant() is the one that says no, and nothing in it could change that.

    mutant_symbols_test.py VARVE VARVE-SIM

The same looks at varve-sim find what is to be absent from varve, so that they cannot pass by being blind. Needs nm.
"""

import subprocess
import sys
import unittest

VARVE, VARVE_SIM = sys.argv[1:3]


def symbols(program):
    """(kind, name) of everything that the program defines."""
    out = subprocess.run(["nm", "--defined-only", "--demangle", program], check=True, capture_output=True, text=True)
    return {tuple(line.split(maxsplit=2)[1:]) for line in out.stdout.splitlines() if len(line.split(maxsplit=2)) == 3}


def about_mutants(program):
    return {(kind, name) for kind, name in symbols(program) if not name.startswith("typeinfo")
            and ("mutant" in name.lower() or "switched_on" in name or "SwitchedOn" in name)}


def ids():
    out = subprocess.run([VARVE_SIM, "mutants", "--list"], check=True, capture_output=True, text=True)
    return [line.split()[0] for line in out.stdout.splitlines() if line]


class MutantSymbols(unittest.TestCase):
    def test_a_server_has_the_question_and_no_switch(self):
        self.assertEqual({("T", "varve::mutant(varve::Mutant)")}, about_mutants(VARVE))

    def test_the_simulator_has_both(self):
        found = about_mutants(VARVE_SIM)
        self.assertIn(("T", "varve::mutant(varve::Mutant)"), found)
        self.assertTrue(any(kind in "bBdD" and "switched_on" in name for kind, name in found), found)
        self.assertTrue(any("SwitchedOn" in name for _, name in found), found)

    def test_a_server_knows_no_name_of_a_mutant(self):
        with open(VARVE, "rb") as file:
            server = file.read()
        with open(VARVE_SIM, "rb") as file:
            simulator = file.read()
        self.assertGreater(len(ids()), 24)
        for name in ids():
            self.assertIn(name.encode() + b"\0", simulator, name)
            self.assertNotIn(name.encode() + b"\0", server, name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
