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

def unpack(records: Buffer, index: int) -> dict[str, int]: ...
def pack(fields: dict[str, int]) -> bytes: ...
