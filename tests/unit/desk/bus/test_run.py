"""`desk run` as a process: its sources, its end, and modules that do wrong."""

import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from agent.shm.ring import Ring
from desk import counters

from .conftest import LIMIT, Start
from .kills import KEEP, RECORD, kill_often, ring_table, write_numbers

EMPTY = "@on(RingRecord)\ndef nothing(event, bus): ...\n"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_ring_is_read_to_the_end_and_a_signal_ends_it(
    start: Start, directory: Path, tmp_path: Path, loop: str, number: int, code: int
) -> None:
    with Ring.create(directory / "in", 4096, RECORD.size) as ring:
        run = start(KEEP, ring_table(directory, f'loop = "{loop}"'), OUT=str(tmp_path / "out"))
        write_numbers(ring, range(5000))
        found = run.wait_for(lambda found: found.numbers.get("source_events[in]") == 5000)
        assert (found.state, found.kind) == ("runs", "run")
        begin = time.monotonic()
        ended, out, err = run.end(number)
    assert (ended, time.monotonic() - begin < 1.5) == (code, True), err
    report = json.loads(out)
    assert (report["ok"], report["loop"], report["events"]["RingRecord"]) == (True, loop, 5000)
    assert report["gc"]["frozen_objects"] > 1000
    assert (tmp_path / "out").read_text().split() == [str(n) for n in range(5000)]
    assert run.read().state == "ended"
    assert run.read().numbers["events[RingRecord]"] == 5000


def test_killed_five_times_it_loses_no_record(start: Start, directory: Path, tmp_path: Path) -> None:
    kill_often(start, directory, tmp_path / "out", 5, ring_table(directory))


def test_an_engine_lives_on_while_it_is_watched(start: Start, stage, directory: Path) -> None:  # type: ignore[no-untyped-def]
    engine = stage.agent()
    text = """
@on(EngineState)
@on(LimitChanged)
@on(PositionChanged)
def show(event, bus):
    import sys
    print(event, file=sys.stderr, flush=True)
"""
    run = start(text, f'[run.mine]\nengines = [{{name = "{stage.segment}", interval_ms = 5}}]\n')
    run.wait_for(lambda found: found.numbers.get("events[LimitChanged]"))
    stage.run("limits", str(stage.segment), "--set", "max_size=7")
    run.wait_for(lambda found: found.numbers["events[LimitChanged]"] > 1)
    engine.terminate()
    engine.wait(LIMIT)
    run.wait_for(lambda found: found.numbers["events[EngineState]"] > 1)
    code, _, err = run.end()
    assert code == 0
    assert "LimitChanged(source='segment', name='max_size'" in err
    assert "new=7" in err
    assert "new='stopped'" in err


@pytest.mark.parametrize("begin", ["first", "end"])
def test_a_journal_is_read_beside_its_writer(start: Start, stage, directory: Path, begin: str) -> None:  # type: ignore[no-untyped-def]
    """The journal's own bytes are compared in tests/unit/agent/journal/test_follow.py."""
    stage.agent()
    file = Path(stage.environment["STATE_DIRECTORY"]) / "main.journal"
    text = "@on(LimitChanged)\ndef show(event, bus): print(event, file=__import__('sys').stderr, flush=True)\n"
    config = f'[run.mine]\njournals = [{{name = "main", file = "{file}", begin = "{begin}", interval_ms = 1}}]\n'
    stage.run("limits", str(stage.segment), "--set", "max_size=7")
    run = start(text, config)
    stage.run("limits", str(stage.segment), "--set", "max_size=8")
    run.wait_for(lambda found: found.numbers["source_events[main]"] >= (2 if begin == "first" else 1))
    code, _, err = run.end()
    assert code == 0
    assert "new=8" in err
    assert ("new=7" in err) == (begin == "first")


