"""The ITCH 5.0 parser against the table of layouts, and both against the specification's own figures."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.exchange.generator import message, session
from agent.protocols import _codecs
from agent.protocols import itch_layouts as itch

# "Nasdaq TotalView-ITCH 5.0", sections 1.1 to 1.8: the length of each type.
LENGTHS = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "A": 36, "F": 40,
    "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20, "O": 48,
}  # fmt: skip

# What itch.Message calls the fields that it reads, by the specification's name in the layouts.
HOT = {
    "stock_locate": "locate",
    "tracking_number": "tracking",
    "timestamp": "timestamp",
    "order_reference_number": "reference",
    "original_order_reference_number": "reference",
    "new_order_reference_number": "new_reference",
    "match_number": "match",
    "shares": "shares",
    "executed_shares": "shares",
    "cancelled_shares": "shares",
    "price": "price",
    "execution_price": "price",
    "cross_price": "price",
    "buy_sell_indicator": "side",
    "printable": "printable",
    "event_code": "event",
    "trading_state": "event",
    "operational_halt_action": "event",
    "cross_type": "event",
    "reg_sho_action": "event",
    "breached_level": "event",
    "ipo_quotation_release_qualifier": "event",
    "market_code": "market",
    "auction_collar_reference_price": "price",
    "upper_auction_collar_price": "upper",
    "lower_auction_collar_price": "lower",
}
ALLOWED = {
    "buy_sell_indicator": "BS",
    "printable": "YN",
    "event_code": "OSQMEC",
    "trading_state": "HPQT",
    "operational_halt_action": "HT",
    "market_code": "QBX",
    "reg_sho_action": "012",
    "breached_level": "123",
    "ipo_quotation_release_qualifier": "AC",
    "cross_type": "OCHAI",
    "imbalance_direction": "BSNOP",
}


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A type, and a value for each of its fields that the parser accepts."""
    layout = draw(st.sampled_from(list(itch.LAYOUTS.values())))
    values: dict[str, Any] = {}
    for field in layout.fields:
        if field.kind != "alpha":
            values[field.name] = draw(st.integers(0, 256**field.size - 1))
        elif field.name in ALLOWED:
            values[field.name] = draw(st.sampled_from(ALLOWED[field.name]))
        else:
            values[field.name] = draw(st.text(st.characters(codec="latin-1"), max_size=field.size)).rstrip(" ")
    return layout.type, values


def test_the_layouts_are_the_specifications() -> None:
    assert {layout.type: layout.size for layout in itch.LAYOUTS.values()} == LENGTHS
    assert [_codecs.itch_length(i) for i in range(256)] == [LENGTHS.get(chr(i), 0) for i in range(256)]


@pytest.mark.parametrize("layout", itch.LAYOUTS.values(), ids=lambda layout: layout.type)
def test_a_layout_has_neither_gaps_nor_overlaps(layout: itch.Layout) -> None:
    end = 1
    for field in layout.fields:
        assert field.offset == end, field.name
        assert field.kind == "alpha" or field.size in (2, 4, 6, 8)
        assert field.decimals == (field.kind == "price" and field.size)
        end += field.size
    assert end == layout.size
    assert len({field.name for field in layout.fields}) == len(layout.fields)


@given(messages())
@settings(max_examples=300)
def test_encode_and_decode_are_inverse(case: tuple[str, dict[str, Any]]) -> None:
    letter, values = case
    text = itch.encode(letter, **values)
    assert len(text) == LENGTHS[letter]
    assert itch.decode(text) == {"type": letter, **values}


@given(st.sampled_from(list(LENGTHS)), st.data())
@settings(max_examples=200)
def test_any_bytes_of_the_right_length_come_back(letter: str, data: st.DataObject) -> None:
    size = LENGTHS[letter] - 1
    text = letter.encode() + data.draw(st.binary(min_size=size, max_size=size))
    values = itch.decode(text)
    assert itch.encode(values.pop("type"), **values) == text


@given(messages())
@settings(max_examples=400)
def test_the_parser_reads_what_the_table_says(case: tuple[str, dict[str, Any]]) -> None:
    letter, values = case
    text = itch.encode(letter, **values)
    verdict, hot = _codecs.itch_parse(text)
    assert verdict == letter
    letters = dict.fromkeys(("side", "printable", "event", "market"), "")
    expected: dict[str, Any] = dict.fromkeys(hot, 0) | letters | {"type": letter}
    for name, value in values.items():
        if name in HOT:
            expected[HOT[name]] = value
    expected["stock"] = values["stock"].encode("latin-1").ljust(8) if "stock" in values else None
    assert hot == expected


