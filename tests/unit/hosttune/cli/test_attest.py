"""The arguments of `hosttune attest`."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec
import pytest

from hosttune import attest, cli
from hosttune.findings import Status, summarise_findings
from hosttune.hops import build_single_finding

from ..attest.test_show import RESULT


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


def make_result(*statuses: Status) -> attest.Attestation:
    findings = [build_single_finding(f"attest.{n}", status, 1, 2, "f") for n, status in enumerate(statuses)]
    return msgspec.structs.replace(RESULT, report=summarise_findings({}, findings))


@pytest.mark.parametrize(
    ("statuses", "code"),
    [(["pass"], 0), (["pass", "warn", "na"], 0), (["pass", "fail"], 1), (["unknown"], 3), (["unknown", "fail"], 1)],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_the_exit_status_is_the_verdict(
    statuses: list[Status], code: int, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(attest, "attest", lambda *given: asked.append(given) or make_result(*statuses))
    words = ["7", "--wait", "2", "--after", "0.5", "--run-dir", "/run/x", "--format", form]
    assert cli.main(["attest", *words]) == code
    assert asked == [("/run/x", 7, 2.0, 0.5)]
    out, err = capsys.readouterr()
    assert err == ""
    if form == "json":
        assert [one["status"] for one in json.loads(out)["findings"]] == statuses
    else:
        words_of_end = {0: "holds", 1: "does not hold", 3: "could not be told"}
        assert out.endswith(f"attest: {words_of_end[code]}\n")


@pytest.mark.parametrize(("error", "code"), [(attest.Gone, 1), (attest.NotLaunched, 3)])
def test_what_ends_it_before_it_has_read(
    error: type[Exception], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*given: object) -> None:
        raise error("the \x1b reason")

    monkeypatch.setattr(attest, "attest", fail)
    assert cli.main(["attest", "7"]) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", "hosttune attest: the \\u001b reason\n")


@pytest.mark.parametrize("pid", ["1", "2147483647"])
def test_numbers_of_processes_that_may_be(pid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attest, "attest", lambda *given: make_result("pass"))
    assert cli.main(["attest", pid, "--wait", "86400", "--after", "0"]) == 0
