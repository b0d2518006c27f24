"""Reading an engine's shared-memory segment (shm/include/agent_shm.h), without NumPy and without the
engine's help: the segment describes itself, and reading it writes nothing.
"""

import math
import mmap
import os
import struct
import time
from pathlib import Path

import msgspec

from agent.errors import AgentError

DIRECTORY = Path("/dev/shm")
PREFIX = "hosttune-agent-"
#: Behind the segment's name: the ring that carries its journal.
JOURNAL = ".journal"
#: And its tick series.
SERIES = ".series"

_MAGIC = b"HTAGENT\0"
_VERSION = 2
_HEADER = struct.Struct("<8sIIQQQqq13Q40s128s")
STATES = ("starting", "connecting", "running", "stopped")

#: The percentiles that reports show.
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))


class SegmentError(AgentError):
    """There is no such segment, or it is not one that this version reads."""


class Histogram(msgspec.Struct, frozen=True):
    """Latencies in ns: count, sum, min and max exact; buckets log-linear, 2**bits per octave."""

    count: int
    sum: int
    min: int
    max: int
    bits: int
    buckets: tuple[int, ...]

    def quantile(self, q: float) -> float:
        """The value (ns) at or below which a share q of the samples lies; at most 0.4 % off. 0 if empty."""
        if not self.count:
            return 0.0
        need, seen = max(1, math.ceil(q * self.count - 1e-9)), 0
        for index, held in enumerate(self.buckets):
            seen += held
            if seen >= need:
                return min(max(middle(index, self.bits), self.min), self.max)
        return float(self.max)


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
    """One reading of a segment. Times in ns; heartbeat_ns is CLOCK_MONOTONIC of that boot. limits: in the
    units of AGENT_LIMITS in shm/include/agent_shm.h."""

    path: str
    state: str
    pid: int
    start_time: int
    started_ns: int
    heartbeat_ns: int
    boot_id: str
    ended: str
    counters: dict[str, int]
    histograms: dict[str, Histogram]
    limits: dict[str, int]
    symbols: tuple[Symbol, ...]

    @property
    def alive(self) -> bool:
        """Whether the process that wrote it still runs: same boot, pid and start time."""
        return self.boot_id == boot_id() and start_time(self.pid) == self.start_time


def middle(index: int, bits: int) -> float:
    """The midpoint (ns) of histogram bucket `index`."""
    octave, place = divmod(index, 1 << bits)
    if octave == 0:
        return float(place)
    return ((1 << bits) + place + 0.5) * (1 << (octave - 1)) - 0.5


def boot_id() -> str:
    """The kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (clock ticks after boot); None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[19])


def path_of(name: str) -> Path:
    """The segment of the engine called name."""
    return DIRECTORY / (PREFIX + name)


def find(wanted: str | None) -> Path:
    """A segment by path, by engine name, or (None) the only one there is."""
    if wanted is not None:
        return Path(wanted) if "/" in wanted else path_of(wanted)
    found = sorted(p for p in DIRECTORY.glob(PREFIX + "*") if not p.name.endswith((JOURNAL, SERIES)))
    if len(found) == 1:
        return found[0]
    if not found:
        raise SegmentError(f"no agent has run here: there is no {DIRECTORY / PREFIX}*")
    names = ", ".join(p.name.removeprefix(PREFIX) for p in found)
    raise SegmentError(f"there are {len(found)} agents here, name one: {names}")


def read(path: Path) -> Segment:
    """Read a segment.

    Raises SegmentError when the file is missing, is not a segment, or is of another version or
    size than its header says.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _HEADER.size:
                raise SegmentError(f"{path}: {size} bytes, too short for an agent's segment")
            with mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as view:
                data = bytes(view)
    except OSError as error:
        raise SegmentError(f"{path}: {error.strerror}") from None
    return decode(data, str(path))


