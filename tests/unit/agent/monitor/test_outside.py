"""What monitoring sees of an engine: whether its loop runs, what it is, and all of the JSON that is documented."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.monitor import top
from agent.monitor.stats import Statistics
from agent.shm import _segment, identity
from agent.shm import segment as shm
from agent.shm.segment import CONDITIONS, HUNG_NS, Segment
from hosttune.output import escape
from hosttune.report import formats
from hosttune.report.document import Page

from ...desk.programs import find_program
from ..shm.small_segment import build

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

DOCUMENT = Path(__file__).parents[4] / "docs" / "agent.md"
STARTING, CONNECTING, RUNNING, STOPPED = range(4)


def engine(state: int = RUNNING, silent_ns: int = 0, *, alive: bool = True, rebooted: bool = False) -> Segment:
    """The segment of an engine that is this process, or of one that is gone, whose loop was seen so long ago."""
    pid, start_time = identity.own()
    boot = b"00000000-0000-0000-0000-000000000000" if rebooted else identity.read_boot_id().encode()
    data = build(state=state, pid=pid, start_time=start_time + (not alive), boot_id=boot,
                 heartbeat_ns=shm.now_ns() - silent_ns)  # fmt: skip
    return shm.decode(data, "/run/trading_agent/main.segment")


def samples(segment: Segment) -> dict[tuple[str, str], float]:
    """The values by name and by the label that is not the agent's."""
    text = formats.write("prometheus", Statistics(segment), Page())
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type != "unknown"
        for sample in family.samples:
            assert sample.labels["agent"] == "main"
            rest = {name: value for name, value in sample.labels.items() if name != "agent"}
            found[sample.name, ",".join(rest.values())] = sample.value
    return found


#: What an engine is found to be, and whether its loop runs.
ENGINES: dict[str, tuple[Segment, bool]] = {
    "starting": (engine(STARTING, 10 * HUNG_NS), False),
    "connecting": (engine(CONNECTING), True),
    "running": (engine(RUNNING), True),
    "stopped": (engine(STOPPED, 10 * HUNG_NS), False),
    "hung": (engine(RUNNING, 2 * HUNG_NS), False),
    "died": (engine(RUNNING, alive=False), False),
}


@pytest.mark.parametrize("state", ENGINES)
def test_an_engine_is_up_while_its_loop_runs(state: str) -> None:
    segment, up = ENGINES[state]
    segment = msgspec.structs.replace(segment, heartbeat_ns=shm.now_ns()) if up else segment
    found, data = samples(segment), Statistics(segment).as_data()
    assert found["agent_up", ""] == up == data["up"] and data["state"] == state
    assert {name: found["agent_state", name] for name in CONDITIONS} == {name: name == state for name in CONDITIONS}
    assert f", {state}" in Statistics(segment).as_text(Page()).splitlines()[0]
    assert f"  {state}" in top.format_frame(segment, segment, 1.0).splitlines()[0]
    # Whatever it is, its last numbers are shown.
    assert found["agent_lost_total", ""] == 3 and found["agent_limit_kill", ""] == 3


def test_an_engine_that_lost_a_little_time_does_not_hang() -> None:
    assert engine(RUNNING, HUNG_NS // 2).condition == "running"
    assert engine(CONNECTING, HUNG_NS + 1).condition == "hung"


def test_a_hung_engine_says_for_how_long_and_that_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from agent import cli

    pid, start_time = identity.own()
    path = tmp_path / "main.segment"
    path.write_bytes(build(state=RUNNING, pid=pid, start_time=start_time, boot_id=identity.read_boot_id().encode(),
                           heartbeat_ns=shm.now_ns() - 5 * HUNG_NS, ended=b""))  # fmt: skip
    assert cli.main(["stats", str(path)]) == 0
    out = capsys.readouterr().out
    assert re.search(r", hung \(its loop has not been seen for [5-9]\.\d s\)$", out.splitlines()[0])


def test_the_age_of_a_heartbeat() -> None:
    assert 3.0 <= samples(engine(silent_ns=3 * 10**9))["agent_heartbeat_age_seconds", ""] < 60
    assert 3.0 <= samples(engine(silent_ns=3 * 10**9, alive=False))["agent_heartbeat_age_seconds", ""] < 60
    # Written between the reading of the segment and that of the clock.
    assert samples(engine(silent_ns=-(10**10)))["agent_heartbeat_age_seconds", ""] == 0
    # CLOCK_MONOTONIC of another boot says nothing.
    assert ("agent_heartbeat_age_seconds", "") not in samples(engine(rebooted=True))
    assert Statistics(engine(rebooted=True)).as_data()["heartbeat_age_ns"] is None


def test_start_and_build() -> None:
    found = samples(engine())
    assert found["agent_start_time_seconds", ""] == 1e9
    assert found["agent_build_info", f"3,{_segment.VERSION},0.1.0"] == 1


def test_the_help_texts_are_the_headers() -> None:
    text = formats.write("prometheus", Statistics(engine()), Page())
    for name, word in _segment.counters().items():
        suffix = "" if word.kind == "gauge" else "_total"
        assert f"# HELP agent_{name}{suffix} {word.text}\n" in text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=24), unique=True, max_size=4))
