"""Every document that a command prints, in every format: no text in it gives the terminal an order, ends a line, or
breaks a format."""

import ast
import contextlib
import importlib
import json
import types
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.cli.journal import Journal
from agent.cli.output import Result, print_document
from agent.cli.top import CLEAR
from agent.exchange import report as exchange_report
from agent.exchange.feed import Feed
from agent.exchange.plan import Plan
from agent.journal import _record
from agent.journal.rebuild import State, Sum
from agent.journal.record import ENTERED, SESSION, Record
from agent.monitor.stats import Statistics
from agent.monitor.top import format_frame
from agent.protocols.recording import Skip
from agent.replay import report as replay_report
from agent.replay.problems import Findings, Place
from agent.shm import _segment
from agent.shm.histogram import Histogram
from agent.shm.segment import Segment, SegmentError, Symbol
from desk.bus import Bus, Event, report
from desk.bus.faults import Faults
from desk.bus.pauses import Pauses
from desk.bus.sources.source import Source
from desk.status import document as status
from desk.status.reading import Reading
from hosttune.cli.terminal import write_document
from hosttune.findings import STATUSES, Finding, Report, Status
from hosttune.measure.causes import EXPLAIN
from hosttune.output import escape, escape_values, quote_word, write_out
from hosttune.report import formats
from hosttune.report.check import CheckReport
from hosttune.report.columns import measure
from hosttune.report.document import Page
from hosttune.report.page import ORDERS as COLOURS

from .hostile import HOSTILE, fill, find_orders, tame
from .source_tree import sources

prometheus = pytest.importorskip("prometheus_client.parser")

Maker = Callable[[str], Any]


def _summary(text: str) -> dict[Status, int]:
    return dict.fromkeys(STATUSES, 1)


def _findings(text: str) -> list[Finding]:
    """One of each status: the page shows them differently."""
    whole = fill(Finding, text, {"Finding.fix": GIVEN["Finding.fix"]})
    return [msgspec.structs.replace(whole, status=status, id=f"{text}.{status}") for status in STATUSES]


def _words(words: dict[str, Any]) -> Maker:
    return lambda text: {**dict.fromkeys(words, 1), text: 1}


def _limits(text: str) -> dict[str, int]:
    return {**dict.fromkeys(_segment.limits(), 1), text: 1}


def _histograms(text: str) -> dict[str, Histogram]:
    one = Histogram(count=1, sum=1, min=1, max=1, bits=0, buckets=(1,))
    return {**dict.fromkeys(_segment.histograms(), one), text: one}


#: The fields whose keys a reader knows by name.
GIVEN: dict[str, Maker] = {
    "Report.host": lambda text: {
        **dict.fromkeys(("hostname", "kernel", "source", "time", "profile"), text),
        "cpus": 2,
        text: text,
    },
    "Report.summary": _summary,
    "Report.findings": _findings,
    # Commands, each in a line of its own, with a name in them as the checks quote it.
    "Finding.fix": lambda text: f"echo {quote_word(text)}\nreboot",
    "Thread.cpus": lambda text: frozenset({1}),
    "Segment.counters": lambda text: {**dict.fromkeys(_segment.counters(), 1), "malformed_" + text: 1},
    "Segment.histograms": _histograms,
    "Segment.limits": _limits,
    "GapReport.measured": lambda text: {
        **dict.fromkeys(("cpu", "priority", "threshold_us", "spun_ns", "longest_ns", "lost_ns", "count"), 1),
        "policy": text,
        "gaps": [{"start_ns": 1, "length_ns": 1, "cause": next(iter(EXPLAIN))}],
        "interrupts": {text: 1},
    },
    "Distances.rows": lambda text: [{"from": text, "to": text, "km": 1.0, "vacuum_ms": 1.0, "fibre_ms": 1.0}],
    # A process of no boot: else its age would be in the text.
    "Segment.pid": lambda text: 0,
    "Snapshot.path": lambda text: Path("/x"),
}


def describe_exchange(text: str) -> Result:
    """Returns a simulator's report, with a text wherever one comes from a file, the command line or the machine."""
    empty = array("q")
    feed = Feed(name=text, format="binance", text=b"", offsets=empty, at=empty, counts={text: 1}, excluded={text: 1},
                symbols=[text], mark_symbol=empty, marks=empty)  # fmt: skip
    plan = Plan(feed=feed, due=empty, pacing=text, feed_to=(text, 1), listen=(text, 1))
    names = ("orders", "matched", "ticks_sent", "seconds", "send_retries", "feed_refused",
             *exchange_report._ORDER_COUNTS, *exchange_report._SESSION_COUNTS, *exchange_report._FAULT_COUNTS,
             *(name for name, _ in exchange_report._PROBLEM_COUNTS))  # fmt: skip
    segment = fill(Segment, text, GIVEN)
    outcome = exchange_report.Outcome(
        counts={**dict.fromkeys(names, 1), "ended": text}, orders=[], lateness=[1], before=segment, after=segment
    )
    machine = fill(exchange_report.Machine, text, {})
    return Result(exchange_report.as_data(plan, outcome, machine), exchange_report.as_text)


