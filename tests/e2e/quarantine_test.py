#!/usr/bin/env python3
"""A stream that a newer server has poisoned, and the server that meets it: `varve projections quarantine`.

A real log gets an event that this program cannot read. The server parks the agent, serves everybody else, shows what
waits and what a retry and a skip would do; it does neither without a yes. After the skip the agent goes on, also
after a restart, and the views equal the log.

    quarantine_test.py --varve build/dev/bin/varve
"""

import json
import os
import pty
import subprocess

import support
from support import check, check_equal, create_agent, ok, poll, talk_of, user_message


def quarantine(server, *words):
    """Runs the command; gives back exit code, standard output and standard error."""
    done = server.run_tool("projections", "quarantine", *words, "--server", server.base)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def typed(server, action, agent, answer):
    """The same with somebody at a terminal who types the answer."""
    keys, terminal = pty.openpty()
    try:
        os.write(keys, answer.encode() + b"\n")
        done = subprocess.run([server.binary, "projections", "quarantine", action, agent, "--server", server.base],
                              stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                              env=server.environment, check=False)
    finally:
        os.close(keys)
        os.close(terminal)
    return done.returncode, done.stderr.decode()


def poison(chosen, server, agent):
    tool = os.path.join(os.path.dirname(os.path.abspath(chosen.varve)), "write_poison")
    done = subprocess.run([tool, server.data_dir, agent], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          check=False)
    check(done.returncode == 0, "the poison is written", done.stderr)
    return json.loads(done.stdout)


def rename(client, agent, name):
    return client.request("PATCH", "/v1/agents/" + agent, {"name": name})


def story(workshop, chosen):
    server = workshop.server("poisoned").start()
    client = server.client()
    ann, bob = create_agent(client, "ann"), create_agent(client, "bob")
    client.expect(200, "POST", "/v1/agents/%s/messages" % ann, user_message("hello"))
    code, said, _ = quarantine(server, "list")
    check_equal((code, said), (0, "nothing is in quarantine\n"), "a sound server")
    client.close()
    check_equal(server.terminate(), 0, "the server stops")

    place = poison(chosen, server, ann)
    server.start()
    listed = poll("the agent is parked", 20, lambda: client.expect(200, "GET", "/v1/varve/quarantine").json["streams"])
    check_equal([(one["stream"], one["position"], one["event"], one["type"], one["waiting"]) for one in listed],
                [(ann, place["position"], 0, "AgentSang", 1)], "what is listed")
    code, said, _ = quarantine(server, "list")
    check(code == 0 and ann in said and place["position"] in said and "AgentSang" in said, "varve lists it", said)
    check_equal(rename(client, ann, "eve").status, 503, "the agent takes no commands")
    check_equal(rename(client, bob, "rob").status, 200, "the others do")
    check_equal(talk_of(client, ann)[0], ("user_message", "hello"), "what the agent was is shown")
    code, said, error = quarantine(server, "show", ann)
    check(code == 0 and "la la" in said and "cannot be taken back" in said, "varve shows it", said + error)
    ok("a poisoned agent is parked and shown")

    records = len(server.log_records())
    for action in ("retry", "skip"):
        code, said, error = quarantine(server, action, ann)
        check_equal((code, said), (2, ""), "%s without a yes" % action)
        check(place["position"] in error and "--yes" in error, "it says what it would do", error)
    code, error = typed(server, "skip", ann, "no")
    check(code == 1 and "Type yes" in error and "nothing was done" in error, "a skip that is thought better of", error)
    code, error = typed(server, "retry", ann, "yes")
    check(code == 1 and "still cannot be folded" in error, "a retry that is agreed to", error)
    code, _, error = quarantine(server, "retry", ann, "--yes")
    check(code == 1 and "still cannot be folded" in error, "a retry by the same program", error)
    code, _, error = quarantine(server, "skip", bob, "--yes")
    check(code == 1 and "is not in quarantine" in error, "a sound agent", error)
    check_equal(len(server.log_records()), records, "nothing of this has written anything")

    code, said, error = quarantine(server, "skip", ann, "--yes", "--json")
    check(code == 0, "the skip", said + error)
    done = json.loads(said)
    check_equal((done["outcome"], done["parked"]), ("skipped", None), "what became of it")
    rulings = [(one["position"], one["record"]["offset"]) for one in server.log_records()
               if one["record"]["kind"] == "ruling"]
    check_equal(rulings, [(done["ruling"], int(place["position"].split(":")[1]))], "the ruling in the log")
    check_equal(talk_of(client, ann)[-1], ("user_message", "behind the song"), "what waited is shown")
    poll("the agent takes commands again", 20, lambda: rename(client, ann, "eve").status == 200)
    client.close()
    server.verify()
    check_equal(server.terminate(), 0, "the server stops")
    server.start()
    check_equal(rename(client, ann, "eva").status, 200, "also after a restart")
    check_equal(talk_of(client, ann)[-1], ("user_message", "behind the song"), "also after a restart")
    server.verify()
    ok("after the skip the agent goes on, and the views equal the log")


if __name__ == "__main__":
    support.main(__doc__, story)
