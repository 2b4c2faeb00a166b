#!/usr/bin/env python3
"""The judge of the chaos test judges histories that are made up: a good one has no complaint, and every way in which
it is broken here has one. Needs no server."""

import copy
import json
import unittest

import chaos_history
from chaos_history import AgentState, Fold, Killing, Operation

AGENT = "agent-1"


def commit(epoch, n, *parts):
    return json.dumps({"v": 1, "kind": "commit", "epoch": epoch, "n": n, "parts": list(parts)}).replace(" ", "", 1)


def claim(epoch, url="http://a", at=0, cluster="varve"):
    return json.dumps({"v": 1, "kind": "claim", "epoch": epoch, "url": url, "at": at, "cluster": cluster}).replace(
        " ", "", 1)


def part(stream, seq, *events):
    return {"stream": stream, "seq": seq, "events": [{"type": kind, "data": data} for kind, data in events]}


def question(ident, text):
    return ("UserMessageReceived", {"messages": [{"id": ident, "role": "user", "content": text}]})


def reply(ident, text):
    return ("AssistantReplied", {"message": {"id": ident, "role": "assistant", "content": [{"text": text}]}})


def born():
    return part(AGENT, 1, ("AgentCreated", {"settings": {"name": "ann"}, "messages": [],
                                            "blocks": [{"id": "block-1", "label": "human"}]}))


def block(seq, value):
    kind = "BlockCreated" if seq == 1 else "BlockUpdated"
    return part("block-1", seq, (kind, {"block": {"label": "human", "value": value}}))


GOOD_LOG = [
    claim(1),
    commit(1, 1, born(), block(1, "v0")),
    commit(1, 2, part(AGENT, 2, question("q1", "one"))),
    commit(1, 3, part(AGENT, 3, reply("r1", "re: one"))),
    claim(2, "http://b", at=50),
    commit(1, 4, part(AGENT, 4, question("qz", "zombie"))),  # Fenced.
    commit(2, 1, part(AGENT, 4, question("q2", "two"), reply("r2", "re: two"))),
    commit(2, 2, block(2, "v1")),
]


def folded(records):
    fold = Fold()
    for offset, record in enumerate(records):
        fold.add(0, offset, record)
    return fold


class History:
    """A good one, to be broken."""

    def __init__(self):
        self.log = list(GOOD_LOG)
        self.operations = [
            Operation("create", "ann", "ann", 0, 1, AGENT, {0: 1}),
            Operation("say", AGENT, "one", 2, 3, [("r1", "assistant", "re: one")], {0: 3}),
            Operation("say", AGENT, "zombie", 3.5),
            Operation("read", AGENT, "", 4, 5, [("user", "one"), ("assistant", "re: one")]),
            Operation("say", AGENT, "two", 6, 7, [("r2", "assistant", "re: two")], {0: 6}),
            Operation("edit", AGENT, "v1", 8, 9, None, {0: 7}, label="human"),
        ]
        self.listed = [(AGENT, "ann")]
        self.agents = {AGENT: AgentState("ann", [("q1", "user", "one"), ("r1", "assistant", "re: one"),
                                                 ("q2", "user", "two"), ("r2", "assistant", "re: two")],
                                         {"human": "v1"})}

    def complaints(self):
        return chaos_history.judge(self.operations, self.listed, self.agents, folded(self.log))

    def say(self, text):
        return next(one for one in self.operations if one.text == text)


