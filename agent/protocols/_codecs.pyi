from typing import Any, Literal

from agent.protocols.itch_layouts import decode as itch_decode
from agent.protocols.itch_layouts import encode as itch_encode

__all__ = [
    "binaryfile_find_records",
    "binaryfile_messages",
    "binaryfile_skip_records",
    "itch_decode",
    "itch_encode",
    "itch_length",
    "itch_parse",
    "read_stamps",
    "stamped_lines",
    "text_lines",
    "tick_parse",
]

def itch_length(type: int) -> int: ...
def itch_parse(data: bytes) -> tuple[str, dict[str, Any]]: ...
def tick_parse(feed_format: str, message: bytes) -> tuple[str, dict[str, Any]]: ...
def binaryfile_skip_records(
    data: bytes | bytearray | memoryview, start: int, final: bool
) -> tuple[int, Literal["done", "more", "cut", "session end", "lost"]]: ...
def binaryfile_find_records(data: bytes | bytearray | memoryview, start: int, final: bool) -> int: ...
def binaryfile_messages(data: bytes) -> tuple[list[bytes], bytes]: ...
def text_lines(data: bytes) -> list[bytes]: ...
def stamped_lines(data: bytes) -> list[tuple[int, bytes] | None]: ...
def read_stamps(stamps: list[int], unit: str = "auto") -> tuple[list[int], int, int]: ...
