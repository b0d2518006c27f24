"""`desk worker`: a worker from start to end, between its rings."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from agent.engine.systemd import notify
from agent.shm.ring import Ring, RingError
from agent.strategy.cache import use_cache
from desk.counters import Counters
from desk.errors import DeskError
from desk.settings import worker as settings
from desk.settings.kafka import Kafka
from desk.stop import Stop
from desk.worker import _pump, loader
from desk.worker.definition import Prepared, WorkerError
from desk.worker.send import Sender
from hosttune.output import escape, print_message, write_out

#: ns between two looks at whether to end; between two at what brokers have acknowledged; from a result to its sending,
#: at least, so that those that come meanwhile go with it.
_SLICE, _WAITING, _HURRY = 20_000_000, 2_000_000, 1_000_000
#: Seconds between two looks for an input ring that is not there.
_LOOK = 0.1


def run(name: str, wanted: settings.Worker, kafka: Kafka) -> None:
    """Run a worker until SIGTERM or SIGINT, which end it when the batch under way is done. name: of its table; kafka:
    the brokers of its topic.

    Raises WorkerError for a module that cannot be loaded or returns what none may, and for rings that are not its own
    or damaged; CountersError; and what the module raises, against its rules, as WorkerError.
    """
    if wanted.nice:
        os.nice(wanted.nice)
    use_cache("", "$CACHE_DIRECTORY", "desk")
    stop = Stop()
    with contextlib.ExitStack() as stack:
        _pump.explain_signals(_write_epitaphs(name, wanted.module))
        _pump.enter_module(True)
        prepared = loader.prepare(loader.load(wanted.module), wanted.parameters)
        stack.callback(_end_module, prepared)
        _pump.enter_module(False)
        counters = stack.enter_context(Counters.open(f"worker.{name}", "worker"))
        if not _wait_for_input(name, wanted, stop, counters):
            stop.raise_interrupt()
            return
        try:
            source = stack.enter_context(Ring.attach(Path(wanted.input), "reader"))
            target = stack.enter_context(_open_output(wanted, prepared)) if wanted.output else None
            pump = _pump.Pump(
                prepared.loaded.table, prepared.state, source, target, wanted.batch, wanted.wait_us * 1000
            )
            sender = _make_sender(wanted, kafka, stack)
        except (RingError, ValueError, DeskError) as error:
            raise WorkerError(f"worker {name}: {error}") from None
        notify("READY=1")
        ends = f"{wanted.input} to {wanted.output or 'no ring'}"
        write_out(escape(f"ready: worker {name}: {wanted.module}, {ends}") + "\n")
        try:
            while not stop.wanted:
                _check(name, wanted, pump, _run_slice(name, pump, sender))
                if sender:
                    sender.step()
                if counters.due():
                    counters.publish(_count(pump, prepared, source, target, sender), _describe(wanted, sender))
        finally:
            notify("STOPPING=1")
            if sender:
                sender.close()
            counters.publish(_count(pump, prepared, source, target, sender), _describe(wanted, sender))
    stop.raise_interrupt()


def _wait_for_input(name: str, wanted: settings.Worker, stop: Stop, counters: Counters) -> bool:
    """Returns True when the input ring is there, and False when the end is asked for before: the ring's writer, which
    makes it, may start later, and after a boot no ring is there."""
    problem = f"waits for {wanted.input}, which is not there yet: `desk ingest`, or what else writes to it, makes it"
    told = False
    while not stop.wanted and not _is_there(Path(wanted.input)):
        if not told:
            print_message(escape(f"desk: worker {name}: {problem}"))
            told = True
        if counters.due():
            counters.publish({}, {"module": wanted.module, "problem": problem})
        time.sleep(_LOOK)
    return not stop.wanted


def _is_there(path: Path) -> bool:
    """Returns whether there is a file, with something in it: a ring is empty while it is made."""
    try:
        return path.lstat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError:  # the ring is not attached, and says why
        return True


def _write_epitaphs(name: str, module: str) -> dict[int, bytes]:
    """Returns what is said when the module ends the process, by signal."""
    ends = {
        signal.SIGBUS: f"worker {name}: SIGBUS: the file of a ring was cut short, or the module {module} did it",
    }
    numbers = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
    plain = "worker {}: {} in the module {}; the records of its batch are still in the ring"
    texts = {n: ends.get(n, plain.format(name, signal.Signals(n).name, module)) for n in numbers}
    return {int(n): escape(f"desk: {text}")[:500].encode() + b"\n" for n, text in texts.items()}


@contextlib.contextmanager
def _in_module() -> Iterator[None]:
    _pump.enter_module(True)
    try:
        yield
    finally:
        _pump.enter_module(False)


def _end_module(prepared: Prepared) -> None:
    with _in_module():
        prepared.loaded.table.call_fini(prepared.state)


def _open_output(wanted: settings.Worker, prepared: Prepared) -> Ring:
    """Returns the writer of the output ring, which is made where it is missing. Raises RingError and ValueError."""
    path, size = Path(wanted.output), prepared.loaded.table.result_size
    if not size:
        raise ValueError(f"output: found {path}, the worker has no results")
    return Ring.open_writer(path, wanted.capacity, size)


def _make_sender(wanted: settings.Worker, kafka: Kafka, stack: contextlib.ExitStack) -> Sender | None:
    """Returns what sends the results to the worker's topic, None where it has none. Raises RingError and DeskError."""
    if wanted.topic is None:
        return None
    return Sender(kafka, wanted.topic, stack.enter_context(Ring.attach(Path(wanted.output), "reader")))


