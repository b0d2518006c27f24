"""`desk run` with modules that do to the process what no handler should: it says so, goes on, and ends when asked."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from desk.bus import Signal
from desk.bus import bus as module
from desk.bus.faults import Faults, find_line, show_text

from .conftest import LIMIT, Start

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])

#: What a handler may do to the loop, and what is said of it.
TO_THE_LOOP = {
    "exit in a task": ("async def leave(): sys.exit(0)\n", "asyncio.ensure_future(leave())", "SystemExit"),
    "exit in a callback": ("", "asyncio.get_running_loop().call_soon(sys.exit, 0)", "SystemExit"),
    "stop": ("", "asyncio.get_running_loop().stop()", "RuntimeError"),
}


@LOOPS
@pytest.mark.parametrize("kind", TO_THE_LOOP)
def test_what_a_module_does_to_the_loop_is_counted_and_ends_nothing(start: Start, kind: str, loop: str) -> None:
    before, does, words = TO_THE_LOOP[kind]
    run = start(f"import asyncio, sys\n{before}@on(Started)\ndef go(event, bus):\n    {does}\n",
                f'[run.mine]\nloop = "{loop}"\n')  # fmt: skip
    found = run.wait_for(lambda found: found.numbers.get("errors[beside the handlers]") == 1)
    assert words in found.texts["problem"]
    assert run.report()["events"]["Stopping"] == 1


@LOOPS
def test_a_slow_handler_goes_on_whatever_it_raises(start: Start, loop: str) -> None:
    text = """
class Odd(BaseException): pass
@on(Started)
def go(event, bus):
    for n in range(20): bus.publish(Signal("A", n, 1))
@on(Signal, queue=3, policy="block")
async def first(event, bus): raise Odd
@on(Signal, queue=3, policy="block")
async def second(event, bus): raise GeneratorExit
@on(Signal, queue=3, policy="block")
def third(event, bus): raise GeneratorExit if event.time_ns % 2 else Odd
"""
    run = start(text, f'[run.mine]\nloop = "{loop}"\n')
    names = [f"mine.{name}" for name in ("first", "second", "third")]
    run.wait_for(lambda found: all(found.numbers.get(f"errors[{name}]") == 20 for name in names))
    report = run.report()
    assert (report["errors"], report["left"], report["not_ended"]) == (dict.fromkeys(names, 20), 0, [])


@pytest.mark.parametrize("where", ["before", "after"])
def test_threads_of_a_module_that_cannot_be_loaded_keep_nothing_from_ending(start: Start, where: str) -> None:
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n"
    run = start(thread + ("1 / 0\n" if where == "before" else ""), ready=False)
    begin = time.monotonic()
    out, err = run.process.communicate(timeout=LIMIT)
    assert (run.process.returncode, out) == (2, "")
    assert time.monotonic() - begin < 10
    assert "ended by force: threads that do not end" in err


def test_an_interrupt_has_its_exit_code_where_threads_do_not_end(start: Start) -> None:
    run = start("import threading, time\n@on(Started)\ndef go(event, bus):\n"
                "    threading.Thread(target=time.sleep, args=(1000,)).start()\n")  # fmt: skip
    assert run.end(signal.SIGINT)[0] == 130


@pytest.mark.parametrize("does", ["import gc; gc.callbacks.clear()", "import sys; sys.stdout.close()"])
def test_what_a_module_takes_from_the_interpreter_gives_no_traceback(start: Start, does: str) -> None:
    run = start(f"@on(Started)\ndef go(event, bus):\n    {does}\n")
    code, _, err = run.end()
    assert "Traceback" not in err
    assert code == (2 if "stdout" in does else 0)


@LOOPS
@pytest.mark.parametrize("most", [8, 14, 20, 24])
def test_without_descriptors_it_says_so(tmp_path: Path, directory: Path, loop: str, most: int) -> None:
    path, config = tmp_path / "mine.py", tmp_path / "desk.toml"
    path.write_text("from desk.bus import *\n@on(Started)\ndef go(event, bus): bus.ended = 1 / 0\n")
    config.write_text(f'[run.mine]\nloop = "{loop}"\non_error = "stop"\n')
    words = f'ulimit -n {most}; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", words, "bash", sys.executable, "-P", "-m", "desk", "run", str(path), "--config", str(config)],
        capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if "ready:" in done.stderr else 2), done.stderr


@LOOPS
@pytest.mark.parametrize("closed", ["1", "2", "0"])
def test_a_closed_descriptor_becomes_no_file_of_ours(tmp_path: Path, directory: Path, closed: str, loop: str) -> None:
    path, config = tmp_path / "mine.py", tmp_path / "desk.toml"
    # What a C library writes there reaches none of the files that the process has opened.
    path.write_text("import os\nfrom desk.bus import *\n@on(Started)\ndef go(event, bus):\n"
                      f"    with open({str(tmp_path / 'what')!r}, 'w') as file:\n"
                      f"        file.write(os.readlink('/proc/self/fd/{closed}'))\n    1 / 0\n")  # fmt: skip
    config.write_text(f'[run.mine]\nloop = "{loop}"\non_error = "stop"\n')
    words = f'exec "$@" {closed}>&-'
    done = subprocess.run(
        ["bash", "-c", words, "bash", sys.executable, "-P", "-m", "desk", "run", str(path), "--config", str(config)],
        capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert (tmp_path / "what").read_text() == os.devnull
    assert done.returncode == (2 if closed == "1" else 1), done.stderr


def test_a_fault_reads_no_file_and_calls_nothing_that_ends_the_bus(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.py"
    os.mkfifo(pipe)

    class Text(str):
        def __len__(self) -> int:
            raise ValueError

    class Odd(Exception):
        def __init__(self, does: Any) -> None:
            self.does = does

        def __str__(self) -> str:
            return str.__str__(self.does()) if self.does is sys.exit else self.does()

    said: list[str] = []
    faults = Faults(said.append)
    signal.alarm(10)
    try:
        exec(compile("1 / 0", str(pipe), "exec"))
    except ZeroDivisionError as error:
        faults.add("mine", error)
        assert find_line(error) == f"{pipe}:1"
    finally:
        signal.alarm(0)
    assert said == [f"desk: run: {pipe}:1: ZeroDivisionError: division by zero, in mine"]
    assert show_text(Odd(sys.exit)) == "(its text cannot be shown)"
    assert show_text(Odd(lambda: Text("abc"))) == "abc"
    assert show_text(Odd(lambda: Text("x" * 1000))) == "x" * 197 + "..."


def test_what_a_decorator_has_made_of_a_handler_is_one(start: Start) -> None:
    run = start("""
import functools
@functools.lru_cache
@on(Started)
def go(event, bus): bus.publish(Signal("X", 1, 1))
""")
    assert run.report()["events"]["Signal"] == 1


def test_what_another_thread_publishes_has_a_bound_and_what_is_left_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PENDING", 1000)

    async def work() -> None:
        bus, seen = module.Bus(Faults(lambda line: None)), list[int]()
        bus.subscribe(Signal, lambda event, bus: seen.append(event.time_ns))
        bus.start()
        for number in range(1000):  # the loop has no turn meanwhile
            bus.publish_soon(Signal("X", number, 1))
        with pytest.raises(module.BusError, match="other threads publish more than is delivered"):
            bus.publish_soon(Signal("X", 1000, 1))
        await asyncio.sleep(0)
        assert 0 < len(seen) < 1000  # the loop has its turns
        assert await bus.drain(5) == 0
        assert seen == list(range(1000))
        bus.publish_soon(Signal("X", 1, 1))
        assert await bus.drain(0) == 1

    asyncio.run(work())
