"""The directory of leases and launch records: believed only where nobody but root and this user can write."""

from __future__ import annotations

import contextlib
import os
import stat

from hosttune import files

#: What belongs in it.
RECORDS, LEASES = "launch", "lease"


def prepare(path: str) -> None:
    """Make the directory and what belongs in it. Raises OSError, UntrustedFile as check()."""
    _check_parents(path)
    _make(path)
    os.close(files.open_directory(path))
    for name in (RECORDS, LEASES):
        _make(f"{path}/{name}")
    check(path)


def check(path: str) -> None:
    """Raise UntrustedFile unless it, what belongs in it and all above it are root's or this user's, and writable for
    nobody else; OSError if it cannot be told."""
    _check_parents(path)
    for each in (path, f"{path}/{RECORDS}", f"{path}/{LEASES}"):
        os.close(files.open_directory(each))


def _make(path: str) -> None:
    """Make a directory and those above it, whatever the umask is (os.makedirs() makes those above with that alone)."""
    with contextlib.suppress(FileExistsError):
        try:
            os.mkdir(path, 0o755)
        except FileNotFoundError:
            _make(os.path.dirname(path))
            os.mkdir(path, 0o755)


def _check_parents(path: str) -> None:
    """Whoever can rename a directory above decides what is at the path. In a sticky directory nobody can who does not
    own the entry (inode(7)); a symbolic link is as good as its owner, and what it leads to is looked at as well."""
    for whole in dict.fromkeys((path, os.path.realpath(path))):
        above = os.path.dirname(whole)
        while True:
            with contextlib.suppress(FileNotFoundError):  # to be made, or a link to nothing
                _check_parent(above, os.lstat(above))
            if above == "/":
                break
            above = os.path.dirname(above)


def _check_parent(path: str, found: os.stat_result) -> None:
    trusted = files.trusted_owners()
    if found.st_uid not in trusted:
        allowed = f"one of user {' or '.join(map(str, sorted(trusted)))}"
        raise files.UntrustedFile(path, f"a file of user {found.st_uid}", allowed)
    if not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        mode = stat.S_IMODE(found.st_mode)
        raise files.UntrustedFile(path, f"mode {mode:04o}", f"no more than {mode & ~0o022:04o}")
