"""A value is tighter where it lets fewer orders pass; no limit has a value that is tighter than itself."""

import pytest

from agent.limits import LIMITS
from desk.sync.tighten import is_tighter


@pytest.mark.parametrize(
    ("limit", "value", "present", "wanted"),
    [
        ("max_size", 3, 8, True),
        ("max_size", 8, 3, False),
        ("max_position", 5, 0, True),
        ("max_position", 0, 5, False),
        ("collar", 0.01, 0.05, True),
        ("duplicate_ms", 20, 0, True),
        ("duplicate_ms", 0, 20, False),
        ("kill", 1, 0, True),
        ("kill", 0, 1, False),
        ("allow_short", 0, 1, True),
        ("allow_short", 1, 0, False),
    ],
)
def test_values(limit: str, value: float, present: float, wanted: bool) -> None:
    assert is_tighter(limit, value, present) is wanted


@pytest.mark.parametrize("limit", LIMITS)
def test_of_two_values_at_most_one_is_tighter(limit: str) -> None:
    about = LIMITS[limit]
    values = {0, about.low, about.low + 1, about.high}
    for one in values:
        assert not is_tighter(limit, one, one)
        for other in values - {one}:
            assert is_tighter(limit, one, other) != is_tighter(limit, other, one)
