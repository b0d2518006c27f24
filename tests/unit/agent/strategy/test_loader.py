"""Strategies: the same orders out of every language, what is refused at the load, the cache, and docs/strategies.md.

One file because each part drives the seeded walks, and checks the orders, that are made at the top.
"""

import ctypes
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import strategy
from agent.protocols import _codecs
from agent.strategy import BOOK, BUY, SELL, TRADE, Strategy, StrategyError, _table, compile_numba, find, loader
from agent.strategy import types as structures
from agent.strategy.cache import default_cache_dir

DOC = Path(__file__).parents[4] / "docs" / "strategies.md"
HUGE = 2**63 - 1
CC = shutil.which("cc")


def has_rust() -> bool:
    """Whether there is a compiler that is new enough for agent_abi.rs."""
    if shutil.which("rustc") is None:
        return False
    found = subprocess.run(["rustc", "--version"], capture_output=True, text=True, timeout=60).stdout
    return [int(number) for number in found.split()[1].split(".")[:2]] >= [1, 77]


no_rust = pytest.mark.skipif(not has_rust(), reason="needs rustc 1.77 or newer (tools/setup dev)")
no_cc = pytest.mark.skipif(CC is None, reason="needs cc (tools/setup host)")

EMA_CROSS = ("ema_cross", "ema_cross_cython", pytest.param("ema_cross_rust", marks=no_rust))
EVERY_TICK = ("every_tick", "every_tick_cython")

_loaded: dict[str, strategy.Loaded] = {}


def prepare(name: str, fast: float = 5, slow: float = 20, size: int = 7, values: tuple[float, ...] = ()) -> Any:
    """A strategy with a fresh state; loaded (and compiled) once."""
    if name not in _loaded:
        _loaded[name] = strategy.load(name)
    return strategy.prepare(_loaded[name], fast, slow, size, values=values)


def walk(seed: int, count: int, symbols: int = 1, kinds: tuple[int, ...] = (BOOK,)) -> np.ndarray:
    """Events of seeded random walks, one a symbol."""
    rng = np.random.default_rng(seed)
    events = np.zeros(count, structures.EVENT)
    events["sequence"] = np.arange(1, count + 1)
    events["symbol"] = rng.integers(0, symbols, count)
    events["kind"] = rng.choice(kinds, count)
    for symbol in range(symbols):
        own = events["symbol"] == symbol
        mid = 100_0000_0000 * (symbol + 1) + np.cumsum(rng.integers(-3, 4, own.sum())) * 100_0000
        events["bid"][own] = mid - rng.integers(1, 4, own.sum()) * 100_0000
        events["ask"][own] = mid + rng.integers(1, 4, own.sum()) * 100_0000
    events["bid_size"] = rng.integers(1, 10**12, count)
    events["ask_size"] = rng.integers(1, 10**12, count)
    events["price"] = np.where(events["kind"] & TRADE, events["bid"], 0)
    return events


def ema_cross(events: np.ndarray, fast: float, slow: float, size: int) -> list[tuple[int, bytes]]:
    """The documented rule in plain Python."""
    averages: dict[int, list[float]] = {}
    seen: dict[int, int] = {}
    above: dict[int, int] = {}
    out = []
    for i, e in enumerate(events.tolist()):
        bid, ask, kind, symbol = e[4], e[6], e[10], e[11]
        if not kind & BOOK or not bid or not ask or symbol > 255:
            continue
        mid = (float(bid) + float(ask)) * (0.5 * 1e-8)
        own = averages.setdefault(symbol, [mid, mid])
        own[0] += 2.0 / (fast + 1.0) * (mid - own[0])
        own[1] += 2.0 / (slow + 1.0) * (mid - own[1])
        seen[symbol] = seen.get(symbol, 0) + 1
        before = above.get(symbol, 0)
        now = (own[0] > own[1]) - (own[0] < own[1]) or before
        above[symbol] = now
        if now != before and before and seen[symbol] > int(slow):
            side, price = (BUY, float(ask) * 1e-8) if now > 0 else (SELL, float(bid) * 1e-8)
            out.append((i, struct.pack("=dqQQiIII", price, size, 0, 0, side, symbol, 0, 0)))
    return out


