"""What a process of the desk says of itself: numbers and texts in one small file that others read at any time.

Each process has the file NAME.counters in the agent's own directory (agent.shm.place.own_directory). It publishes:

    with Counters.open("ingest", "ingest") as counters:
        while True:
            ...                                                       # work
            if counters.due():                                        # every interval, and at once after open()
                counters.publish({"records": 12, "lag[ticks-0]": 3}, {"problem": ""})

publish() is called by the loop that does the work, never by a thread beside it: it is the heartbeat. A number is
published only when it is known. A name is a word, or a word and a label in brackets: `lag[ticks-0]` (split_name()). A
reader:

    for one in list_all():
        if isinstance(one, Snapshot):
            print(one.name, one.state, one.age, one.numbers.get("records"))
        else:
            print(one)                                                # CountersError: what is wrong with this file

A process that is not there any more `died`, unless it had said that it `ended`; one that runs and has not published for
longer than its intervals allow is `hung`.

The file has two places of one size, written in turn: CRC-32 of the rest, bytes of text, JSON. So a reader finds one
that is whole while the other is written, also when the writer was killed in it. A place has SLOT bytes, and twice as
many, and so on, up to MOST_SLOT, once a publication needs them; otherwise no publication needs space on the disk. What
does not fit, since there is no more space, is left out: of the numbers and texts with a label as many as have to be,
and the number `left_out` says how many. Times are CLOCK_MONOTONIC, which no clock that is set moves.
"""

import contextlib
import fcntl
import itertools
import math
import os
import re
import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

import msgspec

from agent.shm import identity, place
from desk.errors import DeskError

SUFFIX = ".counters"
#: Bytes of each of the file's two places, at first and at most.
SLOT, MOST_SLOT = 1 << 16, 1 << 22
#: Characters of a text at most; a longer one is cut.
MOST_TEXT = 500
#: A process hangs that has not published for so many of its intervals, and at least for HUNG_SECONDS.
HUNG_INTERVALS = 5
HUNG_SECONDS = 5.0

State = Literal["runs", "hung", "died", "ended"]

_NAME = re.compile(rf"{place.NAME}{re.escape(SUFFIX)}")
_HEADER = struct.Struct("<II")
#: A whole number is one of 64 bits: a reader divides it, and shows it.
_MOST_INTEGER = (1 << 63) - 1
_Number = Annotated[int, msgspec.Meta(ge=-_MOST_INTEGER, le=_MOST_INTEGER)] | float
_Label = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}(\[[^\[\]\x00-\x1f]{1,300}\])?\Z")]


