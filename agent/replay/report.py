"""The report of a replay: plain data from what was read, and its text. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.book.stale import explain_stale
from agent.protocols import formats
from agent.replay.problems import Findings, as_line, describe_place, list_problems
from agent.shm.segment import Segment, Symbol
from hosttune.output import escape
from hosttune.report.columns import pad

#: Counters of messages of quotes and trades, and the names of their types; of a quote: the feed format's own.
_TYPES = {"book_ticker": "", "trade": "trade", "depth_update": "depthUpdate", "other": "other"}
#: Counters of the exchange's answers.
_ANSWERS = ("accepted", "executed", "canceled", "replaced", "rejected")


def _decimal(value: int, decimals: int) -> str:
    """Returns a value in units of 1e-8 as text."""
    whole, part = divmod(value, 10**8)
    return f"{whole}.{part:08d}"[: len(str(whole)) + 1 + decimals]


def _side(price: int, size: int, decimals: int) -> list[Any] | None:
    """Returns [price, size] of a side, None if it is empty. ITCH, whose prices have 4 decimals, has whole shares."""
    if not price:
        return None
    return [_decimal(price, decimals), size // 10**8 if decimals == 4 else _decimal(size, decimals)]


def describe_quote(symbol: Symbol, decimals: int) -> dict[str, Any]:
    """Returns the best bid and offer of a symbol, each [price, size] or None."""
    return {
        "bid": _side(symbol.bid, symbol.bid_size, decimals),
        "ask": _side(symbol.ask, symbol.ask_size, decimals),
    }


def _counted(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    """Returns the counters whose names begin with prefix and that are not 0, without the prefix."""
    return {name.removeprefix(prefix): n for name, n in counters.items() if name.startswith(prefix) and n}


def _describe_stamps(counters: Mapping[str, int]) -> list[str]:
    """Returns notes on time stamps that are not like the others."""
    words = {
        "mixed": "times in another unit than the one before, or than --time-unit says",
        "implausible": "times outside the years 2001 to 2099 in ms, us and ns: taken as they are",
    }
    return [f"{count:,} {words[kind]}" for kind, count in _counted(counters, "stamps_").items()]


def describe_replay(
    file: str,
    strategy: str,
    form: str,
    *,
    segment: Segment,
    types: Mapping[str, int],
    time_unit: str | None = None,
    found: Findings,
    notes: Sequence[str],
    nanoseconds: int,
    exchange: bool = False,
) -> dict[str, Any]:
    """Returns a replay's report as plain data.

    form: the feed format. segment: what the engine's path counted. types: well-formed ITCH messages by type; of other
    formats the segment counts them. time_unit: of the recording's own times, where it has them. found: what else there
    is to say. notes: what the reader of the file has to say. nanoseconds: of the loop over messages. exchange: orders
    went to the simulated exchange.

    ok: whether there are no problems. problems: what was skipped, is stale, suspect, in error, or is not there:
    problems.list_problems().
    messages: well-formed ones by type. skipped: messages that are malformed, or about orders that the recording does
    not have, and places where bytes of the file belong to no message; skipped_reasons and skipped_bytes say which.
    suspect: begin and end of what may be wrong, in bytes of the content, or None. day_starts: how often the feed said
    that a day begins. refused: quotes that are not in the book, by reason. orders: those that passed the gate. rejects:
    those that did not, by reason; first_rejects: where each reason came first. book: final best bid and offer by
    symbol, [price, size] or None; prices (and sizes that are not whole shares) as decimal strings. stale: books that
    cannot be trusted, and why. incomplete: books that lack orders, and how many messages about these were passed over.
    messages_per_second: of the loop alone, None if it took no time. With an exchange, answers: what it said, by kind;
    timers: calls of on_timer; positions: units held and open in buy and sell orders at the end, by symbol.
    """
    c = segment.counters
    row = formats.find(form)
    messages = {name or row.quote: c[key] for key, name in _TYPES.items() if c[key]} if row.ticks else types
    reasons = _counted(c, "malformed_")
    handled = sum(messages.values()) + sum(reasons.values())
    if passed_over := sum(found.incomplete.values()) + sum(found.unnamed.values()):
        reasons["unknown_order"] = passed_over
    lines = row.framing != "binaryfile"
    of_market = sum(n for name, n in messages.items() if name != "other")
    problems = list_problems(segment, found, lines, of_market)
    return {
        "ok": not problems,
        "problems": problems,
        "file": file,
        "format": form,
        "strategy": strategy,
        "messages": dict(sorted(messages.items())),
        "skipped": sum(reasons.values()) + sum(skip.places for skip in found.skips),
        "skipped_reasons": reasons,
        "skipped_bytes": {skip.reason: skip.bytes for skip in found.skips},
        "suspect": found.suspect,
        "notes": [*notes, *(stamps := _describe_stamps(c))],
        "stamps": stamps,
        "time_unit": time_unit,
        "refused": _counted(c, "refused_"),
        "day_starts": c["day_starts"],
        "events": c["events"],
        "orders_wanted": c["orders_wanted"],
        "orders": c["orders_sent"],
        "rejects": _counted(c, "reject_"),
        "first_rejects": {
            name.removeprefix("reject_"): describe_place(place, lines)
            for name, place in found.places.items()
            if name.startswith("reject_")
        },
        "book": {s.name: describe_quote(s, row.decimals) for s in segment.symbols},
        "stale": {s.name: explain_stale(s.stale) for s in segment.symbols if s.stale},
        "incomplete": dict(found.incomplete),
        "seconds": nanoseconds / 1e9,
        "messages_per_second": round(handled * 1e9 / nanoseconds) if nanoseconds else None,
    } | (_describe_trading(segment) if exchange else {})


def _describe_trading(segment: Segment) -> dict[str, Any]:
    c = segment.counters
    return {
        "answers": {name: c[name] for name in _ANSWERS},
        "fills": c["fills"],
        "timers": c["timers"],
        "replaces": c["replaces_sent"],
        "cancels": c["cancels_sent"],
        "positions": {
            s.name: {"position": s.position, "open_buy": s.open_buy, "open_sell": s.open_sell} for s in segment.symbols
        },
    }


def as_text(data: dict[str, Any], limit: int = 20) -> str:
    """Returns the report for people; at most `limit` symbols."""
    rate = data["messages_per_second"]
    lines = [
        f"replay: {data['file']} ({data['format']}), strategy {data['strategy']}",
        "  messages     " + (", ".join(f"{k} {n:,}" for k, n in data["messages"].items()) or "none"),
        f"  skipped      {data['skipped']:,}"
        + "".join(f"; {n:,} messages {k}" for k, n in data["skipped_reasons"].items())
        + "".join(f"; {n:,} bytes: {k}" for k, n in data["skipped_bytes"].items()),
        f"  orders       {data['orders']:,} of {data['orders_wanted']:,} wanted"
        + "".join(f"; {n:,} stopped by {k}" for k, n in data["rejects"].items()),
        *(
            [
                "  answers      "
                + ", ".join(f"{n:,} {name}" for name, n in data["answers"].items())
                + f"; {data['replaces']:,} replaces and {data['cancels']:,} cancels sent, {data['timers']:,} timers"
            ]
            if "answers" in data
            else []
        ),
        f"  speed        {rate:,} messages/s, {data['seconds']:.3f} s in the loop" if rate else "  speed        -",
    ]
    if (days := data["day_starts"]) > 1:
        lines.append(f"  days         {days:,} begin in the recording, each with empty books")
    lines += [f"  PROBLEM      {as_line(problem)}" for problem in data["problems"]]
    lines += [f"  NOTE         {note}" for note in data["stamps"]]
    shown = sorted(data["book"].items())
    for name, book in shown[:limit]:
        bid, ask = (f"{q[1]} @ {q[0]}" if (q := book[s]) else "-" for s in ("bid", "ask"))
        why = f"  STALE: {data['stale'][name]}" if name in data["stale"] else ""
        if name in data["incomplete"]:
            why += f"  INCOMPLETE: lacks the orders of {data['incomplete'][name]:,} messages"
        if "positions" in data:
            why = f"  position {data['positions'][name]['position']:,}" + why
        if data["suspect"]:
            why += "  SUSPECT"
        lines.append(f"  {pad(escape(name), 12)} bid {bid:<28} ask {ask}{why}")
    if len(shown) > limit:
        lines.append(f"  ... and {len(shown) - limit:,} more symbols (--format json has all)")
    return "\n".join(lines) + "\n"
