"""The decoder beside upb: what upb accepts and how it reads it, on messages by upb, by hand, and broken."""

import struct
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.shm.ring import Ring, RingError
from desk.codec import Decoder, SchemaError, read_own_schema

from . import schemas

DECODER = schemas.kinds_decoder()
KINDS = schemas.load_class(schemas.kinds(), "test.Kinds")
#: Refusals that are the decoder's own: upb accepts these messages.
OWN = {"too_long", "too_many", "has_nul"}


def varint(value: int, size: int = 0) -> bytes:
    """Returns a varint, of at least so many bytes."""
    found = bytearray()
    while value >= 0x80 or len(found) + 1 < size:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(found) + bytes([value])


def compare(data: bytes) -> str:
    """Compare the decoder with upb on one input. Returns the decoder's verdict, "" for a record."""
    block, count = DECODER.decode_many([data])
    reason = DECODER.refusals[0][1] if DECODER.refusals else ""
    assert (count, len(block)) == ((0, 0) if reason else (1, DECODER.record_size))
    try:
        message = KINDS.FromString(data)
    except DecodeError:
        # What is not in the record is skipped without a look inside: there upb may refuse more.
        assert reason or not _is_all_read(data), data.hex()
        return reason
    wanted = schemas.expect(DECODER, message, schemas.FIELDS)
    if reason:
        assert wanted is None or reason in OWN, (reason, data.hex())
        # A value that was refused may be followed by one that fits.
        assert reason in OWN, (reason, data.hex())
        return reason
    assert wanted is not None, data.hex()
    found = schemas.read_record(DECODER, block)
    for name, value in wanted.items():
        assert schemas.is_same(found[name], value), (name, found[name], value, data.hex())
    return ""


#: Numbers of fields of Kinds, or of Inner, of which the decoder does not look at what is inside.
_OPAQUE = {104, 536870911}


def _is_all_read(data: bytes) -> bool:
    """Returns whether nothing in a message is one that the decoder does not look into: strings, maps and messages that
    are not in the record. A message that cannot be gone through counts as read."""
    return not any(tag in data for tag in _OPAQUE_TAGS)


_OPAQUE_TAGS = [varint(104 << 3 | 2), varint(536870911 << 3 | 2), b"\x1a", b"\x22", b"\x12"]

_words = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 300), st.sampled_from([2**31, 2**32 - 1, 2**63]))
_numbers = st.sampled_from([*range(1, 20), 62, 63, 64, 65, 66, 67, 68, 100, 101, 102, 103, 2000, 20000, 30000])
_text = st.one_of(st.binary(max_size=20), st.text(max_size=9).map(str.encode), st.just(b"a\0b"))


def _by_wire(number: int, wire: int, value: int, text: bytes, size: int) -> bytes:
    head = varint(number << 3 | wire)
    if wire == 0:
        return head + varint(value, size)
    if wire in (1, 5):
        return head + struct.pack("<Q", value)[: 8 if wire == 1 else 4]
    if wire == 2:
        return head + varint(len(text)) + text
    return head + text + varint(number << 3 | 4)


_pieces = st.builds(_by_wire, _numbers, st.sampled_from([0, 0, 1, 2, 2, 5]), _words, _text, st.integers(0, 10))
_flat = st.lists(_pieces, max_size=6).map(b"".join)
_inner = st.builds(_by_wire, st.integers(1, 5), st.sampled_from([0, 1, 2, 5]), _words, _text, st.just(0))
_nested = st.recursive(
    st.lists(_inner, max_size=3).map(b"".join),
    lambda below: st.builds(lambda a, b: a + varint(3 << 3 | 2) + varint(len(b)) + b, below, below),
    max_leaves=5,
)
_places = st.builds(lambda n, b: varint(n << 3 | 2) + varint(len(b)) + b, st.sampled_from([17, 66]), _nested)
_groups = st.builds(_by_wire, _numbers, st.just(3), st.just(0), _flat, st.just(0))
_packed = st.builds(
    lambda n, values: varint(n << 3 | 2) + varint(sum(map(len, values))) + b"".join(values),
    st.sampled_from([101, 102, 103]), st.lists(_words.map(varint), max_size=14),
)  # fmt: skip
_messages = st.lists(st.one_of(_pieces, _pieces, _places, _groups, _packed), max_size=10).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(_messages)
@example(b"")
def test_what_upb_reads_is_in_the_record(data: bytes) -> None:
    compare(data)


