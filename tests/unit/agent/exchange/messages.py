"""OUCH messages and logs of them, for tests of the simulator's parts: written and read with struct, as published.

Source: Nasdaq "O*U*C*H Version 5.0".
"""

import socket
import struct
from array import array
from collections.abc import Sequence
from typing import Any

from agent.exchange.feed import build_feed
from agent.exchange.packets import make_packets
from agent.exchange.plan import Plan, PreparedPlan
from agent.exchange.samples import make_samples

DAY, IMMEDIATE_OR_CANCEL = b"0", b"3"
SESSION, FEED_SESSION = b"SESSION001", b"FEED000001"

Event = tuple[Any, ...]


def enter(
    user_ref_num: int, side: bytes, quantity: int, symbol: str, price: int, tif: bytes = DAY, tick: int = 1
) -> bytes:
    """Enter Order; tick: the sequence number in its ClOrdID."""
    return struct.pack(">cIcI8sQccccc14sH", b"O", user_ref_num, side, quantity, symbol.encode().ljust(8), price, tif,
                       b"Y", b"P", b"N", b"N", b"%014d" % tick, 0)  # fmt: skip


def replace(original: int, user_ref_num: int, quantity: int, price: int, tif: bytes = DAY) -> bytes:
    """Replace Order Request."""
    return struct.pack(">cIIIQccc14sH", b"U", original, user_ref_num, quantity, price, tif, b"Y", b"N", b"%014d" % 1, 0)


def cancel(user_ref_num: int, quantity: int) -> bytes:
    """Cancel Order Request: reduce to so many shares."""
    return struct.pack(">cII", b"X", user_ref_num, quantity)


def split(data: bytes) -> list[bytes]:
    """The payloads of whole Sequenced Data packets."""
    out, place = [], 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 2], "big")
        assert data[place + 2 : place + 3] == b"S" and place + 2 + size <= len(data)
        out.append(data[place + 3 : place + 2 + size])
        place += 2 + size
    return out


def events(data: bytes) -> list[Event]:
    """What the messages of a log say: type, UserRefNum, and what matters of the rest."""
    out: list[Event] = []
    for m in split(data):
        kind, number = m[:1], int.from_bytes(m[9:13], "big")
        if kind == b"A":
            side, shares, _, price = struct.unpack_from(">cI8sQ", m, 13)
            out.append(("accepted", number, side, shares, price))
        elif kind == b"U":
            new, side, shares, _, price = struct.unpack_from(">IcI8sQ", m, 13)
            out.append(("replaced", number, new, side, shares, price))
        elif kind == b"E":
            out.append(("executed", number, *struct.unpack_from(">IQ", m, 13)))
        elif kind == b"C":
            out.append(("canceled", number, *struct.unpack_from(">Ic", m, 13)))
        elif kind == b"J":
            out.append(("rejected", number))
        else:
            assert kind == b"Q"
            out.append(("expected", number))
    return out


def prepare(
    messages: Sequence[bytes] = (b'{"u":1}',),
    *,
    lines: tuple[int, int] = (-1, -1),
    server: socket.socket | None = None,
    request_socket: int = -1,
    fates: tuple[bytes | None, bytes | None] = (None, None),
    per_datagram: int = 1,
    due: Sequence[int] = (),
    changes: dict[str, Any] | None = None,
    **options: Any,
) -> PreparedPlan:
    """A PreparedPlan of these messages; options: of its Plan; changes: fields to set otherwise."""
    feed = build_feed("test", "binance", [(i, m) for i, m in enumerate(messages)], {})
    packets = make_packets(feed, FEED_SESSION, per_datagram)
    fields: dict[str, Any] = {
        "plan": Plan(feed=feed, due=array("q"), pacing="", feed_to=("", 0), listen=("", 0), **options),
        "lines": lines, "server": server.fileno() if server else -1, "request_socket": request_socket,
        "state_file": -1, "recovered": b"", "session": SESSION, "feed_session": FEED_SESSION, "login": None,
        "packets": packets, "due": array("q", due or [0] * len(packets)), "fates": fates,
        "symbol_names": array("Q", (int.from_bytes(s.encode().ljust(8), "little") for s in feed.symbols)),
        "watched": None, "samples": make_samples(len(packets), len(feed)), "midnight": 0, "log_capacity": 1 << 16,
    }  # fmt: skip
    return PreparedPlan(**fields | (changes or {}))
