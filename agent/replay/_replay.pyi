from collections.abc import Sequence
from typing import Any

OWN_WORDS: tuple[str, ...]

class Replay:
    capacity: int
    def __init__(
        self,
        *,
        strategy: int,
        state: int,
        symbols: Sequence[bytes] = (),
        capacity: int = 16384,
        feed_format: str = "itch",
        time_unit: str = "auto",
        orders: int = 1 << 22,
        levels: int = 4096,
        limits: dict[str, int] | None = None,
        owner: Any = None,
        watched: Sequence[str] = (),
        unknown_orders: bool = False,
        exchange: bool = False,
        exchange_names: Sequence[bytes] | None = None,
        feed_time_unit: str = "auto",
        timer_ns: int = 0,
        keep_orders: bool = False,
    ) -> None: ...
    def limits(self, **values: int) -> None: ...
    def run(self, chunk: bytes, byte: int = 0, lines_before: int = 0) -> int: ...
    def take_orders(self) -> list[tuple[int, int, bytes]]: ...
    @property
    def segment_bytes(self) -> bytes: ...
    @property
    def time_unit(self) -> str | None: ...
    @property
    def types(self) -> dict[str, int]: ...
    @property
    def first_places(self) -> dict[str, tuple[int, int, int, int, int, bytes]]: ...
    @property
    def failed_with(self) -> int: ...
    @property
    def unknown_references(self) -> int: ...
    @property
    def unknown_by_symbol(self) -> dict[int, int]: ...
    @property
    def unnamed(self) -> list[tuple[int, int, int]]: ...
    @property
    def seen_symbols(self) -> set[int]: ...
