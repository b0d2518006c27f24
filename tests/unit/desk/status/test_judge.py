"""What is well, what is not, and what is not known: the pure part, over readings of every kind."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.shm import identity
from agent.shm import segment as shm
from agent.shm.ring import Fill
from agent.shm.segment import Segment
from desk.counters import Snapshot
from desk.errors import FAILED, OK, UNKNOWN
from desk.status.document import VERDICTS, as_text, describe
from desk.status.judge import list_findings, list_unknown
from desk.status.reading import Reading, Usage, Wanted

from ...agent.shm.small_segment import build
from ...house.hostile import find_orders

USAGE = Usage(1.0, 50 << 20, 3, frozenset({0, 1}), "other", 5, "sleeping")


def make_engine(word: int = 0, **changes: Any) -> Segment:
    pid, start_time = identity.own()
    known = {"pid": pid, "start_time": start_time, "boot_id": identity.read_boot_id().encode()}
    # Seen just now, however long the tests before it have taken.
    found = shm.decode(build(word=word, heartbeat_ns=shm.now_ns() + 10**13, **known), "/run/x/main.segment")
    return msgspec.structs.replace(found, **changes)


LIMITS = make_engine().limits


def make_process(**changes: Any) -> Snapshot:
    given: dict[str, Any] = {
        "name": "sync", "kind": "sync", "path": Path("/run/x/sync.counters"), "state": "runs", "pid": 7,
        "start_time": 8, "age": 0.1, "uptime": 10.0, "interval": 0.5, "sequence": 4, "numbers": {},
        "texts": {"problem": "", "module": "m"},
    }  # fmt: skip
    return Snapshot(**given | changes)


def make_reading(**changes: Any) -> Reading:
    given: dict[str, Any] = {
        "at": 100.0, "engines": (make_engine(),), "rings": {}, "processes": (make_process(),), "usage": {7: USAGE},
        "isolated": frozenset(), "unknown": (),
    }  # fmt: skip
    return Reading(**given | changes)


def test_what_runs_and_says_nothing_wrong_is_well() -> None:
    reading = make_reading(rings={"/r": Fill(100, 79, True, True)}, isolated=frozenset({2, 3}))
    assert list_findings(reading) == list_unknown(reading) == []
    assert VERDICTS[describe(reading, reading)["verdict"]] == OK


def test_what_has_ended_in_order_is_well() -> None:
    engine = make_engine(state="stopped", limits=LIMITS | {"kill": 1}, tripped="max_loss")
    process = make_process(state="ended", age=10**6, texts={"problem": "Redis is away"})
    assert list_findings(make_reading(engines=(engine,), processes=(process,), usage={})) == []


@pytest.mark.parametrize("name", ["main", "/run/x/main.segment"])
def test_what_has_ended_is_not_well_where_the_configuration_has_it(name: str) -> None:
    engine, process = make_engine(state="stopped"), make_process(state="ended")
    for wanted, findings in (
        (Wanted(), []),
        (Wanted(("other",), (), ("other", "/run/y/main.segment")), []),
        (Wanted(("sync",), (), (name,)), ["engine /run/x/main.segment: has stopped, and desk.toml has it",
                                          "desk process sync: has ended, and desk.toml has it"]),
    ):  # fmt: skip
        reading = make_reading(engines=(engine,), processes=(process,), usage={}, wanted=wanted)
        assert list_findings(reading) == findings
    living = make_reading(wanted=Wanted(("sync",), (), (name,)))
    assert list_findings(living) == []


ENGINE = "engine /run/x/main.segment: "
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "engine hung": ({"engines": (make_engine(heartbeat_ns=shm.now_ns() - 7 * 10**9),)},
                    ENGINE + "hung: its loop has not been seen for "),
    "engine died": ({"engines": (make_engine(pid=2**22, start_time=1),)},
                    ENGINE + f"died: its process {2**22} is gone, and did not say that it ends"),
    "engine connecting": ({"engines": (make_engine(state="connecting"),)}, ENGINE + "connecting: "),
    "engine killed": ({"engines": (make_engine(limits=LIMITS | {"kill": 1}),)},
                      ENGINE + "kill is set: no order passes"),
    "engine tripped": ({"engines": (make_engine(tripped="max_loss"),)}, ENGINE + "beyond its limit: max_loss"),
    "position": ({"engines": (make_engine(limits=LIMITS | {"max_position": 5}, symbols=tuple(
        msgspec.structs.replace(one, name="X", position=-6) for one in make_engine().symbols)),)},
                 ENGINE + "X: position -6, beyond max_position 5"),
    "ring full": ({"rings": {"/r": Fill(100, 80, True, True)}}, "ring /r: 80% full"),
    "ring unread": ({"rings": {"/r": Fill(1000, 8, True, False)}}, "ring /r: nobody reads 8 bytes in it"),
    "process hung": ({"processes": (make_process(state="hung", age=9.0),)},
                     "desk process sync: hung: it has said nothing for 9.0 s"),
    "process died": ({"processes": (make_process(state="died"),)},
                     "desk process sync: died: its process 7 is gone, and did not say that it ends"),
    "process problem": ({"processes": (make_process(texts={"problem": "Redis is away"}),)},
                        "desk process sync: Redis is away"),
    "problem of a part": ({"processes": (make_process(texts={"engine[main]": "does not run"}),)},
                          "desk process sync: main: does not run"),
    "problem of a part and of the whole": (
        {"processes": (make_process(texts={"problem": "t-0: is gone", "problem[t-0]": "is gone"}),)},
        "desk process sync: t-0: is gone"),
    "isolated CPUs": ({"isolated": frozenset({1, 2})},
                      "desk process sync: may run on the isolated CPUs 1, allowed: housekeeping CPUs"),
    "real time": ({"usage": {7: msgspec.structs.replace(USAGE, policy="fifo")}},
                  "desk process sync: runs with the real-time policy fifo, allowed: other, batch, idle"),
    "nice": ({"usage": {7: msgspec.structs.replace(USAGE, nice=-5)}},
             "desk process sync: runs with nice -5, allowed: 0 or more"),
    "stopped by a signal": ({"processes": (make_process(state="hung", age=9.0),),
                             "usage": {7: msgspec.structs.replace(USAGE, status="stopped")}},
                            "desk process sync: hung: it has said nothing for 9.0 s, and a signal has stopped it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_well_is_one_line_that_names_it(kind: str) -> None:
    changes, words = WRONG[kind]
    reading = make_reading(**changes)
    found = list_findings(reading)
    assert len(found) == 1
    assert found[0].startswith(words)
    # What is not known does not hide it.
    data = describe(reading, make_reading(**changes, unknown=("something",)))
    assert VERDICTS[data["verdict"]] == FAILED
    assert f"not well: {found[0][:60]}" in as_text(data)
    assert "not known: something" in as_text(data)


@pytest.mark.parametrize("changes", [{"unknown": ("x",)}, {"engines": (), "processes": ()}])
def test_what_is_not_known_is_not_well_and_not_wrong(changes: dict[str, Any]) -> None:
    reading = make_reading(**changes)
    assert VERDICTS[describe(reading, reading)["verdict"]] == UNKNOWN


def test_rates_are_by_the_time_between_publications() -> None:
    def make(uptime: float, **numbers: float) -> Snapshot:
        named = {"lag[t-0]": numbers.pop("lag"), "records[t-0]": numbers.pop("records"), **numbers}
        return make_process(kind="ingest", uptime=uptime, numbers=named)

    before = make_reading(processes=(make(10.0, records=100, lag=50, commits=9),))
    now = make_reading(
        at=100.1, processes=(make(12.0, records=400, lag=60, commits=1, revoked=1),),
        usage={7: msgspec.structs.replace(USAGE, cpu_seconds=1.05)},
    )  # fmt: skip
    (process,) = describe(before, now)["processes"]
    # A gauge has no rate, nor has what falls, and what was not there.
    assert process["per_s"] == {"records[t-0]": 150.0}
    assert process["usage"]["cpu"] == 0.5
    text = as_text(describe(before, now))
    assert "records[t-0] 400 (150/s)" in text
    assert "lag[t-0] 60 " in text
    # Another process of the same name has counted from another begin.
    other = make_reading(processes=(make_process(kind="ingest", numbers={"records[t-0]": 1}, pid=9),))
    (process,) = describe(other, now)["processes"]
    assert (process["per_s"], process["usage"]["cpu"]) == ({}, 0.0 if 9 in other.usage else process["usage"]["cpu"])
    # The same publication, seen twice, says nothing of a rate.
    (process,) = describe(now, now)["processes"]
    assert process["per_s"] == {}


def test_a_screen_shows_the_first_and_counts_the_rest() -> None:
    processes = tuple(make_process(name=f"p{n}", numbers={f"n{i}": i for i in range(100)}) for n in range(60))
    now = make_reading(processes=processes, unknown=tuple(f"u{n}" for n in range(50)))
    text = as_text(describe(make_reading(), now))
    assert "... and 10 more" in text
    assert "... and 20 more" in text
    assert "and 84 more" in text
    assert "p39 " in text
    assert "p40 " not in text


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63) + 1, 2**63 - 1)
words = st.from_regex(r"[a-z][a-z0-9_]{0,63}(\[[^\[\]\x00-\x1f]{1,300}\])?", fullmatch=True)
snapshots = st.builds(
    make_process, name=st.just("p"), kind=st.just("run"), path=st.just(Path("/run/x/p.counters")),
    state=st.sampled_from(["runs", "hung", "died", "ended"]), pid=st.sampled_from([7, 8]),
    age=st.floats(0, 1e12), uptime=st.floats(0, 1e12), numbers=st.dictionaries(words, numbers, max_size=30),
    texts=st.dictionaries(words, st.text(max_size=500), max_size=5),
)  # fmt: skip
fills = st.builds(Fill, st.sampled_from([64, 2**31]), st.integers(0, 2**31), st.booleans(), st.booleans())


@given(st.lists(snapshots, max_size=3), st.lists(snapshots, max_size=3), st.dictionaries(st.text(max_size=30), fills))
@settings(deadline=None, max_examples=200)
def test_whatever_is_published_is_a_screen(
    first: list[Snapshot], second: list[Snapshot], rings: dict[str, Fill]
) -> None:
    before, now = (make_reading(processes=tuple(part), rings=rings) for part in (first, second))
    data = describe(before, now)
    assert not find_orders(as_text(data))
    assert max(map(len, as_text(data).splitlines())) < 2000
    assert json.loads(json.dumps(data)) == data
    assert (data["verdict"] == "well") == (not list_findings(now) and not list_unknown(now))
