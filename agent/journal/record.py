"""One record of the journal for Python, and what its kinds are called. record.pxd has the layout."""

import pwd
from collections.abc import Iterable, Iterator

import msgspec

from agent.journal import _record
from agent.journal._record import (
    ACCEPTED,
    BROKEN,
    CANCELED,
    CAUGHT_UP,
    CONTRADICTED,
    ENTERED,
    EXECUTED,
    IGNORED,
    LIMIT_RESET,
    LIMIT_SET,
    MODIFIED,
    NEVER_REACHED,
    OVER,
    QUERIED,
    REJECTED,
    REPLACED,
    REPLACING,
    SESSION,
)

__all__ = ["ACCEPTED", "BROKEN", "CANCELED", "CAUGHT_UP", "CONTRADICTED", "ENTERED", "EXECUTED", "IGNORED", "KINDS",
           "LIMIT_RESET", "LIMIT_SET", "MODIFIED", "NEVER_REACHED", "OVER", "QUERIED", "REJECTED", "REPLACED",
           "REPLACING", "SESSION", "SIZE", "LimitRecord", "Record", "decode", "name_user"]  # fmt: skip

#: Bytes of a record.
SIZE = _record.SIZE

#: Names of the kinds, for people.
KINDS = {
    ENTERED: "entered",
    REPLACING: "replacing",
    ACCEPTED: "accepted",
    REPLACED: "replaced",
    EXECUTED: "executed",
    CANCELED: "canceled",
    REJECTED: "rejected",
    NEVER_REACHED: "never reached",
    SESSION: "session",
    QUERIED: "queried",
    CAUGHT_UP: "caught up",
    IGNORED: "ignored",
    CONTRADICTED: "contradicted",
    BROKEN: "broken",
    MODIFIED: "modified",
    OVER: "over",
    LIMIT_SET: "limit set",
    LIMIT_RESET: "limit reset",
}


class Record(msgspec.Struct, frozen=True):
    """One record. price has 4 decimals; time_ns is CLOCK_REALTIME; quantity in whole units; side is 1 (buy) or -1;
    symbol an index into the journal's symbols."""

    number: int
    time_ns: int
    exchange_sequence: int
    price: int
    tag: int
    kind: int
    id: int
    original: int
    quantity: int
    side: int
    symbol: int

    @property
    def session(self) -> str:
        """The exchange's session that a record of the kind SESSION names, at most 10 characters."""
        text = self.tag.to_bytes(8, "little") + (self.price & 0xFFFF).to_bytes(2, "little")
        return text.decode("ascii", "replace").strip()


class LimitRecord(msgspec.Struct, frozen=True):
    """One record of a decision about a limit. name: of AGENT_LIMITS (agent_shm.h), and old and new in its units. uid,
    login: as of agent.journal.rebuild.Decision."""

    number: int
    time_ns: int
    kind: int
    name: str
    old: int
    new: int
    uid: int
    login: int


def name_user(uid: int, login: int) -> str:
    """Returns who made a decision, for people, by the users of this host: `root (uid 0), logged in as trader (uid
    1000)`, `the engine`, or `nobody known`: the limit's word was not written by a command."""
    if uid == _record.who["unknown"]:
        return "the engine" if login == _record.who["engine"] else "nobody known"
    return _user(uid) + (f", logged in as {_user(login)}" if login not in (uid, _record.who["unknown"]) else "")


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except (KeyError, OverflowError):
        return f"uid {uid}"


def unpack(records: bytes, index: int) -> Record | LimitRecord:
    """Returns record `index` of whole ones. Raises IndexError when there are fewer."""
    fields = _record.unpack(records, index)
    if "old" not in fields:
        return Record(**fields)
    return LimitRecord(**fields | {"name": fields["name"].decode("ascii", "replace")})


def decode(pieces: Iterable[bytes]) -> Iterator[Record | LimitRecord]:
    """Yields the records in pieces of whole ones; those with a number already seen are skipped, as by
    agent.journal.rebuild."""
    last = 0
    for piece in pieces:
        for index in range(len(piece) // SIZE):
            record = unpack(piece, index)
            if record.number > last:
                last = record.number
                yield record
