"""Strategies in three languages behind one ABI: the same orders, byte for byte; and what is refused."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("numba")

from agent import _strategy, records, strategy  # noqa: E402

ROOT = Path(__file__).parents[3]
LANGUAGES = ("ema_cross", "ema_cross_cython", "ema_cross_rust")
SCALE = 10**8


def load(name: str) -> strategy.Loaded:
    if name.endswith("_rust") and name not in strategy.built_in() and shutil.which("rustc") is None:
        pytest.skip("no rustc: the Rust strategy is not built here")
    return strategy.load(name)


def walk(count: int, symbols: int, seed: int) -> Any:
    """Events of random walks: quotes, trades and both, one side missing now and then, and extreme prices."""
    rng = np.random.default_rng(seed)
    events = np.zeros(count, records.EVENT)
    events["sequence"] = np.arange(1, count + 1)
    events["symbol"] = rng.integers(0, symbols, count)
    events["kind"] = rng.choice((1, 1, 1, 2, 3), count)
    mid = 100 * SCALE + np.cumsum(rng.integers(-20, 21, count)) * 10**6
    events["bid"], events["ask"] = mid - 10**6, mid + 10**6
    events["bid_size"] = events["ask_size"] = 5 * SCALE
    events["bid"][rng.random(count) < 0.02] = 0
    events["ask"][rng.random(count) < 0.02] = 0
    events["ask"][:: max(1, count // 7)] = 199_999 * SCALE
    return events


@pytest.mark.parametrize(("fast", "slow", "size"), [(10, 50, 1), (1, 2, 999_999), (3.5, 7.25, 100)])
@pytest.mark.parametrize("symbols", [1, 5, 300])
def test_every_language_gives_the_same_bytes(fast: float, slow: float, size: int, symbols: int) -> None:
    events = walk(20_000, symbols, 1).tobytes()
    results = {}
    for name in LANGUAGES:
        if name.endswith("_rust") and name not in strategy.built_in():
            continue
        loaded = load(name)
        prepared = strategy.prepare(loaded, fast, slow, size, symbols)
        results[name] = loaded.table.drive(prepared.state, events)
    assert len(results["ema_cross"]) > 20
    assert all(found == results["ema_cross"] for found in results.values())
    orders = np.frombuffer(b"".join(data for _, data in results["ema_cross"]), records.ORDER)
    assert set(orders["side"]) == {1, -1} and set(orders["size"]) == {size}
    # Symbols beyond what it keeps averages of are not looked at.
    assert orders["symbol"].max() < 256


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_average_is_the_textbooks(name: str) -> None:
    """Against the same in plain Python floats, order by order."""
    events = walk(3000, 1, 2)
    loaded = load(name)
    prepared = strategy.prepare(loaded, 5, 20, 3)
    found = [(i, np.frombuffer(d, records.ORDER)[0]) for i, d in loaded.table.drive(prepared.state, events.tobytes())]
    expected, fast, slow, seen, above = [], 0.0, 0.0, 0, 0
    for i, e in enumerate(events):
        if not e["kind"] & 1 or not e["bid"] or not e["ask"]:
            continue
        mid = (int(e["bid"]) + int(e["ask"])) * (0.5 * 1e-8)
        if seen == 0:
            fast = slow = mid
        fast += 2.0 / 6.0 * (mid - fast)
        slow += 2.0 / 21.0 * (mid - slow)
        seen += 1
        before, above = above, 1 if fast > slow else -1 if fast < slow else above
        if above != before and before != 0 and seen > 20:
            expected.append((i, above, int(e["ask"] if above > 0 else e["bid"]) * 1e-8))
    assert [(i, o["side"], o["price"]) for i, o in found] == expected and len(expected) > 10


def test_the_records_have_the_headers_layout() -> None:
    assert records.layout_hash() == _strategy.layout_hash()
    header = (ROOT / "agent/include/agent_strategy.h").read_text()
    for dtype, macro in ((records.EVENT, "EVENT"), (records.ORDER, "ORDER"), (records.FILL, "FILL")):
        fields = re.search(rf"#define AGENT_{macro}_FIELDS\(X\)(.*?)\n\n", header, re.S)
        assert fields and re.findall(r"X\(\w+, (\w+)\)", fields[1]) == list(dtype.names)


def table(**changes: int) -> Any:
    """The bytes of a struct agent_strategy that would do, with changes."""
    good = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 3)(lambda s, e, o: 0)
    fields = {"abi": 2, "size": 64, "layout": _strategy.layout_hash(), "state_size": 8, "init": 0,
              "on_event": ctypes.cast(good, ctypes.c_void_p).value, "on_fill": 0, "on_timer": 0, "fini": 0}  # fmt: skip
    words = np.zeros(1, [(k, "u4" if k in ("abi", "size") else "u8") for k in fields])
    for key, value in (fields | changes).items():
        words[key] = value
    buffer = ctypes.create_string_buffer(words.tobytes(), 64)
    buffer.keep = good  # type: ignore[attr-defined]
    return buffer


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"abi": 1}, "ABI"),
        ({"size": 56}, "56 bytes"),
        ({"layout": 1}, "layout hash 0x0000000000000001, allowed"),
        ({"on_event": 0}, "no on_event"),
        ({"state_size": 2**40}, "state of"),
    ],
)
def test_a_table_of_another_build_is_refused(changes: dict[str, int], text: str) -> None:
    broken = table(**changes)
    with pytest.raises(ValueError, match=text):
        _strategy.Table.at(ctypes.addressof(broken))
    good = table()
    _strategy.Table.at(ctypes.addressof(good))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ema", "found 'ema', allowed: ema_cross, ema_cross_cython"),
        ("nowhere:X", "No module named 'nowhere'"),
        ("agent.strategies.ema_cross:NOPE", "has no attribute 'NOPE'"),
        ("agent.shm:DIRECTORY", "is a PosixPath; allowed: a Strategy, or a capsule"),
        ("/nowhere/x.so", "cannot open shared object file"),
    ],
)
def test_what_cannot_be_loaded_is_named(name: str, text: str) -> None:
    with pytest.raises(strategy.StrategyError, match=text):
        strategy.load(name)


def test_a_library_without_the_symbol_is_named() -> None:
    library = next(
        Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines() if "libm" in line
    )
    with pytest.raises(strategy.StrategyError, match="has no symbol agent_strategy"):
        strategy.load(str(library))


def test_init_may_refuse() -> None:
    def init(state: Any, params: Any) -> int:
        return -7

    def on_event(state: Any, event: Any, orders: Any) -> int:
        return 0

    loaded = strategy._compile(strategy.Strategy(on_event, [("x", "i8")], init))
    with pytest.raises(strategy.StrategyError, match="init returned -7"):
        strategy.prepare(loaded, 1, 2, 3)


def test_a_strategy_that_does_not_compile_is_said_so() -> None:
    def on_event(state: Any, event: Any, orders: Any) -> int:
        return undefined_name + 1  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(strategy.StrategyError, match="on_event does not compile"):
        strategy._compile(strategy.Strategy(on_event, [("x", "i8")]))


TIMING = """
import sys, time
from agent import engine
engine.use_cache(sys.argv[1])
from agent import strategy
import numba
compiled = []
numba.core.event.register("numba:compile", type("L", (numba.core.event.Listener,), {
    "on_start": lambda self, e: compiled.append(e), "on_end": lambda self, e: None})())
