"""Protobuf messages to records, beside C by hand and beside upb.

Messages desk.v1.Tick of 45 bytes, a thousand at a time, as a consumer has them. C is a switch over the tags, compiled
from reference/tick.c, which is given the messages' addresses; upb's classes parse, and all fields are read. All have to
give the same records. From there into a ring: by the decoder, and from upb by struct.pack and Ring.push; and records
that are there already, one at a time and many at once.
"""

import ctypes
import random
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.shm.ring import Ring
from benchmarks.agent import machine
from benchmarks.agent.sample import BenchError, Sample
from desk.codec import Decoder, read_own_schema

COUNT, PASSES = 1000, 60
FIELDS = ["seq", "ts", "symbol[8]", "bid", "ask", "bid_size", "ask_size"]
RECORD = struct.Struct("<QQ8sddQQ")


def load_class() -> Any:
    """Returns upb's class of the message."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(read_own_schema()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("desk.v1.Tick"))


def make_messages(kind: Any) -> list[bytes]:
    """Returns messages as a feed has them: rising numbers and times, prices, sizes of one and two bytes."""
    chance = random.Random(1)
    return [
        kind(
            seq=1_000_000 + n, ts=1_800_000_000 * 10**9 + n, symbol=chance.choice(["BTCUSDT", "ETHUSD", "EURUSD"]),
            bid=chance.uniform(1, 1e5), ask=chance.uniform(1, 1e5), bid_size=chance.randrange(1, 5000),
            ask_size=chance.randrange(1, 5000),
        ).SerializeToString()
        for n in range(COUNT)
    ]  # fmt: skip


def best(*functions: Callable[[], Any]) -> list[float]:
    """Returns the fastest pass of each, by turns, ns a message."""
    found = [float("inf")] * len(functions)
    for _ in range(PASSES):
        for at, function in enumerate(functions):
            begun = time.perf_counter_ns()
            function()
            found[at] = min(found[at], (time.perf_counter_ns() - begun) / COUNT)
    return found


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: the fastest pass of each, by turns."""
    library = ctypes.CDLL(str(machine.build("tick", directory, shared=True)))
    library.decode_many.restype = ctypes.c_int64
    library.decode_many.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    kind = load_class()
    messages = make_messages(kind)
    decoder = Decoder(read_own_schema(), "desk.v1.Tick", FIELDS)
    addresses, sizes = (ctypes.c_char_p * COUNT)(*messages), (ctypes.c_uint64 * COUNT)(*map(len, messages))
    room = ctypes.create_string_buffer(COUNT * RECORD.size)

    def by_c() -> None:
        library.decode_many(addresses, sizes, COUNT, room)

    def by_upb() -> None:
        parse = kind.FromString
        for message in messages:
            m = parse(message)
            _ = m.seq, m.ts, m.symbol, m.bid, m.ask, m.bid_size, m.ask_size

    by_c()
    block, count = decoder.decode_many(messages)
    packed = b"".join(
        RECORD.pack(m.seq, m.ts, m.symbol.encode(), m.bid, m.ask, m.bid_size, m.ask_size)
        for m in map(kind.FromString, messages)
    )
    if not (count == COUNT and block == room.raw[: len(block)] == packed):
        raise BenchError("decode: the records of C, upb and the decoder differ")
    place = directory / "rings"
    place.mkdir(mode=0o700, exist_ok=True)
    (place / "decode").unlink(missing_ok=True)
    records: list[bytes] = [block[at : at + RECORD.size] for at in range(0, len(block), RECORD.size)]
    with (
        Ring.create(place / "decode", 2 * len(block), RECORD.size) as ring,
        Ring.attach(place / "decode", "reader") as reader,
    ):

        def empty() -> None:
            while found := reader.peek_block():
                reader.commit(len(found) // RECORD.size)

        def push_upb() -> None:
            parse, pack, push = kind.FromString, RECORD.pack, ring.push
            for message in messages:
                m = parse(message)
                push(pack(m.seq, m.ts, m.symbol.encode(), m.bid, m.ask, m.bid_size, m.ask_size))

        def push_each() -> None:
            push = ring.push
            for record in records:
                push(record)

        def push_many() -> None:
            ring.push_many(records)

        def push_decoded() -> None:
            decoder.push_many(ring, messages)

        def drained(function: Callable[[], None]) -> Callable[[], float]:
            def measured() -> float:
                begun = time.perf_counter_ns()
                function()
                took = (time.perf_counter_ns() - begun) / COUNT
                if ring.used < len(block):
                    raise BenchError("decode: the ring has not all records")
                empty()
                return took

            return measured

        pushes = [drained(each) for each in (push_upb, push_each, push_many, push_decoded)]
        while True:
            ours, c, upb = best(lambda: decoder.decode_many(messages), by_c, by_upb)
            fastest = [min(column) for column in zip(*([one() for one in pushes] for _ in range(PASSES)), strict=True)]
            from_upb, each, many, decoded = fastest
            yield [
                _compare("decode", ours, c, "C by hand", 1.4),
                _compare("decode", ours, upb, "upb, all fields", 0.05),
                _compare("Ring.push_many", many, each, "Ring.push", 0.10),
                _compare("decode into a ring", decoded, from_upb, "upb, struct.pack, Ring.push", None),
            ]


def _compare(metric: str, ours: float, reference: float, name: str, bar: float | None) -> Sample:
    return Sample(metric=metric, unit="ns", ours=ours, reference=reference, reference_name=name, bar=bar)
