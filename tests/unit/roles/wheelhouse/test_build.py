"""hosttune_wheelhouse/build.py: what is built again, and what is kept."""

import os
from pathlib import Path

import pytest

from tests.unit.roles.wheelhouse.examples import build, host, wheel, wheels


def test_sources_decide_whether_to_build_again(tmp_path: Path) -> None:
    (tmp_path / "hosttune").mkdir()
    (tmp_path / "hosttune" / "a.py").write_text("1")
    before = build.sources_digest(tmp_path, host())
    (tmp_path / "README.md").write_text("changes nothing that runs")
    (tmp_path / "hosttune" / "__pycache__").mkdir()
    (tmp_path / "hosttune" / "__pycache__" / "a.pyc").write_text("x")
    assert build.sources_digest(tmp_path, host()) == before
    assert build.sources_digest(tmp_path, host(python="3.12")) != before
    (tmp_path / "hosttune" / "a.py").rename(tmp_path / "hosttune" / "b.py")
    assert build.sources_digest(tmp_path, host()) != before


def test_our_wheel_is_compiled_once_for_all_who_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, kept = tmp_path / "tree", tmp_path / "kept"
    (tree / "hosttune").mkdir(parents=True)
    kept.mkdir()
    (tree / "pyproject.toml").write_text("[project]")

    def build_own(tree: Path, work: Path, programs: Path) -> Path:
        assert programs == kept / "bin"
        if (tree / "hosttune" / "wrong.py").exists():
            raise wheels.Broken("it does not compile")
        (work / "own").mkdir()
        return wheel(work / "own", "hosttune-0.1.0")

    monkeypatch.setattr(build, "build_own", build_own)
    monkeypatch.setattr(build, "build_tools", lambda tree, directory: directory / "bin")
    first, compiled = build.own_wheel(tree, kept)
    assert compiled and first.is_file()
    assert build.own_wheel(tree, kept) == (first, False)
    (tree / "hosttune" / "wrong.py").touch()
    with pytest.raises(wheels.Broken):
        build.own_wheel(tree, kept)
    assert first.is_file() and os.listdir(kept) == [first.parent.name]
    (tree / "hosttune" / "wrong.py").rename(tree / "hosttune" / "right.py")
    second, compiled = build.own_wheel(tree, kept)
    assert compiled and second.is_file() and os.listdir(kept) == [second.parent.name] != [first.parent.name]