def decode(data: bytes, path: str) -> Segment:
    """Take apart the bytes of a segment; SegmentError if they are not one."""
    if len(data) < _HEADER.size:
        raise SegmentError(f"{path}: {len(data)} bytes, too short for an agent's segment")
    (magic, version, state, size, pid, started, started_ns, heartbeat_ns, *table, boot, ended) = _HEADER.unpack_from(
        data
    )
    if magic != _MAGIC:
        raise SegmentError(f"{path}: not an agent's segment (no {_MAGIC[:-1].decode()} at its start)")
    if version != _VERSION:
        raise SegmentError(f"{path}: layout version {version}, this agent reads version {_VERSION}")
    counters_at, counters_n, histograms_at, histograms_n, bits, buckets = table[:6]
    limits_at, limits_n, symbols_at, symbols_n, symbol_words, names_at, names_size = table[6:]
    words = 4 + buckets
    ends = (
        counters_at + 8 * counters_n,
        histograms_at + 8 * words * histograms_n,
        limits_at + 8 * limits_n,
        symbols_at + 8 * symbol_words * symbols_n,
        names_at + names_size,
    )
    if size != len(data) or max(ends) > size or state >= len(STATES):
        raise SegmentError(f"{path}: {len(data)} bytes, but its header describes {max(size, *ends)}")
    names = data[names_at : names_at + names_size].decode("ascii", "replace").split()
    if len(names) != counters_n + histograms_n + limits_n + symbol_words:
        raise SegmentError(f"{path}: {len(names)} names, but its header describes another number of values")
    counters = struct.unpack_from(f"<{counters_n}Q", data, counters_at)
    histograms = {}
    for i, name in enumerate(names[counters_n : counters_n + histograms_n]):
        count, total, low, high, *held = struct.unpack_from(f"<{words}Q", data, histograms_at + 8 * words * i)
        histograms[name] = Histogram(count=count, sum=total, min=low, max=high, bits=bits, buckets=tuple(held))
    limit_names = names[counters_n + histograms_n :][:limits_n]
    limits = struct.unpack_from(f"<{limits_n}q", data, limits_at)
    symbols = []
    for i in range(symbols_n):
        name, *values = struct.unpack_from(f"<8s{symbol_words - 1}q", data, symbols_at + 8 * symbol_words * i)
        symbols.append(Symbol(name.decode("ascii", "replace").rstrip(), *values))
    return Segment(
        path=path,
        state=STATES[state],
        pid=pid,
        start_time=started,
        started_ns=started_ns,
        heartbeat_ns=heartbeat_ns,
        boot_id=_text(boot),
        ended=_text(ended),
        counters=dict(zip(names[:counters_n], counters, strict=True)),
        histograms=histograms,
        limits=dict(zip(limit_names, limits, strict=True)),
        symbols=tuple(symbols),
    )


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def counter_offset(path: Path, name: str) -> int:
    """Where in the segment a counter lies, in bytes; SegmentError as read()."""
    segment = read(path)
    data = path.read_bytes()[: _HEADER.size]
    return int(_HEADER.unpack_from(data)[8]) + 8 * list(segment.counters).index(name)


def set_limits(path: Path, values: dict[str, int]) -> None:
    """Write limits of a running (or stopped) engine, one aligned word each. SegmentError as read(), and for an
    unknown name, a negative number, or a segment that may not be written."""
    segment = read(path)
    table = _HEADER.unpack_from(path.read_bytes()[: _HEADER.size])[8:]
    names = list(segment.limits)
    for name, value in values.items():
        if name not in names:
            raise SegmentError(f"limit: found {name!r}, allowed: {', '.join(names)}")
        if not 0 <= value < 1 << 63:
            raise SegmentError(f"limit {name}: found {value}, allowed: a whole number from 0")
    try:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view, memoryview(view).cast("Q") as words:
            for name, value in values.items():
                words[table[6] // 8 + names.index(name)] = value
    except OSError as error:
        raise SegmentError(f"{path}: {error.strerror}") from None


def now_ns() -> int:
    """CLOCK_MONOTONIC, as heartbeat_ns counts."""
    return time.monotonic_ns()
