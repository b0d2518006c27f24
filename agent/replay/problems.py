"""What keeps a replay from being believed: each kind with how often, where first, and an example. Pure functions.

An order that the risk gate stops is a result and no problem, unless it is none on any exchange.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agent.protocols.recording import Skip
from agent.shm.segment import Segment
from hosttune.output import escape

#: Counters of the engine whose first places are wanted, by the beginning of their names.
WATCHED = ("malformed_", "refused_", "reject_", "strategy_errors", "books_stale")
#: Of these, what is refused whatever the limits are, and other problems: kind and words.
_COUNTED = {
    "strategy_errors": "calls of the strategy that failed: it returned a negative number",
    "reject_count": "orders refused: the strategy returned more than there is room for",
    "bad_orders": "orders refused that are none: no such action, side or symbol, size below 1, or no price",
    "unsettled": "answers of the simulated exchange that the engine refused, or orders that found no room",
    "no_room": "messages of symbols that there is no room for, or whose names are too long",
}
_MALFORMED = "malformed messages ({})"
_REFUSED = "quotes refused ({})"
_REFUSED_TRADE = "trades refused ({})"
#: Bytes of an example that are shown; of ITCH, as hexadecimal digits.
_SHOWN = 96
#: Names in a line.
_LISTED = 10
_HINT = "for a recording that begins in the middle, or lacks messages: --start-of-day missing"


class Place(msgspec.Struct, frozen=True):
    """Where something was first counted: the line of the file, or the number of the record, from 1; the byte of the
    content; the recording's time in ns; the bytes of the record, and the first of these."""

    number: int
    byte: int
    time_ns: int
    size: int
    example: bytes


class Findings(msgspec.Struct, kw_only=True):
    """What a replay has to say besides its counters.

    counts, places: by the names of watched counters and of the replay's own words. unknown_references: messages about
    orders that a book does not have, and that was not stale before. skips, suspect: as of Recording.
    failed_with: what the strategy returned when it last failed. unseen: wanted symbols that no message was of.
    incomplete: by symbol, messages about orders that were entered before the recording's begin, or are not in it.
    unnamed: by ITCH locate code, the same of stocks that no message has named. missing: these are passed over.
    """

    counts: Mapping[str, int] = {}
    places: Mapping[str, Place] = {}
    unknown_references: int = 0
    skips: Sequence[Skip] = ()
    suspect: tuple[int, int] | None = None
    failed_with: int = 0
    unseen: Sequence[str] = ()
    incomplete: Mapping[str, int] = {}
    unnamed: Mapping[int, int] = {}
    missing: bool = False


def describe_place(place: Place, lines: bool) -> dict[str, Any]:
    """Returns a place as plain data. lines: of a text."""
    shown = place.example[:_SHOWN]
    example = shown.decode("utf-8", "backslashreplace") if lines else shown[: _SHOWN // 2].hex()
    return {
        ("line" if lines else "record"): place.number,
        "byte": place.byte,
        "time_ns": place.time_ns,
        "size": place.size,
        "example": example,
    }


def list_problems(segment: Segment, found: Findings, lines: bool, messages: int) -> list[dict[str, Any]]:
    """Returns the problems, each as plain data: kind, text, count, and first, a place, or None. lines: the recording is
    a text; messages: those that were well-formed and of a market."""

    def problem(kind: str, text: str, count: int, word: str = "", **more: Any) -> dict[str, Any]:
        place = found.places.get(word or kind)
        first = describe_place(place, lines) if place else None
        return {"kind": kind, "text": text, "count": count, "first": first} | more

    problems = []
    if found.suspect:
        begin, end = found.suspect
        problems.append(problem("suspect", f"bytes of the content, {begin:,} to {end:,}, that may be wrong, and all "
                                "below with them: the checksum of their gzip member failed, or is missing",
                                end - begin, byte=begin))  # fmt: skip
    problems += [_describe_skip(skip, lines) for skip in found.skips]
    for name, n in segment.counters.items():
        kind, _, reason = name.partition("_")
        if n and kind in ("malformed", "refused"):
            trade = reason.removesuffix("_trade")
            words = _MALFORMED if kind == "malformed" else _REFUSED if trade == reason else _REFUSED_TRADE
            problems.append(problem(name, words.format(trade.replace("_", " ")), n))
    if stale := sum(bool(s.stale) for s in segment.symbols):
        hint = {"hint": _HINT} if found.unknown_references and not found.missing else {}
        problems.append(problem("stale", "books that are stale", stale, "books_stale", **hint))
    problems += _list_missing(found, problem)
    for name, text in _COUNTED.items():
        if n := found.counts.get(name, 0):
            problems.append(problem(name, text, n))
            if name == "strategy_errors":
                problems[-1]["returned"] = found.failed_with
    if found.unseen:
        problems.append(problem("unseen", "symbols asked for that no message was of", len(found.unseen),
                                symbols=list(found.unseen)))  # fmt: skip
    if not messages:
        problems.append(problem("no messages", "messages of the recording that are of a market", 0))
    return problems


def _list_missing(found: Findings, problem: Any) -> list[dict[str, Any]]:
    problems = []
    if found.incomplete:
        text = "messages passed over, about orders that the recording does not have: books that are incomplete"
        problems.append(problem("incomplete", text, sum(found.incomplete.values()), "unknown_orders"))
    if found.unnamed:
        text = "messages passed over, about orders of stocks that no message before them has named"
        hint = {} if found.missing else {"hint": _HINT}
        problems.append(problem("unnamed", text, sum(found.unnamed.values()), "unnamed_orders",
                                locates=dict(found.unnamed), **hint))  # fmt: skip
    return problems


def _describe_skip(skip: Skip, lines: bool) -> dict[str, Any]:
    example = skip.example.decode("utf-8", "backslashreplace") if lines else skip.example.hex()
    where = "byte_of_file" if skip.of_file else "byte"
    return {
        "kind": "skipped bytes",
        "text": f"bytes skipped: {skip.reason}",
        "count": skip.bytes,
        "first": {where: skip.byte, "example": example},
        "places": skip.places,
    }


def as_line(problem: Mapping[str, Any]) -> str:
    """Returns a problem as one line for people."""
    first = problem["first"]
    text = f"{problem['count']:,} {problem['text']}"
    if "returned" in problem:
        text += f" ({problem['returned']})"
    for name in ("symbols", "locates"):
        if name in problem:
            some = [escape(str(word)) for word in problem[name]]
            text += f": {', '.join(some[:_LISTED])}" + (f" and {len(some) - _LISTED} more" if some[_LISTED:] else "")
    hint = f"; {problem['hint']}" if "hint" in problem else ""
    if not first:
        return text + hint
    place = [f"{word} {first[word]:,}" for word in ("line", "record", "byte") if word in first]
    if "byte_of_file" in first:
        place.append(f"byte {first['byte_of_file']:,} of the gzip file")
    if "time_ns" in first:
        place.append(f"{first['time_ns']} ns")
    example = f": {escape(first['example'])}" if first["example"] else ""
    return f"{text}; first: {', '.join(place)}{example}{hint}"
