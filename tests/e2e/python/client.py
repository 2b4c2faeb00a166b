"""Lives an agent's life with the official Python client against a running server.

    python client.py BASE_URL MODEL LOCKED_BASE_URL

MODEL must be one of the mock provider (mock_provider.py), whose directives the messages carry. The server at
LOCKED_BASE_URL asks for a password. It prints one "ok" line for each chapter and stops at the first thing that
is not as a client may expect it, with exit code 1. It runs with every 1.x version of the client.
"""

import http.server
import os
import socket
import sys
import threading
import time
import traceback
import warnings

import letta_client
from expect import Unexpected, everything, expect, expect_equal, expect_paged, ids, kinds, poll, text_of
from letta_client import Letta

warnings.simplefilter("ignore", DeprecationWarning)  # messages.stream is what everybody uses.
BASE, MODEL, LOCKED = sys.argv[1:4]
UNIQUE = "%d-%d" % (os.getpid(), time.time_ns() // 1000)

# A retry would hide what went wrong.
client = Letta(base_url=BASE, api_key="unused", max_retries=0, timeout=30)


def say(agent, text, **options):
    return client.agents.messages.create(agent.id, messages=[{"role": "user", "content": text}], **options)


def create_agent(name, **options):
    return client.agents.create(name="py-%s-%s" % (name, UNIQUE), model=MODEL, **options)


# ---- agents and blocks


def agents(story):
    agent = story.agent = create_agent(
        "agent", embedding="openai/text-embedding-3-small", tags=["py-" + UNIQUE], metadata={"n": 1, "list": [1.5, None]},
        memory_blocks=[{"label": "human", "value": "Name: Ada."}, {"label": "persona", "value": "I am careful."}])
    expect_equal((agent.model, agent.agent_type, agent.metadata), (MODEL, "letta_v1_agent", {"n": 1, "list": [1.5, None]}),
                 "model, type and metadata")
    again = client.agents.retrieve(agent.id, include=["agent.blocks", "agent.tags", "agent.tools"])
    expect_equal(sorted(block.label for block in again.blocks), ["human", "persona"], "included blocks")
    expect_equal(again.tags, ["py-" + UNIQUE], "included tags")
    expect({"memory_insert", "memory_replace"} <= {tool.name for tool in again.tools}, "base tools", again.tools)
    others = [create_agent("other%d" % number, tags=["py-" + UNIQUE]) for number in range(4)]
    newest_first = ids(reversed([agent] + others))
    expect_paged(client.agents.list(limit=2), newest_first, "agents, two at a time")
    expect_paged(client.agents.list(limit=2, order="asc", tags=["py-" + UNIQUE]), newest_first[::-1], "oldest first")
    expect_equal(ids(client.agents.list(name=others[1].name).items), [others[1].id], "agents of one name")
    changed = client.agents.update(agent.id, description="Changed.", tags=["py-" + UNIQUE, "more"])
    expect_equal((changed.description, changed.name), ("Changed.", agent.name), "answer to update")
    expect_equal(client.agents.retrieve(agent.id).description, "Changed.", "description afterwards")
    expect("more" in list(client.tags.list(limit=1000)), "the tag is listed")
    for other in others:
        client.agents.delete(other.id)
    expect_equal(ids(client.agents.list(tags=["py-" + UNIQUE]).items), [agent.id], "agents left")


def blocks(story):
    label = "notes-%s" % UNIQUE
    made = [client.blocks.create(label=label, value="note %d" % number, limit=1000) for number in range(5)]
    expect_paged(client.blocks.list(label=label, limit=2), ids(made), "blocks, two at a time")
    expect_paged(client.blocks.list(limit=3), ids(made), "all blocks, three at a time")
    changed = client.blocks.update(made[0].id, value="Gr\u00fc\u00dfe \u2713\n\"quoted\"")
    expect_equal(client.blocks.retrieve(made[0].id).value, changed.value, "the value after blocks.update")
    client.agents.blocks.attach(made[0].id, agent_id=story.agent.id)
    attached = everything(client.agents.blocks.list(story.agent.id))
    expect_equal(sorted(block.label for block in attached), ["human", label, "persona"], "attached blocks")
    expect_paged(client.agents.blocks.list(story.agent.id, limit=1), ids(attached), "attached blocks, one at a time")
    expect_equal(ids(everything(client.blocks.agents.list(made[0].id))), [story.agent.id], "agents of the block")
    client.agents.blocks.update("human", agent_id=story.agent.id, value="Name: Grace.")
    expect_equal(client.agents.blocks.retrieve("human", agent_id=story.agent.id).value, "Name: Grace.", "core memory")
    client.agents.blocks.detach(made[0].id, agent_id=story.agent.id)
    expect_equal(len(everything(client.agents.blocks.list(story.agent.id))), 2, "blocks after detaching")
    for block in made:
        client.blocks.delete(block.id)
    expect_equal(everything(client.blocks.list(label=label)), [], "blocks after deleting")


# ---- messages


def messages(story):
    agent = story.agent
    for number in range(3):
        answer = say(agent, "Message %d. [[reply:Reply %d \u2713]]" % (number, number))
        expect_equal(kinds(answer.messages), ["assistant_message"], "messages in answer %d" % number)
        expect_equal(text_of(answer.messages[0]), "Reply %d \u2713" % number, "the reply")
        expect_equal((answer.stop_reason.stop_reason, answer.usage.step_count), ("end_turn", 1), "stop reason and steps")
        expect(answer.usage.total_tokens > 0, "tokens are counted", answer.usage)
    whole = client.agents.messages.list(agent.id, order="asc", limit=1000).items
    expect_equal(kinds(whole), ["system_message"] + ["user_message", "assistant_message"] * 3, "the history")
    expect_paged(client.agents.messages.list(agent.id, order="asc", limit=2), ids(whole), "messages, two at a time")
    expect_paged(client.agents.messages.list(agent.id, order="asc", limit=1), ids(whole), "messages, one at a time")


def finished_stream(stream):
    """[what came], which must end as a finished turn's stream does."""
    came = list(stream)
    expect_equal(kinds(came)[-2:], ["stop_reason", "usage_statistics"], "the end of the stream")
    expect_equal(came[-2].stop_reason, "end_turn", "the stop reason")
    run = {item.run_id for item in came[:-2]}
    expect_equal(len(run), 1, "runs that the stream names")
    return [item for item in came[:-2] if item.message_type != "ping"], came


def check_in_history(agent, streamed):
    """The streamed messages are those that the history has, ids and texts."""
    history = {item.id: item for item in client.agents.messages.list(agent.id, limit=20).items
               if item.message_type == "assistant_message"}
    texts = {}
    for chunk in streamed:
        if chunk.message_type == "assistant_message":
            texts[chunk.id] = texts.get(chunk.id, "") + text_of(chunk)
    for message, text in texts.items():
        expect(message in history, "a streamed message is in the history by its id", (message, list(history)))
        expect_equal(text_of(history[message]), text, "its text in the history")
    return list(texts.values())


def streams(story):
    agent = story.agent
    said = [{"role": "user", "content": "Stream. [[reply:one two three four]]"}]
    steps, _ = finished_stream(client.agents.messages.create(agent.id, messages=said, streaming=True))
    expect_equal(kinds(steps), ["assistant_message"], "messages of a stream by steps")
    expect_equal(check_in_history(agent, steps), ["one two three four"], "the reply")
    steps, _ = finished_stream(client.agents.messages.stream(agent.id, messages=said))
    expect_equal(check_in_history(agent, steps), ["one two three four"], "the reply by messages.stream")
    for open_stream in (client.agents.messages.create, client.agents.messages.stream):
        tokens, came = finished_stream(open_stream(agent.id, messages=said, streaming=True, stream_tokens=True,
                                                   include_pings=True))
        expect_equal(came[0].message_type, "ping", "what comes first")
        expect(len(tokens) >= 4, "the reply comes token by token", kinds(tokens))
        expect_equal(len(set(ids(tokens))), 1, "ids of the tokens of one message")
        expect_equal(check_in_history(agent, tokens), ["one two three four"], "the reply by tokens")


def tool_calls(story):
    agent = story.agent
    call = "[[tool:memory_insert {\"label\": \"human\", \"new_string\": \"%s\"}]] [[reply:Noted.]]"
    answer = say(agent, "Note this. " + call % "Likes tea.")
    expect_equal(kinds(answer.messages), ["tool_call_message", "tool_return_message", "assistant_message"], "the answer")
    asked, returned = answer.messages[:2]
    expect_equal((asked.tool_call.name, returned.status), ("memory_insert", "success"), "the call and its outcome")
    expect_equal(returned.tool_call_id, asked.tool_call.tool_call_id, "the id that joins them")
    expect_equal(answer.usage.step_count, 2, "steps of a turn with a tool call")
    value = client.agents.blocks.retrieve("human", agent_id=agent.id).value
    expect("Likes tea." in value, "the tool has edited the block", value)
    for tokens in (False, True):
        text = "Streamed %s." % tokens
        came, _ = finished_stream(client.agents.messages.stream(
            agent.id, messages=[{"role": "user", "content": "Note. " + call % text}], stream_tokens=tokens))
        order = [kind for kind, before in zip(kinds(came), [None] + kinds(came)) if kind != before]
        expect_equal(order, ["tool_call_message", "tool_return_message", "assistant_message"], "the stream's messages")
        arguments = "".join(item.tool_call.arguments or "" for item in came if item.message_type == "tool_call_message")
        expect(text in arguments, "the call's arguments are streamed whole", arguments)
        value = client.agents.blocks.retrieve("human", agent_id=agent.id).value
        expect_equal(value.count(text), 1, "how often the tool has edited the block")
    failed = say(agent, "Fail. [[tool:memory_insert {\"label\": \"nowhere\", \"new_string\": \"x\"}]] [[reply:Sorry.]]")
    expect_equal([item.status for item in failed.messages if item.message_type == "tool_return_message"], ["error"],
                 "the outcome of a call that cannot work")


# ---- runs


def runs(story):
    agent = story.agent
    listed = everything(client.runs.list(agent_id=agent.id, limit=1000))
    expect(len(listed) >= 9, "every turn was a run", len(listed))
    expect_paged(client.runs.list(agent_id=agent.id, limit=2), ids(listed), "runs, two at a time")
    expect_equal({run.status for run in listed}, {"completed"}, "what became of them")
    run = client.runs.retrieve(listed[-1].id)
    expect_equal((run.agent_id, run.status, run.stop_reason), (agent.id, "completed", "end_turn"), "the first run")
    expect(run.completed_at is not None, "when it was completed", run)
    said = everything(client.runs.messages.list(run.id, limit=1000))
    expect_equal(kinds(said), ["user_message", "assistant_message"], "its messages")
    expect_paged(client.runs.messages.list(run.id, limit=1), ids(said), "its messages, one at a time")
    expect_equal(len(everything(client.runs.steps.list(run.id))), 1, "its steps")
    expect(client.runs.usage.retrieve(run.id).total_tokens > 0, "its tokens")


def background(story):
    agent = story.agent
    run = client.agents.messages.create_async(
        agent.id, messages=[{"role": "user", "content": "Later. [[reply:Done later.]] [[delay:300]]"}])
    expect(run.id.startswith("run-") and run.status in ("created", "running"), "an asynchronous run", run)
    expect_equal((run.agent_id, run.background), (agent.id, True), "whose it is")
    done = poll("the run is completed", lambda: [seen for seen in [client.runs.retrieve(run.id)]
                                                 if seen.status not in ("created", "running")])[0]
    expect_equal((done.status, done.stop_reason), ("completed", "end_turn"), "what became of it")
    texts = [text_of(item) for item in client.runs.messages.list(run.id) if item.message_type == "assistant_message"]
    expect_equal(texts, ["Done later."], "its reply")
    came, _ = finished_stream(client.runs.messages.stream(run.id))
    expect_equal(check_in_history(agent, came), ["Done later."], "its stream, read after its end")


def cancels(story):
    agent = story.agent
    for tokens in (True, False):
        text = "Never mind. [[reply:%s]] " % " ".join("word%d" % number for number in range(100))
        text += "[[token_delay:200]]" if tokens else "[[delay:10000]]"
        stream = client.agents.messages.stream(agent.id, messages=[{"role": "user", "content": text}],
                                               stream_tokens=tokens)
        run = next(iter(stream)).run_id
        expect_equal(client.runs.retrieve(run).status, "running", "a turn that goes on")
        expect_equal(ids(client.runs.list(agent_id=agent.id, active=True).items), [run], "active runs")
        expect_equal(client.agents.messages.cancel(agent.id, run_ids=[run]), {run: "cancelled"}, "answer to cancel")
        rest = list(stream)
        expect_equal([item.stop_reason for item in rest if item.message_type == "stop_reason"], ["cancelled"],
                     "how the stream ends")
        ended = client.runs.retrieve(run)
        expect_equal((ended.status, ended.stop_reason), ("cancelled", "cancelled"), "the cancelled run")
    said = [text_of(item) for item in client.agents.messages.list(agent.id, limit=1).items]
    expect("Never mind." in said[0] or "word0" in said[0], "the history ends with the cancelled turn", said)
    answer = say(agent, "Go on. [[reply:Here I am.]]")
    expect_equal(text_of(answer.messages[-1]), "Here I am.", "the agent goes on")


# ---- the catalogue

SOURCE = '''def %s(word: str) -> str:
    """
    Gives the word back.

    Args:
        word (str): Any word.

    Returns:
        str: The same word.
    """
    return word
'''


def tools(story):
    name = "echo_%s" % UNIQUE.replace("-", "_")
    made = [client.tools.create(source_code=SOURCE % (name + str(number))) for number in range(3)]
    expect_equal([tool.name for tool in made], [name + str(number) for number in range(3)], "names out of the source")
    expect_paged(client.tools.list(limit=2), ids(reversed(made)), "tools, two at a time")
    expect_equal(ids(client.tools.list(name=made[1].name).items), [made[1].id], "tools of one name")
    again = client.tools.upsert(source_code=SOURCE % made[0].name, description="Upserted.")
    expect_equal((again.id, again.description), (made[0].id, "Upserted."), "answer to upsert")
    changed = client.tools.update(made[0].id, description="Changed.")
    expect_equal((changed.description, client.tools.retrieve(made[0].id).description), ("Changed.", "Changed."), "update")
    for tool in made:
        client.agents.tools.attach(tool.id, agent_id=story.agent.id)
    attached = everything(client.agents.tools.list(story.agent.id, limit=1000))
    expect(set(ids(made)) <= set(ids(attached)), "attached tools", attached)
    expect_paged(client.agents.tools.list(story.agent.id, limit=2), ids(attached), "attached tools, two at a time")
    client.agents.tools.detach(made[0].id, agent_id=story.agent.id)
    expect(made[0].id not in ids(everything(client.agents.tools.list(story.agent.id))), "a detached tool is gone")
    for tool in made:
        client.tools.delete(tool.id)
    expect_equal(client.tools.list(name=made[1].name).items, [], "tools left")
    handles = [model.handle for model in client.models.list()]
    expect(MODEL in handles, "the model is listed", handles)
    expect(len(list(client.models.embeddings.list())) > 0, "embedding models are listed")


# ---- errors


class Stub(http.server.BaseHTTPRequestHandler):
    """Answers what the server never does."""

    def do_GET(self):
        forbidden = "health" in self.path
        body = b'{"detail":"forbidden"}' if forbidden else b'{"id": 5}'
        self.send_response(403 if forbidden else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def expect_raised(kind, work, what, status=None):
    try:
        work()
    except kind as error:
        expect(type(error) is kind, "%s: wanted %s" % (what, kind.__name__), error)
        expect_equal(getattr(error, "status_code", None), status, "%s: status" % what)
        return error
    raise Unexpected("%s: nothing was raised" % what)


def errors(story):
    agent = story.agent
    nobody = "agent-00000000-0000-4000-8000-00000000dead"
    twins = [client.blocks.create(label="twin-" + UNIQUE, value="x") for _ in range(2)]
    client.agents.blocks.attach(twins[0].id, agent_id=agent.id)
    locked = Letta(base_url=LOCKED, api_key="wrong", max_retries=0)
    of_server = [
        (letta_client.BadRequestError, 400, lambda: create_agent("bad", tools=["no_such_tool"]), "an unknown tool"),
        (letta_client.BadRequestError, 400, lambda: say(agent, "1 [[status:400]]"), "a provider's 400"),
        (letta_client.AuthenticationError, 401, lambda: locked.agents.list(), "a wrong password"),
        (letta_client.AuthenticationError, 401, lambda: say(agent, "2 [[status:401]]"), "a provider's 401"),
        (letta_client.NotFoundError, 404, lambda: client.agents.retrieve(nobody), "an agent that never was"),
        (letta_client.ConflictError, 409, lambda: client.agents.blocks.attach(twins[1].id, agent_id=agent.id),
         "a second block of one label"),
        (letta_client.ConflictError, 409, lambda: client.agents.messages.cancel(agent.id), "nothing to cancel"),
        (letta_client.UnprocessableEntityError, 422, lambda: client.agents.retrieve("agent-nonsense"), "a malformed id"),
        (letta_client.RateLimitError, 429, lambda: say(agent, "3 [[status:429]] [[retry_after:0]]"), "a provider's 429"),
        (letta_client.InternalServerError, 500, lambda: say(agent, "4 [[status:500]] [[retry_after:0]]"),
         "a provider's 500"),
    ]
    for kind, status, work, what in of_server:
        error = expect_raised(kind, work, what, status)
        expect(isinstance(error.body, dict) and (error.body.get("detail") or error.body.get("error")),
               "%s: the body says why" % what, error.body)
    expect_raised(letta_client.APIStatusError, lambda: list(client.agents.messages.stream(
        agent.id, messages=[{"role": "user", "content": "5 [[status:400]]"}])), "an error in a stream", 200)
    expect_raised(letta_client.APIConnectionError,
                  lambda: Letta(base_url="http://127.0.0.1:%d" % closed_port(), api_key="x", max_retries=0).health(),
                  "a port that nobody listens on")
    expect_raised(letta_client.APITimeoutError, lambda: say(agent, "6 [[delay:2000]]", timeout=0.5), "a slow turn")
    said = [text_of(item) for item in client.agents.messages.list(agent.id, limit=20).items
            if item.message_type == "user_message"]
    for number in range(1, 7):
        expect(any(text.startswith("%d [[" % number) for text in said), "message %d is kept" % number, said)
    Letta(base_url=LOCKED, api_key="secret", max_retries=0).agents.list()
    for block in twins:
        client.blocks.delete(block.id)


def stub_errors(_story):
    stub = http.server.HTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    strict = Letta(base_url="http://127.0.0.1:%d" % stub.server_port, api_key="x", max_retries=0,
                   _strict_response_validation=True)
    expect_raised(letta_client.PermissionDeniedError, strict.health, "what the server never says", 403)
    expect_raised(letta_client.APIResponseValidationError, lambda: strict.agents.retrieve("agent-1"), "a wrong type", 200)
    stub.shutdown()


def strictly(story):
    """What the server answers has the types that the client declares."""
    strict = Letta(base_url=BASE, api_key="unused", max_retries=0, _strict_response_validation=True)
    strict.health()
    strict.agents.retrieve(story.agent.id, include=["agent.blocks", "agent.tools", "agent.tags"])
    everything(strict.agents.list(limit=5))
    everything(strict.agents.blocks.list(story.agent.id))
    everything(strict.agents.messages.list(story.agent.id, order="asc"))
    everything(strict.runs.list(agent_id=story.agent.id))
    everything(strict.tools.list())
    strict.models.list()
    strict.agents.messages.create(story.agent.id, messages=[{"role": "user", "content": "Strictly."}])


def deletes(story):
    client.agents.delete(story.agent.id)
    expect_raised(letta_client.NotFoundError, lambda: client.agents.retrieve(story.agent.id), "a deleted agent", 404)
    expect_raised(letta_client.NotFoundError, lambda: say(story.agent, "Hello?"), "talk to a deleted agent", 404)


CHAPTERS = [agents, blocks, messages, streams, tool_calls, runs, background, cancels, tools, errors, stub_errors,
            strictly, deletes]


class Story:
    """What one chapter leaves for the next."""

    agent = None


def main():
    wanted = sys.argv[4:]  # Names of chapters, for whoever looks for a fault.
    story = Story()
    failed = []
    for chapter in CHAPTERS:
        if wanted and chapter.__name__ not in wanted + ["agents"]:
            continue
        try:
            chapter(story)
            print("ok: %s: %s" % (letta_client.__version__, chapter.__name__), flush=True)
        except Exception:  # Whatever it is, it is unexpected.
            traceback.print_exc()
            failed.append(chapter.__name__)
            if story.agent is None:
                break
    if failed:
        print("FAILED: %s: %s" % (letta_client.__version__, ", ".join(failed)), file=sys.stderr)
        sys.exit(1)


main()
