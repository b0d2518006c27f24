"""How a subcommand ends: errors for the user in one line, an interrupt and a closed pipe quietly, a bug loudly."""

import ast
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import agent
from agent import cli
from agent.errors import FAILED, INTERRUPTED, OK, USAGE, AgentError
from benchmarks.agent.drive import free_port

from ..conftest import Hand

PACKAGE = Path(agent.__file__).parent
#: Of tables that the project itself writes: no user can cause one.
INTERNAL = {"ItchError", "ForbiddenError"}
KNOWN = {
    *("ConfigError", "RunError", "StrategyError", "SegmentError", "RingError", "SeriesError", "JournalError"),
    *("RecordingError", "FeedError", "ExchangeError", "VenuesError", "RiskError"),
}


def list_error_classes() -> list[tuple[str, str]]:
    """(module, name) of every exception class that a module of the agent defines."""
    return [
        (".".join(("agent", *path.relative_to(PACKAGE).with_suffix("").parts)), node.name)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Error", "Held")) and node.name not in INTERNAL
    ]


CLASSES = list_error_classes()


def end_with(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """Let `agent limits` end with an error, or with OK."""

    def run(arguments: object) -> int:
        if error is not None:
            raise error
        return OK

    monkeypatch.setitem(
        sys.modules,
        "agent.cli.limits",
        SimpleNamespace(add_arguments=lambda command: None, run=run),
    )


def test_the_classes_are_found() -> None:
    assert {name for _, name in CLASSES} >= KNOWN


@pytest.mark.parametrize(("module", "name"), CLASSES, ids=[name for _, name in CLASSES])
def test_an_error_of_the_agent_is_one_line_for_the_user(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = getattr(importlib.import_module(module), name)
    assert issubclass(kind, AgentError)
    end_with(monkeypatch, kind("file: found x, allowed: y"))
    assert cli.main(["limits"]) == USAGE
    assert capsys.readouterr() == ("", "agent: file: found x, allowed: y\n")


@pytest.mark.parametrize(("error", "code"), [(None, OK), (KeyboardInterrupt(), INTERRUPTED)])
def test_an_interrupt_is_quiet(
    error: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    end_with(monkeypatch, error)
    assert cli.main(["limits"]) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), OSError(5, "x")])
def test_a_bug_is_not_hidden(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    end_with(monkeypatch, error)
    assert cli.main(["limits"]) == FAILED
    out, said = capsys.readouterr()
    assert out == "" and said.startswith("Traceback") and said.endswith(f"{type(error).__name__}: {error}\n")


@pytest.mark.parametrize("arguments", [["venues", "--from", "mahwah"], ["venues", "--format", "json"]])
def test_a_reader_that_has_seen_enough_is_no_error(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-P", "-m", "agent", *arguments], stdout=write, stderr=subprocess.PIPE,
                          text=True, timeout=30)  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (FAILED, "")


@pytest.mark.parametrize("arguments", [["venues"], ["limits", "SEGMENT"], ["top", "SEGMENT", "--interval=.1"]])
def test_a_full_disk_is_said(arguments: list[str], hand: Callable[..., Hand], tmp_path: Path) -> None:
    (tmp_path / "segment").write_bytes(hand().segment)
    arguments = [word.replace("SEGMENT", str(tmp_path / "segment")) for word in arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-P", "-m", "agent", *arguments], stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=30)  # fmt: skip
    assert (done.returncode, done.stderr) == (USAGE, "agent: standard output: No space left on device\n")


def test_the_user_may_interrupt_a_command_that_waits() -> None:
    port = free_port(socket.SOCK_STREAM)
    command = [sys.executable, "-P", "-m", "agent", "exchange", "--feed", "generated", "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in its background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        try:
            _wait_for_listener(child, port)
            child.send_signal(signal.SIGINT)
            out, said = child.communicate(timeout=20)
        finally:
            child.kill()
    assert (child.returncode, out, said) == (INTERRUPTED, "", "")


def _wait_for_listener(child: "subprocess.Popen[str]", port: int) -> None:
    wanted = re.compile(rf" 0100007F:{port:04X} \w+:\w+ 0A ")
    limit = time.monotonic() + 20
    while not wanted.search(Path("/proc/net/tcp").read_text()):
        assert child.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
