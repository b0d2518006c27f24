from typing_extensions import Buffer

class Rebuilt: ...

def rebuild(
    records: Buffer,
    symbols: int,
) -> tuple[int, dict[int, int], list[tuple[int, int, int, int, int, int, int, int, bool]], bytes, int, int, int]: ...
