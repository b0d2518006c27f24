"""Launch records: of one process once, removed with it, refused if broken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hosttune.launch import record


def make_record(pid: int, starttime: int, **changes: Any) -> record.Record:
    return msgspec.structs.replace(
        record.Record(
            pid=pid, starttime=starttime, command=["agent"], policy="fifo", priority=80, nice=0, cpus="3",
            user="trader", uid=990, gid=990, groups=[990], memory_locked=True, cpu_dma_latency=True,
            timer_slack_ns=1, leases=[], rlimits={}, forced=[], preflight={},
        ),
        **changes,
    )  # fmt: skip


class TestRecord:
    def test_belongs_to_one_process_once(self, tmp_path: Path) -> None:
        pid, run = os.getpid(), str(tmp_path)
        own = record.read_start_time(pid)
        assert own is not None
        descriptor = record.write(run, make_record(pid, own))
        assert record.load(run, pid) == make_record(pid, own)
        assert not record.is_released(run, pid)
        os.close(descriptor)
        assert record.is_released(run, pid)
        os.close(record.write(run, make_record(pid, own - 1)))
        assert record.load(run, pid) is None, "written by an earlier process with the same PID"

    def test_those_of_the_dead_are_removed(self, tmp_path: Path) -> None:
        (tmp_path / "launch").mkdir()
        dead = tmp_path / "launch" / "4194305.json"  # above the largest possible PID
        dead.write_text("{")
        os.close(record.write(str(tmp_path), make_record(os.getpid(), record.read_start_time(os.getpid()) or 0)))
        assert [path.name for path in (tmp_path / "launch").iterdir()] == [f"{os.getpid()}.json"]

    @pytest.mark.parametrize("text", ["{", '{"format": 1}', "[]"])
    def test_broken(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "launch").mkdir()
        (tmp_path / "launch" / "1.json").write_text(text)
        with pytest.raises(ValueError, match=r"1\.json"):
            record.load(str(tmp_path), 1)

    def test_of_another_format(self, tmp_path: Path) -> None:
        (tmp_path / "launch").mkdir()
        (tmp_path / "launch" / "1.json").write_bytes(msgspec.json.encode(make_record(1, 1, format=2)))
        with pytest.raises(ValueError, match="format 2"):
            record.load(str(tmp_path), 1)
