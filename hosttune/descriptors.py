"""The descriptors 0, 1 and 2, which a caller may have left closed."""

from __future__ import annotations

import os

STANDARD = range(3)


def open_standard() -> None:
    """Open /dev/null at each of the descriptors 0, 1 and 2 that the caller left closed: else the next file to be opened
    would be what the program prints to. Raises OSError."""
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(number, True)
            else:
                os.dup2(null, number)
                os.close(null)
