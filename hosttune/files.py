"""Files in places where a lesser user may have made something: believed for what they are, never for their name.

Sources: open(2), inode(7), flock(2), rename(2), fsync(2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Collection

#: Of every open here: no symbolic link at the name, no waiting for the other end of a FIFO, no way into a program.
SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: As many symbolic links on one way as the kernel follows.
_MOST_LINKS = 40

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFREG: "a regular file",
}

# Names of the caller's own descriptors.
_HANDED_OVER = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


class UntrustedFile(OSError):
    """What is at a path cannot be believed; `strerror` says what was found and what is allowed, `filename` where."""

    def __init__(self, path: str, found: str, allowed: str) -> None:
        super().__init__(errno.EPERM, f"found {found}, allowed: {allowed}", path)


def trusted_owners() -> frozenset[int]:
    """Returns the user ids that this process believes: root's, and its own (the effective one)."""
    return frozenset({0, os.geteuid()})


def open_file(
    path: str | os.PathLike[str],
    flags: int = os.O_RDONLY,
    *,
    owners: Collection[int] | None = None,
    mode: int = 0o600,
    hidden: bool = False,
    directory: int | None = None,
) -> int:
    """Returns a descriptor of a regular file that nobody but its owner and root could have written.

    owners: user ids that are believed; None: trusted_owners(). mode: of a file that `flags` (O_CREAT) may make, without
    the caller's umask. hidden: nor could anybody else have read it. directory: a descriptor that a relative path starts
    from. Raises OSError as open(2), and UntrustedFile for another kind of file, owner or mode, or a second hard link.
    """
    name = os.fspath(path)
    try:
        descriptor = os.open(name, flags | SAFE, mode, dir_fd=directory)
    except OSError as error:
        raise _explain(error, name, "a regular file") from None
    try:
        _require(os.fstat(descriptor), name, stat.S_IFREG, owners, 0o077 if hidden else 0o022)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_directory(
    path: str | os.PathLike[str],
    *,
    owners: Collection[int] | None = None,
    hidden: bool = False,
    directory: int | None = None,
    sticky: bool = False,
) -> int:
    """Returns a descriptor of a directory that nobody but its owner and root can make or remove files in.

    Arguments as of open_file(). sticky: one where others can make files, but cannot touch those of others, will do.
    Raises OSError as open(2), and UntrustedFile for another kind, owner or mode.
    """
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | SAFE, dir_fd=directory)
    except OSError as error:
        raise _explain(error, name, "a directory") from None
    try:
        state = os.fstat(descriptor)
        forbidden = 0o077 if hidden else 0 if sticky and state.st_mode & stat.S_ISVTX else 0o022
        _require(state, name, stat.S_IFDIR, owners, forbidden)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_directory(path: str | os.PathLike[str], mode: int = 0o755) -> None:
    """Make a directory and those above it, where they are missing; each in the one that was made or found before, so
    that nobody who makes a name meanwhile, in a sticky directory, has a directory made elsewhere.

    Raises OSError as mkdir(2), and UntrustedFile as find_path() and where anybody but this process's user and root
    could put another directory on the way. What is there already at the path itself is for the caller to check.
    """
    name = os.path.join(os.getcwd(), os.fspath(path))
    parts: list[str] = []
    while True:
        try:
            found = find_path(name)
            break
        except FileNotFoundError:
            name, part = os.path.split(name.rstrip("/"))
            parts.append(part)
    if not parts:
        return
    descriptor = open_directory(found, sticky=True)
    try:
        for part in reversed(parts):
            found = os.path.join(found, part)
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, mode, dir_fd=descriptor)
                below = open_directory(part, directory=descriptor, sticky=True)
            except OSError as error:
                error.filename = found
                raise
            os.close(descriptor)
            descriptor = below
    finally:
        os.close(descriptor)