def describe_replay(text: str) -> Result:
    """Returns a replay's report, with a text wherever one comes from a file or the command line."""
    raw = text.encode("utf-8", "surrogatepass")
    place = Place(number=1, byte=2, time_ns=3, size=len(raw), example=raw)
    found = Findings(
        counts={"strategy_errors": 1, "unsettled": 1}, places={"strategy_errors": place, "reject_size": place},
        skips=[Skip(text, 1, True, raw, 1, 1), Skip(text, 1, False, raw, 1, 1)], suspect=(0, 1), failed_with=-1,
        unseen=[text], incomplete={text: 1}, unnamed={1: 1},
    )  # fmt: skip
    data = replay_report.describe_replay(
        text, text, "binance", segment=fill(Segment, text, GIVEN), types={text: 1}, found=found,
        notes=[text], nanoseconds=1, exchange=True,
    )  # fmt: skip
    return Result(data, replay_report.as_text)


class NamedJournal(contextlib.nullcontext[Any]):
    """A journal, read, whose symbol and whose exchange's session have this name."""

    def __init__(self, text: str) -> None:
        super().__init__(self)
        name = text.encode("ascii", "replace")[:10].ljust(10)
        fields = dict.fromkeys(Record.__struct_fields__, 1) | {"symbol": 0, "original": 0}
        session = {"tag": int.from_bytes(name[:8], "little"), "price": int.from_bytes(name[8:], "little")}
        first = fields | session | {"kind": SESSION, "side": 0, "quantity": 0}
        self.symbols = [text]
        self.records = _record.pack(first) + _record.pack(fields | {"kind": ENTERED, "number": 2})
        self.state = State(reference=1, positions={0: 1}, open_orders={}, session=name, sequence=1, records=2)

    def begin(self) -> Sum:
        return Sum(1)

    def read(self) -> list[bytes]:
        return [self.records]

    def add_up(self) -> "NamedJournal":
        return self


def list_documents() -> dict[str, type]:
    """Returns by name every class of both programs that is a document, found in the sources by its views."""
    found = {}
    for path in sources(ROOT, ("hosttune", "agent", "desk")):
        if path.suffix != ".py":
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not any(getattr(base, "id", "") == "Protocol" for base in node.bases):
                names = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
                if names >= {"as_data", "as_text"}:
                    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                    found[node.name] = getattr(importlib.import_module(module), node.name)
    return found


def describe_status(text: str) -> Result:
    """Returns what `desk status` shows, with a text in all that it reads."""
    reading = fill(Reading, text, GIVEN)
    return Result(status.describe(reading, reading), status.as_text)


def describe_run(text: str) -> Result:
    """Returns what `desk run` says at its end, with a text wherever one comes from the module or a source."""

    async def handle(event: Event, bus: Bus) -> None: ...

    handle.__qualname__ = handle.__module__ = text
    bus = Bus(Faults(lambda line: None))
    bus.subscribe(type(text.replace("\0", "").encode("ascii", "ignore").decode(), (Event,), {}), handle, queue=1)
    bus.faults.counts[text], bus.stuck = 1, [text]
    source = Source(text, 1)
    source.problem = text
    runner = types.SimpleNamespace(
        name=text, module=text, failed=True, loop_name=text, begun=0.0, bus=bus, sources=[source], stopped_by=text,
        left=1, paper=types.SimpleNamespace(orders=1, executed=1), pauses=Pauses(),
        watch=types.SimpleNamespace(blocked=1, longest_ns=1, longest_place=text),
    )  # fmt: skip
    return Result(report.describe(runner) | {"seconds": 1.0}, report.as_text)  # type: ignore[arg-type]


ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = list_documents()
#: Documents that are made in another way than from their fields. Result is plain data and a function for each command.
MADE: dict[str, Maker] = {
    "Result of exchange": describe_exchange,
    "Result of replay": describe_replay,
    "Result of desk run": describe_run,
    "Result of desk status": describe_status,
    "Journal": lambda text: Journal(Path("x")),
}
MAKERS: dict[str, Maker] = {
    **{name: (lambda text, kind=kind: fill(kind, text, GIVEN)) for name, kind in DOCUMENTS.items()},  # type: ignore[misc]
    **MADE,
}
del MAKERS["Result"]


