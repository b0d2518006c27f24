"""What runs in the loop calls nothing of Python: read from the C that Cython makes of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("Cython")

ROOT = Path(__file__).parents[4]
#: A call of Python's C API, or of Cython's run time, which may call it.
_CALL = re.compile(r"\b(Py[A-Z]\w*|_Py\w+|__Pyx_[A-Za-z]\w*)\s*\(")
#: What looks like one and is not: a macro that Cython puts before the methods that follow.
_PLAIN = {"PyDoc_STRVAR"}
#: In the names of C functions that may call Python: methods, the checks of arguments (arguments.pxd), of the feed
#: format's name and of the unit of times, what sets limits by their names, what is read of a journal or shown of a
#: replay, the simulator's plan and its counts behind the loop.
_BEFORE_THE_LOOP = (
    "Engine",
    "Replay",
    "_9arguments_",
    "_7formats_require_feed_format",
    "_6stamps_require_unit",
    "_7segment_set_limits",
    "_8exchange_4plan_",
    "_simulator_read_counts",
    "_engine_to_wide",
    "_5watch_place_of",
)
#: Where a C function begins: its name.
_HEAD = re.compile(r"^ *static [^;{}=(]*?\b(\w+)\([^;{}]*\) ?\{$", re.M)


def compiled(code: str) -> dict[str, str]:
    """What Cython made of each `cdef` function that is no method: name in C, and the text up to the next function."""
    heads = list(_HEAD.finditer(code))
    ends = [h.start() for h in heads[1:]] + [len(code)]
    return {h[1]: code[h.end() : end] for h, end in zip(heads, ends, strict=True) if h[1].startswith("__pyx_f_")}


@pytest.fixture(scope="module", params=["engine/_engine", "replay/_replay", "exchange/_simulator"])
def functions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """Name of the extension, and the bodies of its C functions that Cython made of `cdef` ones."""
    path = request.param
    name = path.partition("/")[2]
    code = tmp_path_factory.mktemp("c") / f"{name}.c"
    subprocess.run([sys.executable, "-m", "cython", "-3", "-I", str(ROOT), "-o", str(code),
                    str(ROOT / "agent" / f"{path}.pyx")], check=True, capture_output=True, timeout=120)  # fmt: skip
    return name, compiled(code.read_text())


def test_no_call_of_python_in_the_loop(functions: tuple[str, dict[str, str]]) -> None:
    name, bodies = functions
    expected = {
        "_engine": "run_loop decide_on_event handle_itch_message handle_tick_message enter_order handle_answer "
        "check_order read_session receive_datagrams mold_arrive book_add ring_push series_push record parse "
        "patch_order",
        "_replay": "decide_on_event handle_itch_message check_order book_add",
        "_simulator": "run_loop publish_packet read_link enter_order execute_order answer_request",
    }[name]
    for part in expected.split():
        assert any(re.search(rf"_\d+_?[a-z0-9_]+_{part}$", function) for function in bodies), part
    called = {
        function: calls
        for function, body in bodies.items()
        if (calls := {m[1] for m in _CALL.finditer(body)} - _PLAIN)
        and not any(part in function for part in _BEFORE_THE_LOOP)
    }
    assert called == {}


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    """A function that does call Python is found."""
    (tmp_path / "guilty.pyx").write_text(
        "cdef int guilty(object o):\n    return len(str(o))\n\ndef use(o): return guilty(o)\n"
    )
    subprocess.run(
        [sys.executable, "-m", "cython", "-3", str(tmp_path / "guilty.pyx")], check=True, capture_output=True
    )
    bodies = compiled((tmp_path / "guilty.c").read_text())
    assert any(_CALL.search(body) for name, body in bodies.items() if name.endswith("guilty"))
