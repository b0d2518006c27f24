"""Columns are counted as a terminal shows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.report.columns import clip, measure, pad


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("µs", 2), ("e\u0301", 1), ("a\u20dd", 1), ("\uff21", 2), ("日本", 4), ("\U0001f600", 2)],
)
def test_a_width_is_that_of_a_terminal(text: str, width: int) -> None:
    assert measure(text) == width


@given(st.text(), st.integers(3, 40))
def test_a_clipped_text_has_room_and_a_padded_one_is_full(text: str, width: int) -> None:
    shown = clip(text, width)
    assert measure(shown) <= width
    assert measure(pad(shown, width)) == width
    assert shown == text or (shown.endswith("...") and text.startswith(shown[:-3]))
