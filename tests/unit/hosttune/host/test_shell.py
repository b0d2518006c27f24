"""What sh(1) writes is never missed: it runs scripts of comments, quotes, backslashes and ends in all orders."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from hosttune.host import boot_writes, irq_writes, shell

THP = "/sys/kernel/mm/transparent_hugepage/enabled"
DEFAULT = "/proc/irq/default_smp_affinity"
PIECES = (
    "# a",
    " # b",
    "\t#",
    "\\",
    "\\\n",
    "\n",
    "'",
    '"',
    ";",
    "true",
    "x#y",
    " ",
    "if false; then\n",
    "fi\n",
    "exit 0\n",
)
SCRIPTS = [f"{''.join(pieces)}{end}WRITE\n" for pieces in itertools.product(PIECES, repeat=3) for end in ("\n", "; ")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The scripts that write."""
    directory = tmp_path_factory.mktemp("scripts")
    for number, script in enumerate(SCRIPTS):
        (directory / f"{number}.sh").write_text(script.replace("WRITE", f"echo f > {directory}/{number}.out"))
    command = 'for each in "$0"/*.sh; do sh "$each" < /dev/null > /dev/null 2>&1; done'
    subprocess.run(["sh", "-c", command, directory], cwd=directory, timeout=120, check=False)
    found = [SCRIPTS[int(path.stem)] for path in Path(directory).glob("*.out") if path.read_text() == "f\n"]
    assert len(SCRIPTS) // 10 < len(found) < len(SCRIPTS)
    return found


def test_a_write_to_huge_pages_is_found(written: list[str]) -> None:
    missed = [
        script for script in written if not boot_writes.parse(script.replace("WRITE", f"echo never > {THP}"), "x")
    ]
    assert missed == []


def test_a_write_to_affinities_is_found(written: list[str]) -> None:
    missed = [script for script in written if not irq_writes.parse(script.replace("WRITE", f"echo f > {DEFAULT}"))]
    assert missed == []


def test_a_comment_writes_nothing() -> None:
    for mark, end in itertools.product(("#", "true #", "true\t# ", "  # "), ("", " \\", "\\")):
        text = f"#!/bin/sh\n{mark} echo f > {DEFAULT}{end}\ntrue\n"
        assert irq_writes.parse(text) == boot_writes.parse(text.replace(DEFAULT, THP), "x") == []
        assert DEFAULT not in shell.drop_comments(text)
