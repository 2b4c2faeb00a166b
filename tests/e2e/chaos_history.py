"""The judge of chaos_test.py: what clients saw, what the API says in the end, and what the log holds, compared.

Pure: no clock, no network, no process. A history is a list of operations with the times between which each may have
taken effect; judge() gives back every sentence of complaint, none if the history is possible. chaos_history_test.py
shows that each rule can fail.

Commands: every text is sent by one command alone, so a text in a list says which command took effect. A command whose
client never heard of success may have happened once, or never.
"""

import json
from dataclasses import dataclass, field

COMPLAINTS_MAX = 40
NEVER = float("inf")
SAID = {"user_message": "user", "assistant_message": "assistant"}


@dataclass
class Operation:
    """kind: create (agent = its name), say, edit (of the block `label`), read."""

    kind: str
    agent: str
    text: str
    begin: float
    end: float = NEVER  # When the success was heard.
    # create: the agent's id; say: [(id, kind, text)] of the answer; read: [(kind, text)], None = no such agent.
    result: object = None
    positions: dict = field(default_factory=dict)  # Partition -> offset, of Varve-Position.
    visible: bool = True  # The answer did not say that the views are behind.
    label: str = ""

    @property
    def acknowledged(self):
        return self.end < NEVER


@dataclass
class AgentState:
    """Messages are (id, "user" or "assistant", text), oldest first."""

    name: str
    messages: list = field(default_factory=list)
    blocks: dict = field(default_factory=dict)  # Label -> value.


@dataclass
class Killing:
    """A node was hit at `at`; `how` says by what, `wall` is the same moment in microseconds since 1970."""

    how: str
    url: str
    at: float
    wall: int


# ---- the log, folded by somebody who is no part of Varve

class Fold:
    """What counts of a log: DESIGN.md section 4, in as few words as it takes."""

    def __init__(self):
        self.agents = {}  # Id -> AgentState.
        self.verdicts = {"admitted": 0, "fenced": 0, "duplicate": 0, "gap": 0, "foreign": 0}
        self.claims = []  # (partition, offset, epoch, url, at) of those that count.
        self.verdict_at = {}  # (partition, offset) -> verdict.
        self.places = {}  # Text of an event that counts -> {partition: offset}, the first of each.
        self.complaints = []
        self._admission = {}  # Partition -> [epoch, n].
        self._cluster = {}
        self._sequences = {}
        self._blocks = {}  # Block -> value.
        self._attached = {}  # Agent -> {label: block}.

    def add(self, partition, offset, value):
        """One record, in the order of its partition. `value` is the record's bytes or text."""
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        record = json.loads(value) if value.startswith('{"v":') else {"kind": "record"}
        verdict = self._judge(partition, record) if "epoch" in record else "foreign"
        self.verdicts[verdict] += 1
        self.verdict_at[partition, offset] = verdict
        if verdict != "admitted":
            return verdict
        if record["kind"] == "claim":
            self.claims.append((partition, offset, record["epoch"], record["url"], record["at"]))
        elif record["kind"] == "commit":
            texts = set()
            for part in record["parts"]:
                self._part(partition, offset, part, texts)
            for text in texts:
                self.places.setdefault(text, {}).setdefault(partition, offset)
        return verdict

    def _judge(self, partition, record):
        state = self._admission.setdefault(partition, [0, 0])
        if record["kind"] == "claim":
            if self._cluster.get(partition, record["cluster"]) != record["cluster"]:
                return "foreign"
            if record["epoch"] != state[0] + 1:
                return "fenced"
            state[:] = [record["epoch"], 0]
            self._cluster[partition] = record["cluster"]
            return "admitted"
        if record["epoch"] == 0 or record["epoch"] != state[0]:
            return "fenced"
        if record["n"] <= state[1]:
            return "duplicate"
        if record["n"] > state[1] + 1:
            return "gap"
        state[1] = record["n"]
        return "admitted"

    def _part(self, partition, offset, part, texts):
        stream, wanted = part["stream"], self._sequences.get(part["stream"], 0) + 1
        if part["seq"] != wanted:
            self.complaints.append("%s has sequence %d at %d:%d, not %d"
                                   % (stream, part["seq"], partition, offset, wanted))
        self._sequences[stream] = part["seq"] + len(part["events"]) - 1
        for event in part["events"]:
            self._event(stream, event["type"], event["data"], texts)

    def _event(self, stream, kind, data, texts):
        if kind == "AgentCreated":
            self.agents[stream] = AgentState(data["settings"]["name"])
            self._attached[stream] = {block["label"]: block["id"] for block in data["blocks"]}
            texts.add(data["settings"]["name"])
            self._messages(stream, data["messages"], texts)
        elif kind == "AgentDeleted":
            self.agents.pop(stream, None)
        elif kind == "UserMessageReceived":
            self._messages(stream, data["messages"], texts)
        elif kind == "AssistantReplied":
            self._messages(stream, [data["message"]], texts)
        elif kind in ("BlockCreated", "BlockUpdated"):
            self._blocks[stream] = data["block"]["value"]
            texts.add(data["block"]["value"])

    def _messages(self, stream, messages, texts):
        for message in messages:
            if message["role"] in ("user", "assistant"):
                text = text_in(message["content"])
                self.agents[stream].messages.append((message["id"], message["role"], text))
                texts.add(text)

    def state(self):
        for agent, labels in self._attached.items():
            if agent in self.agents:
                self.agents[agent].blocks = {label: self._blocks.get(block) for label, block in labels.items()}
        return self.agents


