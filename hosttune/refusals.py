"""What a `__post_init__` raises for what its struct does not take, and :mod:`hosttune.config_errors` takes apart."""

from collections.abc import Callable

#: The way to a value: names of keys, and indices in lists.
Key = tuple[str | int, ...]


class KeyRefused(ValueError):
    """For a value below the struct: `key` is the way to it from there."""

    def __init__(self, key: Key, words: str) -> None:
        super().__init__(words)
        self.key = key


class SeveralRefused(ValueError):
    """For more than one thing that is wrong: `refused` are what would have been raised for each, also for each of
    several, of which the message is the first's."""

    def __init__(self, refused: list[ValueError]) -> None:
        super().__init__(str(refused[0]))
        self.refused: list[ValueError] = [
            each for one in refused for each in (one.refused if isinstance(one, SeveralRefused) else [one])
        ]


def check_all(*checks: Callable[[], object]) -> None:
    """Raise what the checks raise: all of it together."""
    refused = []
    for check in checks:
        try:
            check()
        except ValueError as error:
            refused.append(error)
    if refused:
        raise SeveralRefused(refused)