# ---------------------------------------------------------------------------------- the same orders


@pytest.mark.parametrize("name", EMA_CROSS)
@pytest.mark.parametrize("kinds", [(BOOK,), (TRADE,), (BOOK | TRADE,), (BOOK, TRADE, BOOK | TRADE)])
@pytest.mark.parametrize(
    ("fast", "slow", "size", "symbols"), [(1, 2, 1, 1), (5, 20, 100, 3), (10.5, 50.25, 999_999, 8)]
)
def test_ema_cross_gives_these_orders_in_every_language(
    name: str, kinds: tuple[int, ...], fast: float, slow: float, size: int, symbols: int
) -> None:
    events = walk(symbols, 4000, symbols, kinds)
    events["bid"][::97] = 0
    events["ask"][::89] = 0
    wanted = ema_cross(events, fast, slow, size)
    assert strategy.drive(prepare(name, fast, slow, size), events.tobytes()) == wanted
    assert (len(wanted) > 10) == (kinds != (TRADE,)), "the test would show nothing"


prices = st.one_of(st.sampled_from([0, 1, 2**53 + 1, HUGE, HUGE - 1, -1, -HUGE - 1]), st.integers(0, 1000))
events_of = st.lists(
    st.tuples(prices, prices, st.integers(0, 3), st.sampled_from([0, 0, 0, 1, 255, 256, 2**32 - 1])), max_size=60
)


@pytest.mark.parametrize("name", EMA_CROSS)
@settings(max_examples=60, deadline=None)
@given(rows=events_of, fast=st.floats(1, 4), slow=st.floats(1, 6))
def test_ema_cross_at_the_edges(name: str, rows: list[tuple[int, ...]], fast: float, slow: float) -> None:
    events = np.zeros(len(rows), structures.EVENT)
    for i, (bid, ask, kind, symbol) in enumerate(rows):
        events[i]["bid"], events[i]["ask"], events[i]["kind"], events[i]["symbol"] = bid, ask, kind, symbol
    assert strategy.drive(prepare(name, fast, slow, -3), events.tobytes()) == ema_cross(events, fast, slow, -3)


@pytest.mark.parametrize("name", EVERY_TICK)
@settings(max_examples=30, deadline=None)
@given(rows=events_of)
def test_every_tick(name: str, rows: list[tuple[int, ...]]) -> None:
    events = np.zeros(len(rows), structures.EVENT)
    wanted, seen = [], 0
    for i, (bid, ask, kind, symbol) in enumerate(rows):
        events[i]["bid"], events[i]["ask"], events[i]["kind"], events[i]["symbol"] = bid, ask, kind, symbol
        if kind & BOOK:
            seen += 1
            side, price = (BUY, ask) if (seen % 2 and ask) or not bid else (SELL, bid)
            wanted.append((i, struct.pack("=dqQQiIII", float(price) * 1e-8, 9, 0, 0, side, symbol, 0, 0)))
    assert strategy.drive(prepare(name, size=9), events.tobytes()) == wanted


@pytest.mark.parametrize("name", EMA_CROSS)
@pytest.mark.parametrize(("fast", "slow"), [(0.5, 20), (float("nan"), 20), (5, float("nan")), (5, 1e300), (-1, -1)])
def test_ema_cross_refuses_periods(name: str, fast: float, slow: float) -> None:
    with pytest.raises(StrategyError, match=r"^strategy ema_cross\w*: init returned -1$"):
        prepare(name, fast, slow)


