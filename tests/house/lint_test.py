#!/usr/bin/env python3
"""Tests of deploy/lint.py: for each rule a snippet that it catches and one that it lets pass.

A case is written as it would stand in the repository, with a small clean tree around it. The last test makes
sure that no rule is without a case.
"""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "deploy"))
sys.dont_write_bytecode = True

import lint  # noqa: E402
import lint_rules  # noqa: E402

HEADER = "// What it is.\n#pragma once\n"
proven = set()  # Rules that some case has caught.


def findings(files, executable=()):
    """[(path, line, rule)] of a tree with these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            if name in executable:
                path.chmod(0o755)
        return [(rel, line, rule) for rel, line, rule, _ in lint.Linter(folder).run()]


def rules_of(files, executable=()):
    return sorted({rule for _, _, rule in findings(files, executable)})


def in_cpp(code, path="actors/thing.cpp"):
    return {path: "// What it is.\n" + code + "\n"}


class LintTest(unittest.TestCase):
    maxDiff = None

    def catches(self, rule, files, executable=()):
        with self.subTest(catches=rule, files=files):
            self.assertEqual([rule], rules_of(files, executable))
            proven.add(rule)

    def passes(self, files, executable=()):
        with self.subTest(passes=files):
            self.assertEqual([], findings(files, executable))

    # ---- includes

    def test_a_folder_includes_what_the_table_allows(self):
        tree = {"eventlog/log.h": HEADER, "actors/agent.h": HEADER, "runtime/env.h": HEADER,
                "projections/fold.h": HEADER, "api/http_server.h": HEADER, "cli/options.h": HEADER}
        self.passes({**tree, **in_cpp('#include "eventlog/log.h"\n#include "runtime/env.h"')})
        self.passes({**tree, **in_cpp('#include "cli/options.h"', "tests/cli/options_test.cpp")})
        self.passes({**tree, **in_cpp('#include "api/http_server.h"', "cli/serve.cpp")})
        for path, header in (("eventlog/x.cpp", "actors/agent.h"), ("runtime/x.cpp", "eventlog/log.h"),
                             ("projections/x.cpp", "actors/agent.h"), ("actors/x.cpp", "projections/fold.h"),
                             ("api/x.cpp", "cli/options.h"), ("sim/x.cpp", "api/http_server.h"),
                             ("elsewhere/x.cpp", "runtime/env.h")):
            self.catches("include-direction", {**tree, **in_cpp(f'#include "{header}"', path)})
        self.catches("include-direction",
                     {"tests/support/run.h": HEADER, **in_cpp('#include "tests/support/run.h"')})

    def test_a_header_of_ours_exists_and_is_named_from_the_root(self):
        tree = {"actors/agent.h": HEADER, "runtime/env.h": HEADER}
        self.catches("include-missing", in_cpp('#include "actors/nobody.h"'))
        self.catches("include-missing", {**tree, **in_cpp('#include "agent.h"')})
        self.catches("include-missing", {**tree, **in_cpp("#include <runtime/env.h>")})
        self.catches("include-missing", {"actors/other.cpp": "// Other.\n",
                                         **in_cpp('#include "actors/other.cpp"')})
        self.passes({**tree, **in_cpp('#include "actors/agent.h"\n\n#include <vector>')})
        self.passes({"migrations/CMakeLists.txt": "add_custom_command(OUTPUT embedded.h)\n",
                     **in_cpp('#include "migrations/embedded.h"', "projections/x.cpp")})

    def test_the_own_header_comes_first(self):
        tree = {"actors/thing.h": HEADER, "runtime/env.h": HEADER}
        self.catches("own-header-first", {
            **tree, **in_cpp('#include <vector>\n#include "actors/thing.h"')})
        self.passes({**tree, **in_cpp('#include "actors/thing.h"\n\n#include <vector>')})

    def test_headers_stay_light(self):
        for header in ("boost/beast/http.hpp", "boost/asio/post.hpp", "rapidjson/document.h", "sqlite3.h",
                       "pqxx/pqxx", "librdkafka/rdkafka.h", "spdlog/spdlog.h", "CLI/CLI.hpp"):
            self.catches("heavy-header", {"cli/x.h": HEADER + f"#include <{header}>\n"})
        self.catches("heavy-header", {"cli/x.h": HEADER + "#include <boost/asio/io_context.hpp>\n"})
        self.passes({"runtime/real_env.h": HEADER + "#include <boost/asio/io_context.hpp>\n",
                     "runtime/task.h": HEADER + "#include <boost/asio/awaitable.hpp>\n",
                     "runtime/env.h": HEADER + "#include <boost/asio/any_io_executor.hpp>\n",
                     "eventlog/sqlite_x.cpp": "// Adapter.\n#include <sqlite3.h>\n"})

    def test_headers_have_pragma_once_and_files_say_what_they_are(self):
        self.catches("pragma-once", {"actors/x.h": "// What it is.\n"})
        self.catches("pragma-once", {"actors/x.h": "// What it is.\n// #pragma once\n"})
        self.catches("opening-comment", {"actors/x.h": "#pragma once\n"})
        self.catches("opening-comment", {"actors/x.cpp": "int x();\n"})
        self.catches("opening-comment", {"migrations/sqlite/0001_views.sql": "CREATE TABLE t (a);\n"})
        self.passes({"actors/x.h": HEADER, "actors/x.cpp": '#include "actors/x.h"\n',
                     "tests/actors/x_test.cpp": '#include "actors/x.h"\n',
                     "migrations/sqlite/0001_views.sql": "-- Why.\nCREATE TABLE t (a);\n"})

    # ---- determinism: (rule, banned .., allowed ..)

    BANNED = {
        "threads": ["std::thread t(work);", "std::jthread t;", "auto f = std::async(work);",
                    "asio::thread_pool p;", "pthread_create(a, b, c, d);", "#include <thread>"],
        "clock": ["auto t = std::chrono::system_clock::now();", "auto t = steady_clock::now();",
                  "std::chrono::high_resolution_clock c;", "::clock_gettime(which, &t);",
                  "gettimeofday(&t, n);",
                  "auto t = time(nullptr);", "auto t = std::time(nullptr);", "auto t = ::time(&x);",
                  "auto t = std::localtime(&x);", "timespec_get(&t, b);",
                  "auto z = std::chrono::current_zone();"],
        "sleep": ["std::this_thread::sleep_for(d);", "usleep(5);", "::nanosleep(&t, nullptr);", "sleep(1);"],
        "random": ["std::random_device d;", "int x = rand();", "std::srand(1);", "std::mt19937 g;",
                   "std::mt19937_64 g;", "std::uniform_int_distribution<int> d;", "std::shuffle(a, b, g);",
                   "#include <random>", "::getrandom(p, n, f);", "randombytes_buf(p, n);"],
        "thread-local": ["thread_local int x = 0;"],
        "locks": ["std::mutex m;", "std::shared_mutex m;", "std::recursive_timed_mutex m;",
                  "std::atomic<int> x;", "std::atomic_bool x;", "std::condition_variable_any c;",
                  "std::future<int> f;",
                  "std::promise<int> f;", "std::latch l(1);", "std::barrier b(1);", "std::lock_guard l(m);",
                  "std::binary_semaphore s(1);", "std::once_flag f;", "#include <mutex>", "#include <atomic>",
                  "#include <condition_variable>", "#include <future>", "#include <semaphore>"],
        "environment": ['auto k = std::getenv("KEY");', 'setenv("A", "B", 1);', "char** e = environ;"],
        "files": ["std::filesystem::path p;", 'auto* f = fopen("a", "b");', "std::ifstream f(p);",
                  "std::ofstream f(p);", "std::fstream f(p);", "int fd = ::open(path, flags);",
                  "#include <filesystem>", "#include <fcntl.h>", "#include <fstream>"],
        "sockets": ["asio::ip::tcp::endpoint e;", "beast::error_code e;", "int s = ::socket(a, b, c);",
                    "::connect(a, b, c);", "#include <sys/socket.h>", "#include <boost/beast/core.hpp>",
                    "#include <boost/asio/ip/tcp.hpp>", "tcp::socket s(e);"],
        "asio": ["asio::io_context io;", "asio::steady_timer t(e);", "asio::post([] { work(); });",
                 "asio::dispatch(std::move(work));", "use(asio::detached);", "asio::co_spawn(e, f(), g);",
                 "auto t = asio::use_awaitable;"],
        "pointer-order": ["auto n = reinterpret_cast<std::uintptr_t>(p);", "std::hash<Foo*> h;",
                          "std::less<const Foo*> l;", "std::map<Foo*, int> m;", "std::set<const Foo*> s;",
                          "std::unordered_map<ns::Foo *, int> m;", "std::set<std::shared_ptr<Foo>> s;",
                          'std::snprintf(b, n, "%p", x);', "out << static_cast<const void*>(p);"],
        "global": ["static int counter = 0;", "inline std::string name = x();",
                   "static std::map<int, int> cache;",
                   "int f() {\n  static int calls{};\n  return ++calls;\n}",
                   "static inline Foo* instance = nullptr;"],
        "unordered": [
            "std::unordered_map<int, int> m;\nvoid f() { for (auto& [k, v] : m) use(k, v); }",
            "std::unordered_set<std::string> names_;\nvoid f() { for (const auto& n : names_) use(n); }",
            "std::unordered_map<int, std::vector<int>> m;\nauto first() { return m.begin(); }",
            "using Index = std::unordered_map<int, int>;\n"
            "void f(const Index& ix) { for (auto& e : ix) use(e); }",
            "struct A { std::unordered_set<int> s; };\nvoid f(A& a) { for (int n : a.s) use(n); }"],
        "float": ["double x = 0;", "float ratio(int a);", "auto x = static_cast<double>(n);"],
        "printing": ["std::cout << x;", 'std::fprintf(stderr, "x");', 'printf("x");', "#include <iostream>",
                     'spdlog::info("x");'],
    }
    INNOCENT = [
        "// std::thread, std::mutex, steady_clock and rand() in a comment",
        'const char* text = "std::thread of time(nullptr) in double quotes";',
        'const char* text = R"(std::mutex m; double x; "quoted")";',
        "const int big = 1'000'000;\nconst char quote = '\"';\nconst char* after = \"double\";",
        "co_await sleep_for(env, duration);",
        "std::chrono::microseconds since{n};",
        "const auto at = env.now();\nconst auto t = entry.time(0);",
        "const auto x = rng.rand();\nconst auto y = Rng::rand();",
        "log.open(path);\nFile::open(path);",
        "env.spawn(name, std::move(task));\nenv.post(std::move(work));",
        "asio::post(executor, std::move(work));",
        "std::map<std::string, Foo*> by_name;\nstd::map<Offset, std::unique_ptr<Foo>> by_offset;",
        "std::unordered_map<int, int> m;\nbool f() { return m.find(1) != m.end() && m.contains(2); }",
        "std::unordered_set<int> s;\nstd::vector<int> v;\nvoid f() { for (int n : v) s.insert(n); }",
        "static constexpr int kLimit = 3;\nstatic const std::map<int, int> kTable = {{1, 2}};",
        "inline constexpr std::size_t kMax = 4;\nstatic int twice(int x) { return 2 * x; }",
        "inline Status fine() { return ok(); }",
        'std::snprintf(b, n, "%d", x);',
        "using namespace std::chrono_literals;\nusing namespace std::literals;",
        "void double_it();\nint floating_point;",
    ]

    def test_deterministic_code_does_not_know_the_world(self):
        for rule, snippets in self.BANNED.items():
            for snippet in snippets:
                self.catches(rule, in_cpp(snippet))
        for snippet in self.INNOCENT:
            self.passes(in_cpp(snippet))
        self.catches("real-env", {"runtime/real_env.h": HEADER, **in_cpp('#include "runtime/real_env.h"')})
        self.passes({"runtime/real_env.h": HEADER,
                     **in_cpp('#include "runtime/real_env.h"', "cli/serve.cpp")})

    def test_adapters_touch_the_world_but_start_no_threads_and_read_no_clocks(self):
        for path in ("eventlog/sqlite_log.cpp", "eventlog/kafka_log.cpp", "projections/postgres_store.cpp",
                     "api/http_server.cpp", "actors/openai_model.cpp"):
            self.passes(in_cpp("int fd = ::open(path, flags);\ndouble x = 0;", path))
            self.catches("locks", in_cpp("std::mutex m;", path))
            self.catches("threads", in_cpp("std::thread t;", path))
            self.catches("clock", in_cpp("auto t = std::chrono::steady_clock::now();", path))
            self.catches("random", in_cpp("std::random_device d;", path))
        self.passes(in_cpp('std::cout << std::getenv("HOME");\nstd::filesystem::path p;', "cli/main.cpp"))
        self.catches("clock", in_cpp("auto t = std::chrono::system_clock::now();", "cli/main.cpp"))
        world = "std::thread t;\n::clock_gettime(c, &t);\n::getrandom(p, n, f);"
        self.passes(in_cpp(world, "runtime/real_env.cpp"))
        self.passes(in_cpp(world, "tests/runtime/real_env_test.cpp"))
        for path in ("runtime/x.cpp", "eventlog/x.cpp", "cluster/x.cpp", "projections/x.cpp", "inspect/x.cpp",
                     "api/x.cpp", "sim/x.cpp", "cli/x.cpp"):
            self.catches("locks", in_cpp("std::mutex m;", path))
        self.passes(in_cpp("double x = 0;", "api/x.cpp"))
        self.passes(in_cpp("std::cout << x;", "sim/main.cpp"))
        self.passes(in_cpp("asio::co_spawn(e, f(), g);", "runtime/suspend.cpp"))

    def test_the_own_header_tells_what_is_unordered(self):
        header = HEADER + "struct Thing {\n  std::unordered_map<int, int> index_;\n  void walk();\n};\n"
        self.catches("unordered", {
            "actors/thing.h": header,
            "actors/thing.cpp": '#include "actors/thing.h"\n'
                                'void Thing::walk() { for (auto& e : index_) use(e); }\n'})

    # ---- coroutines

    def test_coroutines_keep_what_they_need(self):
        for snippet in (
                "Task<> f(Log& log) {\n  co_await log.read({.after = 1});\n}",
                "Task<> f(Log& log) {\n  co_await log.read(ReadOptions{.after = Sequence{1}});\n}",
                "Task<> f(Log& log) {\n  auto x = co_await log.send(id, Hello{});\n}",
                "Task<> f(Env& env, int n) {\n  co_await offload(env, [n] { return n; });\n}",
                "Task<> f(Env& env, int n) {\n  co_await offload(env, [&]() -> int { return n; });\n}"):
            self.catches("co-await-temporary", in_cpp(snippet))
        for snippet in (
                "Task<> f(Log& log) {\n  ReadOptions options{.after = 1};\n"
                "  co_await log.read(std::move(options));\n}",
                "using Sequence = Tagged<struct S, int>;\nTask<> f(Log& l) { co_await l.read(Sequence{1}); }",
                "Task<> f(Env& env) {\n  co_await offload(env, [] { return 1; });\n}",
                "Task<> f(Log& log) {\n  if (co_await log.ready()) {\n    use(Options{.a = 1});\n  }\n}",
                "Task<> f(Log& log) {\n  co_await reads[place](log);\n  Options o{1};\n  use(o);\n}"):
            self.passes(in_cpp(snippet))
        self.catches("co-await-switch", in_cpp("Task<> f() {\n  switch (co_await g()) {\n  }\n}"))
        self.catches("co-await-range-for",
                     in_cpp("Task<> f() {\n  for (const auto& x : *co_await g()) use(x);\n}"))
        self.passes(in_cpp("Task<> f() {\n  for (int i = 0; i < n; ++i) co_await g();\n"
                           "  const auto all = co_await g();\n"
                           "  for (const auto& x : *all) co_await h(x);\n}"))

    def test_a_lambda_with_captures_is_no_coroutine(self):
        for snippet in ("auto f = [x]() -> Task<int> { co_return x; };",
                        "auto f = [&env, this](int n) -> boost::asio::awaitable<void> { co_await g(n); };",
                        "void f() { run([=]() mutable -> Task<> { co_return ok(); }); }"):
            self.catches("capturing-coroutine", in_cpp(snippet))
        for snippet in ("auto f = [](int x) -> Task<int> { co_return x; };",
                        "auto f = [x]() -> Task<int> { return g(x); };",
                        "auto f = [&env] { env.spawn(n, [](int x) -> Task<> { co_return ok(); }(1)); };",
                        "[[nodiscard]] int g();\nint h(int* a) { return a[1]; }"):
            self.passes(in_cpp(snippet))

    def test_coroutines_take_their_parameters_by_value(self):
        for parameter in ("const std::string& name", "std::string_view name", "std::span<const int> all",
                          "const std::vector<int>& all", "Foo&& foo"):
            self.catches("coroutine-parameter",
                         in_cpp(f"Task<int> Shard::f(Env& env, {parameter}) {{\n  co_return 1;\n}}"))
        self.passes(in_cpp("Task<int> Shard::f(Env& env, std::string name) const {\n  co_return 1;\n}"))
        self.passes(in_cpp("Task<int> f(const std::string& name);\n"
                           "Task<int> g(const std::string& name) { return h(std::string(name)); }"))

    # ---- text

    def test_text_is_plain(self):
        self.catches("line-length", in_cpp("// " + "x" * 110))
        self.catches("line-length", {"deploy/x.py": "# " + "x" * 125 + "\n"})
        self.passes({**in_cpp("// " + "x" * 107), "README.md": "x" * 300 + "\n"})
        self.passes(in_cpp('const char* kSchema = R"(' + "x" * 200 + ')";'))
        for bad in ("\tint x();", "int x(); ", "int x();\r"):
            self.catches("whitespace", in_cpp(bad))
        self.catches("whitespace", {"README.md": "no newline"})
        self.catches("ascii", in_cpp("// \u2026"))
        self.catches("ascii", in_cpp('const char* x = "\u00e9";'))
        self.catches("ascii", in_cpp("// \u00e9", "tests/api/x.cpp"))
        self.passes(in_cpp('const char* x = "\u00e9";', "tests/api/x.cpp"))
        self.passes({"README.md": "\u2026\n", "tests/golden/x.json": "\u00e9\t \n",
                     "tests/e2e/x.py": "x = '\u00e9'\n"})
        self.catches("using-namespace", in_cpp("using namespace std;"))
        self.catches("typedef", in_cpp("typedef int Number;"))
        for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"):
            self.catches("todo", in_cpp(f"// {word}: later"))
        self.passes(in_cpp('const char* x = "TO' + 'DO list";', "tests/api/x.cpp"))
        self.passes(in_cpp('const char* x = "/tmp/x-XXXXXX";', "cli/x.cpp"))

    def test_long_files_are_warned_about_only(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "x.py").write_text("x = 1\n" * 501)
            linter = lint.Linter(folder)
            self.assertEqual([], linter.run())
            self.assertEqual(1, len(linter.warnings))

    # ---- the tree

    def test_every_source_is_built(self):
        tree = {"CMakeLists.txt": "add_subdirectory(actors)\n", **in_cpp("int x();")}
        self.catches("unbuilt", {
            **tree, "actors/CMakeLists.txt": "varve_library(actors SOURCES other_thing.cpp)\n"})
        self.passes({**tree, "actors/CMakeLists.txt": "varve_library(actors SOURCES other.cpp thing.cpp)\n"})
        self.passes({**tree, "actors/CMakeLists.txt": "foreach(name a thing)\n"})

    def test_every_folder_is_on_the_map(self):
        self.catches("architecture", {"ARCHITECTURE.md": "The reactors/ are hot.\n", **in_cpp("int x();")})
        self.passes({"ARCHITECTURE.md": "`actors/` decide.\n", ".ci/x": "x\n", **in_cpp("int x();")})

    def test_every_error_code_has_a_status(self):
        tree = {"runtime/result.h": HEADER + "enum class Errc : char {\n  gone,  // Left.\n  late,\n};\n"}
        status = "// Statuses.\nint status(Errc c) { return c == Errc::gone ? 404 : 500; }\n"
        self.catches("errc", {**tree, "api/http_status.cpp": status})
        self.passes({**tree, "api/http_status.cpp": status + "int other = at(Errc::late);\n"})
        self.passes(tree)

    def test_migrations_count_without_gaps(self):
        def tree(*names):
            return {f"migrations/sqlite/{name}.sql": "-- Why.\n" for name in names}
        self.passes(tree("0001_views", "0002_views_runs", "0001_control"))
        self.catches("migrations", tree("0001_views", "0003_views_runs"))
        self.catches("migrations", tree("0001_views", "0001_views_runs"))
        self.catches("migrations", tree("0002_control", "0001_views"))
        self.catches("migrations", tree("1_views"))

        def one_database(*names):
            return {f"migrations/postgres/{name}.sql": "-- Why.\n" for name in names}
        self.passes(one_database("0001_control", "0002_views", "0003_control_seen"))
        self.catches("migrations", one_database("0001_control", "0001_views"))
        self.catches("migrations", one_database("0001_control", "0003_views"))

    def test_the_changelog_is_headed_by_the_version(self):
        cmake = {"CMakeLists.txt": "project(varve VERSION 0.2.0 LANGUAGES CXX)\n"}
        self.passes({**cmake, "CHANGELOG.md": "# Changes\n\n## [Unreleased]\n\n## [0.2.0] - 2026-01-01\n"})
        self.passes({**cmake, "CHANGELOG.md": "## 0.2.0\n\n## 0.1.0\n"})
        self.catches("changelog", {**cmake, "CHANGELOG.md": "## 0.1.0\n\n## 0.2.0\n"})
        self.catches("changelog", {**cmake, "CHANGELOG.md": "## 0.2.01\n"})
        self.catches("changelog", {**cmake, "CHANGELOG.md": "# Nothing yet\n"})

    def test_scripts_can_be_run(self):
        self.catches("executable", {"deploy/x.sh": "echo\n"})
        self.catches("executable", {"dev": "#!/usr/bin/env bash\necho\n"})
        self.passes({"dev": "#!/usr/bin/env bash\necho\n", "deploy/x.sh": "echo\n"}, ["dev", "deploy/x.sh"])

    def test_lock_files_name_no_registry(self):
        locked = '{"resolved": "https://registry.example/x.tgz"}\n'
        self.catches("lock-file", {"tests/e2e/package-lock.json": locked})
        self.passes({"tests/e2e/package-lock.json": '{"integrity": "sha512-abc"}\n'})

    def test_tests_run_or_do_not_exist(self):
        self.catches("skipped-test", in_cpp("void f() { GTEST_SKIP(); }", "tests/api/x.cpp"))
        self.catches("skipped-test", in_cpp("TEST(A, DISABLED_Works) {}", "tests/api/x.cpp"))
        self.passes(in_cpp('TEST(A, Works) { use("DISABLED_Works"); }', "tests/api/x.cpp"))

    # ---- allowances

    def test_an_allowance_names_rule_and_reason_and_is_needed(self):
        self.passes(in_cpp("double x;  // lint: allow(float) the parser's interface has it"))
        self.passes(in_cpp("// lint: allow(float) the parser's interface has it\ndouble x;"))
        self.assertEqual(["allow", "float"], rules_of(in_cpp("double x;  // lint: allow(float)")))
        self.assertEqual(["allow", "float"], rules_of(in_cpp("double x;  // lint: allow(flaot) good reason")))
        self.catches("allow", in_cpp("int x();  // lint: allow(float) the parser's interface has it"))
        self.assertEqual(["float"], sorted(set(rules_of(in_cpp(
            "// lint: allow(float) only for the next line\ndouble x;\ndouble y;")))))

    # ---- the command

    def test_the_command_names_file_line_rule_and_cure(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "actors").mkdir()
            Path(folder, "actors/x.cpp").write_text("// What it is.\n\nstd::mutex m;\n")
            done = subprocess.run([str(ROOT / "deploy/lint.py"), folder], capture_output=True, text=True)
            self.assertEqual(1, done.returncode)
            self.assertIn("actors/x.cpp:3: [locks] 'std::mutex': everything lives on one thread", done.stdout)
            Path(folder, "actors/x.cpp").write_text("// What it is.\n")
            done = subprocess.run([str(ROOT / "deploy/lint.py"), folder], capture_output=True, text=True)
            self.assertEqual((0, "", ""), (done.returncode, done.stdout, done.stderr))

    def test_zz_every_rule_has_been_seen_to_catch(self):
        self.assertEqual([], sorted(set(lint_rules.RULES) - proven))


if __name__ == "__main__":
    unittest.main()
