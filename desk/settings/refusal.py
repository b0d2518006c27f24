"""Several things that are wrong with one table, told together."""

from collections.abc import Callable


def check_all(*checks: Callable[[], object]) -> None:
    """Raise what the checks raise: all of it together, as hosttune.config_errors takes it apart."""
    refused = []
    for check in checks:
        try:
            check()
        except ValueError as error:
            refused.append(error)
    if refused:
        from hosttune.config_errors import SeveralRefused  # late: only for what is wrong

        raise SeveralRefused(refused)