def text_in(content):
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [])


def fold_lines(lines):
    """Of "PARTITION OFFSET VALUE", in any order of partitions, each partition in order."""
    fold = Fold()
    for line in lines:
        partition, offset, value = line.split(" ", 2)
        fold.add(int(partition), int(offset), value)
    return fold


# ---- the rules

def judge(operations, listed, agents, fold):
    """`listed`: [(id, name)] as GET /v1/agents says, `agents`: id -> AgentState as the API says, `fold`: a Fold."""
    complaints = list(fold.complaints)
    complaints += judge_registry(operations, listed)
    born = {one.result: one.end for one in operations if one.kind == "create" and one.acknowledged and one.visible}
    by_agent = {}
    for operation in operations:
        by_agent.setdefault(operation.agent, []).append(operation)
    for agent, state in sorted(agents.items()):
        mine = by_agent.get(agent, [])
        complaints += judge_messages(agent, state, [one for one in mine if one.kind == "say"])
        complaints += judge_reads(agent, state, mine, born.get(agent, NEVER))
        complaints += judge_blocks(agent, state, [one for one in mine if one.kind == "edit"])
    for agent in sorted(set(by_agent) - set(agents)):
        if any(one.kind != "create" and one.acknowledged for one in by_agent[agent]):
            complaints.append("%s has acknowledged commands and does not exist" % agent)
    complaints += judge_positions(operations, fold)
    complaints += judge_fold(agents, fold.state())
    if len(complaints) > COMPLAINTS_MAX:
        complaints = complaints[:COMPLAINTS_MAX] + ["and %d more" % (len(complaints) - COMPLAINTS_MAX)]
    return complaints


def judge_registry(operations, listed):
    """Every acknowledged agent is listed once; every listed one was asked for, once."""
    complaints = []
    ids = [agent for agent, _ in listed]
    names = [name for _, name in listed]
    asked = {one.agent for one in operations if one.kind == "create"}
    for one in operations:
        if one.kind == "create" and one.acknowledged and ids.count(one.result) != 1:
            complaints.append("the agent %s (%s) was acknowledged and is listed %d times"
                              % (one.agent, one.result, ids.count(one.result)))
    for agent, name in listed:
        if name not in asked:
            complaints.append("nobody has created %s (%s)" % (agent, name))
        if names.count(name) != 1:
            complaints.append("%s was created %d times by one command" % (name, names.count(name)))
    return complaints


def judge_messages(agent, state, said):
    """Acknowledged: once. Not acknowledged: at most once. In an order that real time allows, each with its answer."""
    complaints = []
    place = {}
    commands = {one.text: one for one in said}
    users = [text for _, kind, text in state.messages if kind == "user"]
    for index, text in enumerate(users):
        if text not in commands:
            complaints.append("%s: nobody has said %r" % (agent, text))
        if text in place:
            complaints.append("%s: %r is listed twice" % (agent, text))
        place[text] = index
    for one in said:
        if one.acknowledged and one.text not in place:
            complaints.append("%s: %r was acknowledged and is missing" % (agent, one.text))
    latest, latest_text = -NEVER, None
    for text in users:
        one = commands.get(text)
        if one is None:
            continue
        if one.end < latest:
            complaints.append("%s: %r was answered before %r was sent, and is listed behind it"
                              % (agent, text, latest_text))
        if one.begin > latest:
            latest, latest_text = one.begin, text
    return complaints + judge_answers(agent, state, said)


def judge_answers(agent, state, said):
    """What an answer held is listed behind its question, before the next one."""
    complaints = []
    turn_of, turn = {}, None
    for message, kind, text in state.messages:
        turn = text if kind == "user" else turn
        turn_of[message] = turn
    for one in said:
        for message, kind, text in one.result or []:
            if kind != "assistant":
                continue
            if turn_of.get(message) != one.text:
                complaints.append("%s: the answer %s to %r is listed with %r"
                                  % (agent, message, one.text, turn_of.get(message)))
            if one.text not in text:
                complaints.append("%s: %r was answered by %r" % (agent, one.text, text))
    return complaints


