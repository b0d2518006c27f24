from collections.abc import Sequence
from typing import Any

LEAST: int
VERSION: int
NAMES: int

def size(symbols: int, capacity: int) -> int: ...
def count(words: Any, index: int) -> int: ...

class Writer:
    def __init__(
        self,
        memory: Any,
        names: Sequence[bytes],
        capacity: int,
        boot_id: bytes = b"",
        pid: int = 0,
        start_time: int = 0,
    ) -> None: ...
    @property
    def address(self) -> int: ...
    def push(self, symbol: int, timestamp: int, price: int, size: int) -> None: ...