@settings(max_examples=300, deadline=None)
@given(_messages, st.integers(0, 300), st.integers(0, 300), st.binary(max_size=12))
def test_a_message_that_was_cut_or_overwritten_is_judged_as_by_upb(data: bytes, at: int, end: int, new: bytes) -> None:
    compare(data[:at] + new + data[end:])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_judged_as_by_upb(data: bytes) -> None:
    compare(data)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_messages_that_upb_writes(data: st.DataObject) -> None:
    values = {"a_double": st.floats(), "an_int32": st.integers(-(2**31), 2**31 - 1), "maybe": st.integers(0, 9),
              "a_sint64": st.integers(-(2**63), 2**63 - 1), "a_bool": st.booleans(), "a_string": st.text(max_size=4),
              "far": st.integers(-5, 5), "int32s": st.lists(st.integers(-5, 5), max_size=9), "number": st.just(7),
              "text": st.text(max_size=3), "a_float": st.floats(width=32)}  # fmt: skip
    names = data.draw(st.lists(st.sampled_from(sorted(values)), max_size=8))
    whole = b""
    for name in names:
        whole += KINDS(**{name: data.draw(values[name])}).SerializeToString()
    assert compare(whole) in ("", *OWN)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08", "truncated"),  # a tag without a value
        (b"\x09\0\0\0\0\0\0\0", "truncated"),
        (b"\x15\0\0\0", "truncated"),
        (b"\x18" + b"\x80" * 10 + b"\0", "malformed"),
        (b"\x18" + b"\x80" * 9, "truncated"),
        (b"\x72\x03ab", "truncated"),
        (b"\x72\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "truncated"),
        (b"\x00\x00", "malformed"),  # field 0
        (b"\x0e", "malformed"),  # wire type 6
        (b"\x80\x80\x80\x80\x80\x00", "malformed"),  # a tag of six bytes
        (b"\x80\x80\x80\x80", "truncated"),
        (b"\x0c", "malformed"),  # the end of a group that has not begun
        (varint(68 << 3 | 3), "truncated"),
        (varint(68 << 3 | 3) + varint(69 << 3 | 4), "malformed"),
        (varint(68 << 3 | 3) * 101 + varint(68 << 3 | 4) * 101, "too_deep"),
        (varint(68 << 3 | 3) * 100 + varint(68 << 3 | 4) * 100, ""),
        (b"\x72\x02\xc3\x28", "not_utf8"),
        (b"\x72\x03\xed\xa0\x80", "not_utf8"),  # a surrogate
        (b"\x72\x02\xc1\xbf", "not_utf8"),  # too long for its character
        (b"\x72\x04\xf4\x90\x80\x80", "not_utf8"),
        (b"\x72\x03\xc3\xa9\xa9", "not_utf8"),
        (b"\x72\x0c" + "é".encode() * 6, ""),
        (b"\x72\x03a\0b", "has_nul"),
        (b"\x72\x0c" + b"a" * 11 + b"\0", "has_nul"),
        (b"\x72\x0d" + b"a" * 13, "too_long"),
        (b"\x7a\x0d" + b"\xff" * 13, "too_long"),
        (varint(101 << 3) + b"\0", ""),
        ((varint(101 << 3) + b"\0") * 13, "too_many"),
        (varint(101 << 3 | 2) + b"\x0d" + bytes(13), "too_many"),
        (varint(100 << 3 | 2) + b"\x07" + bytes(7), "truncated"),  # half a double in a block
        (b"\x8a\x01\x02\x09\x00" + bytes(7), "truncated"),  # a field goes beyond its message
        (b"\x8a\x01\x01\x0c", "malformed"),
    ],
)
def test_what_is_refused_and_why(data: bytes, reason: str) -> None:
    before = DECODER.counts
    assert compare(data) == reason
    after = DECODER.counts
    # compare() decodes once.
    changed = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert {name for name in changed if name not in ("unknown", "mistyped")} == {
        f"refused[{reason}]" if reason else "records"
    }
    assert sum(changed[name] for name in changed if name not in ("unknown", "mistyped")) == 1


