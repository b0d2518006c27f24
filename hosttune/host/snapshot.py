"""Snapshots: everything that checks read of a host, in one JSON file, to be checked elsewhere or later.

A snapshot holds of each file only what :mod:`hosttune.host.kept` allows, in the form in which a check parses it, each
with how it was obtained: value, absent, or unreadable with the reason.

The file is a JSON object, compressed with gzip if its name ends in `.gz`:

    {"format": "hosttune-snapshot", "version": 2, "tool": "0.1.0", "taken": "2025-01-31T06:00:00Z",
     "source": "live", "seconds": 5.0, "moments": [MOMENT, MOMENT]}

`moments` has one entry, or two that are `seconds` apart. A MOMENT has `read`, `list`, `link` and `netlink`;
each maps a path (or the name of a dump) to {"value": ...}, {"absent": REASON} or {"unreadable": REASON}.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import msgspec

from hosttune import __version__, files
from hosttune.host.kept import OMITTED, Kept, Patterns
from hosttune.host.root import Fact, Names, Root, Table, accept_text, make_unreadable

FORMAT = "hosttune-snapshot"
VERSION = 2
# Of the file, and of what it decompresses to. A server with 512 CPUs, 10,000 threads and two moments needs half of it.
MAX_BYTES = 24 << 20
# Objects and pieces of text in it: JSON of a few bytes becomes Python objects of a hundred.
MAX_OBJECTS = 1 << 18
MAX_TEXTS = 1 << 20
# Of the words for why something could not be read, and of the name of where the snapshot was taken.
MAX_REASON = 1000
MAX_SOURCE = 8192
# Of a name and of a link's target. Source: path_resolution(7).
MAX_NAME = 255
MAX_PATH = 4096
# Of what a check takes of a file that a configuration names.
MAX_DERIVED = 1 << 18
# Between two moments: `hosttune snapshot --observe` takes at most an hour.
MAX_SECONDS = 86_400.0

V = TypeVar("V")


class Entry(msgspec.Struct, Generic[V], omit_defaults=True, forbid_unknown_fields=True):
    """One fact as it is written: exactly one of the three is set."""

    value: V | msgspec.UnsetType = msgspec.UNSET
    absent: str | msgspec.UnsetType = msgspec.UNSET
    unreadable: str | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if sum(each is not msgspec.UNSET for each in (self.value, self.absent, self.unreadable)) != 1:
            raise ValueError("an entry has one of value, absent, unreadable")

    def fact(self, source: str) -> Fact[V]:
        """Returns the fact that was written."""
        if self.value is not msgspec.UNSET:
            return Fact("value", self.value, source)
        if self.absent is not msgspec.UNSET:
            return Fact("absent", None, source, str(self.absent)[:MAX_REASON])
        return make_unreadable(source, str(self.unreadable)[:MAX_REASON])


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """One queueing discipline of a dump."""

    interface: Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
    kind: Annotated[str, msgspec.Meta(max_length=MAX_NAME)] | None
    handle: int
    parent: int


# Where a field is named `list`, annotations cannot say it.
Rows: TypeAlias = list[Row]
Paths: TypeAlias = list[str]


class Moment(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What was read at one time, by path."""

    read: dict[str, Entry[str]] = {}
    list: dict[str, Entry[Paths]] = {}
    link: dict[str, Entry[str]] = {}
    netlink: dict[str, Entry[Rows]] = {}


