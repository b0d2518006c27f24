"""`agent replay`: a recording through the engine's own path, without sockets: parse -> book -> strategy -> gate.

Time is the recording's. What is timed is the loop over messages in memory, not the reading of the file.
"""

import sys
from pathlib import Path
from typing import Any

from agent import strategy
from agent.protocols import recording as recordings
from agent.replay import _replay
from agent.replay.report import as_text as as_text
from agent.replay.report import describe_replay
from agent.shm import segment as shm

#: Bytes of the recording that are walked at a time.
CHUNK = 8 << 20
#: Room for so many open orders (ITCH), and bytes that an Add Order has in a file, at least.
_FEWEST_ORDERS, _MOST_ORDERS, _ADD_ORDER = 1 << 16, 1 << 22, 38
#: How much larger the content of a gzip file is, at most, when it is of orders.
_EXPANSION = 8


def run(path: Path, name: str, *, symbols: tuple[str, ...] = (), fast: float = 10, slow: float = 50,
        size: int = 1) -> dict[str, Any]:  # fmt: skip
    """Replay a recording through a strategy. Returns the report as plain data: report.describe_replay().

    symbols: those wanted; none: all of the recording. fast, slow, size: parameters of the strategy.
    Raises RecordingError of agent.protocols.recording and StrategyError of agent.strategy.
    """
    with recordings.open_recording(path) as recording:
        form = recording.format.name
        prepared = strategy.prepare(strategy.load(name), fast, slow, size, len(symbols) or 1)
        orders = recording.size * (_EXPANSION if recording.compressed else 1) // _ADD_ORDER
        replay = _replay.Replay(
            strategy=prepared.table,
            state=prepared.state,
            symbols=[s.encode() for s in symbols],
            feed_format=form,
            orders=min(max(orders, _FEWEST_ORDERS), _MOST_ORDERS),
            limits={"max_size": 999_999},
            owner=prepared,
        )
        nanoseconds = sum(replay.run(chunk) for chunk in recording.chunks(CHUNK))
        return describe_replay(
            str(path),
            name,
            form,
            segment=shm.decode(replay.segment_bytes, str(path), most_symbols=sys.maxsize),
            types=replay.types,
            skipped_bytes=recording.skipped,
            notes=recording.notes,
            nanoseconds=nanoseconds,
        )
