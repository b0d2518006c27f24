"""The orders of a replay as lines of JSON, one for each message to the exchange."""

import json
from typing import Any

#: Of an OUCH message by its type: its name, and where fields lie: bytes from its begin, and how many.
#: Source: Nasdaq "O*U*C*H Version 5.0", section 2 (agent/protocols/ouch.pxd).
_ENTER = {"id": (1, 4), "side": (5, 1), "size": (6, 4), "symbol": (10, 8), "price": (18, 8)}
_REPLACE = {"original": (1, 4), "id": (5, 4), "size": (9, 4), "price": (13, 8)}
_CANCEL = {"id": (1, 4), "size": (5, 4)}
_TYPES = {b"O": ("enter", _ENTER), b"U": ("replace", _REPLACE), b"X": ("cancel", _CANCEL)}


def describe_order(sequence: int, time_ns: int, message: bytes) -> dict[str, Any]:
    """Returns an OUCH message to the exchange as plain data. sequence: of the feed's message that it names in its
    ClOrdID; time_ns: the recording's. price: a decimal string; ouch: the message itself, as hexadecimal digits."""
    name, fields = _TYPES.get(message[:1], ("other", {}))
    found: dict[str, Any] = {"message": sequence, "time_ns": time_ns, "action": name}
    for field, (at, size) in fields.items():
        raw = message[at : at + size]
        if field in ("side", "symbol"):
            found[field] = raw.decode("ascii", "replace").rstrip()
        elif field == "price":
            whole, part = divmod(int.from_bytes(raw, "big"), 10_000)
            found[field] = f"{whole}.{part:04d}"
        else:
            found[field] = int.from_bytes(raw, "big")
    return found | {"ouch": message.hex()}


def as_line(sequence: int, time_ns: int, message: bytes) -> str:
    """Returns an OUCH message to the exchange as a line of JSON: describe_order()."""
    return json.dumps(describe_order(sequence, time_ns, message)) + "\n"
