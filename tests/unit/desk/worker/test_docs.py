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


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs cc (tools/setup host)")
def test_c(tmp_path: Path) -> None:
    (tmp_path / "scale.c").write_text(read_block("c"))
    bin_directory = str(Path(sys.executable).parent)
    command = f'PATH="{bin_directory}:$PATH"\n' + read_block("sh")
    done = subprocess.run(["sh", "-ec", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (tmp_path / "scale.so").chmod(0o755)
    check(str(tmp_path / "scale.so"))
    with pytest.raises(worker.WorkerError, match="init returned -1"):
        worker.prepare(worker.load(str(tmp_path / "scale.so")), [])
