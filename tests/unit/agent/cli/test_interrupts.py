"""Ctrl-C at any moment of any command: it ends with 130, and says nothing."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from agent.cli.main import COMMANDS
from agent.exchange import generator
from benchmarks.agent.drive import free_port
from hosttune.cli.main import COMMANDS as HOST_COMMANDS

from ..stage import Stage


def arguments_of(stage: Stage) -> dict[str, list[str]]:
    """Of each subcommand of `agent`, arguments with which it runs, or fails late."""
    day = stage.folder / "day"
    day.write_bytes(generator.binaryfile(generator.session(3, 2_000, 3)))
    cache = str(stage.folder / "cache")
    return {
        "run": [str(stage.config)],
        "journal": [str(stage.folder / "none")],
        "replay": [str(day), "--strategy", "ema_cross", "--cache-dir", cache],
        "warm": ["--cache-dir", cache],
        "var": ["--volatility", "0.1", "--position", "1", "--price", "1"],
        "exchange": ["--feed", "generated", "--feed-to", f"127.0.0.1:{free_port(2)}", "--listen",
                     f"127.0.0.1:{free_port(1)}"],
    }  # fmt: skip


#: Runs a module, with SIGINT blocked until the module's own first import: what comes before is Python's, and its words.
BEGIN = """
import os, runpy, signal, sys
class Finder:
    def find_spec(name, path, target=None):
        if name.endswith(".cli.main"):
            sys.meta_path.remove(Finder)
            os.write(1, b".")
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs the tests may have it ignored
sys.meta_path.insert(0, Finder)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def interrupt(command: list[str], stage: Stage, after: float) -> tuple[int, str]:
    """Start a command, interrupt it `after` seconds behind its first import, and return how it ended."""
    child = subprocess.Popen([sys.executable, "-P", "-c", BEGIN, *command], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, cwd=stage.folder, env=stage.environment)  # fmt: skip
    assert child.stdout and child.stdout.read(1) == "."
    time.sleep(after)
    child.send_signal(signal.SIGINT)
    try:
        _, error = child.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        child.kill()
        raise
    return child.returncode, error


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_of_the_agent(stage: Stage, name: str) -> None:
    rng = random.Random(name)
    wanted = arguments_of(stage).get(name, ["nonesuch"] if name != "venues" else [])
    moments = [0.0, rng.uniform(0, 0.3), rng.uniform(0.3, 0.8), rng.uniform(0.8, 2)]
    for moment in moments if name in ("warm", "replay", "exchange", "run") else moments[:3]:
        code, error = interrupt(["agent", name, *wanted], stage, moment)
        assert "Traceback" not in error and "KeyboardInterrupt" not in error, moment
        # It may have been done before, or have found what is wrong; in its own end the kernel ends it by the signal.
        assert (code == 130 and error == "") or code in (-signal.SIGINT, 0, 1, 2), moment
        if name == "exchange" or (name == "warm" and not moment):  # compiled code that is kept is warm soon
            assert (code, error) == (130, ""), moment


@pytest.mark.parametrize("name", HOST_COMMANDS)
def test_a_command_of_hosttune(stage: Stage, name: str) -> None:
    rng = random.Random(name)
    for moment in (0.0, rng.uniform(0, 0.3), rng.uniform(0.3, 0.8)):
        code, error = interrupt(["hosttune", name, "/nonesuch"], stage, moment)
        assert "Traceback" not in error and "KeyboardInterrupt" not in error, moment
        assert (code == 130 and error == "") or code in (-signal.SIGINT, 0, 1, 2, 3), moment


@pytest.mark.parametrize("name", ["replay", "warm", "exchange"])
def test_sigterm_ends_at_once(stage: Stage, name: str) -> None:
    command = [sys.executable, "-P", "-m", "agent", name, *arguments_of(stage)[name]]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=stage.folder,
                             env=stage.environment)  # fmt: skip
    time.sleep(0.7)
    child.send_signal(signal.SIGTERM)
    _, error = child.communicate(timeout=30)
    assert child.returncode in (-signal.SIGTERM, 0) and error == ""


@pytest.mark.parametrize("program", ["agent", "hosttune"])
def test_an_interrupt_where_nothing_can_be_raised_is_not_lost(program: str) -> None:
    """In a finalizer Python prints what is raised, and goes on."""
    command = "venues" if program == "agent" else "check"
    code = f"""
import os, signal, time
class Thing:
    def __del__(self): os.kill(os.getpid(), signal.SIGINT)
class Broken:
    def __del__(self): raise ValueError("not an interrupt")
def run(arguments):
    try:
        Thing()
        time.sleep(20)
    finally:
        Broken()
from {program}.cli import main
import {program}.cli.{command} as command
command.run = run
command.add_command = lambda commands: commands.add_parser("check").set_defaults(run=run)
raise SystemExit(main([{command!r}]))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 130, done.stderr
    assert "KeyboardInterrupt" not in done.stderr and "ValueError: not an interrupt" in done.stderr


def test_a_handler_of_the_callers_stays() -> None:
    program = ("import signal, os; signal.signal(signal.SIGINT, signal.SIG_IGN); from agent import cli; "
               "os.kill(os.getpid(), signal.SIGINT); print(cli.main(['venues']))")  # fmt: skip
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stdout.endswith("0\n")


def test_the_handler_is_as_it_was_behind_a_call() -> None:
    from agent import cli

    before = signal.getsignal(signal.SIGINT)
    assert cli.main(["stats", f"/nonesuch/{os.getpid()}"]) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_reader_that_leaves_ends_a_replay(stage: Stage) -> None:
    day = stage.folder / "day"
    day.write_bytes(generator.binaryfile(generator.session(3, 2_000, 3)))
    command = [sys.executable, "-P", "-m", "agent", "replay", str(day), "--strategy", "every_tick_cython",
               "--cache-dir", str(stage.folder)]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout and child.stderr
    child.stdout.close()
    assert child.wait(30) == 1 and child.stderr.read() == ""
    child.stderr.close()
