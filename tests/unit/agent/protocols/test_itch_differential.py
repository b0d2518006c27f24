"""ITCH 5.0 against parsers written by others: PyPI's itchfeed and MeatPy, on generated sessions.

MeatPy 0.5.0 differs from the specification in one type: it reads 'O' (Direct Listing with Capital Raise) as
52 bytes with four prices before the Near Execution Time, where section 1.8 has 48 bytes and three (Minimum
Allowable Price, Maximum Allowable Price, Near Execution Price). itchfeed 1.6.4 agrees with us everywhere.
"""

import datetime
import io
import struct
from typing import Any

import pytest

from agent.exchange.generator import binaryfile, session
from agent.protocols import _codecs
from agent.protocols import itch_layouts as itch

SEEDS = (1, 2, 3)


def ours(text: bytes) -> list[Any]:
    """The values of a message as the others keep them: text as padded bytes, the timestamp last."""
    values = _codecs.itch_decode(text)
    layout = itch.LAYOUTS[values["type"]]
    out = []
    for field in layout.fields:
        value = values[field.name]
        out.append(value.encode().ljust(field.size) if field.kind == "alpha" else value)
    return [*out[:2], *out[3:], out[2]]


@pytest.fixture(scope="module", params=SEEDS)
def day(request: pytest.FixtureRequest) -> list[bytes]:
    return session(seed=request.param, messages=6000, symbols=4)


def test_itchfeed_reads_the_same_messages_and_fields(day: list[bytes]) -> None:
    parser = pytest.importorskip("itch.parser").MessageParser()
    theirs = list(parser.parse_file(io.BytesIO(binaryfile(day))))
    assert [m.message_type for m in theirs] == [text[:1] for text in day]
    assert {text[:1] for text in day} == set(pytest.importorskip("itch.messages").messages)
    for text, message in zip(day, theirs, strict=True):
        assert list(vars(message).values()) == ours(text), text
        assert message.to_bytes() == text


def test_meatpy_reads_the_same_messages_and_fields(day: list[bytes]) -> None:
    meatpy = pytest.importorskip("meatpy.itch50.itch50_market_message")
    kinds = set()
    for text in day:
        if text[:1] == b"O":
            continue
        message = meatpy.ITCH50MarketMessage.from_bytes(text)
        assert message.type == text[:1]
        assert list(vars(message).values()) == ours(text), text
        kinds.add(text[:1])
    assert len(kinds) == len(itch.LAYOUTS) - 1


def test_meatpy_has_another_length_for_one_type(day: list[bytes]) -> None:
    meatpy = pytest.importorskip("meatpy.itch50.itch50_market_message")
    text = next(text for text in day if text[:1] == b"O")
    assert len(text) == 48
    with pytest.raises(struct.error):
        meatpy.ITCH50MarketMessage.from_bytes(text)
    assert meatpy.DirectListingCapitalRaiseMessage.message_size == 52


class SlowBook:
    """One symbol's orders in a dictionary; levels are added up when they are asked for."""

    def __init__(self) -> None:
        self.orders: dict[int, list[Any]] = {}  # reference: side, price, shares; in time priority

    def apply(self, m: dict[str, Any], verdict: str) -> None:
        reference = m["reference"]
        if verdict in ("A", "F"):
            assert reference not in self.orders
            self.orders[reference] = [m["side"], m["price"], m["shares"]]
        elif verdict in ("E", "C", "X"):
            self.orders[reference][2] -= m["shares"]
            assert self.orders[reference][2] >= 0
            if not self.orders[reference][2]:
                del self.orders[reference]
        elif verdict == "D":
            del self.orders[reference]
        elif verdict == "U":
            side = self.orders.pop(reference)[0]
            self.orders[m["new_reference"]] = [side, m["price"], m["shares"]]

    def levels(self, side: str) -> list[tuple[int, list[tuple[int, int]]]]:
        """Best first: price, and (reference, shares) in time priority."""
        found: dict[int, list[tuple[int, int]]] = {}
        for reference, (s, price, shares) in self.orders.items():
            if s == side:
                found.setdefault(price, []).append((reference, shares))
        return sorted(found.items(), reverse=side == "B")


def test_the_final_book_is_meatpys(day: list[bytes]) -> None:
    meatpy = pytest.importorskip("meatpy.itch50")
    parse = pytest.importorskip("meatpy.itch50.itch50_market_message").ITCH50MarketMessage.from_bytes
    parsed = [_codecs.itch_parse(text) for text in day]
    locates = {m["locate"]: m["stock"] for verdict, m in parsed if verdict == "R"}
    assert len(locates) == 4
    books = {locate: SlowBook() for locate in locates}
    theirs = {
        locate: meatpy.ITCH50MarketProcessor(stock, datetime.datetime(2024, 1, 2)) for locate, stock in locates.items()
    }
    for text, (verdict, m) in zip(day, parsed, strict=True):
        if verdict in "AFECXDU":
            books[m["locate"]].apply(m, verdict)
        if text[:1] != b"O":
            for locate in [m["locate"]] if m["locate"] in theirs else theirs:
                theirs[locate].process_message(parse(text))
    orders = 0
    for locate, book in books.items():
        lob = theirs[locate].current_lob
        for side, levels in (("B", lob.bid_levels), ("S", lob.ask_levels)):
            expected = [(level.price, [(o.order_id, o.volume) for o in level.queue]) for level in levels]
            assert book.levels(side) == expected
            orders += sum(len(queue) for _, queue in expected)
        bids, asks = book.levels("B"), book.levels("S")
        assert not bids or not asks or bids[0][0] < asks[0][0]
    assert orders > 40