def judge_reads(agent, state, mine, born):
    """A read sees a beginning of the final history, and everything that was acknowledged before it began. `born`: from
    when on everybody must see the agent."""
    complaints = []
    final = [(kind, text) for _, kind, text in state.messages]
    users = {text: index for index, (kind, text) in enumerate(final) if kind == "user"}
    said = sorted((one.end, one.text) for one in mine if one.kind == "say" and one.acknowledged and one.visible)
    for read in mine:
        if read.kind != "read":
            continue
        if read.result is None:
            if born < read.begin:
                complaints.append("%s: a read found no agent, which was acknowledged before it" % agent)
            continue
        if read.result != final[:len(read.result)]:
            differs = next(i for i, seen in enumerate(read.result) if i >= len(final) or seen != final[i])
            complaints.append("%s: a read saw %r at place %d, where the history has %r"
                              % (agent, read.result[differs], differs, final[differs:differs + 1]))
            continue
        for end, text in said:
            if end >= read.begin:
                break
            if users.get(text, -1) >= len(read.result):
                complaints.append("%s: a read missed %r, which was acknowledged before it" % (agent, text))
                break
    return complaints


def judge_blocks(agent, state, edits):
    """A block's value is of a command behind which no other one was acknowledged."""
    complaints = []
    for label in sorted({one.label for one in edits}):
        mine = [one for one in edits if one.label == label]
        value = state.blocks.get(label)
        winner = next((one for one in mine if one.text == value), None)
        if winner is None:
            if any(one.acknowledged for one in mine):
                complaints.append("%s: its block %s has %r, and acknowledged edits" % (agent, label, value))
            continue
        for one in mine:
            if one.acknowledged and one.begin > winner.end:
                complaints.append("%s: its block %s has %r, and %r was acknowledged later"
                                  % (agent, label, value, one.text))
                break
    return complaints


def judge_positions(operations, fold):
    """The position of an answer is that of a record that counts, at or behind the one that did what was asked."""
    complaints = []
    for one in operations:
        if not one.acknowledged or one.kind == "read":
            continue
        what = "%s %r to %s" % (one.kind, one.text, one.agent)
        for place in sorted(one.positions.items()):
            verdict = fold.verdict_at.get(place, "not there")
            if verdict != "admitted":
                complaints.append("%s: the record of its position %d:%d is %s" % (what, *place, verdict))
        done = fold.places.get(one.text, {})
        if not any(one.positions.get(partition, -1) >= offset for partition, offset in done.items()):
            complaints.append("%s: it happened at %r, and its position is %r" % (what, done, one.positions))
    return complaints


def judge_fold(agents, folded):
    """The views are what the log says."""
    complaints = []
    for agent in sorted(set(agents) ^ set(folded)):
        complaints.append("%s is in the %s alone" % (agent, "views" if agent in agents else "log"))
    for agent in sorted(set(agents) & set(folded)):
        seen, wanted = agents[agent], folded[agent]
        if seen.name != wanted.name:
            complaints.append("%s is called %r, in the log %r" % (agent, seen.name, wanted.name))
        if seen.messages != wanted.messages:
            at = next((i for i, (a, b) in enumerate(zip(seen.messages, wanted.messages)) if a != b),
                      min(len(seen.messages), len(wanted.messages)))
            complaints.append("%s: message %d of %d is %r, in the log (%d) %r"
                              % (agent, at, len(seen.messages), seen.messages[at:at + 1], len(wanted.messages),
                                 wanted.messages[at:at + 1]))
        for label, value in sorted(seen.blocks.items()):
            if wanted.blocks.get(label) != value:
                complaints.append("%s: its block %s is %r, in the log %r"
                                  % (agent, label, value, wanted.blocks.get(label)))
    return complaints


# ---- how long it took

def failovers(killings, operations, fold):
    """{how: [seconds]}: for each partition that the node owned when it was hit, from there to the first command that
    was served behind the next claim."""
    served = {}
    for one in operations:
        if one.acknowledged and one.kind != "read":
            for partition, offset in one.positions.items():
                served.setdefault(partition, []).append((one.end, offset))
    for answers in served.values():
        answers.sort()
    found = {}
    for hit in killings:
        again = min((one.wall for one in killings if one.url == hit.url and one.wall > hit.wall), default=NEVER)
        for partition in sorted({claim[0] for claim in fold.claims}):
            mine = [claim for claim in fold.claims if claim[0] == partition]
            before = [claim for claim in mine if claim[4] <= hit.wall]
            behind = mine[len(before):]
            # Whoever was hit again before anybody took over is counted from there.
            if not before or before[-1][3] != hit.url or not behind or behind[0][4] > again:
                continue
            ends = [end for end, offset in served.get(partition, []) if end > hit.at and offset > behind[0][1]]
            if ends:
                found.setdefault(hit.how, []).append(ends[0] - hit.at)
    return {how: sorted(seconds) for how, seconds in found.items()}


def middle(values):
    return sorted(values)[len(values) // 2] if values else None
