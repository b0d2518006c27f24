"""Why a book is stale, in words."""

#: By the number in its symbol's row of the segment (order_book.pxd).
_REASONS = {
    1: "messages were lost",
    2: "no room for more orders",
    3: "no room for more price levels",
    4: "a message contradicts the book",
}


def explain_stale(reason: int) -> str:
    """Returns the reason in words; "" for a book that can be trusted."""
    return _REASONS.get(reason, f"reason {reason}") if reason else ""
