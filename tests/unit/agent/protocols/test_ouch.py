"""OUCH 5.0 against layouts of its own: every field of every type, every length, options, and bytes that are none."""

import re
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiled import _sessions

# Fields behind the type, as the specification lists them: name and struct format; "1s" is a character.
_ORDER = (
    "side 1s, quantity I, symbol 8s, price Q, time_in_force 1s, display 1s, reference Q, capacity 1s, sweep 1s, "
    "cross_type 1s, state 1s, clordid 14s"
)
OUTBOUND = {
    "S": "timestamp Q, event 1s",
    "A": f"timestamp Q, id I, {_ORDER}",
    "U": f"timestamp Q, original I, id I, {_ORDER}",
    "C": "timestamp Q, id I, quantity I, reason 1s",
    "D": "timestamp Q, id I, quantity I, reason 1s, prevented I, price Q, liquidity 1s, strategy 1s",
    "E": "timestamp Q, id I, quantity I, price Q, liquidity 1s, match Q",
    "B": "timestamp Q, id I, match Q, reason 1s, clordid 14s",
    "J": "timestamp Q, id I, reason H, clordid 14s",
    "P": "timestamp Q, id I",
    "I": "timestamp Q, id I",
    "T": "timestamp Q, id I, price Q, display 1s, reference Q",
    "M": "timestamp Q, id I, side 1s, quantity I",
    "R": "timestamp Q, id I, reason 1s",
    "X": "timestamp Q, id I, firm 4s, symbol 8s",
    "G": "timestamp Q, id I, firm 4s",
    "K": "timestamp Q, id I, firm 4s",
    "Q": "timestamp Q, id I",
}
FIELDS = {kind: [tuple(field.split()) for field in text.split(", ")] for kind, text in OUTBOUND.items()}
FIXED = {kind: 1 + struct.calcsize(">" + "".join(f for _, f in fields)) for kind, fields in FIELDS.items()}
#: Those that always have an Appendage Length; S never has one.
APPENDED = "AURXGK"
OPTION_SIZES = {
    1: 8, 2: 4, 3: 4, 4: 1, 5: 4, 6: 1, 7: 4, 9: 8, 10: 1, 11: 4, 12: 1, 13: 4, 14: 4, 15: 4, 16: 1, 17: 1, 18: 1,
    22: 4, 23: 8, 24: 2, 25: 1, 26: 4, 27: 1, 28: 1, 29: 1, 30: 2,
}  # fmt: skip

_KINDS = {"Q": st.integers(0, 2**64 - 1), "I": st.integers(0, 2**32 - 1), "H": st.integers(0, 2**16 - 1)}


def values_of(kind: str) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(
        *(_KINDS[f] if f in _KINDS else st.binary(min_size=int(f[:-1]), max_size=int(f[:-1])) for _, f in FIELDS[kind])
    )


def fixed(kind: str, values: tuple[Any, ...]) -> bytes:
    return kind.encode() + struct.pack(">" + "".join(f for _, f in FIELDS[kind]), *values)


def appendage(options: list[tuple[int, bytes]]) -> bytes:
    text = b"".join(bytes([len(value) + 1, tag]) + value for tag, value in options)
    return len(text).to_bytes(2, "big") + text


known = st.sampled_from(sorted(OPTION_SIZES)).flatmap(
    lambda tag: st.tuples(st.just(tag), st.binary(min_size=OPTION_SIZES[tag], max_size=OPTION_SIZES[tag]))
)
unknown = st.tuples(st.sampled_from([0, 8, 19, 20, 21, *range(31, 256)]), st.binary(max_size=254))
options_of = st.lists(st.one_of(known, unknown), max_size=6)


def number(options: list[tuple[int, bytes]], tag: int) -> int:
    return int.from_bytes(dict(options).get(tag, b""), "big")


def reason(data: bytes) -> str:
    with pytest.raises(_sessions.ProtocolError) as error:
        _sessions.ouch_parse(data)
    return str(error.value)


def test_the_layouts_have_the_specified_sizes() -> None:
    assert FIXED == {
        "S": 10, "A": 62, "U": 66, "C": 18, "D": 32, "E": 34, "B": 36, "J": 29, "P": 13, "I": 13, "T": 30, "M": 18,
        "R": 14, "X": 25, "G": 17, "K": 17, "Q": 13,
    }  # fmt: skip


# ---------------------------------------------------------------------------------- outbound


