#!/usr/bin/env python3
"""Views are made anew in a data directory: without a server and beside one, and killed on the way.

    rebuild_test.py --varve build/dev/bin/varve [--seed N]

What is shown: `projections list` and `status` say how far the views are; a rebuild that is killed again and again ends
with views that equal the log; one that is given up leaves nothing; a server rebuilds its views itself while clients
write and read, and no read fails or goes back; one that is killed with its server goes on; `verify` names a row that was
changed, deleted or added by hand, a checkpoint that was moved, a damaged record, and the command that repairs what can
be; a server that verifies all the time finds nothing until somebody changes a row.
"""

import glob
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import support  # noqa: E402
from support import check, check_equal, create_agent, list_messages, ok, user_message  # noqa: E402

KILLS = 20
SERVER_KILLS = 4
FOUND_SECONDS_MAX = 60  # Until a round has found what was changed.


def tool(server, *words, seconds=120):
    done = server.run_tool(*words, seconds=seconds)
    return done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "replace")


def here(server, *words):
    return tool(server, *words, "--data-dir", server.data_dir)


def views_in(directory):
    return sorted(os.path.basename(name) for name in glob.glob(os.path.join(directory, "views-*.db")))


def fill(server, agents, turns):
    client = server.client()
    made = [create_agent(client, "agent-%d" % number, {"human": "h", "notes": "n"}) for number in range(agents)]
    for turn in range(turns):
        for agent in made:
            client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("hello %d" % turn))
    seen = {agent: list_messages(client, agent) for agent in made}
    client.close()
    return seen


def the_status_is_told(server):
    code, out, err = here(server, "projections", "status", "--json")
    check_equal(code, 0, "exit code of status (%s)" % err)
    status = json.loads(out)
    check_equal(status["generation"], 2, "generation")
    check(all(one["lag"] == 0 and one["lag_seconds"] == 0 for one in status["partitions"]), "nothing lags", status)
    check(all(len(one["digests"]) == len(status["views"]) for one in status["partitions"]), "digests", status)
    code, told, err = tool(server, "projections", "status", "--json", "--server", server.base)
    check_equal(code, 0, "exit code of status by the server (%s)" % err)
    check_equal(json.loads(told), status, "the server tells the same")
    code, out, _ = here(server, "projections", "list")
    check(code == 0 and "core" in out and "messages" in out and "agent_activity" in out, "list names the views", out)
    code, out, _ = here(server, "projections", "status")
    check(code == 0 and "PARTITION" in out and "generation 2" in out, "status is a table", out)
    code, _, err = tool(server, "projections", "status")
    check(code == 2 and "which data directory?" in err, "without a place it says what is missing", err)
    ok("list and status tell how far the views are, with a server or without")


