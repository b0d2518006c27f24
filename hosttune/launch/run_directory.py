"""The directory of leases and launch records: believed only where nobody but root and this user can write."""

from __future__ import annotations

import os

from hosttune import files

#: What belongs in it.
RECORDS, LEASES = "launch", "lease"


def prepare(path: str) -> None:
    """Make the directory and what belongs in it. Raises OSError, UntrustedFile as check()."""
    files.make_directory(path)
    os.close(files.open_directory(path))
    for name in (RECORDS, LEASES):
        files.make_directory(f"{path}/{name}")
    check(path)


def check(path: str) -> None:
    """Raise UntrustedFile unless it, what belongs in it and all above it are root's or this user's, and writable for
    nobody else; OSError if it cannot be told."""
    where = files.find_name(path)
    for each in (where, f"{where}/{RECORDS}", f"{where}/{LEASES}"):
        os.close(files.open_directory(each))
