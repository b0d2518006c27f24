"""The hot spot is named right in twenty planted cases: five functions in each of Python, Cython, Numba and Rust."""

from pathlib import Path

import pytest

from ..unit.desk.profile.cases import CASES, Case, build, check_case

pytestmark = pytest.mark.long


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.component}-{case.hot}")
def test_hot_spot(case: Case, tmp_path: Path) -> None:
    check_case(case, build(case.module, tmp_path), 2.0)
