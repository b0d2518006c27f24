"""The paths of rings, as they are compared."""

import os


def name_ring(path: str) -> str:
    """Returns the path of a ring as paths are compared: one for all that differ in `//`, `.` and `..` alone. Links are
    not followed."""
    return "/" + os.path.normpath(path).lstrip("/")