class CountersError(DeskError):
    """The file of a process cannot be made or read; the message names the file."""


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    """What a process writes. sequence: of the publication; beat, started: nanoseconds of CLOCK_MONOTONIC; interval:
    seconds between publications."""

    kind: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}\Z")]
    boot_id: Annotated[str, msgspec.Meta(max_length=40)]
    pid: Annotated[int, msgspec.Meta(ge=0, le=1 << 22)]
    start_time: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    started: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    interval: Annotated[float, msgspec.Meta(gt=0, le=3600)]
    sequence: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0
    beat: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0
    ended: bool = False
    numbers: dict[_Label, _Number] = {}
    texts: dict[_Label, Annotated[str, msgspec.Meta(max_length=MOST_TEXT)]] = {}


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a process said last. age: seconds since then; uptime: seconds between its start and then; sequence: number
    of the publication; numbers and texts: by name, see split_name()."""

    name: str
    kind: str
    path: Path
    state: State
    pid: int
    start_time: int
    age: float
    uptime: float
    interval: float
    sequence: int
    numbers: dict[str, int | float]
    texts: dict[str, str]


class Counters:
    """The file of this process, until close(). One process at a time has the file of a name."""

    def __init__(self, path: Path, descriptor: int, document: _Document) -> None:
        self.path, self._descriptor, self._document = path, descriptor, document
        self._slot = _find_slot(descriptor)
        self._due = 0.0

    @classmethod
    def open(cls, name: str, kind: str, interval: float = 0.5, directory: Path | None = None) -> Self:
        """Returns the counters of this process. name: of the process, unique in the directory (None: the agent's own,
        which is made where it is missing); kind: the subcommand; interval: seconds between two publications.

        Raises CountersError: also where another process has this name, and lives.
        """
        path = Path(name)
        try:
            path = (place.make_own_directory() if directory is None else directory) / f"{name}{SUFFIX}"
            if not _NAME.fullmatch(f"{name}{SUFFIX}"):
                raise CountersError(f"name: found {name!r}, allowed: {place.NAME}")
            descriptor = place.open_file(path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                slot = _find_slot(descriptor)
                os.posix_fallocate(descriptor, 0, 2 * slot)
                os.ftruncate(descriptor, 2 * slot)
                pid, start_time = identity.own()
                return cls(path, descriptor, _Document(
                    kind=kind, boot_id=identity.read_boot_id(), pid=pid, start_time=start_time,
                    started=time.monotonic_ns(), interval=interval,
                    sequence=max((found.sequence for found in _read_slots(descriptor)), default=0),
                ))  # fmt: skip
            except BaseException:
                os.close(descriptor)
                raise
        except BlockingIOError:
            raise CountersError(
                f"{path}: another process has this name{_say_pid(path)}; end that, or give this one its own"
            ) from None
        except OSError as error:
            raise CountersError(place.explain(error, path)) from None

    def due(self) -> bool:
        """Returns whether the interval is over since the last publication, or nothing has been published."""
        return time.monotonic() >= self._due

    def publish(self, numbers: Mapping[str, int | float], texts: Mapping[str, str] | None = None) -> None:
        """Write numbers and texts, which take the place of those before. What is not finite, or no whole number of 64
        bits, is left out, a long text is cut; and of what has a label, what there is no room for."""
        self._due = time.monotonic() + self._document.interval
        self._write(msgspec.structs.replace(
            self._document,
            numbers={name: value for name, value in numbers.items() if _can_be_read(value)},
            texts={name: _make_readable(value) for name, value in (texts or {}).items()},
        ))  # fmt: skip

    def _write(self, document: _Document) -> None:
        document.sequence += 1
        document.beat = time.monotonic_ns()
        text = msgspec.json.encode(document)
        if len(text) > self._slot - _HEADER.size and not self._grow(document, len(text) + _HEADER.size):
            text = _shorten(document, self._slot - _HEADER.size)
        size = struct.pack("<I", len(text))
        data = _HEADER.pack(zlib.crc32(size + text), len(text)) + text
        os.pwrite(self._descriptor, data, document.sequence % 2 * self._slot)
        self._document = document

    def _grow(self, document: _Document, size: int) -> bool:
        """Make both places as large as a publication needs. Returns whether they are.

        The first place stays where it is, with what it has; so this publication goes into the second one, which lies
        behind all that was there.
        """
        slot = self._slot
        while slot < size:
            slot *= 2
        if slot > MOST_SLOT:
            return False
        try:
            os.posix_fallocate(self._descriptor, 0, 2 * slot)
        except OSError:  # no space
            return False
        self._slot = slot
        document.sequence += 1 - document.sequence % 2
        return True

    def close(self) -> None:
        """Say that the process has ended, with the numbers that it published last, and leave the name to another."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self._write(msgspec.structs.replace(self._document, ended=True))
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make_readable(text: str) -> str:
    """Returns a text as the file may have it; in the name of a file there are bytes that are no text (PEP 383)."""
    return text[:MOST_TEXT].encode("utf-8", "replace").decode()


def _shorten(document: _Document, most: int) -> bytes:
    """Leave out of a document as many numbers and texts with a label, the last ones first, as have to be. Returns its
    JSON. Raises ValueError where those without a label are more than so many bytes."""
    labelled = [(of, name) for of in (document.numbers, document.texts) for name in of if name.endswith("]")]
    left_out = 0
    while len(text := msgspec.json.encode(document)) > most:
        if left_out == len(labelled):
            raise ValueError(f"counters of {len(text)} bytes without labels, allowed: {most}")
        for of, name in labelled[::-1][left_out : left_out + 50]:
            del of[name]
            left_out += 1
        document.numbers["left_out"] = left_out
    return text


