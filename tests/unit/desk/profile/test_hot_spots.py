"""Where a program spends its time is named right: one planted function of each language (all twenty: tests/long)."""

import sys
from pathlib import Path

import pytest

from desk.profile import tools

from .cases import CASES, Case, build, check_case, profile


@pytest.mark.parametrize("case", CASES[1::5], ids=lambda case: case.component)
def test_a_planted_function_is_the_first_row(case: Case, tmp_path: Path) -> None:
    first = check_case(case, build(case.module, tmp_path), 1.5)
    assert first["measured_by"] == ["py-spy"]


@pytest.mark.parametrize("case", [CASES[10], CASES[17]], ids=lambda case: case.component)
def test_perf_names_compiled_functions(case: Case, tmp_path: Path) -> None:
    try:
        tools.find_tool("perf")
    except tools.ToolError as error:
        pytest.skip(str(error))
    first = check_case(case, build(case.module, tmp_path), 1.0, "perf")
    assert first["measured_by"] == ["perf"]


def test_numba_functions_have_names_in_flame_graphs(tmp_path: Path) -> None:
    case = CASES[10]
    words = ["--with", "py-spy", "--", sys.executable, str(build(case.module, tmp_path)), case.module, case.hot, "1"]
    done, _ = profile(words, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for name in ("flame.svg", "flame.speedscope.json"):
        assert "numba:" in (tmp_path / "out" / name).read_text()
