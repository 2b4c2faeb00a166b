#!/usr/bin/env python3
"""`varve fork` and a real server: an agent as it was at a position and at a time, as a new agent.

The fork has the history, settings and block values of that moment, and goes its own way; its first event names where
it came from; the same key gives the same fork, also after a kill; the views equal the log.

    fork_test.py --varve build/dev/bin/varve
"""

import json

import support
from support import check, check_equal, create_agent, ok, talk_of, user_message


def fork(server, agent, *words):
    """Runs the command; gives back exit code, standard output and standard error."""
    done = server.run_tool("fork", agent, "--server", server.base, *words)
    return done.returncode, done.stdout.decode().strip(), done.stderr.decode()


def say(client, agent, text):
    """The position of the answer in the log."""
    answer = client.expect(200, "POST", "/v1/agents/%s/messages" % agent, user_message(text))
    return answer.headers["varve-position"]


def block(client, agent):
    return client.expect(200, "GET", "/v1/agents/%s/core-memory/blocks/human" % agent).json["value"]


def commits(server):
    return sum(one["record"]["kind"] == "commit" for one in server.log_records())


def first_event(server, agent):
    """Of the agent's stream, as the log has it."""
    for one in server.log_records():
        for part in one["record"].get("parts", []):
            if part["stream"] == agent:
                return part["events"][0]
    return None


def story(workshop, _chosen):
    server = workshop.server("forked").start()
    client = server.client()
    ann = create_agent(client, "ann", {"human": "Ann"})
    then = say(client, ann, "one")
    talk = talk_of(client, ann)
    say(client, ann, "two")
    client.expect(200, "PATCH", "/v1/agents/%s/core-memory/blocks/human" % ann, {"value": "Eve"})
    client.expect(200, "PATCH", "/v1/agents/" + ann, {"name": "eve"})

    code, made, error = fork(server, ann, "--as-of", then)
    check(code == 0, "the fork", error)
    check_equal(talk_of(client, made), talk, "its history is that of the moment")
    check_equal(block(client, made), "Ann", "its memory is that of the moment")
    check_equal(client.expect(200, "GET", "/v1/agents/" + made).json["name"], "ann_fork", "its name")
    event = first_event(server, made)
    check_equal((event["type"], event["data"]["origin"]), ("AgentForked", ann), "its first event")
    check(then in event["data"]["cut"].split(","), "it names the cut", event)
    say(client, made, "three")
    check_equal(block(client, ann), "Eve", "the origin stays as it is")
    check_equal(len(talk_of(client, ann)), 4, "the origin stays as it is")
    ok("an agent of a position")

    cut = event["data"]["cut"]
    code, said, error = fork(server, ann, "--as-of", cut, "--name", "again", "--key", "k1", "--json")
    check(code == 0, "a fork with a key", error)
    again = json.loads(said)
    check_equal(again["forked_from"], {"agent_id": ann, "as_of": cut}, "where it came from")
    before = commits(server)
    client.close()
    server.kill9()
    server.start()
    code, made, error = fork(server, ann, "--as-of", cut, "--name", "again", "--key", "k1")
    check_equal((code, made), (0, again["id"]), "the same key, the same fork")
    check_equal(commits(server), before, "it writes nothing")
    code, _, error = fork(server, ann, "--as-of", "1970-01-02")
    check(code == 1 and "404" in error, "there was no agent then", error)
    code, _, error = fork(server, ann, "--as-of", "yesterday")
    check(code == 1 and "expected a time" in error, "what is no moment", error)
    code, made, error = fork(server, ann, "--as-of", "2999-01-01", "--name", "now")
    check(code == 0, "a fork of now", error)
    check_equal(talk_of(client, made), talk_of(client, ann), "its history is that of now")
    check_equal(block(client, made), "Eve", "its memory is that of now")
    client.close()
    server.verify()
    ok("keys, times, and the views equal the log")


if __name__ == "__main__":
    support.main(__doc__, story)