@given(messages(), st.data())
@settings(max_examples=200)
def test_another_length_is_no_message(case: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    text = itch.encode(case[0], **case[1])
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    longer = text + data.draw(st.binary(min_size=1, max_size=80))
    assert _codecs.itch_parse(cut) == ("truncated", {})
    assert _codecs.itch_parse(longer) == ("oversized", {})
    for wrong in (cut, longer):
        with pytest.raises(itch.ItchError):
            itch.decode(wrong)


@given(st.integers(0, 255).filter(lambda i: chr(i) not in LENGTHS), st.binary(max_size=60))
@settings(max_examples=100)
def test_an_unknown_type(letter: int, rest: bytes) -> None:
    assert _codecs.itch_parse(bytes([letter]) + rest) == ("unknown", {})
    with pytest.raises(itch.ItchError, match="found message type"):
        itch.decode(bytes([letter]) + rest)


@pytest.mark.parametrize(
    ("letter", "name"),
    [
        ("A", "buy_sell_indicator"),
        ("F", "buy_sell_indicator"),
        ("P", "buy_sell_indicator"),
        ("C", "printable"),
        ("S", "event_code"),
        ("H", "trading_state"),
        ("h", "operational_halt_action"),
        ("h", "market_code"),
        ("Y", "reg_sho_action"),
        ("W", "breached_level"),
        ("K", "ipo_quotation_release_qualifier"),
        ("I", "cross_type"),
        ("I", "imbalance_direction"),
        ("Q", "cross_type"),
    ],
)
def test_a_code_that_does_not_exist_is_a_bad_field(letter: str, name: str) -> None:
    good = {field.name: ALLOWED[field.name][0] for field in itch.LAYOUTS[letter].fields if field.name in ALLOWED}
    for code in map(chr, range(256)):
        verdict, fields = _codecs.itch_parse(itch.encode(letter, **good | {name: code}))
        assert (verdict, bool(fields)) == ((letter, True) if code in ALLOWED[name] else ("field", False)), code


def test_no_message() -> None:
    assert _codecs.itch_parse(b"") == ("truncated", {})
    with pytest.raises(itch.ItchError, match="empty"):
        itch.decode(b"")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"shares": 2**32}, r"A\.shares: found 4294967296, allowed is an unsigned integer of 4 bytes"),
        ({"shares": -1}, r"A\.shares: found -1"),
        ({"shares": "1"}, r"A\.shares: found '1'"),
        ({"stock": "TOOLONGER"}, r"A\.stock: found 'TOOLONGER', allowed is text of at most 8 bytes"),
        ({"stock": "\u20ac"}, r"A\.stock: found"),
        ({"stock": 5}, r"A\.stock: found 5"),
        ({"stok": "X"}, r"found no field stok in message type 'A'; it has stock_locate, "),
    ],
)
def test_what_no_field_holds_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(itch.ItchError, match=text):
        itch.encode("A", **values)


def test_an_unknown_type_is_not_encoded() -> None:
    with pytest.raises(itch.ItchError, match="found message type 'a'"):
        itch.encode("a")


def test_a_price_as_text() -> None:
    assert itch.price(1_234_500) == "123.4500"
    assert itch.price(1) == "0.0001"
    assert itch.price(4_000_12345678, 8) == "4000.12345678"


def test_a_session_is_what_the_encoder_makes_of_it() -> None:
    day = session(seed=11, messages=8000, symbols=3)
    assert len(day) == 8000
    assert {chr(text[0]) for text in day} == set(LENGTHS)
    before = 0
    for text in day:
        values = itch.decode(text)
        letter = values.pop("type")
        assert itch.encode(letter, **values) == text
        names = list(values)
        head = [values[name] for name in names[:3]]
        assert message(letter, *head, *(values[name] for name in names[3:])) == text
        assert before < values["timestamp"]
        before = values["timestamp"]
    assert day == session(seed=11, messages=8000, symbols=3)
    assert day != session(seed=12, messages=8000, symbols=3)
