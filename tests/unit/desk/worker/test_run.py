"""`desk worker` as a process: killed, stopped, with a full output, a damaged input, and modules that do wrong."""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.shm.ring import Ring
from desk import counters
from hosttune.host.load import read_cpu_time

from . import places

PLACE = (51.5, -0.12)
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(directory: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a worker between the rings in and out, with more keys of its table."""
    running: list[subprocess.Popen[str]] = []

    def begin(module: str = "geo_cython", more: str = "", output: bool = True) -> subprocess.Popen[str]:
        lines = ["[worker.geo]", f"module = {module!r}", f"input = '{directory}/in'", more]
        if output:
            lines.append(f"output = '{directory}/out'")
        if "parameters" not in more:
            lines.append("parameters = [51.5, -0.12, 1000.0]")
        (tmp_path / "desk.toml").write_text("\n".join(lines) + "\n")
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "CACHE_DIRECTORY": str(tmp_path / "cache")}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "desk", "worker", str(tmp_path / "desk.toml")],
            stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate(timeout=10)


def fill(ring: Ring, events: list[places.Event]) -> None:
    """Push the records of events, as there is room for them."""
    block, limit = places.pack(events), time.monotonic() + 20
    while block:
        block = block[ring.push_block(block) * places.RECORD.size :]
        assert time.monotonic() < limit, "the worker does not read"


def wait_for(path: Path) -> Ring:
    """Returns the reader of a ring that the worker makes."""
    limit = time.monotonic() + 20
    while not path.exists() or path.stat().st_size == 0:
        assert time.monotonic() < limit, f"{path} was not made"
        time.sleep(0.01)
    return Ring.attach(path, "reader")


def wait_until_it_runs(process: subprocess.Popen[str], directory: Path) -> None:
    """Returns when a worker has published its counters."""
    limit = time.monotonic() + 20
    while process.pid not in [one.pid for one in counters.list_all(directory) if isinstance(one, counters.Snapshot)]:
        assert time.monotonic() < limit
        time.sleep(0.01)


def take(ring: Ring, count: int, last: int = 0) -> list[tuple[int, int, int, float]]:
    """Returns results until one has the sequence `count`, without the doubled ones: those not behind the last."""
    found, limit = [], time.monotonic() + 20
    while last < count:
        records = ring.peek_many(4096)
        for record in records:
            result = places.RESULT.unpack(record)
            if result[0] > last:
                found.append(result)
                last = result[0]
        ring.commit(len(records))
        assert time.monotonic() < limit, f"results up to {last} of {count}"
        time.sleep(0.001)
    return found


def end(process: subprocess.Popen[str], code: int) -> str:
    """Returns what a process says that is asked to end, or ends by itself."""
    if code <= 0:
        process.terminate()
    said = process.communicate(timeout=20)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    return said


def test_the_results_are_in_the_ring_and_the_numbers_in_the_counters(start: Start, directory: Path) -> None:
    events = places.make_events(1, 10_000)
    events[4] = (5, 5, 91.0, 0.0, 5)
    with Ring.create(directory / "in", 1 << 16, places.RECORD.size) as ring:
        process = start()
        with wait_for(directory / "out") as out:
            fill(ring, events)
            found = take(out, 10_000)
        assert b"".join(places.RESULT.pack(*each) for each in found) == places.give_results(events, PLACE)
        assert end(process, 0) == ""
        assert ring.used == 0
    said = counters.read(directory / "worker.geo.counters")
    assert said.state == "ended" and said.numbers["records"] == 10_000 and said.numbers["results"] == 9_999
    assert said.numbers["module[events]"] == 9_999 and said.numbers["module[refused]"] == 1
    assert said.numbers["module[max_km]"] == max(each[3] for each in found)


def test_a_worker_that_is_killed_fifty_times_loses_nothing(start: Start, directory: Path) -> None:
    sent, found = 0, []
    with Ring.create(directory / "in", 1 << 18, places.RECORD.size) as ring:
        for kill in range(50):
            process = start(more="batch = 7\nwait_us = 10\ncapacity = 4096")
            with wait_for(directory / "out") as out:
                events = places.make_events(sent + 1, 300)
                fill(ring, events)
                sent += 300
                found += take(out, sent - 250 + 5 * kill % 250, found[-1][0] if found else 0)
                process.kill()
            process.communicate(timeout=10)
            assert process.returncode == -signal.SIGKILL
        process = start()
        with wait_for(directory / "out") as out:
            found += take(out, sent, found[-1][0])
        wait_until_it_runs(process, directory)
        end(process, 0)
    assert [each[0] for each in found] == list(range(1, sent + 1))
    wanted = places.give_results(places.make_events(1, sent), PLACE)
    assert b"".join(places.RESULT.pack(*each) for each in found) == wanted


def test_a_full_output_is_waited_for_and_nothing_dropped(start: Start, directory: Path) -> None:
    events = places.make_events(1, 2000)
    with Ring.create(directory / "in", 1 << 17, places.RECORD.size) as ring:
        fill(ring, events)
        process = start(more="capacity = 4096")
        with wait_for(directory / "out") as out:
            time.sleep(0.7)
            assert out.used == 4096
            assert ring.used == (2000 - 128) * places.RECORD.size
            said = counters.read(directory / "worker.geo.counters")
            assert said.state == "runs" and said.numbers["waits"] == 1 and said.numbers["waited_seconds"] > 0.1
            assert [each[0] for each in take(out, 2000)] == list(range(1, 2001))
        end(process, 0)


def test_a_term_ends_a_worker_that_waits_for_room(start: Start, directory: Path) -> None:
    with Ring.create(directory / "in", 1 << 17, places.RECORD.size) as ring:
        fill(ring, places.make_events(1, 2000))
        process = start(more="capacity = 4096")
        wait_for(directory / "out").close()
        time.sleep(0.3)
        begun = time.monotonic()
        end(process, 0)
        assert time.monotonic() - begun < 2
        assert ring.used == (2000 - 128) * places.RECORD.size


def test_an_empty_ring_costs_little(start: Start, directory: Path) -> None:
    with Ring.create(directory / "in", 1 << 16, places.RECORD.size):
        process = start()
        wait_for(directory / "out").close()
        time.sleep(0.5)

        before = read_cpu_time(process.pid)
        time.sleep(2)
        after = read_cpu_time(process.pid)
        assert before is not None and after is not None
        assert after - before <= 0.1  # 5 % of a core, clock ticks of 10 ms included
        end(process, 0)


def test_a_damaged_input_ends_it(start: Start, directory: Path) -> None:
    with Ring.create(directory / "in", 1 << 16, places.RECORD.size):
        process = start()
        wait_for(directory / "out").close()
        with (directory / "in").open("r+b") as file:
            file.seek(128)
            file.write(struct.pack("<Q", 1 << 40))
        assert "/in: damaged" in end(process, 2)


MODULES = {
    "negative": ("return -7", r"work returned -7, allowed: 0 to"),
    "too_many": ("return 1000000", r"work returned 1000000, allowed: 0 to"),
    "raises": (
        "if records[0].id > 1:\n        raise ValueError('no')\n    return 0",
        r"worker raises, work: found code that can raise ValueError",
    ),
    "prints": ("print(1)\n    return 0", r"found code that prints"),
    "crashes": (
        "results[1 << 40].sequence = 1\n    return 0",
        r"worker geo: SIGSEGV in the module crashes:WORKER; the",
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_does_wrong_ends_it(name: str, start: Start, directory: Path, tmp_path: Path) -> None:
    body, wanted = MODULES[name]
    (tmp_path / f"{name}.py").write_text(
        "from desk.worker import Worker\n"
        f"def work(state, records, results):\n    {body}\n"
        "WORKER = Worker(work, [('sequence', 'u8'), ('id', 'u8'), ('x', 'f8', (3,))], [('sequence', 'u8')])\n"
    )
    with Ring.create(directory / "in", 1 << 16, places.RECORD.size) as ring:
        fill(ring, places.make_events(1, 10))
        process = start(f"{name}:WORKER", "parameters = []")
        said = end(process, 2) if name != "crashes" else process.communicate(timeout=30)[1]
        assert wanted in said, said
        assert process.returncode == (2 if name != "crashes" else -signal.SIGSEGV)
        assert ring.used == 10 * places.RECORD.size
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("module", "more", "output", "wanted"),
    [
        ("none", "", True, "module: found 'none', allowed: geo, geo_cython"),
        ("none:WORKER", "", True, "No module named 'none'"),
        ("desk.worker:WorkerError", "", True, "is a type; allowed: a Worker, or a capsule desk.worker"),
        ("agent.strategy.builtin.every_tick_cython:STRATEGY", "", True, "is a PyCapsule; allowed: a Worker"),
        ("/none.so", "", True, "No such file or directory"),
        (sys.executable, "", True, ": "),
        ("geo_cython", "parameters = [1.0]", True, "init returned -1"),
        ("geo_cython", "", False, "output: found none, the worker has results of 32 bytes"),
    ],
)
def test_what_is_no_worker_is_refused(
    module: str, more: str, output: bool, wanted: str, start: Start, directory: Path
) -> None:
    with Ring.create(directory / "in", 1 << 16, places.RECORD.size):
        said = end(start(module, more, output), 2)
    assert wanted in said and said.count("\n") == 1, said


def read_problem(directory: Path) -> str:
    """Returns what the worker says that is wrong, "": nothing, or nothing yet."""
    found = (one.texts.get("problem", "") for one in counters.list_all(directory) if isinstance(one, counters.Snapshot))
    return next(found, "")


def test_an_input_that_is_not_there_yet_is_waited_for(start: Start, directory: Path) -> None:
    process = start()
    limit = time.monotonic() + 20
    while f"waits for {directory}/in, which is not there yet" not in read_problem(directory):
        assert time.monotonic() < limit
        time.sleep(0.01)
    with Ring.create(directory / "in", 1 << 16, places.RECORD.size) as ring:
        fill(ring, places.make_events(1, 10))
        with wait_for(directory / "out") as results:
            assert len(take(results, 10)) == 10
        said = end(process, 0)
    assert said.count("\n") == 1 and "desk: worker geo: waits for " in said, said
    assert read_problem(directory) == ""
    (directory / "in").unlink()
    process = start()
    while not read_problem(directory):
        assert time.monotonic() < limit + 40
        time.sleep(0.01)
    assert "waits for" in end(process, 0)


def test_an_input_that_cannot_be_looked_at_is_refused(start: Start, directory: Path) -> None:
    (directory / "in").symlink_to("in")
    assert "/in: " in end(start(), 2)


def test_rings_that_are_not_the_workers_are_refused(start: Start, directory: Path) -> None:
    with Ring.create(directory / "in", 1 << 16, 48):
        assert "/in: records of 48 bytes (0: of any size), the worker takes records of 40" in end(start(), 2)
    (directory / "in").unlink()
    (directory / "out").unlink()
    with Ring.create(directory / "in", 1 << 16, 40):
        Ring.create(directory / "out", 1 << 16, 40).close()
        assert "/out: records of 40 bytes (0: of any size), the worker gives results of 32" in end(start(), 2)