def test_the_built_in_ones_are_here() -> None:
    wanted = {"ema_cross", "ema_cross_cython", "every_tick", "every_tick_cython"}
    assert set(strategy.built_in()) - {"ema_cross_rust"} == wanted
    # The build leaves it out only where there is no compiler.
    assert "ema_cross_rust" in strategy.built_in() or not has_rust()


# ---------------------------------------------------------------------------------- the ABI

INIT = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)
ON_EVENT = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
ON_TIMER = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
FINI = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class CTable(ctypes.Structure):
    """struct agent_strategy."""

    _fields_ = (
        ("abi", ctypes.c_uint32), ("size", ctypes.c_uint32),
        ("layout", ctypes.c_uint64), ("state_size", ctypes.c_uint64),
        ("init", INIT), ("on_event", ON_EVENT), ("on_fill", ON_EVENT), ("on_timer", ON_TIMER), ("fini", FINI),
    )  # fmt: skip


def good() -> CTable:
    return CTable(
        abi=3, size=ctypes.sizeof(CTable), layout=structures.layout_hash(), state_size=16,
        on_event=ON_EVENT(lambda state, event, orders: 0),
    )  # fmt: skip


new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_NAMES = (b"agent.strategy", b"agent.strategy.other")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Makes an importable module with the object STRATEGY (or of a source text); its MODULE:OBJECT."""
    made = []
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(value: object = None, source: str = "STRATEGY = None\n") -> str:
        name = f"strategy_under_test_{len(made)}"
        made.append(name)
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        if value is not None:
            importlib.import_module(name).STRATEGY = value  # type: ignore[attr-defined]
        return f"{name}:STRATEGY"

    yield make
    for name in made:
        sys.modules.pop(name, None)


def test_layout_hashes_agree() -> None:
    assert structures.layout_hash() == _table.layout_hash()
    assert ctypes.sizeof(CTable) == 64
    assert structures.layout_text().splitlines()[:2] == ["agent_event 128", "sequence uint64_t 0 1"]


def test_constants_agree_in_every_language() -> None:
    include = Path(strategy.include())
    header, rust = ((include / name).read_text() for name in ("agent_strategy.h", "agent_abi.rs"))
    of_c = dict(re.findall(r"^#define AGENT_(\w+) \(?(-?\d+)\)?(?= |$)", header, re.M))
    of_rust = dict(re.findall(r"^pub const (\w+): [ui]32 = (-?\d+);", rust, re.M))
    assert of_rust.items() <= of_c.items()
    assert {"ABI", "STATE", "HALTED_HERE", "ENDED", "SHORT_RESTRICTED", "BUY"} <= of_rust.keys()
    of_python = {name: getattr(strategy, name) for name in strategy.__all__ if isinstance(getattr(strategy, name), int)}
    assert of_python == {
        name: int(value)
        for name, value in of_c.items()
        if name not in ("ABI", "SCALE", "MAX_ORDERS", "VALUES", "SYMBOLS", "NAME")
    }


def test_a_complete_table_is_taken(module: Callable[..., str]) -> None:
    seen = []
    table = good()
    table.fini = FINI(lambda state: seen.append(("fini", state)))
    table.on_timer = ON_TIMER(lambda state, at, orders: -5)
    prepared = strategy.prepare(strategy.load(module(new_capsule(ctypes.addressof(table), _NAMES[0], None))), 1, 2, 3)
    taken = prepared.loaded.table
    assert prepared.state % 64 == 0 and taken.state_size == 16
    assert taken.call_on_timer(prepared.state, 0) == -5
    assert taken.call_on_fill(prepared.state, bytes(structures.FILL.itemsize)) == []
    taken.call_fini(prepared.state)
    assert seen == [("fini", prepared.state)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"abi": 2}, r"built for ABI 2 \(64 bytes\), allowed: ABI 3 \(64 bytes\): compile it with this release's"),
        ({"abi": 4}, r"built for ABI 4"),
        ({"size": 56}, r"built for ABI 3 \(56 bytes\), allowed: ABI 3 \(64 bytes\)"),
        ({"layout": 1}, r"layout hash 0x0000000000000001, allowed: 0x[0-9a-f]{16}: .* another agent_strategy.h"),
        ({"on_event": ON_EVENT()}, r"has no on_event"),
        ({"state_size": 2**30 + 1}, r"state of 1073741825 bytes, allowed: at most 1073741824"),
        ({"state_size": 2**64 - 1}, r"state of 18446744073709551615 bytes"),
    ],
)
def test_a_broken_table_is_refused(module: Callable[..., str], change: dict[str, Any], message: str) -> None:
    table = good()
    for key, value in change.items():
        setattr(table, key, value)
    name = module(new_capsule(ctypes.addressof(table), _NAMES[0], None))
    with pytest.raises(StrategyError, match=rf"^strategy\.name: {name}: {message}"):
        strategy.load(name)


def test_what_is_no_strategy_is_refused(module: Callable[..., str], tmp_path: Path) -> None:
    def refused(name: str, message: str) -> None:
        with pytest.raises(StrategyError, match=message) as error:
            strategy.load(name)
        assert "strategy.name" in str(error.value) and "\n" not in str(error.value)

    refused("nonesuch", r"found 'nonesuch', allowed: ema_cross, .*every_tick_cython, MODULE:OBJECT, or a path$")
    refused("nonesuch:STRATEGY", r"found 'nonesuch:STRATEGY', allowed: .* \(No module named 'nonesuch'\)$")
    refused("agent.strategy:NONESUCH", r"allowed: .* has no attribute 'NONESUCH'\)$")
    refused(":STRATEGY", r"':STRATEGY'")
    refused(
        "agent.strategy:SCALE", r"'agent.strategy:SCALE' is a float; allowed: a Strategy, or a capsule agent.strategy$"
    )
    refused(module(new_capsule(ctypes.addressof(good()), _NAMES[1], None)), r"is a PyCapsule; allowed: a Strategy, or")
    refused(module(source="def broken(:\n"), r"_1:STRATEGY': SyntaxError: ")
    refused(module(source="1 / 0\n"), r"_2:STRATEGY': ZeroDivisionError: division by zero$")
    refused(
        module(source="from agent.strategy import Strategy\nSTRATEGY = Strategy(None, [])\n"),
        r"_3:STRATEGY': TypeError: on_event: found NoneType, allowed: a function$",
    )
    refused(module(source="import sys\nsys.exit(0)\n"), r"_4:STRATEGY': SystemExit: 0$")
    refused(str(tmp_path / "none.so"), r"none\.so: .*No such file or directory$")
    text = tmp_path / "text.so"
    text.write_text("not a shared object, but long enough to hold a header " * 4)
    refused(str(text), r"text\.so: .*invalid ELF header$")
    refused(_codecs.__file__, r": has no symbol agent_strategy$")
    refused(str(tmp_path), r": .*found a directory, allowed: a regular file$")


def test_the_missing_rust_one_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [f for f in find.list_files(loader._KIND) if "rust" not in f.name]
    monkeypatch.setattr(find, "list_files", lambda kind: kept)
    with pytest.raises(
        StrategyError, match=r"found 'ema_cross_rust' \(built where .*rustc is installed\), allowed: ema"
    ):
        strategy.load("ema_cross_rust")


def test_too_many_values() -> None:
    assert prepare("every_tick_cython", values=(1.0,) * 8)
    with pytest.raises(StrategyError, match=r"^strategy.values: found 9 numbers, allowed: at most 8$"):
        prepare("every_tick_cython", values=(1.0,) * 9)


@pytest.mark.parametrize("count", [-1, -(2**31), 9, 2**31 - 1])
def test_an_impossible_count_is_not_followed(module: Callable[..., str], count: int) -> None:
    table = good()
    table.on_event = ON_EVENT(lambda state, event, orders: count)
    prepared = strategy.prepare(strategy.load(module(new_capsule(ctypes.addressof(table), _NAMES[0], None))), 1, 2, 3)
    assert strategy.drive(prepared, walk(1, 2).tobytes()) == [(0, count), (1, count)]


# ---------------------------------------------------------------------------------- Numba


def _every_function() -> Strategy:
    def init(state, params):  # type: ignore[no-untyped-def]
        state.seen[0] = params.symbols
        return 0 if params.values[7] == 8.0 else -12

    def on_event(state, event, orders):  # type: ignore[no-untyped-def]
        state.seen[1] += 1
        for i in range(8):
            orders[i].tag = i + event.sequence
        return 8

    def on_fill(state, fill, orders):  # type: ignore[no-untyped-def]
        state.seen[2] += fill.leaves
        orders[0].id = fill.id
        orders[0].action = 2
        return 1

    def on_timer(state, now_ns, orders):  # type: ignore[no-untyped-def]
        state.seen[3] = now_ns
        return 0

    def fini(state):  # type: ignore[no-untyped-def]
        state.seen[4] = -1

    return Strategy(on_event, [("seen", "i8", (5,))], init, on_fill=on_fill, on_timer=on_timer, fini=fini)


def test_every_function_of_a_numba_strategy() -> None:
    loaded = compile_numba.compile_strategy(_every_function())
    with pytest.raises(StrategyError, match="init returned -12"):
        strategy.prepare(loaded, 1, 2, 3)
    prepared = strategy.prepare(loaded, 1, 2, 3, ["A"] * 6, range(1, 9))
    table = loaded.table
    orders = [np.frombuffer(o, structures.ORDER)[0] for _, o in strategy.drive(prepared, walk(1, 1).tobytes())]
    assert [int(o["tag"]) for o in orders] == list(range(1, 9))
    fill = np.zeros(1, structures.FILL)
    fill["id"], fill["leaves"] = 77, 5
    (order,) = table.call_on_fill(prepared.state, fill.tobytes())  # type: ignore[misc]
    assert np.frombuffer(order, structures.ORDER)[0]["id"] == 77
    assert table.call_on_timer(prepared.state, 2**40) == []
    table.call_fini(prepared.state)
    assert list((ctypes.c_int64 * 5).from_address(prepared.state)) == [6, 1, 5, 2**40, -1]


def _returns(value: Any) -> Callable[..., int]:
    def on_event(state, event, orders):  # type: ignore[no-untyped-def]
        orders[0].tag = value
        return 1

    return on_event


def _return_nothing(state, event, orders):  # type: ignore[no-untyped-def]
    state.a = 1


def _write_nonesuch(state, event, orders):  # type: ignore[no-untyped-def]
    state.nonesuch = 1
    return 0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda: Strategy(_returns(object()), [("a", "i8")]),
            r"^/\S*/test_loader\.py:\d+: strategy test_loader: on_event does not compile: [^\n]+\Z",
        ),
        (
            lambda: Strategy(_write_nonesuch, [("a", "i8")]),
            r"^/\S*/test_loader\.py:\d+: strategy test_loader: on_event does not compile: found the field 'nonesuch'",
        ),
        (
            lambda: Strategy(_return_nothing, [("a", "i8")]),
            r"^/\S*/test_loader\.py:\d+: strategy test_loader: on_event does not compile: ",
        ),
        (lambda: Strategy(_returns(1), [("a", "O")]), r"^strategy test_loader: state: "),
        (lambda: Strategy(_returns(1), [("a", "no such type")]), r"^strategy test_loader: state: "),
        (lambda: Strategy(_returns(1), "i8"), r"^strategy test_loader: state: found int64, allowed: fields"),
        (lambda: Strategy(_returns(1), [("a", "u1", 2**30 + 1)]), r"^strategy test_loader: state of 1073741825 by"),
    ],
)
def test_what_does_not_compile(made: Callable[[], Strategy], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        compile_numba.compile_strategy(made())


def test_another_layout_of_the_records_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)  # what is kept was compiled with the right one
    monkeypatch.setattr(structures, "layout_hash", lambda: 1)
    with pytest.raises(StrategyError, match=r"types\.py is not of the layout"):
        strategy.load("every_tick")


_CHILD = """
import json, sys
import numba.core.event as event
from agent import strategy
recorder = event.RecordingListener()
event.register("numba:compile", recorder)
loaded = strategy.load(sys.argv[1])
prepared = strategy.prepare(loaded, 5, 20, 7)
orders = strategy.drive(prepared, open(sys.argv[2], "rb").read())
print(json.dumps([len(recorder.buffer), [[i, order.hex()] for i, order in orders]]))
"""


def child(name: str, cache: Path, events: Path) -> tuple[int, list[list[Any]]]:
    """Another process loads and drives: (Numba's compile events, orders)."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(events.parent)}
    command = [sys.executable, "-P", "-c", _CHILD, name, str(events)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout.splitlines()[-1]))


