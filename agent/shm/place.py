"""Where an agent's files in shared memory are, and how each is opened: believed for what it is, never for its name.

The directory is the agent's own. Nobody else can make a name in it, so what is there is the agent's, or was put there
by its user or by root. Sources: systemd.exec(5), RuntimeDirectory=; the XDG Base Directory Specification, 0.8.
"""

import contextlib
import fcntl
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from hosttune import files
from hosttune.patterns import late_pattern

#: The directory's name below the service manager's, or the user's, and of those of the journal and of the cache.
DIRECTORY = "trading_agent"
#: Where the service's agent has its files; so has one without $RUNTIME_DIRECTORY and $XDG_RUNTIME_DIR.
SYSTEM = Path("/run") / DIRECTORY
#: What an engine may be called. Behind it is the shard's number, where there is one (of at most 256 shards).
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
#: Behind the engine's name: its segment, the ring that carries its journal, its tick series.
SEGMENT_SUFFIX = ".segment"
RING_SUFFIX = ".journal-ring"
SERIES_SUFFIX = ".series"
#: Behind the name of a segment or series that is no such thing any more, and was in the way of a new one.
DAMAGED_SUFFIX = ".damaged"
#: Names in a directory that are looked at, at most: several times as many as 256 shards have files.
MOST_NAMES = 4096
_SEGMENT = late_pattern(rf"{NAME}(\.[0-9]{{1,3}})?{re.escape(SEGMENT_SUFFIX)}")


def own_directory() -> Path:
    """Returns the directory of this process's user, which need not be there: $RUNTIME_DIRECTORY (of several that which
    is called trading_agent, else the first), else $XDG_RUNTIME_DIR/trading_agent, else /run/trading_agent."""
    if given := [Path(part) for part in os.environ.get("RUNTIME_DIRECTORY", "").split(":") if part]:
        return next((path for path in given if path.name == DIRECTORY), given[0])
    if base := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(base) / DIRECTORY
    return SYSTEM


def make_own_directory() -> Path:
    """Returns own_directory(), made (mode 0700) where it is missing. Raises OSError: also where its parent, or what is
    there already, is not this user's or root's."""
    path = own_directory()
    make_directory(path)
    return path


def make_directory(path: Path) -> None:
    """Make a directory (mode 0700), and those above it, where they are missing. Raises OSError, and UntrustedFile where
    anybody but this process's user and root could put another directory there, or make files in it."""
    files.make_directory(path, 0o700)
    os.close(open_directory(path))


def open_directory(path: Path, *, reading: bool = False) -> int:
    """Returns a descriptor of a directory in which nobody but its owner and root makes names, and which nobody else can
    exchange for another one.

    reading: root reads, and sets limits, in a directory of any user: the agent's. Otherwise the owner is root or this
    process's user. Raises OSError and UntrustedFile.
    """
    owners = files.trusted_owners()
    if reading and os.geteuid() == 0:
        owners |= {os.stat(path).st_uid}
    return files.open_directory(files.find_path(path, owners=owners), owners=owners)


def open_file(path: Path, flags: int, *, reading: bool = False) -> int:
    """Returns a descriptor of a regular file with one name, that nobody but its owner and root could have written, in
    such a directory. The file's owner is root or this process's user; where root reads, the directory's owner.

    flags, as of open(2), may make the file, with mode 0600. reading: as of open_directory(). Raises OSError and
    UntrustedFile, whose `filename` says whether it is the file or a directory on the way.
    """
    directory = open_directory(path.parent, reading=reading)
    try:
        owners = {os.fstat(directory).st_uid} if reading and os.geteuid() == 0 else None
        return files.open_file(path.name, flags, owners=owners, directory=directory)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(directory)


def list_segments(directory: Path) -> list[str]:
    """Returns the names of the segments in own_directory() or SYSTEM that an engine's name gives, sorted. Raises
    OSError and UntrustedFile: of the two, only the latter may be another user's, and only for root; and for more than
    MOST_NAMES names in it."""
    with _open_listed(directory) as descriptor, os.scandir(descriptor) as entries:
        names = [entry.name for entry in itertools.islice(entries, MOST_NAMES + 1)]
    if len(names) > MOST_NAMES:
        raise files.UntrustedFile(str(directory), f"more than {MOST_NAMES:,} names", "no more; name a segment's path")
    return sorted(filter(_SEGMENT.fullmatch, names))


def find_segments(directory: Path, names: list[str]) -> list[str]:
    """Returns those of the names that own_directory() or SYSTEM has a segment of, whatever else is there. Raises as
    list_segments()."""
    found = []
    with _open_listed(directory) as descriptor:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.stat(name + SEGMENT_SUFFIX, dir_fd=descriptor, follow_symlinks=False)
                found.append(name)
    return found


@contextlib.contextmanager
def _open_listed(directory: Path) -> Iterator[int]:
    descriptor = open_directory(directory, reading=directory == SYSTEM)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def create_file(path: Path, size: int, magic: bytes = b"", *, locked: bool = False) -> int:
    """Returns a descriptor of a new file (mode 0600) of `size` zero bytes that have their memory.

    One that is there already is replaced where it begins with the magic, or with as many zero bytes: it is of an engine
    that has ended, or was killed before it had begun to write. Another one is kept as NAME.damaged. b"": none is
    replaced. locked: with the file's lock (flock), until the descriptor and its copies are closed. Raises OSError and
    UntrustedFile; then no new file is left.
    """
    if magic and _keep_other(path, magic):
        path.unlink()
    descriptor = open_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        if locked:
            with contextlib.suppress(BlockingIOError):  # somebody has found the empty file, and will refuse it
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.posix_fallocate(descriptor, 0, size)
    except BaseException:
        os.close(descriptor)
        path.unlink()
        raise
    return descriptor


def put_in_place(draft: Path, path: Path, magic: bytes) -> None:
    """Put a file that create_file() made beside a path at that path, in the place of what create_file() would replace
    there. Raises OSError and UntrustedFile."""
    _keep_other(path, magic)
    draft.replace(path)


def explain(error: OSError, path: Path) -> str:
    """Returns what an error says in one line, with the file or directory that it is about."""
    return f"{error.filename or path}: {error.strerror or error}"


def ring_of(segment: Path) -> Path:
    """Returns the path of the ring that carries the journal of the engine with this segment."""
    return _beside(segment, RING_SUFFIX)


def series_of(segment: Path) -> Path:
    """Returns the path of the tick series of the engine with this segment."""
    return _beside(segment, SERIES_SUFFIX)


def name_of(segment: Path) -> str:
    """Returns the name of the engine with this segment."""
    return segment.name.removesuffix(SEGMENT_SUFFIX)


def _beside(segment: Path, suffix: str) -> Path:
    return segment.with_name(name_of(segment) + suffix)


def _keep_other(path: Path, magic: bytes) -> bool:
    """Keep a file as NAME.damaged that does not begin with the magic, or with as many zero bytes. Returns whether
    there is one that does."""
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        begin = os.read(descriptor, len(magic))
    finally:
        os.close(descriptor)
    if begin == magic or not any(begin):
        return True
    path.rename(path.with_name(path.name + DAMAGED_SUFFIX))
    return False
