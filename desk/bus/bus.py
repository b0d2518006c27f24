"""The bus: each event is handed to its subscribers on the loop, at once and in one order for all of them.

The guarantees, which tests/unit/desk/bus/test_bus.py holds against a slow model:

1. One order. Events are delivered in the order of their publish() calls. An event goes to all of its subscribers, in
   the order of their subscriptions, before the next event goes to any.
2. At once. publish() from outside of a handler returns when the event, and all that its handlers published, has been
   delivered. Exceptions to this: a full queue whose policy is "block", and more than YIELD_AFTER events in one call,
   after which the rest is delivered in the loop's next turn, so that no chain of events stops the loop.
3. Re-entrancy. publish() inside of a handler puts the event behind all that are waiting, and returns at once: no
   handler is called inside of another one.
4. A handler's exception reaches no one else: it is counted and named, and the event goes on to the others.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from operator import length_hint
from typing import Any, NamedTuple

from desk.bus.events import Event
from desk.bus.faults import BESIDE, Faults
from desk.bus.mark import Mark, Policy, check_function, check_mark
from desk.bus.slow import Blocked, SlowSubscriber
from desk.errors import DeskError

Handler = Callable[[Any, "Bus"], Any]
#: Events that one publish() call delivers before the loop has a turn.
YIELD_AFTER = 10_000
_TURN = range(YIELD_AFTER)
#: Events that may wait for their delivery, at most: several times as many as handlers publish that mean to.
MOST_PENDING = 1_000_000
#: Events of other threads that are published in one turn of the loop.
_SOON = 256


class BusError(DeskError):
    """What was published cannot be delivered."""


class Subscriber:
    """One function that gets the events of one class. call: what is called with (event, bus). name: MODULE.FUNCTION.
    where: FILE:LINE of the function, "" where it does not say. slow: its queue, where it has one."""

    __slots__ = ("call", "name", "slow", "where")

    def __init__(self, bus: "Bus", function: Handler, mark: Mark) -> None:
        code = getattr(function, "__code__", None)
        module, name = getattr(function, "__module__", "") or "", getattr(function, "__qualname__", repr(function))
        self.name = f"{module}.{name}" if module else name
        self.where = f"{code.co_filename}:{code.co_firstlineno}" if code else ""
        self.slow = SlowSubscriber(bus, self.name, function, mark) if mark.queue else None
        self.call: Handler = self.slow.take if self.slow else function


class Route:
    """Where the events of one class go, and how many they were. calls: of the subscribers, in their order."""

    __slots__ = ("calls", "count", "subscribers")

    def __init__(self) -> None:
        self.subscribers: tuple[Subscriber, ...] = ()
        self.calls: tuple[Handler, ...] = ()
        self.count = 0

    def add(self, subscriber: Subscriber) -> None:
        """Add one behind the others, from the next event on."""
        self.subscribers = (*self.subscribers, subscriber)
        self.calls = (*self.calls, subscriber.call)


class Delivery(NamedTuple):
    """One event on its way. rest: the calls that come behind the one that is made, of all of its route's calls."""

    event: Any
    route: Route
    calls: tuple[Handler, ...]
    rest: Iterator[Handler]

    @property
    def name(self) -> str:
        """Of the subscriber whose call is made: subscribers are only added, behind the others."""
        return self.route.subscribers[len(self.calls) - length_hint(self.rest) - 1].name


