from typing_extensions import Buffer

def rebuild(
    records: Buffer,
) -> tuple[int, dict[int, int], list[tuple[int, int, int, int, int, int, int, int, bool]], bytes, int, int, int]: ...
