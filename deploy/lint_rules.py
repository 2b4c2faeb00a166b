"""The tables of deploy/lint.py: who may include whom, which folders must not know the world, what is banned where.

A ban is (rule, pattern, what it is and what to use instead); its pattern is matched against C++ without comments and
without the contents of literals. To add a rule: name it in RULES, add its pattern or check, and give it two snippets
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
    "api": r"http_server\.",
    "sim": None,
}
NO_FLOATS = {"runtime", "eventlog", "actors", "cluster", "projections"}
NO_PRINTING = {"runtime", "eventlog", "actors", "cluster", "projections", "inspect", "api"}
# The one place that asks the OS for time, entropy and threads.
THE_WORLD = re.compile(r"runtime/real_env\.(h|cpp)$")

SKIPPED_FOLDERS = {".git", ".cache", "build", "node_modules", "__pycache__", "varve-data"}
CPP = {".h", ".cpp"}
SCRIPTS = {".py", ".sh", ".mjs", ".js", ".ts", ".cmake"}
TEXTS = CPP | SCRIPTS | {".sql", ".md", ".json", ".yml", ".yaml", ".toml", ".txt", ".html", ".css", ""}
COLUMNS_MAX = 110
LINES_WARN = 500

RULES = {
    "include-direction": "a folder includes only what the table of the design allows",
    "include-missing": "a header of ours that does not exist, or is not written from the root",
    "own-header-first": "x.cpp includes x.h before anything else",
    "pragma-once": "every header",
    "heavy-header": "Beast, Asio, RapidJSON, SQLite and the like only in .cpp files",
    "opening-comment": "a file opens with what it is",
    "threads": "threads come from RealEnv; work leaves the thread by offload()",
    "locks": "everything lives on one thread; shared state is adapters' business",
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

IDENT = r"(?<![\w.>])"  # A name that is no member and no part of another.
FREE = r"(?<![\w.>:])(?:std::|::)?"  # A free function of the C library.


def bans(*rows):
    return [(rule, re.compile(pattern), what) for rule, pattern, what in rows]


WORLD_BANS = bans(  # Everywhere but in runtime/real_env.*; adapters and cli/ included.
    ("threads", r"\bstd::(?:thread|jthread|async)\b|\bthread_pool\b|\bpthread_\w+|#include <thread>",
     "a thread of one's own: offload(env, Lane::.., work) of runtime/suspend.h"),
    ("clock", r"\b(?:system|steady|high_resolution|file|utc|tai|gps)_clock\b", "a clock: Env::now() or wall_now()"),
    ("clock", r"\bclock_gettime\b|\bgettimeofday\b|\btimespec_get\b|" + FREE + r"time\s*\(\s*(?:nullptr|NULL|0|&)",
     "the OS's time: Env::now() or wall_now()"),
    ("clock", r"\blocaltime(?:_r)?\b|\bmktime\b|\bcurrent_zone\b", "the local time zone: runtime/time.h prints UTC"),
    ("sleep", r"\bthis_thread\b|\bu?sleep\s*\(\s*\d|\busleep\b|\bnanosleep\b",
     "sleeping: sleep_for or sleep_until of runtime/suspend.h"),
    ("random", r"\brandom_device\b|\bgetrandom\b|\bgetentropy\b|\barc4random\b|\brandombytes_\w+|" + FREE +
     r"s?rand\s*\(", "entropy: Env::rng()"),
    ("random", r"\bmt19937|\bminstd_rand|\bdefault_random_engine\b|\bstd::\w+_distribution\b|\bstd::shuffle\b|"
     r"#include <random>", "the library's randomness (it differs between libraries): runtime/rng.h"),
    ("thread-local", r"\bthread_local\b", "thread_local: a member of whoever owns it"),
)

PURE_BANS = bans(  # In deterministic code, adapters excepted.
    ("locks", r"\bstd::(?:recursive_|timed_|shared_)*mutex\b|\bstd::(?:condition_variable|atomic|future|promise|"
     r"latch|barrier|counting_semaphore|binary_semaphore|lock_guard|unique_lock|scoped_lock|call_once)\w*|"
     r"#include <(?:mutex|shared_mutex|condition_variable|atomic|future|latch|barrier|semaphore)>",
     "a lock: everything lives on one thread; Notifier, OneShot and Channel of runtime/sync.h wait"),
    ("environment", r"\b(?:secure_)?getenv\b|\b(?:un)?setenv\b|\bputenv\b|\benviron\b",
     "the environment: an option, parsed in cli/"),
    ("files", r"\bstd::filesystem\b|\bfopen\b|\b(?:basic_)?[io]?fstream\b|" + IDENT + r"::open(?:at)?\s*\(|"
     r"#include <(?:filesystem|fcntl\.h)>", "files: a port, implemented by an adapter"),
    ("sockets", r"\basio::ip\b|\bbeast::|\btcp::socket\b|" + IDENT + r"::(?:socket|connect|bind|listen|accept)\s*\(|"
     r"#include <(?:sys/socket|netdb|netinet/in|arpa/inet)\.h>|#include <boost/(?:beast|asio/ip)\b",
     "sockets: a port; api/http_server.cpp is the only server"),
    ("real-env", r'#include "runtime/real_env\.h"', "RealEnv: take Env&; cli/ chooses"),
    ("asio", r"\bio_context\b|\b(?:steady|system|high_resolution|deadline)_timer\b|\basio::detached\b|"
     r"\basio::system_executor\b", "Asio's own: Env::post, call_at and spawn"),
    ("pointer-order", r"reinterpret_cast\s*<\s*(?:std::)?u?intptr_t\b|static_cast\s*<\s*(?:const\s+)?void\s*\*\s*>",
     "an address as a value: an id or a name"),
    ("pointer-order", r"\bstd::(?:hash|less|greater)\s*<\s*[\w:\s]+\*\s*>", "an order of addresses: an id"),
    ("pointer-order", r"\bstd::(?:unordered_)?(?:multi)?(?:map|set)\s*<\s*(?:const\s+)?(?:[\w:]+\s*(?:<[^<>]*>)?"
     r"(?:\s*const)?\s*\*|std::(?:shared|unique|weak)_ptr\b)", "a key that is an address: an id or a name"),
    ("global", r"(?m)^[ ]*(?:static|inline|static inline|inline static)[ ]+(?!const\b|constexpr\b|constinit\b|inline\b|"
     r"static\b|namespace\b)[A-Za-z_][\w:]*(?:<[^;(){}=]*>)?[ *&]+\w+[ ]*(?:=[^=]|\{|;)",
     "state that outlives its owner: a member, or constexpr"),
)
SUSPEND_BANS = bans(
    ("asio", r"\bco_spawn\b", "co_spawn: Env::spawn or TaskGroup"),
    ("asio", r"\buse_awaitable\b|\basync_initiate\b|\basio::deferred\b",
     "awaiting Asio: suspend() of runtime/suspend.h"),
)
FLOAT_BANS = bans(("float", r"\b(?:float|double)\b", "floating point: integers (micros, bytes, millionths)"))
PRINT_BANS = bans(
    ("printing", r"\bstd::(?:cout|cerr|clog)\b|\b(?:std::)?(?:fprintf|fputs|printf|puts|putchar)\s*\(|\bspdlog::|"
     r"\bperror\s*\(|#include <iostream>", "printing: Env::log and Env::count"),
)
EVERYWHERE_BANS = bans(
    ("co-await-switch", r"\bswitch\s*\(\s*co_await\b", "switch (co_await ..): name the value on the line before"),
    ("using-namespace", r"\busing\s+namespace\s+(?!(?:std::)?(?:\w+::)*(?:\w+_)?literals\s*;)[\w:]+",
     "using namespace: name what you use, or an alias"),
    ("typedef", r"(?m)^\s*typedef\b", "typedef: using"),
)
HEAVY = re.compile(r"(?:boost/(?:beast|asio|url|json)\b|rapidjson/|sqlite3\.h|pqxx|librdkafka|spdlog/|CLI/|curl/|"
                   r"openssl/|prometheus/|toml\+\+|sodium)")
LIGHT = {"boost/asio/awaitable.hpp", "boost/asio/any_io_executor.hpp"}
