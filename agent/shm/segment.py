"""Reading an engine's segment (shm/include/agent_shm.h), without NumPy and without the engine's help: the segment
describes itself, so an engine of another build is read right as well, and reading it writes nothing.
"""

import contextlib
import itertools
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import AgentError
from agent.shm import _segment, identity, place
from agent.shm.histogram import Histogram
from agent.symbols import MAX_SYMBOLS
from hosttune import files
from hosttune.patterns import late_pattern

#: Bytes of a segment at most, and values with a name: several times as many as one of this build with all symbols has.
MOST_BYTES = 2 << 20
_MOST_NAMES = 1024
#: Segments that a message names.
_MOST_SHOWN = 5

_STATES = _segment.STATES
#: The states in which the loop runs.
_LOOPING = ("connecting", "running")
#: A loop writes its heartbeat every few milliseconds; one that has not done so for longer hangs.
HUNG_NS = 1_000_000_000
#: What an engine can be found to be: Segment.condition.
CONDITIONS = (*_STATES.values(), "hung", "died")
#: Of a histogram: 2**bits buckets to a power of two, of which 64 bits have 64.
_MOST_BITS = 16
_WORD_BITS = 64
#: The words of a symbol's row that hold its name, 8 characters each.
_NAME_WORDS = ("name", "name_8", "name_16")
#: How the header's words end that say where the others are.
_GEOMETRY = ("magic", "version", "size", "_offset", "_count", "_words", "_bits", "_buckets")
#: What a value may be called; a metric's name is made of it.
_NAME = late_pattern(r"[a-z][a-z0-9_]{0,63}")


class SegmentError(AgentError):
    """There is no such segment, it is not one that this version reads, or it cannot be written; the message names
    its file."""


class Symbol(msgspec.Struct, frozen=True):
    """One instrument: prices and sizes in units of 1e-8, position and open orders in whole units; state, short_sale and
    auction as in struct agent_event."""

    name: str
    stale: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    position: int
    open_buy: int
    open_sell: int
    tick_ns: int
    profit: int
    state: int = 0
    short_sale: int = 0
    auction: int = 0
    collar_low: int = 0
    collar_high: int = 0


class Request(msgspec.Struct, frozen=True):
    """What a command has asked of the loop last, and the loop's answer: AGENT_REQUEST in shm/include/agent_shm.h."""

    uid: int
    login: int
    begun: int
    complete: int
    answered: int
    journaled: int


class Segment(msgspec.Struct, frozen=True):
    """One reading of a segment. start_time in clock ticks after boot; started_ns is CLOCK_REALTIME, heartbeat_ns
    CLOCK_MONOTONIC of that boot. tripped: the loss beyond its limit because of which `kill` is set, or would be; "":
    none is. abi: the strategy ABI of the engine's build, whose version is `build`. feed_session: of MoldUDP64, as its
    packets have it; "": none is read yet. limits: in the names and units of AGENT_LIMITS in shm/include/agent_shm.h;
    agent/limits.py has them in the user's; configured: as agent.toml had them at the start. counters: those of the
    engine's build, and 0 for one of this build that it lacks."""

    path: str
    state: str
    pid: int
    start_time: int
    started_ns: int
    heartbeat_ns: int
    boot_id: str
    ended: str
    tripped: str
    feed_session: str
    abi: int
    build: str
    counters: dict[str, int]
    histograms: dict[str, Histogram]
    limits: dict[str, int]
    configured: dict[str, int]
    request: Request
    symbols: tuple[Symbol, ...]

    @property
    def alive(self) -> bool:
        """Whether the process that wrote it still runs: same boot, pid and start time."""
        return identity.is_alive(self.boot_id, self.pid, self.start_time)

    @property
    def trades(self) -> bool:
        """Whether its process runs and has not said that the loop has ended."""
        return self.alive and self.state != _STATES[_segment.STOPPED]

    @property
    def heartbeat_age_ns(self) -> int | None:
        """How long ago the loop was last seen; None: in another boot, whose clock was another."""
        return max(0, now_ns() - self.heartbeat_ns) if self.boot_id == identity.read_boot_id() else None

    @property
    def up(self) -> bool:
        """Whether its loop runs: the process does, the loop has begun, has not ended, and is not hung."""
        return self.condition in _LOOPING

    @property
    def condition(self) -> str:
        """One of CONDITIONS: the state that the engine wrote, "died" if its process is gone and had not stopped, "hung"
        if the process is there and its loop has not been seen for HUNG_NS."""
        if self.state == _STATES[_segment.STOPPED]:
            return self.state
        if not self.alive:
            return "died"
        age = self.heartbeat_age_ns
        return "hung" if self.state in _LOOPING and age is not None and age > HUNG_NS else self.state


