"""Snapshots: everything that checks read of a host, in one JSON file, to be checked elsewhere or later.

A snapshot holds text files of /proc, /sys and the configuration that the six sections look at, each with
how it was obtained: value, absent, or unreadable with the reason. :func:`redact` says what is left out.

The file is a JSON object, compressed with gzip if its name ends in `.gz`:

    {"format": "hosttune-snapshot", "version": 1, "tool": "0.1.0", "taken": "2025-01-31T06:00:00Z",
     "source": "live", "seconds": 5.0, "moments": [MOMENT, MOMENT]}

`moments` has one entry, or two that are `seconds` apart. A MOMENT has `read`, `list`, `link` and `netlink`;
each maps a path (or the name of a dump) to {"value": ...}, {"absent": REASON} or {"unreadable": REASON}.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from hosttune import __version__
from hosttune.host.root import Fact, Names, Root, Table, make_unreadable
from hosttune.output import write_out

FORMAT = "hosttune-snapshot"
VERSION = 1
MAX_BYTES = 256 << 20  # of the decompressed file

# sysctls that hold keys: net.ipv4.tcp_fastopen_key, net.ipv6.conf.*.stable_secret.
SECRET_NAMES = ("*_key", "*_secret", "shadow*", "gshadow*")
KEPT_ENVIRONMENT = "IRQBALANCE_"
_PASSWORD_ARGUMENT = re.compile(r"([\w.-]*(?:passw|secret|token)[\w.-]*=)[^\s\"']+")
_CONFIGURATION = ("/proc/", "/sys/", "/etc/", "/run/", "/usr/lib/", "/lib/")
REDACTED = "left out of the snapshot: may hold a secret"


class Entry(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One fact as it is written: exactly one of the three is set."""

    value: Any = msgspec.UNSET
    absent: str | msgspec.UnsetType = msgspec.UNSET
    unreadable: str | msgspec.UnsetType = msgspec.UNSET

    def fact(self, source: str) -> Fact[Any]:
        if self.value is not msgspec.UNSET:
            return Fact("value", self.value, source)
        if self.absent is not msgspec.UNSET:
            return Fact("absent", None, source, str(self.absent))
        return make_unreadable(source, str(self.unreadable))


