"""The tables of deploy/lint.py: who may include whom, who must not know the world, what is banned where.

A ban is (rule, pattern, what to use instead); its pattern is matched against C++ without comments and without
the contents of literals. To add a rule: name it in RULES, add its pattern or check, and give it two snippets
in tests/house/lint_test.py, one that it catches and one that it lets pass.
"""

import re

# ---------------------------------------------------------------- the map (DESIGN.md section 3)

# folder -> folders whose headers it may include, besides its own. "migrations" is SQL that the build embeds.
MAY_INCLUDE = {
    "migrations": set(),
    "runtime": set(),
    "eventlog": {"runtime", "migrations"},
    "actors": {"runtime", "eventlog"},
    "cluster": {"runtime", "eventlog", "actors"},
    "projections": {"runtime", "eventlog", "migrations"},
    "inspect": {"runtime", "eventlog", "actors", "projections"},
    "api": {"runtime", "eventlog", "actors", "cluster", "projections", "inspect"},
    "cli": {"runtime", "eventlog", "actors", "cluster", "projections", "inspect", "api"},
    "sim": {"runtime", "eventlog", "actors", "cluster", "projections", "inspect", "api", "cli"},
}
# Code that must not know that there is a world: folder -> its adapters, the only files that touch it.
DETERMINISTIC = {
    "runtime": r"real_env\.",
    "eventlog": r"(sqlite|kafka)_",
    "actors": r"openai_",
    "cluster": r"kafka_",
    "projections": r"(sqlite|postgres)_",
    "inspect": None,
    "api": r"(http_server|http_head|http_transport|beast_impl|prometheus_text)\.",
    "sim": r"(tripwire|jail)\.",
}
NO_FLOATS = {"runtime", "eventlog", "actors", "cluster", "projections"}
NO_PRINTING = {"runtime", "eventlog", "actors", "cluster", "projections", "inspect", "api"}
# The one place that asks the OS for time, entropy and threads.
# And what catches others who ask.
THE_WORLD = re.compile(r"runtime/real_env\.(h|cpp)$|sim/(tripwire|jail)\.cpp$")

SKIPPED_FOLDERS = {".git", ".cache", "build", "node_modules", "__pycache__", "varve-data"}
CPP = {".h", ".cpp"}
SCRIPTS = {".py", ".sh", ".mjs", ".js", ".ts", ".cmake"}
TEXTS = CPP | SCRIPTS | {".sql", ".md", ".json", ".yml", ".yaml", ".toml", ".txt", ".html", ".css", ""}
# These name what they ban.
HOUSE = {"deploy/lint.py", "deploy/lint_rules.py", "tests/house/lint_test.py"}
COLUMNS_MAX = 110  # What clang-format breaks at.
SCRIPT_COLUMNS_MAX = 125  # Nobody breaks lines of scripts for us.
LINES_WARN = 500

RULES = {
    "include-direction": "a folder includes only what the table of the design allows",
    "include-missing": "a header of ours that does not exist, or is not written from the root",
    "own-header-first": "x.cpp includes x.h before anything else",
    "pragma-once": "every header",
    "heavy-header": "Beast, Asio, RapidJSON, SQLite and the like only in .cpp files",
    "opening-comment": "a file opens with what it is",
    "threads": "threads come from RealEnv; work leaves the thread by offload()",
    "locks": "everything lives on one thread; threads meet in runtime/real_env.cpp only",
    "clock": "time comes from Env",
    "sleep": "waiting goes through runtime/suspend.h",
    "random": "chance comes from Env::rng(), with distributions of our own",
    "environment": "configuration is parsed once, in cli/",
    "files": "only adapters touch files",
    "sockets": "only api/http_server.cpp and adapters touch sockets",
    "real-env": "only the composition root and adapters know RealEnv",
    "thread-local": "hidden state",
    "global": "hidden state",
    "pointer-order": "addresses differ from run to run",
    "unordered": "the order of unordered containers differs from library to library",
    "float": "decisions and formats use integers",
    "asio": "suspension, timers and spawning go through Env and runtime/suspend.h",
    "printing": "logs and counters go through Env",
    "co-await-switch": "switch (co_await ..)",
    "co-await-temporary": "an aggregate or a capturing lambda inside a co_await expression",
    "co-await-range-for": "co_await in the header of a range-for",
    "capturing-coroutine": "a capturing lambda that is a coroutine",
    "coroutine-parameter": "a coroutine that takes a const reference or a view",
    "using-namespace": "except literals",
    "typedef": "write using",
    "line-length": f"at most {COLUMNS_MAX} columns",
    "whitespace": "tabs, trailing spaces, carriage returns, a missing last newline",
    "ascii": "plain ASCII, except in the string literals of tests",
    "todo": "a promise without an owner",
    "unbuilt": "a source that no CMakeLists.txt names",
    "architecture": "every folder is on the map",
    "errc": "every error code has its HTTP status",
    "migrations": "numbered without gaps",
    "changelog": "headed by the version that is being built",
    "executable": "scripts can be run",
    "lock-file": "names no registry",
    "skipped-test": "a test runs or does not exist",
    "allow": "allowances name a rule and a reason, and are needed",
}

