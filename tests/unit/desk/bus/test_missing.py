"""Sources of `desk run` whose file is not there, or is none."""

import os
from pathlib import Path

import pytest

from agent.journal.errors import JournalError
from agent.journal.follow import Follower
from agent.shm.ring import Ring

from .conftest import LIMIT, Start

EMPTY = "@on(SourceEnded)\ndef nothing(event, bus): ...\n"


@pytest.mark.parametrize("kind", ["rings", "journals"])
def test_a_file_that_is_not_there_is_named_until_it_is(start: Start, directory: Path, kind: str) -> None:
    path = directory / "one"
    run = start(EMPTY, f'[run.mine]\n{kind} = [{{name = "one", file = "{path}"}}]\n')
    found = run.wait_for(lambda found: found.texts["problem"])
    assert f"source one: {path}: is not there" in found.texts["problem"]
    if kind == "rings":
        with Ring.create(path, 4096, 8):
            run.wait_for(lambda found: not found.texts["problem"])
            assert run.report()["ok"]
    else:
        assert not run.report(1)["ok"]


def test_a_journal_of_the_past_that_is_not_there_was_not_read(start: Start, directory: Path) -> None:
    path = directory / "one"
    run = start(EMPTY, f'[run.mine]\njournals = [{{name = "one", file = "{path}", follow = false}}]\n', ready=False)
    _, err = run.process.communicate(timeout=LIMIT)
    assert run.process.returncode == 1
    assert f"source one has ended: {path}: is not there" in err


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_can_be_no_journal_is_refused(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(JournalError, match=f"{path}: .*allowed: a regular file"), Follower(path) as follower:
        follower.read(1)