def test_the_last_member_of_a_oneof_is_the_one() -> None:
    number, text, unread = b"\x80\x04\x07", b"\x8a\x04\x01x", b"\x98\x04\x01"
    place = b"\x92\x04\x09\x09" + struct.pack("<d", 1.5)
    for data in (number + text, text + number, number + place, place + text, place + unread, place + place):
        assert compare(data) == ""


def test_fields_of_no_descriptor_and_of_another_type_are_counted() -> None:
    decoder = Decoder(read_own_schema(), "desk.v1.Tick", ["seq"])
    tick = b"\x08\x05" + b"\x12\x01x" + varint(99 << 3) + b"\1" + b"\x19\0\0\0\0\0\0\0\0"
    assert decoder.decode_many([tick]) == (struct.pack("<Q", 5), 1)
    assert (decoder.counts["unknown"], decoder.counts["mistyped"]) == (1, 2)


FIELDS = schemas.TICK
TICK = struct.Struct("<QQ8sddQQ")


def make_ticks(count: int) -> tuple[list[bytes], bytes]:
    """Returns messages, and the records of them."""
    kind = schemas.load_class(read_own_schema(), "desk.v1.Tick")
    rows = [(n, 10**18 + n, f"SYM{n % 50}", n / 8, n / 8 + 0.5, n % 3, n) for n in range(count)]
    names = [field.partition("[")[0] for field in FIELDS]
    values = [kind(**dict(zip(names, row, strict=True))).SerializeToString() for row in rows]
    return values, b"".join(TICK.pack(*row[:2], row[2].encode(), *row[3:]) for row in rows)


def test_the_layout_is_what_was_asked_for() -> None:
    decoder = Decoder(read_own_schema(), "desk.v1.Tick", FIELDS)
    assert [tuple(place) for place in decoder.layout] == [
        ("seq", 0, "u8"), ("ts", 8, "u8"), ("symbol", 16, "S8"), ("bid", 24, "f8"), ("ask", 32, "f8"),
        ("bid_size", 40, "u8"), ("ask_size", 48, "u8"),
    ]  # fmt: skip
    assert (decoder.record_size, decoder.message, decoder.numbered) == (56, "desk.v1.Tick", False)
    values, block = make_ticks(1000)
    assert decoder.decode_many(values) == (block, 1000)


def test_records_of_many_messages_skip_those_that_are_refused() -> None:
    decoder = Decoder(read_own_schema(), "desk.v1.Tick", FIELDS)
    values, block = make_ticks(1000)
    mixed = list(values)
    for at in (999, 600, 257, 0):
        mixed.insert(at, b"\xff")
    mixed.insert(300, None)
    assert decoder.decode_many(mixed) == (block, 1000)
    assert decoder.refusals == [(0, "truncated"), (258, "truncated"), (300, "no_value"), (603, "truncated"),
                                (1003, "truncated")]  # fmt: skip
    assert decoder.decode_many([]) == (b"", 0) and decoder.refusals == []


def test_numbers_come_before_the_message() -> None:
    decoder = Decoder(read_own_schema(), "desk.v1.Tick", ["seq"], numbered=True)
    assert [place.name for place in decoder.layout] == ["@number", "seq"]
    assert decoder.decode_many([b"\x08\x05", b"\x08"], [2**64 - 1, 7]) == (struct.pack("<QQ", 2**64 - 1, 5), 1)
    for numbers in (None, [1], [1, 2, 3]):
        with pytest.raises(ValueError, match="numbers: found"):
            decoder.decode_many([b"", b""], numbers)
    with pytest.raises(OverflowError):
        decoder.decode_many([b""], [-1])
    with pytest.raises(ValueError, match="allowed: none"):
        Decoder(read_own_schema(), "desk.v1.Tick", ["seq"]).decode_many([b""], [1])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


def test_push_many_fills_the_ring_and_goes_on_where_it_stopped(directory: Path) -> None:
    decoder = Decoder(read_own_schema(), "desk.v1.Tick", FIELDS)
    values, block = make_ticks(1000)
    for at in (700, 31, 0):
        values.insert(at, b"\x08")
    with Ring.create(directory / "r", 1 << 14, TICK.size) as ring, Ring.attach(directory / "r", "reader") as reader:
        done, found = 0, b""
        while done < len(values):
            done += decoder.push_many(ring, values[done:])
            while records := reader.peek_many(100):
                found += b"".join(records)
                reader.commit(len(records))
    assert found == block and decoder.counts["records"] == 1000 and decoder.counts["refused[truncated]"] == 3


