"""What execve will make of a command."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from hosttune.launch.program import Program, find_program, inspect_program


def elf(program_headers: list[int]) -> bytes:
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, len(program_headers), 0, 0, 0)
    )
    return header + b"".join(struct.pack("<I", kind) + bytes(52) for kind in program_headers)


class TestProgram:
    def write(self, path: Path, content: bytes) -> str:
        path.write_bytes(content)
        path.chmod(0o755)
        return str(path)

    def test_the_interpreter_is_what_runs(self, tmp_path: Path) -> None:
        image = self.write(tmp_path / "python", elf([6, 3, 1]))
        script = self.write(tmp_path / "agent", f"#! {image} -I\n".encode())
        program = inspect_program(script)
        assert program == Program(script, [script, image], True, False)
        assert not program.executes_again

    def test_static(self, tmp_path: Path) -> None:
        assert not inspect_program(self.write(tmp_path / "static", elf([1, 1]))).dynamic

    def test_env_executes_again(self, tmp_path: Path) -> None:
        assert inspect_program(self.write(tmp_path / "agent", b"#!/usr/bin/env python3\n")).executes_again

    def test_setuid(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "su", elf([3]))
        Path(path).chmod(0o4755)
        assert inspect_program(path).secure

    @pytest.mark.parametrize("content", [b"", b"echo hi\n", b"#!\n", b"\x7fELF\x02\x01", b"#!/no/such/interpreter\n"])
    def test_what_cannot_be_executed_has_a_problem(self, tmp_path: Path, content: bytes) -> None:
        assert inspect_program(self.write(tmp_path / "bad", content)).problem

    def test_an_interpreter_that_is_a_fifo_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        assert "regular file" in inspect_program(self.write(tmp_path / "a", f"#!{tmp_path}/fifo\n".encode())).problem
        assert inspect_program(self.write(tmp_path / "b", b"#!/dev/tty\n")).problem

    @pytest.mark.parametrize(
        ("offset", "size", "count"), [(64, 65535, 65535), (1 << 63, 56, 1), ((1 << 64) - 1, 56, 1), (64, 0, 65535)]
    )
    def test_headers_beyond_what_the_kernel_reads(self, tmp_path: Path, offset: int, size: int, count: int) -> None:
        image = bytearray(elf([3]))
        struct.pack_into("<Q", image, 32, offset)
        struct.pack_into("<HH", image, 54, size, count)
        path = self.write(tmp_path / "big", bytes(image))
        os.truncate(path, 5 << 30)
        assert inspect_program(path).problem

    def test_interpreters_in_a_circle(self, tmp_path: Path) -> None:
        path = tmp_path / "loop"
        assert "too many" in inspect_program(self.write(path, f"#!{path}\n".encode())).problem

    def test_find(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "agent", b"")
        assert find_program("agent", str(tmp_path)) == path
        assert find_program(path) == path
        assert find_program("no-such-agent", str(tmp_path)) is None
        assert find_program(str(tmp_path)) is None, "a directory is not a program"
