"""The encoder beside upb: the same bytes."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.codec import Decoder, Encoder, SchemaError, read_own_schema

from . import schemas

#: Fields of kinds.proto that a word can be, in an order that is not theirs, and what the word is.
FIELDS = {
    "far": "q", "a_double": "d", "a_float": "d", "an_int32": "q", "an_int64": "q", "a_uint32": "Q", "a_uint64": "Q",
    "a_sint32": "q", "a_sint64": "q", "a_fixed32": "Q", "a_fixed64": "Q", "a_sfixed32": "q", "a_sfixed64": "q",
    "a_bool": "Q", "a_colour": "q", "maybe": "Q",
}  # fmt: skip
RECORD = struct.Struct("<" + "".join(FIELDS.values()))
ENCODER = Encoder(schemas.kinds(), "test.Kinds", list(FIELDS))
KINDS = schemas.load_class(schemas.kinds(), "test.Kinds")


def _values(name: str) -> st.SearchStrategy[Any]:
    if name == "a_bool":
        return st.booleans()
    if name in ("a_double", "a_float"):
        return st.one_of(st.sampled_from([0.0, -0.0]), st.floats(width=64 if name == "a_double" else 32))
    bits = 32 if "32" in name or name in ("a_colour", "maybe") else 64
    low, high = (0, 2**bits - 1) if FIELDS[name] == "Q" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.one_of(st.sampled_from([0, low, high]), st.integers(low, high))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(*map(_values, FIELDS)), min_size=1, max_size=5))
def test_the_bytes_are_those_of_upb(rows: list[tuple[Any, ...]]) -> None:
    found = ENCODER.encode_many(b"".join(RECORD.pack(*row) for row in rows))
    assert found == [KINDS(**dict(zip(FIELDS, row, strict=True))).SerializeToString() for row in rows]


def test_many_records_in_one_message() -> None:
    fields = ["seq", "id", "stamp", "distance"]
    encoder = Encoder(read_own_schema(), "desk.v1.GeoDistances", fields)
    rows = [(n, n % 7, -n, n / 3) for n in range(1000)]
    block = b"".join(struct.pack("<QQqd", *row) for row in rows)
    kind = schemas.load_class(read_own_schema(), "desk.v1.GeoDistances")
    wanted = kind()
    for row in rows:
        wanted.distances.add(**dict(zip(fields, row, strict=True)))
    assert encoder.many and encoder.record_size == 32
    assert encoder.encode_many(block) == [wanted.SerializeToString()]
    assert encoder.encode_many(b"") == []


def test_what_is_decoded_again_is_the_record() -> None:
    fields = ["stamp", "distance", "id", "seq"]
    encoder = Encoder(read_own_schema(), "desk.v1.GeoDistance", fields)
    decoder = Decoder(read_own_schema(), "desk.v1.GeoDistance", fields)
    block = b"".join(struct.pack("<qdQQ", -n, n / 7, n, 2**63 + n) for n in range(500))
    assert not encoder.many
    assert decoder.decode_many(encoder.encode_many(block)) == (block, 500)


def test_a_block_that_is_not_of_whole_records_is_refused() -> None:
    with pytest.raises(ValueError, match="block of 129 bytes, allowed: a multiple of the 128"):
        ENCODER.encode_many(bytes(129))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ([], "found 0, allowed: 1 to 512"),
        (["a_bool", "a_bool"], "found one twice"),
        (["none"], "found 'none', allowed: a_double"),
        (["a_string"], "a_string: not a number"),
        (["inner"], "inner: not a number"),
        (["doubles"], "doubles: not a number"),
    ],
)
def test_fields_that_no_word_can_be_are_refused(fields: list[str], wanted: str) -> None:
    with pytest.raises(SchemaError, match=wanted):
        Encoder(schemas.kinds(), "test.Kinds", fields)
