"""An engine fed by hand: no feed socket, a strategy in Python, its counters read from its segment."""

import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from agent import _engine, shm, soup

# No example database: a test run leaves nothing in the tree.
settings.register_profile("agent", database=None)
settings.load_profile("agent")

_ON_EVENT = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)

BOOK = b'{"u":7,"s":"BTCUSDT","b":"100.00000000","B":"1.00000000","a":"100.01000000","A":"2.50000000"}'


def mold(sequence: int, *messages: bytes, session: bytes = b"SESSION001", count: int | None = None) -> bytes:
    """A MoldUDP64 downstream packet."""
    blocks = b"".join(len(m).to_bytes(2, "big") + m for m in messages)
    return session + struct.pack(">QH", sequence, len(messages) if count is None else count) + blocks


class Hand:
    """An Engine with what a test needs to drive it; orders: what the strategy returns at each event."""

    def __init__(self, **risk: Any) -> None:
        self.orders: list[tuple[float, int, int, int]] = []
        self.count: int | None = None
        self.calls = 0
        self.segment = bytearray(_engine.SHM_SIZE)
        self._function = _ON_EVENT(self._on_event)
        limits = {"max_size": 100, "max_notional": 0.0, "max_orders_per_second": 10**7, "burst": 10**6}
        self.engine = _engine.Engine(
            self.segment,
            feed=-1,
            address=socket.inet_aton("127.0.0.1"),
            port=1,
            login=soup.login_request("user", "pass"),
            symbol=b"BTCUSDT",
            on_event=ctypes.cast(self._function, ctypes.c_void_p).value,
            state=bytearray(64),
            once=False,
            **(limits | risk),
        )
        self.engine.identify(os.getpid(), shm.start_time(os.getpid()) or 0, 0, b"boot", 0)
        self.sequence = 0

    def _on_event(self, state: int, tick: int, out: int) -> int:
        self.calls += 1
        for i, (price, size, side, symbol) in enumerate(self.orders):
            ctypes.memmove(out + 24 * i, struct.pack("=dqiI", price, size, side, symbol), 24)
        return len(self.orders) if self.count is None else self.count

    def tick(self, received: int = 0) -> None:
        self.sequence += 1
        self.engine.handle(mold(self.sequence, BOOK), received)

    def connect(self, **buffers: int) -> socket.socket:
        """Attach a TCP connection; returns the exchange's end of it."""
        with socket.socket() as server:
            if "rcvbuf" in buffers:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers["rcvbuf"])
            server.bind(("127.0.0.1", 0))
            server.listen(1)
            own = socket.socket()
            if "sndbuf" in buffers:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers["sndbuf"])
            own.connect(server.getsockname())
            peer, _ = server.accept()
        own.setblocking(False)
        peer.settimeout(5)
        self.engine.attach(own.detach())
        return peer

    @property
    def reading(self) -> shm.Segment:
        return shm.decode(bytes(self.segment), "test")

    @property
    def counters(self) -> dict[str, int]:
        """The counters that are not zero."""
        return {name: n for name, n in self.reading.counters.items() if n}


@pytest.fixture
def hand() -> Iterator[Callable[..., Hand]]:
    yield Hand
