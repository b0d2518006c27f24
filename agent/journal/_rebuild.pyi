from typing import Any

from typing_extensions import Buffer

class Rebuilt: ...
class Day: ...

class Rebuilder:
    def __init__(self, symbols: int) -> None: ...
    def add(self, records: Buffer) -> None: ...
    def restore(
        self,
        *,
        reference: int,
        positions: dict[int, int],
        open_orders: list[tuple[int, ...]],
        session: bytes,
        sequence: int,
        over: bool,
        executions: list[tuple[int, int, int, int, int, int]],
        contradicted: int,
        records: int,
        limits: dict[str, tuple[int, int, int, int]],
        today: tuple[int, int, int, dict[int, tuple[int, int, int]]],
    ) -> None: ...
    def result(self) -> dict[str, Any]: ...
