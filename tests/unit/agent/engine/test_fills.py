"""Answers of the exchange: what the strategy is told, what is open, what the position is."""

from collections.abc import Callable

from ..conftest import CANCEL, REPLACE, Fill, Hand, order
from ..ouch_answers import accepted, canceled, executed, read_all, rejected, replaced, sequenced

ACCEPTED, REPLACED, EXECUTED, CANCELED, REJECTED = 1, 2, 3, 4, 5


def told(h: Hand) -> list[tuple[int, ...]]:
    """(kind, id, size, leaves, position) of each call of on_fill so far, which are then forgotten."""
    found = [(f.kind, f.id, f.size, f.leaves, f.position) for f in h.fills]
    h.fills.clear()
    return found


def test_an_orders_life(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.orders = [order(size=5, tag=77)]
    with h.connect() as peer:
        h.tick()
        h.orders = []
        peer.sendall(accepted(1, 5) + executed(1, 2, 1_000_000) + executed(1, 3, 1_000_100) + executed(1, 1))
        h.settle(4)
        assert [f._replace(received_ns=0) for f in h.fills] == [
            Fill(1, 77, 0, 5, 5, 0, 100.01, 1, 0, ACCEPTED, 0),
            Fill(1, 77, 0, 2, 3, 2, 100.0, 1, 0, EXECUTED, 0),
            Fill(1, 77, 0, 3, 0, 5, 100.01, 1, 0, EXECUTED, 0),
            Fill(1, 77, 0, 1, 0, 6, 100.01, 1, 0, EXECUTED, 0),
        ]
        # The fourth is more than the order was: the exchange's word, which the position has, and which shuts the gate.
        c = h.counters
        assert (c["accepted"], c["executed"], c["answers_unmatched"], c["fills"]) == (1, 3, 1, 4)
        assert c["contradicted_executed"] == 1
        assert "orders_open" not in c
        assert h.reading.symbols[0].position == 6


def test_rejected_canceled_and_dead_orders_are_not_open(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.orders = [order(), order(side=-1, price=100.0), order()]
    with h.connect() as peer:
        h.tick()
        h.orders = []
        row = h.reading.symbols[0]
        assert (row.open_buy, row.open_sell, h.counters["orders_open"]) == (10, 5, 3)
        peer.sendall(rejected(1, 0x0F) + accepted(2, 5, side=b"S") + canceled(2, 2) + canceled(2, 3))
        peer.sendall(accepted(3, 5, state=b"D"))
        h.settle(5)
        assert told(h) == [
            (REJECTED, 1, 5, 0, 0),
            (ACCEPTED, 2, 5, 5, 0),
            (CANCELED, 2, 2, 3, 0),
            (CANCELED, 2, 3, 0, 0),
            (CANCELED, 3, 5, 0, 0),
        ]
        row = h.reading.symbols[0]
        assert (row.open_buy, row.open_sell, row.position) == (0, 0, 0)


def test_a_replacement_takes_the_place_of_its_original(hand: Callable[..., Hand]) -> None:
    h = hand()
    with h.connect() as peer:
        h.orders = [order(size=10)]
        h.tick()
        peer.sendall(accepted(1, 10) + executed(1, 4))
        h.settle(2)
        read_all(peer, 50)
        told(h)
        h.orders = [order(action=REPLACE, id=1, size=6, price=99.0, tag=5)]
        h.tick()
        h.orders = []
        frame = read_all(peer, 43)
        # OUCH counts the shares of the whole chain: 4 are executed, 6 are to be open.
        assert int.from_bytes(frame[12:16], "big") == 10
        peer.sendall(executed(1, 1))
        h.settle(1)
        assert told(h) == [(EXECUTED, 1, 1, 5, 5)]
        peer.sendall(replaced(1, 2, 5, 990_000) + executed(2, 5, 990_000))
        h.settle(2)
        assert told(h) == [(REPLACED, 2, 5, 5, 5), (EXECUTED, 2, 5, 0, 10)]
        row = h.reading.symbols[0]
        assert (row.open_buy, row.position) == (0, 10)


def test_replaces_of_an_order_that_is_gone_are_over(hand: Callable[..., Hand]) -> None:
    h = hand()
    with h.connect() as peer:
        h.orders = [order(size=10)]
        h.tick()
        peer.sendall(accepted(1, 10))
        h.settle(1)
        read_all(peer, 50)
        told(h)
        # Two in a row, the second one of the first; a second one of the order itself does not go out.
        h.orders = [
            order(action=REPLACE, id=1, size=6, price=99.0, tag=5),
            order(action=REPLACE, id=2, size=7, price=98.0, tag=6),
            order(action=REPLACE, id=1, size=8, price=97.0, tag=7),
        ]
        h.tick()
        h.orders = []
        read_all(peer, 86)
        assert (h.counters["replaces_sent"], h.counters["reject_id"]) == (2, 1)
        peer.sendall(executed(1, 4))
        h.settle(1)
        assert "replaces_ignored" not in h.counters and h.counters["orders_open"] == 3
        peer.sendall(executed(1, 6))
        h.settle(1)
        assert told(h)[-3:] == [(EXECUTED, 1, 6, 0, 10), (REJECTED, 2, 6, 0, 10), (REJECTED, 3, 7, 0, 10)]
        row = h.reading.symbols[0]
        assert (row.open_buy, row.open_sell, row.position) == (0, 0, 10)
        assert h.counters["replaces_ignored"] == 2 and "orders_open" not in h.counters


def test_a_replace_in_time_is_not_taken_for_ignored(hand: Callable[..., Hand]) -> None:
    h = hand()
    with h.connect() as peer:
        h.orders = [order(size=10)]
        h.tick()
        peer.sendall(accepted(1, 10))
        h.settle(1)
        h.orders = [order(action=REPLACE, id=1, size=6, price=99.0)]
        h.tick()
        h.orders = []
        peer.sendall(replaced(1, 2, 6, 990_000) + executed(2, 6, 990_000))
        h.settle(2)
        assert "replaces_ignored" not in h.counters and "orders_open" not in h.counters
        assert h.reading.symbols[0].position == 6


def test_a_rejected_replace_leaves_its_order_alone(hand: Callable[..., Hand]) -> None:
    h = hand()
    with h.connect() as peer:
        h.orders = [order(size=10)]
        h.tick()
        peer.sendall(accepted(1, 10))
        h.settle(1)
        h.orders = [order(action=REPLACE, id=1, size=6, price=99.0)]
        h.tick()
        peer.sendall(rejected(2, 15))
        h.settle(1)
        # Another may be tried now.
        h.tick()
        h.orders = []
        assert (h.counters["replaces_sent"], h.counters["orders_open"]) == (2, 2)
        assert "replaces_ignored" not in h.counters
        peer.sendall(canceled(1, 10))
        h.settle(1)
        assert h.counters["replaces_ignored"] == 1 and "orders_open" not in h.counters
        assert h.reading.symbols[0].open_buy == 0


def test_a_partial_cancel_says_what_remains_of_the_whole_order(hand: Callable[..., Hand]) -> None:
    h = hand()
    with h.connect() as peer:
        h.orders = [order(size=10)]
        h.tick()
        peer.sendall(accepted(1, 10) + executed(1, 4))
        h.settle(2)
        read_all(peer, 50)
        h.orders = [order(action=CANCEL, id=1, size=2)]
        h.tick()
        assert read_all(peer, 12)[8:] == (6).to_bytes(4, "big")


def test_orders_that_on_fill_returns_pass_the_gate_and_go_out(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.orders = [order()]
    with h.connect() as peer:
        h.tick()
        read_all(peer, 50)
        h.on_fill = [order(side=-1, size=3), order(size=101)]
        peer.sendall(accepted(1, 5))
        h.settle(1)
        assert read_all(peer, 50)[8:13] == b"S\0\0\0\3"
        assert (h.counters["orders_sent"], h.counters["reject_size"]) == (2, 1)


def test_what_is_not_ours_to_act_on_is_counted(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.orders = [order()]
    with h.connect() as peer:
        h.tick()
        h.orders = []
        peer.sendall(
            sequenced(b"S" + bytes(8) + b"S")
            + sequenced(b"B" + bytes(12) + bytes(8) + b"E" + b"0" * 14)
            + sequenced(b"I" + bytes(8) + (1).to_bytes(4, "big"))
            + accepted(9)
        )
        h.settle(4)
    c = h.counters
    assert (c["exchange_other"], c["broken_trades"], c["cancel_rejected"], c["answers_unmatched"]) == (1, 1, 1, 1)
    assert h.fills == []
