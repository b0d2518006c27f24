"""The risk gate: each limit at its edge, counted by its name, and changed while the engine runs."""

from collections.abc import Callable

import pytest

from agent.shm import segment as shm

from ..conftest import BOOK, CANCEL, REPLACE, Hand, mold, order
from ..ouch_answers import accepted, executed, frames, read_all

SECOND = 1_000_000_000


def gate(h: Hand, *orders: bytes, at: int = SECOND) -> dict[str, int]:
    """What one tick with these orders adds to the counters of the gate."""
    before = h.reading.counters
    h.orders = list(orders)
    h.tick(at)
    h.orders = []
    after = h.reading.counters
    return {
        k: after[k] - before[k]
        for k in after
        if k.startswith(("reject_", "orders_sent", "replaces_sent", "cancels_sent")) and after[k] != before[k]
    }


@pytest.mark.parametrize(
    ("limits", "good", "bad", "reason"),
    [
        ({"max_size": 7}, order(size=7), order(size=8), "size"),
        ({"max_notional": 5_000_500}, order(size=5), order(size=6), "notional"),
        # the book is 100.00 / 100.01
        ({"collar_ppm": 1000}, order(price=100.11), order(price=100.1101), "collar"),
        ({"collar_ppm": 1000}, order(price=99.9, side=-1), order(price=99.8999, side=-1), "collar"),
        ({"collar_ppm": 1000}, order(price=1.0), order(price=1000.0), "collar"),
        ({"max_position": 6}, order(size=6), order(size=7), "position"),
        ({"max_position": 6}, order(size=6, side=-1), order(size=7, side=-1), "position"),
    ],
)
def test_each_limit_at_its_edge(
    hand: Callable[..., Hand], limits: dict[str, int], good: bytes, bad: bytes, reason: str
) -> None:
    h = hand(limits=limits)
    with h.connect():
        h.tick()
        assert gate(h, bad) == {f"reject_{reason}": 1}
        assert gate(h, good) == {"orders_sent": 1}


def test_without_a_book_there_is_nothing_to_compare_a_price_with(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"collar_ppm": 1000})
    empty = BOOK.replace(b'"a":"100.01000000","A":"2.50000000"', b'"a":"0.00000000","A":"0.00000000"')
    with h.connect():
        h.orders = [order()]
        h.engine.handle_datagram(mold(1, empty))
    assert h.counters["reject_collar"] == 1


def test_open_orders_count_against_position_and_their_own_limit(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"max_position": 10, "max_open_orders": 2})
    with h.connect() as peer:
        assert gate(h, order(size=6), order(size=5)) == {"orders_sent": 1, "reject_position": 1}
        assert gate(h, order(size=4)) == {"orders_sent": 1}
        assert gate(h, order(size=1, side=-1)) == {"reject_open_orders": 1}
        peer.sendall(executed(1, 6) + executed(2, 4))
        h.settle(2)
        row = h.reading.symbols[0]
        assert (row.position, row.open_buy, row.open_sell) == (10, 0, 0)
        # 10 long: nothing more to buy, but twenty to sell
        assert gate(h, order(size=1)) == {"reject_position": 1}
        assert gate(h, order(size=20, side=-1), order(size=1, side=-1)) == {"orders_sent": 1, "reject_position": 1}


def test_the_same_order_twice_within_the_time(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"duplicate_ns": SECOND})
    with h.connect():
        assert gate(h, order(), at=SECOND) == {"orders_sent": 1}
        assert gate(h, order(), at=2 * SECOND - 1) == {"reject_duplicate": 1}
        assert gate(h, order(size=4), at=2 * SECOND - 1) == {"orders_sent": 1}
        assert gate(h, order(), order(), at=3 * SECOND) == {"orders_sent": 1, "reject_duplicate": 1}


