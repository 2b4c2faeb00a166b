#!/usr/bin/env python3
"""What the objects of deterministic code ask the linker for. The lint reads their sources; this sees what headers
and libraries have made of them, std::random_device above all, which neither trip-wire nor jail can catch.

    deploy/symbol_check.py BUILD     BUILD as of `cmake --build`, with its libraries built
                                     exit code 0 = clean, 1 = findings, 2 = nothing to look at

It also checks that BUILD/bin/varve-sim defines every function of the trip-wire (sim/tripwire.cpp). Adapters are
those of deploy/lint_rules.py. Needs nm.
"""

import re
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import lint_rules as rules  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
# Third parties compiled in our folders: implementations of Asio and Beast, which only adapters call.
FOREIGN = {"runtime": r"asio_impl\.", "api": r"beast_impl\."}

# (what an undefined symbol must not be, what to use instead)
BANNED = [(re.compile(pattern), advice) for pattern, advice in (
    (r"std::random_device\b|getrandom$|getentropy$|arc4random\w*$|s?rand$|s?random$|rand_r$", "Env::rng()"),
    (r"std::chrono::.*::now\(\)|clock_gettime$|gettimeofday$|time$|clock$|timespec_get$|ftime$",
     "Env::now() or Env::wall_now()"),
    (r"localtime(_r)?$|mktime$|tzset$", "runtime/time.h prints UTC"),
    (r"(clock_)?nanosleep$|u?sleep$|p?poll$|select$|epoll_\w+$", "runtime/suspend.h"),
    (r"pthread_create$|std::thread::|std::condition_variable::|pthread_(mutex|cond|rwlock)_\w+$|fork$|vfork$",
     "offload() of runtime/suspend.h"),
    (r"(secure_)?getenv$|setenv$", "an option, parsed in cli/"),
    (r"(open|openat|creat|fopen|fdopen)(64)?$|f(data)?sync$|(p?(read|write)v?)(64)?$|std::filesystem::(?!__cxx11::path)"
     r"|std::basic_[io]?f(ile)?(stream|buf)<|(un)?link(at)?$|rename(at)?$|mkdir(at)?$|l?stat(64)?$|opendir$|mmap$",
     "a port, implemented by an adapter"),
    (r"socket$|connect$|bind$|listen$|accept4?$|getaddrinfo$|eventfd$", "a port, implemented by an adapter"),
    (r"get(p|t)id$|gethostname$", "identity is drawn from Env::rng()"),
)]


def undefined(archive):
    """(object, symbol) of everything that an archive's objects leave to others."""
    out = subprocess.run(["nm", "--undefined-only", "--demangle", "--print-file-name", str(archive)], check=True,
                         capture_output=True, text=True).stdout
    for line in out.splitlines():
        m = re.match(r".*?:([^:]+\.o):\s+[Uw] (.*)$", line)
        if m:
            # The version of a library's symbol, or "::_V2": names only.
            yield m[1], re.sub(r"@.*$", "", m[2])


def banned(symbol):
    for pattern, advice in BANNED:
        if pattern.match(symbol):
            return advice
    return None


def is_adapter(folder, name):
    patterns = [p for p in (rules.DETERMINISTIC[folder], FOREIGN.get(folder)) if p]
    return any(re.match(pattern, name) for pattern in patterns)


def check_archive(folder, archive):
    findings = []
    for obj, symbol in undefined(archive):
        advice = banned(symbol)
        if advice and not is_adapter(folder, obj):
            findings.append(f"{folder}/{obj.removesuffix('.o')}: calls {symbol}: {advice}")
    return sorted(set(findings))


def wired(source):
    """The functions that the trip-wire defines."""
    return sorted(set(re.findall(r"VARVE_TRIP(?:_OPEN)?\((?:[^,()]+,\s*)?(\w+), \(", source)) | {"pthread_create"})


def check_wire(program):
    out = subprocess.run(["nm", "--dynamic", "--defined-only", str(program)], check=True, capture_output=True,
                         text=True).stdout
    defined = {line.split()[-1].split("@")[0] for line in out.splitlines()}
    names = wired((ROOT / "sim/tripwire.cpp").read_text())
    return [f"{program.name} does not define {name}(): it calls the C library's" for name in names
            if name not in defined]


def main(arguments):
    if len(arguments) != 1:
        print(__doc__)
        return 2
    build = Path(arguments[0])
    findings, looked_at = [], 0
    for folder in rules.DETERMINISTIC:
        archive = build / folder / f"lib{folder}.a"
        if archive.exists():
            looked_at += 1
            findings += check_archive(folder, archive)
    program = build / "bin/varve-sim"
    if program.exists():
        findings += check_wire(program)
    for finding in findings:
        print(finding)
    if looked_at == 0:
        print(f"there are no libraries in {build}: build first")
        return 2
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