loaded = strategy.load("every_tick")
prepared = strategy.prepare(loaded, 1, 2, 3)
print(len(compiled))
"""


def test_a_second_process_takes_it_out_of_the_cache(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    compiled = []
    for _ in range(2):
        run = subprocess.run([sys.executable, "-P", "-c", TIMING, str(tmp_path)], capture_output=True, text=True,
                             check=True, env=environment, timeout=60)  # fmt: skip
        compiled.append(int(run.stdout))
    assert compiled[0] > 0 and compiled[1] == 0


TWINS = """
from agent.strategy import Strategy

def make(sign):
    def on_event(state, event, orders):
        orders[0].side = sign
        return 1
    return Strategy(on_event, [("x", "i8")])

BUYER, SELLER = make(1), make(-1)

def on_event(state, event, orders):
    orders[0].side = 7
    return 1

OTHER = Strategy(on_event, [("x", "i8")])
"""


def test_strategies_of_one_file_have_each_their_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the cache, too: Numba's own key does not see what a function closes over."""
    import numba

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path))
    (tmp_path / "twins.py").write_text(TWINS)
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in range(2):
        for name, side in (("BUYER", 1), ("SELLER", -1), ("OTHER", 7)):
            loaded = strategy.load(f"twins:{name}")
            state = strategy.prepare(loaded, 1, 2, 3).state
            ((_, order),) = loaded.table.drive(state, np.zeros(1, records.EVENT).tobytes())
            assert np.frombuffer(order, records.ORDER)["side"][0] == side, name


def documented(name: str) -> str:
    """The code block of docs/strategies.md that begins with `# NAME`."""
    text = (ROOT / "docs/strategies.md").read_text()
    found = re.search(rf"```\w+\n((?:#|//|/\*) {re.escape(name)}.*?)```", text, re.S)
    assert found, name
    return found[1]


def test_the_documented_strategy_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = documented("mean_reversion.py")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 20
    (tmp_path / "mean_reversion.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = strategy.load("mean_reversion:STRATEGY")
    prepared = strategy.prepare(loaded, 10, 50, 4)
    orders = loaded.table.drive(prepared.state, walk(5000, 1, 3).tobytes())
    assert len(orders) > 10
    assert {int(np.frombuffer(d, records.ORDER)["size"][0]) for _, d in orders} == {4}


def test_the_documented_c_strategy_works(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    (tmp_path / "quiet.c").write_text(documented("quiet.c"))
    compile_it = ["cc", "-std=gnu11", "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-I", str(ROOT / "agent/include")]
    subprocess.run([*compile_it, "-o", str(tmp_path / "quiet.so"), str(tmp_path / "quiet.c")], check=True)
    loaded = strategy.load(str(tmp_path / "quiet.so"))
    prepared = strategy.prepare(loaded, 1, 2, 3)
    found = loaded.table.drive(prepared.state, walk(1000, 1, 4).tobytes())
    assert len(found) == 10


def test_fini_is_compiled_too() -> None:
    """Numba's is in the table that the loop calls."""

    def on_event(state: Any, event: Any, orders: Any) -> int:
        return 0

    def fini(state: Any) -> None:
        state.ended = 77

    loaded = strategy._compile(strategy.Strategy(on_event, [("ended", "i8")], fini=fini))
    state = ctypes.create_string_buffer(64)
    pointer = ctypes.cast(loaded.table.address + 56, ctypes.POINTER(ctypes.c_void_p))[0]
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(pointer)(ctypes.addressof(state))
    assert int.from_bytes(state.raw[:8], "little") == 77