class Places(msgspec.Struct, frozen=True):
    """Where the words of one segment lie: bytes from its begin (of symbol fields: from their row's), by name."""

    head: dict[str, Any]
    counters: dict[str, int]
    histograms: dict[str, int]
    limits: dict[str, int]
    fields: dict[str, int]


def path_of(name: str) -> Path:
    """Returns the path of the segment of this user's engine called name."""
    return place.own_directory() / (name + place.SEGMENT_SUFFIX)


def find(wanted: str | None) -> Path:
    """Returns the path of a segment by path, by engine name, or (None) of the only one there is. Raises SegmentError
    when there is none, and for None when there is more than one.

    Names are looked for in this user's directory, then in the service's. One that somebody else may have put there is
    passed over: the user's where another user owns it, either where others can write in it.
    """
    if wanted is not None and "/" in wanted:
        return Path(wanted)
    if wanted is not None:
        return _list(lambda directory: place.find_segments(directory, [wanted]), wanted)[0]
    found = list_all()
    if len(found) == 1:
        return found[0]
    raise SegmentError(f"there are {len(found)} agents here, name one: {show_paths(found)}")


def list_all(name: str = "") -> list[Path]:
    """Returns the paths of all segments in this user's directory, then in the service's; name: those of the engine with
    this name and of its shards. Raises SegmentError when there is none."""
    # Asked for by name, since a directory may have more names than are listed.
    wanted = [name, *(f"{name}.{shard}" for shard in range(MAX_SYMBOLS if name else 0))]
    return _list(
        lambda directory: (
            place.find_segments(directory, wanted)
            if name
            else [place.name_of(Path(segment)) for segment in place.list_segments(directory)]
        ),
        name,
    )


def show_paths(paths: list[Path]) -> str:
    """Returns the first few paths, in one line."""
    more = f" and {len(paths) - _MOST_SHOWN} more" if len(paths) > _MOST_SHOWN else ""
    return ", ".join(map(str, paths[:_MOST_SHOWN])) + more


def _list(look: Callable[[Path], list[str]], wanted: str) -> list[Path]:
    """Returns the paths of the segments whose names look() finds in a directory. wanted: the name that is looked for.
    Raises SegmentError when there is none."""
    found: list[Path] = []
    passed = []
    for directory in dict.fromkeys((place.own_directory(), place.SYSTEM)):
        try:
            names = look(directory)
        except FileNotFoundError:
            passed.append(f"there is no {directory}")
        except OSError as error:
            passed.append(place.explain(error, directory))
        else:
            found += [directory / (name + place.SEGMENT_SUFFIX) for name in names]
            passed.append(f"none in {directory}")
    if not found:
        raise SegmentError(f"no agent{f' called {wanted}' if wanted else ''} has run here: {'; '.join(passed)}")
    return found


def read(path: Path) -> Segment:
    """Returns a reading of the segment at path.

    Raises SegmentError when the file is missing, is not a segment, is another user's, or is of another version or
    size than its header says.
    """
    with open_segment(path, os.O_RDONLY) as (_, data):
        return decode(data, str(path))


