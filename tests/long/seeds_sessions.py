"""Valid inputs that the fuzzer of the session protocols starts from, and what it must have reached."""

import struct

from ..unit.agent import ouch_answers as exchange

_ANSWERS = [
    exchange.accepted(1),
    exchange.accepted(2, state=b"D"),
    exchange.replaced(1, 3, 5),
    exchange.executed(1, 2),
    exchange.canceled(1, 2),
    exchange.rejected(1),
    exchange.query_answer(7),
    exchange.sequenced(b"S" + bytes(8) + b"S"),
    exchange.sequenced(b"I" + bytes(12)),
    exchange.sequenced(b"T" + bytes(12) + bytes(8) + b"Y" + bytes(8)),
    exchange.sequenced(b"M" + bytes(12) + b"B" + bytes(4)),
    exchange.sequenced(b"D" + bytes(12) + bytes(4) + b"Q" + bytes(12) + b"RN"),
    exchange.sequenced(b"B" + bytes(12) + bytes(8) + b"E" + b"0" * 14),
    exchange.sequenced(b"A" + bytes(61) + b"\0\x0b" + b"\x09\x01" + bytes(8) + b"\0"),
]


def _datagrams(*packets: tuple[int, int, int, int]) -> bytes:
    """(control, session, first, count) each; count < 0: a heartbeat, 0: end of session."""
    out = b""
    for control, session, first, count in packets:
        data = b"SESSION%03d" % session + struct.pack(">QH", first, max(count, 0) if count else 0xFFFF)
        data += b"".join(b"\0\5hello" for _ in range(max(count, 0)))
        out += bytes([control]) + struct.pack("<H", len(data)) + data
    return out


def seeds() -> dict[str, list[bytes]]:
    """By decoder."""
    streams = [exchange.login_accepted("S1", 1) + b"".join(_ANSWERS), exchange.packet(b"H") * 20, exchange.packet(b"Z")]
    streams.append(
        exchange.packet(b"L", b"trader" + b"secret    " + b" " * 10 + b"1".rjust(20)) + exchange.packet(b"O")
    )
    return {
        "ouch": [answer[3:] for answer in _ANSWERS],
        "soupbintcp": [bytes([i]) + s for i in (0, 5, 60) for s in streams],
        "moldudp64": [
            _datagrams(
                (0, 1, 1, 3), (1, 1, 1, 3), (0, 1, 4, 1), (0, 1, 7, 2), (5, 1, 5, 2), (0, 1, 9, -1), (0, 1, 9, 0)
            ),
            _datagrams((0, 1, 1, 1), (0, 1, 5, 1), (252, 1, 6, 1), (252, 1, 7, 1), (0, 2, 1, 1), (0, 2, 2, 1)),
            _datagrams(*((4 * i % 64, 1, 1 + 2 * i, 1) for i in range(12)), (2, 1, 2, 5)),
            _datagrams((0, 1, 50, 2), (2, 1, 40, 10), (0, 1, 60, 1), (200, 1, 61, 1)),
            _datagrams((0, 1, 1, 1), (252, 2, 1, 1), (252, 2, 2, 1), (0, 2, 3, -1), (0, 2, 3, 2), (0, 2, 5, 1)),
            _datagrams((0, 1, 9, 1), *((0, 1, 90 + i, 1) for i in range(5)), (0, 1, 10, 1), (0, 1, 2**62, 1)),
            _datagrams((0, 1, 9, 1), *((i % 2, 2, 1 + i // 2, 1) for i in range(10)), (0, 1, 10, 0), (0, 2, 6, 1)),
        ],
    }


#: Verdicts that a run of some 10,000 inputs has met; without them it has tested nothing.
REACHED = {
    "ouch": {*b"AUECJQSITMDB", -1, -2, -3, -4},
    "soupbintcp": {1, 2, 3, -1, -2},
    "moldudp64": {0, 1, 3, 7, 32},
}