def a_killed_rebuild_goes_on(server, chance):
    rebuild = [server.binary, "projections", "rebuild", "--data-dir", server.data_dir]
    killed = tries = 0
    while killed < KILLS and tries < 3 * KILLS:
        tries += 1
        process = subprocess.Popen(rebuild, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=server.environment)
        time.sleep(chance.uniform(0.02, 0.35))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait(60)
    check(killed > KILLS // 2, "they were killed on the way", killed)
    code, out, err = here(server, "projections", "rebuild")
    check(code == 0 and "verified" in out, "the last one ends", (code, out, err))
    check_equal(len(views_in(server.data_dir)), 1, "one file of views")
    server.verify()
    ok("a rebuild that was killed %d times ends with views that equal the log" % killed)


def given_up_it_leaves_nothing(server):
    before = views_in(server.data_dir)
    code, out, _ = here(server, "projections", "rebuild", "--abort")
    check(code == 0 and "there was no rebuild" in out, "nothing to give up", out)
    process = subprocess.Popen([server.binary, "projections", "rebuild", "--data-dir", server.data_dir],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=server.environment)
    support.poll("the next views are begun", 30, lambda: views_in(server.data_dir) != before or process.poll() is not None,
                 pause=0.001)
    process.kill()
    process.wait(60)
    left = views_in(server.data_dir)
    code, out, err = here(server, "projections", "rebuild", "--abort")
    check(code == 0, "it is given up", (out, err))
    check(len(views_in(server.data_dir)) == 1, "nothing is left of it", left)
    check_equal([n for n in os.listdir(server.data_dir) if n.startswith("views-")
                 and n.split(".")[0] != views_in(server.data_dir)[0][:-3]], [], "files beside the views")
    server.verify()
    ok("a rebuild that is given up leaves nothing")


def a_server_rebuilds_while_it_serves(server, seen):
    agents = list(seen)
    stop = threading.Event()
    counts = {"reads": 0, "writes": 0}

    def read():
        client = server.client()
        newest = {agent: len(messages) for agent, messages in seen.items()}
        while not stop.is_set():
            for agent in agents:
                got = len(client.expect(200, "GET", "/v1/agents/%s/messages?order=asc&limit=100000" % agent).json)
                check(got >= newest[agent], "a read must not go back (%d of %d messages)" % (got, newest[agent]))
                newest[agent] = got
                counts["reads"] += 1
        client.close()

    def write():
        client = server.client()
        while not stop.is_set():
            agent = agents[counts["writes"] % len(agents)]
            client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message("still there?"))
            counts["writes"] += 1
        client.close()

    work = [support.Background(read), support.Background(write)]
    generation = None
    for _ in range(3):
        code, out, err = here(server, "projections", "rebuild", "--server", server.base, "--grace", "1")
        check(code == 0 and "verified" in out, "the server rebuilds its views", (code, out, err))
        number = int(out.split("generation ")[1].split()[0])
        check(generation is None or number == generation + 1, "each has its number", (generation, number))
        generation = number
    client = server.client()
    client.expect(200, "POST", "/v1/varve/projections/rebuild", {"grace_seconds": 30})
    again = client.request("POST", "/v1/varve/projections/rebuild", {})
    check(again.status == 409 and "already" in again.detail(), "two at once are refused", again)
    code, _, err = here(server, "projections", "rebuild", "--server", server.base)
    check(code == 1 and "already" in err, "the command says so, too", (code, err))
    code, _, err = here(server, "projections", "rebuild", "--server", "http://127.0.0.1:1")
    check(code == 1 and "no answer" in err and "--server says" in err, "how to find the server is said", (code, err))
    check_equal(client.expect(422, "POST", "/v1/varve/projections/rebuild", {"jobs": 0}).status, 422, "bad jobs")
    check_equal(client.request("DELETE", "/v1/varve/projections").status, 405, "no such method")
    client.expect(200, "DELETE", "/v1/varve/projections/rebuild")
    stop.set()
    for one in work:
        one.result()
    client.close()
    check(counts["reads"] > 20 and counts["writes"] > 3, "clients were at work", counts)
    server.verify()
    check_equal(len(views_in(server.data_dir)), 1, "one file of views")
    ok("a server rebuilds its views while %(writes)d writes and %(reads)d reads go on" % counts)


def killed_with_its_server_it_goes_on(server, chance):
    """What the server had loaded is there, and nobody has to load it again."""
    client = server.client()
    interrupted = resumed = 0
    for _ in range(SERVER_KILLS):
        client.expect(200, "POST", "/v1/varve/projections/rebuild", {"grace_seconds": 0})
        time.sleep(chance.uniform(0.01, 0.3))
        interrupted += client.expect(200, "GET", "/v1/varve/projections/rebuild").json["state"] == "running"
        server.kill9()
        server.start()
        client.close()
    client.expect(200, "POST", "/v1/varve/projections/rebuild", {"grace_seconds": 0})

    def ended():
        seen = client.expect(200, "GET", "/v1/varve/projections/rebuild").json
        check(seen["state"] != "failed", "the last one must not fail", seen)
        return seen if seen["state"] == "done" else None

    resumed = support.poll("the rebuild ends", 60, ended)["resumed_at"]
    client.close()
    server.verify()
    check_equal(len(views_in(server.data_dir)), 1, "one file of views")
    ok("a rebuild that was killed %d times with its server goes on (the last began at %d)" % (interrupted, resumed))


def metrics_of(server):
    client = server.client()
    text = client.expect(200, "GET", "/metrics").raw.decode()
    client.close()
    found = {}
    for line in text.splitlines():
        if line.startswith("varve_verify_"):
            name, value = line.split()
            found[name] = float(value)
    return found


def a_server_that_verifies_all_the_time(server):
    server.environment.update(VARVE_VERIFY_CONTINUOUS="true", VARVE_VERIFY_RATE="50000", VARVE_VERIFY_PAUSE="0")
    server.start()
    begun = time.time()
    told = support.poll("two rounds have ended", FOUND_SECONDS_MAX,
                        lambda: metrics_of(server) if metrics_of(server)["varve_verify_rounds_total"] >= 2 else None)
    check_equal((told["varve_verify_differences_total"], told["varve_verify_partitions_differing"]), (0, 0),
                "nothing differs")
    check(abs(told["varve_verify_round_end_time_seconds"] - begun) < 600, "rounds are dated", told)
    check(edit(server, "UPDATE messages SET content = 'x' WHERE rowid = 3") == 1, "a row is changed")
    support.poll("a round has found it", FOUND_SECONDS_MAX,
                 lambda: metrics_of(server)["varve_verify_partitions_differing"] == 1)
    check("content is 'x', the log says '" in server.tail(), "the log of the server names it", server.tail())
    check("varve projections rebuild --data-dir " + server.data_dir in server.tail(), "and its repair", server.tail())
    code, out, err = here(server, "verify", "--continuous", "--rate", "100000")
    check(code == 1 and "content is 'x', the log says '" in out and "made anew" in out, "so does the command",
          (code, out, err))
    code, out, err = here(server, "projections", "rebuild", "--server", server.base, "--grace", "0")
    check_equal(code, 0, "exit code of the repair (%s)" % (out + err))
    support.poll("a round finds it repaired", FOUND_SECONDS_MAX,
                 lambda: metrics_of(server)["varve_verify_partitions_differing"] == 0)
    code, out, err = here(server, "verify", "--continuous", "--rate", "100000", "--rounds", "2")
    check(code == 0 and out.count(": the views equal the log") == 2, "the command ends after two rounds", (code, out, err))
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    code, _, err = here(server, "verify", "--continuous", "--view", "messages")
    check(code == 2, "it looks at all of it", err)
    ok("a server that verifies all the time finds a row that was changed, and nothing else")


