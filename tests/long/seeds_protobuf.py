"""Valid inputs that the fuzzer of the Protobuf decoder starts from, and what it must have reached."""

from typing import Any

from desk.codec import read_own_schema

from ..unit.desk.codec import schemas


def _fill(message: Any, step: int) -> bytes:
    """Returns a message of kinds.proto with values in all fields."""
    message.a_double, message.a_float, message.an_int32, message.an_int64 = step / 3, step / 7, -step, -(step**9)
    message.a_uint32, message.a_uint64, message.a_sint32, message.a_sint64 = step, step**9, -step, -(step**11)
    message.a_fixed32, message.a_fixed64, message.a_sfixed32, message.a_sfixed64 = step, step**9, -step, -step
    message.a_bool, message.a_string, message.some_bytes = step % 2 == 0, "text" * (step % 4), b"\xff" * step
    message.a_colour, message.maybe, message.far = step % 3 - 1, step, -step
    message.inner.latitude, message.inner.name = step, "in" * (step % 5)
    message.inner.deeper.steps.extend(range(-step, step))
    message.doubles.extend([1.5] * step)
    message.int32s.extend(range(-step, 0))
    message.bools.extend([True, False])
    message.loose.extend(range(step))
    message.strings.append("not read")
    message.table["key"] = step
    if step % 3 == 0:
        message.number = step
    elif step % 3 == 1:
        message.text = "other"
    else:
        message.place.latitude = step
    return bytes(message.SerializeToString())


def seeds() -> dict[str, list[bytes]]:
    """By decoder."""
    kinds = schemas.load_class(schemas.kinds(), "test.Kinds")
    tick = schemas.load_class(read_own_schema(), "desk.v1.Tick")
    whole = [_fill(kinds(), step) for step in range(1, 8)]
    fields = {"a_string": "text", "number": 7, "text": "abc", "an_int64": -1, "maybe": 5, "far": -1, "bools": [True]}
    single = [kinds(**{name: value}).SerializeToString() for name, value in fields.items()]
    group = b"\x9b\x06\x08\x05\x9b\x06\x9c\x06\x9c\x06"  # 99, of no descriptor, with another one in it
    deep = b"\x9b\x06" * 101 + b"\x9c\x06" * 101
    ticks = [
        tick(seq=n**7, ts=10**18 + n, symbol="SYMBOLS8"[:n], bid=n / 3, ask=n / 2, bid_size=n, ask_size=n * 1000)
        for n in range(9)
    ]
    return {
        "kinds": [*whole, *single, group, deep, whole[0] + whole[1], whole[2] + group + whole[3], b"\x72\x03a\0b"],
        "tick": [each.SerializeToString() for each in ticks] + [group, deep, b"\x1a\x02a\0"],
    }


#: Verdicts that a run of some 10,000 inputs has met (desk/codec/wire.pxd); without them it has tested nothing.
REACHED = {"kinds": {0, 1, 2, 3, 4, 5, 6, 7}, "tick": {0, 1, 2, 3, 4, 5, 6}}
