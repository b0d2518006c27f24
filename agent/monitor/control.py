"""An operator's decisions about running engines: written, confirmed by each engine's loop, and what they have left open
at the exchange."""

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from agent.shm import place
from agent.shm import segment as shm
from agent.shm.request import Asked, Asker, ask_limits, find_asker
from agent.shm.ring import RingError, read_fill
from agent.shm.segment import Segment, SegmentError

#: Seconds that a loop has for its answer: it looks at the limits every 5 ms.
ANSWERS = 2.0
#: Seconds that the exchange has for its answers to the cancels.
CANCELS = 2.0
_PAUSE = 0.005


class Outcome(msgspec.Struct):
    """What became of a decision at one engine. before: its segment as it was; why: the loop did not confirm, or has
    confirmed something else, one line, "" where it did. asked: the limits that were written."""

    path: Path
    before: Segment | None
    why: str
    asked: Mapping[str, int] = {}


def find_engines(wanted: str | None, *, ended: bool = False) -> list[Path]:
    """Returns the paths of the segments that are meant: by path; by an engine's name, also of its shards (NAME.0 and so
    on); None: the only one. Engines that run are meant before those that have ended; ended: of a name also these, but
    for one that runs from another directory. Raises SegmentError when there is none, and for None when there are
    several."""
    if wanted is not None and "/" in wanted:
        return [Path(wanted)]
    found = shm.list_all(wanted or "")
    live = [path for path in found if _may_run(path)]
    if wanted is None and len(live or found) > 1:
        state = "run" if live else "have ended"
        raise SegmentError(f"{len(live or found)} agents {state} here, name one: {shm.show_paths(live or found)}")
    if wanted is not None and ended:
        run = {path.name for path in live}
        return live + [path for path in found if path.name not in run]
    return live or found


def find_running() -> list[Path]:
    """Returns the paths of the segments of all engines that run, and of those that cannot be read. Raises SegmentError
    when there is none."""
    if found := [path for path in shm.list_all() if _may_run(path)]:
        return found
    raise SegmentError("no agent runs here")


def _may_run(path: Path) -> bool:
    try:
        return shm.read(path).trades
    except SegmentError:
        return True


def decide(
    paths: list[Path],
    choose: Callable[[Segment], Mapping[str, int]],
    *,
    ended: bool = False,
    asker: Asker | None = None,
    seconds: float | None = None,
) -> list[Outcome]:
    """Write limits at each engine, and wait until the loops have confirmed and the journals' files have it, at most so
    many seconds (ANSWERS).

    choose: returns what to write, in the names and units of AGENT_LIMITS, from the segment as it is. ended: write them
    where no loop runs as well. A segment that a start has replaced meanwhile is written again. Raises SegmentError
    where the only engine's segment cannot be used; of several, that one's outcome says so.
    """
    asker = asker or find_asker()
    limit = time.monotonic() + (ANSWERS if seconds is None else seconds)
    waiting: dict[Path, Asked] = {}
    outcomes = {path: Outcome(path, None, "") for path in paths}
    with contextlib.ExitStack() as held:
        for path in paths:
            outcomes[path].why = _begin(outcomes[path], waiting, held, choose, ended, asker, len(paths) == 1)
        while waiting and time.monotonic() < limit:
            for path, asked in list(waiting.items()):
                answered, journaled = asked.read()
                if answered:
                    del waiting[path]
                    outcomes[path].why = _explain_answer(outcomes[path].asked, shm.read(path), journaled)
                elif not asked.is_at(path):
                    del waiting[path]
                    outcomes[path].why = _begin(outcomes[path], waiting, held, choose, ended, asker, len(paths) == 1)
                elif not (now := shm.read(path)).trades and not asked.read()[0]:
                    del waiting[path]
                    outcomes[path].why = explain_silence(now)
            time.sleep(_PAUSE)
        for path in waiting:
            outcomes[path].why = explain_silence(shm.read(path))
    for path, outcome in outcomes.items():
        outcome.why = outcome.why or _wait_for_file(path, limit)
    return list(outcomes.values())


