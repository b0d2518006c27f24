"""`agent journal`: a journal's records and what they add up to, as plain data or as text."""

import time
from pathlib import Path
from typing import Any

import msgspec

from agent.journal.file import load
from agent.journal.record import CAUGHT_UP, KINDS, QUERIED, SESSION, Record, decode
from hosttune.output import escape, escape_values

_SIDES = {1: "buy", -1: "sell"}


def _name_symbol(symbols: list[str], index: int) -> str:
    """Returns a symbol's name; records that only a damaged file has may have an index that it lacks."""
    return symbols[index] if index < len(symbols) else f"symbol {index}"


def as_data(path: Path) -> dict[str, Any]:
    """Returns every record and what they add up to, as plain data. Raises JournalError."""
    symbols, records, state = load(path)
    return {
        "file": str(path),
        "records": [
            msgspec.structs.asdict(r)
            | {"kind": KINDS.get(r.kind, str(r.kind)), "symbol": _name_symbol(symbols, r.symbol)}
            for r in decode(records)
        ],
        "positions": {symbols[i]: units for i, units in sorted(state.positions.items())},
        "open_orders": [msgspec.structs.asdict(o) | {"symbol": symbols[o.symbol]} for o in state.open_orders.values()],
        "last_id": state.reference,
        "exchange_session": state.session.decode("ascii", "replace").strip(),
        "exchange_sequence": state.sequence,
    }


def _show_record(record: Record, symbols: list[str]) -> str:
    """Returns one line without the time."""
    kind = KINDS.get(record.kind, str(record.kind))
    if record.kind == SESSION:
        return f"logged in, session {escape(record.session)}"
    if record.kind in (QUERIED, CAUGHT_UP):
        expects = f", the exchange expects order {record.id} next" if record.kind == CAUGHT_UP else ""
        return f"{kind}{expects}"
    old = f" for {record.original}" if record.original else ""
    return (
        f"{kind} {record.id}{old}: {_SIDES.get(record.side, '?')} {record.quantity} "
        f"{_name_symbol(symbols, record.symbol)} at {record.price // 10_000}.{record.price % 10_000:04d}"
    )


def as_text(path: Path) -> str:
    """Returns a line per record, then positions and open orders. Raises JournalError."""
    symbols, records, state = load(path)
    symbols = escape_values(symbols)
    lines = []
    for record in decode(records):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(record.time_ns // 1_000_000_000))
        lines.append(f"{at}.{record.time_ns % 1_000_000_000:09d}Z  {_show_record(record, symbols)}")
    lines.append(f"{len(lines):,} records; the last order was {state.reference}")
    lines += [f"position {symbols[i]}: {units:+,}" for i, units in sorted(state.positions.items())]
    lines += [
        f"open {o.id}: {_SIDES[1] if o.side > 0 else _SIDES[-1]} {o.leaves} {symbols[o.symbol]}"
        for o in state.open_orders.values()
    ]
    return "\n".join(lines) + "\n"