def test_all_sources_that_end_end_the_run(start: Start, stage) -> None:  # type: ignore[no-untyped-def]
    stage.agent()
    stage.run("limits", str(stage.segment), "--set", "max_size=7")
    file = Path(stage.environment["STATE_DIRECTORY"]) / "main.journal"
    text = "@on(SourceEnded)\n@on(Started)\n@on(Stopping)\n@on(LimitChanged)\ndef show(event, bus): ...\n"
    config = f'[run.mine]\njournals = [{{name = "main", file = "{file}", begin = "first", follow = false}}]\n'
    run = start(text, config, ready=False)
    out, err = run.process.communicate(timeout=LIMIT)
    assert run.process.returncode == 0, err
    events = json.loads(out)["events"]
    assert (events["Started"], events["SourceEnded"], events["Stopping"]) == (1, 1, 1)
    assert events["LimitChanged"] >= 1


def test_a_source_that_cannot_go_on_is_named_and_the_others_go_on(
    start: Start, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.journal").write_bytes(b"no journal at all" * 100)
    with Ring.create(directory / "in", 4096, RECORD.size) as ring:
        run = start(EMPTY + "@on(SourceEnded)\ndef ended(event, bus): ...\n", ring_table(directory)
                    + f'journals = [{{name = "bad", file = "{tmp_path}/bad.journal", begin = "first"}}]\n')  # fmt: skip
        run.wait_for(lambda found: found.numbers.get("events[SourceEnded]") == 1)
        write_numbers(ring, range(10))
        found = run.wait_for(lambda found: found.numbers["source_events[in]"] == 10)
        assert "source bad: " in found.texts["problem"]
        report = run.report(1)
    assert not report["ok"]
    assert str(tmp_path / "bad.journal") in next(one["problem"] for one in report["sources"] if one["name"] == "bad")


def test_a_ring_that_another_process_reads_is_refused(start: Start, directory: Path) -> None:
    Ring.create(directory / "in", 4096, RECORD.size).close()
    with Ring.attach(directory / "in", "reader"):
        run = start(EMPTY, ring_table(directory), ready=False)
        out, err = run.process.communicate(timeout=LIMIT)
    assert (run.process.returncode, out) == (2, "")
    assert f"its reader is process {os.getpid()}, which is alive" in err
    assert "Traceback" not in err


def test_a_name_that_another_process_has_is_refused(start: Start, directory: Path) -> None:
    start(EMPTY)
    second = start(EMPTY, ready=False)
    _, err = second.process.communicate(timeout=LIMIT)
    assert second.process.returncode == 2
    assert "another process has this name" in err
    third = start(EMPTY, "", "--name", "other", ready=False)
    third.name = "other"
    third.wait_for(lambda found: found.state == "runs")


@pytest.mark.parametrize(("policy", "code"), [("continue", 0), ("stop", 1)])
def test_an_exception_goes_on_or_ends_it_as_configured(start: Start, directory: Path, policy: str, code: int) -> None:
    text = "@on(RingRecord)\ndef wrong(event, bus): raise ValueError(event.data.hex())\n" + EMPTY
    with Ring.create(directory / "in", 4096, RECORD.size) as ring:
        run = start(text, ring_table(directory, f'on_error = "{policy}"'))
        write_numbers(ring, range(5))
        if policy == "continue":
            found = run.wait_for(lambda found: found.numbers.get("errors[mine.wrong]") == 5)
            assert "ValueError: 0400000000000000, in mine.wrong" in found.texts["problem"]
            run.process.terminate()
        out, err = run.process.communicate(timeout=LIMIT)
    report = json.loads(out)
    assert run.process.returncode == code, err
    assert err.count("mine.py:3: ValueError") == 1
    assert ("ValueError: 0000000000000000" in report["stopped_by"]) == (policy == "stop")
    if policy == "continue":
        assert report["events"]["RingRecord"] == 5


def test_what_a_task_of_a_handler_raises_is_counted(start: Start) -> None:
    text = """
import asyncio
async def wrong(): raise ValueError("in a task")
@on(Started)
def begin(event, bus): asyncio.ensure_future(wrong())
"""
    run = start(text)
    found = run.wait_for(lambda found: found.numbers.get("errors[beside the handlers]"))
    assert "ValueError: in a task" in found.texts["problem"]
    code, _, err = run.end()
    assert code == 0
    assert "Traceback" not in err


#: Handlers that never return, and for which what is said of them: their line is the third of the module.
HANGS = {
    "python": ("@on(Started)\ndef hang(event, bus):\n    while True: pass\n", "hang ("),
    "sleep": ("import time\n@on(Started)\ndef hang(event, bus): time.sleep(1000)\n", "hang ("),
}


@pytest.mark.parametrize("kind", HANGS)
def test_a_handler_that_hangs_is_noticed_named_and_ended(start: Start, tmp_path: Path, kind: str) -> None:
    text, words = HANGS[kind]
    # Its own first publication comes before: the loop publishes, not a thread.
    text = text.replace("@on(Started)", "@on(Signal)") + "@on(Started)\ndef go(event, bus):\n" + (
        "    import asyncio\n    asyncio.get_running_loop().call_later(0.1, bus.publish, Signal('X', 0, 1))\n"
    )  # fmt: skip
    run = start(text, "[run.mine]\nblocked_ms = 20\ndrain_s = 0.2\n")
    time.sleep(0.6)
    begin = time.monotonic()
    code, out, err = run.end()
    assert (code, out) == (1, ""), err
    assert time.monotonic() - begin < 3
    place = re.escape(f"{words}{tmp_path}/mine.py:4)")
    assert re.search(rf"the loop has been held up for 0\.\d\d s and longer, by {place}", err)
    assert "ended by force: hang (" in err
    assert run.read().state == "died"  # it did not end in order, and does not say so


def test_a_process_whose_loop_hangs_is_seen_as_hung(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(EMPTY)
    monkeypatch.setattr(counters, "HUNG_SECONDS", 1.0)
    monkeypatch.setattr(counters, "HUNG_INTERVALS", 1)
    run.process.send_signal(signal.SIGSTOP)
    run.wait_for(lambda found: found.state == "hung")
    run.process.send_signal(signal.SIGCONT)
    run.wait_for(lambda found: found.state == "runs")
    assert run.end()[0] == 0


ENDLESS = {
    "swallowed": "import asyncio\n@on(Started, queue=1)\nasync def hang(event, bus):\n  while True:\n"
                 "    try: await asyncio.sleep(9)\n    except asyncio.CancelledError: pass\n",
    "thread": "import time\n@on(Started, queue=1)\ndef hang(event, bus): time.sleep(1000)\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_slow_handler_that_does_not_end_keeps_nothing_from_ending(start: Start, kind: str, loop: str) -> None:
    run = start(ENDLESS[kind], f'[run.mine]\ndrain_s = 0.2\nloop = "{loop}"\n')
    begin = time.monotonic()
    report = run.report(1)
    assert time.monotonic() - begin < 2.5
    assert (report["not_ended"], report["left"]) == (["mine.hang"], 1)
    assert run.read().state == "ended"


def test_a_thread_of_the_module_keeps_it_from_ending_for_a_second_only(start: Start) -> None:
    text = "import threading, time\n@on(Started)\ndef go(event, bus):\n"
    run = start(text + "    threading.Thread(target=time.sleep, args=(1000,), name='mine\\x1b').start()\n")
    begin = time.monotonic()
    code, out, err = run.end()
    assert (code, json.loads(out)["ok"]) == (1, True)
    assert time.monotonic() - begin < 3
    assert "ended by force: threads that do not end: mine\\u001b" in err


def test_pauses_of_the_collector_are_measured(start: Start) -> None:
    text = """
@on(Started)
def litter(event, bus):
    import gc
    for _ in range(100_000):
        a = []; a.append(a)
    gc.collect()
"""
    run = start(text)
    found = run.wait_for(lambda found: found.numbers["gc_pauses"] > 0)
    assert found.numbers["gc_longest_pause_seconds"] > 0
    gc = run.report()["gc"]
    assert gc["pauses"] == sum(gc["by_generation"]) > 1
    assert 0 < gc["longest_ms"] <= gc["total_ms"]


def test_paper_fills_go_through_the_whole_chain(start: Start, directory: Path) -> None:
    text = """
@on(RingRecord)
def tick(event, bus): bus.publish(MarketData("ring", "X", event.time_ns, 90, 5, 110, 5))
@on(MarketData)
def think(event, bus): bus.publish(Signal("X", event.time_ns, 1))
@on(Signal)
def check(event, bus): bus.publish(RiskPassed("X", event.time_ns, event.side, 3, 110))
@on(RiskPassed)
def order(event, bus):
    for id, price in ((1, 110), (2, 109)): bus.publish(OrderReady("X", event.time_ns, 1, 3, price, id))
@on(Executed)
def done(event, bus): assert (event.id, event.price, event.source) == (1, 110, "")
"""
    with Ring.create(directory / "in", 4096, RECORD.size) as ring:
        run = start(text, ring_table(directory, "paper_fills = true"))
        write_numbers(ring, range(10))
        run.wait_for(lambda found: found.numbers["events[Executed]"] == 10)
        report = run.report()
    assert report["paper"] == {"orders": 20, "executed": 10}
    assert report["errors"] == {}


def test_the_service_manager_is_told(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT)
        run = start(EMPTY, NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(100) == b"READY=1"
        assert run.end()[0] == 0
        assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize(("name", "words"), [
    ("", "allowed: a letter"), ("a/b", "found 'a/b'"), ("x" * 29, "at most 27"), ("\x1b[31m", "found '\\x1b"),
])  # fmt: skip
def test_a_name_that_no_table_can_have_is_refused(start: Start, name: str, words: str) -> None:
    run = start(EMPTY, "", "--name", name, ready=False)
    _, err = run.process.communicate(timeout=LIMIT)
    assert run.process.returncode == 2
    assert words in err


@pytest.mark.parametrize(("table", "words"), [
    ("loop = 'uv'", "wanted one of asyncio, auto"), ("blocked_ms = 1", "blocked_ms"), ("on_error = 'x'", "on_error"),
    ("rings = [{name = 'a', file = 'rel'}]", "rings"), ("engine = []", "engine"),
    ("rings = [{name = 'a', file = '/a'}, {name = 'a', file = '/b'}]", "two sources that are called a"),
    ("kafka = [{name = 'a', topics = []}]", "topics"), ("journals = [{name = 'a', file = '/a', begin = 'x'}]", "begin"),
])  # fmt: skip
def test_a_wrong_table_is_explained(start: Start, tmp_path: Path, table: str, words: str) -> None:
    run = start(EMPTY, f"[run.mine]\n{table}\n", ready=False)
    out, err = run.process.communicate(timeout=LIMIT)
    assert (run.process.returncode, out) == (2, "")
    assert words in err
    assert f"{tmp_path}/desk.toml" in err
    assert "Traceback" not in err


def test_a_table_that_is_not_there_is_said(start: Start, directory: Path) -> None:
    run = start(EMPTY, "[run.mien]\ndrain_s = 1.0\n")
    code, _, err = run.end()
    assert code == 0
    assert "has no table run.mine: every engine is a source" in err


def test_a_process_that_was_stopped_blames_no_handler(start: Start) -> None:
    run = start(EMPTY, "[run.mine]\nblocked_ms = 50\n")
    for stops in range(1, 11):
        run.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        run.process.send_signal(signal.SIGCONT)
        # Each is counted, whether its loop or the watch is the first that goes on. A busy machine may add its own.
        run.wait_for(lambda found, stops=stops: found.numbers["loop_blocked"] >= stops)
    code, _, err = run.end()
    assert code == 0
    assert "by no code of the module: the process was stopped, or had no CPU" in err


def test_many_handlers_with_long_names_have_counters_that_fit(start: Start) -> None:
    text = "".join(f"@on(Started, queue=1)\ndef f{n}_{'x' * 300}(event, bus): 1 / 0\n" for n in range(200))
    run = start(text)
    found = run.wait_for(lambda found: sum(value for name, value in found.numbers.items() if "errors" in name) == 200)
    assert found.numbers["events[Started]"] == 1
    assert run.report()["errors"].keys() == {f"mine.f{n}_{'x' * 300}" for n in range(200)}
