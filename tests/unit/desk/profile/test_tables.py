"""From what profilers write to rows: names, stacks, shares, and input of another form."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import DeskError
from desk.profile import graphs, inner, names, numba_map, stacks, table, tools
from desk.profile.stacks import Frame, Function
from desk.profile.table import Row

PY = "/x/case.py"


def row(function: str, seconds: float = 0.0, component: str = "Python", file: str = PY, **more: float) -> Row:
    return Row(component=component, function=function, file=file, line=1, seconds=seconds, **more)  # type: ignore[arg-type]


def speedscope(frames: list[dict[str, object]], samples: list[list[int]], weights: list[float]) -> bytes:
    profile = {"type": "sampled", "unit": "seconds", "samples": samples, "weights": weights}
    return json.dumps({"shared": {"frames": frames}, "profiles": [profile]}).encode()


@pytest.mark.parametrize(
    ("name", "file", "component", "shown"),
    [
        ("work", "/x/a.py", "Python", "work"),
        ("<module>", "<string>", "Python", "<module>"),
        ("__pyx_pf_3mod_4Book_update", "/x/mod.so", "Cython", "update"),
        ("__pyx_f_3mod_fill", "/x/mod.so", "Cython", "fill"),
        ("scale", "/x/mod.pyx", "Cython", "scale"),
        ("numba:kernel", "[JIT] tid 7", "Numba", "kernel"),
        ("a::b::h0123456789abcdef", "/x/lib.so", "Rust", "a::b"),
        ("do_syscall_64", "[kernel.kallsyms]", "kernel", "do_syscall_64"),
        ("memcpy", "/lib/libc.so.6", "C", "memcpy"),
    ],
)
def test_component_and_name(name: str, file: str, component: str, shown: str) -> None:
    assert names.find_component(name, file) == component
    found = names.show_function(name, component)
    assert found == shown or found.endswith(f"_{shown}")


def test_what_works_for_others_is_told_apart() -> None:
    assert names.is_runtime("C", "Py_DECREF", "/x/Include/object.h")
    assert names.is_runtime("C", "_PyEval_EvalFrameDefault", "/usr/bin/python3.11")
    assert names.is_runtime("C", "unicode_hash", "/usr/lib/libpython3.11.so.1.0")
    assert names.is_runtime("C", "__memcpy_avx", "/lib/libc.so.6")
    assert names.is_runtime("Cython", "__Pyx_PyObject_GetItem", "/x/mod.so")
    assert not names.is_runtime("C", "scan_once", "/x/_json.cpython-311-x86_64-linux-gnu.so")
    assert not names.is_runtime("Python", "Python", "python3.py")


def test_time_within_the_interpreter_is_the_function_that_runs() -> None:
    frames = [
        {"name": "main", "file": PY, "line": 9},
        {"name": "hot", "file": PY, "line": 3},
        {"name": "dict_lookup", "file": "/usr/lib/libpython3.11.so.1.0"},
        {"name": "hook", "file": "/own/hook.py", "line": 1},
        {"name": "hot", "file": PY, "line": 4},
    ]
    samples = [[3, 0, 1, 2], [3, 0, 4], [0], [3, 2], [0, 3]]  # the last two: the hook's own work
    found = stacks.parse_speedscope(speedscope(frames, samples, [0.5, 0.2, 0.1, 7.0, 9.0]), [], "/own")
    rows = {one.function: one for one in table.collect_rows(found)}
    assert rows["hot"].seconds == pytest.approx(0.7) and rows["hot"].line == 3
    assert rows["main"].seconds == pytest.approx(0.1) and rows["main"].total == pytest.approx(0.8)
    assert "hook" not in rows
    assert rows["dict_lookup"].seconds == 0


def test_an_address_is_the_function_that_lies_there() -> None:
    functions = [Function(0x1000, 16, "old", "", 0), Function(0x1000, 32, "kernel", "/x/k.py", 4)]
    frames: list[dict[str, object]] = [{"name": "0x101f", "file": "?"}, {"name": "0x2000", "file": "?"},
                                       {"name": "main", "file": PY, "line": 1}]  # fmt: skip
    found = stacks.parse_speedscope(speedscope(frames, [[2, 0], [2, 1]], [1.0, 2.0]), functions)
    assert found.seconds == {
        (Frame("Python", "main", PY, 1), Frame("Numba", "kernel", "/x/k.py", 4)): 1.0,
        (Frame("Python", "main", PY, 1),): 2.0,
    }
    text = graphs.clean(b'"0x1010" 0x2000 \x1b[2J', graphs.SPEEDSCOPE, [Function(0x1000, 32, 'a"<b>', "", 0)])
    assert text == b'"numba:a\\"<b>" 0x2000 \\u001b[2J'
    assert b"numba:a&quot;&lt;b&gt;" in graphs.clean(b"0x1010", graphs.SVG, [Function(0x1000, 32, 'a"<b>', "", 0)])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff",
        speedscope([], [[0]], [1.0]),
        speedscope([{"name": "a"}], [[-1]], [1.0]),
        speedscope([{"name": "a"}], [[0], [0]], [1.0]),
        speedscope([{"name": "a"}], [[0] * 20_000], [1.0]),
        speedscope([{"name": "a"}], [[0]], [1.0]).replace(b"seconds", b"bytes"),
    ],
)
def test_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(DeskError, match="profiler's result"):
        stacks.parse_speedscope(data, [])


@given(st.binary(max_size=200))
def test_no_bytes_make_anything_else_of_a_speedscope_file(data: bytes) -> None:
    with pytest.raises(DeskError):
        stacks.parse_speedscope(data, [])


def test_shares_are_medians_with_their_range() -> None:
    rounds = [[row("a", 3.0), row("b", 1.0)], [row("a", 1.0), row("b", 1.0)], [row("a", 4.0), row("b", 1.0)]]
    first, second = table.share_out(rounds, "py-spy")
    assert (first.function, first.share, first.share_low, first.share_high) == ("a", 0.75, 0.5, 0.8)
    assert first.seconds == [3.0, 1.0, 4.0] and second.function == "b"


def test_a_compiled_function_of_two_files_is_one_row() -> None:
    rows = [row("fmod", 1.0, "C", "/x/lib.so"), row("fmod", 2.0, "C", "m.h"), row("a", 1.0)]
    first, second = table.share_out([rows], "py-spy")
    assert (first.function, first.share, first.file) == ("fmod", 0.75, "m.h")
    assert second.share == 0.25


def test_profilers_are_merged_by_function() -> None:
    spots = table.share_out([[row("Book.update", 3.0), row("fill", 1.0, "Cython", "m.pyx")]], "py-spy")
    spots = table.merge(spots, [row("fill", 30.0, "Cython", "/x/m.so"), row("tick", 10.0, "kernel", "k")], "perf")
    spots = table.merge(spots, [row("update", file="/other/way/case.py", allocations=5)], "memray")
    spots = table.merge(spots, [row("new", allocations=7, allocated_bytes=9)], "memray")
    book, fill, tick, new = spots
    assert (book.function, book.share, book.perf_share, book.allocations) == ("Book.update", 0.75, None, 5)
    assert (fill.share, fill.perf_share, fill.measured_by) == (0.25, 0.75, ["py-spy", "perf"])
    assert (tick.share, tick.perf_share) == (None, 0.25)
    assert (new.share, new.allocations, new.allocated_bytes) == (None, 7, 9)


def test_a_short_name_that_two_functions_have_is_neither() -> None:
    spots = table.share_out([[row("A.get", 3.0), row("B.get", 1.0)]], "py-spy")
    spots = table.merge(spots, [row("get", allocations=5)], "memray")
    assert [(spot.function, spot.allocations) for spot in spots] == [("A.get", None), ("B.get", None), ("get", 5)]


def test_perf_rows() -> None:
    lines = [
        *["    7f0123456789 numba:kernel (/tmp/perf-7.map)\n"] * 3,
        *["ffffffff81000000 tick ([kernel.kallsyms])\n"] * 2,
        "7f01 __pyx_f_3mod_fill (/x/mod.so)\n", "7f02 [unknown] (/x/lib.so)\n", "7f03 call(int) (/x/lib.so)\n",
        "nonsense\n", "zz f (x)\n", "\n", "7f03 f\n",
    ]  # fmt: skip
    found = {(one.component, one.function, one.file): one.seconds for one in tools.parse_perf(lines)}
    assert found == {
        ("Numba", "kernel", ""): 3,
        ("kernel", "tick", "[kernel.kallsyms]"): 2,
        ("Cython", "fill", "/x/mod.so"): 1,
        ("C", "a function without a name", "/x/lib.so"): 1,
        ("C", "call(int)", "/x/lib.so"): 1,
    }


def test_the_hooks_rows_of_another_form_are_refused() -> None:
    for read in (inner.make_rows, inner.make_timed, inner.make_lines):
        with pytest.raises(tools.ToolError, match="result"):
            read([{"function": 1}])  # type: ignore[operator]
    with pytest.raises(DeskError, match="Numba"):
        stacks.read_functions([[1]])


def test_lines_and_memory() -> None:
    given_lines = [{"function": "f", "file": PY, "line": n, "calls": n, "seconds": float(n)} for n in (1, 3)]
    assert [(one.line, one.share) for one in inner.make_lines(given_lines)] == [(3, 0.75), (1, 0.25)]
    places = inner._Memory(
        top_allocations_by_size=[inner._Place(f"f:{PY}:3", size=9), inner._Place(f"f:{PY}:4", size=1)],
        top_allocations_by_count=[
            inner._Place(f"f:{PY}:4", count=8),
            inner._Place(f"h:{inner.OWN}/hook.py:1", count=1),
        ],
    )
    (one,) = inner.sum_places(places)
    assert (one.function, one.line, one.allocations, one.allocated_bytes) == ("f", 3, 8, 10)


def test_a_map_of_another_form_is_passed_over() -> None:
    text = "1000 20 numba:f\nzz 20 g\n0 20 h\n10 0 i\n1000\n\nffffffffffffffffff 20 j\n2000 10 k l\n"
    assert [(one.name, one.address) for one in stacks.parse_map(text)] == [("f", 0x1000), ("k l", 0x2000)]


@given(st.binary(max_size=300))
def test_no_bytes_make_an_object_file_fail(data: bytes) -> None:
    numba_map.list_symbols(b"\x7fELF\x02\x01" + data)


def test_an_object_file_that_is_cut_or_changed() -> None:
    whole = Path("/proc/self/exe").resolve().read_bytes()[:20_000]
    rng = random.Random(1)
    for _ in range(200):
        data = bytearray(whole[: rng.randrange(64, len(whole))])
        data[40:48] = rng.randrange(len(data)).to_bytes(8, "little")
        data[60:62] = (5).to_bytes(2, "little")
        assert isinstance(numba_map.list_symbols(bytes(data)), list)


def test_numba_names() -> None:
    symbol = "_ZN8__main__10hot_kernelB2v1B38c8tJTIeFIjxB2IKSgI4CrvQClQZ6FczSBAA_3dE5ArrayIdLi1E1C7mutable7alignedEx"
    assert numba_map.show_name(symbol) == ("__main__", "hot_kernel")
    assert numba_map.show_name("plain") == ("", "plain")
