"""docs/desk_run.md: its module runs with its table beside a real engine, and says what the page shows."""

import re
import subprocess
import sys
import time
from pathlib import Path

from desk import config, counters

from ...agent.stage import Stage
from .conftest import LIMIT

PAGE = (Path(__file__).parents[4] / "docs" / "desk_run.md").read_text()


def read_block(language: str) -> str:
    """Returns the first block of the page in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    assert found
    return found[1]


def test_the_table_is_one() -> None:
    assert config.parse(read_block("toml"), "desk.toml").run["momentum"].paper_fills


def test_the_module_does_what_is_shown(stage: Stage, directory: Path, tmp_path: Path) -> None:
    stage.segment = directory / "main.segment"
    stage.set(shm=f'"{stage.segment}"')
    stage.agent()
    (tmp_path / "momentum.py").write_text(read_block("python"))
    (tmp_path / "desk.toml").write_text(read_block("toml"))
    run = subprocess.Popen(
        [sys.executable, "-P", "-m", "desk", "run", "momentum.py", "--config", "desk.toml"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        limit = time.monotonic() + LIMIT
        while not (directory / "run.momentum.counters").exists():
            assert time.monotonic() < limit
            time.sleep(0.01)
        assert stage.exchange("--feed", "generated", "--messages", "2000", "--rate", "2000").returncode == 0
        run.terminate()
        out, err = run.communicate(timeout=LIMIT)
    finally:
        run.kill()
    assert run.returncode == 0, err
    # The same lines but for their numbers; a machine that is busy may have held the loop up, which is one more.
    shown, found = (re.sub(r"[\d,.]+", "N", text).splitlines() for text in (read_block("text"), out))
    assert {" ".join(line.split()) for line in shown} <= {" ".join(line.split()) for line in found}
    executed = int(re.search(r"Executed +([\d,]+) events", out)[1].replace(",", ""))  # type: ignore[index]
    assert executed == len(re.findall(r"^[A-Z]+ [+-]10 at \d+\.\d\d$", err, re.M)) > 5
    assert counters.read(directory / "run.momentum.counters").state == "ended"
