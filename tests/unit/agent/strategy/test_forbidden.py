"""What a Numba strategy may not do is refused when it is compiled, with the line; what it may do is taken."""

import importlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import strategy
from agent.strategy import StrategyError, compile_numba, forbidden

pytest.importorskip("numba")

#: Functions of a second module, which a strategy may call or not.
HELPERS = """
import ctypes

import numpy as np
from numba import njit, prange

@njit
def check(value):
    if value > 3:
        raise KeyError("from a helper")
    return value

@njit(error_model="python")
def divide(a, b):
    return a // b

@njit
def quotient(a, b):
    return a // b

@njit
def allocate(value):
    found = np.empty(4)
    found[0] = value
    return found[0]

@njit
def deeper(value):
    return allocate(value) + 1

@njit(parallel=True)
def total(values):
    found = 0.0
    for i in prange(values.size):
        found += values[i]
    return found

@njit
def factorial(n):
    return 1 if n <= 1 else n * factorial(n - 1)

@njit
def last(orders):
    orders[8].size = 1

@njit
def touch(event):
    event.day = 7

@njit
def swap(pair):
    return pair[1], pair[0]

cosine = ctypes.CDLL(None).cos
cosine.restype, cosine.argtypes = ctypes.c_double, [ctypes.c_double]
"""
HELPER_LINES = HELPERS.splitlines()

BEGINNING = """
import math
import time

import numpy as np
from numba import njit, objmode

import HELPERS
from agent.strategy import Strategy

NINE = 9
TABLE = np.arange(10.0)
GRID = np.zeros((4, 4))

def on_event(state, event, orders):
"""
END = """
    return 0

STRATEGY = Strategy(on_event, [("size", "i8"), ("x", "f8"), ("prices", "f8", (16,))])
"""


@pytest.fixture
def compile_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Compiles a strategy of these statements; the problems."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    unique = f"{tmp_path.name}_{random.randrange(1 << 40)}".replace("-", "_")

    def compile_body(body: str) -> list[str]:
        made = len(list(tmp_path.glob("*.py")))
        name, helpers = f"mine_{made}_{unique}", f"helpers_{unique}"
        (tmp_path / f"{helpers}.py").write_text(HELPERS)
        statements = "\n".join(f"    {line}" for line in body.splitlines())
        (tmp_path / f"{name}.py").write_text((BEGINNING + statements + END).replace("HELPERS", helpers))
        importlib.invalidate_caches()
        try:
            compile_numba.compile_strategy(importlib.import_module(name).STRATEGY)
        except StrategyError as error:
            return [p.replace(str(tmp_path), "").replace(name, "mine").replace(helpers, "helpers")
                    for p in error.problems]  # fmt: skip
        return []

    return compile_body


def line_of(body: str, marked: str, before: int = BEGINNING.count("\n")) -> int:
    """The number of the line that a marked line of the body has in the file."""
    return 1 + before + next(i for i, line in enumerate(body.splitlines()) if marked in line)