class Judge(unittest.TestCase):
    def setUp(self):
        self.history = History()

    def refused(self, *words):
        complaints = self.history.complaints()
        self.assertTrue(any(all(word in complaint for word in words) for complaint in complaints),
                        "%r is complained of in %r" % (words, complaints))

    def test_a_good_history_has_no_complaint(self):
        self.assertEqual([], self.history.complaints())

    def test_a_message_that_is_gone(self):
        del self.history.agents[AGENT].messages[2]
        self.refused("'two'", "missing")

    def test_a_message_that_is_there_twice(self):
        messages = self.history.agents[AGENT].messages
        messages.insert(2, ("q3", "user", "one"))
        self.refused("'one'", "twice")

    def test_a_message_of_nobody(self):
        self.history.agents[AGENT].messages.append(("q9", "user", "who?"))
        self.refused("nobody has said", "'who?'")

    def test_an_unacknowledged_message_may_be_there_once(self):
        self.history.log.insert(5, commit(2, 1, part(AGENT, 4, question("q0", "zombie"), reply("r0", "re: zombie"))))
        self.history.log[7] = commit(2, 2, part(AGENT, 6, question("q2", "two"), reply("r2", "re: two")))
        self.history.log[8] = commit(2, 3, block(2, "v1"))
        self.history.agents[AGENT].messages[2:2] = [("q0", "user", "zombie"), ("r0", "assistant", "re: zombie")]
        self.history.say("two").positions = {0: 7}
        self.history.operations[-1].positions = {0: 8}
        self.assertEqual([], self.history.complaints())

    def test_an_order_that_real_time_forbids(self):
        messages = self.history.agents[AGENT].messages
        messages[:] = messages[2:] + messages[:2]
        self.refused("'one' was answered before 'two' was sent")

    def test_messages_that_were_sent_at_once_may_have_any_order(self):
        messages = self.history.agents[AGENT].messages
        messages[:] = messages[2:] + messages[:2]
        self.history.say("two").begin = 2.5
        self.history.operations.pop(3)  # Its read saw the other order.
        order = [complaint for complaint in self.history.complaints() if "real time" in complaint or "sent" in complaint]
        self.assertEqual([], order)

    def test_an_answer_of_another_question(self):
        messages = self.history.agents[AGENT].messages
        messages[1], messages[3] = messages[3], messages[1]
        self.refused("the answer r1 to 'one' is listed with 'two'")

    def test_an_agent_that_is_not_listed(self):
        self.history.listed.clear()
        self.refused("ann", "listed 0 times")

    def test_an_agent_that_is_listed_twice(self):
        self.history.listed.append(("agent-2", "ann"))
        self.refused("created 2 times")

    def test_an_agent_of_nobody(self):
        self.history.listed.append(("agent-3", "eve"))
        self.refused("nobody has created", "eve")

    def test_an_agent_that_works_and_does_not_exist(self):
        self.history.agents.clear()
        self.refused(AGENT, "does not exist")

    def test_a_read_that_misses_what_was_acknowledged(self):
        self.history.operations[3].result = []
        self.refused("a read missed 'one'")

    def test_a_read_before_the_views_were_there_may_miss_it(self):
        self.history.operations[3].result = []
        self.history.say("one").visible = False
        self.assertEqual([], self.history.complaints())

    def test_a_read_that_does_not_find_the_agent(self):
        self.history.operations[3].result = None
        self.refused("found no agent")
        self.history.operations[0].visible = False
        self.assertEqual([], self.history.complaints())

    def test_a_read_of_what_is_not_there_later(self):
        self.history.operations[3].result.append(("user", "zombie"))
        self.refused("a read saw", "'zombie'")

    def test_an_edit_that_is_lost(self):
        self.history.agents[AGENT].blocks["human"] = "v0"
        self.refused("acknowledged edits")

    def test_an_edit_that_came_back(self):
        self.history.operations.insert(0, Operation("edit", AGENT, "v-old", 1, 2, None, {0: 1}, label="human"))
        self.history.agents[AGENT].blocks["human"] = "v-old"
        self.refused("'v-old'", "'v1' was acknowledged later")

    def test_an_answer_whose_record_does_not_count(self):
        self.history.say("two").positions = {0: 5}
        self.refused("'two'", "0:5 is fenced")
        self.history.say("two").positions = {0: 99}
        self.refused("'two'", "0:99 is not there")

    def test_an_answer_whose_position_is_before_what_it_did(self):
        self.history.say("two").positions = {0: 3}
        self.refused("'two'", "happened at {0: 6}")

    def test_views_that_are_not_the_fold_of_the_log(self):
        self.history.log[6] = commit(2, 1, part(AGENT, 4, question("q2", "two"), reply("r2", "re: TWO")))
        self.refused("in the log", "re: TWO")

    def test_a_zombies_record_in_the_views(self):
        self.history.agents[AGENT].messages.insert(2, ("qz", "user", "zombie"))
        self.refused("in the log")

    def test_an_agent_that_is_in_the_log_alone(self):
        other = part("agent-2", 1, ("AgentCreated", {"settings": {"name": "bob"}, "messages": [], "blocks": []}))
        self.history.log.append(commit(2, 3, other))
        self.refused("agent-2", "log alone")

    def test_a_sequence_with_a_hole(self):
        self.history.log[7] = commit(2, 2, block(3, "v1"))
        self.refused("block-1 has sequence 3")

    def test_many_complaints_are_cut(self):
        self.history.listed += [("agent-x%d" % i, "x%d" % i) for i in range(100)]
        self.assertLessEqual(len(self.history.complaints()), chaos_history.COMPLAINTS_MAX + 1)


class Admission(unittest.TestCase):
    def verdicts(self, *records):
        fold = Fold()
        return [fold.add(0, offset, record) for offset, record in enumerate(records)]

    def test_what_counts_and_what_does_not(self):
        one, two = commit(1, 1, block(1, "a")), commit(1, 2, block(2, "b"))
        self.assertEqual(["fenced", "admitted", "gap", "admitted", "duplicate", "admitted", "fenced", "admitted",
                          "fenced", "foreign", "foreign"],
                         self.verdicts(one, claim(1), two, one, one, two, claim(1), claim(2), two,
                                       claim(3, cluster="other"), "hello"))

    def test_lines_of_several_partitions(self):
        fold = chaos_history.fold_lines(["1 0 " + claim(1), "0 7 " + claim(1), "0 9 " + commit(1, 1, born())])
        self.assertEqual(3, fold.verdicts["admitted"])
        self.assertEqual({0: 9}, fold.places["ann"])


class Failover(unittest.TestCase):
    def test_from_the_hit_to_the_first_command_behind_the_next_claim(self):
        history = History()
        hits = [Killing("kill", "http://a", 5.0, 40), Killing("kill", "http://b", 5.5, 45)]
        self.assertEqual({"kill": [2.0]}, chaos_history.failovers(hits, history.operations, folded(history.log)))

    def test_from_the_last_hit_before_somebody_took_over(self):
        history = History()
        hits = [Killing("stop", "http://a", 4.0, 30), Killing("kill", "http://a", 5.0, 40)]
        self.assertEqual({"kill": [2.0]}, chaos_history.failovers(hits, history.operations, folded(history.log)))

    def test_nothing_is_affected_by_who_owns_nothing(self):
        history = copy.deepcopy(History())
        self.assertEqual({}, chaos_history.failovers([Killing("kill", "http://c", 5, 40)], history.operations,
                                                     folded(history.log)))


if __name__ == "__main__":
    unittest.main()