_USER = """
from agent.strategy import Strategy
import strategy_constants

def on_event(state, event, orders):
    orders[0].tag = strategy_constants.NUMBER
    return 1

def twice(state, event, orders):
    orders[0].tag = 2 * strategy_constants.NUMBER
    return 1

STRATEGY = Strategy(on_event, [("a", "i8")])
TWICE = Strategy(twice, [("a", "i8")])
"""


def test_a_second_process_does_not_compile(tmp_path: Path) -> None:
    cache, events = tmp_path / "cache", tmp_path / "events"
    cache.mkdir()
    events.write_bytes(walk(1, 2000).tobytes())

    def files() -> dict[str, int]:
        return {str(f): f.stat().st_mtime_ns for f in cache.rglob("*") if f.is_file()}

    compiled, orders = child("ema_cross", cache, events)
    assert compiled > 0 and len(orders) > 10
    written = files()
    assert any(f.endswith(".nbc") for f in written)
    assert child("ema_cross", cache, events) == (0, orders)
    assert files() == written
    # Numba's own cache serves where ours is gone.
    (kept,) = cache.glob("*.code")
    kept.unlink()
    assert child("ema_cross", cache, events) == (0, orders)


def test_a_changed_strategy_is_not_taken_from_the_cache(tmp_path: Path) -> None:
    cache, events = tmp_path / "cache", tmp_path / "events"
    events.write_bytes(walk(1, 1).tobytes())
    (tmp_path / "strategy_user.py").write_text(_USER)

    def tag(name: str, number: int) -> tuple[int, bool]:
        """The tag of its order, and whether it was compiled."""
        (tmp_path / "strategy_constants.py").write_text(f"NUMBER = {number}\n")
        compiled, ((_, order),) = child(f"strategy_user:{name}", cache, events)
        return int(np.frombuffer(bytes.fromhex(order), structures.ORDER)["tag"][0]), compiled > 0

    assert tag("STRATEGY", 5) == (5, True)
    assert tag("TWICE", 5) == (10, True)
    # A constant of another module: the file of the strategy itself is as it was.
    assert tag("STRATEGY", 600) == (600, True)
    assert tag("STRATEGY", 5) == (5, False)


