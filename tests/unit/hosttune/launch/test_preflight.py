"""The report of a preflight that was made before the launch: believed for whose it is, used once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from hosttune.findings import Finding, Report, summarise_findings
from hosttune.launch import preflight


def report(status: str = "pass") -> Report:
    finding = Finding(id="area.knob", status=status, wanted=1, found=0, why="because", fix="turn it")  # type: ignore[arg-type]
    return summarise_findings({"hostname": "host"}, [finding])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(report()))
    return path


def test_a_report_counts_once(path: Path) -> None:
    assert preflight.take_report(str(path)) == report()
    assert not path.exists()
    with pytest.raises(preflight.PreflightError, match=rf"^--preflight {path}: No such file"):
        preflight.take_report(str(path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b"\xff",
        b'{"host": {}, "verdict": "fine", "summary": {}, "findings": []}',
        b"1" * 5_000,
    ],
)
def test_what_is_not_a_report_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(preflight.PreflightError, match=rf"^--preflight {path}: not a report of hosttune check"):
        preflight.take_report(str(path))


@pytest.mark.parametrize("kind", ["fifo", "link", "writable", "second name", "too long", "another's"])
def test_what_somebody_else_could_have_made_is_refused_at_once(path: Path, kind: str) -> None:
    real = path.rename(path.with_name("real"))
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(real)
        case "second name":
            path.hardlink_to(real)
        case "writable":
            real.rename(path).chmod(0o666)
        case "too long":
            real.rename(path).write_bytes(b" " * (preflight.MAX_BYTES + 1))
        case _:
            if os.geteuid() != 0:
                pytest.skip("needs root, to give a file away")
            os.chown(real.rename(path), 12345, 12345)
    begun = time.monotonic()
    with pytest.raises(preflight.PreflightError, match=rf"^--preflight {path}: found .*, allowed: "):
        preflight.take_report(str(path))
    assert time.monotonic() - begun < 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("behind", ["directory", "link"])
def test_one_in_a_place_of_a_strangers_is_refused(path: Path, behind: str) -> None:
    """Whoever owns the directory gives an old report of root's this name, or takes it away before it is read."""
    theirs = path.with_name("theirs")
    if behind == "directory":
        theirs.mkdir()
        path = path.rename(theirs / path.name)
    else:
        theirs.symlink_to(path.parent)
        path = theirs / path.name
    os.chown(theirs, 12345, 12345, follow_symlinks=False)
    with pytest.raises(preflight.PreflightError, match=rf"^--preflight {path}: {theirs}: found a file of user 12345"):
        preflight.take_report(str(path))
    assert path.exists()


@pytest.mark.parametrize(
    ("age", "found"),
    [(-60, "[0-9]+ s in the future"), (1e9, "before this boot")],
)
def test_one_of_another_time_is_refused(path: Path, age: float, found: str) -> None:
    os.utime(path, (time.time() - age,) * 2)
    with pytest.raises(preflight.PreflightError, match=rf"^--preflight {path}: found a report from {found}, allowed: "):
        preflight.take_report(str(path))


def test_an_old_one_and_a_young_one_of_before_this_boot_are_refused() -> None:
    assert preflight._explain_age(preflight.MAX_AGE + 1, uptime=4000.0) == "a report from 301 s ago"
    assert preflight._explain_age(50.0, uptime=40.0) == "a report from before this boot"
    assert preflight._explain_age(30.0, uptime=40.0) == preflight._explain_age(-0.5, uptime=40.0) == ""


def launch(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "hosttune", "launch", "--preflight", str(path), *options, "--", "/bin/true"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_its_findings_decide(path: Path) -> None:
    path.write_bytes(msgspec.json.encode(report("fail")))
    done = launch(path)
    assert done.returncode == 1 and "area.knob: fail" in done.stderr and "fix:    turn it" in done.stderr
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(report("fail")))
    done = launch(path, "--force", "area.other")
    assert done.returncode == 2 and "--force area.other: no finding has this id" in done.stderr


def test_without_it_nothing_is_started(tmp_path: Path) -> None:
    done = launch(tmp_path / "none.json")
    assert done.returncode == 2 and "No such file" in done.stderr
    done = launch(tmp_path / "none.json", "--profile", "trading")
    assert done.returncode == 2 and "not allowed with argument" in done.stderr
