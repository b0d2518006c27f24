"""The readers of files that outlive their writer, as the fuzzer calls them: functions of bytes that return REFUSED for
what is refused by the error that the reader documents. Every other exception ends the run.

What is accepted is used as the commands use it: printed in every format, added up, taken off the ring.
"""

import contextlib
import itertools
import unittest.mock
from collections.abc import Callable, Iterable
from json import loads as json_loads
from pathlib import Path
from typing import Any

from agent.journal import _record, show
from agent.journal.errors import JournalError
from agent.journal.layout import unpack_header
from agent.journal.rebuild import State, Sum, rebuild
from agent.journal.record import SIZE
from agent.monitor import top
from agent.monitor.stats import Statistics
from agent.shm import _ring, segment
from agent.shm.segment import SegmentError
from agent.shm.series import HEAD_SIZE, decode_head
from hosttune.report.document import Page
from hosttune.report.formats import json, prometheus

REFUSED, READ, USED = 0, 1, 2
#: Printing takes longer than reading: one in so many is printed, and one in so many as metrics.
_PRINTED, _METRICS = 16, 256
_JOURNAL = Path("/var/lib/trading_agent/main.journal")
_journals = itertools.count()
_PATH = "/run/trading_agent/main.segment"


def read_ring(data: bytes) -> int:
    """The input as a ring's file, attached to by a reader, then by a writer. USED: a record came out."""
    memory, verdict = bytearray(data), REFUSED
    for writer in (False, True):
        try:
            handle = _ring.Handle(memory, writer)
            handle.attach(1, 1, False)
        except ValueError:
            continue
        verdict = max(verdict, READ)
        handle.boot_id.decode("ascii", "replace")
        handle.read_owner(writer)
        if writer:
            with contextlib.suppress(ValueError):
                handle.push(bytes(handle.record or 24))
            continue
        with contextlib.suppress(ValueError):
            block = handle.peek_block()
            handle.commit(len(block) // handle.record // 2)
        handle.commit(len(handle.peek_many(2)))
        for _ in range(len(data) // 8):
            if handle.pop() is None:
                break
            verdict = USED
    return verdict


def read_journal(data: bytes) -> int:
    """The input as a journal's file: its header, its records, what they add up to, what the writer would append of them
    to an empty journal, and both ways of printing them. USED: they add up to something."""
    try:
        header = unpack_header(data)
        symbols, begin = header.symbols, header.begin
        if begin > len(data):  # the state before its records is cut: so says File.begin()
            return REFUSED
        whole = begin + (len(data) - begin) // SIZE * SIZE
        pieces = [data[begin : begin + 2 * SIZE], data[begin + 2 * SIZE : whole]]
        if whole < begin + 2 * SIZE:
            pieces = [data[begin:whole]]
        first, end, why = _record.select(data[begin:whole], len(symbols), 0)
        assert 0 <= first <= end <= (whole - begin) // SIZE and bool(why) == (end < (whole - begin) // SIZE)
        state = rebuild(pieces, len(symbols))
    except JournalError:
        return REFUSED
    assert all(0 <= symbol < len(symbols) for symbol in state.positions)
    assert all(o.symbol < len(symbols) and o.side in (1, -1) and o.id for o in state.open_orders.values())
    assert 0 <= state.records <= (whole - begin) // SIZE
    if next(_journals) % _PRINTED == 0:
        _print_journal(symbols, pieces, state)
    return USED if state.records else READ


def _print_journal(symbols: list[str], pieces: list[bytes], state: State) -> None:
    """What `agent journal` prints, but for the file."""
    with unittest.mock.patch.object(show, "Journal", lambda path: _Read(symbols, pieces, state)):
        text, data = show.as_text(_JOURNAL), json_loads("".join(show.write_json(_JOURNAL)))
    assert text.count("\n") == 1 + state.records + sum(map(len, (state.positions, state.open_orders, state.limits)))
    assert all(line.isprintable() for line in text.split("\n"))
    assert len(data["records"]) == state.records and data["last_id"] == state.reference


class _Read(contextlib.nullcontext[Any]):
    """A journal whose file was read."""

    def __init__(self, symbols: list[str], pieces: list[bytes], state: State) -> None:
        super().__init__(self)
        self.symbols, self._pieces, self._state = symbols, pieces, state

    def read(self) -> Iterable[bytes]:
        return self._pieces

    def begin(self) -> Sum:
        return Sum(len(self.symbols))

    def add_up(self) -> "_Read":
        return self

    @property
    def state(self) -> State:
        return self._state


class _Segments:
    """Segments, each after the last one that was read."""

    def __init__(self) -> None:
        self._before: segment.Segment | None = None
        self._count = 0

    def read(self, data: bytes) -> int:
        """The input as a segment. USED: and printed as `agent stats` and `agent top` print it."""
        try:
            found = segment.decode(data, _PATH)
            self._count += 1
            if self._count % _PRINTED:
                return READ
            document, before = Statistics(found), self._before
            document.as_text(Page())
            json.write(document, Page())
            if self._count % _METRICS == 0:
                prometheus.write(document, Page())
            top.format_frame(before if before and top.is_comparable(before, found) else found, found, 1.0)
            self._before = found
        except SegmentError:
            return REFUSED
        return USED


def read_series(data: bytes) -> int:
    """The input's last 8 bytes as the size of a series' file that begins with what is before them."""
    size = int.from_bytes(data[-8:], "little")
    begin = data[:-8][: min(size, HEAD_SIZE)]
    try:
        head = decode_head(begin, size)
    except ValueError:
        return REFUSED
    arrays = 24 * head.capacity * len(head.symbols)
    assert head.counts + 64 * len(head.symbols) <= head.data and head.data + arrays == head.size == size
    assert len(set(head.symbols)) == len(head.symbols)
    assert all(symbol.isascii() and symbol.isprintable() and 0 < len(symbol) <= 8 for symbol in head.symbols)
    return READ


READERS: dict[str, Callable[[bytes], int]] = {
    "ring": read_ring,
    "journal": read_journal,
    "segment": _Segments().read,
    "series": read_series,
}
