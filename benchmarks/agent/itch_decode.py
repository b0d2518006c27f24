"""Decoding ITCH 5.0 in MoldUDP64 packets of 10 messages, in memory: every field of every order message is loaded and
summed up, length, side and printable flag are checked.

Two streams: Add Orders only, and a trading day of the generator, in which the types follow each other as its order flow
has it. The references are C written by hand, a switch over the type: one with the same checks, and one without, which
believes its input. And msgspec, which decodes the same fields of the Add Orders from MessagePack, one call a message.
The sums of all have to agree. Ours looks at the rare types too (what their fields hold), the C ones pass over them.
"""

import ctypes
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from agent.exchange import generator
from benchmarks.agent import _bench, machine
from benchmarks.agent.sample import BenchError, Sample

MESSAGES = 200_000
PACKET = 10
#: Add Orders for msgspec: few enough for its cache.
TEXTS = 10_000
#: Passes over the stream a round, of which the fastest counts.
PASSES = 5


class _Add(msgspec.Struct, array_like=True):
    locate: int
    tracking: int
    timestamp: int
    reference: int
    side: int
    shares: int
    price: int


def _packets(messages: Sequence[bytes]) -> bytes:
    """MoldUDP64 packets of PACKET messages each, one behind the other."""
    out = []
    for first in range(0, len(messages), PACKET):
        some = messages[first : first + PACKET]
        out.append(b"BENCH     " + (first + 1).to_bytes(8, "big") + len(some).to_bytes(2, "big"))
        out += (part for m in some for part in (len(m).to_bytes(2, "big"), m))
    return b"".join(out)


def _add(m: bytes) -> _Add:
    number = int.from_bytes
    return _Add(number(m[1:3]), number(m[3:5]), number(m[5:11]), number(m[11:19]), m[19], number(m[20:24]),
                number(m[32:36]))  # fmt: skip


def _decode_all(decoder: "msgspec.msgpack.Decoder[_Add]", texts: Sequence[bytes]) -> int:
    """Nanoseconds."""
    begun = time.perf_counter_ns()
    for text in texts:
        decoder.decode(text)
    return time.perf_counter_ns() - begun


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round, for each stream: the C references and ours by turns, the fastest pass of each; then msgspec."""
    library = ctypes.CDLL(str(machine.build("itch", directory, shared=True)))
    references = {"C, the same checks": library.decode_checked, "C, unchecked": library.decode_unchecked}
    for function in references.values():
        function.restype = ctypes.c_uint64
        function.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    day = generator.session(1, MESSAGES, 50)
    add = [m for m in day if m[:1] == b"A"]
    streams = {"Add Order": (add * (MESSAGES // len(add) + 1))[:MESSAGES], "trading day": day}
    packed = {name: _packets(messages) for name, messages in streams.items()}
    packets = -(-MESSAGES // PACKET)
    encode = msgspec.msgpack.Encoder().encode
    texts = [encode(_add(m)) for m in add[:TEXTS]]
    decoder = msgspec.msgpack.Decoder(_Add)
    bad, nanoseconds = ctypes.c_uint64(), ctypes.c_int64()
    while True:
        samples = []
        for name, data in packed.items():
            best = dict.fromkeys((*references, "ours"), float("inf"))
            for _ in range(PASSES):
                total, wrong, took = _bench.itch_decode(data, packets)
                best["ours"] = min(best["ours"], took / MESSAGES)
                for reference, function in references.items():
                    expected = function(data, packets, ctypes.byref(bad), ctypes.byref(nanoseconds))
                    best[reference] = min(best[reference], nanoseconds.value / MESSAGES)
                    if (total, wrong, bad.value) != (expected, 0, 0):
                        raise BenchError(f"itch_decode: {name}: the sums of the fields differ: {total}, {expected}")
            samples += [
                Sample(metric=name, unit="ns", ours=best["ours"], reference=best[reference], reference_name=reference,
                       bar=1 / 0.95 if reference == "C, the same checks" else None)
                for reference in references
            ]  # fmt: skip
        other = min(_decode_all(decoder, texts) for _ in range(PASSES)) / len(texts)
        samples.append(
            Sample(metric="Add Order", unit="ns", ours=samples[0].ours, reference=other,
                   reference_name="msgspec, MessagePack", bar=1 / 30)
        )  # fmt: skip
        yield samples
