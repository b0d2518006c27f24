"""The module of `desk run`: whose code is run, and what is said of one that is wrong."""

import os
import re
import sys
from pathlib import Path

import pytest

from desk.bus.events import MarketData, Signal
from desk.bus.load import load
from desk.errors import DeskError

GOOD = """
from desk.bus import MarketData, Signal, on
import beside_it

@on(MarketData)
def first(event, bus): ...

@on(Signal, queue=7, policy="block")
async def second(event, bus): ...

again = first
"""


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is loaded here stays."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("class Own:\n    @on(MarketData)\n    def take(event, bus): ...\n", "Own.take"),
        ("@on(MarketData)\ndef twice(event, bus): ...\n" * 2, "twice"),
        ("def make():\n    @on(MarketData)\n    def inner(event, bus): ...\nmake()\n", "make.<locals>.inner"),
        ("import beside_it\n", "elsewhere"),
    ],
)
def test_a_mark_by_which_nothing_would_come_is_named(tmp_path: Path, text: str, name: str) -> None:
    head = "from desk.bus import MarketData, on\n"
    write(tmp_path / "beside_it.py", f"{head}@on(MarketData)\ndef elsewhere(event, bus): ...\n")
    path = write(tmp_path / "mine.py", f"{head}@on(MarketData)\ndef good(event, bus): ...\n{text}")
    with pytest.raises(DeskError, match=rf"\.py:\d+: @on: {re.escape(name)} would get nothing"):
        load(path)
    imported = "from beside_it import elsewhere\n"
    write(path, f"{head}{imported}@on(MarketData)\ndef good(event, bus): ...\n")
    assert [one.function.__name__ for one in load(path)] == ["elsewhere", "good"]


def test_marked_functions_in_their_order(tmp_path: Path) -> None:
    write(tmp_path / "beside_it.py", "x = 1")
    found = load(write(tmp_path / "mine.py", GOOD))
    assert [(one.function.__name__, one.mark.kind, one.mark.queue, one.mark.policy) for one in found] == [
        ("first", MarketData, 0, "drop_oldest"), ("second", Signal, 7, "block"),
    ]  # fmt: skip
    assert found[0].function.__module__ == "mine"
    assert not (tmp_path / "mine.pyc").exists()
    assert sys.path[-1] == str(tmp_path)  # behind what is installed


@pytest.mark.parametrize("name", ["json.py", "desk.py", "sys.py"])
def test_a_module_with_the_name_of_another_one_is_not_that_one(tmp_path: Path, name: str) -> None:
    before = dict(sys.modules)
    write(tmp_path / "beside_it.py", "x = 1")
    load(write(tmp_path / name, GOOD))
    assert {name: sys.modules[name] for name in before} == before


def test_a_link_of_ones_own_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "beside_it.py", "x = 1")
    (tmp_path / "link.py").symlink_to(write(tmp_path / "mine.py", GOOD))
    assert len(load(tmp_path / "link.py")) == 2


@pytest.mark.parametrize(("change", "words"), [
    (lambda path: path.chmod(0o666), "found mode 0666, allowed: no more than 0644"),
    (lambda path: path.chmod(0o620), "found mode 0620"),
    (lambda path: path.parent.chmod(0o777), "found mode 0777, allowed: no more than 0755"),
    (lambda path: path.parent.chmod(0o1777), "found mode 1777"),
    (lambda path: path.parent.parent.chmod(0o777), "found mode 0777"),
    (lambda path: os.link(path, path.with_name("other.py")), "found a file with 2 names"),
    (lambda path: path.unlink(), "No such file"),
    (lambda path: (path.unlink(), path.mkdir()), "found a directory, allowed: a regular file"),
    (lambda path: (path.unlink(), os.mkfifo(path)), "found a FIFO"),
])  # fmt: skip
def test_code_that_others_could_have_written_is_not_run(tmp_path: Path, change, words: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = write(tmp_path / "a" / "b" / "mine.py", "raise SystemError('was run')")
    change(path)
    with pytest.raises(DeskError) as found:
        load(path)
    assert words in str(found.value)
    assert str(tmp_path / "a") in str(found.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
def test_code_of_another_user_is_not_run(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", GOOD)
    os.chown(path, 4242, 4242)
    with pytest.raises(DeskError, match="found a file of user 4242, allowed: one of user 0"):
        load(path)


@pytest.mark.parametrize(("text", "words"), [
    ("x = 1", "no function is marked, allowed: at least one behind @on(EVENT), of EngineState, "),
    ("x = (", ":1: SyntaxError: '(' was never closed"),
    ("\n\nx = y", ":3: NameError: name 'y' is not defined"),
    ("import not_there_at_all", ":1: ModuleNotFoundError: No module named 'not_there_at_all'"),
    ("def f():\n  1/0\ndef g(): f()\n\ng()", ":2: ZeroDivisionError: division by zero (called from "),
    ("import sys\nsys.exit(4)", ":2: SystemExit: the module ends the process (exit code 4)"),
    ("class E(Exception):\n  def __str__(self): raise E\nraise E", "(its text cannot be shown)"),
    ("from desk.bus import on\non(3)(f)", ":2: @on: found 3, allowed: "),
    ("x = 1\0", "source code string cannot contain null bytes"),
    ("x = '\udce4'".encode("utf-8", "surrogateescape"), "SyntaxError"),
    ("(" * 300 + ")" * 300, "mine.py:"),
    ("def f(): f()\nf()", "RecursionError"),
])  # fmt: skip
def test_what_is_wrong_with_a_module_is_one_line_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path / "mine.py", text)
    with pytest.raises(DeskError) as found:
        load(path)
    assert words in str(found.value)
    assert str(found.value).startswith(str(path))
    assert "\n" not in str(found.value)


def test_the_interrupt_of_the_user_is_no_error_of_the_module(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(write(tmp_path / "mine.py", "raise KeyboardInterrupt"))