@contextlib.contextmanager
def open_segment(path: Path, flags: int) -> Iterator[tuple[int, bytes]]:
    """A segment's descriptor, and what is in it: read and not mapped, since the mapping of a file that is cut short
    kills. Raises SegmentError for every OSError, also for one from within."""
    try:
        descriptor = place.open_file(path, flags, reading=True)
        try:
            yield descriptor, files.read_bounded(descriptor, MOST_BYTES, path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SegmentError(place.explain(error, path)) from None


def decode(
    data: bytes, path: str, most_symbols: int = MAX_SYMBOLS, *, known: Places | None = None, histograms: bool = True
) -> Segment:
    """Returns what the bytes of a segment say; path is for messages. most_symbols:
    a recording has more than an engine. known: what locate() has returned for the same segment before, which is not
    looked for again. histograms: False: they are left out. Raises SegmentError if they are no segment."""
    places = (known and _renew(known, data)) or locate(data, path, most_symbols)
    head = places.head
    words = 4 + head["histogram_buckets"]
    found = {}
    for name, at in places.histograms.items() if histograms else ():
        count, total, low, high, *held = _words(data, at, words)
        found[name] = Histogram(
            count=count, sum=total, min=low, max=high, bits=head["histogram_bits"], buckets=tuple(held)
        )
    counters = dict(zip(places.counters, _words(data, head["counters_offset"], head["counters_count"]), strict=True))
    symbols, row_size = [], 8 * len(places.fields)
    for row in range(head["symbols_offset"], head["symbols_offset"] + row_size * head["symbols_count"], row_size):
        fields: dict[str, Any] = dict(zip(places.fields, _words(data, row, row_size // 8, "q"), strict=True))
        text = struct.pack("<3q", *(fields.pop(word) for word in _NAME_WORDS))
        fields["name"] = text.decode("ascii", "replace").rstrip()
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
        tripped=_text(head["tripped"]),
        feed_session=_text(head["feed_session"]),
        abi=head["abi"],
        build=_text(head["build"]),
        counters=counters | {name: 0 for name in _segment.counters() if name not in counters},
        histograms=found,
        limits=dict(zip(places.limits, _words(data, head["limits_offset"], head["limits_count"], "q"), strict=True)),
        configured=dict(
            zip(places.limits, _words(data, head["configured_offset"], head["limits_count"], "q"), strict=True)
        ),
        request=Request(**{name: _words(data, word.offset, 1)[0] for name, word in _segment.request_fields().items()}),
        symbols=tuple(symbols),
    )


def _renew(known: Places, data: bytes) -> Places | None:
    """Returns the places with what the header says now, None where it describes others."""
    head: dict[str, Any] = _segment.read_header(data) if len(data) == known.head["size"] else {}
    kept = all(head.get(key) == value for key, value in known.head.items() if key.endswith(_GEOMETRY))
    return msgspec.structs.replace(known, head=head) if kept and head["state"] in _STATES else None


def _words(data: bytes, at: int, count: int, form: str = "Q") -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}{form}", data, at)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def locate(data: bytes, path: str, most_symbols: int = MAX_SYMBOLS) -> Places:
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
        "configured": 8 * head["limits_count"],
        "symbols": 8 * head["symbol_words"] * head["symbols_count"],
        "names": head["names_size"],
    }
    end = max(head[f"{part}_offset"] + size for part, size in sizes.items())
    if head["size"] != len(data) or end > len(data) or head["state"] not in _STATES:
        raise SegmentError(f"{path}: {len(data)} bytes, but its header describes {max(head['size'], end)}")
    counts = [head[key] for key in ("counters_count", "histograms_count", "limits_count", "symbol_words")]
    if sum(counts) > _MOST_NAMES:
        raise SegmentError(f"{path}: its header describes {sum(counts)} values, allowed: at most {_MOST_NAMES}")
    names = data[head["names_offset"] :][: head["names_size"]].decode("ascii", "replace").split()
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
        found[3].keys() != {*Symbol.__struct_fields__, *_NAME_WORDS}
        or not found[2].keys() >= _segment.limits().keys()
        or head["histogram_bits"] > _MOST_BITS
        or head["histogram_buckets"] > (_WORD_BITS + 1) << head["histogram_bits"]
        or head["symbols_count"] > most_symbols
        or not all(map(_NAME.fullmatch, itertools.chain(*found)))
        or any(head[key] % 8 for key in ("size", "limits_offset", "configured_offset"))
        or [len(part) for part in found] != counts
    ):
        raise SegmentError(f"{path}: its header describes another agent's values")
    return Places(head, *found)


def counter_offset(path: Path, name: str) -> int:
    """Returns where in the segment at path a counter lies, in bytes. Raises SegmentError as read(), and KeyError for an
    unknown name."""
    with open_segment(path, os.O_RDONLY) as (_, data):
        return locate(data, str(path)).counters[name]


def now_ns() -> int:
    """Returns CLOCK_MONOTONIC, ns, as heartbeat_ns counts."""
    return time.monotonic_ns()
