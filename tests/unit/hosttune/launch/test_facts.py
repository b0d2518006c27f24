"""Which threads launch finds on a CPU, and that it says what it could not read."""

from __future__ import annotations

from typing import Any

import pytest

from hosttune.launch import facts
from tests.unit.hosttune import golden

SOURCE = "/proc/*/task/*/{stat,status}"


def read(host: Any, cpus: set[int]) -> Any:
    return facts._read_ordinary(host, frozenset(cpus), frozenset({2, 3}))


@pytest.fixture
def host(fake_host: type[Any]) -> Any:
    return golden.make_host(fake_host)


def test_threads_of_the_fair_class_that_may_run_there(host: Any) -> None:
    assert read(host, {2}).value == ["900 (agent)"]
    assert read(host, {3}).value == []


def test_of_threads_that_run_elsewhere_only_the_affinity_is_read(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger may have ten thousand of them."""
    asked: list[str] = []
    read_file = host.read
    monkeypatch.setattr(host, "read", lambda path: asked.append(path) or read_file(path))
    assert read(host, {3}).value == []
    assert [path for path in asked if path.endswith("/stat")] == []
    assert len(asked) == len(set(asked)) == sum(path.endswith("/status") and "/task/" in path for path in host.files)


@pytest.mark.parametrize("path", ["/proc/900/task", "/proc/900/task/901/status", "/proc/900/task/900/stat"])
def test_a_part_that_was_refused_makes_the_whole_unknown(host: Any, path: str) -> None:
    host.deny(path)
    fact = read(host, {2})
    assert (fact.state, fact.source, fact.reason) == ("unreadable", SOURCE, f"{path}: EACCES")


@pytest.mark.parametrize("text", ["", "garbage", "Name:\tagent\n", "Cpus_allowed_list:\t2-\n"])
def test_a_status_that_is_not_understood_makes_the_whole_unknown(host: Any, text: str) -> None:
    host.files["/proc/900/task/901/status"] = text
    assert read(host, {2}).state == "unreadable"


def test_a_thread_that_has_ended_is_none(host: Any) -> None:
    for name in ("status", "stat"):
        del host.files[f"/proc/900/task/900/{name}"]
    assert read(host, {2}).value == []
