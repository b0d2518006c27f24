"""The structures of strategy/include/agent_strategy.h as NumPy records, and their layout hash."""

import numpy as np

EVENT = np.dtype(
    [
        ("sequence", "u8"), ("received_ns", "i8"), ("exchange_ns", "i8"), ("exchange_id", "i8"),
        ("bid", "i8"), ("bid_size", "i8"), ("ask", "i8"), ("ask_size", "i8"),
        ("price", "i8"), ("size", "i8"), ("kind", "u4"), ("symbol", "u4"),
        ("collar_low", "i8"), ("collar_high", "i8"), ("state", "u4"), ("market", "u4"),
        ("short_sale", "u4"), ("auction", "u4"), ("breached", "u4"), ("day", "u4"),
    ],
    align=True,
)  # fmt: skip
ORDER = np.dtype(
    [
        ("price", "f8"), ("size", "i8"), ("id", "u8"), ("tag", "u8"),
        ("side", "i4"), ("symbol", "u4"), ("action", "u4"), ("reserved", "u4"),
    ],
    align=True,
)  # fmt: skip
FILL = np.dtype(
    [
        ("id", "u8"), ("tag", "u8"), ("received_ns", "i8"), ("size", "i8"), ("leaves", "i8"), ("position", "i8"),
        ("price", "f8"), ("side", "i4"), ("symbol", "u4"), ("kind", "u4"), ("reason", "u4"),
    ],
    align=True,
)  # fmt: skip
#: A symbol's name: at most 20 bytes, zeros behind them.
NAME = np.dtype([("text", "u1", (24,))], align=True)
PARAMS = np.dtype(
    [
        ("fast", "f8"), ("slow", "f8"), ("size", "i8"), ("symbols", "u8"),
        ("values", "f8", (8,)), ("names", NAME, (256,)),
    ],
    align=True,
)  # fmt: skip

_STRUCTURES = (("agent_event", EVENT), ("agent_order", ORDER), ("agent_fill", FILL), ("agent_params", PARAMS))
_C_TYPES = {"f8": "double", "i8": "int64_t", "u8": "uint64_t", "i4": "int32_t", "u4": "uint32_t", "V24": "agent_name"}


def layout_text() -> str:
    """What the layout hash is computed of, by the rule in strategy/include/agent_strategy.h."""
    lines = []
    for name, dtype in _STRUCTURES:
        lines.append(f"{name} {dtype.itemsize}\n")
        for member in dtype.names or ():
            inner, offset = dtype.fields[member][:2]  # type: ignore[index]
            count = 1
            if inner.subdtype is not None:
                inner, (count,) = inner.subdtype
            lines.append(f"{member} {_C_TYPES[inner.str[1:]]} {offset} {count}\n")
    return "".join(lines)


def layout_hash() -> int:
    """64-bit FNV-1a of layout_text()."""
    value = 0xCBF29CE484222325
    for byte in layout_text().encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
