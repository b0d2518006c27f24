"""Slow subscribers against a slow model of them: policies of full queues, exceptions, threads, the end."""

import asyncio
import threading
from collections import deque
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.bus import Bus

from .buses import LOOPS, A, B, make_bus, run, settle

Policy = Literal["drop_oldest", "drop_newest", "block"]


class Model:
    """A slow subscriber that is let go on by release()."""

    def __init__(self, size: int, policy: str) -> None:
        self.size, self.policy = size, policy
        self.queue: deque[int] = deque()
        self.pending: deque[int] = deque()
        self.hand: int | None = None
        self.seen: list[int] = []
        self.dropped = self.blocked = 0

    def publish(self, n: int) -> None:
        if self.pending:
            self.pending.append(n)
        elif len(self.queue) < self.size:
            self.queue.append(n)
        elif self.policy == "block":
            self.blocked += 1
            self.pending.append(n)
        else:
            self.dropped += 1
            if self.policy == "drop_oldest":
                self.queue.popleft()
                self.queue.append(n)

    def settle(self) -> None:
        if self.hand is None and self.queue:
            self.hand = self.queue.popleft()
            if self.pending:
                self.queue.append(self.pending.popleft())
                if self.pending:
                    self.blocked += 1

    def release(self) -> None:
        if self.hand is not None:
            self.seen.append(self.hand)
            self.hand = None
            self.settle()


@given(st.sampled_from(["drop_oldest", "drop_newest", "block"]), st.integers(1, 4),
       st.lists(st.just(-1) | st.integers(1, 6), max_size=40))  # fmt: skip
@settings(deadline=None, max_examples=200)
def test_a_full_queue_does_what_its_policy_says(policy: Policy, size: int, steps: list[int]) -> None:
    """steps: a burst of so many events; -1: one event is handled."""

    async def work() -> None:
        bus, model = make_bus(), Model(size, policy)
        seen: list[int] = []
        other: list[int] = []
        gate = asyncio.Semaphore(0)

        async def handle(event: A, bus: Bus) -> None:
            await gate.acquire()
            seen.append(event.n)

        slow = bus.subscribe(A, handle, queue=size, policy=policy).slow
        bus.subscribe(A, lambda event, bus: other.append(event.n))
        assert slow
        bus.start()
        n = 0
        for step in steps:
            if step < 0:
                if model.hand is not None:
                    gate.release()
                model.release()
            for _ in range(step):
                model.publish(n)
                bus.publish(A(n))
                n += 1
            await settle()
            model.settle()
            assert (seen, slow.dropped, slow.blocked, slow.waiting) == (
                model.seen, model.dropped, model.blocked, len(model.queue))  # fmt: skip
            assert bus.blocked == bool(model.pending)
        # Nobody beside it loses anything, whatever the policy is.
        for _ in range(n + 1):
            gate.release()
        assert await bus.drain(5) == 0
        assert other == list(range(n))
        while model.hand is not None:
            model.release()
        assert seen == model.seen == sorted(seen)
        assert len(seen) + slow.dropped == n
        assert slow.most_waiting <= size

    run(work())


@LOOPS
@pytest.mark.parametrize("is_async", [True, False])
def test_what_a_slow_subscriber_raises_is_counted_and_it_goes_on(make_loop: Any, is_async: bool) -> None:
    raised: list[BaseException] = [
        ValueError("a"), StopIteration(), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(),
        StopAsyncIteration(),
    ]  # fmt: skip

    async def work() -> None:
        bus = make_bus()
        seen: list[int] = []

        def check(event: A) -> None:
            if event.n < len(raised):
                raise raised[event.n]
            seen.append(event.n)

        def handle(event: A, bus: Bus) -> None:
            assert threading.current_thread() is not threading.main_thread()
            check(event)

        async def handle_async(event: A, bus: Bus) -> None:
            check(event)

        slow = bus.subscribe(A, handle_async if is_async else handle, queue=20).slow
        assert slow
        bus.start()
        for n in range(9):
            bus.publish(A(n))
        assert await bus.drain(5) == 0
        assert seen == [6, 7, 8]
        assert slow.handled == 9
        assert sum(bus.faults.counts.values()) == 6
        assert bus.stuck == []

    run(work(), make_loop)


