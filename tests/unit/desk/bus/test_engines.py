"""The source "engines" over segments that change, are replaced, damaged, of another build, or gone."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import limits
from agent.shm import identity, place
from agent.shm import segment as shm
from desk.bus.events import EngineState, Event, LimitChanged, MarketData, PositionChanged
from desk.bus.sources.engines import Look

from ...agent.shm.small_segment import build


def put(directory: Path, **options: Any) -> Path:
    """Write the segment of an engine that is this process; the file is a new one, as of a start."""
    pid, start_time = identity.own()
    known = {"pid": pid, "start_time": start_time, "boot_id": identity.read_boot_id().encode()}
    draft, path = directory / "draft", directory / "main.segment"
    draft.write_bytes(build(**{**known, "heartbeat_ns": shm.now_ns() + 10**13, **options}))
    draft.rename(path)
    return path


def kinds(look: Look, now: int = 1) -> list[str]:
    return sorted({type(event).__name__ for event in look.find_events(now)})


@pytest.fixture(autouse=True)
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "SYSTEM", tmp_path / "none")


@pytest.mark.parametrize("by_path", [True, False])
def test_what_has_changed_is_an_event_once(directory: Path, by_path: bool) -> None:
    path = directory / "main.segment"
    look = Look(str(path) if by_path else "main")
    assert look.find_events(5) == [EngineState("main", 5, "", "missing")]
    assert (look.find_events(6), look.found) == ([], False)
    put(directory, state=2, word=3)
    events = look.find_events(7)
    assert look.found
    assert events[0] == EngineState("main", 7, "missing", "running")
    assert {type(event) for event in events} == {EngineState, LimitChanged, PositionChanged, MarketData}
    assert all(event.old is None for event in events if isinstance(event, LimitChanged | PositionChanged))
    prices = next(event for event in events if isinstance(event, MarketData))
    assert (prices.bid, prices.bid_size, prices.ask, prices.ask_size) == (3, 3, 3, 3)
    assert look.find_events(8) == []
    path.unlink()
    assert look.find_events(10) == [EngineState("main", 10, "running", "missing")]


def test_a_start_with_another_layout_is_read_by_its_own(directory: Path) -> None:
    put(directory, state=2, word=3)
    look = Look("main")
    assert len(kinds(look)) == 4
    put(directory, state=2, word=3, bits=3, buckets=24, symbols=2)
    assert kinds(look) == []  # the same values, at other places
    put(directory, state=3, word=3, bits=3, buckets=24, symbols=2)
    assert look.find_events(1) == [EngineState("main", 1, "running", "stopped")]


def test_an_engine_that_dies_or_hangs_says_so(directory: Path) -> None:
    put(directory, state=2)
    look = Look("main")
    look.find_events(1)
    put(directory, state=2, heartbeat_ns=shm.now_ns() - 10**11)
    assert look.find_events(2) == [EngineState("main", 2, "running", "hung")]
    put(directory, state=2, pid=2**22, start_time=1)
    assert look.find_events(3) == [EngineState("main", 3, "hung", "died")]


def test_an_engine_that_is_not_there_or_is_lost_is_a_problem(directory: Path) -> None:
    look = Look("mein")
    look.find_events(1)
    assert "mein" in look.problem and look.problem.endswith("; it is waited for")
    path = put(directory, state=2)
    look = Look("main")
    look.find_events(2)
    assert look.problem == ""
    put(directory, state=2, pid=2**22, start_time=1)
    look.find_events(3)
    assert look.problem == f"{path}: died"
    put(directory, state=3)
    look.find_events(4)
    assert look.problem == ""  # ended in order


@pytest.mark.parametrize("data", [b"", b"no segment", build()[:200], b"\xff" * 5000])
def test_one_that_is_no_segment_is_unreadable_and_comes_back(directory: Path, data: bytes) -> None:
    path = put(directory, state=2)
    look = Look("main")
    look.find_events(1)
    path.write_bytes(data)
    assert look.find_events(2) == [EngineState("main", 2, "running", "unreadable")]
    put(directory, state=2)
    assert look.find_events(3) == [EngineState("main", 3, "unreadable", "running")]


def test_values_have_their_old_ones(directory: Path) -> None:
    put(directory, state=2, word=0)
    look = Look("main")
    segment = look.read()
    assert segment is not None
    (symbol,) = segment.symbols
    names = list(limits.from_words(segment.limits))

    def see(now: int, position: int, **prices: int) -> list[Event]:
        one = msgspec.structs.replace(symbol, name="X", position=position, **prices)
        changed = msgspec.structs.replace(segment, symbols=(one,), limits=segment.limits | {"max_size": position})
        look.read = lambda: changed  # type: ignore[method-assign]
        return look.find_events(now)

    first = see(1, 5)
    assert [event.name for event in first if isinstance(event, LimitChanged)] == names
    assert see(2, 5) == []
    assert see(3, -6) == [LimitChanged("main", "max_size", 3, 5, -6), PositionChanged("main", "X", 3, 5, -6)]
    assert see(4, -6, bid=7, bid_size=1) == [MarketData("main", "X", 4, 7, 1, 0, 0)]
    assert see(5, -6, bid=7, bid_size=1) == []
    assert see(6, -6) == [MarketData("main", "X", 6, 0, 0, 0, 0)]  # or who has heard the last one would trade at it
    assert see(7, -6) == []


def test_it_writes_nothing(directory: Path) -> None:
    path = put(directory, state=2)
    path.chmod(0o400)
    before = path.read_bytes(), path.stat().st_mtime_ns, sorted(directory.iterdir())
    assert len(kinds(Look("main"))) == 4
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(directory.iterdir())) == before
