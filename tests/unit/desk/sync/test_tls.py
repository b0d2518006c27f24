"""TLS to a real redis-server: the right authority, a wrong one, a wrong name, and a certificate of the client's own."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.agent.drive import free_port
from desk.redis.connect import _check_files
from desk.settings.redis import Redis, Tls

from .certificates import LOOPBACK, Authority
from .driving import MOST, drive, open_loop
from .servers import Server

KEY = "desk:limits:nobody:max_size"


class TlsServer:
    """A redis-server that speaks TLS at a port, and plainly at its Unix socket."""

    def __init__(
        self, folder: Path, *, name: str = "redis.example", clients: str = "no", loopback: bool = True
    ) -> None:
        self.authority = Authority(folder, "authority")
        pair = self.authority.issue(name, *([LOOPBACK] if loopback else []))
        self.port = free_port(socket.SOCK_STREAM)
        self.server = Server(
            folder, "--tls-port", str(self.port), "--tls-cert-file", str(pair.certificate), "--tls-key-file",
            str(pair.key), "--tls-ca-cert-file", str(self.authority.path), "--tls-auth-clients", clients,
        ).start()  # fmt: skip
        self.server.client().set(KEY, 5)

    def settings(self, ca: Path | None = None, **more: Any) -> Redis:
        return Redis(port=self.port, tls=Tls(ca=str(ca or self.authority.path), **more), connect_timeout_ms=400)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[TlsServer]:
    tls = TlsServer(tmp_path)
    yield tls
    tls.server.end()


def test_limits_are_read_by_tls(tmp_path: Path, tls: TlsServer) -> None:
    with open_loop(tmp_path, tls.settings()) as loop:
        drive(loop, lambda: loop.count()["reads"] == 1)
        tls.server.client().set(KEY, "x")  # the invalidation comes by TLS too
        drive(loop, lambda: loop.count()["bad_keys"] == 1)
        assert loop.losses == 0 and loop.longest <= MOST
        tls.server.client().mset({f"desk:limits:nobody:k{number}": 1 for number in range(5000)})
        drive(loop, lambda: loop.count()["unknown_keys"] == 5000)
        assert loop.losses == 0


def test_another_authority_is_refused(tmp_path: Path, tls: TlsServer) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    with open_loop(tmp_path, tls.settings(other.path)) as loop:
        drive(loop, lambda: loop.losses >= 2)
        assert "CERTIFICATE_VERIFY_FAILED" in loop.problem and loop.connections == 0


@pytest.mark.parametrize("check", [True, False])
def test_a_certificate_of_another_host(tmp_path: Path, check: bool) -> None:
    tls = TlsServer(tmp_path, loopback=False)
    try:
        with open_loop(tmp_path, tls.settings(check_hostname=check)) as loop:
            if check:
                drive(loop, lambda: loop.losses >= 2)
                assert "IP address mismatch" in loop.problem and loop.connections == 0
            else:
                drive(loop, lambda: loop.count()["reads"] == 1)
    finally:
        tls.server.end()


@pytest.mark.parametrize("own", [True, False])
def test_a_server_that_wants_the_client_s_certificate(tmp_path: Path, own: bool) -> None:
    tls = TlsServer(tmp_path, clients="yes")
    try:
        pair = tls.authority.issue("desk.example")
        more = {"certificate": str(pair.certificate), "key": str(pair.key)} if own else {}
        with open_loop(tmp_path, tls.settings(**more)) as loop:
            if own:
                drive(loop, lambda: loop.count()["reads"] == 1)
            else:
                drive(loop, lambda: loop.losses >= 2)
                assert loop.count()["reads"] == 0 and "redis 127.0.0.1" in loop.problem
    finally:
        tls.server.end()


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"ca": "/nowhere/ca.pem"}, "tls.ca: /nowhere/ca.pem: No such file"),
        ({"ca": "/dev/null"}, "found a character device"),
        ({"certificate": "/nowhere/a.crt", "key": "/nowhere/a.key"}, "tls.certificate: /nowhere/a.crt: No such file"),
    ],
)
def test_files_that_are_wrong_are_a_loss(tmp_path: Path, tls: TlsServer, files: dict[str, str], wanted: str) -> None:
    settings = Redis(port=tls.port, tls=Tls(**{"ca": str(tls.authority.path), **files}))
    with open_loop(tmp_path, settings) as loop:
        drive(loop, lambda: loop.losses >= 2)
        assert loop.longest <= MOST and wanted in loop.problem


def test_a_server_without_tls(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_STREAM)
    server = Server(tmp_path, "--port", str(port)).start()
    try:
        with open_loop(tmp_path, Redis(port=port, tls=Tls())) as loop:
            drive(loop, lambda: loop.losses >= 2)
            assert "redis 127.0.0.1" in loop.problem and loop.connections == 0 and loop.longest <= MOST
    finally:
        server.end()


def test_a_fifo_makes_nothing_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=r"tls\.ca: .*fifo: found a FIFO"):
        _check_files(Redis(tls=Tls(ca=str(tmp_path / "fifo"))))
