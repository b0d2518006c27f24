"""How a command of the desk ends: the base class of its errors, and its exit codes."""

import contextlib
from collections.abc import Iterator

from hosttune.errors import FAILED, OK, UNKNOWN, USAGE, UsageError

__all__ = ["FAILED", "OK", "UNKNOWN", "USAGE", "DeskError", "UsageError", "explain_os_errors"]


class DeskError(UsageError):
    """The base class of all errors of the desk that are messages for the user: the message says what was found and what
    is allowed, or what the other program said, and holds no secret. A command prints the message and ends with exit
    code USAGE."""


@contextlib.contextmanager
def explain_os_errors(what: str) -> Iterator[None]:
    """Raise DeskError, which begins with the file or else with `what`, for what the kernel refuses: no space, no
    descriptors, no memory."""
    try:
        yield
    except OSError as error:
        raise DeskError(f"{error.filename or what}: {error.strerror or error}") from None
