"""Reading an engine's segment (shm/include/agent_shm.h), without NumPy and without the engine's help: the segment
describes itself, so an engine of another build is read right as well, and reading it writes nothing.
"""

import mmap
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import AgentError
from agent.shm import _segment, identity
from agent.shm.histogram import Histogram

DIRECTORY = Path("/dev/shm")
PREFIX = "hosttune-agent-"
#: Behind the segment's name: the ring that carries its journal, and its tick series.
JOURNAL_SUFFIX = ".journal"
SERIES_SUFFIX = ".series"

_STATES = _segment.STATES
_MOST_BITS = 16


class SegmentError(AgentError):
    """There is no such segment, it is not one that this version reads, or it cannot be written; the message names
    its file."""


class Symbol(msgspec.Struct, frozen=True):
    """One instrument: prices and sizes in units of 1e-8, position and open orders in whole units."""

    name: str
    stale: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    position: int
    open_buy: int
    open_sell: int


class Segment(msgspec.Struct, frozen=True):
    """One reading of a segment. start_time in clock ticks after boot; started_ns is CLOCK_REALTIME, heartbeat_ns
    CLOCK_MONOTONIC of that boot. feed_session: of MoldUDP64, as its packets have it; "": none is
    read yet. limits: in the names and units of AGENT_LIMITS in shm/include/agent_shm.h;
    agent/limits.py has them in the user's."""

    path: str
    state: str
    pid: int
    start_time: int
    started_ns: int
    heartbeat_ns: int
    boot_id: str
    ended: str
    feed_session: str
    counters: dict[str, int]
    histograms: dict[str, Histogram]
    limits: dict[str, int]
    symbols: tuple[Symbol, ...]

    @property
    def alive(self) -> bool:
        """Whether the process that wrote it still runs: same boot, pid and start time."""
        return identity.is_alive(self.boot_id, self.pid, self.start_time)


class _Places(msgspec.Struct, frozen=True):
    """Where the words of one segment lie: bytes from its begin (of symbol fields: from their row's), by name."""

    head: dict[str, Any]
    counters: dict[str, int]
    histograms: dict[str, int]
    limits: dict[str, int]
    fields: dict[str, int]


def path_of(name: str) -> Path:
    """Returns the path of the segment of the engine called name."""
    return DIRECTORY / (PREFIX + name)


def find(wanted: str | None) -> Path:
    """Returns the path of a segment by path, by engine name, or (None) of the only one there is. Raises SegmentError
    for None when there is none, or more than one."""
    if wanted is not None:
        return Path(wanted) if "/" in wanted else path_of(wanted)
    found = sorted(p for p in DIRECTORY.glob(PREFIX + "*") if not p.name.endswith((JOURNAL_SUFFIX, SERIES_SUFFIX)))
    if len(found) == 1:
        return found[0]
    if not found:
        raise SegmentError(f"no agent has run here: there is no {DIRECTORY / PREFIX}*")
    names = ", ".join(p.name.removeprefix(PREFIX) for p in found)
    raise SegmentError(f"there are {len(found)} agents here, name one: {names}")


