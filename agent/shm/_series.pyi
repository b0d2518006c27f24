from collections.abc import Sequence

from typing_extensions import Buffer

MIN_CAPACITY: int
VERSION: int
NAMES_OFFSET: int
NAME: int
LINE: int
PAGE: int
HEADER_SIZE: int

def size(symbols: int, capacity: int) -> int: ...
def read_header(series: Buffer) -> dict[str, int | bytes]: ...
def load_count(words: Buffer, index: int) -> int: ...

class Writer:
    def __init__(
        self,
        memory: Buffer,
        names: Sequence[bytes],
        capacity: int,
        boot_id: bytes = b"",
        pid: int = 0,
        start_time: int = 0,
    ) -> None: ...
    @property
    def address(self) -> int: ...
    def push(self, symbol: int, timestamp: int, price: int, size: int) -> None: ...
