"""The bus against a slow model of it: order, re-entrancy, exceptions, and what is refused."""

import asyncio
import time
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.bus import Bus, BusError, Event, Signal, on
from desk.bus import bus as bus_module
from desk.errors import DeskError
from tests.cpu_time import is_within

from .buses import KINDS, LOOPS, A, B, C, make_bus, run

#: For each subscriber: its kind, and what it publishes for each event number (kinds), at most 3 levels deep.
tables = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.lists(st.integers(0, 2), max_size=3), min_size=4, max_size=4)),
    min_size=1, max_size=5,
)  # fmt: skip


@given(tables, st.lists(st.integers(0, 2), min_size=1, max_size=4))
@settings(deadline=None, max_examples=200)
def test_there_is_one_order(table: list[tuple[int, list[list[int]]]], published: list[int]) -> None:
    """Each event goes to all of its subscribers, in their order, before the next one goes to any."""
    wanted, seen = [], []
    waiting: deque[tuple[int, int]] = deque()
    for kind in published:
        waiting.append((kind, 0))
        while waiting:
            kind, level = waiting.popleft()
            for index, (subscribed, children) in enumerate(table):
                if subscribed == kind:
                    wanted.append((index, kind, level))
                    waiting.extend((child, level + 1) for child in (children[level] if level < 3 else ()))
    bus, running = make_bus(), []

    def subscribe(index: int, kind: int, children: list[list[int]]) -> None:
        def handle(event: Any, bus: Bus) -> None:
            assert not running, "a handler within another one"
            running.append(1)
            seen.append((index, kind, event.n))
            for child in children[event.n] if event.n < 3 else ():
                bus.publish(KINDS[child](event.n + 1))
            running.pop()

        bus.subscribe(KINDS[kind], handle)

    for index, (kind, children) in enumerate(table):
        subscribe(index, kind, children)
    for kind in published:
        bus.publish(KINDS[kind](0))
    assert seen == wanted
    assert sum(bus.counts.values()) >= len(published)


@LOOPS
def test_a_chain_without_an_end_lets_the_loop_have_its_turn(make_loop: Any) -> None:
    async def work() -> int:
        bus, over = make_bus(), False

        def again(event: A, bus: Bus) -> None:
            if not over:
                bus.publish(A(event.n + 1))

        bus.subscribe(A, again)
        bus.start()
        bus.publish(A(0))
        await asyncio.sleep(0.01)
        over = True
        await bus.wait_for_delivery()
        return bus.counts["A"]

    assert run(work(), make_loop) > bus_module.YIELD_AFTER


def test_too_many_waiting_events_are_an_error_of_their_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "MOST_PENDING", 10)
    said: list[str] = []
    bus = make_bus(said)
    seen: list[int] = []

    def flood(event: A, bus: Bus) -> None:
        for n in range(20):
            bus.publish(B(n))

    bus.subscribe(A, flood)
    bus.subscribe(B, lambda event, bus: seen.append(event.n))
    bus.publish(A(0))
    assert seen == list(range(10))
    assert len(said) == 1
    assert "10 events wait to be delivered" in said[0]


def test_an_exception_is_named_and_counted_and_reaches_no_one_else() -> None:
    said: list[str] = []
    bus, seen = make_bus(said), []

    def wrong(event: A, bus: Bus) -> None:
        raise ValueError(f"event\x1b[31m {event.n}\nx")

    def leave(event: A, bus: Bus) -> None:
        raise SystemExit(3)

    bus.subscribe(A, wrong)
    bus.subscribe(A, leave)
    bus.subscribe(A, lambda event, bus: seen.append(event.n))
    for n in range(3):
        bus.publish(A(n))
    assert seen == [0, 1, 2]
    name = f"{__name__}.test_an_exception_is_named_and_counted_and_reaches_no_one_else.<locals>"
    assert bus.faults.counts == {f"{name}.wrong": 3, f"{name}.leave": 3}
    # Each place once, whatever its text is.
    assert len(said) == 2
    assert f"{__file__}:{wrong.__code__.co_firstlineno + 1}: ValueError: event" in said[0]
    assert not set("\x1b\n") & set(said[0])
    assert "SystemExit: 3" in said[1]
    assert bus.faults.recent


