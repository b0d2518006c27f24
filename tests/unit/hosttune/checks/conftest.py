"""Every host that a test of a section makes is also judged through a snapshot of it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosttune import profile
from hosttune.host import snapshot
from hosttune.host.kept import Patterns, reduce_root
from hosttune.host.root import Once, Root
from hosttune.host.snapshot import Recorder, Snapshot


@pytest.fixture(autouse=True)
def through_a_snapshot(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept of a host decides as the host does, and a snapshot decides the same to the letter."""
    directory = tmp_path_factory.mktemp("snapshot")
    for name in profile.built_in_sections():
        module = importlib.import_module(f"hosttune.checks.{name}")
        monkeypatch.setattr(module, "facts", _read_three_times(module, module.facts, directory))
    yield


def _read_three_times(module: Any, read: Any, directory: Path) -> Any:
    def facts(root: Root, wanted: Any) -> Any:
        found = read(root, wanted)
        rules = module.kept(wanted) if hasattr(module, "kept") else {}
        reduced = module.check(wanted, read(Once(reduce_root(root, rules)), wanted), None)
        recorder = Recorder(root, Patterns(rules))
        read(recorder, wanted)
        file = directory / "s.json"
        file.write_bytes(snapshot.encode(recorder.data()))
        assert module.check(wanted, read(Once(reduce_root(Snapshot(str(file)))), wanted), None) == reduced
        if "not UTF-8" not in str(reduced):  # a name that JSON cannot hold makes its directory unknown
            assert _summarise(module.check(wanted, found, None)) == _summarise(reduced)
        return found

    return facts


def _summarise(findings: list[Any]) -> dict[str, Any]:
    return {each.id: (each.status, {name: hop.state for name, hop in each.hops.items()}) for each in findings}
