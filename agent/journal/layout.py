"""The journal's file up to its first record, as docs/journal.md describes it; pure functions of bytes."""

import struct
from typing import Any, NamedTuple

from agent.journal.errors import JournalError
from agent.journal.record import SIZE
from agent.symbols import MAX_NAME, MAX_SYMBOLS
from hosttune.patterns import late_pattern

#: What a file begins with: the layout's version; and what one of the version before does.
MAGIC, OLD_MAGIC = b"HTJOURN2", b"HTJOURN1"
#: What a state begins with: the version of its layout, and of what records add up to.
STATE_MAGIC = b"HTJSTAT1"
#: Bytes of a state at most: several times as many as 65,536 open orders and all else take.
MOST_STATE = 64 << 20

_HEAD = struct.Struct("<8sIIQQ")  # magic, symbols, bytes of a record, number of the first one, bytes of the state
_OLD_HEAD = struct.Struct("<8sQ")
_PLACE, _OLD_PLACE = 24, 8  # bytes of a symbol's name
_NAME = late_pattern(rb"[!-~]{1,%d}\0*" % MAX_NAME)
_OLD_NAME = late_pattern(rb"[!-~]{1,8} *")
_STATE = struct.Struct("<8sQ32s")  # magic, bytes of what follows, its BLAKE2b

#: Bytes of a header at most, but for the state.
MOST_HEADER = _HEAD.size + _PLACE * MAX_SYMBOLS


class Header(NamedTuple):
    """What stands before the records. old: in the layout of the version before. first: number of the first record;
    state: bytes of what the records before that one add up to, behind the names. begin: where the records are."""

    symbols: list[str]
    old: bool
    first: int
    state: int

    @property
    def begin(self) -> int:
        if self.old:
            return _OLD_HEAD.size + _OLD_PLACE * len(self.symbols)
        return _HEAD.size + _PLACE * len(self.symbols) + self.state


class Snapshot(NamedTuple):
    """What the records of a journal add up to, up to one of them. number: that record's, and last: its bytes. saved:
    agent.journal.rebuild.Sum.save()."""

    symbols: list[str]
    number: int
    last: bytes
    saved: Any


def pack_header(symbols: list[str], first: int = 1, state: bytes = b"") -> bytes:
    """Returns the file's first bytes. state: pack_state() of the records before number `first`."""
    names = b"".join(symbol.encode().ljust(_PLACE, b"\0") for symbol in symbols)
    return _HEAD.pack(MAGIC, len(symbols), SIZE, first, len(state)) + names + state


def unpack_header(data: bytes) -> Header:
    """Returns what a file's first bytes say: MOST_HEADER of them, or all there are. Raises JournalError."""
    old = data[:8] == OLD_MAGIC
    if (data[:8] != MAGIC and not old) or len(data) < (_OLD_HEAD if old else _HEAD).size:
        raise JournalError(f"not an agent's journal (no {MAGIC.decode()} at its start)")
    first, state, size = 1, 0, SIZE
    if old:
        _, count = _OLD_HEAD.unpack_from(data)
    else:
        _, count, size, first, state = _HEAD.unpack_from(data)
    at, place, name = (_OLD_HEAD.size, _OLD_PLACE, _OLD_NAME) if old else (_HEAD.size, _PLACE, _NAME)
    if not 0 < count <= MAX_SYMBOLS or len(data) < at + place * count:
        raise JournalError(f"damaged: {count} symbols in {len(data)} bytes")
    if size != SIZE or not first or state > MOST_STATE or state % 8 or bool(state) != (first > 1):
        raise JournalError(f"damaged: records of {size} bytes from number {first} on, behind {state} bytes of state")
    names = [data[i : i + place] for i in range(at, at + place * count, place)]
    if not all(map(name.fullmatch, names)) or len(set(names)) != count:
        raise JournalError("damaged: its symbols are not each a name")
    return Header([name.rstrip(b"\0 ").decode() for name in names], old, first, state)


def pack_state(snapshot: Snapshot) -> bytes:
    """Returns a snapshot's bytes, a multiple of 8."""
    import json  # late, as _digest(); and no other module writes whole numbers of any size

    plain = {**snapshot._asdict(), "last": snapshot.last.hex()}
    data = json.dumps(plain, separators=(",", ":")).encode()
    return _STATE.pack(STATE_MAGIC, len(data), _digest(data)) + data + bytes(-len(data) % 8)


def unpack_state(data: bytes) -> Snapshot:
    """Returns what pack_state() has packed; of `saved` nothing is checked. Raises JournalError, one line."""
    import json

    if len(data) < _STATE.size or not data.startswith(STATE_MAGIC[:7]):
        raise JournalError("no state of a journal")
    magic, size, digest = _STATE.unpack_from(data)
    if magic != STATE_MAGIC:
        found, allowed = (text[7:].decode("ascii", "replace") for text in (magic, STATE_MAGIC))
        raise JournalError(f"a state of version {found!r}, allowed: {allowed}")
    body = data[_STATE.size : _STATE.size + size]
    if len(data) != _STATE.size + size + -size % 8 or _digest(body) != digest:
        raise JournalError("damaged: a state whose checksum is another one")
    try:
        plain = json.loads(body)
        found = Snapshot(list(plain["symbols"]), int(plain["number"]), bytes.fromhex(plain["last"]), plain["saved"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise JournalError("damaged: a state that says nothing") from None
    return found


def _digest(data: bytes) -> bytes:
    import hashlib  # late: a start without a snapshot does not wait for it

    return hashlib.blake2b(data, digest_size=32).digest()
