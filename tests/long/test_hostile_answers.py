"""Hostile answers: engine, journal and a slow model agree on every position and open order, over HOSTILE_SEQUENCES
(10,000) generated sequences from HOSTILE_FIRST (100,000) on."""

import os
from pathlib import Path

import pytest

from ..unit.agent.hostile_exchange import Sequence

pytestmark = pytest.mark.long
FIRST, COUNT = int(os.environ.get("HOSTILE_FIRST", "100000")), int(os.environ.get("HOSTILE_SEQUENCES", "10000"))


def test_engine_journal_and_model_agree(tmp_path: Path) -> None:
    shut = 0
    for seed in range(FIRST, FIRST + COUNT):
        sequence = Sequence(seed, tmp_path)
        try:
            sequence.run(40)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
        shut += sequence.contradictions
    # Both kinds of sequences were there.
    assert COUNT // 4 < shut < COUNT * 3 // 4
