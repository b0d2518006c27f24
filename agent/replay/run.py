"""`agent replay`: a recording through the engine's own path, without sockets: parse -> book -> strategy -> gate.

Time is the recording's. What is timed is the loop over messages in memory, not the reading of the file.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent import strategy
from agent.protocols import recording as recordings
from agent.protocols.recording import Recording
from agent.replay import _replay
from agent.replay.problems import WATCHED, Findings, Place
from agent.replay.report import as_text as as_text
from agent.replay.report import describe_replay
from agent.shm import _segment
from agent.shm import segment as shm

#: Bytes of the recording that are walked at a time.
CHUNK = 8 << 20
#: Room for so many open orders (ITCH), and bytes that an Add Order has in a file, at least.
_FEWEST_ORDERS, _MOST_ORDERS, _ADD_ORDER = 1 << 16, 1 << 22, 38
#: How much larger the content of a gzip file is, at most, when it is of orders.
_EXPANSION = 8
#: Replay.unnamed: the stock is not wanted; no message has named it.
_NOT_OURS, _NOT_SEEN = -1, -2


def run(
    path: Path,
    name: str,
    *,
    symbols: tuple[str, ...] = (),
    fast: float = 10,
    slow: float = 50,
    size: int = 1,
    time_unit: str = "auto",
    missing: bool = False,
    progress: Callable[[Recording], None] = lambda recording: None,
) -> dict[str, Any]:
    """Replay a recording through a strategy. Returns the report as plain data: report.describe_replay().

    symbols: those wanted; none: all of the recording. fast, slow, size: parameters of the strategy. time_unit: of the
    recording's own times, ms, us, ns, or auto: told by their size. missing: messages
    about orders that the recording does not have are counted and passed over; else their books are stale. progress:
    called now and then, behind each chunk.
    Raises RecordingError of agent.protocols.recording and StrategyError of agent.strategy.
    """
    with recordings.open_recording(path) as recording:
        form = recording.format.name
        prepared = strategy.prepare(strategy.load(name), fast, slow, size, symbols or ("",))
        orders = recording.size * (_EXPANSION if recording.compressed else 1) // _ADD_ORDER
        replay = _replay.Replay(
            strategy=prepared.table,
            state=prepared.state,
            symbols=[s.encode() for s in symbols],
            feed_format=form,
            time_unit=time_unit,
            orders=min(max(orders, _FEWEST_ORDERS), _MOST_ORDERS),
            limits={"max_size": 999_999},
            owner=prepared,
            watched=[counter for counter in _segment.counters() if counter.startswith(WATCHED)],
            unknown_orders=missing,
        )
        nanoseconds = 0
        for chunk in recording.chunks(CHUNK):
            nanoseconds += replay.run(chunk, recording.offset, recording.lines_before)
            progress(recording)
        segment = shm.decode(replay.segment_bytes, str(path), most_symbols=sys.maxsize)
        return describe_replay(
            str(path),
            name,
            form,
            segment=segment,
            types=replay.types,
            time_unit=replay.time_unit,
            found=_collect(replay, recording, [symbol.name for symbol in segment.symbols], symbols, missing),
            notes=recording.notes,
            nanoseconds=nanoseconds,
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
