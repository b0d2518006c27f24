"""The run directory: nobody but root and this user can put anything there, or something else in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hosttune import files
from hosttune.launch import run_directory


def test_it_is_made_whole_and_closed_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run_directory.prepare(str(tmp_path / "above" / "run"))
    finally:
        os.umask(before)
    made = [tmp_path / "above", *(tmp_path / "above").rglob("*")]
    assert {str(path.relative_to(tmp_path)) for path in made} == {
        "above", "above/run", "above/run/launch", "above/run/lease",
    }  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in made} == {0o755}
    run_directory.check(str(tmp_path / "above" / "run"))


@pytest.mark.parametrize("name", ["above", "above/run", "above/run/launch", "above/run/lease"])
def test_each_part_that_others_can_write_to_is_refused(tmp_path: Path, name: str) -> None:
    run = tmp_path / "above" / "run"
    run_directory.prepare(str(run))
    (tmp_path / name).chmod(0o775)
    for refuse in (run_directory.check, run_directory.prepare):
        with pytest.raises(files.UntrustedFile, match="mode 0775"):
            refuse(str(run))


def test_a_sticky_directory_above_is_good_enough(tmp_path: Path) -> None:
    (tmp_path / "above").mkdir()
    (tmp_path / "above").chmod(0o1777)
    run_directory.prepare(str(tmp_path / "above" / "run"))
    (tmp_path / "above" / "run").chmod(0o1777)
    with pytest.raises(files.UntrustedFile, match="mode 1777"):
        run_directory.check(str(tmp_path / "above" / "run"))


def test_a_link_is_no_directory_and_makes_nothing_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "other")
    with pytest.raises(NotADirectoryError):
        run_directory.prepare(str(tmp_path / "run"))
    assert list((tmp_path / "other").iterdir()) == []
    run_directory.prepare(str(tmp_path / "run" / "below"))  # a link of ours on the way


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("name", ["", "run", "link", "other"])
def test_another_users_directory_or_link_on_the_way_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "other" / "run").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "other")
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / name, 12345, 12345, follow_symlinks=False)
    path = {"run": tmp_path / "run", "": tmp_path / "run"}.get(name, tmp_path / "link" / "run")
    with pytest.raises(files.UntrustedFile, match="of user 12345"):
        run_directory.prepare(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_a_chain_of_links_through_anothers_directory_is_refused(tmp_path: Path) -> None:
    """The first link and the last directory are root's; whoever owns what is between decides where the path leads."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "safe" / "run").mkdir(parents=True)
    (tmp_path / "theirs" / "link").symlink_to(tmp_path / "safe")
    (tmp_path / "link").symlink_to(tmp_path / "theirs" / "link")
    run_directory.prepare(str(tmp_path / "link" / "run"))
    os.chown(tmp_path / "theirs", 12345, 12345)
    for refuse in (run_directory.check, run_directory.prepare):
        with pytest.raises(files.UntrustedFile, match="of user 12345"):
            refuse(str(tmp_path / "link" / "run"))
