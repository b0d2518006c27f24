"""Limits as Redis has them: read without believing how long a value is, or that it is one."""

from collections.abc import Sequence
from typing import Any

import msgspec

from agent.limits import LIMITS
from desk.redis.link import Link, RedisLost, Refused
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


def read_values(link: Link, keys: Sequence[bytes], names: Sequence[str]) -> list[Value]:
    """Returns what Redis has in each key, of which names has the limit. One that is empty is as one that is missing.

    No value of more than MOST_BYTES is asked for, whoever makes it longer meanwhile: many keys are watched (WATCH)
    between their lengths (STRLEN) and the one MGET that reads them. Raises RedisLost, also for an answer that is none.
    """
    raw = _read_few(link, keys) if len(keys) <= FEW else _read_many(link, keys)
    return [_decode(limit, value) for limit, value in zip(names, raw, strict=True)]


def _decode(limit: str, raw: Any) -> Value:
    if isinstance(raw, Bad):
        return msgspec.structs.replace(raw, allowed=describe_allowed(limit))
    return decode_limit(limit, raw) if raw else None


def _read_few(link: Link, keys: Sequence[bytes]) -> list[Any]:
    return [_check(raw) for raw in link.exchange([("GETRANGE", key, 0, MOST_BYTES) for key in keys])]


def _read_many(link: Link, keys: Sequence[bytes]) -> list[Any]:
    watched, *lengths = link.exchange([("WATCH", *keys), *(("STRLEN", key) for key in keys)])
    _check(watched)
    short = [key for key, length in zip(keys, lengths, strict=True)
             if isinstance(length, int) and 0 < length <= MOST_BYTES]  # fmt: skip
    found: dict[bytes, Any] = {}
    if short:
        *_, values = link.exchange([("MULTI",), ("MGET", *short), ("EXEC",)])
        # Somebody has changed one of them; or Redis is out of memory, and refuses whatever is in a transaction.
        if values is None or isinstance(values, Refused):
            for at in range(0, len(short), 1000):
                part = short[at : at + 1000]
                found |= zip(part, _read_few(link, part), strict=True)
        else:
            found = dict(zip(short, _check(values)[0], strict=True))
    else:
        link.exchange([("UNWATCH",)])
    return [
        Bad(f"a value of {length:,} bytes", "") if isinstance(length, int) and length > MOST_BYTES
        else _check(length) if not isinstance(length, int)
        else found.get(key)
        for key, length in zip(keys, lengths, strict=True)
    ]  # fmt: skip


def _check(raw: Any) -> Any:
    """Returns an answer as it is, Bad for a key of another type. Raises RedisLost for another error: then nothing is
    known of what Redis has."""
    if isinstance(raw, Refused):
        if str(raw).startswith("WRONGTYPE"):
            return Bad("a value of another type than string", "")
        from desk.redis.link import explain

        raise RedisLost(f"redis refused to read the limits: {explain(raw)}")
    return raw
