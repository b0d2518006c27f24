"""docs/desk_codec.md: its schema compiles, and its program prints what it says."""

import re
import subprocess
import sys
from pathlib import Path

from . import schemas

PAGE = (Path(__file__).parents[4] / "docs" / "desk_codec.md").read_text()


def read_block(language: str) -> str:
    """Returns the one block of the page in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    return str(found)


def test_the_program_prints_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "prices.proto").write_text(read_block("proto"))
    command = read_block("sh").split()
    assert command[0] == "protoc" and "--include_imports" in command
    line = [sys.executable, "-P", "-m", "grpc_tools.protoc", "-I.", *command[1:]]
    subprocess.run(line, cwd=tmp_path, check=True, timeout=60)
    (tmp_path / "show.py").write_text(read_block("python"))
    done = subprocess.run([sys.executable, "-P", "show.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (read_block("text"), "")


def test_every_reason_is_on_the_page() -> None:
    reasons = [name for name in schemas.kinds_decoder().counts if name.startswith("refused[")]
    assert len(reasons) == 8
    for reason in reasons:
        assert f"`{reason.removeprefix('refused[').removesuffix(']')}`" in PAGE
