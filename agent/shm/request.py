"""Writing an engine's limits, as a request that its loop answers (AGENT_REQUEST in shm/include/agent_shm.h)."""

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from agent.shm import _segment, place
from agent.shm.segment import Places, Segment, SegmentError, decode, locate, open_segment
from hosttune import files

#: Seconds that another command may hold the segment: a loop that is well answers it within a few milliseconds, and a
#: lock that the agent's own user keeps costs root no more.
_PATIENCE = 0.5
_NO_LOGIN = 0xFFFFFFFF
_MOST = 1 << 63
#: Where the words of a request lie: bytes from the segment's begin.
_AT = {name: word.offset for name, word in _segment.request_fields().items()}


class Asker(msgspec.Struct, frozen=True):
    """Who asks: the process's user, and the user whose login it comes from (0xFFFFFFFF: there is none)."""

    uid: int
    login: int = _NO_LOGIN


def find_asker() -> Asker:
    """Returns who runs this process: by its user, and by the kernel's word for whose login it comes from, else sudo's.
    Sources: proc(5), loginuid; sudo(8), SUDO_UID."""
    uid = os.getuid()
    try:
        login = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        login = _NO_LOGIN
    sudo = os.environ.get("SUDO_UID", "")
    if login == _NO_LOGIN and uid == 0 and sudo.isdecimal() and int(sudo) < _NO_LOGIN:
        login = int(sudo)
    return Asker(uid, login)


class Asked:
    """A request that was written, and whose answer is read from the same file, whatever is at the path by now. number:
    None where another command held the segment, and the limits were written without."""

    def __init__(self, descriptor: int, number: int | None) -> None:
        self._descriptor, self.number = descriptor, number

    def read(self) -> tuple[bool, bool]:
        """Returns whether the loop has the limits in force, and whether the journal has their changes. Raises
        OSError."""
        if self.number is None:
            return False, False
        if _read_word(self._descriptor, "answered") != self.number:
            return False, False
        return True, _read_word(self._descriptor, "journaled") == self.number  # the loop writes it first

    def is_at(self, path: Path) -> bool:
        """Whether the file is still the one at this path: a start puts another one there."""
        try:
            found = os.stat(path)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self._descriptor))


@contextlib.contextmanager
def ask_limits(path: Path, values: Mapping[str, int], asker: Asker) -> Iterator[Asked]:
    """Write limits of a running (or ended) engine, in the names and units of AGENT_LIMITS, one aligned word each, as a
    request of asker's. Within the block no other command asks.

    A kill switch does not wait for another command. Raises SegmentError as segment.read(), for an unknown name, a
    negative number, a segment that may not be written, and one that another command holds for too long: then none of
    them is written.
    """
    with open_segment(path, os.O_RDWR) as (descriptor, data):
        places = locate(data, str(path))
        _check(places, values)
        size = len(data)
        killing = {"kill": 1}.items() <= values.items()
        try:
            files.lock_file(descriptor, 0)
        except BlockingIOError:
            if killing:
                _store(descriptor, size, places, {"kill": 1})
            try:
                files.lock_file(descriptor, _PATIENCE)
            except BlockingIOError:
                if not killing:
                    raise SegmentError(f"{path}: another command holds it, for more than {_PATIENCE:g} s") from None
                yield Asked(descriptor, None)
                return
        yield Asked(descriptor, _write(descriptor, size, places, values, asker))