def test_the_last_8_orders_of_a_side_are_known(hand: Callable[..., Hand]) -> None:
    h = hand(symbols=(b"BTCUSDT", b"ETHUSDT"), limits={"duplicate_ns": SECOND})
    prices = [100.0 + i for i in range(8)]
    with h.connect():
        # Each between orders of the other side and of another symbol, which have eight of their own.
        for price in prices:
            for side, symbol in ((1, 0), (-1, 0), (1, 1)):
                assert gate(h, order(price, 5, side, symbol)) == {"orders_sent": 1}
        for price in prices:
            for side, symbol in ((1, 0), (-1, 0), (1, 1)):
                assert gate(h, order(price, 5, side, symbol), at=2 * SECOND - 1) == {"reject_duplicate": 1}
            assert gate(h, order(price, 5, -1, 1), at=2 * SECOND - 1) == {"orders_sent": 1}
        assert gate(h, order(prices[1], 6), at=2 * SECOND - 1) == {"orders_sent": 1}
        assert gate(h, order(prices[1]), at=2 * SECOND - 1) == {"reject_duplicate": 1}
        assert gate(h, order(prices[2]), at=2 * SECOND) == {"orders_sent": 1}


def test_the_kill_switch_stops_orders_and_cancels_the_open_ones(hand: Callable[..., Hand]) -> None:
    h = hand()
    with h.connect() as peer:
        assert gate(h, order(), order()) == {"orders_sent": 2}
        read_all(peer, 100)
        peer.sendall(accepted(1, 5) + accepted(2, 5))
        h.settle(2)
        h.set_limits(kill=1)
        assert gate(h, order()) == {"reject_killed": 1}
        h.engine.do_housekeeping()
        h.engine.step_session()
        assert [f[3:] for f in frames(read_all(peer, 24))] == [b"X\0\0\0\1\0\0\0\0", b"X\0\0\0\2\0\0\0\0"]
        assert h.counters["cancels_sent"] == 2
        h.set_limits(kill=0)
        h.engine.do_housekeeping()
        assert gate(h, order()) == {"orders_sent": 1}


def test_replace_and_cancel_pass_the_gate_too(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"max_position": 10})
    with h.connect() as peer:
        assert gate(h, order(size=10)) == {"orders_sent": 1}
        read_all(peer, 50)
        unknown = order(action=REPLACE, id=9), order(action=CANCEL, id=9), order(action=3, id=1)
        assert gate(h, *unknown) == {"reject_id": 2, "reject_action": 1}
        assert gate(h, order(action=REPLACE, id=2**32 + 1)) == {"reject_id": 1}
        assert gate(h, order(action=REPLACE, id=1, size=11)) == {"reject_position": 1}
        assert gate(h, order(action=REPLACE, id=1, size=10, price=99.0)) == {"replaces_sent": 1}
        frame = read_all(peer, 43)
        assert frame[:20] == b"\0\x29UU" + b"\0\0\0\1" + b"\0\0\0\2" + b"\0\0\0\x0a" + b"\0\0\0\0"
        # Both may still trade until the exchange has answered.
        assert h.reading.symbols[0].open_buy == 20
        assert gate(h, order(action=CANCEL, id=1, size=10)) == {"reject_size": 1}
        assert gate(h, order(action=CANCEL, id=1, size=4)) == {"cancels_sent": 1}
        assert read_all(peer, 12) == b"\0\x0aUX\0\0\0\1\0\0\0\4"


@pytest.mark.parametrize("code", [-1, -(2**31)])
def test_a_strategys_error_code_is_counted_in_every_call(hand: Callable[..., Hand], code: int) -> None:
    h = hand()
    with h.connect() as peer:
        assert gate(h, order()) == {"orders_sent": 1}
        h.count = code
        h.tick()
        peer.sendall(accepted(1, 5))
        h.settle(1)
    assert h.counters["strategy_errors"] == 2


def test_limits_are_named(hand: Callable[..., Hand]) -> None:
    with pytest.raises(ValueError, match="limit: 'max_sice', allowed: kill, max_size"):
        hand().engine.limits(max_sice=1)


def test_limits_are_written_from_outside_while_the_engine_runs(hand: Callable[..., Hand]) -> None:
    h = hand()
    with h.connect():
        assert gate(h, order(size=50)) == {"orders_sent": 1}
        h.set_limits(max_size=49)
        assert gate(h, order(size=50)) == {"reject_size": 1}
    assert isinstance(h.reading, shm.Segment)
