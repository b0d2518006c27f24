from collections.abc import Sequence
from typing import Any

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
        orders: int = 1 << 22,
        levels: int = 4096,
        limits: dict[str, int] | None = None,
        owner: Any = None,
    ) -> None: ...
    def limits(self, **values: int) -> None: ...
    def run(self, chunk: bytes) -> int: ...
    @property
    def segment_bytes(self) -> bytes: ...
    @property
    def types(self) -> dict[str, int]: ...
