from typing import Any

from desk.worker._table import Table

BUSY: int
EMPTY: int
FULL: int
DAMAGED: int
NONSENSE: int

def explain_signals(texts: dict[int, bytes]) -> None: ...
def enter_module(inside: bool) -> None: ...

class Pump:
    records: int
    results: int
    batches: int
    waits: int
    waited_ns: int
    returned: int
    def __init__(self, table: Table, state: int, source: Any, target: Any, batch: int, nap: int) -> None: ...
    def run(self, slice_ns: int, hurry_ns: int = -1) -> int: ...