def make(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns the document of this name with a text wherever it holds one."""
    monkeypatch.setattr("agent.journal.show.Journal", lambda path: NamedJournal(text))
    return MAKERS[name](text)


def test_the_documents_are_found() -> None:
    assert DOCUMENTS.keys() >= {"CheckReport", "Difference", "Attestation", "GapReport", "Statistics", "Distances",
                                "ValueAtRisk", "Journal", "Result"}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("name", MAKERS)
def test_no_text_ends_a_line_or_gives_an_order(
    name: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = make(name, text, monkeypatch)
    for colour in (False, True):
        write_document(document, "text", colour=colour)
        shown = capsys.readouterr().out
        plain = shown
        if colour:
            for order in COLOURS:
                plain = plain.replace(order, "")
        assert not find_orders(plain)
        assert "\t" not in plain
        write_document(make(name, tame(text), monkeypatch), "text", colour=colour)
        assert shown.count("\n") == capsys.readouterr().out.count("\n")
    make(name, text, monkeypatch)
    print_document(document, "text")  # as the agent's commands do it
    assert not find_orders(capsys.readouterr().out)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("name", MAKERS)
def test_json_is_what_the_document_holds(
    name: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = make(name, text, monkeypatch)
    write_document(document, "json")
    shown = capsys.readouterr().out
    assert not find_orders(shown)
    assert json.loads(shown) == json.loads(json.dumps(msgspec.to_builtins(document.as_data(), str_keys=True)))
    write_document(make(name, tame(text), monkeypatch), "json")
    assert shown.count("\n") == capsys.readouterr().out.count("\n")


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("name", [name for name in MAKERS if hasattr(DOCUMENTS.get(name), "as_metrics")])
def test_prometheus_reads_the_escaped_texts(
    name: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = make(name, text, monkeypatch)
    if name == "Statistics":
        with pytest.raises(SegmentError, match="name of a value"):
            write_document(document, "prometheus")
        counters = dict.fromkeys(_segment.counters(), 1)
        segment = msgspec.structs.replace(document.segment, counters=counters, histograms=_histograms("x"))
        document = Statistics(segment)
    write_document(document, "prometheus")
    shown = capsys.readouterr().out
    assert not find_orders(shown)
    families = prometheus.text_string_to_metric_families(shown)
    read = [(sample.labels, sample.value) for family in families for sample in family.samples]
    held = [(sample.labels, sample.value) for family in document.as_metrics() for sample in family.samples]
    assert read == [({key: escape(value) for key, value in labels.items()}, value) for labels, value in held]
    assert any(escape(text) in labels.values() for labels, _ in read)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_the_orders_of_a_screen_are_its_own(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    def show(text: str) -> str:
        segment = msgspec.structs.replace(fill(Segment, text, GIVEN), symbols=_rows(text))
        write_out(CLEAR + format_frame(segment, segment, 1.0), orders=(CLEAR,))
        return capsys.readouterr().out

    shown, harmless = show(text), show(tame(text))
    assert shown.startswith(CLEAR) and CLEAR not in shown[1:]
    assert not find_orders(shown.removeprefix(CLEAR))
    assert shown.count("\n") == harmless.count("\n")
    heads = [line for line in shown.splitlines() if line.startswith("symbol")]
    rows = [line for line in shown.splitlines() if line.startswith(escape_values(text))]
    assert heads and rows and {measure(row) for row in rows} == {measure(heads[0])}


def _rows(text: str) -> tuple[Symbol, ...]:
    row = fill(Symbol, text, {})
    return (msgspec.structs.replace(row, stale=0), msgspec.structs.replace(row, name="BTCUSDT", stale=0))


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_frame_of_a_value_is_no_order_of_the_screen(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A value that holds the very sequence that a screen or a page uses."""
    for order in (CLEAR, *COLOURS):
        finding = fill(Finding, order, {})
        report = Report(host={"hostname": order + text}, verdict="ready", summary=_summary(""), findings=[finding])
        write_document(CheckReport(report), "text", colour=True)
        assert order + escape(text) not in capsys.readouterr().out


def test_a_fault_of_a_hostile_document_would_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """What the tests above look for is there where nothing is escaped."""
    shown = CheckReport(fill(Report, "a\x1b[2Jb\rc", GIVEN)).as_text(Page())
    assert find_orders(shown) == {"\x1b", "\r"} - ({"\r"} if "\r" not in shown else set())
    assert formats.list_formats((*formats.VIEWS, "as_metrics")) == ["text", "json", "prometheus"]