class OpenSegment:
    """An engine's segment that is kept open, for a process that asks again and again: what is in it is located once.
    Of one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Raises SegmentError as segment.read()."""
        with open_segment(path, os.O_RDWR) as (descriptor, data):
            self._places, self._size = locate(data, str(path)), len(data)
            self._descriptor = os.dup(descriptor)
        self.path = path
        self._locked = False

    def is_at_path(self) -> bool:
        """Whether the file is still the one at its path: a start puts another one there."""
        return Asked(self._descriptor, None).is_at(self.path)

    def read(self) -> Segment:
        """Returns a reading without histograms. Raises SegmentError."""
        with _name_errors(self.path):
            data = os.pread(self._descriptor, self._size + 1, 0)
            return decode(data, str(self.path), known=self._places, histograms=False)

    def read_limits(self) -> dict[str, int]:
        """Returns the limits alone, as Segment.limits. Raises SegmentError."""
        with _name_errors(self.path):
            return _read_limits(self._descriptor, self._places)

    def ask(self, values: Mapping[str, int], asker: Asker) -> Asked | None:
        """Write limits as ask_limits() does, and return at once. Returns None where another command holds the segment:
        then nothing is written, or only a kill switch that is on. From then on no other command asks, until
        release(); a request before this one's needs no answer any more. Raises SegmentError."""
        _check(self._places, values)
        with _name_errors(self.path):
            if not self._locked:
                try:
                    files.lock_file(self._descriptor, 0)
                except BlockingIOError:
                    if values.get("kill"):
                        _store(self._descriptor, self._size, self._places, {"kill": 1})
                    return None
                self._locked = True
            return Asked(self._descriptor, _write(self._descriptor, self._size, self._places, values, asker))

    def release(self) -> None:
        """Let other commands ask."""
        if self._locked:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._locked = False

    def close(self) -> None:
        """Give the file back; nothing can be asked any more."""
        os.close(self._descriptor)


@contextlib.contextmanager
def _name_errors(path: Path) -> Iterator[None]:
    """Raise SegmentError, which names the path, for every OSError from within."""
    try:
        yield
    except OSError as error:
        raise SegmentError(place.explain(error, path)) from None


def set_limits(path: Path, values: Mapping[str, int]) -> None:
    """Write limits, and wait for nobody's answer. Raises as ask_limits()."""
    with ask_limits(path, values, Asker(os.getuid())):
        pass


def _check(places: Places, values: Mapping[str, int]) -> None:
    for name, value in values.items():
        if name not in places.limits:
            raise SegmentError(f"limit: found {name!r}, allowed: {', '.join(places.limits)}")
        if not 0 <= value < _MOST:
            raise SegmentError(f"limit {name}: found {value}, allowed: a whole number from 0")


def _write(descriptor: int, size: int, places: Places, values: Mapping[str, int], asker: Asker) -> int:
    """Write a request. Returns its number."""
    data = os.pread(descriptor, 24, _AT["begun"])
    if len(data) != 24:
        raise SegmentError("the segment is cut short while it is used")
    taken = set(struct.unpack("<3Q", data))  # begun, complete and answered stand behind each other
    number = next(n for n in range(1, len(taken) + 2) if n not in taken)
    before = [(_AT["uid"], asker.uid), (_AT["login"], asker.login), (_AT["begun"], number)]
    _store(descriptor, size, places, values, before, [(_AT["complete"], number)])
    return number


def _read_word(descriptor: int, name: str) -> int | None:
    """Returns a word of the request, None where the segment is cut short."""
    word = os.pread(descriptor, 8, _AT[name])
    return int.from_bytes(word, "little") if len(word) == 8 else None


def _store(
    descriptor: int,
    size: int,
    places: Places,
    values: Mapping[str, int],
    before: list[tuple[int, int]] | None = None,
    after: list[tuple[int, int]] | None = None,
) -> None:
    now = _read_limits(descriptor, places) if "rate_burst_ns" in values else {}
    words = [(places.limits[name], values[name]) for name in order_writes(values, now)]
    _segment.store(descriptor, size, [*(before or []), *words, *(after or [])])


def _read_limits(descriptor: int, places: Places) -> dict[str, int]:
    """Returns the limits as they are, by the names and in the units of AGENT_LIMITS. Raises SegmentError."""
    count = len(places.limits)
    data = os.pread(descriptor, 8 * count, places.head["limits_offset"])
    if len(data) != 8 * count:
        raise SegmentError("the segment is cut short while it is used")
    return dict(zip(places.limits, struct.unpack(f"<{count}Q", data), strict=True))


def order_writes(values: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Returns the order in which to write limits (AGENT_LIMITS), which the gate reads one by one: between two writes it
    never lets through more than before all of them, or after. The kill switch goes on first and off last; of the token
    bucket the burst goes first where it shrinks. now: the limits as they are, of which rate_burst_ns alone is looked
    at."""

    def place(name: str) -> int:
        if name == "kill":
            return 0 if values[name] else 4
        if name == "rate_burst_ns":
            return 1 if values[name] < now[name] else 3
        return 2

    return sorted(values, key=place)
