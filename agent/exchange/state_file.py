"""The state file: a copy of the log of Sequenced Data packets, that outlives the simulator.

It begins with a magic and the name of the session; the packets follow as they were sent.
"""

import contextlib
import os
from pathlib import Path

import msgspec

from agent.exchange.errors import ExchangeError

_MAGIC = b"HTEXCH1\n"
_HEADER = len(_MAGIC) + 10


class StateFile(msgspec.Struct):
    """An open state file."""

    descriptor: int  # open for appending
    session: bytes  # name of the session, 10 bytes
    packets: bytes  # what is in it


def open_state_file(path: Path, session: bytes, stack: contextlib.ExitStack) -> StateFile:
    """Open a state file, or make it, for a session of that name; the stack closes it. A packet that was not wholly
    written is cut off: nobody has read it. Raises ExchangeError."""
    try:
        data = path.read_bytes() if path.exists() else b""
        if data and (not data.startswith(_MAGIC) or len(data) < _HEADER):
            raise ExchangeError(f"--state {path}: not a state file of the simulator (no {_MAGIC!r} at its start)")
        if not data:
            data = _MAGIC + session
            path.write_bytes(data)
        end = _find_end(data)
        os.truncate(path, end)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        raise ExchangeError(f"--state {path}: {error.strerror}") from None
    stack.callback(os.close, descriptor)
    return StateFile(descriptor, data[len(_MAGIC) : _HEADER], data[_HEADER:end])


def _find_end(data: bytes) -> int:
    """Returns where the last whole packet of a state file ends."""
    end = _HEADER
    while end + 2 <= len(data) and (after := end + 2 + int.from_bytes(data[end : end + 2], "big")) <= len(data):
        end = after
    return end
