#!/usr/bin/env python3
"""Turns of a real server with a scripted model: what goes on during a model call, and what survives a kill.

    turns_test.py --varve build/dev/bin/varve [--rounds N]
"""

import os
import shutil
import time

import support
from support import Background, Unreachable, check, check_equal, create_agent, key, ok, user_message

SLOW_MS = 4000
KILL_MS = 5000
RESUME_SECONDS_MAX = 60

SCRIPT = {
    "replies": [
        {"match": "take your time", "delay_ms": SLOW_MS, "text": "slow answer"},
        {"match": "edit the shared block", "then": "edited",
         "tool_calls": [{"name": "memory_insert", "arguments": {"label": "shared", "new_string": "written by B"}}]},
        {"match": "wait a little", "delay_ms": 1000, "text": "answer after a little"},
        {"match": "whom do you hear", "delay_ms": 200, "echo_context": True},
        {"match": "before the kill", "delay_ms": KILL_MS, "text": "the turn survived"},
        {"match": "please fail", "error": {"status": 500, "message": "the model is down"}},
    ],
    "default": {"text": "plain answer"},
}


def say(server, agent, text, headers=None):
    client = server.client()
    try:
        return client.request("POST", "/v1/agents/%s/messages" % agent, user_message(text), headers)
    finally:
        client.close()


def replies(answer):
    return [support.text_of(m) for m in answer.json["messages"] if m["message_type"] == "assistant_message"]


def wait_until_listed(client, agent, text):
    support.poll("the message %r is listed" % text, 20,
                 lambda: ("user_message", text) in support.talk_of(client, agent))


def a_turn_blocks_nobody(server, client, number):
    shared = client.expect(200, "POST", "/v1/blocks/", {"label": "shared", "value": "start"}).json["id"]
    a = support.create_agent(client, "a%d" % number, {"human": "Ada"}, [shared])
    b = support.create_agent(client, "b%d" % number, {}, [shared])
    slow = Background(lambda: say(server, a, "take your time"))
    wait_until_listed(client, a, "take your time")

    client.expect(200, "PATCH", "/v1/agents/" + a, {"name": "renamed%d" % number})
    client.expect(200, "PATCH", "/v1/agents/%s/core-memory/blocks/human" % a, {"value": "Grace"})
    answer = client.expect(200, "POST", "/v1/agents/%s/messages" % b, user_message("edit the shared block"))
    check(slow.is_alive(), "all of that happened before the slow turn ended (within %d ms)" % SLOW_MS)
    check_equal(("assistant_message", "slow answer") in support.talk_of(client, a), False, "the slow turn has ended")

    check_equal(replies(answer)[-1:], ["edited"], "the reply after the tool's result")
    kinds = [m["message_type"] for m in answer.json["messages"]]
    check("tool_call_message" in kinds and "tool_return_message" in kinds, "the tool call is in the answer", kinds)
    value = client.expect(200, "GET", "/v1/agents/%s/core-memory/blocks/shared" % a).json["value"]
    check("written by B" in value and "start" in value, "A sees what B wrote", value)
    slow_answer = slow.result()
    check_equal(slow_answer.status, 200, "the slow turn")
    check_equal(replies(slow_answer), ["slow answer"], "the slow turn's reply")
    state = client.expect(200, "GET", "/v1/agents/" + a).json
    check_equal(state["name"], "renamed%d" % number, "the name given during the turn")
    human = client.expect(200, "GET", "/v1/agents/%s/core-memory/blocks/human" % a).json["value"]
    check_equal(human, "Grace", "the block edited during the turn")
    ok("a delayed model call blocks neither its own agent's commands nor another agent's turn")


def a_message_waits_for_the_open_turn(server, client, number):
    agent = support.create_agent(client, "waiting%d" % number)
    first = Background(lambda: say(server, agent, "wait a little"))
    wait_until_listed(client, agent, "wait a little")
    second = Background(lambda: say(server, agent, "and then this"))
    check_equal(replies(first.result()), ["answer after a little"], "the first reply")
    check_equal(replies(second.result()), ["plain answer"], "the second reply")
    check_equal(support.talk_of(client, agent),
                [("user_message", "wait a little"), ("assistant_message", "answer after a little"),
                 ("user_message", "and then this"), ("assistant_message", "plain answer")], "the conversation")
    ok("a message sent during a turn waits for it, and both are answered in order")


