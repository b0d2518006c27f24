"""Any schema: messages of fields of any kind and number, of which any are asked for in any order, beside upb."""

from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.codec import Decoder, SchemaError

from . import schemas

Type = descriptor_pb2.FieldDescriptorProto
SCALARS = [
    Type.TYPE_DOUBLE, Type.TYPE_FLOAT, Type.TYPE_INT64, Type.TYPE_UINT64, Type.TYPE_INT32, Type.TYPE_FIXED64,
    Type.TYPE_FIXED32, Type.TYPE_BOOL, Type.TYPE_UINT32, Type.TYPE_SFIXED32, Type.TYPE_SFIXED64, Type.TYPE_SINT32,
    Type.TYPE_SINT64,
]  # fmt: skip
_numbers = st.one_of(
    st.integers(1, 15), st.integers(16, 70), st.integers(2040, 2055), st.integers(20_000, 2**29 - 1),
    st.sampled_from([63, 64, 127, 128, 16383, 16384, 18999, 2**29 - 1]),
).filter(lambda number: not 19_000 <= number <= 19_999)  # fmt: skip


@st.composite
def sets(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """A descriptor set with the message x.M, and which of its fields are asked for."""
    file = descriptor_pb2.FileDescriptorProto(name="x.proto", package="x", syntax="proto3")
    message = file.message_type.add(name="M")
    wanted = []
    for at, number in enumerate(draw(st.lists(_numbers, min_size=1, max_size=20, unique=True))):
        kind = draw(st.sampled_from([*SCALARS, Type.TYPE_STRING, Type.TYPE_BYTES]))
        text = kind in (Type.TYPE_STRING, Type.TYPE_BYTES)
        repeated = not text and draw(st.integers(0, 4)) == 0
        label = Type.LABEL_REPEATED if repeated else Type.LABEL_OPTIONAL
        message.field.add(name=f"f{at}", number=number, type=kind, label=label)
        wanted.append(f"f{at}[{draw(st.integers(1, 20))}]" if text or repeated else f"f{at}")
    if len(wanted) > 2 and draw(st.booleans()):
        message.oneof_decl.add(name="one")
        for field in message.field:
            if field.label == Type.LABEL_OPTIONAL and draw(st.booleans()):
                field.oneof_index = 0
        if not any(field.HasField("oneof_index") for field in message.field):
            del message.oneof_decl[:]
    chosen = draw(st.permutations(wanted))[: draw(st.integers(1, len(wanted)))]
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString(), chosen


def fill(data: st.DataObject, kind: Any) -> bytes:
    """Returns a message of this class with some fields."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if data.draw(st.integers(0, 2)) == 0:
            continue
        values: Any = {
            Type.TYPE_DOUBLE: st.floats(), Type.TYPE_FLOAT: st.floats(width=32), Type.TYPE_BOOL: st.booleans(),
            Type.TYPE_STRING: st.text(max_size=10), Type.TYPE_BYTES: st.binary(max_size=22),
        }.get(field.type)  # fmt: skip
        if values is None:
            bits = 64 if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) else 32
            signed = field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_INT32)
            values = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)
        if field.is_repeated:
            getattr(message, field.name).extend(data.draw(st.lists(values, max_size=6)))
        else:
            setattr(message, field.name, data.draw(values))
    return bytes(message.SerializeToString())


@settings(max_examples=150, deadline=None)
@given(sets(), st.data())
def test_the_record_is_what_upb_reads(made: tuple[bytes, list[str]], data: st.DataObject) -> None:
    descriptor_set, fields = made
    kind, decoder = schemas.load_class(descriptor_set, "x.M"), Decoder(descriptor_set, "x.M", fields)
    whole = fill(data, kind) + (fill(data, kind) if data.draw(st.booleans()) else b"")
    if data.draw(st.integers(0, 3)) == 0:
        at, end = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole)))
        whole = whole[:at] + data.draw(st.binary(max_size=6)) + whole[end:]
    block, count = decoder.decode_many([whole])
    reason = decoder.refusals[0][1] if decoder.refusals else ""
    try:
        message = kind.FromString(whole)
    except DecodeError:
        # Text that is not asked for is not looked at.
        assert reason or any(f.type == Type.TYPE_STRING for f in kind.DESCRIPTOR.fields)
        return
    wanted = schemas.expect(decoder, message, fields)
    if reason:
        assert reason in ("too_long", "too_many", "has_nul", "not_utf8"), (reason, whole.hex())
        return
    assert count == 1 and wanted is not None
    found = schemas.read_record(decoder, block)
    for name, value in wanted.items():
        assert schemas.is_same(found[name], value), (name, found[name], value, whole.hex())


PROTO2 = """syntax = "proto2";
package old;
enum Kind { A = 1; B = 2; }
message M {
  optional int32 number = 1 [default = -7];
  optional string text = 2 [default = "none"];
  optional bytes raw = 3 [default = "\\\\001\\\\377"];
  optional double price = 4 [default = 1.5];
  optional Kind kind = 5;
  optional group Inside = 6 { optional int32 number = 1; }
  required uint32 wanted = 7;
  extensions 100 to 200;
}
"""


def test_the_defaults_of_proto2_are_in_the_record(tmp_path: Any) -> None:
    (tmp_path / "old.proto").write_text(PROTO2.replace("\\\\", "\\"))
    descriptor_set = schemas.compile_proto(tmp_path / "old.proto")
    kind = schemas.load_class(descriptor_set, "old.M")
    fields = ["number", "text[5]", "raw[3]", "price", "wanted"]
    decoder = Decoder(descriptor_set, "old.M", fields)
    for data in (b"", b"\x08\x05", b"\x12\x01x\x1a\x00", b"\x33\x08\x05\x34", b"\xa8\x06\x01"):
        block, count = decoder.decode_many([data])
        wanted = schemas.expect(decoder, kind.FromString(data), fields)
        assert count == 1 and schemas.read_record(decoder, block) == wanted
    assert decoder.counts["unknown"] == 1
    for field, why in (("kind", "a closed enum"), ("inside", "a group"), ("text[3]", r"text\[3\]: its default has 4")):
        with pytest.raises(SchemaError, match=why):
            Decoder(descriptor_set, "old.M", [field])


def test_a_descriptor_set_without_its_imports_is_refused() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="x.proto", package="x", dependency=["none.proto"])
    file.message_type.add(name="M")
    with pytest.raises(SchemaError, match=r"not whole: .*include_imports"):
        Decoder(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString(), "x.M", ["f"])
