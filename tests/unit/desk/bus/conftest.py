import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from desk import counters

from ...agent.stage import Stage

#: Seconds for which a test waits for anything.
LIMIT = 20.0


class Run:
    """A process `desk run`, and what it has printed."""

    def __init__(self, process: subprocess.Popen[str], directory: Path, name: str) -> None:
        self.process, self.directory, self.name = process, directory, name

    def read(self) -> counters.Snapshot:
        return counters.read(self.directory / f"run.{self.name}.counters")

    def wait_for(self, done: Callable[[counters.Snapshot], Any]) -> counters.Snapshot:
        """Returns the counters of this process, once they are as wanted."""
        limit = time.monotonic() + LIMIT
        found = None
        while time.monotonic() < limit:
            try:
                found = self.read()
                if found.pid == self.process.pid and done(found):
                    return found
            except counters.CountersError:
                pass
            if self.process.poll() is not None and found is None:
                break
            time.sleep(0.01)
        raise AssertionError((found, self.process.poll()))

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Returns exit code, standard output and standard error behind a signal."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, out, err

    def report(self, code: int = 0) -> dict[str, Any]:
        """Returns what the run says of itself behind SIGTERM; code: with which it has to end."""
        found, out, err = self.end()
        assert found == code, (found, err)
        return dict(json.loads(out))


Start = Callable[..., Run]


@pytest.fixture
def start(directory: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a module of this text, with this desk.toml and more arguments."""
    running: list[subprocess.Popen[str]] = []

    def begin(
        text: str, config: str = "", *more: str, name: str = "mine", ready: bool = True, **environment: str
    ) -> Run:
        module, toml = tmp_path / f"{name}.py", tmp_path / "desk.toml"
        module.write_text("from desk.bus import *\n" + text)
        toml.write_text(config)
        given = ("--config", str(toml)) if config else ()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "desk", "run", str(module), *given, "--format", "json", *more],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
        )  # fmt: skip
        running.append(process)
        run = Run(process, directory, name)
        if ready:
            run.wait_for(lambda found: found.sequence)
        return run

    yield begin
    for process in running:
        process.kill()
        process.communicate(timeout=LIMIT)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as stage:
        yield stage
