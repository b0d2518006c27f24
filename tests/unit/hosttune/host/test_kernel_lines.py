"""Kernel command lines as real kernels took them: tests/vm/kernel_boots.py wrote the table, from boots of its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hosttune.host import cmdline
from tests.kernel_reading import compare
from tests.vm.kernel_boots import ALWAYS

TABLE: dict[str, dict[str, dict[str, Any]]] = json.loads(Path(__file__).with_name("kernel_lines.json").read_text())
LINES = [(release, line) for release, lines in TABLE.items() for line in lines]


@pytest.mark.parametrize(("release", "line"), LINES)
def test_a_line_is_read_as_the_kernel_read_it(release: str, line: str) -> None:
    text = f"{ALWAYS} {line}"
    assert compare(text, TABLE[release][line], release) == []
    assert compare(cmdline.reduce(text), TABLE[release][line], release) == []


def test_the_table_holds_kernels_with_and_without_a_policy_for_each_size_and_without_any() -> None:
    kinds = {len(next(iter(lines.values()))["transparent"]) for lines in TABLE.values()}
    assert 0 in kinds and 2 in kinds and max(kinds) > 2
