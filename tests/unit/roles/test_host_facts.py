"""plugins/plugin_utils/host_facts.py: what one command of the shell finds out of a host."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.roles.plans import host_facts
from tests.unit.roles.test_preflights import make_root


def ask(root: Path, *names: str) -> dict[str, str | None]:
    environment = {"PATH": "/usr/bin:/bin", "HOSTTUNE_ROOT": str(root)}
    script = host_facts.write_script(names)
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    found: dict[str, str | None] = host_facts.parse(done.stdout)
    return found


def test_files_are_read_and_what_is_not_there_is_told(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / "sys/odd name's\n").write_text("one\ntwo\n")
    (root / "sys/empty").touch()
    assert ask(root, host_facts.PRESENT, "/sys/odd name's\n", "/sys/empty", "/sys", "/sys/none") == {
        host_facts.PRESENT: "0-3",
        "/sys/odd name's\n": "one\ntwo",
        "/sys/empty": "",
        "/sys": "",
        "/sys/none": None,
    }


def test_files_that_fit_a_pattern_are_read(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / "etc/t/a b").mkdir(parents=True)
    (root / "etc/t/a b/x.conf").write_text("1")
    (root / "etc/t/x.conf").mkdir()
    (root / "etc/t/b").mkdir()
    (root / "etc/t/b/x.conf").symlink_to("/dev/null")
    os.mkfifo(root / "etc/t/b/y.conf")
    found = {"/etc/t/a b/x.conf": "1", "/etc/t/b/x.conf": ""}
    assert ask(root, "files:/etc/t/*/?.conf", "files:/etc/none/*") == found


def test_modules_are_those_of_the_running_kernel(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    asked = ["tcp_bbr", "tcp-bbr", "tcp_cubic", "sch_fq", "sch_f", "fq", "x"]
    assert ask(root, *(f"module:{name}" for name in asked)) == {
        "module:tcp_bbr": "module",
        "module:tcp-bbr": "module",
        "module:tcp_cubic": "builtin",
        "module:sch_fq": "module",
        **dict.fromkeys(("module:sch_f", "module:fq", "module:x"), None),
    }


def test_nothing_is_said_of_modules_where_there_is_no_index(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / "proc/sys/kernel/osrelease").write_text("6.12\n")
    host = host_facts.Host(ask(root, "module:tcp_bbr"))
    assert host.found == {} and not host.lacks("module:tcp_bbr")


@pytest.mark.parametrize("name", ["etc/x", "modul:x", "", "unit:x"])
def test_other_names_are_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="is neither a path, nor one of files:, module: and service:"):
        host_facts.write_script([name])


CUT_SHORT = ["", "sudo: no", "\x1e/a\x1f+x", "\x1e/a\x1f+x\x1e/b", "\x1e/a+x\x1e", "\x1e/a\x1f+\x1ex"]


@pytest.mark.parametrize("output", CUT_SHORT)
def test_an_answer_that_is_cut_short_or_of_something_else_is_none(output: str) -> None:
    with pytest.raises(ValueError, match=r"cut short|not understood"):
        host_facts.parse(output)


def test_a_terminal_between_changes_nothing() -> None:
    assert host_facts.parse("\x1e/a\x1f+x\r\ny\x1e/b\x1f\x1e\r\n") == {"/a": "x\ny", "/b": None}


@given(st.text("\x1e\x1f+/a\n", max_size=20))
def test_any_answer_is_read_or_refused(output: str) -> None:
    with contextlib.suppress(ValueError):
        assert all(text is None or isinstance(text, str) for text in host_facts.parse(output).values())


VALUES = st.none() | st.integers() | st.lists(st.integers())


@given(VALUES, VALUES, st.booleans())
def test_a_default_is_left_out_and_anything_else_refused(default: object, value: object, keyed: bool) -> None:
    host = host_facts.Host({}, {"role_x": {"k": default} if keyed else default})
    problems: list[str] = []
    host.refuse_or_leave_out(problems, "no x", "role_x", value, "k" if keyed else None)
    assert len(problems) + len(host.left_out) == 1
    assert bool(host.left_out) == (value == default and default is not None)
