"""How a command of the desk ends: the base class of its errors, and its exit codes."""

from hosttune.errors import FAILED, OK, UNKNOWN, USAGE, UsageError

__all__ = ["FAILED", "OK", "UNKNOWN", "USAGE", "DeskError", "UsageError"]


class DeskError(UsageError):
    """The base class of all errors of the desk that are messages for the user: the message says what was found and what
    is allowed, or what the other program said, and holds no secret. A command prints the message and ends with exit
    code USAGE."""