def test_a_label_of_any_name_is_read_back(names: list[str]) -> None:
    """What a segment holds may be anybody's."""
    segment = engine()
    rows = tuple(msgspec.structs.replace(segment.symbols[0], name=name, position=i) for i, name in enumerate(names))
    text = formats.write("prometheus", Statistics(msgspec.structs.replace(segment, symbols=rows)), Page())
    found = {s.labels["symbol"]: s.value for family in text_string_to_metric_families(text) for s in family.samples
             if s.name == "agent_symbol_position"}  # fmt: skip
    assert list(found.values()) == list(range(len(names)))
    assert list(found) == [escape(name) for name in names]


def test_promtool_finds_nothing_to_say() -> None:
    text = formats.write("prometheus", Statistics(engine()), Page())
    promtool = find_program("promtool")
    command = [promtool.path, "check", "metrics"]
    done = subprocess.run(command, env=promtool.environment, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr


def documented(heading: str) -> list[str]:
    """The keys in the first column of the table behind a line of the page."""
    table = DOCUMENT.read_text().split(f"\n{heading}\n\n")[1].split("\n\n")[0]
    return [key for line in table.splitlines()[2:] for key in re.findall(r"`(\w+)`", line.split("|")[1])]


def test_the_json_has_the_documented_keys() -> None:
    data = json.loads(formats.write("json", Statistics(engine()), Page()))
    assert sorted(data) == sorted(documented("JSON of `agent stats`:"))


def test_the_metrics_are_the_documented_ones() -> None:
    names = {name for name, _ in samples(engine())}
    for name in documented("Prometheus:"):
        if name.startswith("agent_") and name.upper() != name and not re.search("[A-Z]", name):
            assert name in names, name


def test_the_states_are_the_documented_ones() -> None:
    text = DOCUMENT.read_text()
    states = text.split("\n| state | what |\n")[1].split("\n\n")[0]
    assert sorted(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in states.splitlines()))) == sorted(
        CONDITIONS
    )


@pytest.mark.parametrize(
    ("words", "quote"),
    [
        ({"bid": 6_183_763_000_000, "bid_size": 378_826_000}, ["61837.63", "3.78826"]),
        ({"bid": 1, "bid_size": 10**8}, ["0.00000001", "1"]),
        ({"bid": 2**62, "bid_size": 10**10}, ["46116860184.27387904", "100"]),
        ({"bid": 0, "bid_size": 0}, None),
    ],
)
def test_positions_and_quotes_in_json(words: dict[str, int], quote: list[str] | None) -> None:
    row: dict[str, Any] = dict.fromkeys(shm.Symbol.__struct_fields__, 0)
    symbol = shm.Symbol(**row | {"name": "1000PEPEUSDT", "position": -7, "open_buy": 2, "stale": 1} | words)
    segment = msgspec.structs.replace(engine(), symbols=(symbol,))
    found = json.loads(formats.write("json", Statistics(segment), Page()))["symbols"]
    shown = {key: found["1000PEPEUSDT"][key] for key in ("bid", "ask", "position", "open_buy", "open_sell", "stale")}
    assert shown == {"bid": quote, "ask": None, "position": -7, "open_buy": 2, "open_sell": 0,
                     "stale": "messages were lost"}  # fmt: skip
