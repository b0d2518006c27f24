from typing import Any

from typing_extensions import Buffer

SIZE: int

ENTERED: int
REPLACING: int
ACCEPTED: int
REPLACED: int
EXECUTED: int
CANCELED: int
REJECTED: int
NEVER_REACHED: int
SESSION: int
QUERIED: int
CAUGHT_UP: int
IGNORED: int
CONTRADICTED: int
BROKEN: int
MODIFIED: int
OVER: int
LIMIT_SET: int
LIMIT_RESET: int
who: dict[str, int]

def unpack(records: Buffer, index: int) -> dict[str, Any]: ...
def pack(fields: dict[str, Any]) -> bytes: ...
def explain_contradiction(why: int) -> str: ...
def explain_fault(fault: int, record: dict[str, Any], symbols: int) -> str: ...
def check(records: Buffer, index: int, symbols: int) -> str: ...
def select(records: Buffer, symbols: int, last: int) -> tuple[int, int, str]: ...
