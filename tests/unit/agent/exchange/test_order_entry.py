"""OUCH messages of the agent that are wrong, late or out of place; the sample of each order."""

import struct

import pytest

from tests.compiled import _exchange_parts

from .messages import cancel, enter, events, replace, split

SYMBOL = b"AAPL    "


def order_entry(**options: int) -> _exchange_parts.OrderEntry:
    return _exchange_parts.OrderEntry([SYMBOL], **options)


@pytest.mark.parametrize(
    "message",
    [
        enter(1, b"X", 1, "AAPL", 100),
        enter(1, b"B", 0, "AAPL", 100),
        enter(1, b"B", 1_000_000, "AAPL", 100),
        enter(1, b"B", 1, "AAPL", 0),
        enter(1, b"B", 1, "AAPL", 1_999_999_901),
        enter(1, b"B", 1, "AAPL", 100) + b"\0",
        enter(1, b"B", 1, "AAPL", 100)[:-1] + b"\1",
    ],
)
def test_an_invalid_order_is_rejected(message: bytes) -> None:
    market = order_entry()
    market.handle(message, 5)
    assert events(market.log) == [("rejected", 1)]
    assert split(market.log)[0][13:] == struct.pack(">H14sH", 15, b"%014d" % 1, 0)
    assert market.counts["invalid"] == 1 and market.open_orders == {} and market.last_user_ref_num == 1


@pytest.mark.parametrize("limits", [(1, 1), (999_999, 1_999_999_900)])
def test_the_limits_themselves_are_valid(limits: tuple[int, int]) -> None:
    market = order_entry()
    market.handle(enter(1, b"B", limits[0], "AAPL", limits[1]))
    assert events(market.log) == [("accepted", 1, b"B", *limits)]


def test_accepted_repeats_the_order() -> None:
    market = order_entry()
    message = enter(7, b"T", 5, "AAPL", 100, tick=3)
    market.handle(message, 1234)
    assert split(market.log) == [
        b"A" + (1234).to_bytes(8, "big") + message[1:28] + (1).to_bytes(8, "big") + message[28:31] + b"L" + message[31:]
    ]


def test_a_user_ref_num_that_does_not_rise_is_ignored_and_counted() -> None:
    market = order_entry()
    for message in (enter(5, b"B", 1, "AAPL", 100), enter(5, b"B", 1, "AAPL", 100), enter(4, b"B", 1, "AAPL", 100),
                    replace(5, 5, 1, 100)):  # fmt: skip
        market.handle(message)
    assert [e[:2] for e in events(market.log)] == [("accepted", 5)]
    assert market.counts["out_of_order"] == 3


def test_each_third_valid_order_is_rejected() -> None:
    market = order_entry(reject_every=3)
    for i in range(1, 8):
        market.handle(enter(i, b"B", 1 if i != 2 else 0, "AAPL", 100))
    assert [e[1] for e in events(market.log) if e[0] == "rejected"] == [2, 4, 7]
    assert market.counts["rejected_on_purpose"] == 2 and market.counts["invalid"] == 1


def test_an_order_whose_slot_is_taken_is_rejected() -> None:
    market, far = order_entry(), 1 + _exchange_parts.OPEN_ORDERS
    market.handle(enter(1, b"B", 1, "AAPL", 100))
    market.handle(enter(far, b"B", 1, "AAPL", 100))
    assert [e[:2] for e in events(market.log)] == [("accepted", 1), ("rejected", far)]
    assert list(market.open_orders) == [1]


@pytest.mark.parametrize("short", [b"", b"O", enter(1, b"B", 1, "AAPL", 100)[:46], replace(1, 2, 1, 100)[:39],
                                   cancel(1, 0)[:8], b"Z" * 50])  # fmt: skip
def test_what_is_not_served_is_counted(short: bytes) -> None:
    market = order_entry()
    market.handle(short or b"\0")
    assert market.counts["other_messages"] == 1 and market.log == b""


def test_an_account_query_is_answered_with_the_next_user_ref_num() -> None:
    market = order_entry()
    market.handle(b"Q\0\0", 9)
    market.handle(enter(3, b"B", 1, "AAPL", 100))
    market.handle(b"Q\0\0", 9)
    assert [e for e in events(market.log) if e[0] == "expected"] == [("expected", 1), ("expected", 4)]
    assert market.counts["queries"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"%014d" % 1, 0), (b"%014d" % 3, 2), (b"%014d" % 4, -1), (b"%014d" % 0, -1), (b" " * 14, -1),
     (b"1" + b" " * 13, -1), (b"9" * 14, -1)],
)  # fmt: skip
def test_an_order_is_matched_to_a_message_that_was_sent(text: bytes, message: int) -> None:
    market = order_entry()
    market.publish(3)
    data = enter(1, b"B", 1, "AAPL", 100)
    market.handle(data[:31] + text + data[45:], 77)
    assert market.arrived == [(message, 77, 1)]
    assert market.counts["unmatched"] == (message < 0)


def test_orders_without_room_for_a_sample_are_counted() -> None:
    market = order_entry(samples=2)
    for i in range(1, 6):
        market.handle(enter(i, b"B", 1, "AAPL", 100))
    assert len(market.arrived) == 2 and market.counts["overflow"] == 3 and market.counts["acknowledged"] == 5


def test_a_full_log_is_told_and_holds_whole_messages() -> None:
    market = order_entry(capacity=150)
    for i in range(1, 6):
        market.handle(enter(i, b"B", 1, "AAPL", 100))
    assert market.full and [e[1] for e in events(market.log)] == [1, 2]
