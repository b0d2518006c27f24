"""Each parser of a host's files on a tenth of what it may get; `make test-long` gives it all."""

import pytest

from tests.cpu_time import is_within
from tests.long import bombs_host

SHARE = 10


@pytest.mark.parametrize("name", sorted(bombs_host.find_parsers()))
def test_a_tenth_of_what_a_parser_may_get(name: str) -> None:
    """Within a fifth of the time: what grows with the square of a text takes much longer already."""
    slow: dict[str, float] = {}
    for _ in range(3):  # the machine's speed changes from one moment to the next
        slow = {shape: took for shape, took in bombs_host.measure(name, SHARE).items() if not is_within(took, 0.4)}
        if not slow:
            break
    assert slow == {}


def test_every_parser_is_called_with_what_it_takes() -> None:
    """A parser that wants more than a text would only ever raise TypeError."""
    for name, parser in bombs_host.find_parsers().items():
        try:
            parser("2-3")
        except ValueError:
            continue
        except TypeError as error:
            raise AssertionError(f"{name} needs an entry in CALLS: {error}") from None
