"""The journal: every order before it goes out and every answer to it, one record of 64 bytes each.

The engine writes records into a ring in shared memory; a process of its own (`write`) appends them to a
file. Both outlive the engine: a restart reads the file and what is still in the ring, and knows its
positions, its open orders, and from which message on it wants the exchange to go on.
"""

import os
import signal
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import AgentError
from agent.symbols import MAX_SYMBOLS

#: number, time_ns, exchange_sequence, price, tag, kind, id, original, quantity, side, symbol (core.pxd, Entry).
RECORD = struct.Struct("<QqQQQIIIIiI")

(ENTERED, REPLACING, ACCEPTED, REPLACED, EXECUTED, CANCELED, REJECTED, NEVER_REACHED, SESSION, QUERIED, CAUGHT_UP,
 IGNORED) = range(1, 13)  # fmt: skip
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

#: What the file begins with: the layout's version and the names of the symbols by index.
MAGIC = b"HTJOURN1"


class JournalError(AgentError):
    """The journal cannot be used; the message names the file, what was found and what is allowed."""


class Record(msgspec.Struct, frozen=True):
    """One record. price has 4 decimals; time_ns is CLOCK_REALTIME; symbol an index into the journal's symbols."""

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


class OpenOrder(msgspec.Struct):
    """An order that the exchange may still hold."""

    id: int
    symbol: int
    side: int
    leaves: int
    price: int
    tag: int
    original: int
    filled: int = 0
    accepted: bool = False


class State(msgspec.Struct):
    """What the records add up to. positions: whole units by symbol index, short is negative. queries: Account
    Queries that may still be answered."""

    reference: int
    positions: dict[int, int]
    open_orders: dict[int, OpenOrder]
    session: bytes
    sequence: int
    queries: int
    entries: int


def rebuild(records: bytes | memoryview) -> State:
    """What whole records add up to. Those with a number already seen are skipped (the writer died between file and
    ring). Raises JournalError when a number is missing: what is behind a hole cannot be trusted."""
    from agent.journal import _rebuild as _journal  # late: the writer's process has no use for it

    try:
        reference, positions, orders, session, sequence, queries, entries = _journal.rebuild(records)
    except ValueError as error:
        raise JournalError(str(error)) from None
    held = {order[0]: OpenOrder(*order) for order in orders}
    return State(reference, positions, held, session, sequence, queries, entries)


def default_directory() -> Path:
    """$STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/hosttune-agent, else ~/.local/state/hosttune-agent."""
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "hosttune-agent"


def header(symbols: list[str]) -> bytes:
    """The file's first bytes: magic, number of symbols, and their names of 8 characters."""
    return MAGIC + struct.pack("<Q", len(symbols)) + b"".join(s.encode().ljust(8) for s in symbols)


def _head(path: Path, data: bytes) -> tuple[list[str], int]:
    """(symbols, bytes of the header) from what a file begins with. Raises JournalError."""
    if data[:8] != MAGIC or len(data) < 16:
        raise JournalError(f"{path}: not an agent's journal (no {MAGIC.decode()} at its start)")
    count = struct.unpack_from("<Q", data, 8)[0]
    begin = 16 + 8 * count
    if count > MAX_SYMBOLS or len(data) < begin:
        raise JournalError(f"{path}: damaged: {count} symbols in {len(data)} bytes")
    return [data[i : i + 8].decode("ascii", "replace").rstrip() for i in range(16, begin, 8)], begin


def read(path: Path) -> tuple[list[str], memoryview]:
    """(symbols, whole records) of a journal's file. A torn last record is not a record. Raises JournalError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None
    symbols, begin = _head(path, data)
    return symbols, memoryview(data)[begin : begin + (len(data) - begin) // RECORD.size * RECORD.size]


def decode(data: bytes | memoryview) -> Iterator[Record]:
    """Records of a whole number of records' bytes; those with a number already seen are skipped, as by rebuild()."""
    last = 0
    for fields in RECORD.iter_unpack(data):
        if fields[0] > last:
            last = fields[0]
            yield Record(*fields)


