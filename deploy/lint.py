#!/usr/bin/env python3
"""House rules that no compiler knows. Prints file:line, what is banned, and what to use instead.

    deploy/lint.py [ROOT]        exit code 0 = clean, 1 = findings
    deploy/lint.py --rules       lists the rules

A rule is suspended for one line by a comment on that line or on the line above it, and only with a reason:

    // lint: allow(float) RapidJSON's handler prescribes the parameter; it is refused.

An allowance that names no rule, gives no reason or suspends nothing is a finding itself. Rules look at text,
not at a syntax tree, so a few are heuristics; tests/house/lint_test.py shows what each catches and what it
lets pass. The tables are in lint_rules.py. Standard library only, fast enough to run before every commit.
"""

import os
import re
import sys
from bisect import bisect_right
from pathlib import Path

sys.dont_write_bytecode = True  # No __pycache__ in the source tree.
import lint_rules as rules  # noqa: E402

# ---------------------------------------------------------------- reading C++ as text

TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<raw>(?:u8|[uUL])?R"(?P<fence>[^()\\\s]{0,16})\(.*?\)(?P=fence)")
      | (?P<string>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*")
      | (?P<number>(?<![\w])\.?\d(?:'?[\w.])*)
      | (?P<char>'(?:\\.|[^'\\\n])+')""",
    re.X | re.S,
)


def blank(text):
    return re.sub(r"[^\n]", " ", text)


class Source:
    """One C++ file in three views of equal length, so that a place in one is the place in all."""

    def __init__(self, rel, text):
        self.rel, self.text = rel, text
        code, literals, comments = [], [], []
        self.starts = [0] + [m.end() for m in re.finditer("\n", text)]
        self.raw_lines = set()  # Of raw strings, which cannot be broken.
        last = 0
        for token in TOKEN.finditer(text):
            between = text[last:token.start()]
            whole = token.group()
            kind = token.lastgroup if token.lastgroup != "fence" else "raw"
            empty = blank(whole)
            if kind == "raw":
                self.raw_lines.update(range(self.line_of(token.start()), self.line_of(token.end()) + 1))
            if kind == "comment":
                parts = (empty, empty, whole)
            elif kind == "number":
                parts = (whole.replace("'", "0"), whole, whole)
            else:
                quoted = empty if len(whole) < 2 or kind == "raw" else whole[0] + empty[1:-1] + whole[-1]
                parts = (quoted, whole, quoted)
            for view, part in zip((code, literals, comments), parts):
                view.append(between + part)
            last = token.end()
        for view in (code, literals, comments):
            view.append(text[last:])
        self.code = "".join(code)  # Neither comments nor literals.
        self.literals = "".join(literals)  # No comments.
        self.comments = "".join(comments)  # No literals.
        self.lines = text.split("\n")

    def line_of(self, place):
        return bisect_right(self.starts, place)


CLOSER = {"(": ")", "[": "]", "{": "}", "<": ">"}


def closing(code, start):
    """The place of the bracket that closes the one at `start`, or the end."""
    opener, closer, depth = code[start], CLOSER[code[start]], 0
    for i in range(start, len(code)):
        c = code[i]
        if c == opener:
            depth += 1
        elif c == closer and not (c == ">" and code[i - 1] == "-"):
            depth -= 1
            if depth == 0:
                return i
        elif opener == "<" and c in ";{":
            return i
    return len(code)


def lambdas(code):
    """(start, has captures, start of the body, end of the body) of every lambda."""
    for m in re.finditer(r"(?<![\w\])])(?<!\) )\s*(\[[^\[\]]*\])\s*(?=[({<]|mutable|->)", code):
        intro = m.start(1)
        if code[max(0, intro - 1):intro] == "[" or code[intro:intro + 2] == "[[":
            continue
        place = m.end()
        if place < len(code) and code[place] == "<":
            place = closing(code, place) + 1
            while place < len(code) and code[place].isspace():
                place += 1
        if place < len(code) and code[place] == "(":
            place = closing(code, place) + 1
        brace = code.find("{", place)
        if brace < 0 or ";" in code[place:brace]:
            continue
        yield intro, bool(m.group(1)[1:-1].strip()), brace, closing(code, brace)


# ---------------------------------------------------------------- the linter


class Linter:
    def __init__(self, root):
        self.root = Path(root)
        self.findings, self.warnings = [], []
        self.files = sorted(self._walk())
        self.sources = {}
        self.tagged = {"MonoTime", "WallTime", "Duration"}

    def _walk(self):
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(f for f in folders if f not in rules.SKIPPED_FOLDERS and not
                                (Path(folder) / f / "CMakeCache.txt").exists())
            for name in files:
                yield (Path(folder) / name).relative_to(self.root).as_posix()

    def text(self, rel):
        return (self.root / rel).read_bytes().decode("utf-8", "surrogateescape")

    def find(self, rel, line, rule, message):
        self.findings.append((rel, line, rule, message))

    def run(self):
        for rel in self.files:
            if Path(rel).suffix in rules.CPP:
                self.sources[rel] = Source(rel, self.text(rel))
        for source in self.sources.values():
            self.tagged.update(re.findall(r"\busing (\w+) = Tagged<", source.code))
        for rel in self.files:
            self.check_text(rel)
        for source in self.sources.values():
            self.check_cpp(source)
        self.check_tree()
        self.apply_allowances()
        return sorted(set(self.findings))

    # -- every text file

    def check_text(self, rel):
        path = Path(rel)
        if "golden" in path.parts or path.suffix not in rules.TEXTS:
            return
        if path.name in ("LICENSE", "package-lock.json"):
            return
        raw = (self.root / rel).read_bytes()
        if b"\0" in raw:
            return
        text = raw.decode("utf-8", "surrogateescape")
        is_cpp = path.suffix in rules.CPP
        is_script = path.suffix in rules.SCRIPTS or path.name == "CMakeLists.txt" or text.startswith("#!")
        is_code = is_cpp or is_script
        in_tests = path.parts[0] == "tests"
        view = self.sources[rel].comments if is_cpp and in_tests else text
        if in_tests and path.suffix in rules.SCRIPTS:
            view = re.sub(r"\"[^\"\n]*\"|'[^'\n]*'|`[^`]*`", lambda m: blank(m.group()), text)
        house = rel in rules.HOUSE
        unbreakable = self.sources[rel].raw_lines if is_cpp else set()
        promise = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
        for number, (line, seen) in enumerate(zip(text.split("\n"), view.split("\n")), 1):
            if "\t" in line:
                self.find(rel, number, "whitespace", "a tab: spaces")
            if line.endswith((" ", "\r")):
                self.find(rel, number, "whitespace", "trailing white space")
            columns = rules.COLUMNS_MAX if is_cpp else rules.SCRIPT_COLUMNS_MAX
            if is_code and len(line) > columns and number not in unbreakable:
                self.find(rel, number, "line-length", f"{len(line)} columns: at most {columns}")
            if (is_code or path.suffix == ".sql") and not seen.isascii():
                self.find(rel, number, "ascii", "not ASCII: plain ASCII, or an escape in a literal")
            if not house and (is_code or path.suffix in (".sql", ".md")) and promise.search(seen):
                self.find(rel, number, "todo", f"{promise.search(seen).group()}: do it, or file an issue")
        if text and not text.endswith("\n"):
            self.find(rel, text.count("\n") + 1, "whitespace", "no newline at the end")
        if is_code and text.count("\n") > rules.LINES_WARN:
            lines = len(text.splitlines())
            self.warnings.append(f"{rel}: {lines} lines; more than {rules.LINES_WARN} ask for a second file")
        if (path.suffix == ".sh" or text.startswith("#!")) and not os.access(self.root / rel, os.X_OK):
            self.find(rel, 1, "executable", f"not executable: chmod +x {rel}")

    # -- C++

    def check_cpp(self, source):
        rel, path = source.rel, Path(source.rel)
        folder = path.parts[0]
        in_tests = folder == "tests"
        self.check_opening(source)
        self.check_includes(source, folder)
        self.check_coroutines(source)
        self.ban(source, rules.EVERYWHERE_BANS)
        if in_tests:
            for m in re.finditer(r"\bGTEST_SKIP\b|\bDISABLED_\w*", source.code):
                line = source.line_of(m.start())
                self.find(rel, line, "skipped-test", f"{m.group()}: make it run, or delete it")
            return
        if not rules.THE_WORLD.search(rel):
            self.ban(source, rules.WORLD_BANS)
        if folder not in rules.DETERMINISTIC:
            return
        adapter = rules.DETERMINISTIC[folder]
        if adapter and re.match(adapter, path.name):
            return
        self.ban(source, rules.PURE_BANS)
        if rel != "runtime/suspend.cpp":
            self.ban(source, rules.SUSPEND_BANS)
        if folder in rules.NO_FLOATS:
            self.ban(source, rules.FLOAT_BANS)
        if folder in rules.NO_PRINTING and rel != "runtime/check.cpp":
            self.ban(source, rules.PRINT_BANS)
        self.check_posts(source)
        self.check_unordered(source)
        for m in re.finditer(r"printf\s*\([^;]*?(%-?\d*p)\b", source.literals):
            line = source.line_of(m.start(1))
            self.find(rel, line, "pointer-order", "%p prints an address: an id or a name")

    def ban(self, source, table):
        for rule, pattern, triggers, advice in table:
            # Includes in quotes are literals; comments are in neither view.
            view = source.literals if '#include "' in pattern.pattern else source.code
            if not any(trigger in view for trigger in triggers):
                continue
            for m in pattern.finditer(view):
                place = m.start() + len(m.group()) - len(m.group().lstrip())
                banned = " ".join(m.group().split())
                self.find(source.rel, source.line_of(place), rule, f"'{banned}': {advice}")

    def check_opening(self, source):
        rel, path = source.rel, Path(source.rel)
        first = source.lines[0] if source.lines else ""
        if path.suffix == ".h":
            if not first.startswith("//"):
                self.find(rel, 1, "opening-comment", "a header opens with // what it is and promises")
            if not re.search(r"(?m)^#pragma once$", source.code):
                self.find(rel, 1, "pragma-once", "no #pragma once")
        elif not first.startswith("//") and not self.subject(rel):
            self.find(rel, 1, "opening-comment", "a .cpp without its own header opens with // what it is")

    def subject(self, rel):
        """The header that a .cpp is about: x.h of x.cpp, folder/x.h of tests/folder/x_test.cpp."""
        tested = re.match(r"tests/(.*?)(?:_test)?\.cpp$", rel)
        return rel[:-4] + ".h" in self.sources or (tested and tested[1] + ".h" in self.sources)

    def generated(self, header):
        """True if a CMakeLists.txt of its folder names the header: the build writes it."""
        cmake = self.root / Path(header).parent / "CMakeLists.txt"
        return cmake.exists() and Path(header).name in cmake.read_text()

    def check_includes(self, source, folder):
        rel = source.rel
        includes = [(source.line_of(m.start()), m.group(1), m.group(2))
                    for m in re.finditer(r'(?m)^[ ]*#[ ]*include[ ]*(["<])([^">\n]+)[">]', source.literals)]
        own = rel[:-4] + ".h"
        if rel.endswith(".cpp") and own in self.sources and includes and includes[0][2] != own:
            self.find(rel, includes[0][0], "own-header-first", f'"{own}" comes first')
        for line, quote, header in includes:
            top = header.split("/")[0]
            ours = top in rules.MAY_INCLUDE or top == "tests"
            if quote == '"' or (ours and (self.root / header).exists()):
                self.check_own_include(rel, folder, line, quote, header, top)
            elif rel.endswith(".h") and folder != "tests" and rules.HEAVY.match(header):
                if header not in rules.LIGHT and (rel, header) not in rules.LIGHT:
                    self.find(rel, line, "heavy-header", f"<{header}>: behind struct Impl, in the .cpp")

    def check_own_include(self, rel, folder, line, quote, header, top):
        if quote == "<":
            self.find(rel, line, "include-missing", f'<{header}> is ours: #include "{header}"')
        elif not (self.root / header).is_file() and not self.generated(header):
            name = header.split("/")[-1]
            known = [f for f in self.sources if f.endswith("/" + name)]
            hint = f'#include "{known[0]}"' if known else "write the path from the root of the repository"
            self.find(rel, line, "include-missing", f'"{header}" does not exist: {hint}')
        elif not header.endswith(".h"):
            self.find(rel, line, "include-missing", f'"{header}" is no header')
        elif folder == "tests":
            return
        elif folder not in rules.MAY_INCLUDE:
            self.find(rel, line, "include-direction", f"{folder}/ is not in the table of deploy/lint.py")
        elif top != folder and top not in rules.MAY_INCLUDE[folder]:
            allowed = ", ".join(sorted(rules.MAY_INCLUDE[folder] | {folder}))
            self.find(rel, line, "include-direction", f'"{header}": {folder}/ may include only {allowed}')
        elif folder == "sim" and header == "api/http_server.h":
            self.find(rel, line, "include-direction", f'"{header}": the simulation has no sockets')

    def check_coroutines(self, source):
        code, rel = source.code, source.rel
        bodies = list(lambdas(code))
        for start, captures, brace, end in bodies:
            if not captures:
                continue
            body = list(code[brace:end])
            for inner, _, inner_brace, inner_end in bodies:
                if brace < inner and inner_end <= end:
                    body[inner_brace - brace:inner_end - brace] = " " * (inner_end - inner_brace)
            if re.search(r"\bco_(?:await|return|yield)\b", "".join(body)):
                self.find(rel, source.line_of(start), "capturing-coroutine",
                          "its captures die at the first suspension: a function with parameters by value")
        for m in re.finditer(r"\bco_await\b", code):
            self.check_await(source, m.start(), bodies)
        for m in re.finditer(r"\bfor\s*(\()", code):
            header = code[m.start(1):closing(code, m.start(1))]
            if ";" not in header and re.search(r"(?<!:):(?!:).*\bco_await\b", header, re.S):
                self.find(rel, source.line_of(m.start()), "co-await-range-for",
                          "co_await in a range-for: name the range on the line before")
        self.check_parameters(source)

    AGGREGATE = re.compile(
        r"[(,]\s*\{"  # f({..}, {..})
        r"|\b(?:\w+::)*([A-Z]\w*)(?:<[^<>;]*>)?\s*\{"  # Options{..}
    )

    def check_await(self, source, start, bodies):
        code = source.code
        end = self.expression_end(code, start)
        text = code[start:end]
        for m in self.AGGREGATE.finditer(text):
            if m.group(1) in self.tagged:
                continue
            place = start + m.start()
            if any(start < lambda_start and brace <= place < body_end
                   for lambda_start, _, brace, body_end in bodies):
                continue
            self.find(source.rel, source.line_of(place), "co-await-temporary",
                      "an aggregate inside co_await: name it on the line before, then std::move it")
            break
        for lambda_start, captures, _, _ in bodies:
            if captures and start < lambda_start < end:
                self.find(source.rel, source.line_of(lambda_start), "co-await-temporary",
                          "a capturing lambda inside co_await: name it on the line before, then std::move it")

    @staticmethod
    def expression_end(code, start):
        depth = 0
        for i in range(start, len(code)):
            c = code[i]
            if c in "([{":
                if c == "{" and depth == 0 and re.search(r"[)\w]\s*$", code[start:i]) is None:
                    return i
                depth += 1
            elif c in ")]}":
                depth -= 1
                if depth < 0:
                    return i
            elif c == ";" and depth == 0:
                return i
        return len(code)

    def check_parameters(self, source):
        """Task<..> f(const T& x), with a body: a coroutine's reference outlives what it refers to."""
        code = source.code
        for m in re.finditer(r"\b(?:Task|awaitable)\s*(<)", code):
            after = closing(code, m.start(1)) + 1
            head = re.match(r"\s+(?:[A-Za-z_]\w*(?:<[^<>]*>)?::)*\w+\s*(\()", code[after:after + 200])
            if not head:
                continue
            opened = after + head.start(1)
            closed = closing(code, opened)
            tail = re.match(r"[\s\w]*\{", code[closed + 1:closed + 60])
            if not tail:
                continue  # A declaration: only a body tells a coroutine from a function that returns a task.
            brace = closed + tail.end()
            if not re.search(r"\bco_(?:await|return|yield)\b", code[brace:closing(code, brace)]):
                continue
            bad = re.search(r"\bconst\s+[\w:]+(?:<[^()]*?>)?\s*&|\bstring_view\b|\bspan\s*<|&&",
                            code[opened:closed])
            if bad:
                self.find(source.rel, source.line_of(opened + bad.start()), "coroutine-parameter",
                          f"'{bad.group()}' may dangle after a suspension: take it by value")

    def check_posts(self, source):
        for m in re.finditer(r"\basio::(?:post|dispatch|defer)\s*(\()", source.code):
            inside = source.code[m.start(1) + 1:closing(source.code, m.start(1))]
            flat = re.sub(r"\([^()]*\)|\{[^{}]*\}|\[[^\[\]]*\]", "", re.sub(r"\{[^{}]*\}", "", inside))
            if "," not in flat:
                self.find(source.rel, source.line_of(m.start()), "asio",
                          "post without an executor runs on the system's threads: Env::post")

    def check_unordered(self, source):
        names = set()
        texts = [source.code]
        header = self.sources.get(re.sub(r"\.cpp$", ".h", source.rel))
        if header and header is not source:
            texts.append(header.code)
        types = r"std::unordered_(?:multi)?(?:map|set)\s*<"
        aliases = {m for text in texts for m in re.findall(r"\busing\s+(\w+)\s*=\s*" + types, text)}
        for text in texts:
            for m in re.finditer(types, text):
                declared = re.match(r">\s*[&*]?\s*(\w+)\s*[;={(,)]", text[closing(text, m.end() - 1):])
                if declared:
                    names.add(declared.group(1))
            for alias in aliases:
                names.update(re.findall(r"\b" + alias + r"\b\s*[&*]?\s*(\w+)\s*[;={(,)]", text))
        if not names:
            return
        any_name = r"(?:" + "|".join(map(re.escape, sorted(names))) + ")"
        pattern = re.compile(r"\bfor\s*\([^;()]*(?<!:):(?!:)\s*\*?(?:[\w]+(?:\.|->))*" + any_name + r"\s*\)|"
                             r"\b" + any_name + r"(?:\.|->)c?begin\s*\(")
        for m in pattern.finditer(source.code):
            self.find(source.rel, source.line_of(m.start()), "unordered",
                      "the order of an unordered container: std::map, or sort the keys first")

    # -- the tree as a whole

    def check_tree(self):
        self.check_architecture()
        self.check_errc()
        self.check_migrations()
        self.check_changelog()
        self.check_lock_files()
        self.check_built()

    def check_architecture(self):
        page = self.root / "ARCHITECTURE.md"
        if not page.exists():
            return
        text = page.read_text()
        for folder in sorted({Path(f).parts[0] for f in self.files if "/" in f}):
            if not folder.startswith(".") and not re.search(r"(?<![\w/])" + re.escape(folder) + "/", text):
                self.find("ARCHITECTURE.md", 1, "architecture", f"{folder}/ is not on the map")

    def check_errc(self):
        tables = [f for f in ("api/http_status.cpp", "api/http_status.h") if f in self.sources]
        codes = self.sources.get("runtime/result.h")
        if not tables or not codes:
            return
        enum = re.search(r"enum class Errc[^{]*\{([^}]*)\}", codes.code)
        known = " ".join(self.sources[f].code for f in tables)
        for code in re.findall(r"[a-z]\w*", enum.group(1) if enum else ""):
            if not re.search(rf"\bErrc::{code}\b", known):
                self.find(tables[0], 1, "errc", f"Errc::{code} has no HTTP status")

    def check_migrations(self):
        """NNNN_series[_what].sql: a series (control, views) counts 1, 2, 3 .. in its folder; in migrations/postgres,
        which is one database, all files count together."""
        series = {}
        for rel in self.files:
            if not (rel.startswith("migrations/") and rel.endswith(".sql")):
                continue
            m = re.match(r"(\d{4})_([a-z0-9]+)(?:_[a-z0-9_]+)?\.sql$", Path(rel).name)
            if not m:
                self.find(rel, 1, "migrations", "the name is NNNN_series.sql or NNNN_series_what.sql")
                continue
            folder = str(Path(rel).parent)
            counted = "" if folder == "migrations/postgres" else m[2]
            series.setdefault((folder, counted), []).append((int(m[1]), rel))
            if not self.text(rel).startswith("--"):
                self.find(rel, 1, "opening-comment", "a migration opens with -- why")
        for numbered in series.values():
            for expected, (number, rel) in enumerate(sorted(numbered), 1):
                if number != expected:
                    self.find(rel, 1, "migrations", f"{number:04d} stands where {expected:04d} is expected")

    def check_changelog(self):
        page, cmake = self.root / "CHANGELOG.md", self.root / "CMakeLists.txt"
        if not page.exists() or not cmake.exists():
            return
        version = re.search(r"project\(\s*\w+\s+VERSION\s+([\d.]+)", cmake.read_text())
        headings = re.findall(r"(?m)^## +(.*)$", page.read_text())
        released = [h for h in headings if "unreleased" not in h.lower()]
        newest = re.findall(r"\d+(?:\.\d+)+", released[0]) if released else []
        if version and newest[:1] != [version[1]]:
            self.find("CHANGELOG.md", 1, "changelog", f"its newest version is not CMake's {version[1]}")

    def check_lock_files(self):
        for rel in self.files:
            if Path(rel).name not in ("package-lock.json", "npm-shrinkwrap.json"):
                continue
            for number, line in enumerate(self.text(rel).split("\n"), 1):
                if re.search(r'"resolved"\s*:\s*"(?:git\+)?https?:', line):
                    advice = "npm install --omit-lockfile-registry-resolved"
                    self.find(rel, number, "lock-file", f"names a registry: {advice}")

    def check_built(self):
        """Source lists are written by hand, so a file that nobody lists is neither built nor tested."""
        if "CMakeLists.txt" not in self.files:
            return
        lists = {str(Path(f).parent): self.text(f) for f in self.files if Path(f).name == "CMakeLists.txt"}
        for rel in self.sources:
            if not rel.endswith(".cpp"):
                continue
            texts = [lists[str(p)] for p in Path(rel).parents if str(p) in lists]
            # A list may hold a pattern, or names without their ending (foreach(name ..) ${name}.cpp).
            stem = re.escape(Path(rel).stem)
            if not any(re.search(rf"(?<![\w]){stem}(?:\.cpp)?(?![\w.])", t) or "GLOB" in t for t in texts):
                self.find(rel, 1, "unbuilt", "no CMakeLists.txt above it names this source")

    # -- allowances

    def apply_allowances(self):
        marker = re.compile(r"(?://|#|--)\s*lint: allow\(([^)]*)\)[ ]*(.*)")
        allowed = {}
        for rel in self.files:
            path = Path(rel)
            if path.suffix in rules.CPP:
                text = self.sources[rel].comments
            elif path.suffix in rules.SCRIPTS | {".sql"} and rel not in rules.HOUSE:
                text = self.text(rel)
            else:
                continue
            if "lint: allow" not in text:
                continue
            for number, line in enumerate(text.split("\n"), 1):
                m = marker.search(line)
                if m and m.group(1) not in rules.RULES:
                    self.find(rel, number, "allow", f"'{m.group(1)}' is no rule; see deploy/lint.py --rules")
                elif m and len(m.group(2).split()) < 2:
                    self.find(rel, number, "allow", "an allowance gives its reason")
                elif m:
                    alone = not line[:m.start()].strip()
                    allowed[(rel, number + 1 if alone else number, m.group(1))] = number
        used = set()
        kept = []
        for finding in self.findings:
            key = finding[:3]
            if key in allowed:
                used.add(key)
            else:
                kept.append(finding)
        for key, number in allowed.items():
            if key not in used:
                kept.append((key[0], number, "allow", f"allow({key[2]}) suspends nothing: remove it"))
        self.findings = kept


def main(arguments):
    if arguments == ["--rules"]:
        for name, what in rules.RULES.items():
            print(f"{name:22}{what}")
        return 0
    root = arguments[0] if arguments else Path(__file__).resolve().parent.parent
    linter = Linter(root)
    findings = linter.run()
    for rel, line, rule, message in findings:
        print(f"{rel}:{line}: [{rule}] {message}")
    for warning in linter.warnings:
        print(f"warning: {warning}")
    if findings:
        print(f"{len(findings)} findings. To suspend a rule for a line: // lint: allow(rule) reason")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
