"""Where facts come from: the live machine, a captured tree, or a snapshot file.

Everything `hosttune` knows about a host passes through one :class:`Root`, as a :class:`Fact` that
carries how it was obtained. Absent (the kernel or the file system said it is not there) and unreadable
(nobody could tell) are different facts, and neither is a value.

Snapshots, and the recorder that makes them, are in :mod:`hosttune.host.snapshot`.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from functools import cache, lru_cache, wraps
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, cast

import msgspec

from hosttune import files
from hosttune.patterns import late_pattern

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")

# A method named `list` hides the type of that name from the annotations after it.
Names: TypeAlias = list[str]
Table: TypeAlias = list[dict[str, Any]]

# Of one file. What is larger is unreadable, never cut short: what stands beyond the limit might decide.
MAX_BYTES = 10 << 20
# Files that people write, and the longest of them are a few hundred kB.
MAX_CONFIGURATION_BYTES = 1 << 20
# `/proc/interrupts` of a server with 512 CPUs and 4000 interrupts is about 25 MB.
MAX_TABLE_BYTES = 64 << 20
# Lines of configuration, and of the two files of accounts: what a parser of lines gets through in a moment.
MAX_LINES = 1 << 15
MAX_ACCOUNTS = 1 << 17
MAX_LINKS = 40  # as the kernel's MAXSYMLINKS

_CONFIGURATION = ("/etc/", "/boot/", "/usr/", "/lib/", "/run/")
_ACCOUNTS = ("/etc/passwd", "/etc/group")
_TABLES = ("interrupts",)
_ELF = "\x7fELF"
# Where many are: their first bytes are looked at first.
_PROGRAMS = ("/usr/", "/bin/", "/sbin/", "/lib/", "/opt/")
_ZIP_APPLICATION = late_pattern(r"#![^\n]{0,200}\nPK\x03\x04")
_HEAD_BYTES = 256
_OURS = "/etc/hosttune/"  # the parser of profiles tells the line

NOT_CAPTURED = "not in the capture"
NOT_A_LINK = "not a symbolic link"
NOT_REGULAR = "not a regular file"
#: Of an ELF image, and of a zip application that is larger than what is read as text.
PROGRAM = "a program"

# The kernel's answers that mean "this does not exist". ESRCH: the process of a /proc file has ended.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ESRCH)

# What every host has: where a tree lacks one of these, nobody copied it. Of /proc and /sys people copy single files.
_EVERYWHERE = frozenset({"/etc/default", "/etc/pam.d", "/etc/security", "/etc/systemd", "/usr/lib", "/usr/lib/systemd"})
_PICKED = ("/proc/", "/sys/", "/dev/")
_EMPTY_AT_BOOT = "/run"
# Source: file-hierarchy(7), "Compatibility Symlinks".
_MERGED = {"/lib": "/usr/lib", "/bin": "/usr/bin", "/sbin": "/usr/sbin"}


class Fact(msgspec.Struct, Generic[T], frozen=True):
    """One thing read: its value, or that it is absent, or why it could not be read.

    `reason` is an errno name (`EACCES`), or words such as `not in the capture`.
    """

    state: Literal["value", "absent", "unreadable"]
    value: T | None = None
    source: str = ""
    reason: str = ""

    def drop_value(self) -> Fact[Any]:
        """Returns the same fact, for any type: one that is absent or unreadable holds no value of this one."""
        return self

    def map(self, parse: Callable[[T], U]) -> Fact[U]:
        """Apply a parser to the value; text that it rejects (ValueError) makes the fact unreadable."""
        if self.state != "value":
            return self.drop_value()
        try:
            return Fact("value", parse(self.value), self.source)  # type: ignore[arg-type]
        except ValueError as error:
            return Fact("unreadable", None, self.source, f"not understood: {error}")


def make_unreadable(source: str, reason: str) -> Fact[Any]:
    """Returns a fact that could not be read."""
    return Fact("unreadable", None, source, reason)


def derive(root: Root, path: str, make: Callable[[Root], Fact[str]]) -> Fact[str]:
    """Returns what a check takes of a file whose name is in a configuration, or whose meaning depends on other files.

    `make` reads and reduces it. A root that keeps facts keeps only the result, under `path`; one that was made of such
    facts has the result already.
    """
    derived = getattr(root, "derive", None)
    fact: Fact[str] = derived(path, make) if derived is not None else make(root)
    return msgspec.structs.replace(fact, source=path)


class Observed(msgspec.Struct, Generic[T], frozen=True):
    """Two samples of the same counters and the `seconds` between them: what really happened."""

    before: T
    after: T
    seconds: float


class Root(Protocol):
    """Paths are absolute on the host described, whatever the root is made of."""

    @property
    def source(self) -> str:
        """What this is, for reports: `live`, `tree DIR`, `snapshot FILE`."""

    @property
    def taken(self) -> str | None:
        """When the facts were read, ISO 8601 in UTC; None if nobody wrote it down."""

    def read(self, path: str) -> Fact[str]:
        """Returns the text of a file, undecodable bytes replaced."""

    def list(self, path: str) -> Fact[Names]:
        """Returns the sorted names in a directory."""

    def link(self, path: str) -> Fact[str]:
        """Returns the target of a symbolic link, unresolved; absent if the path is something else."""

    def netlink(self, request: str) -> Fact[Table]:
        """Returns a route-netlink dump by name (`qdisc`), as plain data."""

    def later(self, seconds: float) -> tuple[Root, float] | None:
        """Returns the same host about `seconds` after this call, with the seconds that really passed.

        None where there is only one moment to read.
        """


class Live:
    """The machine this process runs on."""

    source = "live"

    @property
    def taken(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def read(self, path: str) -> Fact[str]:
        try:
            # O_NONBLOCK: a FIFO or a device must not stop the whole check.
            return _read_text(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), path)
        except (OSError, ValueError) as error:
            return _report_error(path, error)

    def list(self, path: str) -> Fact[Names]:
        try:
            return Fact("value", sorted(os.listdir(path)), path)
        except (OSError, ValueError) as error:
            return _report_error(path, error)

    def link(self, path: str) -> Fact[str]:
        try:
            return Fact("value", os.readlink(path), path)
        except (OSError, ValueError) as error:
            return _report_not_a_link(path) if _is_not_a_link(error) else _report_error(path, error)

    def netlink(self, request: str) -> Fact[Table]:
        # Late: a profile that asks for no netlink fact must not pay for the import.
        from hosttune.host import netlink

        try:
            return Fact("value", netlink.dump(request), f"netlink {request}")
        except OSError as error:
            return _report_error(f"netlink {request}", error)

    def later(self, seconds: float) -> tuple[Root, float]:
        start = time.monotonic()
        time.sleep(seconds)
        return self, time.monotonic() - start


class Once:
    """Another root, of which each path is read once: all that look at it see the same moment."""

    def __init__(self, root: Root) -> None:
        self.source, self.taken = root.source, root.taken
        self.later = root.later
        self.read = cache(root.read)
        self.list = cache(root.list)
        self.link = cache(root.link)
        self.netlink = cache(root.netlink)
        self._root = root
        self._derived: dict[str, Fact[str]] = {}

    def derive(self, path: str, make: Callable[[Root], Fact[str]]) -> Fact[str]:
        """Returns the result of the first `make` for a path."""
        if path not in self._derived:
            self._derived[path] = derive(self._root, path, make)
        return self._derived[path]


def read_once(read: Callable[P, U]) -> Callable[P, U]:
    """Returns a function of a root, and of what can be hashed, that reads a :class:`Once` once with the same arguments.

    Several sections ask for the same, and what such a root holds does not change.
    """
    known = lru_cache(16)(read)

    @wraps(read)
    def read_known(*args: Any) -> Any:
        return known(*args) if isinstance(args[0], Once) else cast("Any", read)(*args)

    return cast("Callable[P, U]", read_known)


class Tree:
    """Files copied from a host to a directory, with the host's `/` at `directory`.

    A tree holds what somebody chose to copy. Of configuration (/etc, /usr, /boot, /var) that is whole directories: what
    a directory in the tree lacks, the host lacked, and it is absent. Of /proc and /sys it is single files: what is
    missing there is unreadable, and so is what lies below a directory that every host has and the tree has not.
    /run is empty at the next boot, and in a tree without it. Where only /usr/lib was copied, it is /lib too.
    Symbolic links, absolute ones too, are followed inside the tree and cannot lead out of it.
    Raises OSError if `directory` is not a directory.
    """

    taken = None

    def __init__(self, directory: str) -> None:
        if not stat.S_ISDIR(os.stat(directory).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)
        self.directory = os.path.realpath(directory)
        self.source = f"tree {directory}"
        self._real: dict[str, str] = {"/": "/"}

    def read(self, path: str) -> Fact[str]:
        try:
            real = self._resolve(path)
            mode = os.lstat(self.directory + real).st_mode
            if not stat.S_ISREG(mode):  # before it is opened: to open a device may have an effect
                return make_unreadable(path, "EISDIR" if stat.S_ISDIR(mode) else NOT_REGULAR)
            return _read_text(self._open(real, os.O_NONBLOCK), path)
        except (OSError, ValueError) as error:
            return self._report_error(path, error)

    def list(self, path: str) -> Fact[Names]:
        try:
            descriptor = self._open(self._resolve(path), os.O_DIRECTORY)
            try:
                return Fact("value", sorted(os.listdir(descriptor)), path)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            return self._report_error(path, error)

    def link(self, path: str) -> Fact[str]:
        parent, _, name = path.rstrip("/").rpartition("/")
        try:
            return Fact(
                "value", os.readlink(f"{self.directory}{self._resolve(parent or '/').rstrip('/')}/{name}"), path
            )
        except (OSError, ValueError) as error:
            return _report_not_a_link(path) if _is_not_a_link(error) else self._report_error(path, error)

    def netlink(self, request: str) -> Fact[Table]:
        return make_unreadable(f"netlink {request}", NOT_CAPTURED)

    def later(self, seconds: float) -> None:
        return None

    def _report_error(self, path: str, error: Exception) -> Fact[Any]:
        """Returns why a path could not be read: absent only where what lacks it was copied whole."""
        fact = _report_error(path, error)
        if fact.state != "absent" or not isinstance(error, OSError):
            return fact
        missing = str(error.filename or "")[len(self.directory.rstrip("/")) :]
        return fact if _is_copied_with(missing) else make_unreadable(path, NOT_CAPTURED)

    def _open(self, real: str, flags: int) -> int:
        """Returns a descriptor of a resolved path. Raises OSError, also where a directory of it became a link since."""
        place = f"{self.directory.rstrip('/')}{real}"
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | flags)
        except NotADirectoryError:
            if os.path.islink(place):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), real) from None
            raise
        if self.directory != "/" and os.readlink(f"/proc/self/fd/{descriptor}") != place.rstrip("/"):
            os.close(descriptor)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), real)
        return descriptor

    def _resolve(self, path: str) -> str:
        """Returns the path inside the tree with no symbolic link left in it; raises OSError (ELOOP, ENOENT...)."""
        return self._walk(path, MAX_LINKS)

    def _walk(self, path: str, links: int) -> str:
        path = os.path.normpath(path) if ".." not in path else path
        known = self._real.get(path)
        if known is not None:
            return known
        current = "/"
        parts = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        while parts:
            part = parts.pop()
            if part == "..":
                current = os.path.dirname(current)
                continue
            step = f"{current.rstrip('/')}/{part}"
            known = self._real.get(step)
            if known is None:
                if step in _MERGED and not os.path.lexists(self.directory + step):
                    step = _MERGED[step]
                if stat.S_ISLNK(os.lstat(self.directory + step).st_mode):
                    if not links:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    target = os.readlink(self.directory + step)
                    known = self._walk(target if target.startswith("/") else f"{current}/{target}", links - 1)
                else:
                    known = step
                self._real[step] = known
            current = known
        return current


def _find_limit(path: str) -> int:
    """Returns how many bytes of a file are read."""
    if path.startswith("/proc/") and path.rpartition("/")[2] in _TABLES:
        return MAX_TABLE_BYTES
    return MAX_CONFIGURATION_BYTES if path.startswith(_CONFIGURATION) and path not in _ACCOUNTS else MAX_BYTES


def accept_text(text: str, path: str) -> Fact[str]:
    """Returns the text of a file as a fact: unreadable if it is longer or has more lines than a file of that name may
    have, or if it is configuration that holds NUL bytes. Programs end a line there, or the file, and each otherwise."""
    limit = _find_limit(path)
    if text.startswith(_ELF):
        return make_unreadable(path, PROGRAM)
    if len(text) > limit:
        return make_unreadable(path, PROGRAM) if _is_program(text) else _report_too_large(path, limit)
    most = MAX_ACCOUNTS if path in _ACCOUNTS else MAX_LINES
    if path.startswith(_CONFIGURATION) and text.count("\n") > most:
        return make_unreadable(path, f"more than {most:,} lines")
    if "\0" in text and path.startswith(_CONFIGURATION) and not (path.startswith(_OURS) or _is_program(text)):
        return make_unreadable(path, "not text: it holds NUL bytes")
    return Fact("value", text, path)


def _read_text(descriptor: int, path: str) -> Fact[str]:
    """Read and close; kernel files give their text in pieces and have no size to ask for."""
    limit = _find_limit(path)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3):
            return Fact("value", "", path)  # /dev/null: a link to it empties a file
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            return make_unreadable(path, NOT_REGULAR)
        if path.startswith(_PROGRAMS) and os.pread(descriptor, len(_ELF), 0) == _ELF.encode():
            return make_unreadable(path, PROGRAM)
        return accept_text(files.read_bounded(descriptor, limit, path).decode("utf-8", "replace"), path)
    except files.UntrustedFile:
        head = os.pread(descriptor, _HEAD_BYTES, 0).decode("utf-8", "replace")
        return make_unreadable(path, PROGRAM) if _is_program(head) else _report_too_large(path, limit)
    finally:
        os.close(descriptor)


def _is_program(text: str) -> bool:
    return text.startswith(_ELF) or _ZIP_APPLICATION.match(text) is not None


def _report_too_large(path: str, limit: int) -> Fact[Any]:
    return make_unreadable(path, f"larger than {limit >> 20} MiB")


def _report_error(path: str, error: Exception) -> Fact[Any]:
    """ValueError: a path that no file can have, such as one with a NUL."""
    if not isinstance(error, OSError):
        return Fact("absent", None, path, "ENOENT")
    state: Literal["absent", "unreadable"] = "absent" if error.errno in _ABSENT else "unreadable"
    return Fact(state, None, path, errno.errorcode.get(error.errno or 0, str(error)))


def _is_not_a_link(error: Exception) -> bool:
    """Returns whether an error is readlink(2)'s answer for what is no symbolic link."""
    return isinstance(error, OSError) and error.errno == errno.EINVAL


def _report_not_a_link(path: str) -> Fact[Any]:
    return Fact("absent", None, path, NOT_A_LINK)


def _is_copied_with(missing: str) -> bool:
    """Returns whether the directory that lacks this name was copied to a tree with all that was in it."""
    if missing == _EMPTY_AT_BOOT or missing.startswith(f"{_EMPTY_AT_BOOT}/"):
        return True
    return missing.count("/") > 1 and missing not in _EVERYWHERE and not missing.startswith(_PICKED)
