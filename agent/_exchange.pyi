from typing import Any

def run(
    feed: int,
    link: int,
    session: bytes,
    text: bytes,
    offsets: Any,
    due: Any,
    watched: Any,
    intended: Any,
    sent: Any,
    order_tick: Any,
    order_at: Any,
    residue: Any,
    *,
    lockstep: bool,
    spin: bool,
    linger: float,
    timeout: float,
    first: int,
    midnight: int,
) -> dict[str, Any]: ...
