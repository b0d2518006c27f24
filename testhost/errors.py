"""What can go wrong, by who has to act."""

from pathlib import Path


class TesthostError(Exception):
    """Something failed while working. The text is for the user; `status` is the exit status of the command."""

    status = 1
    __test__ = False  # Not a test case, although pytest takes the name for one.


class UsageError(TesthostError):
    """What was asked for cannot be done on this machine or does not make sense. Nothing was started."""

    status = 2


def tail(path: Path, lines: int = 30) -> str:
    """The last `lines` lines of a log for an error message; says so when there is no log."""
    try:
        text = path.read_bytes()[-65536:].decode(errors="replace").replace("\r", "")
    except OSError as error:
        return f"({path}: {error.strerror})"
    kept = text.rstrip("\n").split("\n")[-lines:]
    return f"--- end of {path}\n" + "\n".join(f"  {line}" for line in kept)
