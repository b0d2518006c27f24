"""`agent journal`: a journal's records and what they add up to, as plain data or as text."""

import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent import limits
from agent.journal import _record
from agent.journal.file import Journal
from agent.journal.rebuild import State
from agent.journal.record import (
    CAUGHT_UP,
    CONTRADICTED,
    KINDS,
    LIMIT_RESET,
    OVER,
    QUERIED,
    SESSION,
    LimitRecord,
    Record,
    decode,
    name_user,
)
from hosttune.output import escape, escape_values

#: Records that are written at once.
_BATCH = 1000
_SIDES = {1: "buy", -1: "sell"}


def _check_again(journal: Journal) -> Iterator[bytes]:
    """Yields the journal's whole records, which add_up() has read before: so that what is shown is what was checked,
    each piece is checked again. Raises JournalError."""
    total = journal.begin()
    for piece in journal.read():
        total.add(piece)
        yield piece


def as_data(path: Path) -> dict[str, Any]:
    """Returns every record and what they add up to, as plain data. Raises JournalError."""
    with Journal(path) as journal:
        symbols, state = journal.symbols, journal.add_up().state
        records = list(_name_records(symbols, _check_again(journal)))
    return {"file": str(path), "records": records, **_sum_up(symbols, state)}


def as_text(path: Path) -> str:
    """Returns a line per record, then positions and open orders. Raises JournalError."""
    return "".join(write_text(path))


def write_json(path: Path) -> Iterator[str]:
    """Yields as_data() as JSON, in parts: a record a line. Raises JournalError before the first."""
    with Journal(path) as journal:
        symbols, state = journal.symbols, journal.add_up().state
        yield f'{{"file":{_encode(str(path))},"records":['
        before = "\n"
        for batch in _batch(map(_encode, _name_records(symbols, _check_again(journal)))):
            yield before + ",\n".join(batch)
            before = ",\n"
        yield f"],\n{_encode(_sum_up(symbols, state))[1:]}\n"


def write_text(path: Path) -> Iterator[str]:
    """Yields as_text(), in parts. Raises JournalError before the first."""
    with Journal(path) as journal:
        state, symbols = journal.add_up().state, escape_values(journal.symbols)
        for batch in _batch(_show_record(r, symbols) for r in decode(_check_again(journal))):
            yield "\n".join(batch) + "\n"
    lines = [f"{state.records:,} records; the last order was {state.reference}"]
    lines += [f"position {symbols[i]}: {units:+,}" for i, units in sorted(state.positions.items())]
    lines += [f"open {o.id}: {_SIDES[o.side]} {o.leaves} {symbols[o.symbol]}" for o in state.open_orders.values()]
    lines += [
        f"limit {' is '.join(limits.show_word(word, d.value))}, set by {escape(name_user(d.uid, d.login))} at "
        f"{_show_time(d.time_ns)}"
        for word, d in sorted(state.limits.items())
    ]
    yield "\n".join(lines) + "\n"


#: By output format: a journal in parts, for one that is as large as it may be.
WRITERS = {"json": write_json, "text": write_text}


def _name_records(symbols: list[str], pieces: Iterable[bytes]) -> Iterator[Record | LimitRecord]:
    """Yields the records with the names of their kind and symbol in place of the numbers."""
    for r in decode(pieces):
        if isinstance(r, LimitRecord):
            yield msgspec.structs.replace(r, kind=KINDS[r.kind])
            continue
        yield msgspec.structs.replace(r, kind=KINDS[r.kind], symbol=symbols[r.symbol])


def _sum_up(symbols: list[str], state: State) -> dict[str, Any]:
    return {
        "positions": {symbols[i]: units for i, units in sorted(state.positions.items())},
        "open_orders": [msgspec.structs.replace(o, symbol=symbols[o.symbol]) for o in state.open_orders.values()],
        "limits": state.limits,
        "last_id": state.reference,
        "exchange_session": state.session.decode("ascii", "replace").strip(),
        "exchange_sequence": state.sequence,
    }


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _batch(lines: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(itertools.islice(lines, _BATCH)):
        yield batch


def _show_record(record: Record | LimitRecord, symbols: list[str]) -> str:
    return f"{_show_time(record.time_ns)}  {_describe(record, symbols)}"


def _show_time(time_ns: int) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_ns // 1_000_000_000))
    return f"{at}.{time_ns % 1_000_000_000:09d}Z"


def _describe_limit(record: LimitRecord) -> str:
    (name, old), (_, new) = (limits.show_word(record.name, value) for value in (record.old, record.new))
    again = ", as agent.toml says" if record.kind == LIMIT_RESET else ""
    return escape(f"{KINDS[record.kind]} {name}: {old} -> {new}{again}, by {name_user(record.uid, record.login)}")


def _describe(record: Record | LimitRecord, symbols: list[str]) -> str:
    """Returns one line without the time."""
    if isinstance(record, LimitRecord):
        return _describe_limit(record)
    kind = KINDS[record.kind]
    if record.kind == SESSION:
        return f"logged in, session {escape(record.session)}"
    if record.kind == CONTRADICTED:
        said = f": {record.quantity} at {record.price // 10_000}.{record.price % 10_000:04d}" if record.quantity else ""
        return f"{kind} {record.id}: {_record.explain_contradiction(record.original)}{said}"
    if record.kind == OVER:
        return "the exchange's session is over"
    if record.kind in (QUERIED, CAUGHT_UP):
        expects = f", the exchange expects order {record.id} next" if record.kind == CAUGHT_UP else ""
        return f"{kind}{expects}"
    old = f" for {record.original}" if record.original else ""
    return (
        f"{kind} {record.id}{old}: {_SIDES[record.side]} {record.quantity} "
        f"{symbols[record.symbol]} at {record.price // 10_000}.{record.price % 10_000:04d}"
    )
