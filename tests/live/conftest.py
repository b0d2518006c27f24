"""What the live tests share."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .launching import BOUND, PROBE, Launch, Launcher


@pytest.fixture(scope="session")
def readable() -> Iterator[Path]:
    """What `hosttune launch` imports, where every user can read it: the checkout may be in a home that is closed."""
    folder = Path(tempfile.mkdtemp(prefix="hosttune-live-"))
    try:
        folder.chmod(0o755)
        for name in ("hosttune", "msgspec", "yaml", "_yaml", "pyroute2"):
            found = importlib.util.find_spec(name)
            assert found is not None and found.origin is not None
            shutil.copytree(Path(found.origin).parent, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def launcher(tmp_path: Path, readable: Path) -> Launcher:
    """`hosttune launch` with a profile whose only check answers as it is told."""
    site = tmp_path / "site"
    (site / "probe-0.dist-info").mkdir(parents=True)
    (site / "probe.py").write_text(PROBE)
    (site / "probe-0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 0\n")
    (site / "probe-0.dist-info" / "entry_points.txt").write_text("[hosttune.checks]\nprobe = probe\n")

    def build(*words: str, status: str = "pass", seconds: float = 0.0) -> tuple[list[str], dict[str, str]]:
        profile = tmp_path / f"{status}.yml"
        profile.write_text(f"probe: {{status: {status}, seconds: {seconds}}}\n")
        options = ["--profile", str(profile)]
        if "--run-dir" not in words:
            options += ["--run-dir", str(tmp_path / "run")]
        command = [os.path.realpath(sys.executable), "-m", "hosttune", "launch", *options, *words]
        return command, {**os.environ, "PYTHONPATH": f"{site}:{readable}"}

    return build


@pytest.fixture
def launch(tmp_path: Path, launcher: Launcher) -> Iterator[Launch]:
    """Start `hosttune launch` without a terminal, so that it becomes the program; end it afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *words: str,
        prefix: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        cwd: Path = tmp_path,
        **options: Any,
    ) -> Any:
        command, environment = launcher(*words, **options)
        process = subprocess.Popen(
            [*prefix, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=cwd, env=environment | (env or {}), pass_fds=pass_fds, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=BOUND)


@pytest.fixture
def refused(launch: Launch, tmp_path: Path) -> Callable[..., str]:
    """Launch something that leaves a trace, expect a refusal, and return what it says."""

    def run(*words: str, code: int = 1, **options: Any) -> str:
        trace = tmp_path / "started"
        command = words if "--" in words else (*words, "--", "/usr/bin/touch", str(trace))
        process = launch(*command, **options)
        _, said = process.communicate(timeout=BOUND)
        assert process.returncode == code, said
        assert not trace.exists(), "the program was started"
        assert "Traceback" not in said
        return said

    return run


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder of root's that every user can look into."""
    folder = Path(tempfile.mkdtemp(prefix="hosttune-live-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def build(open_folder: Path) -> Callable[[str], str]:
    """Compile one of the attackers; see attackers.c."""

    def compile_attacker(name: str) -> str:
        source = Path(__file__).with_name("attackers.c")
        program = open_folder / name
        subprocess.run(["cc", "-Wall", f"-DATTACK={name}", "-o", program, source], check=True, timeout=BOUND)
        return str(program)

    return compile_attacker