@LOOPS
def test_a_handler_that_swallows_its_cancellation_is_named_and_takes_no_more(make_loop: Any) -> None:
    async def work() -> tuple[int, list[str], list[int]]:
        bus, begun = make_bus(), []
        over = asyncio.Event()

        async def swallow(event: A, bus: Bus) -> None:
            begun.append(event.n)
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    continue

        async def give_up(event: A, bus: Bus) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return

        bus.subscribe(A, swallow, queue=5)
        bus.subscribe(A, give_up, queue=5)
        bus.start()
        for n in range(3):
            bus.publish(A(n))
        await settle()
        left, stuck = await bus.drain(0.05), list(bus.stuck)
        over.set()
        await asyncio.sleep(0.05)
        return left, stuck, begun

    left, stuck, begun = run(work(), make_loop)
    assert left == 6
    assert [name.rpartition(".")[2] for name in stuck] == ["swallow"]
    assert begun == [0]  # the others were left


@LOOPS
def test_an_async_handler_that_never_waits_lets_the_loop_have_its_turn(make_loop: Any) -> None:
    async def work() -> None:
        bus, turns = make_bus(), 0

        async def handle(event: A, bus: Bus) -> None:
            pass

        slow = bus.subscribe(A, handle, queue=10_000).slow
        assert slow
        bus.start()
        for n in range(10_000):
            bus.publish(A(n))
        while slow.working:
            turns += 1
            await asyncio.sleep(0)
        assert slow.handled == 10_000
        assert turns > 100

    run(work(), make_loop)


def test_a_thread_that_does_not_end_is_named() -> None:
    go_on = threading.Event()

    async def work() -> list[str]:
        bus = make_bus()
        bus.subscribe(A, lambda event, bus: go_on.wait(10), queue=5)
        bus.start()
        bus.publish(A(0))
        await asyncio.sleep(0.05)
        assert await bus.drain(0.05) == 1
        return bus.stuck

    try:
        assert len(run(work())) == 1
    finally:
        go_on.set()


@LOOPS
def test_other_threads_publish_soon(make_loop: Any) -> None:
    async def work() -> None:
        bus, seen = make_bus(), []
        threads = set()

        def take(event: A, bus: Bus) -> None:
            threads.add(threading.current_thread())
            seen.append(event.n)

        def double(event: B, bus: Any) -> None:
            bus.publish(A(event.n))
            bus.publish_soon(A(event.n))

        bus.subscribe(A, take)
        bus.subscribe(B, double, queue=100)
        bus.start()
        for n in range(50):
            bus.publish(B(n))
        assert await bus.drain(5) == 0
        await settle()
        assert seen == [n for n in range(50) for _ in "ab"]
        assert threads == {threading.main_thread()}

    run(work(), make_loop)


def test_a_subscription_in_the_middle_counts_from_the_next_event_on() -> None:
    async def work() -> None:
        bus, seen = make_bus(), []

        async def late(event: A, bus: Bus) -> None:
            seen.append(event.n)

        bus.start()
        bus.publish(A(0))
        bus.subscribe(A, late, queue=4)
        bus.publish(A(1))
        assert await bus.drain(5) == 0
        assert seen == [1]

    run(work())


def test_a_source_waits_while_a_full_queue_blocks() -> None:
    async def work() -> None:
        bus, seen = make_bus(), []

        async def slow(event: A, bus: Bus) -> None:
            await asyncio.sleep(0.001)
            seen.append(event.n)

        one = bus.subscribe(A, slow, queue=2, policy="block").slow
        assert one
        bus.start()
        for n in range(20):
            await bus.send(A(n))
            assert len(seen) >= n - 4
        assert await bus.drain(5) == 0
        assert seen == list(range(20))
        assert one.dropped == 0
        assert one.blocked > 0

    run(work())
