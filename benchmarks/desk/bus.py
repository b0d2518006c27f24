"""Five stages, from market data to an execution, over the bus and over one as they are often written: a queue for all
events, a task that waits for the next one for a millisecond at a time, and a gather() over `async` handlers.

Both do the same on the same loop, one after the other in each round: a signal, a risk check, an order and its execution
for each market data event. A rate is that of market data events that have gone through all five stages: the best of
PASSES slices, since what else the machine does only ever adds. A latency is from the publication of one to the call of
the last handler, the median.
"""

import asyncio
import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.agent.sample import BenchError, Sample
from desk.bus import Bus, Executed, MarketData, OrderReady, RiskPassed, Signal
from desk.bus.run import choose_loop

PASSES, EVENTS, EVENTS_QUEUED, LATENCIES = 50, 1_000, 100, 400
#: Events a second that are promised, and the share of the other's latency.
RATE, LATENCY = 500_000, 0.03
TICK = MarketData("main", "BTCUSDT", 0, 6_000_000_000_000, 1, 6_000_100_000_000, 1)


class Ours:
    """The bus, with a handler for each stage."""

    def __init__(self) -> None:
        self.bus, self.executed, self.at = Bus(), 0, 0
        for kind, handler in ((MarketData, self.think), (Signal, self.check), (RiskPassed, self.order),
                              (OrderReady, self.execute), (Executed, self.count)):  # fmt: skip
            self.bus.subscribe(kind, handler)

    def think(self, event: MarketData, bus: Bus) -> None:
        bus.publish(Signal(event.symbol, event.time_ns, 1))

    def check(self, event: Signal, bus: Bus) -> None:
        bus.publish(RiskPassed(event.symbol, event.time_ns, event.side, 10, 6_000_100_000_000))

    def order(self, event: RiskPassed, bus: Bus) -> None:
        bus.publish(OrderReady(event.symbol, event.time_ns, event.side, event.quantity, event.price))

    def execute(self, event: OrderReady, bus: Bus) -> None:
        bus.publish(Executed("", event.symbol, event.time_ns, event.side, event.quantity, event.price, event.id))

    def count(self, event: Executed, bus: Bus) -> None:
        self.executed += 1
        self.at = time.perf_counter_ns()

    async def measure(self) -> tuple[float, float]:
        """Returns market data events a second, and the median latency, ns."""
        self.bus.start()
        best = 0.0
        for _ in range(PASSES):
            before, begin = self.executed, time.perf_counter_ns()
            for _ in range(EVENTS):
                self.bus.publish(TICK)
            best = max(best, EVENTS * 1e9 / (time.perf_counter_ns() - begin))
            if self.executed - before != EVENTS:
                raise BenchError(f"bus: {self.executed - before} of {EVENTS} events came through")
            await asyncio.sleep(0)
        times = []
        for _ in range(LATENCIES):
            begin = time.perf_counter_ns()
            self.bus.publish(TICK)
            times.append(self.at - begin)
            await asyncio.sleep(0)
        return best, statistics.median(times)


class Queued:
    """The other design: every event through one queue, each handler a coroutine of a gather()."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.subscribers: dict[type, list[Callable[[Any], Any]]] = defaultdict(list)
        self.executed, self.at = 0, 0
        self.running = True
        self.done = asyncio.Event()
        self.wanted = 0
        for kind, handler in ((MarketData, self.think), (Signal, self.check), (RiskPassed, self.order),
                              (OrderReady, self.execute), (Executed, self.count)):  # fmt: skip
            self.subscribers[kind].append(handler)

    async def publish(self, event: Any) -> None:
        await self.queue.put(event)

    async def process_events(self) -> None:
        while self.running:
            try:
                event = await asyncio.wait_for(self.queue.get(), timeout=0.001)
            except TimeoutError:
                continue
            await asyncio.gather(*(handler(event) for handler in self.subscribers[type(event)]), return_exceptions=True)

    async def think(self, event: MarketData) -> None:
        await self.publish(Signal(event.symbol, event.time_ns, 1))

    async def check(self, event: Signal) -> None:
        await self.publish(RiskPassed(event.symbol, event.time_ns, event.side, 10, 6_000_100_000_000))

    async def order(self, event: RiskPassed) -> None:
        await self.publish(OrderReady(event.symbol, event.time_ns, event.side, event.quantity, event.price))

    async def execute(self, event: OrderReady) -> None:
        await self.publish(
            Executed("", event.symbol, event.time_ns, event.side, event.quantity, event.price, event.id)
        )  # fmt: skip

    async def count(self, event: Executed) -> None:
        self.executed += 1
        self.at = time.perf_counter_ns()
        if self.executed == self.wanted:
            self.done.set()

    async def measure(self) -> tuple[float, float]:
        """Returns market data events a second, and the median latency, ns."""
        task = asyncio.create_task(self.process_events())
        best = 0.0
        for _ in range(PASSES // 5):
            begin = time.perf_counter_ns()
            await self._publish(EVENTS_QUEUED)
            best = max(best, EVENTS_QUEUED * 1e9 / (time.perf_counter_ns() - begin))
        times = []
        for _ in range(LATENCIES):
            begin = time.perf_counter_ns()
            await self._publish(1)
            times.append(self.at - begin)
        self.running = False
        await task
        return best, statistics.median(times)

    async def _publish(self, count: int) -> None:
        self.wanted = self.executed + count
        self.done.clear()
        for _ in range(count):
            await self.publish(TICK)
        await asyncio.wait_for(self.done.wait(), 60)


def measure(kind: type[Ours] | type[Queued], make_loop: Callable[[], asyncio.AbstractEventLoop]) -> tuple[float, float]:
    """Returns what one of the two measures on a loop of its own."""

    async def run() -> tuple[float, float]:
        return await kind().measure()

    gc.collect()
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(run())
    finally:
        gc.unfreeze()


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: on asyncio's loop and, where it is installed, on uvloop's, the other design, then ours."""
    name, make = choose_loop("auto")
    loops = {"asyncio": asyncio.new_event_loop, name: make}
    while True:
        samples = []
        for name, make in loops.items():
            rate_queued, latency_queued = measure(Queued, make)
            rate, latency = measure(Ours, make)
            other = f"queue, wait_for and gather, {name}"
            samples += [
                Sample(metric=f"rate, {name}", unit="events/s", ours=rate, reference=RATE, reference_name="limit",
                       better="higher", bar=1.0),
                Sample(metric=f"rate, {name}", unit="events/s", ours=rate, reference=rate_queued, reference_name=other,
                       better="higher"),
                Sample(metric=f"latency, {name}", unit="ns", ours=latency, reference=latency_queued,
                       reference_name=other, bar=LATENCY),
            ]  # fmt: skip
        yield samples
