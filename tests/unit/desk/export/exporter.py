"""`desk export` as a process over segments in a directory of the test's own."""

import os
import select
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.shm import identity
from agent.shm import segment as shm

from ...agent.shm.small_segment import build


class Exporter:
    """The process, its directory of segments and its address; a context manager, behind which it does not run."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.runtime = folder / "run"
        self.directory = self.runtime / "trading_agent"
        self.directory.mkdir(parents=True, mode=0o700)
        lines = [f"{key} = {value!r}" for key, value in {"port": 0, "reuse_ms": 0, **settings}.items()]
        self.config = folder / "desk.toml"
        self.config.write_text("[export]\n" + "\n".join(lines) + "\n")
        self.environment = {name: text for name, text in os.environ.items() if name != "RUNTIME_DIRECTORY"}
        self.environment["XDG_RUNTIME_DIR"] = str(self.runtime)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.kill()
        self.child.communicate(timeout=30)

    def start(self) -> None:
        self.child = subprocess.Popen([sys.executable, "-P", "-m", "desk", "export", str(self.config)], text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment)  # fmt: skip
        assert self.child.stdout and select.select([self.child.stdout], [], [], 30)[0]
        line = self.child.stdout.readline()
        assert line.startswith("ready: http"), self.child.communicate(timeout=30)
        self.url = line.split()[1]
        self.port = int(self.url.rpartition(":")[2].partition("/")[0])

    def put(self, name: str, **options: Any) -> Path:
        """Write the segment of an engine that is this process and runs."""
        pid, start_time = identity.own()
        path = self.directory / f"{name}.segment"
        path.write_bytes(build(**{"pid": pid, "start_time": start_time, "boot_id": identity.read_boot_id().encode(),
                                  "heartbeat_ns": shm.now_ns(), **options}))  # fmt: skip
        return path

    def get(self) -> str:
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            return str(answer.read().decode())

    def samples(self) -> dict[str, float]:
        """Values by name and labels, as they are written."""
        lines = [line for line in self.get().splitlines() if line[0] != "#"]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def wait(self, wanted: str, value: float, seconds: float = 10) -> dict[str, float]:
        """Returns the samples once one is at least so much."""
        limit = time.monotonic() + seconds
        while (found := self.samples()).get(wanted, 0) < value:
            assert time.monotonic() < limit, found.get(wanted)
            time.sleep(0.1)
        return found
