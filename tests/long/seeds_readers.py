"""Valid files that the fuzzer of the readers starts from, and what it must have reached."""

import struct
from collections.abc import Sequence

from agent.journal import _record, record
from agent.journal.layout import pack_header
from agent.monitor import top
from agent.shm import _ring, _series

from ..unit.agent.shm.small_segment import build

#: Counters that `agent stats` and `agent top` cannot do without.
_COUNTERS = ["book_ticker", "trade", *dict.fromkeys([*top._RATES, *top._TROUBLE])]


def _ring_of(capacity: int, record_size: int, records: Sequence[bytes], taken: int = 0) -> bytes:
    memory = bytearray(_ring.HEADER_SIZE + capacity)
    _ring.initialise(memoryview(memory)[: _ring.HEADER_SIZE], capacity, record_size, b"boot")
    writer, reader = _ring.Handle(memory, True), _ring.Handle(memory, False)
    writer.attach(7, 8, False)
    reader.attach(9, 10, False)
    for number, text in enumerate(records):
        assert writer.push(text)
        if number < taken:
            assert reader.pop() == text
    return bytes(memory)


def _entry(number: int, kind: int, **fields: int) -> bytes:
    known = dict.fromkeys(record.Record.__struct_fields__, 0) | {"number": number, "time_ns": 10**18, "kind": kind}
    if kind not in (record.SESSION, record.QUERIED, record.CAUGHT_UP):
        known |= {"id": number, "quantity": 5, "side": 1, "price": 1_000_000}
    return _record.pack(known | fields)


def _journals() -> list[bytes]:
    day = [
        _entry(1, record.SESSION, tag=0x3030303030303053, price=0x3130, exchange_sequence=1),
        _entry(2, record.QUERIED),
        _entry(3, record.CAUGHT_UP, id=1),
        _entry(4, record.ENTERED),
        _entry(5, record.ENTERED, side=-1, symbol=1),
        _entry(6, record.ACCEPTED, id=4, exchange_sequence=2),
        _entry(7, record.EXECUTED, id=4, quantity=2, exchange_sequence=3),
        _entry(8, record.REPLACING, original=4),
        _entry(9, record.REPLACED, id=8, exchange_sequence=4),
        _entry(10, record.CANCELED, id=8, quantity=1, exchange_sequence=5),
        _entry(11, record.REJECTED, id=5, symbol=1, side=-1, exchange_sequence=6),
        _entry(12, record.ENTERED),
        _entry(13, record.NEVER_REACHED, id=12),
        _entry(14, record.REPLACING, original=8),
        _entry(15, record.IGNORED, id=14, original=8),
    ]
    header = pack_header(["AAPL", "MSFT"])
    return [header, *(header + b"".join(day[:count]) for count in range(1, len(day) + 1)), header + day[0] + b"torn",
            header + b"".join(day[:9] + day[5:]), pack_header([f"S{i}" for i in range(256)]) + day[0]]  # fmt: skip


def _series_of(symbols: int, capacity: int) -> bytes:
    memory = bytearray(_series.size(symbols, capacity))
    _series.Writer(memory, [b"S%d" % i for i in range(symbols)], capacity, b"boot", 1, 2)
    return bytes(memory[: _series.NAMES_OFFSET + 8 * symbols + 64]) + struct.pack("<Q", len(memory))


def seeds() -> dict[str, list[bytes]]:
    """Returns the seeds of each reader."""
    short = {"counters": _COUNTERS, "histograms": ["own_code"]}
    return {
        "ring": [
            _ring_of(64, 0, [b"a"]),
            _ring_of(512, 0, [bytes([i]) * (i * 9) for i in range(9)], 5),
            _ring_of(512, 0, [bytes(40)] * 10, 6),
            _ring_of(512, 64, [bytes([i]) * 64 for i in range(8)]),
            _ring_of(512, 64, [bytes([i]) * 64 for i in range(10)], 6),
            _ring_of(256, 24, [bytes([i]) * 24 for i in range(13)], 9),
            _ring_of(1024, 13, [bytes(13)] * 30, 4),
        ],
        "journal": _journals(),
        "segment": [
            *(build(names=short, bits=bits, buckets=buckets) for bits, buckets in ((0, 3), (2, 12), (7, 0))),
            *(
                build(names=short, buckets=4, symbols=symbols, word=word)
                for symbols in (0, 3)
                for word in (0, 2**63, 2**64 - 1)
            ),
            build(names={"histograms": ["own_code", "total"]}, buckets=8),
            build(names={"counters": ["lost"], "histograms": []}, buckets=0),
        ],
        "series": [_series_of(symbols, capacity) for symbols in (1, 2, 9, 256) for capacity in (512, 4096)],
    }


#: Verdicts that a run of some 10,000 inputs has met; without them it has tested nothing.
REACHED = {"ring": {0, 1, 2}, "journal": {0, 1, 2}, "segment": {0, 1, 2}, "series": {0, 1}}
