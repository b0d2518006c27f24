"""Standard output that takes no more: a full disk is a reason to end, and no verdict on the host."""

import subprocess
import sys
from pathlib import Path

import pytest

from hosttune.report import formats

CHECK = ["check", "--profile", "trading"]
COMMANDS = [CHECK, ["diff", "report.json", "report.json"], ["gaps", "--cpu", "0", "--seconds", "0.05"]]
EACH = [[*command, "--format", form] for command in COMMANDS for form in formats.list_formats()]


def hosttune(folder: Path, *arguments: str, stdout: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "hosttune", *arguments]
    return subprocess.run(command, cwd=folder, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("output")
    with (place / "report.json").open("w") as report:
        assert hosttune(place, *CHECK, "--format", "json", stdout=report).returncode in (0, 1, 3)
    return place


@pytest.mark.parametrize("arguments", EACH, ids=" ".join)
def test_a_full_disk_is_an_error_of_the_call(folder: Path, arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = hosttune(folder, *arguments, stdout=full)
    assert (done.returncode, done.stderr) == (2, "hosttune: standard output: No space left on device\n")


@pytest.mark.parametrize("arguments", EACH, ids=" ".join)
def test_a_reader_that_has_left_ends_the_output_and_not_the_verdict(folder: Path, arguments: list[str]) -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait(20)
        done = hosttune(folder, *arguments, stdout=reader.stdin)
    with open("/dev/null", "w") as null:
        whole = hosttune(folder, *arguments, stdout=null)
    assert (done.returncode, done.stderr) == (whole.returncode, "")


@pytest.mark.parametrize("arguments", EACH, ids=" ".join)
def test_a_closed_output_is_an_error_of_the_call(folder: Path, arguments: list[str]) -> None:
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-P", "-m", "hosttune", *arguments]
    done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "hosttune: standard output: Bad file descriptor\n")