def test_a_strategy_that_moved_is_not_taken_from_the_cache(tmp_path: Path) -> None:
    """What is cached imports the module that it was compiled from, which may be gone with the last release."""
    cache, events = tmp_path / "cache", tmp_path / "events"
    events.write_bytes(walk(1, 1).tobytes())
    (tmp_path / "strategy_constants.py").write_text("NUMBER = 5\n")
    old, new = tmp_path / "strategy_user.py", tmp_path / "moved" / "strategy_user.py"
    old.write_text(_USER.replace('[("a", "i8")]', '[("a", "i8")], lambda state, params: 0'))
    child("strategy_user:STRATEGY", cache, events)
    new.parent.mkdir()
    old.rename(new)
    compiled, orders = child("moved.strategy_user:STRATEGY", cache, events)
    assert compiled > 0 and len(orders) == 1


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert strategy.drive(strategy.prepare(strategy.load("every_tick"), 1, 2, 3), walk(1, 3).tobytes())
    # One that holds the glue, but where Numba finds no place: only its words can be had as root.
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    real = numba.cfunc

    def cfunc(*arguments: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function 'init': no locator available for file 'x.py'")
        return real(*arguments, **options)

    monkeypatch.setattr(numba, "cfunc", cfunc)
    assert strategy.drive(strategy.prepare(strategy.load("every_tick"), 1, 2, 3), walk(1, 3).tobytes())


# ---------------------------------------------------------------------------------- docs/strategies.md


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOC.read_text(), re.M | re.S)