def _begin(
    outcome: Outcome,
    waiting: dict[Path, Asked],
    held: contextlib.ExitStack,
    choose: Callable[[Segment], Mapping[str, int]],
    ended: bool,
    asker: Asker,
    alone: bool,
) -> str:
    """Write one engine's limits. Returns why nothing was written, else ""."""
    try:
        before = shm.read(outcome.path)
        outcome.before = outcome.before or before
        if not ended and (not before.trades or before.state == "starting"):
            return f"{explain_silence(before)}; nothing was changed"
        outcome.asked = choose(before)
        waiting[outcome.path] = held.enter_context(ask_limits(outcome.path, outcome.asked, asker))
    except SegmentError as error:
        if alone:
            raise
        return str(error).removeprefix(f"{outcome.path}: ")
    return ""


def _explain_answer(asked: Mapping[str, int], now: Segment, journaled: bool) -> str:
    """Returns why what was asked for does not hold although the loop has answered, one line; "" where it does. The
    engine looks at its losses before it answers, and may have killed itself again."""
    if other := [word for word, value in asked.items() if now.limits[word] != value]:
        if "kill" in other and now.tripped:
            return f"killed again at once, beyond its limit: {now.tripped}; raise that limit first"
        return f"not in force: {', '.join(other)} changed again before the loop confirmed"
    if not journaled:
        return "in force, and not journaled: the journal's ring is full, and a restart may forget it"
    return ""


def _wait_for_file(path: Path, limit: float) -> str:
    """Wait until the journal's writer has taken what is in an engine's ring now, until `limit` (time.monotonic()).
    Returns why it has not, one line; "" where it has, or the engine has ended, which empties the ring itself."""
    end = None
    while True:
        try:
            fill = read_fill(place.ring_of(path))
        except RingError as error:
            if not shm.read(path).trades:
                return ""
            return f"in force, and whether the journal's file has it is not known: {error}"
        end = fill.taken + fill.used if end is None else end
        if fill.taken >= end:
            return ""
        if time.monotonic() > limit:
            writer = "is behind" if fill.reader else "does not run"
            found = f"whose writer {writer} ({fill.used:,} bytes wait in the ring)"
            return f"in force, and not in the journal's file, {found}: a power failure would lose it"
        time.sleep(_PAUSE)


def explain_silence(now: Segment) -> str:
    """Returns why an engine's loop does not answer, one line."""
    if not now.trades:
        return f"nothing runs: the engine has ended ({now.ended or 'its process is gone'})"
    if _is_frozen(now.pid):
        return f"not confirmed: process {now.pid} is stopped (SIGSTOP, or a debugger)"
    if now.state == "starting":
        return "not confirmed: the engine is starting, or waits to be let go, and its loop does not run yet"
    if now.condition == "hung":
        age = (now.heartbeat_age_ns or 0) / 1e9
        return f"not confirmed: the loop of process {now.pid} hangs, its heartbeat is {age:.1f} s old"
    return f"not confirmed: the loop of process {now.pid} has not answered"


def _is_frozen(pid: int) -> bool:
    """Whether a process is stopped: proc(5), /proc/PID/stat, states T and t."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def wait_for_cancels(paths: list[Path], seconds: float) -> dict[Path, Segment]:
    """Returns each engine's segment when it has no open order any more, or after so many seconds, or once its loop has
    ended or is not logged in. Raises SegmentError."""
    limit = time.monotonic() + seconds
    while True:
        found = {path: shm.read(path) for path in paths}
        busy = [s for s in found.values() if s.counters["orders_open"] and s.trades and s.state == "running"]
        if not busy or time.monotonic() > limit:
            return found
        time.sleep(_PAUSE)


def describe_open(segment: Segment) -> str:
    """Returns how many orders are open at the exchange, with what is open of each symbol; of an engine that is not
    logged in, or has not read all answers, what it knows of."""
    count = segment.counters["orders_open"]
    parts = [
        f"{symbol.name} {side} {units:,}"
        for symbol in segment.symbols
        for side, units in (("buy", symbol.open_buy), ("sell", symbol.open_sell))
        if units
    ]
    listed = ("order is" if count == 1 else "orders are") + " open at the exchange"
    text = f"{count:,} {listed}" + (f": {', '.join(parts)}" if parts else "")
    if segment.state == "running":
        return text if count else "no order is open at the exchange"
    why = "the engine is not logged in with all answers read"
    if segment.trades:
        why += ", and cancels after its next login what is left"
    known = f"as far as it knows, {text}" if count else "it knows of no order"
    return f"what is open at the exchange is not known: {why}; {known}"
