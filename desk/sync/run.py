"""`desk sync`: the loop between Redis and engines. It waits for Redis, and for nothing else."""

import time
from collections.abc import Mapping

from agent.shm.request import find_asker
from agent.shm.segment import Segment
from desk.counters import Counters
from desk.errors import DeskError
from desk.redis.link import Link, RedisLost, Refused, Talk, TooLong
from desk.redis.words import explain
from desk.service import serve
from desk.settings.redis import Redis
from desk.settings.sync import Sync, name_engine
from desk.stop import Stop
from desk.sync.audit import Audit
from desk.sync.engine import Engine, Wish
from desk.sync.inbox import Inbox
from desk.sync.keys import limits_prefix
from desk.sync.outbox import Outbox
from hosttune.output import escape, print_message

#: Seconds of the clock by which the loop's steps are measured.
read_clock = time.monotonic
#: Seconds between two looks for the answer of a loop, which has it within 5 ms.
_ANSWER = 0.002
#: Seconds between two looks at the engines, at most; and of a wait, after which a signal is seen.
_LOOK = 0.1


def run(redis: Redis, wanted: Sync) -> None:
    """Run until SIGTERM or SIGINT. Raises DeskError: the audit or the counters cannot be written."""
    stop = Stop()
    audit = Audit.find(wanted.audit)
    try:
        with Counters.open("sync", "sync") as counters:
            loop = Loop(redis, wanted, audit)
            serve(loop, counters, stop, f"sync: {', '.join(loop.engines)}; Redis is asked from now on")
    finally:
        audit.close()
    stop.raise_interrupt()


