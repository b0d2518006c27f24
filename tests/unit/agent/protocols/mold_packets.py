"""MoldUDP64 packets, and what a receiver gives out of them."""

import struct

from tests.compiled._sessions import Mold

S1, S2, S3 = b"SESSION001", b"SESSION002", b"SESSION003"
#: Lines A and B, and the request server.
A, B, R = 0, 1, 2
#: Message Count of an End of Session.
END = 0xFFFF


def packet(sequence: int, *messages: bytes, session: bytes = S1, count: int | None = None) -> bytes:
    blocks = b"".join(len(m).to_bytes(2, "big") + m for m in messages)
    return session + struct.pack(">QH", sequence, len(messages) if count is None else count) + blocks


def run(first: int, count: int, session: bytes = S1) -> bytes:
    """A packet of count messages whose text is their number."""
    return packet(first, *[b"%d" % n for n in range(first, first + count)], session=session)


def numbers(mold: Mold) -> list[int]:
    """What is ready; every message has its number's text."""
    out = mold.drain()
    assert all(text == b"%d" % n for n, text in out)
    return [n for n, _ in out]


def nonzero(mold: Mold) -> dict[str, int]:
    return {name: n for name, n in mold.counters.items() if n}
