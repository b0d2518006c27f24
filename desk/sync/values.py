"""Limits as Redis has them: read without believing how long a value is, or that it is one."""

from collections.abc import Generator, Sequence
from typing import Any

import msgspec

from agent.limits import LIMITS
from desk.redis.link import Command, RedisLost, Refused
from desk.redis.words import explain
from hosttune.output import escape

#: Bytes of a value that is a number: more are read of none.
MOST_BYTES = 32
#: As many keys are read at once by GETRANGE, which never sends more than is asked for; more by MGET.
FEW = 16


class Bad(msgspec.Struct, frozen=True):
    """A value that is refused. found, allowed: bounded, escaped."""

    found: str
    allowed: str


#: Of a key: a limit's value in the user's units, why it is refused, or None where there is no such key.
Value = int | float | Bad | None
Reading = Generator[Sequence[Command], list[Any], list[Value]]


def decode_limit(limit: str, raw: bytes) -> int | float | Bad:
    """Returns the value of a limit from the bytes of a key: one number as JSON writes it (RFC 8259, section 6)."""
    about = LIMITS[limit]
    number: int | float | None = None
    if len(raw) <= MOST_BYTES:
        try:
            number = msgspec.convert(msgspec.json.decode(raw), about.checked)
        except (msgspec.DecodeError, UnicodeDecodeError):  # no JSON, another type, out of range
            number = None
    return Bad(show_bytes(raw), describe_allowed(limit)) if number is None else number


def describe_allowed(limit: str) -> str:
    """Returns what values a limit may have, for people."""
    about = LIMITS[limit]
    kind = "a whole number" if about.kind is int else "a number"
    return f"{kind} from {about.low:,} to {about.high:,} ({about.unit}), as text"


def show_bytes(raw: bytes) -> str:
    """Returns a value as it may stand in a line: its beginning, and that there is more."""
    shown = escape(raw[:MOST_BYTES].decode("utf-8", "backslashreplace"))
    return f"'{shown}'" if len(raw) <= MOST_BYTES else f"'{shown}'... (more than {MOST_BYTES} bytes)"


def read_values(keys: Sequence[bytes], names: Sequence[str], careful: bool) -> Reading:
    """Read what Redis has in each key, of which names has the limit, as a part of a talk. Returns the values; an
    empty one is as one that is missing.

    Many keys are read by one MGET, which sends whatever they hold: TooLong is raised where that is far too much, and
    careful has no more than MOST_BYTES of each sent. Raises RedisLost, also for an answer that is none.
    """
    found: dict[bytes, Any] = {}
    if len(keys) > FEW and not careful:
        (values,) = yield [("MGET", *keys)]
        if isinstance(_check(values), Bad) or not isinstance(values, list) or len(values) != len(keys):
            raise RedisLost("redis refused to read the limits: MGET has no answer")
        found = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
    # MGET answers for a key of another type as for one that is missing; this command does not.
    if single := [key for key in keys if key not in found]:
        answers = yield [("GETRANGE", key, 0, MOST_BYTES) for key in single]
        found |= zip(single, map(_check, answers), strict=True)
    return [_decode(limit, found[key]) for limit, key in zip(names, keys, strict=True)]


def _decode(limit: str, raw: Any) -> Value:
    if isinstance(raw, Bad):
        return msgspec.structs.replace(raw, allowed=describe_allowed(limit))
    if not isinstance(raw, bytes):
        raise RedisLost(f"redis refused to read the limits: an answer of another type, {type(raw).__name__}")
    return decode_limit(limit, raw) if raw else None


def _check(raw: Any) -> Any:
    """Returns an answer as it is, Bad for a key of another type. Raises RedisLost for another error: then nothing is
    known of what Redis has."""
    if isinstance(raw, Refused):
        if str(raw).startswith("WRONGTYPE"):
            return Bad("a value of another type than string", "")
        raise RedisLost(f"redis refused to read the limits: {explain(raw)}")
    return raw