class Bus:
    """One bus, on one loop, of one thread. faults: what counts handlers' exceptions.

    Only publish_soon() may be called from another thread.
    """

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        #: Subscribers that drain() could not end.
        self.stuck: list[str] = []
        self._routes: dict[type, Route] = {}
        self._pending: deque[Any] = deque()
        self._busy = False
        #: What other threads have published, and whether the loop is going to take it.
        self._soon: deque[Any] = deque()
        self._soon_due = False
        #: The delivery that a full queue has stopped, and whose queue.
        self._blocked: tuple[SlowSubscriber, Delivery] | None = None
        self._idle: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def subscribe(
        self, kind: type[Event], function: Handler, queue: int = 0, policy: Policy = "drop_oldest"
    ) -> Subscriber:
        """Let a function get every event of exactly this class, from the next one on. Arguments as of desk.bus.on().
        Returns the subscription. Raises DeskError."""
        name = getattr(function, "__qualname__", repr(function))
        mark = Mark(kind, queue, policy)
        check_mark(mark, name)
        check_function(function, queue, name)
        subscriber = Subscriber(self, function, mark)
        self._routes.setdefault(kind, Route()).add(subscriber)
        if subscriber.slow and self._loop is not None:
            subscriber.slow.start()
        return subscriber

    @property
    def subscribers(self) -> list[Subscriber]:
        """All subscriptions, in their order for each class."""
        return [one for route in self._routes.values() for one in route.subscribers]

    @property
    def counts(self) -> dict[str, int]:
        """Events that were delivered, by the name of their class; those of two classes with one name add up."""
        found: dict[str, int] = {}
        for kind, route in self._routes.items():
            found[kind.__name__] = found.get(kind.__name__, 0) + route.count
        return found

    @property
    def blocked(self) -> bool:
        """Whether a full queue stops delivery."""
        return self._blocked is not None

    def publish(self, event: Any) -> None:
        """Deliver an event; inside of a handler: as soon as those that wait are delivered. Raises BusError for what is
        no event, and where MOST_PENDING wait."""
        if type(event) not in self._routes:
            self._add_route(event)
        if not self._busy:
            self._deliver(event)
            return
        pending = self._pending
        if len(pending) >= MOST_PENDING:
            raise BusError(f"{MOST_PENDING:,} events wait to be delivered: the handlers publish more than they take")
        pending.append(event)

    def publish_soon(self, event: Any) -> None:
        """Publish an event on the loop: from any thread. Raises BusError for what is no event, where the loop does
        not run, and where MOST_PENDING wait."""
        _require_event(event)
        if self._loop is None or self._loop.is_closed():
            raise BusError("publish_soon: the loop of this bus does not run")
        if len(self._soon) >= MOST_PENDING:
            raise BusError(
                f"{MOST_PENDING:,} events wait to be published: other threads publish more than is delivered"
            )
        self._soon.append(event)
        if not self._soon_due:
            self._soon_due = True
            self._loop.call_soon_threadsafe(self._take_soon)

    async def send(self, event: Any) -> None:
        """Publish an event, then wait until it is delivered: a full queue may stop delivery. For sources: a handler
        that waits here for its own full queue waits for ever."""
        self.publish(event)
        if self._busy:
            await self.wait_for_delivery()

    async def wait_for_delivery(self) -> None:
        """Wait until nothing that was published waits for its delivery."""
        while self._busy:
            if self._idle is None:
                self._idle = asyncio.Event()
            await self._idle.wait()

    def start(self) -> None:
        """Begin: from the loop, before the first event."""
        self._loop = asyncio.get_running_loop()
        for subscriber in self.subscribers:
            if subscriber.slow:
                subscriber.slow.start()

    async def drain(self, seconds: float) -> int:
        """Wait until every queue is empty and every slow subscriber at rest, at most so long; then end them all.
        Returns how many events were left: not delivered, or not handled to the end."""
        slow = [one.slow for one in self.subscribers if one.slow]
        loop = asyncio.get_running_loop()
        limit = loop.time() + seconds
        while (self._soon or self._busy or any(one.working for one in slow)) and loop.time() < limit:
            await asyncio.sleep(0.002)
        left = (
            len(self._soon) + len(self._pending) + bool(self._blocked) + sum(one.waiting + one.at_work for one in slow)
        )
        for one, ended in zip(slow, await asyncio.gather(*(one.end() for one in slow)), strict=True):
            self.stuck += [] if ended else [one.name]
        return left

    def resume(self, slow: SlowSubscriber) -> None:
        """Go on with the delivery that this subscriber's full queue has stopped, if it has: there is a place now."""
        if self._blocked is None or self._blocked[0] is not slow:
            return
        (_, delivery), self._blocked = self._blocked, None
        slow.put(delivery.event)
        if self._finish(delivery, None):
            self._go_on()

    def _take_soon(self) -> None:
        """Publish what other threads have published, and let the loop have its turns meanwhile."""
        self._soon_due = False  # first: what comes from here on is taken below, or by another call
        for _ in range(_SOON):
            if not self._soon:
                return
            try:
                self.publish(self._soon.popleft())
            except BusError as error:
                self.faults.add(BESIDE, error)
        self._soon_due = True
        assert self._loop is not None
        self._loop.call_soon(self._take_soon)

    def _add_route(self, event: Any) -> None:
        """Let an event that nobody has subscribed to be counted. Raises BusError."""
        _require_event(event)
        self._routes[type(event)] = Route()

    def _deliver(self, event: Any) -> None:
        """Deliver an event, and what is pending, until nothing is, a full queue stops it, or the loop should have a
        turn."""
        pending, routes = self._pending, self._routes
        self._busy = True
        while True:
            for _ in _TURN:
                route = routes[type(event)]
                route.count += 1
                calls = route.calls
                rest = iter(calls)
                try:
                    for call in rest:
                        call(event, self)
                except BaseException as error:
                    if not self._finish(Delivery(event, route, calls, rest), error):
                        return
                if not pending:
                    self._rest()
                    return
                event = pending.popleft()
            if self._loop is not None:
                # Still busy: what is published meanwhile goes behind what waits.
                pending.appendleft(event)
                self._loop.call_soon(self._go_on)
                return

    def _go_on(self) -> None:
        if self._pending:
            self._deliver(self._pending.popleft())
        else:
            self._rest()

    def _rest(self) -> None:
        """Nothing is delivered any more."""
        self._busy = False
        if self._idle is not None:
            self._idle.set()
            self._idle = None

    def _finish(self, delivery: Delivery, error: BaseException | None) -> bool:
        """Count the exception of a subscriber, and deliver the event to the rest. Returns whether delivery may go on: a
        full queue may have stopped it."""
        while True:
            if isinstance(error, Blocked):
                self._blocked = error.slow, delivery
                # Its frames hold this one: without it there is no circle for the garbage collector.
                error.__traceback__ = None
                return False
            if isinstance(error, KeyboardInterrupt):
                self._busy = False
                raise error
            if error is not None:
                self.faults.add(delivery.name, error)
            error = None
            try:
                for call in delivery.rest:
                    call(delivery.event, self)
                return True
            except BaseException as another:
                error = another


def _require_event(event: Any) -> None:
    if not isinstance(event, Event):
        found = type(event).__qualname__
        raise BusError(f"publish: found {found}, allowed: an object of a class derived from Event")
