"""An agent and an exchange as two processes on loopback, and their configuration."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import agent
from benchmarks.agent.drive import free_port, write_password

EXAMPLE = (Path(agent.__file__).parent / "example.toml").read_text()
CACHE = Path("/tmp") / f"hosttune-agent-test-{os.getuid()}"


class Stage:
    """A configuration with ports and a segment of its own, and the processes started with it; a context manager, behind
    which none of these runs."""

    def __init__(self, folder: Path) -> None:
        self.feed, self.orders = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        self.segment = folder / "segment"
        self.config = folder / "agent.toml"
        self.folder = folder
        self.environment = os.environ | {"PYTHONPATH": str(folder), "STATE_DIRECTORY": str(folder / "state")}
        self.children: list[subprocess.Popen[str]] = []
        self.write(EXAMPLE.replace("26400", str(self.feed)).replace("26401", str(self.orders))
                   .replace("# shm = \"/run/trading_agent/other.segment\"", f'shm = "{self.segment}"')
                   .replace("# cache_dir = \"/var/cache/trading_agent\"", f'cache_dir = "{CACHE}"')
                   .replace("# password_file = \"/etc/trading_agent/exchange_password\"",
                            f'password_file = "{write_password(folder)}"')
                   .replace("max_orders_per_second = 1000", "max_orders_per_second = 1000000"))  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.communicate(timeout=30)

    def write(self, text: str) -> None:
        self.config.write_text(text)

    def set(self, **values: str) -> None:
        """Uncomment or change keys by their names."""
        text = self.config.read_text()
        for key, value in values.items():
            text, count = re.subn(rf"^(# )?{key} = [^#\n]*", f"{key} = {value} ", text, flags=re.M)
            assert count == 1, key
        self.write(text)

    def strategy(self, name: str) -> None:
        self.write(self.config.read_text().replace('name = "ema_cross"', f'name = "{name}"'))

    def agent(self, *arguments: str) -> subprocess.Popen[str]:
        child = subprocess.Popen([sys.executable, "-P", "-m", "agent", "run", str(self.config), *arguments],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
                                 env=self.environment)  # fmt: skip
        self.children.append(child)
        assert child.stdout
        line = child.stdout.readline()
        assert line.startswith("ready: "), child.communicate(timeout=30)
        return child

    def exchange(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "agent", "exchange", "--feed-to", f"127.0.0.1:{self.feed}", "--listen",
             f"127.0.0.1:{self.orders}", "--agent-shm", str(self.segment), "--no-spin", "--linger", "0.3",
             "--wait", "20", "--timeout", "40", "--format", "json", *arguments],
            capture_output=True, text=True, timeout=60, cwd=self.folder, env=self.environment)  # fmt: skip

    def run(self, *arguments: str) -> str:
        out = subprocess.run([sys.executable, "-P", "-m", "agent", *arguments], capture_output=True, text=True,
                             timeout=20, cwd=self.folder, env=self.environment, check=True)  # fmt: skip
        return out.stdout

    def stats(self) -> dict[str, Any]:
        out = subprocess.run([sys.executable, "-P", "-m", "agent", "stats", str(self.segment), "--format", "json"],
                             capture_output=True, text=True, timeout=20, cwd=self.folder, check=True)  # fmt: skip
        return dict(json.loads(out.stdout))


def read_journal(stage: Stage) -> dict[str, Any]:
    """Returns what `agent journal` says of the stage's engine."""
    path = Path(stage.environment["STATE_DIRECTORY"]) / "main.journal"
    run = subprocess.run([sys.executable, "-P", "-m", "agent", "journal", str(path), "--format", "json"],
                          capture_output=True, text=True, timeout=20, check=True)  # fmt: skip
    return dict(json.loads(run.stdout))
