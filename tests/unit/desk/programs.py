"""Programs that the tests start: of this machine, or those that tools/setup has unpacked."""

import pytest

from benchmarks.desk.programs import Program, search_program


def find_program(name: str) -> Program:
    """Returns the program of this name. Skips the test where there is none."""
    if (found := search_program(name)) is None:
        pytest.skip(f"needs {name}, which tools/setup unpacks")
    return found
