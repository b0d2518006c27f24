"""The bench of receiving: what it counts, and that it does not take a loss for a number."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.protocols import itch_layouts as itch
from benchmarks.agent import drive, machine, receive
from benchmarks.agent.sample import BenchError, Sample

two_cpus = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: both sides spin")


def play(directory: Path) -> list[Sample]:
    """Returns the samples of a round: of the first, on a busy machine, in which the kernel dropped nothing."""
    lost: list[str] = []
    while len(lost) < 10:
        plays = receive.rounds(directory)
        try:
            return next(plays)
        except BenchError as error:
            assert " were lost" in str(error)
            lost.append(str(error))
        finally:
            plays.close()  # type: ignore[attr-defined]
    raise AssertionError(lost)


@two_cpus
def test_every_part_gives_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PACKETS": 2000, "PACED": 0.1, "MESSAGES": 20_000.0, "MESSAGES_FOR": 0.2, "ORDERS": 2000.0,
                        "ORDERS_FOR": 0.3, "BUFFER": 8 << 20, "SLICES": 1}.items():  # fmt: skip
        monkeypatch.setattr(receive, name, value)
    samples = play(tmp_path)
    assert [s.metric for s in samples] == [
        "flood",
        "queued",
        "half the flood, 0.1 s",
        "messages, 10 to a datagram",
        "orders accepted",
    ]
    assert all(s.better == "higher" and s.ours > 0 and s.reference > 0 for s in samples)
    assert [s.metric for s in samples if s.bar is None] == ["queued"]


def received(directory: Path, first: int, packets: int, messages: int, rate: float = 0) -> list[bytes]:
    """The datagrams of one run of the sender."""
    sender, cpu = machine.build("sender", directory), min(os.sched_getaffinity(0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(5.0)
        sent = receive.send(sender, cpu, s.getsockname()[1], first, packets, messages, rate)
        assert sent.ended > sent.begun
        return [s.recv(2048) for _ in range(packets)]


def test_the_sender_sends_moldudp64_of_itch(tmp_path: Path) -> None:
    found, at = [], 1
    for datagram in received(tmp_path, 1, 20, 10):
        assert datagram[:10] == receive.SESSION.encode()
        assert datagram[10:20] == at.to_bytes(8, "big") + (10).to_bytes(2, "big")
        place = 20
        for _ in range(10):
            size = int.from_bytes(datagram[place : place + 2], "big")
            found.append(datagram[place + 2 : place + 2 + size])
            place += 2 + size
        assert place == len(datagram)
        at += 10
    assert b"".join(m[:1] for m in found[:10]) == b"AAAUEDAUED"
    assert [int.from_bytes(m[5:11], "big") for m in found] == list(range(1, 201))
    assert all(len(m) == itch.LAYOUTS[chr(m[0])].size for m in found)
    # The same messages, however they are put into datagrams.
    assert [d[22:] for d in received(tmp_path, 1, 20, 1)] == found[:20]


def test_the_sender_keeps_its_rate(tmp_path: Path) -> None:
    begun = time.monotonic()
    received(tmp_path, 1, 100, 1, 1000.0)
    assert time.monotonic() - begun >= 0.099


def test_a_loss_is_an_error() -> None:
    counters = {"datagrams": 10, "messages": 10, "itch": 10, "events": 10} | dict.fromkeys(
        ("lost", "gaps", "duplicates", "kernel_drops", "malformed_datagram", "book_inconsistent", "orders_wanted"), 0
    )
    receive.nothing_lost(counters, 10, 10)
    with pytest.raises(BenchError, match="messages 9, not 10, itch 9, not 10"):
        receive.nothing_lost(counters | {"messages": 9, "itch": 9}, 10, 10)
    with pytest.raises(BenchError, match="kernel_drops 1, not 0"):
        receive.nothing_lost(counters | {"kernel_drops": 1}, 10, 10)


def test_a_count_is_waited_for_while_it_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "STALLS", 0.3)
    path = tmp_path / "count"
    path.write_bytes(bytes(8) + (4).to_bytes(8, "little"))
    count = drive.Count(path, 8)
    assert count.value == 4 and count.reach(4) <= time.monotonic_ns()

    def write() -> None:
        for n in range(5, 9):
            time.sleep(0.1)
            with path.open("r+b") as file:
                file.seek(8)
                file.write(n.to_bytes(8, "little"))

    thread = threading.Thread(target=write)
    thread.start()
    count.reach(8)
    thread.join()
    with pytest.raises(BenchError, match="2 of 10 were lost"):
        count.reach(10)


def test_a_program_that_does_not_start_says_why() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no luck today')"]
    with pytest.raises(BenchError, match="did not start: no luck today"), drive.program(command):
        pass


def test_a_program_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with drive.program([sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(60)"]) as child:
        assert child.poll() is None
    assert child.returncode == -15


def test_the_exchange_takes_a_login() -> None:
    with drive.exchange() as port, socket.create_connection(("127.0.0.1", port)) as link:
        link.settimeout(5.0)
        link.sendall(b"\0\x2fL" + b" " * 46)
        assert link.recv(33, socket.MSG_WAITALL) == b"\0\x1fA" + b"1".rjust(10) + b"1".rjust(20)
        link.sendall(b"\0\2UQ")
        assert link.recv(16, socket.MSG_WAITALL) == b"\0\x0eSQ" + bytes(8) + b"\0\0\0\1"
        assert link.recv(3, socket.MSG_WAITALL) == b"\0\1H"


def test_the_receiver_counts(tmp_path: Path) -> None:
    program, cpu = machine.build("receiver", tmp_path), min(os.sched_getaffinity(0))
    port, path = drive.free_port(socket.SOCK_DGRAM), tmp_path / "count"
    path.write_bytes(bytes(8))
    with (
        drive.program([str(program), str(port), str(cpu), "65536", str(path)]),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s,
    ):
        for _ in range(50):
            s.sendto(b"x", ("127.0.0.1", port))
        drive.Count(path).reach(50)
    assert subprocess.run([str(program)]).returncode == 2