def find_path(path: str | os.PathLike[str], *, owners: Collection[int] | None = None) -> str:
    """Returns where a path leads, from the root and without symbolic links, if nobody else can make it lead elsewhere.

    Each directory on the way, and at its end, is one of the owners', who alone make names in it, or whose sticky bit
    keeps others off names that are not their own; each symbolic link is one of the owners' too. Who uses the path opens
    it by open_file() or open_directory(), which say whether what is there can be believed. owners: as of open_file().
    Raises OSError as lstat(2), and UntrustedFile. Source: path_resolution(7); inode(7), sticky bit.
    """
    believed = trusted_owners() if owners is None else owners
    found, links = "/", 0
    pending = [part for part in os.path.join(os.getcwd(), os.fspath(path)).split("/")[::-1] if part not in ("", ".")]
    while pending:
        part = pending.pop()
        found = os.path.dirname(found) if part == ".." else os.path.join(found, part)
        state = os.lstat(found)
        if stat.S_ISLNK(state.st_mode):
            _require_owner(state, found, believed)
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
            target = os.readlink(found)
            found = "/" if target.startswith("/") else os.path.dirname(found)
            pending += [part for part in target.split("/")[::-1] if part not in ("", ".")]
        elif pending or stat.S_ISDIR(state.st_mode):
            _require(state, found, stat.S_IFDIR, believed, 0 if state.st_mode & stat.S_ISVTX else 0o022)
    return found


def find_name(path: str | os.PathLike[str], *, owners: Collection[int] | None = None) -> str:
    """Returns where a path leads, as find_path(), but for what is at its end, which need not be there: open_file()
    refuses a link there. Arguments and errors as of find_path()."""
    above, name = os.path.split(os.fspath(path))
    return os.path.join(find_path(above, owners=owners), name)


def require_tree(path: str | os.PathLike[str], most: int, *, owners: Collection[int] | None = None) -> None:
    """Raise UntrustedFile unless all below a directory is regular files and directories of one of the owners, which
    nobody else can write to (where others can enter the directory at all), and there are no more than `most` of them.

    The directory itself is checked by the caller: find_path(), open_directory(). Raises OSError as scandir(2).
    """
    forbidden = 0o022 if os.stat(path).st_mode & 0o077 else 0
    limit = most
    pending = [os.fspath(path)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                state = entry.stat(follow_symlinks=False)
                kind = stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG
                _require(state, entry.path, kind, owners, forbidden)
                most -= 1
                if kind == stat.S_IFDIR:
                    pending.append(entry.path)
                if most < 0:
                    raise UntrustedFile(os.fspath(path), f"more than {limit:,} files", "no more than that; remove them")


def lock_file(descriptor: int, seconds: float) -> None:
    """Take the exclusive lock (flock) of an open file, within so many seconds. Raises BlockingIOError when another
    process holds it for longer, and OSError."""
    limit = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.005)