@pytest.mark.parametrize("kind", OUTBOUND)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_field_of_every_type(kind: str, data: st.DataObject) -> None:
    values = data.draw(values_of(kind))
    wanted: dict[str, Any] = {"type": kind.encode()} | {n: v for (n, _), v in zip(FIELDS[kind], values, strict=True)}
    text = fixed(kind, values)
    if kind == "S":
        assert _sessions.ouch_parse(text) == wanted
        return
    bare = kind not in APPENDED and data.draw(st.booleans())
    options = [] if bare else data.draw(options_of)
    found = _sessions.ouch_parse(text if bare else text + appendage(options))
    assert found.pop("taken") == tuple(number(options, tag) for tag in (28, 1, 22, 23))
    assert found.pop("options") == dict(options)
    assert found == wanted


@pytest.mark.parametrize("kind", OUTBOUND)
def test_every_other_length(kind: str) -> None:
    values = tuple(b"X" * int(f[:-1]) if f not in _KINDS else 7 for _, f in FIELDS[kind])
    text = fixed(kind, values)
    whole = text + (b"" if kind == "S" else appendage([(28, b"\1"), (1, bytes(8))]))
    for size in range(len(whole)):
        if size == len(text) and kind not in APPENDED:
            assert _sessions.ouch_parse(whole[:size])["options"] == {}
        else:
            wanted = "truncated" if size < len(text) + 2 else "bad_appendage"
            assert reason(whole[:size]) == wanted, size
    assert _sessions.ouch_parse(whole)
    for more in range(1, 20):
        assert reason(whole + bytes(more)) == "oversized"


def test_types_that_do_not_exist() -> None:
    for kind in range(256):
        if chr(kind) not in OUTBOUND:
            for size in (0, 9, 12, 61, 65, 100):
                assert reason(bytes([kind]) + bytes(size)) == "unknown"
    assert reason(b"") == "truncated"


@pytest.mark.parametrize("tag", OPTION_SIZES)
def test_an_option_of_another_size(tag: int) -> None:
    text = fixed("P", (1, 2))
    for size in range(12):
        data = text + appendage([(99, b"before"), (tag, bytes(size))])
        if size == OPTION_SIZES[tag]:
            assert _sessions.ouch_parse(data)["options"] == {99: b"before", tag: bytes(size)}
        else:
            assert reason(data) == "bad_appendage"


@pytest.mark.parametrize(
    "options",
    [
        b"\0", b"\1", b"\2\x63", b"\xff" + bytes(254), b"\2\x63A\0", b"\2\x63A\3\x63A", b"\2\x1c\1\1",
    ],
)  # fmt: skip
def test_options_that_overrun_or_have_no_tag(options: bytes) -> None:
    assert reason(fixed("P", (1, 2)) + len(options).to_bytes(2, "big") + options) == "bad_appendage"


def model(data: bytes) -> str | None:
    """Why data is not a message, None when it is one: the rules once more, slowly."""
    if not data:
        return "truncated"
    kind = chr(data[0])
    if kind not in FIXED:
        return "unknown"
    rest = data[FIXED[kind] :]
    if len(data) < FIXED[kind] or (not rest and kind in APPENDED):
        return "truncated"
    if not rest:
        return None
    if kind == "S":
        return "oversized"
    if len(rest) < 2:
        return "truncated"
    length, options = int.from_bytes(rest[:2], "big"), rest[2:]
    if length != len(options):
        return "bad_appendage" if length > len(options) else "oversized"
    while options:
        size = options[0]
        if size == 0 or len(options) < 1 + size or OPTION_SIZES.get(options[1], size - 1) != size - 1:
            return "bad_appendage"
        options = options[1 + size :]
    return None


@settings(max_examples=500, deadline=None)
@given(
    kind=st.sampled_from([*OUTBOUND, "z"]),
    start=st.binary(max_size=70),
    options=options_of,
    tail=st.binary(max_size=3),
    cut=st.integers(0, 90),
    flips=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), max_size=3),
)
def test_hostile_bytes(
    kind: str, start: bytes, options: list[Any], tail: bytes, cut: int, flips: list[tuple[int, int]]
) -> None:
    text = (kind.encode() + start.ljust(70, b"\0"))[: FIXED.get(kind, 20)] + appendage(options) + tail
    found = bytearray(text[: len(text) - cut] if cut < len(text) and cut % 3 == 0 else text)
    for place, flip in flips:
        if found:
            found[place % len(found)] ^= flip
    wanted = model(bytes(found))
    if wanted is None:
        assert _sessions.ouch_parse(bytes(found))["type"] == bytes(found[:1])
    else:
        assert reason(bytes(found)) == wanted


