"""What limits are to be, as Redis has them: the first reading of all, changes, and keys that nothing reads."""

import itertools
from collections.abc import Callable, Iterable, Mapping

from desk.redis.link import Link, RedisLost, Refused, Talk
from desk.redis.words import explain
from desk.sync.audit import Audit
from desk.sync.engine import Wish
from desk.sync.keys import explain_unknown, limits_prefix, list_limit_keys
from desk.sync.values import Bad, read_values
from hosttune.output import escape, print_message

#: Unknown keys that are counted; of them, and of values that are refused, so many are told.
_MOST_UNKNOWN = 10_000
_MOST_TOLD = 100
#: Keys that the server looks at in one step of the search for unknown keys, and steps.
_SCAN = 1000
MOST_STEPS = 1000


class Inbox:
    """The keys of all limits of all engines. tell: called with an engine's name and what some of its limits are to be
    (None: what is in force stays)."""

    def __init__(
        self, prefix: str, engines: Iterable[str], audit: Audit, tell: Callable[[str, Mapping[str, Wish | None]], None]
    ) -> None:
        self._prefix, self._engines, self._audit, self._tell = prefix, list(engines), audit, tell
        self._keys = list_limit_keys(prefix, self._engines)
        self._changed: set[bytes] = set()
        self._reading_all = self._careful = False
        self._bad: dict[bytes, str] = {}
        self._unknown: set[bytes] = set()
        self._told = 0
        self._cursor: bytes | None = None
        self._steps = 0
        self._searching = False
        #: Readings of all limits, and of some; values that were refused.
        self.reads = self.refused = 0

    @property
    def bad(self) -> list[str]:
        """What is wrong with each value that is refused, in a line."""
        return list(self._bad.values())

    @property
    def unknown(self) -> int:
        """How many keys were found that nothing reads, at most _MOST_UNKNOWN."""
        return len(self._unknown)

    def begin_reading(self, link: Link, done: Callable[[], None]) -> None:
        """Read all limits. done: called once the engines were told. Raises RedisLost."""
        if self._reading_all:
            self._changed = set(self._keys)
        else:
            self._reading_all = True
            link.begin(self._read_all(done))

    def begin_connection(self) -> None:
        """Know nothing of the connection before, and look for unknown keys again."""
        self._reading_all = self._searching = False
        self._changed.clear()
        self._cursor, self._steps = b"0", 0

    def note_too_long(self) -> None:
        """Read values only by their beginnings from now on: one of them is far too long."""
        self._careful = True

    def take(self, link: Link, changed: set[bytes], done: Callable[[], None]) -> None:
        """Read those keys of limits that have changed; others are told. Raises RedisLost."""
        known = changed & self._keys.keys()
        self._note_unknown(changed - known)
        if self._reading_all:
            # The reading of all may have seen the values before, and ends behind this one: they are read once more.
            self._changed |= known
        if known:
            link.begin(self._read(list(known), done))

    def search(self, link: Link) -> None:
        """Take a step of the search for keys that nothing reads, where it is not at its end. Raises RedisLost."""
        if self._cursor is not None and not self._searching:
            self._searching = True
            link.begin(self._search(self._cursor))

    def _read_all(self, done: Callable[[], None]) -> Talk:
        yield from self._read(list(self._keys), done)
        self._reading_all = False
        again, self._changed = self._changed, set()
        if again:
            yield from self._read(list(again), done)

    def _read(self, keys: list[bytes], done: Callable[[], None]) -> Talk:
        found = yield from read_values(keys, [self._keys[key][1] for key in keys], self._careful)
        self.reads += 1
        wishes: dict[str, dict[str, Wish | None]] = {}
        for key, value in zip(keys, found, strict=True):
            engine, limit = self._keys[key]
            if isinstance(value, Bad):
                self._note_bad(key, value)
                continue
            self._bad.pop(key, None)
            wishes.setdefault(engine, {})[limit] = None if value is None else Wish(value, key.decode())
        for engine, some in wishes.items():
            self._tell(engine, some)
        done()

    def _note_bad(self, key: bytes, value: Bad) -> None:
        engine, limit = self._keys[key]
        line = f"{key.decode()}: found {value.found}, allowed: {value.allowed}"
        if self._bad.get(key) == line:
            return
        if key not in self._bad:
            print_message(f"desk: sync: {escape(line)}")
        self.refused += 1
        self._bad[key] = line
        self._audit.write(engine, "refused", {limit: value.found}, key.decode())

    def _note_unknown(self, keys: Iterable[bytes]) -> None:
        if len(self._unknown) >= _MOST_UNKNOWN:
            return
        for key in itertools.islice(keys, _MOST_UNKNOWN - len(self._unknown)):
            if key in self._unknown or not isinstance(key, bytes):
                continue
            self._unknown.add(key)
            if self._told < _MOST_TOLD:
                self._told += 1
                shown = key[:200].decode("ascii", "backslashreplace")
                print_message(f"desk: sync: {escape(f'{shown}: {explain_unknown(self._prefix, key, self._engines)}')}")
                if self._told == _MOST_TOLD:
                    print_message("desk: sync: more keys that nothing reads are counted, and not told")

    def _search(self, cursor: bytes) -> Talk:
        """One step. Source: Redis, SCAN: what is there all the time is found."""
        (answer,) = yield [("SCAN", cursor, "MATCH", limits_prefix(self._prefix) + "*", "COUNT", _SCAN)]
        self._searching, self._cursor = False, None
        if isinstance(answer, Refused):
            print_message(f"desk: sync: keys that nothing reads are told only once they change: {explain(answer)}")
            return
        match answer:
            case [bytes(cursor), list(keys)]:
                self._note_unknown(key for key in keys if isinstance(key, bytes) and key not in self._keys)
            case _:
                raise RedisLost("redis: SCAN has an answer of another type")
        self._steps += 1
        if cursor == b"0":
            return
        if self._steps < MOST_STEPS:
            self._cursor = cursor
        else:
            print_message(f"desk: sync: Redis has more than {MOST_STEPS * _SCAN:,} keys: those that nothing reads are"
                          " told of the others once they change")  # fmt: skip
