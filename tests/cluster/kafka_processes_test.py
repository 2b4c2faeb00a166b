#!/usr/bin/env python3
"""Members of a Kafka consumer group as processes of their own (kafka_member.cpp): stopped for longer than their session,
killed and started again, and with a broker that goes away.

Each story has a topic and a group of its own; those that leave the broker alone run side by side. A member's lines come
in its own order; that one heard something before another did is judged by when the lines were read here.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import services  # noqa: E402

PARTITIONS = 6
ALL = set(range(PARTITIONS))
HALF, THIRD = PARTITIONS // 2, PARTITIONS // 3
SESSION_SECONDS = 6
LINE_SECONDS_MAX = 60


class Failure(Exception):
    """Something was not as it must be."""


def check(condition, what, *seen):
    if not condition:
        raise Failure(what + "".join("\n  seen: " + repr(one)[-3000:] for one in seen))


class Member:
    """A kafka_member process, and what it has said: (when, [words]) a line."""

    def __init__(self, place, *options):
        self.name = "%s/%d" % (place.topic, len(place.members))
        self.process = subprocess.Popen(
            [place.binary, place.brokers, place.topic, place.topic, *options], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=place.log, text=True, bufsize=1)
        self.lines = []
        self.held = set()
        self.changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            words = line.split()
            with self.changed:
                partitions = {int(one) for one in words[2].split(",")} if words[0] in ("assigned", "revoked",
                                                                                       "lost") else set()
                self.held = self.held | partitions if words[0] == "assigned" else self.held - partitions
                self.lines.append((time.monotonic(), words))
                self.changed.notify_all()

    def wait(self, what, holds, seconds=LINE_SECONDS_MAX):
        with self.changed:
            if not self.changed.wait_for(holds, seconds):
                raise Failure("%s: waited %g s in vain until %s; it said %r"
                              % (self.name, seconds, what, [" ".join(words) for _, words in self.lines]))

    def wait_held(self, wanted, seconds=LINE_SECONDS_MAX):
        self.wait("it holds %s" % sorted(wanted), lambda: self.held == wanted, seconds)

    def heard(self, *words):
        return [when for when, line in list(self.lines) if line[:len(words)] == list(words)]

    def tell(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def proves(self, partition):
        """yes, no or unavailable."""
        before = len(self.heard("proof", str(partition)))
        self.tell("prove %d" % partition)
        return self.proof(partition, before)

    def proves_all(self):
        """As an owner does that wants to claim: again and again, until it is so."""
        deadline = time.monotonic() + LINE_SECONDS_MAX
        for partition in sorted(self.held):
            while self.proves(partition) != "yes":
                check(time.monotonic() < deadline, "%s proves %d in the end" % (self.name, partition), self.lines)
                time.sleep(0.1)

    def lost(self):
        return {int(one) for _, words in self.lines if words[0] == "lost" for one in words[2].split(",")}

    def proof(self, partition, before):
        self.wait("it says whether it can prove %d" % partition,
                  lambda: len(self.heard("proof", str(partition))) > before)
        return [line for _, line in self.lines if line[:2] == ["proof", str(partition)]][before][2]

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait(LINE_SECONDS_MAX)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LINE_SECONDS_MAX)


class Place:
    """A topic, a group of the same name, and its members."""

    def __init__(self, binary, own, topic, log):
        self.binary, self.brokers, self.topic, self.log = binary, own.bootstrap, topic, log
        self.broker = own.brokers[0]
        self.broker.create_topic(topic, PARTITIONS)
        self.members = []

    def join(self, *options):
        member = Member(self, *options)
        self.members.append(member)
        return member

    def pair(self, *options):
        """Two members that share the partitions."""
        first = self.join(*options)
        first.wait_held(ALL)
        second = self.join(*options)
        self.shared(first, second)
        return first, second

    def shared(self, first, second):
        second.wait("it holds half", lambda: len(second.held) == HALF)
        first.wait("the other half is its own", lambda: first.held == ALL - second.held)


# ---- the stories

def two_share_and_move(place):
    first = place.join()
    first.wait_held(ALL)
    first.proves_all()
    second = place.join()
    place.shared(first, second)
    check(not first.heard("lost"), "what moves is revoked, not lost", first.lines)
    check(max(first.heard("revoked")) <= min(second.heard("assigned")), "nobody gets it before it is given back",
          first.lines, second.lines)
    for member in (first, second):
        member.proves_all()
        check(all(member.proves(one) == "no" for one in ALL - member.held), "and nothing else", member.lines)
    first.tell("leave")
    first.wait("it has left", lambda: first.heard("left"))
    second.wait_held(ALL, SESSION_SECONDS - 1)  # Not by a time-out.


def a_revoked_partition_stays_until_it_is_released(place):
    first = place.join("--hold")
    first.wait_held(ALL)
    second = place.join()
    first.wait("half is revoked", lambda: len(first.held) == HALF)
    revoked = ALL - first.held
    check(all(first.proves(one) == "no" for one in revoked), "what is revoked is not proven", first.lines)
    first.proves_all()
    time.sleep(2)  # Nothing must happen: there is no event to wait for.
    check(not second.held, "the other waits", second.lines)
    one, *others = sorted(revoked)
    first.tell("release %d" % one)
    time.sleep(0.5)
    check(not second.held, "the group takes them back together", second.lines)
    released = time.monotonic()
    first.tell("release %s" % ",".join(str(other) for other in others))
    second.wait_held(revoked)
    check(min(second.heard("assigned")) >= released, "not before", second.lines)
    check(not first.heard("lost"), "nothing is lost", first.lines)


def who_drains_for_too_long_loses(place):
    first = place.join("--hold", "--drain-ms", "2000")
    first.wait_held(ALL)
    second = place.join()
    first.wait("half is lost", lambda: first.heard("lost"))
    revoked, lost = first.heard("revoked")[0], first.heard("lost")[0]
    check(1.5 <= lost - revoked <= 4, "the drain time is 2 s", lost - revoked)
    second.wait_held(ALL - first.held)
    check(min(second.heard("assigned")) >= lost, "the other gets them then", first.lines, second.lines)
    first.proves_all()
    first.tell("release %s" % ",".join(str(one) for one in second.held))  # Too late: ignored.
    second.proves_all()


def who_joins_does_not_ask_for_a_proof(place):
    """A commit that meets a rebalance is refused, and costs a member everything that it holds."""
    first = place.join()
    first.wait_held(ALL)
    second = place.join("--hold")
    place.shared(first, second)
    third = place.join()
    second.wait("one is revoked", lambda: len(second.held) == THIRD)
    first.wait("one is revoked", lambda: len(first.held) == THIRD)
    kept = set(first.held)
    time.sleep(1)  # Now the first one is on its way into the next generation, and the group waits for the second.
    for partition in kept:
        check(first.proves(partition) == "no", "there is no proof during a rebalance", first.lines)
    second.tell("release %s" % ",".join(str(one) for one in ALL))
    third.wait("it holds a third", lambda: len(third.held) == THIRD)
    first.proves_all()
    check(not first.lost() and first.held == kept, "nothing is lost by that", first.lines)


def a_zombie_cannot_prove(place):
    zombie, other = place.pair()
    zombie.wait_held(ALL - other.held)
    its = set(zombie.held)
    stopped = time.monotonic()
    zombie.kill(signal.SIGSTOP)
    other.wait_held(ALL, SESSION_SECONDS * 3)
    taken = time.monotonic() - stopped
    check(SESSION_SECONDS - 2.5 <= taken <= SESSION_SECONDS + 4, "the session time-out is over", taken)
    other.proves_all()
    for partition in its:
        zombie.tell("prove %d" % partition)  # The first thing that it does when it goes on.
    zombie.kill(signal.SIGCONT)
    for partition in its:
        check(zombie.proof(partition, 0) in ("no", "unavailable"), "a zombie proves nothing", zombie.lines)
    zombie.wait("it hears that they are lost", lambda: zombie.heard("lost"))
    # Then it is a member again, like any other.
    place.shared(zombie, other)
    zombie.proves_all()
    return "taken over after %.1f s" % taken


def a_zombie_that_is_revoked_at_the_time(place):
    """The session ends while the member still drains: nobody tells it, and it must not believe in what it kept."""
    zombie = place.join("--hold", "--drain-ms", "5000")
    zombie.wait_held(ALL)
    other = place.join()
    zombie.wait("half is revoked", lambda: len(zombie.held) == HALF)
    zombie.kill(signal.SIGSTOP)
    other.wait_held(ALL, SESSION_SECONDS * 3)
    zombie.kill(signal.SIGCONT)
    place.shared(zombie, other)
    check(zombie.lost() == ALL, "it hears that all was lost", zombie.lines)
    zombie.proves_all()


def a_static_member_comes_back(place):
    first, second = place.join("--instance", "one"), None
    first.wait_held(ALL)
    second = place.join("--instance", "two")
    place.shared(first, second)
    its, heard = set(first.held), len(second.lines)
    first.kill()
    killed = time.monotonic()
    again = place.join("--instance", "one")
    again.wait_held(its, SESSION_SECONDS)
    took = time.monotonic() - killed
    again.proves_all()
    check(len(second.lines) == heard, "the other hears nothing of it", second.lines)
    # The same name once more, while the first is alive: the first one is put out.
    thief = place.join("--instance", "one")
    thief.wait_held(its)
    again.wait("it is put out", lambda: again.heard("failed") and again.heard("lost"))
    check(again.proves(min(its)) != "yes", "who was put out proves nothing", again.lines)
    thief.proves_all()
    return "back after %.1f s" % took


def the_broker_goes_away(place):
    first, second = place.pair()
    # Behind what the second one's joining changes: while a member joins, it answers "no" by itself.
    proves_all(place, first, second)
    its = set(first.held)
    place.broker.pause()
    try:
        check(first.proves(min(its)) == "unavailable", "nobody answers", first.lines)
    finally:
        place.broker.resume()
    proves_all(place, first, second)
    place.broker.restart()
    proves_all(place, first, second)


def proves_all(place, first, second):
    """In the end they share the partitions, and each proves its own; until then they may lose them and get others."""
    deadline = time.monotonic() + LINE_SECONDS_MAX
    while True:
        place.shared(first, second)
        if all(member.proves(one) == "yes" for member in (first, second) for one in sorted(member.held)):
            if first.held | second.held == ALL and first.held.isdisjoint(second.held):
                return
        check(time.monotonic() < deadline, "everything is proven in the end", first.lines, second.lines)
        time.sleep(0.2)


ALONGSIDE = [two_share_and_move, a_revoked_partition_stays_until_it_is_released, who_drains_for_too_long_loses,
             who_joins_does_not_ask_for_a_proof, a_zombie_cannot_prove, a_zombie_that_is_revoked_at_the_time,
             a_static_member_comes_back]
ALONE = [the_broker_goes_away]


class Story(threading.Thread):
    def __init__(self, work, place):
        super().__init__(daemon=True)
        self.work, self.place, self.fault, self.more = work, place, None, None

    def run(self):
        try:
            self.more = self.work(self.place)
        except Failure as failure:
            self.fault = str(failure)
        except Exception:  # A fault of the test itself.
            self.fault = traceback.format_exc()
        finally:
            for member in self.place.members:
                member.end()

    def report(self):
        self.join(5 * LINE_SECONDS_MAX)
        name = self.work.__name__.replace("_", " ")
        if self.is_alive():
            self.fault = "it does not end"
        print("FAILED: %s: %s" % (name, self.fault) if self.fault else
              "ok: %s%s" % (name, " (%s)" % self.more if self.more else ""), flush=True)
        return self.fault is None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--member", required=True, help="path of kafka_member")
    parser.add_argument("--story", help="this one alone")
    parser.add_argument("--services", help="a folder of services that run already, and may be hurt")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if chosen.services:
            own = services.Services(chosen.services)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="varve-group-"))
            own = stack.enter_context(services.Services(os.path.join(folder, "services")))
            own.start()
        log = stack.enter_context(open(os.path.join(tempfile.gettempdir(), "kafka_member-%d.log" % os.getpid()), "w+",
                                       encoding="utf-8"))
        unique = "%d-%d" % (os.getpid(), time.time())

        def story(work):
            return Story(work, Place(chosen.member, own, "%s-%s" % (work.__name__, unique), log))

        well = True
        for group in (ALONGSIDE, ALONE):
            stories = [story(work) for work in group if chosen.story in (None, work.__name__)]
            for one in stories:
                one.start()
            well = all([one.report() for one in stories]) and well
        if not well:
            log.seek(0)
            print("---- what the members logged\n" + log.read()[-8000:], file=sys.stderr)
        os.unlink(log.name)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