# ---------------------------------------------------------------- bans: one pattern, one line of advice

NO_MEMBER = r"(?<![\w.>])"
KEYED_BY = r"\bstd::(?:unordered_)?(?:multi)?(?:map|set)\s*<\s*(?:const\s+)?"
FREE = r"(?<![\w.>:])(?:std::|::)?"  # A free function of the C library.


def bans(*rows):
    """(rule, advice, triggers, pattern, pattern ..): the patterns are alternatives, and each match contains a
    trigger. Looking for plain substrings first makes the whole run five times as fast."""
    return [(rule, re.compile("|".join(patterns), re.M), triggers.split(), advice)
            for rule, advice, triggers, *patterns in rows]


WORLD_BANS = bans(  # Everywhere but in runtime/real_env.*; adapters and cli/ included.
    ("threads", "offload(env, Lane::.., work) of runtime/suspend.h", "thread async",
     r"\bstd::(?:thread|jthread|async)\b", r"\bthread_pool\b", r"\bpthread_\w+", r"#include <thread>"),
    ("clock", "Env::now() or Env::wall_now()", "_clock clock_get timeofday timespec time",
     r"\b(?:system|steady|high_resolution|file|utc|tai|gps)_clock\b",
     r"\bclock_gettime\b", r"\bgettimeofday\b", r"\btimespec_get\b",
     FREE + r"time\s*\(\s*(?:nullptr|NULL|0|&)"),
    ("clock", "no local time zone: runtime/time.h prints UTC", "localtime mktime current_zone",
     r"\blocaltime(?:_r)?\b", r"\bmktime\b", r"\bcurrent_zone\b"),
    ("sleep", "sleep_for or sleep_until of runtime/suspend.h", "this_thread sleep",
     r"\bthis_thread\b", r"\busleep\b", r"\bnanosleep\b", FREE + r"sleep\s*\(\s*\d"),
    ("random", "Env::rng()", "rand getentropy",
     r"\brandom_device\b", r"\bgetrandom\b", r"\bgetentropy\b", r"\barc4random\b", r"\brandombytes_\w+",
     FREE + r"s?rand\s*\("),
    ("random", "runtime/rng.h: the library's distributions differ between libraries",
     "mt19937 minstd_rand random _distribution shuffle",
     r"\bmt19937", r"\bminstd_rand", r"\bdefault_random_engine\b", r"\bstd::\w+_distribution\b",
     r"\bstd::(?:ranges::)?shuffle\b", r"#include <random>"),
    ("thread-local", "a member of whoever owns it", "thread_local", r"\bthread_local\b"),
    ("locks", "everything lives on one thread; Notifier, OneShot and Channel of runtime/sync.h wait",
     "mutex condition_variable atomic future promise latch barrier _sema <semaphore lock call_once once_flag",
     r"\bstd::(?:recursive_|timed_|shared_)*mutex\b",
     r"\bstd::(?:condition_variable|atomic|future|promise|latch|barrier|counting_sema|binary_sema)\w*",
     r"\bstd::(?:lock_guard|unique_lock|scoped_lock|shared_lock|call_once|once_flag)\b",
     r"#include <(?:mutex|shared_mutex|condition_variable|atomic|future|latch|barrier|semaphore)>"),
)

