"""Schemas for the tests of the decoder, compiled by protoc, and what a record has to be by upb."""

import functools
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from desk.codec import Decoder

HERE = Path(__file__).parent
#: Bytes and numbers that there is room for.
WIDTH = 12
FIELDS = [
    "a_double", "a_float", "an_int32", "an_int64", "a_uint32", "a_uint64", "a_sint32", "a_sint64", "a_fixed32",
    "a_fixed64", "a_sfixed32", "a_sfixed64", "a_bool", f"a_string[{WIDTH}]", f"some_bytes[{WIDTH}]", "a_colour",
    "inner.latitude", f"inner.name[{WIDTH}]", "inner.deeper.latitude", f"inner.deeper.steps[{WIDTH}]", "maybe",
    "number", f"text[{WIDTH}]", "place.latitude", f"doubles[{WIDTH}]", f"int32s[{WIDTH}]", f"bools[{WIDTH}]",
    f"loose[{WIDTH}]", "far",
]  # fmt: skip

#: Of desk.v1.Tick.
TICK = ["seq", "ts", "symbol[8]", "bid", "ask", "bid_size", "ask_size"]


@functools.cache
def compile_proto(*files: Path) -> bytes:
    """Returns the descriptor set of .proto files, all in one directory, as protoc writes it."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "out.binpb"
        command = [sys.executable, "-P", "-m", "grpc_tools.protoc", f"--proto_path={files[0].parent}"]
        command += ["--include_imports", f"--descriptor_set_out={target}", *(file.name for file in files)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return target.read_bytes()


@functools.cache
def load_class(descriptor_set: bytes, name: str) -> Any:
    """Returns upb's class of a message."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def kinds() -> bytes:
    return compile_proto(HERE / "kinds.proto")


@functools.cache
def kinds_decoder() -> Decoder:
    return Decoder(kinds(), "test.Kinds", FIELDS)


def read_record(decoder: Decoder, record: bytes) -> dict[str, Any]:
    """Returns the fields of a record, as it has them: bytes with the zeros behind them."""
    found: dict[str, Any] = {}
    for place in decoder.layout:
        count, kind = 1, place.type
        if kind.startswith("("):
            count, kind = int(kind[1:].partition(",")[0]), kind.rpartition(")")[2]
        if kind[0] in "SV":
            found[place.name] = record[place.offset : place.offset + (int(kind[1:]) + 7) // 8 * 8]
            continue
        values = struct.unpack_from(f"<{count}{ {'u8': 'Q', 'i8': 'q', 'f8': 'd'}[kind] }", record, place.offset)
        found[place.name] = values if place.type.startswith("(") else values[0]
    return found


def expect(decoder: Decoder, message: Any, fields: list[str]) -> dict[str, Any] | None:
    """Returns what the record of a message that upb has parsed has to hold; None where the decoder has to refuse it."""
    found: dict[str, Any] = {}
    for text in fields:
        name, _, rest = text.partition("[")
        width = int(rest.rstrip("]") or 0)
        value: Any = message
        for part in name.split("."):
            value = getattr(value, part)
        if isinstance(value, str | bytes):
            raw = value.encode() if isinstance(value, str) else value
            if len(raw) > width or (isinstance(value, str) and b"\0" in raw):
                return None
            found[name] = raw.ljust((width + 7) // 8 * 8, b"\0")
            if isinstance(value, bytes):
                found[f"{name}.size"] = len(raw)
        elif width:
            numbers = [int(each) if isinstance(each, bool) else each for each in value]
            if len(numbers) > width:
                return None
            found[f"{name}.count"] = len(numbers)
            found[name] = tuple(numbers + [0] * (width - len(numbers)))
        else:
            found[name] = int(value) if isinstance(value, bool) else value
    return found


def is_same(found: Any, wanted: Any) -> bool:
    """Returns whether two values of a record are the same; one NaN is as good as another."""
    if isinstance(wanted, float):
        return found == wanted or (found != found and wanted != wanted)
    if isinstance(wanted, tuple):
        return len(found) == len(wanted) and all(map(is_same, found, wanted))
    return bool(found == wanted)
