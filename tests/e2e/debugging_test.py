#!/usr/bin/env python3
"""Runs every command of docs/debugging.md, in its order, on the history that it tells of, and compares the output.

    debugging_test.py --varve build/dev/bin/varve

    (needs $VARVE_SERVICES, or ./dev services start)

Then what the page says without a command: the same answers from a copy of the log file and from a topic of Kafka, exit
codes, and replays of a log that has been damaged.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import time

import readme
import readme_test
import support
from cluster_test import real_services
from support import check, check_equal, key, ok

PAGE = os.path.join(readme.ROOT, "docs", "debugging.md")
NOTES = "Name: Carl. Lives in Oslo."
SCRIPT = {
    "replies": [
        {"match": "Do you remember me", "times": 1, "text": "Of course, Carl!"},
        {"match": "Do you remember me", "times": 1, "text": "I am sorry, I do not know your name."},
        {"match": "Do you remember me", "text": "Of course, Carl!"},
        {"match": "Tidy up", "tool_calls": [{"name": "core_memory_replace", "arguments": {
            "label": "human", "old_content": "Name: Carl.", "new_content": "Name: (removed)."}}],
         "then": "Done: the notes hold no names any more."},
    ],
    "default": {"text": "Noted."},
}


class Page(readme.Readme):
    """docs/debugging.md: blocks that begin with `$ ` are commands and what they print; others are not run."""

    def __init__(self):
        with open(PAGE, encoding="utf-8") as file:
            self.text = file.read()
        self.commands = []
        for line, block in readme.blocks(self.text):
            if block[0].startswith("$ "):
                self.read_console(line, block)
        check(self.commands, "docs/debugging.md has commands")

    def add(self, text, line):
        self.commands.append(PageCommand(text, line, False))


class PageCommand(readme.Command):
    def __repr__(self):
        return "docs/debugging.md:%d: %s" % (self.line, self.text)


def say(client, agent, text, request):
    headers = dict(key(request), **{"x-request-id": request})
    answer = client.expect(200, "POST", "/v1/agents/%s/messages" % agent, support.user_message(text), headers)
    return [support.text_of(m) for m in answer.json["messages"] if m["message_type"] == "assistant_message"][-1]


def happen(client):
    """What the page tells of. Keys make the ids the same every time."""
    tools = ["core_memory_replace"]
    ann = client.expect(200, "POST", "/v1/agents/", {
        "name": "ann", "model": support.MODEL, "memory_blocks": [{"label": "human", "value": NOTES}]}, key("ann")).json
    block = ann["memory"]["blocks"][0]["id"]
    clerk = client.expect(200, "POST", "/v1/agents/", {
        "name": "clerk", "model": support.MODEL, "block_ids": [block], "tools": tools}, key("clerk")).json
    check_equal(say(client, ann["id"], "Do you remember me?", "monday-1"), "Of course, Carl!", "before")
    for number in range(2, 6):
        say(client, ann["id"], "I like tea number %d." % number, "monday-%d" % number)
    said = say(client, clerk["id"], "Tidy up the notes: no names in them.", "tuesday-1")
    check_equal(said, "Done: the notes hold no names any more.", "the clerk")
    for number in range(2, 5):
        say(client, ann["id"], "I like cake number %d." % number, "wednesday-%d" % number)
    return ann["id"], clerk["id"], block


def varve(workshop, *words, stdin=None):
    done = subprocess.run([workshop.binary, *words], input=stdin, capture_output=True, text=True, timeout=60,
                          env=support.clean_environment(), check=False)
    return done.returncode, done.stdout, done.stderr


def read_page(workshop, server, names):
    home = workshop.directory
    os.symlink(server.data_dir, os.path.join(home, "varve-data"))
    environment = support.clean_environment()
    environment.update(names, B=server.base + "/v1", PATH=os.path.dirname(workshop.binary) + ":" + os.environ["PATH"])
    terminal = readme_test.Terminal(home, environment)
    try:
        for command in Page().commands:
            code, output = terminal.run(command.text)
            print(command.text + "\n" + output, flush=True)
            check(code == 0, "%r: exit code 0" % command, (code, output))
            command.check_output(output)
            ok(repr(command))
    finally:
        terminal.close()


def a_copy_answers_alike(workshop, server, block):
    """Also on the way: what was asked of the running server's log is the same after it has stopped."""
    live = varve(workshop, "explain", block, "value", "--json", "--data-dir", server.data_dir)
    check_equal(live[0], 0, "explain while the server runs")
    question = ("bisect", "--where", 'message("user").content contains "cake number 3"', "--json", "--data-dir")
    by_views = json.loads(varve(workshop, *question, server.data_dir)[1])
    check_equal(by_views["by"], "views", "whom a bisect asks beside a server")
    client = server.client()
    pages = [client.expect(200, "GET", "/v1/varve/replay?stream=%s&limit=1" % block).json]
    while pages[-1]["next"] is not None:
        after = (block, pages[-1]["next"])
        pages.append(client.expect(200, "GET", "/v1/varve/replay?stream=%s&limit=1&from=%d" % after).json)
    client.close()
    check_equal(server.terminate(), 0, "the server's exit code")
    copy = os.path.join(workshop.directory, "copy")
    os.makedirs(copy)
    shutil.copy(os.path.join(server.data_dir, "log.db"), copy)
    check_equal(varve(workshop, "explain", block, "value", "--json", "--data-dir", copy), live, "explain of the copy")
    code, out, said = varve(workshop, *question, copy)
    check_equal(code, 0, "bisect of the copy; it said: " + said)
    by_log = json.loads(out)
    check_equal(by_log["by"], "log", "whom a bisect asks where there are no views")
    check("because the views cannot be asked: there are no views in" in said, "it says why", said)
    check_equal(by_log["position"], by_views["position"], "both name the same record")
    check_equal(by_log["record"], by_views["record"], "and show the same of it")
    code, lines, _ = varve(workshop, "replay", "--stream", block, "--json", "--data-dir", copy)
    check_equal(code, 0, "replay of the copy")
    by_route = [record for page in pages for record in page["records"]]
    check_equal([json.loads(line) for line in lines.splitlines()], by_route, "the route's pages are the command's lines")
    types = [event["type"] for line in lines.splitlines() for event in json.loads(line)["events"]]
    check_equal(types[:2], ["BlockCreated", "BlockUpdated"], "events of the block")
    ok("a copy of the log file answers like the running server's log")
    return copy


