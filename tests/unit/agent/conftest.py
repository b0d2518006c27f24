"""An engine fed by hand: no feed socket, a strategy in Python, its counters read from its segment."""

import ctypes
import os
import socket
import struct
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

from agent.engine import _engine
from agent.shm import _segment, identity
from agent.shm import segment as shm

from .stage import Stage

# No example database: a test run leaves nothing in the tree. The same examples each time, unless HYPOTHESIS_RANDOM is
# set: what fails is then a change's doing.
settings.register_profile("agent", database=None, deadline=None, derandomize="HYPOTHESIS_RANDOM" not in os.environ)
settings.load_profile("agent")

_INIT = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)
_ON_EVENT = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_ON_TIMER = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
_FINI = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

#: struct agent_event, agent_order and agent_fill of agent_strategy.h, and the first words of agent_strategy.
EVENT = struct.Struct("=QqqqqqqqqqIIqqIIIIII")
ORDER = struct.Struct("=dqQQiIII")
FILL = struct.Struct("=QQqqqqdiIII")
TABLE = struct.Struct("@IIQQPPPPP")

ENTER, REPLACE, CANCEL = 0, 1, 2

BOOK = b'{"u":7,"s":"BTCUSDT","b":"100.00000000","B":"1.00000000","a":"100.01000000","A":"2.50000000"}'


def mold(sequence: int, *messages: bytes, session: bytes = b"SESSION001", count: int | None = None) -> bytes:
    """A MoldUDP64 downstream packet. The update id of BOOK counts up with the sequence number: a repeated one is no
    quote."""
    numbered = [m.replace(b'{"u":7,', b'{"u":%d,' % min(7 + sequence + i, 2**63 - 1)) for i, m in enumerate(messages)]
    blocks = b"".join(len(m).to_bytes(2, "big") + m for m in numbered)
    return session + struct.pack(">QH", sequence, len(messages) if count is None else count) + blocks


def order(
    price: float = 100.01,
    size: int = 5,
    side: int = 1,
    symbol: int = 0,
    *,
    action: int = ENTER,
    id: int = 0,
    tag: int = 0,
) -> bytes:
    """A struct agent_order."""
    return ORDER.pack(price, size, id, tag, side, symbol, action, 0)


class Event(NamedTuple):
    sequence: int
    received_ns: int
    exchange_ns: int
    exchange_id: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    price: int
    size: int
    kind: int
    symbol: int
    collar_low: int
    collar_high: int
    state: int
    market: int
    short_sale: int
    auction: int
    breached: int
    day: int


class Fill(NamedTuple):
    id: int
    tag: int
    received_ns: int
    size: int
    leaves: int
    position: int
    price: float
    side: int
    symbol: int
    kind: int
    reason: int


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as stage:
        yield stage


def _weakly(method: Callable[..., int]) -> Callable[..., int]:
    """A function that calls a method and does not keep its object."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> int:
        method = reference()
        assert method is not None, "the engine has outlived its Hand"
        return method(*arguments)

    return call


class Hand:
    """An Engine with what a test needs to drive it; orders: what the strategy returns at each event."""

    def __init__(self, *, symbols: tuple[bytes, ...] = (b"BTCUSDT",), limits: Any = None, **options: Any) -> None:
        self.orders: list[bytes | tuple[Any, ...]] = []
        self.on_fill: list[bytes] = []
        self.on_timer: list[bytes] = []
        self.count: int | None = None
        self.events: list[Event] = []
        self.fills: list[Fill] = []
        self.timers = 0
        self.segment = bytearray(_segment.size(len(symbols)))
        # Weak: nothing else is in a circle with the engine, whose tables are megabytes and go with its last user.
        event, fill, timer = (_weakly(method) for method in (self._event, self._fill, self._timer))
        self._functions = (_INIT(lambda state, params: 0), _ON_EVENT(event), _ON_EVENT(fill), _ON_TIMER(timer),
                           _FINI(lambda state: None))  # fmt: skip
        addresses = [ctypes.cast(f, ctypes.c_void_p).value for f in self._functions]
        self._table = ctypes.create_string_buffer(TABLE.pack(3, TABLE.size, 0, 64, *addresses))
        self._state = ctypes.create_string_buffer(64)
        self.engine = _engine.Engine(
            self.segment,
            strategy=ctypes.addressof(self._table),
            state=ctypes.addressof(self._state),
            symbols=list(symbols),
            **options,
        )
        self.engine.limits(**({"max_size": 100} | (limits or {})))
        self.engine.identify(*identity.own(), 0, b"boot", 0)
        self.sequence = 0

    def _write(self, out: int, orders: Sequence[bytes | tuple[Any, ...]]) -> int:
        for i, item in enumerate(orders):
            data = item if isinstance(item, bytes) else order(*item)
            ctypes.memmove(out + ORDER.size * i, data, ORDER.size)
        return len(orders) if self.count is None else self.count

    def _event(self, state: int, event: int, out: int) -> int:
        self.events.append(Event._make(EVENT.unpack(ctypes.string_at(event, EVENT.size))))
        return self._write(out, self.orders)

    def _fill(self, state: int, fill: int, out: int) -> int:
        self.fills.append(Fill(*FILL.unpack(ctypes.string_at(fill, FILL.size))))
        return self._write(out, self.on_fill)

    def _timer(self, state: int, at: int, out: int) -> int:
        self.timers += 1
        return self._write(out, self.on_timer)

    @property
    def calls(self) -> int:
        """How often the strategy was asked."""
        return len(self.events)

    def tick(self, received: int = 0) -> None:
        self.sequence += 1
        self.engine.handle_datagram(mold(self.sequence, BOOK), received)

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
        self.engine.attach_socket(own.detach())
        return peer

    def settle(self, answers: int) -> None:
        """Look at the exchange until so many more of its messages were read; at most 5 s."""
        wanted, limit = self.reading.counters["exchange_sequence"] + answers, time.monotonic() + 30
        while self.reading.counters["exchange_sequence"] < wanted:
            assert time.monotonic() < limit
            self.engine.step_session()

    def wait(self, done: Callable[[], object]) -> None:
        """Until the loop, in another thread, has done something; at most 30 s."""
        limit = time.monotonic() + 30
        while not done():
            assert time.monotonic() < limit
            time.sleep(0.001)

    def set_limits(self, **values: int) -> None:
        """What `agent limits` does, on the bytes of the segment."""
        self.engine.limits(**values)

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
