"""The kernel's own reader of CPU lists, asked by a cpuset of its own that no process is in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hosttune.host import cpu, cpulist
from hosttune.host.cpulist import KernelList

V1, V2 = Path("/sys/fs/cgroup/cpuset"), Path("/sys/fs/cgroup")
LAST = max(cpulist.parse(KernelList(Path(cpu.DIRECTORY, "possible").read_text())))


@pytest.fixture(scope="module")
def cpuset() -> Iterator[Path]:
    """The file cpuset.cpus of a new group."""
    if os.geteuid() != 0:
        pytest.skip("only root makes a cpuset")
    controlled = V2 / "cgroup.subtree_control"
    if not (V1 / "cpuset.cpus").exists() and not (controlled.exists() and "cpuset" in controlled.read_text().split()):
        pytest.skip("no cpuset can be made here")
    group = (V1 if (V1 / "cpuset.cpus").exists() else V2) / f"hosttune-test-{os.getpid()}"
    group.mkdir()
    yield group / "cpuset.cpus"
    group.rmdir()


NUMBERS = st.integers(0, LAST + 1).map(str) | st.sampled_from(["N", "n", "00", "4294967296", "0x1", "+0", "-1", ""])
SPANS = NUMBERS | st.tuples(NUMBERS, NUMBERS).map("-".join) | st.sampled_from(["all", "ALL", "aLl", "none"])
STRIDES = st.tuples(SPANS, NUMBERS, NUMBERS).map(lambda parts: f"{parts[0]}:{parts[1]}/{parts[2]}")
PARTS = SPANS | STRIDES | st.text("0123,-:/N xal\t\n", max_size=6)


@settings(max_examples=600)
@given(st.lists(st.tuples(PARTS, st.sampled_from([",", " ", "", "\n", ",,", "\t,"])), min_size=1, max_size=5))
@example([("0-N:0/2", "")])
@example([("0-N:1/2", ""), ("N", "")])
@example([("0", "\n"), ("x", "")])
@example([("0:1/2", "")])
@example([(f"0-{LAST + 1}:0/1", "")])
def test_lists_as_the_kernel_reads_them(cpuset: Path, parts: list[tuple[str, str]]) -> None:
    text = "".join(map("".join, parts)).strip()  # as the cpuset does
    if not text:
        return
    cpuset.write_text("0\n")
    refused = None
    try:
        cpuset.write_text(text)
    except OSError as error:
        refused = error
    try:
        expected = cpulist.parse(KernelList(text), LAST, bounded=True)
    except ValueError as error:
        assert refused is not None, error
        return
    assert refused is None
    assert cpulist.parse(KernelList(cpuset.read_text())) == expected