def _describe(wanted: settings.Worker, sender: Sender | None) -> dict[str, str]:
    """Returns the texts of the counters."""
    if sender is None or wanted.topic is None:
        return {"module": wanted.module}
    return {"module": wanted.module, "topic": wanted.topic.name, "problem": sender.problem}


def _run_slice(name: str, pump: _pump.Pump, sender: Sender | None) -> int:
    try:
        if sender is None:
            return pump.run(_SLICE)
        return pump.run(_WAITING if sender.is_waiting() else _SLICE, _HURRY)
    except Exception as error:  # of the module, which may not
        raise WorkerError(f"worker {name}: its module raised {type(error).__name__}: {error}") from None


def _check(name: str, wanted: settings.Worker, pump: _pump.Pump, found: int) -> None:
    """Raise WorkerError for what ends the worker."""
    if found == _pump.DAMAGED:
        raise WorkerError(f"worker {name}: {wanted.input}: damaged: its tail does not fit")
    if found == _pump.NONSENSE:
        raise WorkerError(
            f"worker {name}: {wanted.module}: work returned {pump.returned}, allowed: 0 to the number of results that "
            f"there is room for; {pump.records:,} records were done before, the others are still in the ring"
        )


def _count(
    pump: _pump.Pump, prepared: Prepared, source: Ring, target: Ring | None, sender: Sender | None
) -> dict[str, int | float]:
    """Returns the worker's counters, and the numbers that its module shows, each with the label `module`."""
    with _in_module():
        numbers = prepared.read_numbers()
    sent: dict[str, int | float] = {}
    if sender is not None:
        sent = {
            "sent": sender.sent,
            "acknowledged": sender.acknowledged,
            "in_flight": sender.in_flight,
            "send_failures": sender.failures,
        }
    return {
        "records": pump.records,
        "results": pump.results,
        "batches": pump.batches,
        "waits": pump.waits,
        "waited_seconds": pump.waited_ns / 1e9,
        "takeovers": source.takeovers,
        "input_bytes": source.used,
        **({} if target is None else {"output_bytes": target.used}),
        **sent,
        **{f"module[{name}]": value for name, value in numbers.items()},
    }
