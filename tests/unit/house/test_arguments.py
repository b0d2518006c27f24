"""Every word of every command line: one that is hostile comes back to the terminal as harmless as any."""

import argparse
import gc
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main as agent_main
from desk.cli import main as desk_main
from hosttune.cli import main as hosttune_main
from hosttune.errors import UNKNOWN, USAGE

from .hostile import WORDS, find_orders, tame

PROGRAMS: dict[str, Any] = {
    "hosttune": sys.modules[hosttune_main.__module__],
    "agent": sys.modules[agent_main.__module__],
    "desk": sys.modules[desk_main.__module__],
}
NOWHERE = "/nonexistent/file"
#: What a command needs beside the word, so that it ends soon; the word takes its place in what has the same name.
NEEDED: dict[tuple[str, str], dict[str, str]] = {
    ("hosttune", "check"): {"--root": NOWHERE},
    ("hosttune", "snapshot"): {"--root": "."},
    ("hosttune", "launch"): {"command": NOWHERE},
    ("hosttune", "attest"): {"--wait": "0", "pid": "4194303"},
    ("hosttune", "gaps"): {"--cpu": "0", "--seconds": "0"},
    ("hosttune", "diff"): {"before": NOWHERE, "after": NOWHERE},
    ("agent", "run"): {"config": NOWHERE},
    ("agent", "check-config"): {"config": NOWHERE},
    ("agent", "limits"): {"agent": NOWHERE},
    ("agent", "kill"): {"agent": NOWHERE},
    ("agent", "resume"): {"agent": NOWHERE},
    ("agent", "stats"): {"agent": NOWHERE},
    ("agent", "top"): {"agent": NOWHERE},
    ("agent", "journal"): {"file": NOWHERE},
    ("agent", "replay"): {"file": NOWHERE},
    ("agent", "var"): {"--volatility": "1", "agent": NOWHERE},
    ("agent", "venues"): {},
    ("agent", "warm"): {"strategy": "nobody"},
    ("agent", "exchange"): {"--feed": NOWHERE},
    ("desk", "check-config"): {"config": NOWHERE},
    ("desk", "ingest"): {"config": NOWHERE},
    ("desk", "sync"): {"config": NOWHERE},
    ("desk", "export"): {"config": NOWHERE},
    ("desk", "rules"): {},
    ("desk", "dashboards"): {"directory": NOWHERE},
    ("desk", "worker"): {"config": NOWHERE},
    ("desk", "run"): {"module": NOWHERE},
    ("desk", "status"): {},
    ("desk", "profile"): {"command": NOWHERE},
    ("desk", "report"): {},
}
#: Options that exclude each other.
INSTEAD = {"--snapshot": "--root"}


def _parser(program: str, command: str) -> argparse.ArgumentParser:
    module = PROGRAMS[program]
    whole = module._build_parser(command) if program == "hosttune" else module.build_parser(command)
    (commands,) = (action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    parser: argparse.ArgumentParser = commands.choices[command]
    return parser


COMMANDS = [(program, name) for program, module in PROGRAMS.items() for name in module.COMMANDS]
#: Program, command, and an argument of it that takes a word.
ARGUMENTS = [
    (program, command, action.option_strings[-1] if action.option_strings else action.dest)
    for program, command in COMMANDS
    for action in _parser(program, command)._actions
    if action.nargs != 0
]


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command writes goes to a directory of its own, and what it sets is set back."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for name in ("XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("NUMBA_CACHE_DIR", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    yield
    gc.enable()


def run(program: str, words: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """Returns the exit status of a command, and all that it printed."""
    try:
        code = PROGRAMS[program].main(words)
    except SystemExit as end:
        code = end.code
    out, said = capfd.readouterr()
    return code, out + said


def test_every_command_is_here() -> None:
    assert NEEDED.keys() == set(COMMANDS)
    assert len(ARGUMENTS) > 90


@pytest.mark.parametrize("word", WORDS, ids=ascii)
@pytest.mark.parametrize(("program", "command", "argument"), ARGUMENTS)
def test_a_word_comes_back_harmless(
    program: str, command: str, argument: str, word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    needed = {name: value for name, value in NEEDED[program, command].items() if name != INSTEAD.get(argument)}

    def call(word: str) -> tuple[Any, str]:
        words = {**needed, argument: word}
        options = [f"{name}={value}" for name, value in words.items() if name.startswith("-")]
        places = [value for name, value in words.items() if not name.startswith("-")]
        return run(program, [command, *options, "--", *places], capfd)

    code, shown = call(word)
    assert not find_orders(shown), shown
    assert "Traceback" not in shown
    harmless = call(tame(word))
    assert (code, shown.count("\n")) == (harmless[0], harmless[1].count("\n")), (shown, harmless[1])


@pytest.mark.parametrize("word", WORDS, ids=ascii)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_wrong_command_comes_back_harmless(program: str, word: str, capfd: pytest.CaptureFixture[str]) -> None:
    for words in ([word], ["--" + word], ["-" + word]):
        code, shown = run(program, words, capfd)
        assert code == USAGE and not find_orders(shown)


@pytest.mark.parametrize(("program", "command", "code"), [("hosttune", "gaps", UNKNOWN), ("agent", "venues", 1)])
def test_a_fault_of_ours_is_told_and_gives_no_order(
    program: str, command: str, code: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("\x1b[2J\x9b")

    monkeypatch.setattr(f"{program}.cli.{command}.run", fail)
    found, shown = run(program, [command, *(["--cpu", "0"] if command == "gaps" else [])], capfd)
    assert found == code and not find_orders(shown)
    assert "Traceback" in shown and "RuntimeError: \\u001b[2J\\u009b" in shown


def test_a_warning_gives_no_order(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_: object) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            monkeypatch.setattr(warnings, "showwarning", lambda message, *_: print(message, file=sys.stderr))
            warnings.warn("\x1b[2J", stacklevel=1)
        return 0

    monkeypatch.setattr("agent.cli.venues.run", warn)
    code, shown = run("agent", ["venues"], capfd)
    assert (code, shown) == (0, "\\u001b[2J\n")