def test_push_many_into_a_ring_of_records_of_any_size(directory: Path) -> None:
    decoder = Decoder(read_own_schema(), "desk.v1.Tick", FIELDS)
    values, block = make_ticks(20)
    with Ring.create(directory / "r", 1 << 14) as ring, Ring.attach(directory / "r", "reader") as reader:
        assert decoder.push_many(ring, [b"\x08", *values, b"\x08"]) == 22
        assert b"".join(reader.peek_many(100)) == block


def test_a_value_that_is_not_bytes_publishes_nothing_behind_it(directory: Path) -> None:
    decoder = Decoder(read_own_schema(), "desk.v1.Tick", FIELDS)
    values, block = make_ticks(300)
    with Ring.create(directory / "r", 1 << 15, TICK.size) as ring, Ring.attach(directory / "r", "reader") as reader:
        for wrong in ("text", bytearray(b"x"), 5):
            with pytest.raises(TypeError):
                decoder.push_many(ring, [wrong])  # type: ignore[list-item]
        assert ring.used == 0
        assert decoder.push_many(ring, values) == 300
        assert b"".join(reader.peek_many(1000)) == block


def test_a_ring_that_is_not_the_decoders_is_refused(directory: Path) -> None:
    decoder = Decoder(read_own_schema(), "desk.v1.Tick", FIELDS)
    with Ring.create(directory / "r", 1 << 14, 48) as ring, Ring.attach(directory / "r", "reader") as reader:
        with pytest.raises(ValueError, match=r"records of 48 bytes .*, those of desk\.v1\.Tick have 56"):
            decoder.push_many(ring, [b""])
        with pytest.raises(RingError, match="this end is its reader"):
            decoder.push_many(reader, [b""])
    with pytest.raises(RingError, match="this end is closed"):
        decoder.push_many(ring, [b""])
    with Ring.create(directory / "small", 64) as ring, pytest.raises(ValueError, match="up to half of the ring"):
        decoder.push_many(ring, [b""])


WRONG = [
    ("desk.v1.Tock", ["seq"], "message: found 'desk.v1.Tock', allowed: .*desk.v1.Tick"),
    ("desk.v1.Tick", [], "fields: found none, allowed: at least one of seq, ts"),
    ("desk.v1.Tick", ["sequence"], "fields: found sequence, allowed: seq, ts, symbol"),
    ("desk.v1.Tick", ["seq", "seq"], "found seq twice"),
    ("desk.v1.Tick", ["seq[8]"], "seq: allowed: seq, for it is one number"),
    ("desk.v1.Tick", ["symbol"], r"symbol: allowed: symbol\[N\], with room for N"),
    ("desk.v1.Tick", ["symbol[0]"], r"found 'symbol\[0\]', allowed: NAME"),
    ("desk.v1.Tick", ["symbol[4097]"], "records of more than 4096 bytes"),
    ("desk.v1.Tick", ["seq.x"], "seq: not a message"),
    ("desk.v1.Tick", ["seq; drop"], "allowed: NAME"),
]


@pytest.mark.parametrize(("message", "fields", "wanted"), WRONG)
def test_a_schema_that_makes_no_record_is_refused(message: str, fields: list[str], wanted: str) -> None:
    with pytest.raises(SchemaError, match=wanted):
        Decoder(read_own_schema(), message, fields)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (["inner"], "inner: a message; allowed: its fields"),
        (["strings[4]"], "repeated strings or bytes"),
        (["table.key"], "table: not a message, or a repeated one"),
        (["inner." + "deeper." * 15 + "latitude"], "17 names, allowed: 16"),
        (["doubles"], r"doubles: allowed: doubles\[N\]"),
    ],
)
def test_a_field_that_makes_no_record_is_refused(fields: list[str], wanted: str) -> None:
    with pytest.raises(SchemaError, match=wanted):
        Decoder(schemas.kinds(), "test.Kinds", fields)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [(b"", "without files"), (b"\xff", "not a FileDescriptorSet"), (b"text that is none", "not a FileDescriptorSet")],
)
def test_what_is_no_descriptor_set_is_refused(data: bytes, wanted: str) -> None:
    with pytest.raises(SchemaError, match=wanted):
        Decoder(data, "a.B", ["c"])