def _find_slot(descriptor: int) -> int:
    """Returns the bytes of each place of an open file; SLOT for a file that no process has made so."""
    slot = os.fstat(descriptor).st_size // 2
    return slot if SLOT <= slot <= MOST_SLOT and not slot & (slot - 1) else SLOT


def _can_be_read(value: int | float) -> bool:
    return abs(value) <= _MOST_INTEGER if isinstance(value, int) else math.isfinite(value)


def read(path: Path) -> Snapshot:
    """Returns what a process said last. Raises CountersError for a file that is none, or holds nothing whole."""
    try:
        descriptor = place.open_file(path, os.O_RDONLY, reading=True)
        try:
            found = _read_slots(descriptor)
        finally:
            os.close(descriptor)
        if not found:
            raise CountersError(f"{path}: holds no publication that is whole")
        last = max(found, key=lambda document: document.sequence)
        age = max(0.0, (time.monotonic_ns() - last.beat) / 1e9)
        state = _judge(last, age)
    except OSError as error:
        raise CountersError(place.explain(error, path)) from None
    return Snapshot(
        name=path.name.removesuffix(SUFFIX),
        kind=last.kind,
        path=path,
        state=state,
        pid=last.pid,
        start_time=last.start_time,
        age=age,
        uptime=max(0.0, (last.beat - last.started) / 1e9),
        interval=last.interval,
        sequence=last.sequence,
        numbers=last.numbers,
        texts=last.texts,
    )


def _say_pid(path: Path) -> str:
    try:
        return f": pid {read(path).pid}"
    except CountersError:  # it has published nothing yet
        return ""


def list_all(directory: Path | None = None) -> list[Snapshot | CountersError]:
    """Returns what each process with a file in the directory (None: the agent's own) said last, or what is wrong with
    its file, by name. Raises CountersError for a directory that cannot be read or has too many names; one that is not
    there has none."""
    directory = place.own_directory() if directory is None else directory
    try:
        descriptor = place.open_directory(directory, reading=True)
        try:
            with os.scandir(descriptor) as entries:
                names = [entry.name for entry in itertools.islice(entries, place.MOST_NAMES + 1)]
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CountersError(place.explain(error, directory)) from None
    if len(names) > place.MOST_NAMES:
        raise CountersError(f"{directory}: found more than {place.MOST_NAMES:,} names, allowed: no more")
    found: list[Snapshot | CountersError] = []
    for name in sorted(filter(_NAME.fullmatch, names)):
        try:
            found.append(read(directory / name))
        except CountersError as error:
            found.append(error)
    return found


def split_name(name: str) -> tuple[str, str]:
    """Returns the word and the label of a number's or text's name, "" for none: `lag[ticks-0]` is lag and ticks-0."""
    word, _, label = name.partition("[")
    return word, label.removesuffix("]")


def _judge(last: _Document, age: float) -> State:
    if last.ended:
        return "ended"
    if not identity.is_alive(last.boot_id, last.pid, last.start_time):
        return "died"
    return "hung" if age > max(HUNG_SECONDS, HUNG_INTERVALS * last.interval) else "runs"


def _read_slots(descriptor: int) -> list[_Document]:
    """Returns the publications in an open file that are whole, at most two, in no order."""
    found = []
    slot = _find_slot(descriptor)
    for place_of in (0, slot):
        data = os.pread(descriptor, slot, place_of)
        if len(data) < _HEADER.size:
            continue
        checksum, size = _HEADER.unpack_from(data)
        if size > len(data) - _HEADER.size or zlib.crc32(data[4 : _HEADER.size + size]) != checksum:
            continue
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            found.append(msgspec.json.decode(data[_HEADER.size : _HEADER.size + size], type=_Document))
    return found
