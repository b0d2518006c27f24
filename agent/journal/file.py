"""The journal's file: the names of the symbols, then records of one size (record.pxd) that are only appended.

The engine writes records into a ring in shared memory; a process of its own (writer.py) appends them to the file. Both
outlive the engine: a restart reads the file and what is still in the ring, and knows its positions, its open orders,
and from which message on it wants the exchange to go on.
"""

import os
import struct
from pathlib import Path

from agent.journal.errors import JournalError
from agent.journal.rebuild import State, rebuild
from agent.journal.record import SIZE
from agent.symbols import MAX_SYMBOLS

#: What the file begins with: the layout's version. The number of symbols and their names of 8 characters follow.
MAGIC = b"HTJOURN1"
_NAMES = 16  # offset of the names, bytes


def default_directory() -> Path:
    """Returns $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/hosttune-agent, else ~/.local/state/hosttune-agent."""
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "hosttune-agent"


def pack_header(symbols: list[str]) -> bytes:
    """Returns the file's first bytes: magic, number of symbols, and their names of 8 characters."""
    return MAGIC + struct.pack("<Q", len(symbols)) + b"".join(s.encode().ljust(8) for s in symbols)


def _unpack_header(path: Path, data: bytes) -> tuple[list[str], int]:
    """Returns (symbols, bytes of the header) from what a file begins with. Raises JournalError."""
    if data[:8] != MAGIC or len(data) < _NAMES:
        raise JournalError(f"{path}: not an agent's journal (no {MAGIC.decode()} at its start)")
    count = struct.unpack_from("<Q", data, 8)[0]
    begin = _NAMES + 8 * count
    if count > MAX_SYMBOLS or len(data) < begin:
        raise JournalError(f"{path}: damaged: {count} symbols in {len(data)} bytes")
    return [data[i : i + 8].decode("ascii", "replace").rstrip() for i in range(_NAMES, begin, 8)], begin


def read(path: Path) -> tuple[list[str], memoryview]:
    """Returns (symbols, whole records) of a journal's file. A torn last record is not a record. Raises JournalError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None
    symbols, begin = _unpack_header(path, data)
    return symbols, memoryview(data)[begin : begin + (len(data) - begin) // SIZE * SIZE]


def load(path: Path) -> tuple[list[str], memoryview, State]:
    """Returns (symbols, whole records, what they add up to) of a journal's file. Raises JournalError."""
    symbols, records = read(path)
    try:
        return symbols, records, rebuild(records, len(symbols))
    except JournalError as error:
        raise JournalError(f"{path}: {error}") from None


def create(path: Path, symbols: list[str]) -> None:
    """Make an empty journal, or check that the one there is for the same symbols, in the same order, and cut off a torn
    last record; new symbols may stand behind those there. Raises JournalError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() or path.stat().st_size == 0:
            path.write_bytes(pack_header(symbols))
            return
        with path.open("rb") as file:
            data = file.read(_NAMES + 8 * MAX_SYMBOLS)
    except OSError as error:
        raise JournalError(f"journal.directory: {path}: {error.strerror}") from None
    found, begin = _unpack_header(path, data)
    if found != symbols[: len(found)]:
        raise JournalError(
            f"{path}: is for the symbols {', '.join(found)}; allowed: these first, in this order, or another "
            "journal.directory"
        )
    try:
        size = path.stat().st_size
        if torn := (size - begin) % SIZE:
            os.truncate(path, size - torn)
        if found != symbols:
            new = path.with_suffix(".new")
            new.write_bytes(pack_header(symbols) + path.read_bytes()[begin:])
            new.replace(path)
    except OSError as error:
        raise JournalError(f"journal.directory: {path}: {error.strerror}") from None
