#!/usr/bin/env python3
"""deploy/symbol_check.py: what it finds in objects, and what it lets pass. Needs the compiler as its argument."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "deploy"))
import symbol_check  # noqa: E402

COMPILER = "clang++-16"

CAUGHT = {
    "#include <random>\nunsigned f() { return std::random_device{}(); }": "std::random_device",
    "#include <chrono>\nauto f() { return std::chrono::steady_clock::now(); }": "steady_clock::now()",
    "#include <thread>\nvoid f() { std::thread([] {}).join(); }": "std::thread",
    "#include <cstdlib>\nint f() { return std::rand(); }": "rand",
    "#include <cstdlib>\nconst char* f() { return std::getenv(\"X\"); }": "getenv",
    "#include <ctime>\nlong f() { return std::time(nullptr); }": "time",
    "#include <fcntl.h>\nint f() { return ::open(\"x\", O_RDONLY); }": "open",
    "#include <fstream>\nbool f() { return std::ifstream(\"x\").good(); }": "basic_ifstream",
    "#include <filesystem>\nbool f() { return std::filesystem::exists(\"x\"); }": "filesystem",
    "#include <unistd.h>\nint f() { return ::getpid(); }": "getpid",
    "#include <unistd.h>\nint f() { return ::fsync(1); }": "fsync",
}
PASSES = [
    "#include <map>\n#include <string>\nvoid f(std::map<int, std::string>& m) { m[1] = \"open\"; }",
    "#include <chrono>\nlong f(std::chrono::nanoseconds n) { return n.count(); }",
    # Functions of our own with such names.
    "namespace varve { long time(int); int open(int); }\nlong f() { return varve::time(1) + varve::open(2); }",
]


class SymbolCheck(unittest.TestCase):
    def findings(self, code, folder="runtime", name="some.cpp"):
        with tempfile.TemporaryDirectory() as temp:
            source = Path(temp) / name
            source.write_text(code)
            subprocess.run([COMPILER, "-std=c++20", "-O1", "-c", source, "-o", f"{source}.o"], check=True)
            archive = Path(temp) / f"lib{folder}.a"
            subprocess.run(["ar", "rcs", archive, f"{source}.o"], check=True)
            return symbol_check.check_archive(folder, archive)

    def test_finds_what_deterministic_code_must_not_call(self):
        for code, symbol in CAUGHT.items():
            found = self.findings(code)
            self.assertTrue(any(symbol in finding for finding in found), f"{symbol}: {found}")

    def test_lets_pass_what_only_looks_like_it(self):
        for code in PASSES:
            self.assertEqual([], self.findings(code), code)

    def test_adapters_may(self):
        code = "#include <chrono>\nauto f() { return std::chrono::steady_clock::now(); }"
        self.assertEqual([], self.findings(code, "runtime", "real_env.cpp"))
        self.assertEqual([], self.findings(code, "projections", "sqlite_x.cpp"))
        self.assertNotEqual([], self.findings(code, "projections", "x_sqlite_.cpp"))

    def test_knows_every_function_of_the_wire(self):
        names = symbol_check.wired((ROOT / "sim/tripwire.cpp").read_text())
        for name in ("clock_gettime", "open", "openat64", "getrandom", "pthread_create", "getpid", "arc4random"):
            self.assertIn(name, names)
        self.assertEqual(["ls does not define time(): it calls the C library's"],
                         [f for f in symbol_check.check_wire(Path("/bin/ls")) if " time()" in f])


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        COMPILER = sys.argv.pop(1)
    unittest.main()