PURE_BANS = bans(  # In deterministic code, adapters excepted.
    ("environment", "an option, parsed in cli/", "env",
     r"\b(?:secure_)?getenv\b", r"\b(?:un)?setenv\b", r"\bputenv\b", r"\benviron\b"),
    ("files", "a port, implemented by an adapter", "filesystem fopen stream ::open fcntl",
     r"\bstd::filesystem\b", r"\bfopen\b", r"\b(?:basic_)?[io]?fstream\b", NO_MEMBER + r"::open(?:at)?\s*\(",
     r"#include <(?:filesystem|fstream|fcntl\.h)>"),
    ("sockets", "a port; api/http_server.cpp is the only server",
     "asio::ip asio/ip beast socket ::connect ::bind ::listen ::accept netdb inet",
     r"\basio::ip\b", r"\bbeast::", r"\btcp::socket\b",
     NO_MEMBER + r"::(?:socket|connect|bind|listen|accept)\s*\(",
     r"#include <(?:sys/socket|netdb|netinet/in|arpa/inet)\.h>", r"#include <boost/(?:beast|asio/ip)\b"),
    ("real-env", "take Env&; cli/ chooses", "real_env", r'#include "runtime/real_env\.h"'),
    ("asio", "Env::post, Env::call_at and Env::spawn", "io_context _timer detached system_executor",
     r"\bio_context\b", r"\b(?:steady|system|high_resolution|deadline)_timer\b", r"\basio::detached\b",
     r"\basio::system_executor\b"),
    ("pointer-order", "an address differs from run to run: an id or a name",
     "reinterpret_cast static_cast std::hash std::less std::greater map set",
     r"reinterpret_cast\s*<\s*(?:std::)?u?intptr_t\b", r"static_cast\s*<\s*(?:const\s+)?void\s*\*\s*>",
     r"\bstd::(?:hash|less|greater)\s*<\s*[\w:\s]+\*\s*>",
     KEYED_BY + r"[\w:]+\s*(?:<[^<>]*>)?(?:\s*const)?\s*\*",
     KEYED_BY + r"std::(?:shared|unique|weak)_ptr\b"),
    ("global", "state that outlives its owner: a member, or constexpr", "static inline",
     r"^[ ]*(?:static[ ]+inline|inline[ ]+static|static|inline)[ ]+"
     r"(?!const\b|constexpr\b|constinit\b|inline\b|static\b|namespace\b)"
     r"[A-Za-z_][\w:]*(?:<[^;(){}=]*>)?[ *&]+\w+[ ]*(?:=[^=]|\{|;)"),
)
SUSPEND_BANS = bans(  # In deterministic code but runtime/suspend.cpp.
    ("asio", "Env::spawn or TaskGroup", "co_spawn", r"\bco_spawn\b"),
    ("asio", "suspend() of runtime/suspend.h", "use_awaitable async_initiate deferred",
     r"\buse_awaitable\b", r"\basync_initiate\b", r"\basio::deferred\b"),
)
FLOAT_BANS = bans(("float", "integers (micros, bytes, millionths)", "float double", r"\b(?:float|double)\b"))
PRINT_BANS = bans(
    ("printing", "Env::log and Env::count", "std::c print put perror spdlog iostream",
     r"\bstd::(?:cout|cerr|clog)\b", r"\b(?:std::)?(?:fprintf|fputs|printf|puts|putchar|perror)\s*\(",
     r"\bspdlog::", r"#include <iostream>"),
)
EVERYWHERE_BANS = bans(
    ("co-await-switch", "name the value on the line before", "switch", r"\bswitch\s*\(\s*co_await\b"),
    ("using-namespace", "name what you use, or an alias", "namespace",
     r"\busing\s+namespace\s+(?!(?:std::)?(?:\w+::)*(?:\w+_)?literals\s*;)[\w:]+"),
    ("typedef", "using", "typedef", r"^\s*typedef\b"),
)
HEAVY = re.compile(r"boost/(?:beast|asio|url|json)\b|rapidjson/|sqlite3\.h|pqxx|librdkafka|spdlog/|CLI/|"
                   r"curl/|openssl/|prometheus/|toml\+\+|sodium")
LIGHT = {
    "boost/asio/awaitable.hpp",
    "boost/asio/any_io_executor.hpp",
    ("runtime/real_env.h", "boost/asio/io_context.hpp"),
    ("sim/scheduler.h", "boost/asio/execution_context.hpp"),
}