def read_bounded(descriptor: int, limit: int, path: str | os.PathLike[str]) -> bytes:
    """Returns what is in a file from where its descriptor stands. path: for the message.

    Raises OSError as read(2), and UntrustedFile for more than `limit` bytes, of which it reads no more.
    """
    parts: list[bytes] = []
    left = limit + 1
    while left and (part := os.read(descriptor, min(left, 1 << 16))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise UntrustedFile(os.fspath(path), f"more than {limit:,} bytes", "no more than that")
    return b"".join(parts)


def read_file(
    path: str | os.PathLike[str], limit: int, *, owners: Collection[int] | None = None, hidden: bool = False
) -> bytes:
    """Returns what is in a file. Arguments and errors as of open_file() and read_bounded()."""
    descriptor = open_file(path, owners=owners, hidden=hidden)
    try:
        return read_bounded(descriptor, limit, path)
    finally:
        os.close(descriptor)


def open_given(path: str | os.PathLike[str], *, pipes: bool = False) -> int:
    """Returns a descriptor, to read from, of a regular file that the caller of a command named: whoever owns it, and
    through a link.

    A FIFO, a device or a socket is refused, which somebody else may have put there to make the command wait. pipes: but
    for one at the name of a descriptor that the caller hands over (/dev/stdin, /dev/fd/N). Raises OSError
    (EISDIR for a directory), and UntrustedFile for another kind of file.
    """
    name = os.fspath(path)
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind == stat.S_IFIFO and pipes and name.startswith(_HANDED_OVER):
            os.set_blocking(descriptor, True)
        elif kind == stat.S_IFDIR:
            words = f"found {_KINDS[stat.S_IFDIR]}, allowed: {_KINDS[stat.S_IFREG]}"
            raise IsADirectoryError(errno.EISDIR, words, name)
        elif kind != stat.S_IFREG:
            raise UntrustedFile(name, _KINDS.get(kind, "another kind of file"), _KINDS[stat.S_IFREG])
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_given(path: str | os.PathLike[str], limit: int) -> bytes:
    """Returns what is in a file, or comes through a pipe, that the caller of a command named. Raises as open_given(),
    and UntrustedFile for more than `limit` bytes."""
    descriptor = open_given(path, pipes=True)
    try:
        return read_bounded(descriptor, limit, path)
    finally:
        os.close(descriptor)


def check_replaceable(path: str | os.PathLike[str]) -> None:
    """Raise UntrustedFile unless replace_file() may put a new file at a path: nothing is there, a regular file, or a
    link to either, which is then replaced itself. Devices and what lies among them stay. Raises OSError."""
    name = os.fspath(path)
    if os.path.abspath(name).startswith(("/dev/", "/proc/", "/sys/")):
        raise UntrustedFile(name, "a place of the kernel's", "a place for files")
    try:
        kind = stat.S_IFMT(os.stat(name).st_mode)
    except FileNotFoundError:
        return
    if kind != stat.S_IFREG:
        raise UntrustedFile(name, _KINDS.get(kind, "another kind of file"), _KINDS[stat.S_IFREG])


def replace_file(path: str | os.PathLike[str], data: bytes, mode: int = 0o600) -> None:
    """Put a new file with these bytes at a path, whole or not at all, and on the disk when this returns.

    Nothing that was there is written to or followed: neither a link, nor a file that somebody holds open. The new file
    is the caller's (effective) user's, with exactly this mode. Raises OSError; then nothing is left behind.
    """
    name = os.fspath(path)
    folder = os.path.dirname(name) or "."
    draft = os.path.join(folder, f".{os.path.basename(name)}.{os.getpid()}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, 0o600)
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(draft, name)
    except BaseException:
        os.unlink(draft)
        raise
    sync_directory(folder)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Put the names in a directory on the disk: without it a rename may be lost with the power. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require(found: os.stat_result, path: str, kind: int, owners: Collection[int] | None, forbidden: int) -> None:
    """Raise UntrustedFile unless a file is of this kind, of one of the owners, and without these bits of its mode."""
    if stat.S_IFMT(found.st_mode) != kind:
        raise UntrustedFile(path, _KINDS.get(stat.S_IFMT(found.st_mode), "another kind of file"), _KINDS[kind])
    _require_owner(found, path, trusted_owners() if owners is None else owners)
    if found.st_mode & forbidden:
        bits = stat.S_IMODE(found.st_mode)
        raise UntrustedFile(path, f"mode {bits:04o}", f"no more than {bits & ~forbidden:04o}")
    if kind == stat.S_IFREG and found.st_nlink > 1:
        raise UntrustedFile(path, f"a file with {found.st_nlink} names", "one name")


def _require_owner(found: os.stat_result, path: str, believed: Collection[int]) -> None:
    if found.st_uid not in believed:
        users = " or ".join(map(str, sorted(believed)))
        raise UntrustedFile(path, f"a file of user {found.st_uid}", f"one of user {users}")


def _explain(error: OSError, path: str, wanted: str) -> OSError:
    """Returns an error of open(2) in words where the kernel's are about something else (O_NOFOLLOW: too many links)."""
    if error.errno == errno.ELOOP:
        return UntrustedFile(path, "a symbolic link", wanted)
    if error.errno == errno.ENXIO:
        return UntrustedFile(path, "a FIFO or a socket", wanted)
    return error