def simultaneous_messages_are_all_remembered(server, client, number):
    agent = support.create_agent(client, "crowd%d" % number)
    texts = ["whom do you hear, says %s" % name for name in ("Ada", "Grace", "Edsger")]
    calls = [Background(lambda text=text: say(server, agent, text)) for text in texts]
    answers = [call.result() for call in calls]
    for text, answer in zip(texts, answers):
        check_equal(answer.status, 200, "the answer to %r" % text)
        check(text in replies(answer)[0], "the model heard %r in its own turn" % text, answer)
    talk = support.talk_of(client, agent)
    check_equal(sorted(text for kind, text in talk if kind == "user_message"), sorted(texts), "the messages listed")
    check_equal([kind for kind, _ in talk], ["user_message", "assistant_message"] * 3, "question and answer take turns")
    heard = sorted(sum(text in replies(answer)[0] for text in texts) for answer in answers)
    check_equal(heard, [1, 2, 3], "how many of the three each turn knew of")
    after = replies(say(server, agent, "whom do you hear in the end"))[0]
    check(all(text in after for text in texts), "afterwards the model remembers all three", after)
    ok("three messages sent at once are all listed and all remembered")


def a_failed_model_call_keeps_the_message(server, client, number):
    agent = support.create_agent(client, "failing%d" % number)
    name = "please fail %d" % number
    answer = say(server, agent, name, key(name))
    check(answer.status >= 400, "a failing model is an error", answer)
    check_equal(answer.headers.get("x-should-retry"), "false", "x-should-retry of a failed turn")
    check("the model is down" in answer.raw.decode(), "the error says what the model said", answer)
    again = say(server, agent, name, key(name))
    check_equal(again.status, answer.status, "the same request again")
    check_equal(support.talk_of(client, agent), [("user_message", name)], "the message is kept, once")
    check_equal(replies(say(server, agent, "go on")), ["plain answer"], "the agent lives on")
    ok("a failed model call keeps the user's message, and the agent lives on")


def a_turn_survives_a_kill(server, client, number):
    agent = support.create_agent(client, "survivor%d" % number)
    text = "before the kill %d" % number
    call = Background(lambda: say(server, agent, text, key(text)))
    wait_until_listed(client, agent, text)
    check(call.is_alive(), "the turn is open when the server is killed")
    server.kill9()
    try:
        check(False, "the killed server answered", call.result())
    except Unreachable:
        pass
    client.close()
    server.start()
    check_equal(support.talk_of(client, agent)[:1], [("user_message", text)], "the message after the restart")
    # The log is read from outside: not one request tells the server to go on.
    before = time.monotonic()
    support.poll("the turn is finished without any request", RESUME_SECONDS_MAX,
                 lambda: finished(server, agent, text), pause=0.5)
    check_equal(support.talk_of(client, agent), [("user_message", text), ("assistant_message", "the turn survived")],
                "the conversation after the restart")
    retry = say(server, agent, text, key(text))
    check_equal(retry.status, 200, "a retry with the same key")
    check_equal(replies(retry), ["the turn survived"], "the reply that the retry gets")
    check_equal(len(support.talk_of(client, agent)), 2, "messages after the retry")
    ok("a turn open at the kill was finished %.1f s after the restart, without a request" % (time.monotonic() - before))


def finished(server, agent, text):
    """True if the log holds the reply to `text` in the agent's stream."""
    asked = False
    for line in server.log_records():
        for part in (line.get("record") or {}).get("parts", []):
            if part.get("stream") != agent:
                continue
            for event in part["events"]:
                content = repr(event)
                asked = asked or text in content
                if asked and "the turn survived" in content:
                    return True
    return False


def verify_fails(server, reason):
    done = server.run_tool("verify", "--data-dir", server.data_dir)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    check_equal(done.returncode, 1, "exit code of verify; it said: " + said)
    check(reason in said, "verify must say '%s'" % reason, said)


def verify_knows_what_is_missing(server):
    """Views that are behind the log, or gone, are not equal to it."""
    views = os.path.join(server.data_dir, "views-2.db")
    older = views + ".older"
    shutil.copyfile(views, older)
    client = server.start().client()
    create_agent(client, "one more")
    client.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    server.verify()
    os.replace(older, views)
    verify_fails(server, "the views end at offset")
    os.remove(views)
    verify_fails(server, "there are no views")
    ok("verify fails on views that are behind the log or gone")


def story(workshop, chosen):
    server = workshop.server("data", script=SCRIPT).start()
    for number in range(chosen.rounds):
        client = server.client()
        a_turn_blocks_nobody(server, client, number)
        a_message_waits_for_the_open_turn(server, client, number)
        simultaneous_messages_are_all_remembered(server, client, number)
        a_failed_model_call_keeps_the_message(server, client, number)
        a_turn_survives_a_kill(server, client, number)
        client.close()
    check_equal(server.terminate(), 0, "exit code after SIGTERM")
    server.verify()
    ok("a fresh fold of the log equals the views")
    verify_knows_what_is_missing(server)


if __name__ == "__main__":
    support.main(__doc__, story)
