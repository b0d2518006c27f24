"""Decoding ITCH 5.0 Add Order, all fields, in memory: itch.pxd, which also checks length and side, against C that
checks the type only; and against msgspec, which decodes the same fields from MessagePack."""

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent import _bench, generator
from agent.bench import machine
from agent.bench.sample import BenchError, Sample

MESSAGES = 100_000


class _Add(msgspec.Struct, array_like=True):
    locate: int
    timestamp: int
    reference: int
    side: int
    shares: int
    price: int


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: C, ours, msgspec, on the same orders."""
    library = ctypes.CDLL(str(machine.build("itch", directory, shared=True)))
    library.decode.restype = ctypes.c_uint64
    library.decode.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.POINTER(ctypes.c_int64)]
    add = [m for m in generator.session(1, 20_000, 3) if m[:1] == b"A"]
    messages = b"".join((add * (MESSAGES // len(add) + 1))[:MESSAGES])
    number = int.from_bytes
    packed = msgspec.msgpack.Encoder().encode
    texts = [
        packed(_Add(number(m[1:3]), number(m[5:11]), number(m[11:19]), m[19], number(m[20:24]), number(m[32:36])))
        for m in add
    ]
    decoder = msgspec.msgpack.Decoder(_Add)
    nanoseconds = ctypes.c_int64()
    while True:
        expected = library.decode(messages, MESSAGES, ctypes.byref(nanoseconds))
        floor = nanoseconds.value / MESSAGES
        found, took = _bench.itch_decode(messages)
        if found != expected:
            raise BenchError(f"itch_decode: the sums of the fields differ: {found} and {expected}")
        begun = time.perf_counter_ns()
        for text in texts:
            decoder.decode(text)
        other = (time.perf_counter_ns() - begun) / len(texts)
        ours = took / MESSAGES
        yield [
            Sample(metric="Add Order", unit="ns", ours=ours, reference=floor, reference_name="C"),
            Sample(metric="Add Order", unit="ns", ours=ours, reference=other, reference_name="msgspec, MessagePack"),
        ]
