"""Launch records: of one process once, removed with it, refused if broken or too long."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune import files
from hosttune.launch import record, run_directory
from hosttune.launch.identity import read_start_time

from .promises import make_record


@pytest.fixture
def run(tmp_path: Path) -> str:
    run_directory.prepare(str(tmp_path))
    return str(tmp_path)


def make_own(**changes: Any) -> record.Record:
    return make_record(**{"pid": os.getpid(), "starttime": read_start_time(os.getpid()), **changes})


def test_belongs_to_one_process_once(run: str) -> None:
    pid, own = os.getpid(), make_own()
    record.write(run, own)
    assert record.load(run, pid) == own
    assert Path(record.build_path(run, pid)).stat().st_mode & 0o777 == 0o644
    record.write(run, make_own(starttime=own.starttime - 1))
    assert record.load(run, pid) is None, "written by an earlier process with the same PID"


def test_those_of_the_dead_and_drafts_are_removed(run: str) -> None:
    folder = Path(run, "launch")
    for name in ("4194305.json", ".4194305.json.1.0011", f"{os.getpid()}.json"):  # above the largest possible PID
        (folder / name).write_text("{")
    (folder / "4194305.json").chmod(0o666)
    (folder / "note").write_text("kept")
    record.write(run, make_own())
    assert {path.name for path in folder.iterdir()} == {f"{os.getpid()}.json", "note"}


def test_a_launch_looks_at_so_many_and_no_more(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_MOST_STALE", 10)
    for number in range(30):
        Path(run, "launch", f"{4194305 + number}.json").touch()
    record.remove_stale(run)
    assert len(os.listdir(f"{run}/launch")) == 20


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b'{"format": 2}', b"[]", b"null", b"[" * 100_000, b'{"format": ' + b"9" * 5000 + b"}",
        b'{"format": 1}',
    ],
)  # fmt: skip
def test_broken(run: str, text: bytes) -> None:
    Path(run, "launch", "1.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"1\.json"):
        record.load(run, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 3}, {"pid": 2}, {"cpus": "0-999999999"}, {"cpus": "x"}, {"rlimits": {"none": (1, 1)}},
        {"policy": "idle"}, {"umask": 0o1000}, {"nice": 20}, {"leases": [-1]}, {"priority": -1}, {"more": 1},
    ],
)  # fmt: skip
def test_of_another_kind(run: str, changes: dict[str, Any]) -> None:
    data = msgspec.to_builtins(make_record(pid=1)) | changes
    Path(run, "launch", "1.json").write_bytes(msgspec.json.encode(data))
    with pytest.raises(ValueError, match=r"1\.json"):
        record.load(run, 1)


@given(st.binary(max_size=2000))
def test_any_bytes_are_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(ValueError, match="record: "):
        record.parse(data, "record")


WHOLE = msgspec.json.encode(make_record())


@given(st.integers(0, len(WHOLE)), st.integers(0, 20), st.binary(max_size=20))
def test_a_spoilt_record_is_a_record_or_a_reason(start: int, length: int, data: bytes) -> None:
    spoilt = WHOLE[:start] + data + WHOLE[start + length :]
    try:
        assert isinstance(record.parse(spoilt, "record"), record.Record)
    except ValueError as error:
        assert str(error).startswith("record: ")


def test_a_long_one_is_neither_written_nor_read(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "LIMIT", 10_000)
    with pytest.raises(files.UntrustedFile, match="command"):
        record.write(run, make_own(command=["x" * 10_000]))
    assert record.load(run, os.getpid()) is None
    path = Path(record.build_path(run, 1))
    path.touch()
    os.truncate(path, 3 << 30)
    with pytest.raises(files.UntrustedFile, match="more than"):
        record.load(run, 1)
