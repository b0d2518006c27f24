"""The table of `desk report`: rows with both sides' figures, the rounds' ratios, and bars; pure functions."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from desk.report.engine import Run
from desk.report.round import Round
from hosttune.host.load import QUIET
from hosttune.report.columns import pad

METHOD = (
    "before: a Python loop as it is often first written. json.loads; two moving averages in a Python loop over a NumPy "
    "array of 200 prices; a position read from Redis and written back, as pickle within zlib, over a Unix socket; an "
    "order of text; sendall on a TCP connection. One tick after the other, from a list in memory, each with its order.",
    "after: `agent run` with the strategy every_tick, which sends an order on every tick; the exchange simulator sends "
    "the same messages as UDP datagrams, and measures. Stages are the engine's own stamps, in a run of their own; "
    "pipeline is from the send of a tick to the arrival of its order, with the kernel on both ways, one tick after the "
    "other; the loop before begins with the bytes in memory and ends with the call of send.",
    "orders/s: until the engine has read that the last one was accepted. ticks/s, after: every message parsed, booked "
    "and given to the strategy ema_cross, one to a datagram. Nothing may be lost, or the rate is lowered. Both sides' "
    "loops are on the same CPU, by turns; the simulator, Redis and who takes the orders are on the other one.",
    "ratio: the median of the rounds' ratios, and their range. memory: the most that the loop's process held, without "
    "Redis. GC pauses: collections while ticks came, by gc.callbacks in both processes.",
)
BARS = {"pipeline": 11.0, "orders/s": 19.0, "ticks/s": 43.0}


class Machine(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where it was measured. cpus: of the simulator, and of both sides' loops."""

    about: dict[str, Any]
    cpus: tuple[int, int]