def test_the_users_interrupt_is_no_fault() -> None:
    bus = make_bus()

    def interrupt(event: A, bus: Bus) -> None:
        raise KeyboardInterrupt

    bus.subscribe(A, interrupt)
    with pytest.raises(KeyboardInterrupt):
        bus.publish(A(0))
    assert bus.faults.counts == {}
    with pytest.raises(KeyboardInterrupt):  # and the bus is not stuck behind it
        bus.publish(A(1))


@pytest.mark.parametrize("what", [None, 1, "A", object(), A])
def test_what_is_no_event_is_refused(what: Any) -> None:
    bus = make_bus()
    for publish in (bus.publish, bus.publish_soon):
        with pytest.raises(BusError, match="allowed: an object of a class derived from Event"):
            publish(what)
    with pytest.raises(BusError, match="does not run"):
        bus.publish_soon(A(0))
    assert bus.counts == {}


def test_events_of_two_classes_with_one_name_add_up() -> None:
    bus, seen = make_bus(), []
    other = type("A", (Event,), {"__module__": "other"})
    bus.subscribe(A, lambda event, bus: seen.append(A))
    bus.subscribe(other, lambda event, bus: seen.append(other))
    for event in (A(1), other(), other()):
        bus.publish(event)
    assert (bus.counts, seen) == ({"A": 3}, [A, other, other])


def test_an_event_that_nobody_wants_is_counted() -> None:
    bus = make_bus()
    bus.publish(C(0))
    assert bus.counts == {"C": 1}


@pytest.mark.parametrize(("arguments", "options", "words"), [
    ((int,), {}, "found the class int, allowed: "),
    ((Event,), {}, "allowed: "),
    (("Signal",), {}, "found 'Signal'"),
    ((A,), {"queue": -1}, "queue: found -1, allowed: a whole number from 0 to 1,000,000"),
    ((A,), {"queue": 1_000_001}, "queue: found 1000001"),
    ((A,), {"queue": True}, "queue: found True"),
    ((A,), {"queue": 1, "policy": "drop"}, "policy: found 'drop', allowed: drop_oldest, drop_newest, block"),
])  # fmt: skip
def test_wrong_marks_are_refused(arguments: tuple[Any, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(DeskError) as found:
        on(*arguments, **options)(lambda event, bus: None)
    assert words in str(found.value)
    assert str(found.value).startswith(f"{__file__}:")
    with pytest.raises(DeskError, match="found"):
        make_bus().subscribe(arguments[0], lambda event, bus: None, **options)


def test_functions_that_cannot_be_handlers_are_refused() -> None:
    def generator(event: A, bus: Bus) -> Any:
        yield

    async def coroutine(event: A, bus: Bus) -> None: ...

    def one(event: A) -> None: ...

    wrong: dict[Any, str] = {
        generator: "found a generator",
        coroutine: "found async def without a queue",
        one: "allowed: a function of (event, bus)",
        3: "found 3, allowed: a function",
    }
    for function, words in wrong.items():
        with pytest.raises(DeskError) as found:
            on(A)(function)
        assert words in str(found.value)


def test_a_function_with_two_marks_gets_both() -> None:
    from desk.bus.mark import ATTRIBUTE

    @on(A)
    @on(Signal, queue=3)
    def both(event: Event, bus: Bus) -> None: ...

    assert [(mark.kind, mark.queue) for mark in getattr(both, ATTRIBUTE)] == [(A, 0), (Signal, 3)]


def test_delivery_is_at_once_and_fast() -> None:
    """An absolute time would depend on the machine: a million publications in a minute do not."""
    bus, seen = make_bus(), []
    bus.subscribe(A, lambda event, bus: seen.append(event))
    begin = time.process_time()
    for n in range(20_000):
        bus.publish(A(n))
        assert len(seen) == n + 1
    assert is_within(time.process_time() - begin, 1.2)
