"""docs/desk_worker.md: what it shows compiles, does the same in each language, and its table is one."""

import importlib
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from desk import config, worker

PAGE = (Path(__file__).parents[4] / "docs" / "desk_worker.md").read_text()


def read_block(language: str) -> str:
    """Returns the last block of the page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)[-1]


def check(name: str) -> None:
    loaded = worker.load(name)
    prepared = worker.prepare(loaded, [2.5])
    records = struct.pack("<QdQd", 1, 3.0, 2, -1.0)
    assert loaded.table.call_work(prepared.state, records, 2) == struct.pack("<QdQd", 1, 7.5, 2, -2.5)


def test_the_table_is_one() -> None:
    found = config.parse(read_block("toml"), "desk.toml").worker["geo"]
    assert worker.prepare(worker.load(found.module), found.parameters)


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scale.py").write_text(read_block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    try:
        check("scale:WORKER")
    finally:
        sys.modules.pop("scale", None)


def run_commands(language: str, file: str, directory: Path) -> None:
    """Write the page's source in a language to a file, and run the commands that come next on the page."""
    (source, commands), *_ = re.findall(rf"^```{language}\n(.*?)^```\n\n```sh\n(.*?)^```$", PAGE, re.M | re.S)
    (directory / file).write_text(source)
    command = f'PATH="{Path(sys.executable).parent}:$PATH"\n{commands}'
    done = subprocess.run(["sh", "-ec", command], cwd=directory, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def check_file(path: Path) -> None:
    path.chmod(0o755)
    check(str(path))
    with pytest.raises(worker.WorkerError, match="init returned -1"):
        worker.prepare(worker.load(str(path)), [])


no_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs cc (tools/setup host)")


@no_cc
def test_c(tmp_path: Path) -> None:
    run_commands("c", "scale.c", tmp_path)
    check_file(tmp_path / "scale_c.so")


@pytest.mark.skipif("geo_rust" not in worker.built_in(), reason="needs rustc 1.77 or newer (tools/setup dev)")
def test_rust(tmp_path: Path) -> None:
    run_commands("rust", "scale.rs", tmp_path)
    check_file(tmp_path / "scale_rust.so")


@no_cc
def test_cython(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_commands("cython", "scale_cython.pyx", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    try:
        check("scale_cython:WORKER")
    finally:
        sys.modules.pop("scale_cython", None)
