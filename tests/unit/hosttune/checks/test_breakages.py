"""Every finding that a check can give is broken in the guest and mended by its fix, or listed with why not."""

import ast
import fnmatch
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
SECTIONS = sorted(path.stem for path in (ROOT / "hosttune/checks").glob("[a-z]*.py"))


def load_table():
    path = ROOT / "tests/testinfra/fixes/breakages.py"
    spec = importlib.util.spec_from_file_location("breakages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = load_table()


def show_pattern(node):
    """Returns the text of a string, with `*` for each value that is put into it; "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join("*" if isinstance(part, ast.FormattedValue) else part.value for part in node.values)
    return ""


def list_ids():
    """Returns the pattern of each finding's id: the strings in the checks that begin with a section and a dot."""
    found = set()
    for path in (ROOT / "hosttune/checks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            text = show_pattern(node)
            section, dot, _ = text.partition(".")
            # One that ends with a dot is the beginning of a string that is put together.
            if dot and section in SECTIONS and " " not in text and not text.endswith((".", ".py")):
                found.add(text)
    return found


IDS = sorted(list_ids())


def test_the_ids_are_found():
    some = {"cpu_isolation.systemd", "tcp_bbr.allowed", "net_buffers.*", "hugepages.*.node*", "rt_limits.*.*"}
    assert some <= set(IDS)


@pytest.mark.parametrize("pattern", IDS)
def test_each_is_broken_in_the_guest_or_listed_with_the_reason(pattern):
    broken = [finding for round_ in TABLE.ROUNDS.values() for finding in round_]
    assert fnmatch.filter(broken, pattern) or pattern in TABLE.NOT_HERE


@pytest.mark.parametrize("finding", sorted({key for round_ in TABLE.ROUNDS.values() for key in round_}))
def test_nothing_is_broken_that_no_check_gives(finding):
    assert any(fnmatch.fnmatch(finding, pattern) for pattern in IDS)


@pytest.mark.parametrize("pattern", sorted(TABLE.NOT_HERE))
def test_each_reason_is_about_a_finding(pattern):
    assert pattern in IDS and len(TABLE.NOT_HERE[pattern].split()) > 3