def create(path: Path, symbols: list[str]) -> None:
    """Make an empty journal, or check that the one there is for the same symbols, in the same order, and cut
    off a torn last record. Raises JournalError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() or path.stat().st_size == 0:
            path.write_bytes(header(symbols))
            return
        with path.open("rb") as file:
            data = file.read(16 + 8 * MAX_SYMBOLS)
    except OSError as error:
        raise JournalError(f"journal.directory: {path}: {error.strerror}") from None
    found, begin = _head(path, data)
    if found != symbols[: len(found)]:
        raise JournalError(
            f"{path}: is for the symbols {', '.join(found)}; allowed: these first, in this order, or another "
            "journal.directory"
        )
    size = path.stat().st_size
    torn = (size - begin) % RECORD.size
    if torn:
        os.truncate(path, size - torn)
    if found != symbols:
        body = path.read_bytes()[begin:]
        fresh = path.with_suffix(".new")
        fresh.write_bytes(header(symbols) + body)
        fresh.replace(path)


def drain(ring: object, descriptor: int) -> int:
    """Append what is in the ring to the file, then take it off the ring; how many records."""
    block = ring.peek_block()  # type: ignore[attr-defined]
    count = len(block) // RECORD.size
    if count:
        data = memoryview(block)
        while data:
            data = data[os.write(descriptor, data) :]
        os.fdatasync(descriptor)
        ring.commit(count)  # type: ignore[attr-defined]
    return count


def write(ring_path: Path, path: Path, parent: int) -> int:
    """The writer's process: until SIGTERM and an empty ring, or until the engine (`parent`) is gone and the ring
    is empty. Exit code 0; 1 when the file could not be written (the records stay in the ring)."""
    from agent.shm.ring import Ring

    stop = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ring = Ring.attach(ring_path, "reader")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        while True:
            if drain(ring, descriptor):
                continue
            if stop or os.getppid() != parent:
                return 0
            # The ring is as safe from the engine's death as the file; the longer, the fewer wake-ups.
            time.sleep(0.05)
    except OSError as error:
        print(f"agent: journal {path}: {error.strerror}", file=sys.stderr)
        return 1
    finally:
        os.close(descriptor)


def as_data(path: Path) -> dict[str, Any]:
    """Returns every record and what they add up to, as plain data. Raises JournalError."""
    symbols, records = read(path)
    held, state = list(decode(records)), rebuild(records)
    return {
        "file": str(path),
        "records": [
            msgspec.structs.asdict(r) | {"kind": KINDS.get(r.kind, str(r.kind)), "symbol": symbols[r.symbol]}
            for r in held
        ],
        "positions": {symbols[i]: units for i, units in sorted(state.positions.items())},
        "open_orders": [msgspec.structs.asdict(o) | {"symbol": symbols[o.symbol]} for o in state.open_orders.values()],
        "last_id": state.reference,
        "exchange_session": state.session.decode("ascii", "replace").strip(),
        "exchange_sequence": state.sequence,
    }


def as_text(path: Path) -> str:
    """A line per record, then positions and open orders."""
    symbols, records = read(path)
    held, state = list(decode(records)), rebuild(records)
    lines = []
    for r in held:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(r.time_ns // 1_000_000_000))
        if r.kind == SESSION:
            session = struct.pack("<QH", r.tag, r.price & 0xFFFF).decode("ascii", "replace").strip()
            lines.append(f"{at}.{r.time_ns % 1_000_000_000:09d}Z  logged in, session {session}")
            continue
        if r.kind in (QUERIED, CAUGHT_UP):
            expects = f", the exchange expects order {r.id} next" if r.kind == CAUGHT_UP else ""
            lines.append(f"{at}.{r.time_ns % 1_000_000_000:09d}Z  {KINDS[r.kind]}{expects}")
            continue
        side = {1: "buy", -1: "sell"}.get(r.side, "?")
        old = f" for {r.original}" if r.original else ""
        lines.append(
            f"{at}.{r.time_ns % 1_000_000_000:09d}Z  {KINDS.get(r.kind, r.kind)} {r.id}{old}: "
            f"{side} {r.quantity} {symbols[r.symbol]} at {r.price // 10_000}.{r.price % 10_000:04d}"
        )
    lines.append(f"{len(held):,} records; the last order was {state.reference}")
    lines += [f"position {symbols[i]}: {units:+,}" for i, units in sorted(state.positions.items())]
    lines += [
        f"open {o.id}: {'buy' if o.side > 0 else 'sell'} {o.leaves} {symbols[o.symbol]}"
        for o in state.open_orders.values()
    ]
    return "\n".join(lines) + "\n"
