"""Times in milliseconds, microseconds and nanoseconds, told by their size or by the option, against datetime."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocols import _codecs

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCALES = {"ms": 10**6, "us": 10**3, "ns": 1}
FIRST, BEHIND = 10**9, int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
stamps = st.integers(0, 2**63 - 1) | st.integers(1, 18).flatmap(
    lambda n: st.integers(10**n, min(10 ** (n + 1), 2**63 - 1))
)


def tell(stamp: int) -> str | None:
    """The one unit in which a stamp is of the years 2001 to 2099, if any."""
    found = []
    for unit, scale in SCALES.items():
        seconds = stamp * scale // 10**9
        if seconds < BEHIND and EPOCH + timedelta(seconds=seconds) >= datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC):
            found.append(unit)
    assert len(found) <= 1
    return found[0] if found else None


@given(st.lists(stamps, max_size=30))
def test_the_unit_is_told_by_the_size(given: list[int]) -> None:
    units = [tell(stamp) for stamp in given]
    expected = [stamp * SCALES[unit] if unit else stamp for stamp, unit in zip(given, units, strict=True)]
    known = [unit for unit in units if unit]
    mixed = sum(a != b for a, b in itertools.pairwise(known))
    assert _codecs.read_stamps(given) == (expected, mixed, units.count(None))


@given(st.lists(stamps, max_size=30), st.sampled_from(list(SCALES)))
def test_a_given_unit_is_believed(given: list[int], unit: str) -> None:
    scale = SCALES[unit]
    fit = [stamp * scale < 2**63 for stamp in given]
    expected = [stamp * scale if fits else stamp for stamp, fits in zip(given, fit, strict=True)]
    mixed = sum(tell(stamp) not in (None, unit) for stamp in given)
    assert _codecs.read_stamps(given, unit) == (expected, mixed, fit.count(False))


@pytest.mark.parametrize(
    ("stamp", "ns"),
    [
        (1_723_161_255_208, 1_723_161_255_208_000_000),
        (1_723_161_255_208_123, 1_723_161_255_208_123_000),
        (1_723_161_255_208_123_456, 1_723_161_255_208_123_456),
        (1_000_000_000_000, 10**18),
        (999_999_999_999, 999_999_999_999),
        (BEHIND * 1000 - 1, BEHIND * 10**9 - 10**6),
        (BEHIND * 1000, BEHIND * 1000),
        (34_200_000_000_000, 34_200_000_000_000),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_edges(stamp: int, ns: int) -> None:
    assert _codecs.read_stamps([stamp])[0] == [ns]


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^time_unit: 's', allowed: auto, ms, us, ns$"):
        _codecs.read_stamps([1], "s")
