"""Segments of a few hundred words: all the names of this build, one short histogram of each stage."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from agent.shm import _segment
from agent.shm.segment import Symbol

#: struct agent_shm of agent_shm.h, up to its words.
HEAD = struct.Struct("<8sIIQQQqq13Q40s128s128s16sQQ32s")
#: What a segment has names of.
PARTS = ("counters", "histograms", "limits", "symbol_words")


def build(
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    bits: int = 2,
    buckets: int = 12,
    symbols: int = 1,
    word: int = 3,
    **head: Any,
) -> bytes:
    """Returns a segment's bytes. names: of counters, histograms, limits and symbol_words, where not this build's. word:
    what each of its words is. head: what the header says instead of the truth."""
    known: dict[str, Sequence[str]] = {
        "counters": list(_segment.counters()),
        "histograms": list(_segment.histograms()),
        "limits": list(_segment.limits()),
        "symbol_words": list(_segment.symbol_fields()),
    }
    known.update(names or {})
    assert {*known} == {*PARTS} and {*_segment.symbol_fields()} - {"name_8", "name_16"} == {*Symbol.__struct_fields__}
    counts = [len(known[part]) for part in PARTS]
    text = "".join(f"{name}\n" for part in PARTS for name in known[part]).encode()
    sizes = [8 * counts[0], 8 * (4 + buckets) * counts[1], 8 * counts[2], 8 * counts[3] * symbols]
    at = (_segment.HEADER_SIZE + len(text) + 7) // 8 * 8
    offsets = [at + sum(sizes[:i]) for i in range(5)]
    described = {
        "magic": _segment.MAGIC,
        "version": _segment.VERSION,
        "state": 2,
        "size": offsets[4],
        "pid": 1,
        "start_time": 2,
        "started_ns": 10**18,
        "heartbeat_ns": 5,
        "counters_offset": offsets[0],
        "counters_count": counts[0],
        "histograms_offset": offsets[1],
        "histograms_count": counts[1],
        "histogram_bits": bits,
        "histogram_buckets": buckets,
        "limits_offset": offsets[2],
        "limits_count": counts[2],
        "symbols_offset": offsets[3],
        "symbols_count": symbols,
        "symbol_words": counts[3],
        "names_offset": _segment.HEADER_SIZE,
        "names_size": len(text),
        "boot_id": b"boot",
        "ended": b"by hand",
        "tripped": b"",
        "feed_session": b"SESSION001",
        "configured_offset": offsets[2],
        "abi": 3,
        "build": b"0.1.0",
    }
    assert head.keys() <= described.keys()
    found = HEAD.pack(*(described | head).values()).ljust(_segment.HEADER_SIZE, b"\0") + text
    return found.ljust(at, b"\0") + struct.pack("<Q", word) * ((offsets[4] - at) // 8)
