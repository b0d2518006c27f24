"""The data plane, for Python: one thread, run to completion, without the GIL from start to stop."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

def lock_memory() -> bool: ...

class Engine:
    def __init__(
        self,
        segment: Any,
        *,
        strategy: int,
        state: int,
        symbols: Sequence[bytes],
        traded: Sequence[bool] | None = None,
        exchange_names: Sequence[bytes] | None = None,
        feed_format: str = "binance",
        time_unit: str = "auto",
        feeds: Sequence[int] = (-1, -1, -1),
        address: bytes = b"\x7f\0\0\1",
        port: int = 1,
        user: bytes = b"",
        password: bytes = b"",
        orders: int = 0,
        levels: int = 0,
        store: int = 1 << 20,
        wait_ns: int = 0,
        limit_ns: int = 1_000_000_000,
        start: int = 0,
        sources: tuple[bytes, bytes, bytes] = (b"", b"", b""),
        feed_session: bytes = b"",
        silence_ns: int = 3_000_000_000,
        max_jump: int = 1_000,
        once: bool = False,
        stamps: bool = False,
        receive_stamps: bool = False,
        give_up_after_ns: int = 0,
        yield_every_ns: int = 0,
        yield_ns: int = 0,
        timer_ns: int = 0,
        warm_ns: int = 0,
        market_code: bytes = b"Q",
    ) -> None: ...
    def identify(self, pid: int, start_time: int, started_ns: int, boot_id: bytes, receive_buffer: int) -> None: ...
    def limits(self, **values: int) -> None: ...
    def restore_limits(self, *, killed: bool, uid: int, login: int, **values: int) -> None: ...
    def attach_memory(self, *, journal: Any = None, feed: Any = None, series: Any = None) -> None: ...
    def restore(
        self,
        *,
        reference: int,
        positions: Iterable[tuple[int, int]],
        open_orders: Iterable[tuple[int, ...]],
        session: bytes,
        sequence: int,
        over: bool,
        executions: Iterable[tuple[int, ...]],
        contradicted: int,
        records: int,
        today: Any = None,
    ) -> None: ...
    def handle_datagram(self, data: bytes, received: int = 0, line: int = 0) -> None: ...
    def do_housekeeping(self, at: int = 0) -> None: ...
    def attach_socket(self, descriptor: int) -> None: ...
    def step_session(self) -> None: ...
    def run(self, announce: Callable[[], object] | None = None) -> tuple[str, int]: ...
