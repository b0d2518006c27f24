"""One record of the journal for Python, and what its kinds are called. record.pxd has the layout."""

from collections.abc import Iterable, Iterator

import msgspec

from agent.journal import _record
from agent.journal._record import (
    ACCEPTED,
    CANCELED,
    CAUGHT_UP,
    ENTERED,
    EXECUTED,
    IGNORED,
    NEVER_REACHED,
    QUERIED,
    REJECTED,
    REPLACED,
    REPLACING,
    SESSION,
)

__all__ = ["ACCEPTED", "CANCELED", "CAUGHT_UP", "ENTERED", "EXECUTED", "IGNORED", "KINDS", "NEVER_REACHED", "QUERIED",
           "REJECTED", "REPLACED", "REPLACING", "SESSION", "SIZE", "Record", "decode"]  # fmt: skip

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


def decode(pieces: Iterable[bytes]) -> Iterator[Record]:
    """Yields the records in pieces of whole ones; those with a number already seen are skipped, as by
    agent.journal.rebuild."""
    last = 0
    for piece in pieces:
        for index in range(len(piece) // SIZE):
            record = Record(**_record.unpack(piece, index))
            if record.number > last:
                last = record.number
                yield record
