"""Standard output of a command: the disk behind it may be full, and its reader may have left."""

from __future__ import annotations

import os
import sys

from hosttune.errors import UsageError


def write_out(text: str) -> None:
    """Write text, and what was printed before, to standard output.

    Raises UsageError for a full disk, and BrokenPipeError when the reader, such as head, has seen enough.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _discard_output()
        if isinstance(error, BrokenPipeError):
            raise
        raise UsageError(f"standard output: {error.strerror}") from None


def _discard_output() -> None:
    """Send what standard output still holds to /dev/null, so that Python does not fail again when it closes it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
