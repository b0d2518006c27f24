"""Each file that a check of the tuned host reads is as large as is read: the check takes less than a second."""

from __future__ import annotations

import re
import time

import pytest

from hosttune import checker, profile
from hosttune.host import root
from tests.cpu_time import is_within
from tests.unit.hosttune import broken, golden
from tests.unit.hosttune.conftest import FakeHost

pytestmark = pytest.mark.long

#: Pieces that are repeated; None is what the host's own file holds.
PIECES = (None, "a", "\n", " ", "net.core.a = 1\n", "\x7f\ufffd\x01@#!%[]{}=,:-\n", "9", "0-1,", "a \\\n", "\\", "*")


@pytest.mark.parametrize("piece", PIECES)
def test_no_large_file_takes_a_second(piece: str | None) -> None:
    host = broken.Recorded(golden.make_host(FakeHost))
    wanted = profile.load(None, host)
    checker.run_checks(wanted, host)
    # Of files with the same name but for numbers one does.
    reads = {re.sub(r"\d+", "#", path): (path, fact) for (kind, path), fact in host.asked.items() if kind == "read"}
    for path, fact in reads.values():
        text = piece or fact.value or broken.find_wrong(path) or "a\n"
        large = root.accept_text(text * (root._find_limit(path) // len(text)), path)
        begin = time.process_time()
        checker.run_checks(wanted, broken.OnePath(golden.make_host(FakeHost), "read", path, large))
        assert is_within(time.process_time() - begin, 1), path