def read(path: Path) -> Segment:
    """Returns a reading of the segment at path.

    Raises SegmentError when the file is missing, is not a segment, or is of another version or
    size than its header says.
    """
    return decode(_read_bytes(path), str(path))


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return b""
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
                return bytes(view)
    except (OSError, ValueError) as error:
        raise SegmentError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def decode(data: bytes, path: str) -> Segment:
    """Returns what the bytes of a segment say; path is for messages. Raises SegmentError if they are no segment."""
    places = _locate(data, path)
    head = places.head
    words = 4 + head["histogram_buckets"]
    histograms = {}
    for name, at in places.histograms.items():
        count, total, low, high, *held = _words(data, at, words)
        histograms[name] = Histogram(
            count=count, sum=total, min=low, max=high, bits=head["histogram_bits"], buckets=tuple(held)
        )
    symbols, row_size = [], 8 * len(places.fields)
    for row in range(head["symbols_offset"], head["symbols_offset"] + row_size * head["symbols_count"], row_size):
        fields: dict[str, Any] = dict(zip(places.fields, _words(data, row, row_size // 8, "q"), strict=True))
        fields["name"] = fields["name"].to_bytes(8, "little", signed=True).decode("ascii", "replace").rstrip()
        symbols.append(Symbol(**fields))
    return Segment(
        path=path,
        state=_STATES[head["state"]],
        pid=head["pid"],
        start_time=head["start_time"],
        started_ns=head["started_ns"],
        heartbeat_ns=head["heartbeat_ns"],
        boot_id=_text(head["boot_id"]),
        ended=_text(head["ended"]),
        feed_session=_text(head["feed_session"]),
        counters=dict(zip(places.counters, _words(data, head["counters_offset"], head["counters_count"]), strict=True)),
        histograms=histograms,
        limits=dict(zip(places.limits, _words(data, head["limits_offset"], head["limits_count"], "q"), strict=True)),
        symbols=tuple(symbols),
    )


def _words(data: bytes, at: int, count: int, form: str = "Q") -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}{form}", data, at)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _locate(data: bytes, path: str) -> _Places:
    """Returns where the words of a segment lie, from its own description. Raises SegmentError if it is none, or if
    what it describes does not lie inside of it."""
    magic = _segment.MAGIC
    if len(data) < _segment.HEADER_SIZE:
        raise SegmentError(f"{path}: {len(data)} bytes, too short for an agent's segment")
    head: dict[str, Any] = _segment.read_header(data)
    if _text(head["magic"]).encode() != magic:
        raise SegmentError(f"{path}: not an agent's segment (no {magic.decode()} at its start)")
    if head["version"] != _segment.VERSION:
        raise SegmentError(f"{path}: layout version {head['version']}, this agent reads version {_segment.VERSION}")
    sizes = {
        "counters": 8 * head["counters_count"],
        "histograms": 8 * (4 + head["histogram_buckets"]) * head["histograms_count"],
        "limits": 8 * head["limits_count"],
        "symbols": 8 * head["symbol_words"] * head["symbols_count"],
        "names": head["names_size"],
    }
    end = max(head[f"{part}_offset"] + size for part, size in sizes.items())
    if head["size"] != len(data) or end > len(data) or head["state"] not in _STATES:
        raise SegmentError(f"{path}: {len(data)} bytes, but its header describes {max(head['size'], end)}")
    names = data[head["names_offset"] :][: head["names_size"]].decode("ascii", "replace").split()
    counts = [head[key] for key in ("counters_count", "histograms_count", "limits_count", "symbol_words")]
    if len(names) != sum(counts):
        raise SegmentError(f"{path}: {len(names)} names, but its header describes another number of values")
    found = []
    for start, count, step in zip(
        (head["counters_offset"], head["histograms_offset"], head["limits_offset"], 0),
        counts,
        (8, 8 * (4 + head["histogram_buckets"]), 8, 8),
        strict=True,
    ):
        found.append({name: start + step * i for i, name in enumerate(names[:count])})
        names = names[count:]
    if (
        found[3].keys() != set(Symbol.__struct_fields__)
        or head["histogram_bits"] > _MOST_BITS
        or any(head[key] % 8 for key in ("size", "limits_offset"))
        or [len(part) for part in found] != counts
    ):
        raise SegmentError(f"{path}: its header describes another agent's values")
    return _Places(head, *found)


def counter_offset(path: Path, name: str) -> int:
    """Returns where in the segment at path a counter lies, in bytes. Raises SegmentError as read(), and KeyError for an
    unknown name."""
    return _locate(_read_bytes(path), str(path)).counters[name]


def set_limits(path: Path, values: dict[str, int]) -> None:
    """Write limits of a running (or stopped) engine, in the names and units of AGENT_LIMITS, one aligned word each.
    Raises SegmentError as read(), and for an unknown name, a negative number, or a segment that may not be written:
    then none of them is."""
    places = _locate(_read_bytes(path), str(path)).limits
    for name, value in values.items():
        if name not in places:
            raise SegmentError(f"limit: found {name!r}, allowed: {', '.join(places)}")
        if not 0 <= value < 1 << 63:
            raise SegmentError(f"limit {name}: found {value}, allowed: a whole number from 0")
    try:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view, memoryview(view).cast("Q") as words:
            now = {name: words[place // 8] for name, place in places.items()}
            for name in order_writes(values, now):
                words[places[name] // 8] = values[name]
    except OSError as error:
        raise SegmentError(f"{path}: {error.strerror}") from None


def order_writes(values: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Returns the order in which to write limits (AGENT_LIMITS), which the gate reads one by one: between two writes it
    never lets through more than before all of them, or after. The kill switch goes on first and off last; of the token
    bucket the burst goes first where it shrinks."""

    def place(name: str) -> int:
        if name == "kill":
            return 0 if values[name] else 4
        if name == "rate_burst_ns":
            return 1 if values[name] < now[name] else 3
        return 2

    return sorted(values, key=place)


def now_ns() -> int:
    """Returns CLOCK_MONOTONIC, ns, as heartbeat_ns counts."""
    return time.monotonic_ns()
