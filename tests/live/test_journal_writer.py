"""The journal's writer beside an engine of real-time priority that never sleeps."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy")

import agent
from benchmarks.agent.drive import free_port, write_password

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs a CPU besides the engine's"),
]

CPU = max(os.sched_getaffinity(0))
AGENT = Path(sys.executable).with_name("agent")


def test_it_has_left_the_engine_before_the_engine_is_ready(tmp_path: Path) -> None:
    """Else it may never leave: on the engine's CPU the engine is all that runs."""
    example = (Path(agent.__file__).parent / "example.toml").read_text()
    config = tmp_path / "agent.toml"
    with socket.create_server(("127.0.0.1", 0)) as exchange, open(os.devnull) as held:
        os.set_inheritable(held.fileno(), True)  # as `hosttune launch` hands down /dev/cpu_dma_latency
        config.write_text(
            example.replace("26400", str(free_port(socket.SOCK_DGRAM)))
            .replace("26401", str(exchange.getsockname()[1]))
            .replace('"ema_cross"', '"every_tick_cython"')
            .replace('# shm = "/run/trading_agent/other.segment"', f'shm = "{tmp_path / "segment"}"')
            .replace(
                '# password_file = "/etc/trading_agent/exchange_password"',
                f'password_file = "{write_password(tmp_path)}"',
            )
        )
        engine = subprocess.Popen(
            ["chrt", "--fifo", "50", "taskset", "--cpu-list", str(CPU), str(AGENT), "run", str(config)],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[held.fileno()],
            env={**os.environ, "STATE_DIRECTORY": str(tmp_path)},
        )
        try:
            assert engine.stdout is not None and engine.stdout.readline().startswith("ready: ")
            writer = int(Path(f"/proc/{engine.pid}/task/{engine.pid}/children").read_text())
            assert os.sched_getscheduler(engine.pid) == os.SCHED_FIFO and os.sched_getaffinity(engine.pid) == {CPU}
            assert os.sched_getscheduler(writer) == os.SCHED_OTHER and CPU not in os.sched_getaffinity(writer)
            # What the launcher left open ends with the engine.
            number = str(held.fileno())
            assert number in os.listdir(f"/proc/{engine.pid}/fd")
            held = {os.readlink(entry) for entry in Path(f"/proc/{writer}/fd").iterdir() if entry.name == number}
            assert os.devnull not in held
        finally:
            engine.send_signal(signal.SIGTERM)
            engine.wait(20)
    assert not Path(f"/proc/{writer}").exists()
    assert engine.returncode == 0