class Row(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One figure of both sides, round by round; `why`: why a side has none. ratio: how many times better `after` is,
    the median of the rounds'; bar: what it has to reach, and whether it did (None: not measured)."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    before: list[float] = []
    after: list[float] = []
    why: str = ""
    ratios: list[float] = []
    ratio: float | None = None
    bar: str = ""
    met: bool | None = None

    @property
    def has_bar(self) -> bool:
        """Whether something is promised of it."""
        return bool(self.bar)


class Report(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The report. others: by round, the share of the machine's CPU time that others used. Its views are those of
    hosttune.report.document."""

    kind: str = "desk report 1"
    machine: Machine
    method: list[str]
    rounds: int
    others: list[float]
    rows: list[Row]
    plot: list[dict[str, Any]]

    @property
    def missed(self) -> list[str]:
        """The rows whose bar was not reached."""
        return [row.name for row in self.rows if row.met is False]

    @property
    def unknown(self) -> list[str]:
        """The rows that were not measured."""
        return [row.name for row in self.rows if row.why]

    def as_data(self) -> Any:
        """Returns the report."""
        return self

    def as_text(self, page: Any) -> str:
        """Returns the table, for people."""
        return _show(self)

    def as_template(self) -> Path:
        """Returns the template of the page."""
        return Path(__file__).with_name("report.html")


#: Row, the stage before, and the histograms after whose medians are added up.
_STAGES = (
    ("parse", "parse", ("parse",)),
    ("signal", "signal", ("book", "strategy")),
    ("risk", "risk", ("risk",)),
    ("order", "order", ("encode",)),
    ("send", "send", ("send",)),
)


def make_report(rounds: Sequence[Round], machine: Machine) -> Report:
    """Returns the report of some rounds. A figure counts when every round has it."""
    befores, stamped = [one.before for one in rounds], [one.stamped for one in rounds]
    rows = [
        _row(rounds, name, "us", "lower", ("before", "stamped") if name != "risk" else ("redis", "before", "stamped"),
             [one and one.stages[stage] for one in befores],
             [one and sum(one.segment.histograms[each].quantile(0.5) for each in histograms) / 1e3 for one in stamped])
        for name, stage, histograms in _STAGES
    ]  # fmt: skip
    rates = [one and one.rate for one in befores]
    paced, orders, flood = ([getattr(one, name) for one in rounds] for name in ("paced", "orders", "flood"))
    rows += [
        _row(rounds, "pipeline", "us", "lower", ("redis", "before", "paced"),
             [one and one.stages["pipeline"] for one in befores], [one and one.latency_us for one in paced]),
        _row(rounds, "orders/s", "1/s", "higher", ("redis", "before", "orders"),
             rates, [one and one.rate for one in orders]),
        _row(rounds, "ticks/s", "1/s", "higher", ("redis", "before", "flood"),
             rates, [one and one.rate for one in flood]),
        _row(rounds, "memory", "MB", "lower", ("before", "paced"),
             [one and one.rss_bytes / 1e6 for one in befores], [one and one.rss_bytes / 1e6 for one in paced]),
        _row(rounds, "GC pauses", "1/min", "lower", ("redis", "before", "paced"),
             [one and one.pauses / one.seconds * 60 for one in befores],
             [_count_pauses(runs) for runs in zip(paced, orders, flood, strict=True)]),
        _row(rounds, "longest GC pause", "us", "lower", ("before", "paced"),
             [one and one.longest_pause_us for one in befores],
             [one and max(one.pauses, default=0.0) for one in paced]),
    ]  # fmt: skip
    for row in rows:
        _judge(row)
    return Report(machine=machine, method=list(METHOD), rounds=len(rounds), others=[one.others for one in rounds],
                  rows=rows, plot=[place for row in rows if (place := _place(row))])  # fmt: skip


def _count_pauses(runs: Sequence[Run | None]) -> float | None:
    """Returns the engine's collections a minute, in those of a round's runs that there are; None: there is none."""
    measured = [run for run in runs if run is not None]
    if not measured:
        return None
    return 60 * sum(len(run.pauses) for run in measured) / sum(run.seconds for run in measured)


def _row(
    rounds: Sequence[Round], name: str, unit: str, better: Literal["lower", "higher"], needs: Sequence[str],
    before: Sequence[Any], after: Sequence[Any],
) -> Row:  # fmt: skip
    row = Row(name=name, unit=unit, better=better)
    whys = [one.why[need] for one in rounds for need in needs if need in one.why]
    no_redis = any("redis" in one.why for one in rounds) and "redis" in needs
    if not no_redis and all(value is not None for value in before):
        row.before = [float(value) for value in before]
    if all(value is not None for value in after):
        row.after = [float(value) for value in after]
    if whys or not row.before or not row.after:
        row.why = whys[0] if whys else "not measured in every round"
    return row


def _judge(row: Row) -> None:
    """Set ratio, bar and whether it is met."""
    if row.before and row.after:
        pairs = list(zip(row.before, row.after, strict=True))
        if row.better == "lower":
            pairs = [(after, before) for before, after in pairs]
        if all(of > 0 for of, _ in pairs):
            row.ratios = [value / of for of, value in pairs]
            row.ratio = statistics.median(row.ratios)
    if row.name in BARS:
        row.bar = f">={BARS[row.name]:g}"
        row.met = None if row.ratio is None else row.ratio >= BARS[row.name]
    elif row.name == "GC pauses":
        row.bar = "after 0"
        row.met = not any(row.after) if row.after else None


def _place(row: Row) -> dict[str, Any] | None:
    """Returns where a row's figures lie in the plot: shares of its width, on a scale of powers of ten. None: one of the
    sides has none, or 0."""
    if not row.before or not row.after or min(row.before + row.after) <= 0:
        return None
    low, high = math.floor(math.log10(min(row.before + row.after))), math.ceil(math.log10(max(row.before + row.after)))
    span = max(1, high - low)

    def put(values: list[float]) -> list[float]:
        return [(math.log10(value) - low) / span for value in values]

    return {"name": row.name, "unit": row.unit, "low": f"1e{low}", "high": f"1e{low + span}",
            "before": put(row.before), "after": put(row.after)}  # fmt: skip


def _show(report: Report) -> str:
    about = report.machine.about
    lines = [
        f"{about.get('host')}: {about.get('cpus')} x {about.get('cpu')}, Linux {about.get('kernel')}, Python "
        f"{about.get('python')}, {about.get('time')}; loops on CPU {report.machine.cpus[1]}, {report.rounds} rounds",
    ]
    busy = [f"{share:.0%}" for share in report.others]
    if any(share > QUIET for share in report.others):
        lines.append(
            f"BUSY: others used {', '.join(busy)} of the machine: a quiet machine has other figures, and other ratios"
        )
    lines.append(f"{'':17} {'before':>11} {'after':>11} unit    ratio (range)            bar")
    for row in report.rows:
        sides = " ".join(_show_side(side) for side in (row.before, row.after))
        ratio = "-"
        if row.ratio is not None:
            ratio = f"{row.ratio:,.3g} ({min(row.ratios):,.3g}-{max(row.ratios):,.3g})"
        met = {True: "met", False: "NOT met", None: "not measured"}[row.met] if row.has_bar else ""
        lines.append(f"{pad(row.name, 17)} {sides} {pad(row.unit, 5)}   {ratio:<24} {row.bar} {met}".rstrip())
        if row.why:
            lines.append(f"{'':17} not measured: {row.why}")
    return "\n".join([*lines, *report.method]) + "\n"


def _show_side(values: list[float]) -> str:
    if not values:
        return f"{'-':>11}"
    middle = statistics.median(values)
    return f"{middle:>11,.3f}" if middle < 100 else f"{middle:>11,.0f}"
