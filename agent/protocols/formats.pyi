from typing import Literal, NamedTuple

class Format(NamedTuple):
    name: str
    recording: str
    expected: str
    framing: Literal["binaryfile", "stamped lines", "lines"]
    header: str
    symbol: int
    decimals: int
    quote: str
    ticks: bool

#: All of them.
FORMATS: tuple[Format, ...]
#: Their names in the configuration.
NAMES: tuple[str, ...]

def find(name: str) -> Format: ...
def detect(head: bytes) -> Format | None: ...
