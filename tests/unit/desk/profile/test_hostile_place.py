"""`desk profile` in a directory where somebody else has put a file."""

import os
import subprocess
import sys
from pathlib import Path


def test_nothing_of_the_working_directory_is_run(tmp_path: Path) -> None:
    for name in ("memray", "json", "msgspec", "desk", "cProfile"):
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'RUN')!r}, 'a').write(__file__)\nraise SystemExit(0)\n"
        )
    place = tmp_path / "place"
    place.mkdir()
    (place / "program.py").write_text("print(sum(range(9)))\n")
    words = ["profile", "--with", "memray,cprofile", "--", sys.executable, str(place / "program.py")]
    done = subprocess.run([sys.executable, "-P", "-m", "desk", *words], cwd=tmp_path, capture_output=True, text=True,
                          timeout=60, env={**os.environ, "PYTHONPATH": ""})  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "36\n" * 2), done.stderr
    assert not (tmp_path / "RUN").exists()
    assert "memray stats ended" not in done.stderr
