from typing import Any

from typing_extensions import Buffer

class Rebuilt: ...

class Day:
    day: int
    orders: int
    profit: int
    peak: int
    symbols: dict[int, list[int]]

class Rebuilder:
    def __init__(self, symbols: int) -> None: ...
    def add(self, records: Buffer) -> None: ...
    def save(self) -> list[Any]: ...
    def load(self, saved: list[Any]) -> None: ...
    @property
    def last(self) -> int: ...
    def result(
        self,
    ) -> tuple[
        int,
        dict[int, int],
        list[tuple[int, int, int, int, int, int, int, int, bool]],
        bytes,
        int,
        int,
        dict[str, tuple[int, int, int, int]],
        Day,
        bool,
        list[tuple[int, int, int, int, int, int]],
        int,
        list[tuple[int, int, int, int, int, bool, bool]],
    ]: ...
