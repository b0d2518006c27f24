"""`agent replay`: a recording through the engine's own path, without sockets: parse -> book -> strategy -> gate.

Time is the recording's. What is timed is the loop over messages in memory, not the reading of the file.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import msgspec

from agent import strategy
from agent.config import Config
from agent.errors import AgentError
from agent.protocols import recording as recordings
from agent.protocols.recording import Recording
from agent.replay import _replay
from agent.replay.orders import as_line
from agent.replay.problems import WATCHED, Findings, Place
from agent.replay.report import as_text as as_text
from agent.replay.report import describe_replay
from agent.shm import _segment
from agent.shm import segment as shm

#: Bytes of the recording that are walked at a time.
CHUNK = 8 << 20
_CHUNK_WITH_ORDERS = 1 << 20
#: Room for so many open orders (ITCH), and bytes that an Add Order has in a file, at least.
_FEWEST_ORDERS, _MOST_ORDERS, _ADD_ORDER = 1 << 16, 1 << 22, 38
#: How much larger the content of a gzip file is, at most, when it is of orders.
_EXPANSION = 8
#: Replay.unnamed: the stock is not wanted; no message has named it.
_NOT_OURS, _NOT_SEEN = -1, -2


class ReplayError(AgentError):
    """A recording does not fit what it is replayed with; the message says what was found and what is allowed."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording is replayed with.

    strategy, and its fast, slow, size (whole units) and values: as in agent.toml. symbols: those wanted; none: all of
    the recording. limits: by the names and in the units of AGENT_LIMITS. missing: messages about orders that the
    recording does not have are counted and passed over; else their books are stale.
    format: the only feed format that the recording may have; "": any. orders, levels: capacity of the books; orders 0:
    as many as the file can hold. exchange: orders go to the simulated exchange, whose answers come back; else each is
    done with when it has passed the gate. timer_ns: from one call of on_timer to the next; 0: it is never called.
    time_unit: of the recording's own times, feed_time_unit: of those in its messages, ms, us, ns, or auto: told by
    their size. exchange_names: of the symbols, as orders have them; None: the same.
    """

    strategy: str
    symbols: tuple[str, ...] = ()
    fast: float = 10
    slow: float = 50
    size: int = 1
    values: list[float] = []
    limits: dict[str, int] = msgspec.field(default_factory=lambda: {"max_size": 999_999})
    missing: bool = False
    format: str = ""
    orders: int = 0
    levels: int = 4096
    exchange: bool = False
    timer_ns: int = 0
    time_unit: str = "auto"
    feed_time_unit: str = "auto"
    exchange_names: list[bytes] | None = None


def read_settings(config: Config, missing: bool = False, time_unit: str = "auto") -> Settings:
    """Returns what the engine of an agent.toml runs with, and the simulated exchange with it."""
    wanted = config.strategy
    return Settings(
        strategy=wanted.name,
        symbols=tuple(wanted.traded),
        fast=wanted.fast,
        slow=wanted.slow,
        size=wanted.size,
        values=wanted.values,
        limits=config.risk.words,
        missing=missing,
        format=config.feed.format,
        orders=config.book.orders,
        levels=config.book.levels,
        exchange=True,
        timer_ns=wanted.timer_ms * 1_000_000,
        time_unit=time_unit,
        feed_time_unit=config.feed.time_unit,
        exchange_names=[name.encode() for name in config.exchange_names],
    )


def run(path: Path, name: str, **settings: Any) -> dict[str, Any]:
    """Replay a recording through a strategy: replay() with Settings of these words."""
    return replay(path, Settings(strategy=name, **settings))


def replay(
    path: Path,
    settings: Settings,
    *,
    orders: TextIO | None = None,
    progress: Callable[[Recording], None] = lambda recording: None,
) -> dict[str, Any]:
    """Replay a recording. Returns the report as plain data: report.describe_replay().

    orders: receives a line for each message to the exchange (orders.describe_order); only with an exchange. progress:
    called now and then.
    Raises RecordingError of agent.protocols.recording, StrategyError of agent.strategy, and ReplayError.
    """
    with recordings.open_recording(path) as recording:
        form = recording.format.name
        if settings.format not in ("", form):
            raise ReplayError(f"{path}: found a recording of {form}, allowed: {settings.format}, as feed.format says")
        symbols = settings.symbols
        prepared = strategy.prepare(
            strategy.load(settings.strategy),
            settings.fast,
            settings.slow,
            settings.size,
            symbols or ("",),
            settings.values,
        )
        room = recording.size * (_EXPANSION if recording.compressed else 1) // _ADD_ORDER
        replay = _replay.Replay(
            strategy=prepared.table,
            state=prepared.state,
            symbols=[s.encode() for s in symbols],
            feed_format=form,
            orders=settings.orders or min(max(room, _FEWEST_ORDERS), _MOST_ORDERS),
            levels=settings.levels,
            limits=settings.limits,
            time_unit=settings.time_unit,
            feed_time_unit=settings.feed_time_unit,
            exchange_names=settings.exchange_names,
            owner=prepared,
            watched=[counter for counter in _segment.counters() if counter.startswith(WATCHED)],
            unknown_orders=settings.missing,
            exchange=settings.exchange,
            timer_ns=settings.timer_ns,
            keep_orders=orders is not None,
        )
        nanoseconds = 0
        for chunk in recording.chunks(CHUNK if orders is None else _CHUNK_WITH_ORDERS):
            nanoseconds += replay.run(chunk, recording.offset, recording.lines_before)
            if orders is not None:
                orders.writelines(as_line(*order) for order in replay.take_orders())
            progress(recording)
        segment = shm.decode(replay.segment_bytes, str(path), most_symbols=sys.maxsize)
        return describe_replay(
            str(path),
            settings.strategy,
            form,
            segment=segment,
            types=replay.types,
            time_unit=replay.time_unit,
            found=_collect(replay, recording, [symbol.name for symbol in segment.symbols], symbols, settings.missing),
            notes=recording.notes,
            nanoseconds=nanoseconds,
            exchange=settings.exchange,
        )


def _collect(
    replay: _replay.Replay, recording: Recording, names: list[str], wanted: tuple[str, ...], missing: bool
) -> Findings:
    """Returns what the replay and the reader of the file have to say. names: of the symbols, by index."""
    first = replay.first_places
    unseen = [name for i, name in enumerate(names) if i not in replay.seen_symbols] if wanted else []
    incomplete = {names[i]: n for i, n in replay.unknown_by_symbol.items()}
    unnamed = {}
    for locate, symbol, n in replay.unnamed:
        if missing and symbol >= 0:
            incomplete[names[symbol]] = incomplete.get(names[symbol], 0) + n
        elif symbol >= 0 or (symbol == _NOT_SEEN and (unseen or not wanted)):
            unnamed[locate] = n
    return Findings(
        counts={name: count for name, (count, *_) in first.items()},
        places={
            name: Place(number, byte, at, size, example) for name, (_, number, byte, at, size, example) in first.items()
        },
        unknown_references=replay.unknown_references,
        skips=list(recording.skips.values()),
        suspect=recording.suspect,
        failed_with=replay.failed_with,
        unseen=unseen,
        incomplete=incomplete,
        unnamed=unnamed,
        missing=missing,
    )