def a_topic_answers_alike(workshop, server, block):
    brokers = real_services.shared().addresses()["kafka"]["bootstrap"]
    topic = ("--kafka-brokers", brokers, "--kafka-topic", "debugging_%d_%d" % (os.getpid(), int(time.time())))
    code, _, said = varve(workshop, "log", "copy", "--data-dir", server.data_dir, *topic,
                          "--kafka-replication-factor", "1")
    check_equal(code, 0, "exit code of the copy into a topic; it said: " + said)
    for words in (("explain", block, "value"), ("replay", "--stream", block, "--diff"),
                  ("bisect", "--where", 'block("human").value contains "(removed)"', "--first", "--json")):
        here = varve(workshop, *words, "--data-dir", server.data_dir)
        there = varve(workshop, *words, "--log", "kafka", *topic)
        check(here[0] == 0 and here[:2] == there[:2], "varve %s of the topic says the same" % words[0], (here, there))
    ok("a topic of Kafka answers like the log file")


def exit_codes(workshop, copy, block):
    def code(wanted, says, *words):
        seen, _, said = varve(workshop, *words, "--data-dir", copy)
        check_equal(seen, wanted, " ".join(words) + ": exit code; it said: " + said)
        check(says in said, " ".join(words) + ": says " + says, said)

    code(2, "  block.value = Carl\n                ^", "bisect", "--where", "block.value = Carl")
    code(2, "  event.type is \"X\"\n             ^", "replay", "--stream", block, "--until", "event.type is \"X\"")
    code(2, "which have id, label", "explain", block, "content")
    code(2, "the log has partitions 0 to 3", "replay", "--partition", "9")
    code(2, "replay what?", "replay")
    code(2, "beyond the end of the log", "bisect", "--where", "agent exists", "--good", "0:999999")
    code(1, "nothing there is of block-nowhere", "replay", "--stream", "block-nowhere")
    code(1, "it never held", "replay", "--stream", block, "--until", "event.type = \"AgentSang\"")
    code(1, "false at the bad cut", "bisect", "--where", "agents.count > 99")
    code(1, "true already at the good cut", "bisect", "--where", "agents.count = 0")
    code(1, "has made block-nowhere", "explain", "block-nowhere")
    ok("exit codes and their sentences")


def steps(workshop, copy, block):
    """The stepper, without a terminal."""
    commands = "next\nback\nto 999\nback\nto 0\nto BlockUpdated\nprint\njump\n"
    code, output, _ = varve(workshop, "replay", "--stream", block, "--step", "--data-dir", copy, stdin=commands)
    check_equal(code, 0, "the stepper's exit code")
    seen = [line.split()[-1] for line in output.splitlines() if line.startswith("  " + block)]
    wanted = ["BlockCreated", "BlockUpdated", "BlockCreated", "BlockUpdated", "BlockCreated", "BlockUpdated"]
    last = [event for event in seen if event == "BlockUpdated"]
    check(len(last) >= 3 and seen[:3] == wanted[:3], "next, back and to show these", (seen, output))
    check("the end: nothing at offset" in output, "the end is told", output)
    check('"value": "Name: (removed). Lives in Oslo."' in output, "print shows the state", output)
    check("'jump' is no command" in output, "what is no command is told", output)
    ok("the stepper goes on, back, and to where it is told")


def damage(workshop, copy, block):
    """A byte of the guilty record changes on disk: the replay shows it, and goes on."""
    code, lines, _ = varve(workshop, "replay", "--stream", block, "--json", "--data-dir", copy)
    place = json.loads(lines.splitlines()[1])
    log = sqlite3.connect(os.path.join(copy, "log.db"))
    hit = log.execute("UPDATE records_%d SET bytes = CAST(REPLACE(CAST(bytes AS TEXT), '(removed)', '(Removed)') AS BLOB) "
                      "WHERE offset = ?" % place["partition"], (place["offset"],)).rowcount
    log.commit()
    log.close()
    check_equal(hit, 1, "records changed by hand")
    code, text, said = varve(workshop, "replay", "--partition", str(place["partition"]), "--data-dir", copy)
    check_equal(code, 0, "replay of a damaged log; it said " + said)
    check("%s fails its checksum; every reader stops here" % place["position"] in text, "the damage is shown", text)
    check(" gap  commit" in text.split("fails its checksum")[1], "the replay goes on: what follows counts no more", text)
    ok("a damaged record is shown, and the replay goes on")


def story(workshop, _chosen):
    server = workshop.server("data", script=SCRIPT).start()
    client = support.Client(server.port)
    ann, clerk, block = happen(client)
    ok("what the page tells of has happened")
    read_page(workshop, server, {"ANN": ann, "CLERK": clerk, "BLOCK": block})
    copy = a_copy_answers_alike(workshop, server, block)
    a_topic_answers_alike(workshop, server, block)
    exit_codes(workshop, copy, block)
    steps(workshop, copy, block)
    damage(workshop, copy, block)


if __name__ == "__main__":
    support.main(__doc__, story)
