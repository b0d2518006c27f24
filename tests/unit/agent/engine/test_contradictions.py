"""What the exchange says that cannot be: named, journaled, the gate shut, positions as the exchange says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import REPLACE, Hand, order
from ..hostile_exchange import Answer, Sequence
from ..ouch_answers import accepted, canceled, executed, query_answer, read_all, rejected, replaced, sequenced


@pytest.mark.parametrize(
    "first", [0, 50, *(pytest.param(first, marks=pytest.mark.long) for first in range(100, 400, 50))]
)
def test_engine_journal_and_model_agree_on_whatever_is_said(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 50):
        try:
            Sequence(seed, tmp_path).run(40)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


def buy(sequence: Sequence) -> None:
    """5 of the first symbol at 100.01."""
    sequence.hand.orders = [order()]
    sequence.hand.tick()
    sequence.hand.orders = []
    sequence.model.enter(0, 1, 5, 1_000_100)


def execute(units: int, match: int) -> Answer:
    return Answer(b"E", 1, quantity=units, price=1_000_100, match=match)


def test_an_execution_of_an_order_that_was_done_before_the_start_is_in_the_position(tmp_path: Path) -> None:
    sequence = Sequence(0, tmp_path)
    buy(sequence)
    sequence.answer(Answer(b"A", 1, quantity=5, price=1_000_100))
    sequence.answer(execute(5, 1))
    sequence.restart()
    sequence.answer(execute(2, 2))
    sequence.check()
    sequence.restart()
    sequence.answer(execute(1, 3))
    sequence.check()
    sequence.check_journal()
    assert sequence.model.positions == [8, 0]
    assert sequence.hand.counters["contradicted_executed"] == 1


def test_an_acceptance_may_come_behind_the_start_that_followed_the_whole_execution(tmp_path: Path) -> None:
    sequence = Sequence(0, tmp_path)
    buy(sequence)
    sequence.answer(execute(5, 1))
    sequence.restart()
    sequence.answer(Answer(b"A", 1, quantity=5, price=1_000_100))
    sequence.check()
    assert "contradicted" not in sequence.hand.counters
    sequence.restart()
    sequence.answer(Answer(b"A", 1, quantity=5, price=1_000_100))
    sequence.check()
    assert sequence.hand.counters["contradicted_answer"] == 1


def test_a_modification_leaves_the_limit_of_an_order_that_was_accepted_on_the_other_side(tmp_path: Path) -> None:
    sequence = Sequence(0, tmp_path)
    buy(sequence)
    sequence.answer(Answer(b"A", 1, side=b"S", quantity=5, price=1_000_000))
    sequence.answer(Answer(b"M", 1, side=b"S", quantity=3))
    sequence.restart()
    sequence.check()


def broken(id: int, match: int) -> bytes:
    return sequenced(b"B" + bytes(8) + id.to_bytes(4, "big") + match.to_bytes(8, "big") + b"E" + b"0" * 14)


def modified(id: int, quantity: int, side: bytes = b"B") -> bytes:
    return sequenced(b"M" + bytes(8) + id.to_bytes(4, "big") + side + quantity.to_bytes(4, "big"))


def renamed(answer: bytes, symbol: bytes) -> bytes:
    return answer.replace(b"BTCUSDT ", symbol.ljust(8))


def with_terms(answer: bytes, terms: bytes) -> bytes:
    """An Accepted with these: time in force, display, capacity, sweep, cross, order state."""
    reference = answer.index(b"0Y") + 2
    assert answer[reference + 8 : reference + 12] == b"PNNL"
    return (
        answer[: reference - 2] + terms[:2] + answer[reference : reference + 8] + terms[2:] + answer[reference + 12 :]
    )


BOUGHT = accepted(1) + executed(1, 2, match=7)

#: By name: the answers to the purchase of 5 at 100.01, what is counted, the position and what is open of the purchase.
SAID = {
    "more executed than open": (accepted(1) + executed(1, 7), "executed", 7, 0),
    "an execution of an order that is done": (BOUGHT + canceled(1, 3) + executed(1, 1), "executed", 3, 0),
    "an execution of an order never sent": (executed(2, 5), "order", 0, 5),
    "an execution of order 0": (executed(0, 5), "order", 0, 5),
    "an execution at a worse price": (accepted(1) + executed(1, 2, 1_000_200), "price", 2, 3),
    "an execution at no price": (accepted(1) + executed(1, 2, 0), "price", 2, 3),
    "an execution told twice": (BOUGHT + executed(1, 2, match=7), "match", 2, 3),
    "an execution told twice, of match 0": (accepted(1) + 2 * executed(1, 2, match=0), "match", 2, 3),
    "another execution of one match": (BOUGHT + executed(1, 1, 1_000_000, match=7), "match", 2, 3),
    "an execution that was broken": (BOUGHT + broken(1, 7) + executed(1, 1, match=7), "match", 0, 3),
    "a broken trade of match 0 that nobody knows": (BOUGHT + broken(1, 0), "match", 2, 3),
    "an acceptance of another side": (accepted(1, side=b"S") + executed(1, 2), "side", -2, 0),
    "an acceptance of another symbol": (renamed(accepted(1), b"MSFT"), "symbol", 0, 5),
    "an acceptance of more": (accepted(1, 6), "size", 0, 6),
    "an acceptance of less": (accepted(1, 4), "size", 0, 4),
    "an acceptance at a worse price": (accepted(1, price=1_000_101), "price", 0, 5),
    **{
        f"an acceptance of another {name}": (with_terms(accepted(1), terms), "answer", 0, 5)
        for name, terms in {"time in force": b"3YPNNL", "display": b"0NPNNL", "capacity": b"0YANNL", "sweep": b"0YPYNL",
                            "cross": b"0YPNOL", "order state": b"0YPNN?"}.items()
    },
    "an acceptance of another side behind the whole execution": (executed(1, 5) + accepted(1, side=b"S"), "side", 5, 0),
    "a second acceptance": (accepted(1) + accepted(1), "answer", 0, 5),
    "an acceptance of an order that is done": (BOUGHT + canceled(1, 3) + accepted(1), "answer", 2, 0),
    "an acceptance of an order never sent": (accepted(2), "order", 0, 10),
    "an Enter Order that replaced another": (replaced(9, 1, 5), "answer", 0, 5),
    "a cancel of more than is open": (BOUGHT + canceled(1, 4), "canceled", 2, 0),
    "a cancel of an order that is done": (rejected(1) + canceled(1, 5), "canceled", 0, 0),
    "a cancel of an order never sent": (canceled(2, 1), "order", 0, 5),
    "a reject of an order that was executed": (BOUGHT + rejected(1), "answer", 2, 0),
    "a reject of an order that is done": (rejected(1) + rejected(1), "answer", 0, 0),
    "a modification upward": (accepted(1) + modified(1, 9), "size", 0, 9),
    "a modification of the side": (accepted(1) + modified(1, 3, b"S"), "side", 0, 0),
    "a broken trade that nobody knows": (BOUGHT + broken(1, 8), "match", 2, 3),
    "a trade broken twice": (BOUGHT + broken(1, 7) + broken(1, 7), "match", 0, 3),
    "a broken trade of another order": (BOUGHT + broken(2, 7), "match", 2, 3),
    "an expected number that is used": (accepted(1) + query_answer(1), "session", 0, 5),
    "a quantity of a million": (accepted(1) + executed(1, 1_000_000), "value", 0, 5),
    "an execution of nothing": (accepted(1) + executed(1, 0), "value", 0, 5),
}  # fmt: skip


@pytest.mark.parametrize("said", SAID)
def test_what_cannot_be_shuts_the_gate(hand: Callable[..., Hand], said: str) -> None:
    answers, kind, position, open_buy = SAID[said]
    h = hand()
    h.orders = [order()]
    with h.connect() as peer:
        h.tick()
        peer.sendall(answers)
        h.settle(count(answers))
        row, c = h.reading.symbols[0], h.counters
        assert (row.position, row.open_buy) == (position, open_buy)
        assert c[f"contradicted_{kind}"] == 1 and c["contradicted"] > 0
        assert sum(n for name, n in c.items() if name.startswith("contradicted_")) == 1
        # No order passes; a Cancel does, and the open ones are cancelled.
        h.tick()
        assert (h.counters["reject_contradicted"], h.counters["orders_sent"]) == (1, 1)
        assert h.reading.limits["kill"] == 1
        h.engine.do_housekeeping()
        h.engine.step_session()
        assert h.counters.get("cancels_sent", 0) == h.counters.get("orders_open", 0)
        # A person has looked.
        h.set_limits(kill=0)
        h.engine.do_housekeeping()
        h.tick()
        assert h.counters["orders_sent"] == 2 and "contradicted" not in h.counters


@pytest.mark.parametrize("side", [b"T", b"E"])
def test_a_sale_that_is_accepted_as_a_short_one_is_a_contradiction(hand: Callable[..., Hand], side: bytes) -> None:
    h = hand()
    h.orders = [order(side=-1)]
    with h.connect() as peer:
        h.tick()
        peer.sendall(accepted(1, side=side))
        h.settle(1)
        assert (h.counters["contradicted_side"], h.reading.symbols[0].open_sell) == (1, 5)


def test_what_comes_to_be_open_behind_the_kill_is_cancelled_too(hand: Callable[..., Hand]) -> None:
    """A Replace that was under way: the Cancel of the order that it replaces comes too late."""
    h = hand()
    h.orders = [order()]
    with h.connect() as peer:

        def look() -> int:
            h.engine.do_housekeeping()
            h.engine.step_session()
            return h.counters.get("cancels_sent", 0)

        h.tick()
        peer.sendall(accepted(1))
        h.settle(1)
        h.orders = [order(100.0, 3, action=REPLACE, id=1)]
        h.tick()
        h.set_limits(kill=1)
        assert (look(), look()) == (1, 1)
        peer.sendall(replaced(1, 2, 3))
        h.settle(1)
        assert (h.counters["orders_open"], look(), look()) == (1, 2, 2)
        sent = b""
        peer.settimeout(10)
        while b"X\0\0\0\2" not in sent:
            sent += peer.recv(65536)


def count(answers: bytes) -> int:
    """Of the packets in a stream."""
    found = 0
    while answers:
        answers = answers[2 + int.from_bytes(answers[:2], "big") :]
        found += 1
    return found


FINE = {
    "a better price": (accepted(1, price=1_000_000) + executed(1, 5, 1_000_100), 5, 0),
    "executed before it is accepted": (executed(1, 2) + accepted(1), 2, 3),
    "executed whole before it is accepted": (executed(1, 5) + accepted(1), 5, 0),
    "dead": (accepted(1, state=b"D"), 0, 0),
    "a broken trade of match 0": (accepted(1) + executed(1, 2, match=0) + broken(1, 0), 0, 3),
    "a broken trade": (BOUGHT + broken(1, 7), 0, 3),
    "a broken trade of an order that is done": (BOUGHT + canceled(1, 3) + broken(1, 7), 0, 0),
    "modified downward": (accepted(1) + modified(1, 2), 0, 2),
    "modified to nothing": (accepted(1) + modified(1, 0), 0, 0),
    "two executions of the same size": (BOUGHT + executed(1, 2, match=8), 4, 1),
}


@pytest.mark.parametrize("said", FINE)
def test_what_may_be_does_not(hand: Callable[..., Hand], said: str) -> None:
    answers, position, open_buy = FINE[said]
    h = hand()
    h.orders = [order()]
    with h.connect() as peer:
        h.tick()
        peer.sendall(answers)
        h.settle(count(answers))
        h.tick()
        read_all(peer, 100)
    row = h.reading.symbols[0]
    assert (row.position, row.open_buy) == (position, open_buy + 5)
    assert not any(name.startswith("contradicted") for name in h.counters)


def test_no_number_is_used_twice_at_the_end_of_the_numbers(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.orders = [order()]
    with h.connect() as peer:
        peer.sendall(query_answer(2**32 - 1))
        h.settle(1)
        for _ in range(3):
            h.tick()
        assert read_all(peer, 50)[4:8] == b"\xff\xff\xff\xff"
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)
    assert (h.counters["orders_sent"], h.counters["reject_exhausted"]) == (1, 2)


def test_an_order_that_was_modified_to_nothing_keeps_the_side_that_was_said(tmp_path: Path) -> None:
    sequence = Sequence(0, tmp_path)
    buy(sequence)
    sequence.answer(Answer(b"A", 1, quantity=5, price=1_000_000))
    sequence.answer(Answer(b"M", 1, side=b"S"))
    sequence.restart()
    sequence.answer(execute(2, 2))
    sequence.check()
    sequence.check_journal()
    assert sequence.model.positions == [-2, 0]
