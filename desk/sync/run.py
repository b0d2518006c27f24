"""`desk sync`: the loop between Redis and engines. It waits for nothing but one exchange with Redis at a time."""

import time
from collections.abc import Iterable

from agent.engine.systemd import notify
from agent.shm.request import find_asker
from desk.counters import Counters
from desk.errors import DeskError
from desk.redis.link import Link, RedisLost
from desk.settings.redis import Redis
from desk.settings.sync import Sync, name_engine
from desk.stop import Stop
from desk.sync.audit import Audit
from desk.sync.engine import Engine, Wish
from desk.sync.keys import explain_unknown, limits_prefix, list_limit_keys
from desk.sync.outbox import Outbox
from desk.sync.values import Bad, read_values
from hosttune.output import escape, print_message

#: Seconds between two looks for the answer of a loop, which has it within 5 ms.
_ANSWER = 0.005
#: Of a message about keys that are not read: no more of them are told.
_MOST_TOLD = 100


def run(redis: Redis, wanted: Sync) -> None:
    """Run until SIGTERM or SIGINT. Raises DeskError: the audit or the counters cannot be written."""
    stop = Stop()
    audit = Audit.find(wanted.audit)
    try:
        with Counters.open("sync", "sync") as counters:
            loop = Loop(redis, wanted, audit)
            notify("READY=1")
            try:
                while not stop.wanted:
                    loop.step()
                    if counters.due():
                        counters.publish(loop.count(), loop.describe())
            finally:
                notify("STOPPING=1")
                loop.close()
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
        self._keys = list_limit_keys(wanted.prefix, self.engines)
        self.link = Link(redis, "desk-sync", limits_prefix(wanted.prefix))
        self._outbox = Outbox(wanted.prefix, wanted.expire_s)
        self._pause = redis.retry_min_ms / 1000
        now = time.monotonic()
        self._next_try = now
        self._next_out = self._next_read = self._next_ping = now
        #: Seconds of time.monotonic() at the last answer of Redis.
        self.answered = now
        self.lost = False
        self.problem = ""
        self.reads = self.refused = self.unknown = self.connections = self.losses = 0
        self.longest = 0.0
        self._bad: dict[bytes, str] = {}
        self._told: set[bytes] = set()

    def step(self) -> None:
        """Do what is due, then wait for what Redis says, until something is."""
        begun = time.monotonic()
        try:
            self._talk(begun)
        except DeskError as error:  # a secret that cannot be read is a connection that cannot be made
            self._note_loss(str(error))
        self._obey_policy()
        segments = {name: engine.step(time.monotonic()) for name, engine in self.engines.items()}
        try:
            if self.link.connected and time.monotonic() >= self._next_out:
                self._next_out = time.monotonic() + self._wanted.period_ms / 1000
                self._outbox.send(self.link, segments, time.time_ns())
        except RedisLost as error:
            self._note_loss(str(error))
        self.longest = max(self.longest, time.monotonic() - begun)
        self._wait()

    def close(self) -> None:
        """Let go of Redis and of the engines, whose limits stay as they are."""
        for engine in self.engines.values():
            engine.close()
        self.link.close()

    def count(self) -> dict[str, int | float]:
        """Returns the numbers that are published."""
        confirmed = {f"confirmed[{name}]": engine.confirmed for name, engine in self.engines.items()}
        unconfirmed = {f"unconfirmed[{name}]": engine.unconfirmed for name, engine in self.engines.items()}
        return {
            "connected": int(self.link.connected),
            "redis_age_seconds": time.monotonic() - self.answered,
            "redis_lost": int(self.lost),
            "connections": self.connections,
            "losses": self.losses,
            "reads": self.reads,
            "refused_values": self.refused,
            "bad_keys": len(self._bad),
            "unknown_keys": self.unknown,
            "values_written": self._outbox.values,
            "values_refused": self._outbox.refused,
            "audit_lost": self._audit.lost,
            "longest_step_seconds": self.longest,
            **confirmed,
            **unconfirmed,
        }

    def describe(self) -> dict[str, str]:
        """Returns the texts that are published."""
        bad = next(iter(self._bad.values()), "")
        return {
            "problem": self.problem or bad or (f"Redis refuses values: {self._outbox.problem}"
                                               if self._outbox.problem else ""),
            **{f"engine[{name}]": engine.problem for name, engine in self.engines.items()},
        }  # fmt: skip

    def _talk(self, now: float) -> None:
        """Connect, read what has changed, and see that Redis answers. Raises RedisLost."""
        if not self.link.connected:
            if now < self._next_try:
                return
            self.link.connect()
            self.connections += 1
            self._outbox.forget()
            self._read(list(self._keys))
            self._note_answer()
            if self.lost or self.problem:
                print_message("desk: sync: Redis answers; all limits were read")
            self.lost, self.problem, self._pause = False, "", self._redis.retry_min_ms / 1000
            self._next_read = time.monotonic() + self._wanted.refresh_s
            return
        changed = self.link.take_changes()
        if changed is None or now >= self._next_read:
            self._next_read = now + self._wanted.refresh_s
            self._outbox.forget()
            self._read(list(self._keys))
            self._note_answer()
        elif changed:
            self._tell_unknown(changed - self._keys.keys())
            if known := [key for key in self._keys if key in changed]:
                self._read(known)
                self._note_answer()
        if now >= self._next_ping:
            self.link.exchange([("PING",)])
            self._note_answer()

    def _read(self, keys: list[bytes]) -> None:
        """Read limits, and tell the engines what they are to be. Raises RedisLost: then nothing is told."""
        found = read_values(self.link, keys, [self._keys[key][1] for key in keys])
        self.reads += 1
        for key, value in zip(keys, found, strict=True):
            engine, limit = self._keys[key]
            if isinstance(value, Bad):
                line = f"{key.decode()}: found {value.found}, allowed: {value.allowed}"
                if self._bad.get(key) != line:
                    self.refused += 1
                    self._bad[key] = line
                    self._audit.write(engine, "refused", {limit: value.found}, key.decode())
                    self._tell(key, line)
                continue
            self._bad.pop(key, None)
            self._told.discard(key)
            wish = None if value is None else Wish(value, key.decode())
            self.engines[engine].wish({limit: wish})

    def _tell_unknown(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.unknown += 1
            self._tell(key, f"{self._show_key(key)}: {explain_unknown(self._wanted.prefix, key, self.engines)}")

    def _tell(self, key: bytes, line: str) -> None:
        if key not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(key)
            print_message(f"desk: sync: {escape(line)}")

    def _show_key(self, key: bytes) -> str:
        return key[:200].decode("ascii", "backslashreplace")

    def _note_answer(self) -> None:
        self.answered = time.monotonic()
        self._next_ping = self.answered + min(1.0, self._wanted.redis_lost_s / 3)

    def _note_loss(self, why: str) -> None:
        self.losses += 1
        if self.problem != why:
            print_message(f"desk: sync: {escape(why)}")
        self.problem = why
        self.link.close()
        self._next_try = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, self._redis.retry_max_ms / 1000)

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
        soon = now + (
            _ANSWER if any(engine.waits for engine in self.engines.values()) else self._wanted.period_ms / 1000
        )
        if self.link.connected:
            try:
                self.link.wait(max(0.0, min(soon, self._next_out, self._next_ping, self._next_read) - now))
                return
            except RedisLost as error:
                self._note_loss(str(error))
        time.sleep(max(0.0, min(soon, self._next_try if self._next_try > now else soon) - now))