class Moment(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What was read at one time, by path."""

    read: dict[str, Entry] = {}
    list: dict[str, Entry] = {}
    link: dict[str, Entry] = {}
    netlink: dict[str, Entry] = {}


class Data(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The whole file; see the module's documentation."""

    format: str
    version: int
    tool: str
    moments: list[Moment]
    source: str
    taken: str | None = None
    seconds: float | None = None


class SnapshotError(Exception):
    """A file that is not a snapshot which this version can read; the text names it and what was found."""


class Recorder:
    """Reads through another root and keeps every fact; of a path that is read again, the last."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.source = root.source
        self.taken = root.taken
        self.moment = Moment()
        self.next: tuple[Recorder, float] | None = None

    def read(self, path: str) -> Fact[str]:
        return self._keep(self.moment.read, path, self._read)

    def list(self, path: str) -> Fact[Names]:
        return self._keep(self.moment.list, path, self.root.list)

    def link(self, path: str) -> Fact[str]:
        return self._keep(self.moment.link, path, self.root.link)

    def netlink(self, request: str) -> Fact[Table]:
        return self._keep(self.moment.netlink, request, self.root.netlink)

    def later(self, seconds: float) -> tuple[Recorder, float] | None:
        second = self.root.later(seconds)
        if second is None:
            return None
        self.next = (Recorder(second[0]), second[1])
        return self.next

    def data(self) -> Data:
        moments = [self.moment, self.next[0].moment] if self.next else [self.moment]
        seconds = self.next[1] if self.next else None
        return Data(FORMAT, VERSION, __version__, moments, self.source, self.taken, seconds)

    def _read(self, path: str) -> Fact[str]:
        name = path.rpartition("/")[2]
        if any(fnmatchcase(name, pattern) for pattern in SECRET_NAMES):
            return make_unreadable(path, REDACTED)
        return self.root.read(path).map(lambda text: redact(path, text))

    def _keep(self, kept: dict[str, Entry], key: str, read: Any) -> Fact[Any]:
        fact: Fact[Any] = read(key)
        kept[key] = Entry(value=fact.value) if fact.state == "value" else Entry(**{fact.state: fact.reason})
        return fact


class Snapshot:
    """A snapshot file as a root. What it does not hold is unreadable. Raises SnapshotError."""

    def __init__(self, file: str) -> None:
        data = _load(file)
        self.source = f"snapshot {file} ({data.source})"
        self.taken = data.taken
        self.seconds = data.seconds if len(data.moments) == 2 else None
        self._moments = data.moments

    def read(self, path: str) -> Fact[str]:
        return _find_fact(self._moments[0].read, path, str)

    def list(self, path: str) -> Fact[Names]:
        return _find_fact(self._moments[0].list, path, list)

    def link(self, path: str) -> Fact[str]:
        return _find_fact(self._moments[0].link, path, str)

    def netlink(self, request: str) -> Fact[Table]:
        fact: Fact[Table] = _find_fact(self._moments[0].netlink, request, list)
        return msgspec.structs.replace(fact, source=f"netlink {request}")

    def later(self, seconds: float) -> tuple[Snapshot, float] | None:
        """Returns the second moment; the seconds that passed are those it was taken with, whatever is asked."""
        if self.seconds is None:
            return None
        second = Snapshot.__new__(Snapshot)
        second.source, second.taken, second.seconds = self.source, self.taken, None
        second._moments = self._moments[1:]
        return second, self.seconds


def write(data: Data, file: str) -> None:
    """Write a snapshot, readable by its owner only; `-` is standard output. Raises OSError."""
    text = msgspec.json.encode(data)
    if file == "-":
        write_out(text.decode())
        return
    if file.endswith(".gz"):
        import gzip

        text = gzip.compress(text, mtime=0)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
        output.write(text)


def describe(data: Data) -> str:
    """Returns what the file holds, in a line."""
    first = data.moments[0]
    entries = [*first.read.values(), *first.list.values(), *first.link.values(), *first.netlink.values()]
    read = sum(entry.value is not msgspec.UNSET for entry in entries)
    watched = f", two moments {data.seconds:.1f} s apart" if data.seconds else ""
    return f"{read} facts of {data.source}, {len(entries) - read} absences and refusals{watched}; secrets left out"


def _load(file: str) -> Data:
    try:
        with open(file, "rb") as source:
            text = source.read(MAX_BYTES)
            if text.startswith(b"\x1f\x8b"):
                import gzip

                source.seek(0)
                with gzip.GzipFile(fileobj=source) as packed:
                    text = packed.read(MAX_BYTES)
    except (EOFError, ValueError) as error:
        raise SnapshotError(f"{file}: damaged: {error}") from None
    except OSError as error:
        raise SnapshotError(f"{file}: cannot be read: {error.strerror or error}") from None
    return _decode(text, file)


def _decode(text: bytes, file: str) -> Data:
    class Header(msgspec.Struct):
        format: str = ""
        version: int = 0

    try:
        header = msgspec.json.decode(text, type=Header)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"{file}: not a snapshot: {error}") from None
    if header.format != FORMAT:
        raise SnapshotError(f"{file}: not a snapshot: its format is {header.format!r}, wanted {FORMAT!r}")
    if header.version != VERSION:
        raise SnapshotError(f"{file}: snapshot format {header.version}; hosttune {__version__} reads format {VERSION}")
    try:
        data = msgspec.json.decode(text, type=Data)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"{file}: damaged snapshot: {error}") from None
    if not 1 <= len(data.moments) <= 2:
        raise SnapshotError(f"{file}: damaged snapshot: {len(data.moments)} moments, wanted 1 or 2")
    if len(data.moments) == 2 and not (data.seconds and data.seconds > 0):
        raise SnapshotError(f"{file}: damaged snapshot: two moments and no seconds between them")
    return data


def _find_fact(entries: dict[str, Entry], key: str, kind: type) -> Fact[Any]:
    entry = entries.get(key)
    if entry is None:
        return make_unreadable(key, "not in the snapshot")
    if entry.value is not msgspec.UNSET and not isinstance(entry.value, kind):
        return make_unreadable(key, f"damaged in the snapshot: wanted {kind.__name__}")
    return entry.fact(key)


def redact(path: str, text: str) -> str:
    """Take out of a file's text what no check looks at and what may be secret."""
    if path.endswith("/environ"):
        kept = [word for word in text.split("\0") if word.startswith(KEPT_ENVIRONMENT)]
        return "\0".join([*kept, ""])
    if path == "/proc/cmdline" or path.startswith(("/boot/", "/etc/default/grub")):
        text = _PASSWORD_ARGUMENT.sub(r"\1...", text)
        return "".join(line for line in text.splitlines(True) if not line.lstrip().startswith("password"))
    if "/systemd/" in path:
        return "".join(line if _is_public(line) else line.partition("=")[0] + "=\n" for line in text.splitlines(True))
    if not path.startswith(_CONFIGURATION) and "smp_affinity" not in text:
        return ""  # a script that some service runs
    return text


def _is_public(line: str) -> bool:
    return KEPT_ENVIRONMENT in line or not line.lstrip().startswith(("Environment=", "SetCredential"))
