"""Which of two values of a limit lets fewer orders pass."""

#: The limits of which a larger value lets fewer orders pass.
_LARGER = frozenset({"kill", "refuse_self_match", "duplicate_ms"})


def is_tighter(limit: str, value: float, present: float) -> bool:
    """Returns whether a value of a limit, in the user's units, lets fewer orders pass than the present one: of most
    limits the smaller one, where 0 is no limit (agent/limits.py)."""
    if limit in _LARGER:
        return value > present
    if limit.startswith("allow_"):
        return value < present
    return value != 0 and (present == 0 or value < present)