# ---------------------------------------------------------------------------------- inbound

_u32, _u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
_char = st.binary(min_size=1, max_size=1)
_symbol = st.binary(min_size=0, max_size=8)


def packet(text: bytes) -> bytes:
    return (len(text) + 1).to_bytes(2, "big") + b"U" + text


@settings(max_examples=100, deadline=None)
@given(_symbol, _u32, _char, _u32, _u64, _u64, st.lists(_char, min_size=5, max_size=5))
def test_enter(
    symbol: bytes, id: int, side: bytes, quantity: int, price: int, sequence: int, codes: list[bytes]
) -> None:
    def wanted(codes: list[bytes]) -> bytes:
        clordid = b"%014d" % (sequence % 10**14)
        head = b"O" + struct.pack(">IcI8sQ", id, side, quantity, symbol.ljust(8), price)
        return packet(head + b"".join(codes) + clordid + b"\0\0")

    keys = ("time_in_force", "display", "capacity", "sweep", "cross_type")
    given_codes = dict(zip(keys, codes, strict=True))
    assert _sessions.ouch_enter(symbol, id, side, quantity, price, sequence, **given_codes) == wanted(codes)
    plain = _sessions.ouch_order(symbol, id, side, quantity, price, sequence)
    assert plain == wanted([b"0", b"Y", b"P", b"N", b"N"]) and len(plain) == 50


@settings(max_examples=60, deadline=None)
@given(_u32, _u32, _u32, _u64, _u64, _char, _char, _char)
def test_replace(
    original: int, id: int, quantity: int, price: int, sequence: int, force: bytes, display: bytes, sweep: bytes
) -> None:
    found = _sessions.ouch_replace(
        original, id, quantity, price, sequence, time_in_force=force, display=display, sweep=sweep
    )
    clordid = b"%014d" % (sequence % 10**14)
    codes = force + display + sweep
    assert found == packet(b"U" + struct.pack(">IIIQ", original, id, quantity, price) + codes + clordid + b"\0\0")


@settings(max_examples=60, deadline=None)
@given(_u32, _u32, _char, st.binary(max_size=4), _symbol)
def test_the_other_requests(id: int, quantity: int, side: bytes, firm: bytes, symbol: bytes) -> None:
    assert _sessions.ouch_cancel(id, quantity) == packet(b"X" + struct.pack(">II", id, quantity))
    assert _sessions.ouch_modify(id, side, quantity) == packet(b"M" + struct.pack(">IcI", id, side, quantity))
    assert _sessions.ouch_account_query() == packet(b"Q")
    assert _sessions.ouch_mass_cancel(id, firm, symbol) == packet(
        b"C" + struct.pack(">I", id) + firm.ljust(4) + symbol.ljust(8) + b"\0\0"
    )
    for enable, kind in ((True, b"E"), (False, b"D")):
        assert _sessions.ouch_order_entry(enable, id, firm) == packet(
            kind + struct.pack(">I", id) + firm.ljust(4) + b"\0\0"
        )


@pytest.mark.parametrize("digits", range(15))
def test_clordid_counts_in_decimal(digits: int) -> None:
    for sequence in (10**digits - 1, 10**digits, 10**digits + 1, 7 * 10**digits, 123456789012345 % 10 ** (digits + 1)):
        assert _sessions.ouch_order(b"A", 1, b"B", 1, 1, sequence)[34:48] == b"%014d" % (sequence % 10**14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: _sessions.ouch_order(b"NINECHARS", 1, b"B", 1, 1, 1),
            "symbol: b'NINECHARS', allowed: at most 8 bytes",
        ),
        (lambda: _sessions.ouch_order(b"A", 1, b"", 1, 1, 1), "b'', allowed: one byte"),
        (lambda: _sessions.ouch_enter(b"A", 1, b"B", 1, 1, 1, display=b"YY"), "b'YY', allowed: one byte"),
        (lambda: _sessions.ouch_mass_cancel(1, b"FIRMS"), "firm: b'FIRMS', allowed: at most 4 bytes"),
    ],
)
def test_fields_that_do_not_fit(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
