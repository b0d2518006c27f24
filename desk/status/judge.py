"""What is not well in a reading: pure functions, a line for each finding, which names what it is about."""

from collections.abc import Iterator

from agent import limits
from agent.shm.ring import Fill
from agent.shm.segment import Segment
from desk.counters import Snapshot, split_name
from desk.status.reading import Reading, Usage, is_engine
from hosttune.host import cpulist

#: Share of a ring from which on it is nearly full.
FULL = 0.8
#: Words of the texts that say what is wrong with a process now, or with one of its parts; "": nothing is.
PROBLEMS = ("problem", "engine")
_REAL_TIME = ("fifo", "rr", "deadline")


def find_state(one: Segment | Snapshot, usage: Usage | None) -> str:
    """Returns what an engine, or a process of the desk, is found to be. A process that has ended, and that its parent
    has not waited for yet, is there for the kernel: proc(5), state Z."""
    state = one.condition if isinstance(one, Segment) else one.state
    gone = usage is not None and usage.status == "zombie" and usage.threads <= 1
    return "died" if gone and state not in ("stopped", "ended") else state


def list_findings(reading: Reading) -> list[str]:
    """Returns a line for each thing that is not well."""
    found: list[str] = []
    for engine in reading.engines:
        wanted = any(is_engine(engine, name) for name in reading.wanted.engines)
        found += _judge_engine(engine, reading.usage.get(engine.pid), wanted)
    for path, fill in reading.rings.items():
        found += _judge_ring(path, fill)
    for process in reading.processes:
        usage = reading.usage.get(process.pid)
        found += _judge_process(process, usage, process.name in reading.wanted.processes)
        if usage and find_state(process, usage) in ("runs", "hung"):
            found += [f"desk process {process.name}: {line}" for line in judge_usage(usage, reading.isolated)]
    return found


def list_unknown(reading: Reading) -> list[str]:
    """Returns a line for each thing that could not be told; one for a host on which there is nothing to look at."""
    found = list(reading.unknown)
    if not reading.engines and not reading.processes and not found:
        found.append("no engine and no process of the desk has run here")
    return found


def _stopped(usage: Usage | None) -> str:
    return ", and a signal has stopped it" if usage and usage.status in ("stopped", "tracing-stop") else ""


def _judge_engine(engine: Segment, usage: Usage | None, wanted: bool) -> Iterator[str]:
    name = f"engine {engine.path}"
    condition = find_state(engine, usage)
    if condition == "hung" and engine.heartbeat_age_ns is not None:
        yield f"{name}: hung: its loop has not been seen for {engine.heartbeat_age_ns / 1e9:.1f} s{_stopped(usage)}"
    elif condition == "died":
        yield f"{name}: died: its process {engine.pid} is gone, and did not say that it ends"
    elif condition == "connecting":
        yield f"{name}: connecting: the exchange has not let it in"
    if condition == "stopped":
        if wanted:
            yield f"{name}: has stopped, and desk.toml has it"
        return
    if engine.limits["kill"]:
        yield f"{name}: kill is set: no order passes"
    if engine.tripped:
        yield f"{name}: beyond its limit: {engine.tripped}"
    most = engine.limits[limits.LIMITS["max_position"].word]  # whole units; 0: no limit
    for symbol in engine.symbols:
        if most and abs(symbol.position) > most:
            yield f"{name}: {symbol.name}: position {symbol.position:+,}, beyond max_position {most:,}"


def _judge_ring(path: str, fill: Fill) -> Iterator[str]:
    share = fill.used / fill.capacity
    if share >= FULL:
        yield f"ring {path}: {share:.0%} full"
    if fill.writer and not fill.reader and fill.used:
        yield f"ring {path}: nobody reads {fill.used:,} bytes in it"


def _judge_process(process: Snapshot, usage: Usage | None, wanted: bool) -> Iterator[str]:
    name, state = f"desk process {process.name}", find_state(process, usage)
    if state == "died":
        yield f"{name}: died: its process {process.pid} is gone, and did not say that it ends"
    elif state == "hung":
        yield f"{name}: hung: it has said nothing for {process.age:.1f} s{_stopped(usage)}"
    elif state == "ended" and wanted:
        yield f"{name}: has ended, and desk.toml has it"
    elif state == "runs":
        problems = [(split_name(word), text) for word, text in process.texts.items() if text]
        lines = [f"{part + ': ' if part else ''}{text}" for (kind, part), text in problems if kind in PROBLEMS]
        # The first of several is often the whole's as well.
        yield from (f"{name}: {line}" for line in dict.fromkeys(lines))


def judge_usage(usage: Usage, isolated: frozenset[int] | None) -> Iterator[str]:
    """Yields what is wrong with the placement of a desk process."""
    if isolated and (taken := usage.cpus & isolated):
        yield f"may run on the isolated CPUs {cpulist.show(taken)}, allowed: housekeeping CPUs"
    if usage.policy in _REAL_TIME:
        yield f"runs with the real-time policy {usage.policy}, allowed: other, batch, idle"
    if usage.nice < 0:
        yield f"runs with nice {usage.nice}, allowed: 0 or more"
