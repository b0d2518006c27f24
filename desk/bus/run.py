"""`desk run`: a module's handlers on the bus, with the sources of the configuration, until SIGTERM or their end."""

import asyncio
import contextlib
import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.engine.systemd import notify
from agent.errors import AgentError
from desk.bus.bus import Bus
from desk.bus.events import SourceEnded, Started, Stopping
from desk.bus.faults import BESIDE
from desk.bus.load import Marked
from desk.bus.paper import Paper
from desk.bus.pauses import Pauses
from desk.bus.sources import engines, journal, kafka, ring
from desk.bus.sources.source import Source
from desk.bus.watch import LoopWatch
from desk.counters import Counters
from desk.errors import FAILED, DeskError
from desk.settings.kafka import Kafka
from desk.settings.run import Run
from desk.stop import GRACE, Stop
from hosttune.output import escape, print_message

#: Seconds that sources, and tasks that handlers have begun, may take to end when they are cancelled.
_CANCELLED = 0.3
#: Descriptors that an event loop opens until it runs, and some more.
_DESCRIPTORS = 12


def choose_loop(wanted: str) -> tuple[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Returns the name of the event loop, and what makes one: uvloop where it is installed, for "auto". Raises
    DeskError for "uvloop" where it is not."""
    if wanted != "asyncio" and importlib.util.find_spec("uvloop") is not None:
        import uvloop

        return "uvloop", uvloop.new_event_loop
    if wanted == "uvloop":
        raise DeskError("loop: found uvloop, which is not installed, allowed: auto, asyncio")
    return "asyncio", asyncio.new_event_loop


def make_sources(wanted: Run, brokers: Kafka) -> list[Source]:
    """Returns the sources of the configuration; of one without any: every engine."""
    found: list[Source] = [
        *map(engines.Engine, wanted.engines),
        *map(journal.Journal, wanted.journals),
        *map(ring.Ring, wanted.rings),
        *(kafka.Topics(one, brokers) for one in wanted.kafka),
    ]
    return found or [engines.Engines()]


class Runner:
    """One run of a module. name: of its counters; module: its path; marked: its handlers."""

    def __init__(self, name: str, module: Path, marked: list[Marked], wanted: Run, brokers: Kafka) -> None:
        self.name, self.module, self.wanted = name, module, wanted
        self.bus = Bus()
        for function, mark in marked:
            self.bus.subscribe(mark.kind, function, mark.queue, mark.policy)
        self.paper = Paper(self.bus) if wanted.paper_fills else None
        self.sources = make_sources(wanted, brokers)
        self.pauses = Pauses()
        self.watch = LoopWatch(wanted.blocked_ms / 1e3, self._end_by_force)
        self.loop_name, self._make_loop = choose_loop(wanted.loop)
        #: Events that were not handled to the end; the exception that has ended the bus.
        self.left, self.stopped_by = 0, ""
        self.begun = time.monotonic()

    def run(self, count: "Callable[[Runner], tuple[dict[str, int | float], dict[str, str]]]") -> None:
        """Run until SIGTERM or SIGINT, until every source has ended, or until an exception ends it. count: what the
        counters say. Raises AgentError and DeskError for a source that cannot be opened, and for a name that another
        process has."""
        self._count = count
        self._over = asyncio.Event()
        _require_descriptors(self.name)
        self._loop = self._make_loop()
        self._stop = Stop(self._request_end)
        with contextlib.ExitStack() as stack:
            # The last one, behind all that can keep the process from ending.
            stack.callback(self.watch.stop)
            stack.callback(self._loop.close)
            self._counters = stack.enter_context(Counters.open(self.name, "run"))
            for source in self.sources:
                stack.callback(source.close)
                source.open()
            _require_descriptors(self.name)
            self._run_loop()

    def raise_interrupt(self) -> None:
        """Raise KeyboardInterrupt where the user has asked for the end by SIGINT."""
        self._stop.raise_interrupt()

    @property
    def failed(self) -> bool:
        """Whether something was not well: a source, an exception that has ended the bus, events that were left."""
        return bool(self.stopped_by or self.left or self.bus.stuck or any(source.problem for source in self.sources))

    def _request_end(self) -> None:
        self.watch.end_at(time.monotonic() + self.wanted.drain_s + GRACE)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._over.set)

    def _run_loop(self) -> None:
        """Run the loop until _run() is over: what a task or a callback of the module does to the loop is a fault of the
        module's, as an exception is, and ends nothing."""
        whole = self._loop.create_task(self._run())
        while not whole.done():
            try:
                self._loop.run_until_complete(whole)
            except SystemExit as error:
                self.bus.faults.add(BESIDE, error)
            except RuntimeError as error:  # loop.stop()
                if whole.done():
                    raise
                self.bus.faults.add(BESIDE, error)
        whole.result()

    async def _run(self) -> None:
        self._loop.set_exception_handler(self._note_exception)
        self.bus.faults.then = self._obey
        self.bus.start()
        self.pauses.start()
        self.watch.start()
        publishing = asyncio.create_task(self._publish_counters())
        await self.bus.send(Started(time.time_ns()))
        tasks = [asyncio.create_task(self._feed(source)) for source in self.sources]
        over = asyncio.create_task(self._over.wait())
        notify("READY=1")
        print_message(escape(f"desk: run: {self.name}: ready: {self.module}, {len(self.bus.subscribers)} subscriptions"
                             f", {len(self.sources)} sources, {self.loop_name}"))  # fmt: skip
        ended = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait((ended, over, publishing), return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        self._request_end()
        await _cancel(*tasks, ended, over)
        self.bus.publish(Stopping(time.time_ns()))
        self.left = await self.bus.drain(self.wanted.drain_s)
        await _cancel(publishing, *(asyncio.all_tasks() - {asyncio.current_task()}))
        self._counters.publish(*self._count(self))
        self.pauses.stop()
        # Tasks that do not end are named as such, not by the loop.
        self._loop.set_exception_handler(lambda loop, context: None)
        for task in (publishing, *tasks):
            if task.done() and not task.cancelled() and (error := task.exception()):  # a fault of ours
                raise error

    async def _feed(self, source: Source) -> None:
        try:
            await source.run(self.bus)
        except (AgentError, DeskError) as error:
            source.problem = str(error)
            print_message(f"desk: run: source {escape(source.name)} has ended: {escape(source.problem)}")
        await self.bus.send(SourceEnded(source.name, time.time_ns(), source.problem))

    async def _publish_counters(self) -> None:
        while True:
            self._counters.publish(*self._count(self))
            await asyncio.sleep(0.5)

    def _obey(self, line: str) -> None:
        if self.wanted.on_error == "stop" and not self.stopped_by:
            self.stopped_by = line
            self._over.set()

    def _note_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Count what goes wrong in the loop outside of a handler: in a task that a handler has begun, say."""
        error = context.get("exception")
        if isinstance(error, SystemExit):
            return  # of a task: run_until_complete() has raised it, and it is counted
        self.bus.faults.add(BESIDE, error if error is not None else RuntimeError(context["message"]))

    def _end_by_force(self, place: str) -> None:
        """End the process, which was asked to end, and whose loop does not."""
        print_message(f"desk: run: ended by force: {escape(place)} does not end")
        os._exit(FAILED)


def _require_descriptors(name: str) -> None:
    """Raise DeskError where this process cannot open the descriptors that an event loop needs: uvloop ends the process
    there, or cannot be closed."""
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(_DESCRIPTORS):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            raise DeskError(f"{name}: event loop: {error.strerror}") from None


async def _cancel(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks, and wait for their end, but not for those that swallow it."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CANCELLED)