class Loop:
    """Redis, engines, and what is due when."""

    def __init__(self, redis: Redis, wanted: Sync, audit: Audit) -> None:
        self._redis, self._wanted, self._audit = redis, wanted, audit
        asker = find_asker()
        self.engines = {
            name_engine(engine): Engine(engine, name_engine(engine), asker, audit.write, wanted.may_resume)
            for engine in wanted.engines
        }
        self.link = Link(redis, "desk-sync", limits_prefix(wanted.prefix))
        self._inbox = Inbox(wanted.prefix, self.engines, audit, self._tell)
        self._outbox = Outbox(wanted.prefix, wanted.expire_s)
        self._pause = redis.retry_min_ms / 1000
        self._ping_every = min(1.0, wanted.redis_lost_s / 3)
        now = time.monotonic()
        self._next_try = self._next_look = self._next_out = self._next_read = self._next_ping = now
        self._connecting_since = now
        #: Seconds of time.monotonic() at the last answer of Redis.
        self.answered = now
        self.lost = False
        self.problem = ""
        self.connections = self.losses = 0
        #: Seconds that the loop has worked without looking at anything else, at most.
        self.longest = 0.0

    def step(self) -> None:
        """Do what is due, then wait for what Redis says, until something is."""
        begun, measured = time.monotonic(), read_clock()
        try:
            self._talk(begun)
        except DeskError as error:  # a secret that cannot be read is a connection that cannot be made
            self._note_loss(error)
        self._obey_policy()
        for engine in self.engines.values():
            if engine.waits:
                engine.act(time.monotonic())
        if begun >= self._next_look:
            self._next_look = begun + min(_LOOK, self._wanted.period_ms / 1000)
            segments = {name: engine.look(time.monotonic()) for name, engine in self.engines.items()}
            try:
                self._send(segments, begun)
            except RedisLost as error:
                self._note_loss(error)
        self.longest = max(self.longest, read_clock() - measured)
        self._wait()

    def close(self) -> None:
        """Let go of Redis and of the engines, whose limits stay as they are."""
        for engine in self.engines.values():
            engine.close()
        self.link.close()

    def count(self) -> dict[str, int | float]:
        """Returns the numbers that are published."""
        numbers: dict[str, int | float] = {
            "connected": int(self.link.connected),
            "redis_age_seconds": time.monotonic() - self.answered,
            "redis_lost": int(self.lost),
            "connections": self.connections,
            "losses": self.losses,
            "reads": self._inbox.reads,
            "bad_values": self._inbox.refused,
            "bad_keys": len(self._inbox.bad),
            "unknown_keys": self._inbox.unknown,
            "values_written": self._outbox.values,
            "values_refused": self._outbox.refused,
            "audit_lost": self._audit.lost,
            "longest_step_seconds": self.longest,
        }
        for name, engine in self.engines.items():
            numbers[f"confirmed[{name}]"] = engine.confirmed
            numbers[f"unconfirmed[{name}]"] = engine.unconfirmed
            numbers[f"set_again[{name}]"] = engine.again
        return numbers

    def describe(self) -> dict[str, str]:
        """Returns the texts that are published."""
        problem = self.problem or next(iter(self._inbox.bad), "")
        if not problem and self._outbox.problem:
            problem = f"Redis refuses values: {self._outbox.problem}"
        if not problem and self._audit.problem:
            problem = self._audit.problem
        return {"problem": problem, **{f"engine[{name}]": engine.problem for name, engine in self.engines.items()}}

    def _tell(self, engine: str, wishes: Mapping[str, Wish | None]) -> None:
        self.engines[engine].wish(wishes)

    def _talk(self, now: float) -> None:
        """Connect, read what has changed, and see that Redis answers. Raises RedisLost, and DeskError."""
        if not self.link.connected:
            if not self.link.connecting and now >= self._next_try:
                self.link.begin_connecting()
                self._connecting_since = now
            elif self.link.connecting and now - self._connecting_since > 2.0:
                self._say(f"redis {self._redis.place}: connecting takes longer than 2 s; is its name looked up?")
            return
        changed, flushed = self.link.take_changes()
        if flushed:
            self._outbox.forget()
        if changed is None or now >= self._next_read:
            if now >= self._next_read:
                self._outbox.forget()
            self._next_read = now + self._wanted.refresh_s
            self._inbox.begin_reading(self.link, self._note_answer)
        elif changed:
            self._inbox.take(self.link, changed, self._note_answer)
        if now >= self._next_ping:
            self._next_ping = now + self._ping_every
            self.link.begin(self._ping())

    def _begin_connection(self) -> None:
        """Of a new connection, read all limits before anything else. Raises RedisLost."""
        self.connections += 1
        self._outbox.begin_connection()
        self._inbox.begin_connection()
        self._next_read = time.monotonic() + self._wanted.refresh_s
        self._next_ping = time.monotonic() + self._ping_every
        self._inbox.begin_reading(self.link, self._welcome)

    def _welcome(self) -> None:
        """All limits were read."""
        self._note_answer()
        if self.lost or self.problem:
            print_message("desk: sync: Redis answers; all limits were read")
        self.lost, self.problem, self._pause = False, "", self._redis.retry_min_ms / 1000

    def _ping(self) -> Talk:
        (answer,) = yield [("PING",)]
        if isinstance(answer, Refused):
            raise RedisLost(f"redis {self._redis.place}: PING: {explain(answer)}")
        self._note_answer()

    def _send(self, segments: Mapping[str, Segment | None], now: float) -> None:
        """Write what engines hold, and go on looking for unknown keys, where that is due. Raises RedisLost."""
        if self.link.connected and not self.problem and now >= self._next_out:
            self._next_out = now + self._wanted.period_ms / 1000
            self._outbox.send(self.link, segments, time.time_ns())
            self._inbox.search(self.link)

    def _note_answer(self) -> None:
        self.answered = time.monotonic()
        self._next_ping = self.answered + self._ping_every

    def _note_loss(self, error: DeskError) -> None:
        self.losses += 1
        if isinstance(error, TooLong):
            self._inbox.note_too_long()
        self._say(str(error))
        self.link.close()
        self._next_try = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, self._redis.retry_max_ms / 1000)

    def _say(self, why: str) -> None:
        if self.problem != why:
            print_message(f"desk: sync: {escape(why)}")
        self.problem = why

    def _obey_policy(self) -> None:
        """Once Redis has not answered for too long, do what the configuration says."""
        if self.lost or self.link.connected or time.monotonic() - self.answered < self._wanted.redis_lost_s:
            return
        self.lost = True
        wishes: dict[str, int | float] = {}
        if self._wanted.policy == "kill":
            wishes = {"kill": 1}
        elif self._wanted.policy == "tighten":
            wishes = self._wanted.tightened
        print_message(
            f"desk: sync: no answer of Redis for {self._wanted.redis_lost_s:g} s: policy {self._wanted.policy}"
        )
        for name, engine in self.engines.items():
            self._audit.write(name, f"Redis lost: {self._wanted.policy}", wishes, "sync.policy")
            engine.wish({limit: Wish(value, "sync.policy", tighten=True) for limit, value in wishes.items()})

    def _wait(self) -> None:
        """Wait until something is due, or Redis says something."""
        now = time.monotonic()
        due = [self._next_look]
        if any(engine.waits for engine in self.engines.values()):
            due.append(now + _ANSWER)
        if self.link.connected:
            due += [self._next_read, self._next_ping]
        elif not self.link.connecting:
            due.append(self._next_try)
        seconds = min(_LOOK, max(0.0, min(due) - now))
        if not self.link.connected and not self.link.connecting:
            time.sleep(seconds)
            return
        begun, was = read_clock(), self.link.connected
        try:
            self.link.wait(seconds)
            if self.link.connected and not was:
                self._begin_connection()
        except DeskError as error:
            self._note_loss(error)
        # What was waited for longer than asked was work, or a wait that nobody has asked for.
        self.longest = max(self.longest, read_clock() - begun - seconds)
