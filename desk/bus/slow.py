"""A subscriber that is slow: its events wait in a queue of bounded length, and it takes them one after the other, as a
task of the loop (`async def`) or in a thread of its own."""

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from desk.bus.faults import Faults
from desk.bus.mark import Mark
from desk.bus.threads import Worker

#: Events that an `async def` which never waits handles before the loop has a turn.
_TURN = 64
#: Seconds that an `async def` which was cancelled may take to end.
_CANCELLED = 0.2


class Owner(Protocol):
    """The bus, as its slow subscribers use it."""

    faults: Faults

    def resume(self, slow: "SlowSubscriber") -> None:
        """Go on with the delivery that this one's full queue has stopped."""

    def publish_soon(self, event: Any) -> None:
        """Publish from another thread."""


class Blocked(BaseException):
    """Delivery stops at this subscriber. Not an Exception: no handler is between, and none may swallow it."""

    def __init__(self, slow: "SlowSubscriber") -> None:
        self.slow = slow


class SlowSubscriber:
    """The queue before a function, and what empties it. name: of the function. handled, dropped, blocked: how many
    events were taken, were lost at a full queue, and have stopped delivery. most_waiting: the longest queue. at_work:
    whether an event is being handled."""

    def __init__(self, bus: Owner, name: str, function: Callable[..., Any], mark: Mark) -> None:
        self.name, self.size, self.policy = name, mark.queue, mark.policy
        self.handled = self.dropped = self.blocked = self.most_waiting = 0
        self._bus, self._function = bus, function
        self._thread = None if inspect.iscoroutinefunction(function) else Worker(name)
        self._queue: deque[Any] = deque()
        self._wake: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self.at_work = self._ended = False

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._queue)

    @property
    def working(self) -> bool:
        """Whether an event waits, or is being handled."""
        return bool(self._queue) or self.at_work

    def take(self, event: Any, bus: Any) -> None:
        """Put an event into the queue, or do at a full one what the policy says. Raises Blocked."""
        queue = self._queue
        if len(queue) >= self.size:
            if self.policy == "block":
                self.blocked += 1
                raise Blocked(self)
            self.dropped += 1
            if self.policy == "drop_newest":
                return
            queue.popleft()
        self.put(event)

    def put(self, event: Any) -> None:
        """Put an event into the queue, which has a place for it."""
        self._queue.append(event)
        self.most_waiting = max(self.most_waiting, len(self._queue))
        if self._wake is not None:
            self._wake.set()

    def start(self) -> None:
        """Begin to take events: on the loop."""
        self._wake = asyncio.Event()
        if self._queue:
            self._wake.set()
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def end(self) -> bool:
        """Stop; an `async def` that is at work is cancelled. Returns whether it has ended: a thread cannot be made to,
        and an `async def` may swallow its cancellation and go on."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CANCELLED)
        return (self._task is None or self._task.done()) and not (self._thread and self._thread.busy)

    async def _work(self) -> None:
        assert self._wake is not None
        task, from_thread = asyncio.current_task(), _FromThread(self._bus)
        # The flag, and not the cancellation alone, which the function may have swallowed.
        while not self._ended:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            event = self._queue.popleft()
            self.at_work = True
            self._bus.resume(self)
            try:
                if self._thread is None:
                    await self._function(event, self._bus)
                else:
                    await self._thread.call(self._function, event, from_thread)
            except BaseException as error:  # of any kind: else its queue would stand for ever, and no one be told
                if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                    raise
                if isinstance(error, GeneratorExit) and error.__traceback__ and error.__traceback__.tb_next is None:
                    raise  # raised here, by what closes this coroutine
                self._bus.faults.add(self.name, error)
            finally:
                self.at_work = False
            self.handled += 1
            if self.handled % _TURN == 0:
                await asyncio.sleep(0)


class _FromThread:
    """The bus for a function in another thread."""

    def __init__(self, bus: Owner) -> None:
        self.publish = self.publish_soon = bus.publish_soon
