"""What the script that runs the official Python client expects with, and how it walks through lists."""

import time

POLL_SECONDS_MAX = 30
ITEMS_MAX = 1000


class Unexpected(Exception):
    """Something was not as a client may expect it."""


def expect(condition, what, seen=None):
    if not condition:
        raise Unexpected(what + ("" if seen is None else "\n  seen: " + repr(seen)[:2000]))


def expect_equal(seen, wanted, what):
    expect(seen == wanted, "%s: wanted %s" % (what, repr(wanted)[:1000]), seen)


def everything(pages):
    """All items of a paged list; no id twice."""
    items = []
    for item in pages:
        items.append(item)
        expect(len(items) <= ITEMS_MAX, "a paged list comes to an end")
    return items


def ids(items):
    return [item.id for item in items]


def expect_paged(pages, wanted, what):
    """Paging gives everything in `wanted` in its order, and nothing twice."""
    seen = ids(everything(pages))
    expect_equal(len(set(seen)), len(seen), "%s: distinct items" % what)
    expect_equal([item for item in seen if item in wanted], wanted, what)


def text_of(message):
    content = message.content
    return content if isinstance(content, str) else "".join(part.text for part in content)


def kinds(messages):
    return [message.message_type for message in messages]


def poll(what, work):
    deadline = time.monotonic() + POLL_SECONDS_MAX
    while True:
        result = work()
        if result:
            return result
        expect(time.monotonic() < deadline, "waited in vain until " + what)
        time.sleep(0.05)