class Data(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The whole file; see the module's documentation."""

    format: str
    version: int
    tool: str
    moments: list[Moment]
    source: Annotated[str, msgspec.Meta(max_length=MAX_SOURCE)]
    taken: Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")] | None = None
    seconds: Annotated[float, msgspec.Meta(gt=0, le=MAX_SECONDS)] | None = None


class SnapshotError(Exception):
    """A file that is not a snapshot which this version can read; the text names it and what was found."""


class Recorder(Kept):
    """Reads what is allowed of another root, and keeps every fact; of a path that is read again, the last.

    Of what no rule allows it keeps no value, only that it was left out.
    """

    def __init__(self, root: Root, patterns: Patterns | None = None) -> None:
        super().__init__(root, patterns)
        self.moment = Moment()
        self.next: tuple[Recorder, float] | None = None

    def read(self, path: str) -> Fact[str]:
        """Returns what is kept of a file."""
        fact = super().read(path)
        _keep(self.moment.read, path, fact, self.patterns.find_rule(path) is not None)
        return fact

    def list(self, path: str) -> Fact[Names]:
        """Returns the names that lead to what is kept."""
        fact = super().list(path)
        _keep(self.moment.list, path, fact, self.patterns.choose_names(path, []) is not None)
        return fact

    def link(self, path: str) -> Fact[str]:
        """Returns the target of a link."""
        fact = super().link(path)
        _keep(self.moment.link, path, fact, self.patterns.allows_link(path))
        return fact

    def netlink(self, request: str) -> Fact[Table]:
        """Returns a table."""
        fact = super().netlink(request)
        self.moment.netlink[request] = _make_entry(fact.map(lambda rows: msgspec.convert(rows, Rows)))
        return fact

    def derive(self, path: str, make: Callable[[Root], Fact[str]]) -> Fact[str]:
        """Returns what `make` takes of the host, and keeps that; of a file with a rule, what its rule allows."""
        fact = super().derive(path, make)
        if self.patterns.find_rule(path) is not None:
            self.read(path)
        else:
            _keep(self.moment.read, path, fact, True)
        return fact

    def later(self, seconds: float) -> tuple[Recorder, float] | None:
        """Returns a recorder of the same host later; it keeps a second moment."""
        second = self.root.later(seconds)
        if second is None:
            return None
        self.next = (Recorder(second[0], self.patterns), second[1])
        return self.next

    def data(self) -> Data:
        """Returns all that was kept."""
        moments = [self.moment, self.next[0].moment] if self.next else [self.moment]
        seconds = self.next[1] if self.next else None
        return Data(FORMAT, VERSION, __version__, moments, self.source, self.taken, seconds)


class Snapshot:
    """A snapshot file as a root. What it does not hold is unreadable. Raises SnapshotError.

    Whoever sent the file may have written anything into it: a check reads it through the same patterns as a host.
    """

    def __init__(self, file: str) -> None:
        data = _load(file)
        self.source = f"snapshot {file} ({data.source})"
        self.taken = data.taken
        self.seconds = data.seconds if len(data.moments) == 2 else None
        self._moments = data.moments

    def read(self, path: str) -> Fact[str]:
        fact = _find_fact(self._moments[0].read, path)
        return accept_text(fact.value, path) if fact.value is not None else fact

    def list(self, path: str) -> Fact[Names]:
        fact = _find_fact(self._moments[0].list, path)
        return _refuse(fact, path) if any(len(name) > MAX_NAME for name in fact.value or ()) else fact

    def link(self, path: str) -> Fact[str]:
        fact = _find_fact(self._moments[0].link, path)
        return _refuse(fact, path) if len(fact.value or "") > MAX_PATH else fact

    def netlink(self, request: str) -> Fact[Table]:
        fact = _find_fact(self._moments[0].netlink, request)
        table: Fact[Table] = fact.map(lambda rows: [msgspec.structs.asdict(row) for row in rows])
        return msgspec.structs.replace(table, source=f"netlink {request}")

    def derive(self, path: str, make: Callable[[Root], Fact[str]]) -> Fact[str]:
        """Returns what was taken of the file when the snapshot was made."""
        fact = self.read(path)
        return _refuse(fact, path) if len(fact.value or "") > MAX_DERIVED else fact

    def later(self, seconds: float) -> tuple[Snapshot, float] | None:
        """Returns the second moment; the seconds that passed are those it was taken with, whatever is asked."""
        if self.seconds is None:
            return None
        second = Snapshot.__new__(Snapshot)
        second.source, second.taken, second.seconds = self.source, self.taken, None
        second._moments = self._moments[1:]
        return second, self.seconds


def encode(data: Data) -> bytes:
    """Returns a snapshot as JSON. Raises OSError (EFBIG) for more than can be read back."""
    text = msgspec.json.encode(data)
    if len(text) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it would have {len(text):,} bytes; a snapshot has at most {MAX_BYTES:,}")
    if _has_too_many(text):
        raise OSError(errno.EFBIG, f"it would have more than {MAX_OBJECTS:,} entries, or {MAX_TEXTS:,} names and texts")
    return text


def write(data: Data, file: str) -> None:
    """Put a new file with a snapshot at a path, readable by its owner only.

    A file or a link that was there is replaced and not written to. Raises OSError, and UntrustedFile for what is
    neither.
    """
    files.check_replaceable(file)
    text = encode(data)
    if file.endswith(".gz"):
        import gzip

        text = gzip.compress(text, mtime=0)
    files.replace_file(file, text)


def describe(data: Data) -> str:
    """Returns what the file holds, in a line."""
    first = data.moments[0]
    entries: list[Entry[Any]] = [
        *first.read.values(),
        *first.list.values(),
        *first.link.values(),
        *first.netlink.values(),
    ]
    read = sum(entry.value is not msgspec.UNSET for entry in entries)
    watched = f", two moments {data.seconds:.1f} s apart" if data.seconds else ""
    return f"{read} facts of {data.source}, {len(entries) - read} absences and refusals{watched}; secrets left out"


def _keep(kept: dict[str, Entry[V]], key: str, fact: Fact[V], allowed: bool) -> None:
    if fact.state == "value" and not allowed:
        fact = make_unreadable(key, OMITTED)
    kept[_show_text(key)] = _make_entry(fact)


def _make_entry(fact: Fact[V]) -> Entry[V]:
    if fact.value is not None:
        return Entry(value=fact.value)
    return Entry(absent=fact.reason) if fact.state == "absent" else Entry(unreadable=fact.reason)


def _show_text(path: str) -> str:
    """Returns a path as JSON can hold it: one with bytes that are no UTF-8 is never asked for."""
    return path if path.isascii() else path.encode("utf-8", "replace").decode()


def _load(file: str) -> Data:
    try:
        text = files.read_given(file, MAX_BYTES)
        if text.startswith(b"\x1f\x8b"):
            text = _decompress(text)
    except (EOFError, ValueError) as error:
        raise SnapshotError(f"{file}: damaged: {error}") from None
    except OSError as error:
        raise SnapshotError(f"{file}: cannot be read: {error.strerror or error}") from None
    return decode(text, file)


def decode(text: bytes, file: str) -> Data:
    """Returns the snapshot in a JSON text. `file`: for the message. Raises SnapshotError."""
    if _has_too_many(text):
        raise SnapshotError(f"{file}: not a snapshot: it has more entries than any host")
    try:
        return _decode(text, file)
    except RecursionError:
        raise SnapshotError(f"{file}: damaged snapshot: it is nested too deep") from None


def _has_too_many(text: bytes) -> bool:
    """Returns whether a JSON text may hold more objects and texts than a snapshot has."""
    return text.count(b"{") > MAX_OBJECTS or text.count(b'"') > 2 * MAX_TEXTS


def _decompress(packed: bytes) -> bytes:
    """Returns what is in a gzip file. Raises OSError, EOFError, and ValueError for more than MAX_BYTES."""
    import gzip
    import io
    import zlib

    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as source:
            text = source.read(MAX_BYTES + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(text) > MAX_BYTES:
        raise ValueError(f"it decompresses to more than {MAX_BYTES:,} bytes")
    return text


class _Header(msgspec.Struct):
    format: str = ""
    version: int = 0


def _decode(text: bytes, file: str) -> Data:
    try:
        header = msgspec.json.decode(text, type=_Header)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SnapshotError(f"{file}: not a snapshot: {str(error)[:200]}") from None
    if header.format != FORMAT:
        raise SnapshotError(f"{file}: not a snapshot: its format is {header.format[:40]!r}, wanted {FORMAT!r}")
    if header.version != VERSION:
        older = "; an older hosttune wrote it, whole files and all: take it again" if header.version < VERSION else ""
        raise SnapshotError(
            f"{file}: snapshot format {header.version}; hosttune {__version__} reads format {VERSION}{older}"
        )
    try:
        data = msgspec.json.decode(text, type=Data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SnapshotError(f"{file}: damaged snapshot: {str(error)[:200]}") from None
    if not 1 <= len(data.moments) <= 2:
        raise SnapshotError(f"{file}: damaged snapshot: {len(data.moments)} moments, wanted 1 or 2")
    if len(data.moments) == 2 and data.seconds is None:
        raise SnapshotError(f"{file}: damaged snapshot: two moments and no seconds between them")
    return data


def _refuse(fact: Fact[V], path: str) -> Fact[V]:
    return make_unreadable(path, "longer than it is on any host")


def _find_fact(entries: dict[str, Entry[V]], key: str) -> Fact[V]:
    entry = entries.get(key)
    return make_unreadable(key, "not in the snapshot") if entry is None else entry.fact(key)
