"""The machine code of Numba strategies that is kept: what it needs to be loaded, and what is not taken."""

import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numba
import pytest
from numba import types

from agent import strategy
from agent.strategy import Strategy, compile_numba, machine_code
from tests.unit.agent.strategy.test_loader import walk

CC = shutil.which("cc")

_CHILD = """
import json, sys
from agent import strategy
loaded = strategy.load(sys.argv[1])
orders = strategy.drive(strategy.prepare(loaded, 5, 20, 7), open(sys.argv[2], "rb").read())
print(json.dumps([[name for name in ("numba", "numpy") if name in sys.modules], [order.hex() for _, order in orders]]))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    path.mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(path))
    return path


def orders(loaded: strategy.Loaded) -> list[str]:
    found = strategy.drive(strategy.prepare(loaded, 5, 20, 7), walk(1, 500).tobytes())
    return [order.hex() for _, order in found if isinstance(order, bytes)]


@pytest.mark.parametrize(("name", "own"), [("ema_cross", ["numpy"]), ("every_tick", [])])
def test_a_kept_strategy_starts_without_numba_and_numpy(name: str, own: list[str], cache: Path, tmp_path: Path) -> None:
    """own: what the strategy's module itself imports."""
    events = tmp_path / "events"
    events.write_bytes(walk(1, 500).tobytes())

    def start() -> tuple[list[str], list[str]]:
        command = [sys.executable, "-P", "-c", _CHILD, name, str(events)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        imported, found = json.loads(done.stdout)
        return imported, found

    imported, compiled = start()
    assert imported == ["numba", "numpy"] and len(compiled) > 3
    assert start() == (own, compiled)


def damage(content: bytes) -> list[bytes]:
    rng = random.Random(1)
    places = [rng.randrange(len(content)) for _ in range(30)]
    flipped = [content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :] for at in places]
    return [b"", content[:31], content[:32], content[:-1], content + b"\0", bytes(len(content)), *flipped]


def test_damaged_code_is_not_taken(cache: Path) -> None:
    loaded = strategy.load("every_tick")
    expected = orders(loaded)
    (kept,) = cache.glob("*.code")
    content = kept.read_bytes()
    for wrong in damage(content):
        kept.write_bytes(wrong)
        assert machine_code.load(kept) is None
        assert kept.read_bytes() == wrong
    # Numba's own cache is still there; what comes out of that cannot be made whole.
    assert orders(strategy.load("every_tick")) == expected and kept.read_bytes() == wrong
    shutil.rmtree(cache)
    cache.mkdir()
    assert orders(strategy.load("every_tick")) == expected
    assert kept.read_bytes()[32:64] == content[32:64] and machine_code.load(kept) is not None


@pytest.mark.parametrize("what", ["get_host_cpu_name", "get_host_cpu_features", "version", "llvmlite"])
def test_code_for_another_cpu_or_of_another_compiler_is_not_taken(
    what: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llvmlite
    from llvmlite import binding as llvm

    strategy.load("every_tick")
    (kept,) = cache.glob("*.code")
    assert machine_code.load(kept) is not None
    if what == "get_host_cpu_name":
        monkeypatch.setattr(llvm, what, lambda: "znver9")
    elif what == "get_host_cpu_features":
        monkeypatch.setattr(llvm, what, lambda: llvm.targets.FeatureMap({"avx9": True}))
    elif what == "version":
        monkeypatch.setattr(sys, what, "3.99.0")
    else:
        monkeypatch.setattr(llvmlite, "__version__", "0.99.0")
    assert machine_code.load(kept) is None


def _raises(x: int) -> int:
    return 1 // x


def _computes(x: int) -> int:
    return int(math.exp(math.log(x)))


def _counts(x: int) -> int:
    return x + 1


def compile_one(function: Callable[[int], int]) -> dict[str, object]:
    return {"on_event": numba.cfunc(types.int64(types.int64), cache=False)(function)}


def test_code_that_refers_to_python_is_not_kept() -> None:
    assert machine_code.make_whole(compile_one(_raises), 8) is None


@pytest.mark.parametrize(("function", "undefined"), [(_counts, set()), (_computes, {"exp", "log"})])
def test_code_that_is_kept_refers_to_the_c_library_at_most(function: Callable[[int], int], undefined: set[str]) -> None:
    import ctypes

    whole = machine_code.make_whole(compile_one(function), 8)
    assert whole is not None
    code, ready = whole
    (elf,) = (elf for _, elf in code.functions.values())
    assert set(machine_code.find_undefined(elf)) == undefined
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(ready.addresses["on_event"])
    assert [call(n) for n in (5, 70)] == [function(n) for n in (5, 70)]


def test_code_that_refers_to_what_is_not_here_is_not_loaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM would end the process."""
    whole = machine_code.make_whole(compile_one(_computes), 8)
    assert whole is not None
    path = cache / "a.code"
    machine_code.save(path, whole[0])
    assert machine_code.load(path) is not None
    symbol, elf = whole[0].functions["on_event"]
    absent = {"on_event": (symbol, elf.replace(b"\0exp\0", b"\0exq\0"))}
    assert machine_code.find_undefined(absent["on_event"][1]) != machine_code.find_undefined(elf)
    machine_code.save(path, msgspec.structs.replace(whole[0], functions=absent))
    assert machine_code.load(path) is None


def test_what_numba_does_not_give_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: object) -> bytes:
        raise AttributeError("_final_module")

    monkeypatch.setattr(machine_code, "_compile_alone", refuse)
    assert orders(strategy.load("every_tick")) and not list(cache.glob("*.code"))


def test_a_directory_that_cannot_be_written_to_is_no_error(tmp_path: Path) -> None:
    whole = machine_code.make_whole(compile_one(_counts), 8)
    assert whole is not None
    machine_code.save(tmp_path / "missing" / "a.code", whole[0])
    assert machine_code.load(tmp_path / "missing" / "a.code") is None


def test_a_state_that_is_too_large_is_refused_each_time(cache: Path) -> None:
    wrong = Strategy(_event, [("a", "u1", 2**30 + 1)])
    for _ in range(2):
        with pytest.raises(strategy.StrategyError, match="state of 1073741825 by"):
            compile_numba.compile_strategy(wrong)
    assert not list(cache.glob("*.code"))


def _event(state, event, orders):  # type: ignore[no-untyped-def]
    return 0


@pytest.mark.skipif(CC is None, reason="needs cc (tools/setup host)")
def test_undefined_symbols_are_those_that_nm_finds(tmp_path: Path) -> None:
    rng = random.Random(2)
    for number in range(5):
        called = [f"function_{rng.randrange(100)}" for _ in range(rng.randrange(6))]
        source = "".join(f"extern int {name}(int);\n" for name in sorted(set(called)))
        source += "static int own(int x) { return x * 3; }\nint common;\n"
        source += f"int start(int x) {{ return own(x) + common{''.join(f' + {name}(x)' for name in called)}; }}\n"
        path = tmp_path / f"{number}.c"
        path.write_text(source)
        subprocess.run([str(CC), "-c", "-fPIC", "-o", str(path.with_suffix(".o")), str(path)], check=True, timeout=60)
        named = subprocess.run(["nm", "-u", str(path.with_suffix(".o"))], capture_output=True, text=True, timeout=60)
        expected = {line.split()[-1] for line in named.stdout.splitlines()}
        found = machine_code.find_undefined(path.with_suffix(".o").read_bytes())
        assert set(found) == expected and len(found) == len(expected)
        assert expected - {"_GLOBAL_OFFSET_TABLE_"} == set(called)