def imbalance(events: np.ndarray, size: int, ratio: float) -> list[tuple[int, bytes]]:
    out = []
    for i, e in enumerate(events.tolist()):
        bid, bid_size, ask, ask_size, kind, symbol = e[4], e[5], e[6], e[7], e[10], e[11]
        buy, sell = float(bid_size) > ratio * ask_size, float(ask_size) > ratio * bid_size
        if kind & BOOK and bid and ask and buy != sell:
            side, price = (BUY, ask) if buy else (SELL, bid)
            out.append((i, struct.pack("=dqQQiIII", price * 1e-8, size, 0, 0, side, symbol, 0, 0)))
    return out


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the documentation's sources."""
    directory = tmp_path_factory.mktemp("documented")
    for language, file in (("python", "imbalance.py"), ("c", "imbalance.c"), ("rust", "imbalance.rs")):
        (directory / file).write_text(blocks(language)[0])
    (directory / "imbalance_cython.pyx").write_text(blocks("cython")[0])
    return directory


def build(directory: Path, command: str) -> None:
    """Run the documentation's command line for what it names."""
    (script,) = (b for b in blocks("sh") if command in b)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=directory,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def check_imbalance(name: str) -> None:
    events = walk(3, 3000, 4, (BOOK, TRADE, BOOK | TRADE))
    events["bid"][::97] = 0
    prepared = strategy.prepare(strategy.load(name), 5, 20, 40, values=[1.5])
    wanted = imbalance(events, 40, 1.5)
    assert strategy.drive(prepared, events.tobytes()) == wanted
    assert 1000 < len(wanted) < 2900


def test_documented_python(documented: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (documented / "imbalance.py").read_text()
    assert len([line for line in source.splitlines() if line]) <= 20
    monkeypatch.syspath_prepend(str(documented))
    check_imbalance("imbalance:STRATEGY")


@no_cc
def test_documented_c(documented: Path) -> None:
    build(documented, "imbalance_c.so")
    check_imbalance(str(documented / "imbalance_c.so"))


@no_rust
def test_documented_rust(documented: Path) -> None:
    build(documented, "imbalance_rust.so")
    check_imbalance(str(documented / "imbalance_rust.so"))


@no_cc
@pytest.mark.skipif(importlib.util.find_spec("Cython") is None, reason="no Cython")
def test_documented_cython(documented: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(documented, "imbalance_cython.so")
    monkeypatch.syspath_prepend(str(documented))
    check_imbalance("imbalance_cython:STRATEGY")


def test_documented_trial(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("python")[1], {})
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_the_service_managers_cache_directory_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("CACHE_DIRECTORY", f"{tmp_path}/unit:{tmp_path}/other")
    assert default_cache_dir() == f"{tmp_path}/unit"
    monkeypatch.setenv("CACHE_DIRECTORY", "")
    assert default_cache_dir().startswith(f"{tmp_path}/user/")