#: Statements, the last of which is refused or the one that is marked; and with what words.
REFUSED = {
    "raise": ("if event.bid < 0:\n    raise ValueError('negative')  # here", "can raise ValueError (negative)"),
    "raise with a value": ("if event.bid < 0:\n    raise ValueError(event.bid)  # here", "can raise ValueError"),
    "assert": ("state.size = 1\nassert event.bid > 0", "can raise AssertionError"),
    "print": ("if event.bid < 0:\n    print('bid', event.bid)  # here\nstate.size = 2", "prints"),
    "an array": ("state.size = 1\nfound = np.zeros(4)  # here\nstate.x = found[event.bid & 3]", "allocates memory"),
    "an array's expression": ("state.x = (state.prices * 2.0).sum()", "allocates memory"),
    "a text": ("found = str(event.bid)  # here\nstate.size = len(found)", "allocates memory"),
    "a dictionary": ("found = {1: event.bid}  # here\nstate.size = found[1]", "allocates memory"),
    "object mode": ("with objmode(now='float64'):  # here\n    now = time.time()\nstate.x = now", "calls Python"),
    "random": ("state.x = np.random.random()", "draws random numbers, for which it calls Python"),
    "a step of 0": ("for i in range(0, 9, event.bid):  # here\n    state.size += i",
                    "can raise ValueError (range() arg 3 must not be zero)"),
    "an integer's power": ("state.size = event.bid ** event.ask", "can raise OverflowError"),
    "a C function": ("state.x = HELPERS.cosine(state.x)", "calls a function by its address"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_line(compile_body: Callable[[str], list[str]], name: str) -> None:
    body, words = REFUSED[name]
    line = line_of(body, "# here" if "# here" in body else body.splitlines()[-1])
    wanted = f"/mine.py:{line}: strategy mine, on_event: found code that {words}; allowed: what cannot raise, print, "
    problems = compile_body(body)
    assert problems[0].startswith(wanted)
    # What follows from the first is named with it; nothing before it is.
    assert all(int(p.split(":")[1]) >= line for p in problems)


@pytest.mark.parametrize(
    ("body", "helper", "words"),
    [
        ("state.size = HELPERS.check(event.bid)", 'raise KeyError("from', "check: found code that can raise KeyError"),
        ("state.size = HELPERS.divide(event.bid, 0 * event.ask)", "return a // b", "divide: found code that can raise"),
        ("state.x = HELPERS.deeper(event.bid)", "np.empty(4)", "allocate: found code that allocates memory"),
        ("state.x = HELPERS.total(state.prices)", "in prange", "total: found code that starts threads"),
        ("HELPERS.last(orders)", "orders[8]", "last: found the index 8; allowed: an index below 8"),
    ],
)
def test_it_is_refused_in_a_function_of_another_module(
    compile_body: Callable[[str], list[str]], body: str, helper: str, words: str
) -> None:
    (problem, *_) = compile_body(body)
    line = 1 + next(i for i, text in enumerate(HELPER_LINES) if helper in text)
    assert problem.startswith(f"/helpers.py:{line}: strategy mine, {words}")


@pytest.mark.parametrize(
    ("statement", "index", "length"),
    [
        ("orders[8].size = 1", 8, 8),
        ("orders[NINE].size = 1", 9, 8),
        ("orders[-9].size = 1", -9, 8),
        ("state.prices[16] = 1.0", 16, 16),
        ("state.x += state.prices[-17]", -17, 16),
        ("state.x = TABLE[10]", 10, 10),
        ("orders[6:8][2].size = 1", 2, 2),
        ("orders[2:][6].size = 1", 6, 6),
        ("state.x = TABLE[::3][4]", 4, 4),
        ("state.x = GRID[3][7]", 7, 4),
        ("state.x = GRID[1:3][2][0]", 2, 2),
        ("state.x = GRID[1:3, 2][2]", 2, 2),
    ],
)
def test_a_constant_index_past_the_end_is_refused(
    compile_body: Callable[[str], list[str]], statement: str, index: int, length: int
) -> None:
    (problem,) = compile_body(f"state.size = 1\nmine = orders\n{statement.replace('orders', 'mine')}")
    wanted = f"strategy mine, on_event: found the index {index}; allowed: an index below {length}"
    assert problem == f"/mine.py:{line_of('1', '1') + 2}: {wanted}"


@pytest.mark.parametrize("statement", ["event.day = 7", 'event["day"] = 7', "event.day += 1", "HELPERS.touch(event)"])
def test_what_is_the_engines_is_only_read(compile_body: Callable[[str], list[str]], statement: str) -> None:
    (problem,) = compile_body(f"state.size = 1\nmine = event\n{statement.replace('event', 'mine')}")
    where = "touch: found a write to event" if "touch" in statement else "on_event: found a write to mine"
    assert problem.endswith(f"strategy mine, {where}; allowed: to read it: it is the engine's")
    assert compile_body("day = event.day\nday += 1\nstate.size = day\nevent = orders[0]\nevent.size = day") == []


def test_arithmetic_and_what_the_optimiser_proves_is_taken(compile_body: Callable[[str], list[str]]) -> None:
    assert (
        compile_body("""\
x, y = float(event.bid), float(event.ask)
state.size = event.bid // event.ask + event.bid % event.ask + (event.bid << 3) + HELPERS.quotient(event.bid, event.ask)
state.size *= event.bid * event.ask
state.x = x / y + x // y + x % y + divmod(x, y)[0] + x ** 2.5 + x ** 2 + event.bid ** 2
state.x += math.sqrt(x) + math.log(x) + math.exp(x) + math.pow(x, y) + math.floor(x) + math.atan2(x, y) + math.erf(x)
state.x += np.sqrt(x) + np.log(x) + np.floor(x) + np.sign(x) + np.minimum(x, y) + round(x, 4) + int(x) + abs(x)
state.x += TABLE[event.bid & 7] + TABLE.sum() + state.prices.sum() + state.prices[-16] + np.argmax(state.prices)
state.prices[:] = 0.0
window = state.prices[2:6]
window[0] = x
for i, value in enumerate(state.prices):
    state.x += i * value
for i in range(10, 0, -1):
    state.x += state.prices[i]
i = 0
while i < event.bid:
    i += 2
    if i > 64:
        break
x, y = HELPERS.swap((y, x))
state.size += HELPERS.factorial(event.bid & 7)
try:
    state.size //= event.ask
except Exception:
    state.size = 1
if False:
    print("never")
assert 1 < 2
if event.bid in (1, 2, 3):
    orders[7] = orders[0]
double = lambda value: 2 * value
state.size += double(event.bid)
orders[event.symbol & 7].price = state.x""")
        == []
    )


SAFE = ("state.size += {n}", "state.x = math.sqrt(state.x) + {n}", "orders[{n} & 7].size = event.bid // event.ask",
        "state.prices[{n} & 15] += event.bid",
        "state.x = state.x ** {n}.5", "state.size ^= event.ask << {n}")  # fmt: skip
UNSAFE = ("raise ValueError('n{n}')", "print(event.ask, {n})", "state.prices[{n} + 16] = 1.0",
          "assert event.ask > {n}", "state.x = np.full({n} + 2, 1.0)[event.ask & 1]")  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_of_generated_statements_exactly_the_forbidden_lines_are_named(
    compile_body: Callable[[str], list[str]], seed: int
) -> None:
    rng = random.Random(seed)
    lines, wanted = list[str](), set[int]()
    for number in range(12):
        # Each in a branch that nothing proves to be taken, or not to be.
        lines.append(rng.choice(["if event.bid > {n}:", "for i in range(event.bid & {n}):"]).format(n=number + 1))
        forbidden_one = rng.random() < 0.25
        lines.append("    " + rng.choice(UNSAFE if forbidden_one else SAFE).format(n=number))
        if forbidden_one:
            wanted.add(BEGINNING.count("\n") + len(lines))
    found = {int(p.split(":")[1]) for p in compile_body("\n".join(lines))}
    assert found == wanted


def test_all_of_a_strategys_functions_are_looked_at() -> None:
    def on_event(state, event, orders):  # type: ignore[no-untyped-def]
        if event.bid == 7:
            raise ValueError("seven")
        return 0

    def on_fill(state, fill, orders):  # type: ignore[no-untyped-def]
        print(fill.id)
        return 0

    def fini(state):  # type: ignore[no-untyped-def]
        state.a[5] = 1

    with pytest.raises(StrategyError, match=r"^[^\n]*test_forbidden\.py:\d+: strategy test_forbidden, on_event: ") as e:
        compile_numba.compile_strategy(strategy.Strategy(on_event, [("a", "i8", (5,))], on_fill=on_fill, fini=fini))
    assert str(e.value).endswith("(and 2 more, which agent check-config lists)")
    assert [re.search(r"found .*;", p)[0] for p in e.value.problems] == [  # type: ignore[index]
        "found code that can raise ValueError (seven);", "found code that prints;", "found the index 5;",
    ]  # fmt: skip


# ---------------------------------------------------------------------------------- the cache

_CHILD = """
import sys
from agent import strategy
strategy.load("mine:STRATEGY")
"""


def test_what_was_refused_is_not_in_the_cache(tmp_path: Path) -> None:
    """Neither the first process takes it, nor one that finds what the first has left."""
    (tmp_path / "mine.py").write_text((BEGINNING + "    assert event.bid > 0" + END).replace("import HELPERS\n", ""))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-P", "-c", _CHILD], env=environment, capture_output=True, text=True,
                              timeout=60)  # fmt: skip
        assert "can raise AssertionError" in done.stderr.splitlines()[-1], done.stderr
        assert not list((tmp_path / "cache").rglob("*.nbc"))


def _hash(made: strategy.Strategy) -> str:
    return compile_numba._hash_unit(compile_numba._describe_strategy(made))


@pytest.mark.parametrize("name", ["forbidden.py", "indices.py", "machine_code.py"])
def test_a_cache_from_before_something_was_refused_or_kept_otherwise_is_not_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_event(state, event, orders):  # type: ignore[no-untyped-def]
        return 0

    made = strategy.Strategy(on_event, [("a", "i8")])
    before = _hash(made)
    assert before == _hash(made)
    for source in Path(forbidden.__file__).parent.glob("*.py"):
        (tmp_path / source.name).write_bytes(source.read_bytes() + b"\n" * (source.name == name))
    monkeypatch.setattr(compile_numba, "__file__", str(tmp_path / "compile_numba.py"))
    assert _hash(made) != before


def test_a_function_that_is_not_found_to_be_harmless_is_not_called() -> None:
    names: list[Any] = ["NRT_Allocate", "PyErr_SetString", "numba_unpickle", "malloc", "system", "numba_gil_ensure",
                        "llvm.trap", "numba_list_append", "numba_dict_insert", "nanosleep"]  # fmt: skip
    assert [name for name in names if forbidden._HARMLESS.fullmatch(name)] == []
    harmless = ["llvm.memset.p0.i64", "llvm.sqrt.f64", "sqrt", "hypot", "atan2f", "numba_gamma", "lgamma", "memcpy",
                "NRT_decref", "__divti3", "__powidf2", "numba_fixed_fmod"]  # fmt: skip
    assert [name for name in harmless if not forbidden._HARMLESS.fullmatch(name)] == []