def after_a_restart_it_is_the_same_views(server):
    before = views_in(server.data_dir)
    server.kill9()
    server.start()
    check_equal(views_in(server.data_dir), before, "the server reads the views that were made last")
    server.verify()
    ok("a server that is started again reads the views that were made last")


def edit(server, sql):
    with sqlite3.connect(os.path.join(server.data_dir, views_in(server.data_dir)[0])) as views:
        return views.execute(sql).rowcount


def verify_names(server, sql, *wanted):
    check(edit(server, sql) >= 1, "the edit changes something", sql)
    code, out, err = here(server, "verify")
    check_equal(code, 1, "exit code of verify (%s)" % (out + err))
    for text in (*wanted, "varve projections rebuild --data-dir " + server.data_dir):
        check(text in out, "verify must say '%s'" % text, out + err)
    code, out, err = here(server, "projections", "rebuild")
    check_equal(code, 0, "exit code of the repair (%s)" % (out + err))
    server.verify()


def verify_finds_what_was_changed_by_hand(server):
    verify_names(server, "UPDATE messages SET content = '\"other\"' WHERE rowid = 7", "messages id=message-",
                 "content is '\"other\"', the log says '", "last touched at offset")
    verify_names(server, "DELETE FROM messages WHERE rowid = 5", "messages id=message-", "the row is missing in the table")
    verify_names(server,
                 "INSERT INTO attachments SELECT agent_id, 'block-added', label, from_partition, from_offset, "
                 "from_ordinal, from_at, from_sequence, to_offset, to_at FROM attachments LIMIT 1",
                 "block-added", "the row is in the table, but not in the log")
    verify_names(server, "UPDATE checkpoints SET next_offset = next_offset - 1", "the checkpoint at offset")
    verify_names(server, "UPDATE checkpoints SET next_offset = 1000000", "the log ends before the checkpoint")
    code, _, err = here(server, "verify", "--view", "nothing")
    check(code == 2 and "there is no view 'nothing'" in err and "agent_activity" in err, "unknown views are named", err)
    code, out, err = here(server, "verify", "--view", "messages", "--sample", "20")
    check(code == 0 and out.count("the views equal the log") == 4, "a sample of a view", (out, err))
    ok("verify names what was changed by hand, and a rebuild repairs it")


def a_flipped_byte_in_the_log_is_named(server, directory):
    copy = os.path.join(directory, "flipped")
    shutil.copytree(server.data_dir, copy)
    path = os.path.join(copy, "log.db")
    with sqlite3.connect(path) as log:  # All of it in one file: SQLite itself leaves out what is damaged beside it.
        log.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(path, "rb") as file:
        data = bytearray(file.read())
    flipped = data.find(b"hello 1")
    data[flipped] ^= 1
    with open(path, "wb") as file:
        file.write(data)
    check(flipped > 0, "a byte is flipped")
    code, out, err = tool(server, "verify", "--data-dir", copy)
    check(code == 1 and "checksum" in err, "the damage is named", (code, out, err))
    check("no rebuild mends it" in out, "and what helps", out)
    ok("a flipped byte in the log is named")


def story(workshop, chosen):
    seed = chosen.seed if chosen.seed is not None else random.randrange(1 << 30)
    print("seed %d" % seed, flush=True)
    server = workshop.server("rebuilt").start()
    seen = fill(server, 6, 8)
    the_status_is_told(server)
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    a_killed_rebuild_goes_on(server, random.Random(seed))
    given_up_it_leaves_nothing(server)
    server.start()
    a_server_rebuilds_while_it_serves(server, seen)
    after_a_restart_it_is_the_same_views(server)
    killed_with_its_server_it_goes_on(server, random.Random(seed))
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    verify_finds_what_was_changed_by_hand(server)
    a_server_that_verifies_all_the_time(server)
    a_flipped_byte_in_the_log_is_named(server, workshop.directory)


if __name__ == "__main__":
    support.main(__doc__, story)
