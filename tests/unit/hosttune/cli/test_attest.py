"""The arguments of `hosttune attest`."""

from __future__ import annotations

import os

import pytest

from hosttune import cli


@pytest.mark.parametrize(
    "words",
    [
        ["0"], ["-1"], ["2147483648"], ["9" * 30], ["1", "--wait", "-1"], ["1", "--wait", "nan"],
        ["1", "--wait", "inf"], ["1", "--after", "1e9"], ["1", "--after", "nan"],
    ],
)  # fmt: skip
def test_numbers_that_nobody_can_wait_for(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(["attest", *words])
    except SystemExit as ended:  # of argparse
        code = int(ended.code or 0)
    assert code == 2 and "Traceback" not in capsys.readouterr().err


def test_no_record_is_no_answer(capsys: pytest.CaptureFixture[str], tmp_path: os.PathLike[str]) -> None:
    assert cli.main(["attest", str(os.getpid()), "--wait", "0", "--run-dir", os.fspath(tmp_path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1
