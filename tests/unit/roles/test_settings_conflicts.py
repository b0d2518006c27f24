"""hosttune_settings: what somebody else does to its files and values in between is reported, and left."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.roles.interrupted import run_killed
from tests.unit.roles.machine import (
    BACKLOG,
    CONFIG,
    FILES,
    PROFILE,
    RECORD,
    RMEM,
    THEIRS,
    Machine,
    files,
    make_machine,
    run,
)

ROOT = os.geteuid() == 0
WANTED = {**FILES, THEIRS: "ours\n"}


def edit(machine: Machine, path: str) -> None:
    machine.write(path, "edited\n")


def remove(machine: Machine, path: str) -> None:
    machine.at(path).unlink()


def replace_by_link(machine: Machine, path: str) -> None:
    machine.at(path).unlink()
    machine.at(path).symlink_to("/etc/hostname")


def replace_by_directory(machine: Machine, path: str) -> None:
    machine.at(path).unlink()
    machine.at(path).mkdir()


def replace_by_fifo(machine: Machine, path: str) -> None:
    machine.at(path).unlink()
    os.mkfifo(machine.at(path))


def grow(machine: Machine, path: str) -> None:
    machine.write(path, b"x" * (files.MOST + 1))


def change_mode(machine: Machine, path: str) -> None:
    machine.at(path).chmod(0o600)


def change_owner(machine: Machine, path: str) -> None:
    os.chown(machine.at(path), 0, 1001)


CHANGES = [edit, remove, replace_by_link, replace_by_directory, replace_by_fifo, grow, change_mode]
CHANGES += [change_owner] if ROOT else []


@pytest.fixture
def theirs(machine: Machine) -> Machine:
    machine.write(THEIRS, "theirs\n")
    machine.at(THEIRS).chmod(0o640)
    return machine


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("path", [THEIRS, CONFIG])
def test_a_revert_leaves_what_somebody_else_changed(theirs: Machine, change: Any, path: str) -> None:
    run(theirs, files=WANTED)
    change(theirs, path)
    before = theirs.tree()
    run(theirs, state="absent", files=WANTED, check=True)
    assert theirs.tree() == before
    for time in (1, 2):
        result = run(theirs, state="absent", files=WANTED)
        # A file that is gone needs no second word, and one of the role's that is gone is what there was before.
        said = change is not remove or (time == 1 and path == THEIRS)
        assert result["left"] == list(result["conflicts"]) == ([path] if said else [])
        assert theirs.tree().get(path) == before.get(path)
    assert (theirs.tree().get(THEIRS, ("",))[0] == b"theirs\n") == (path == CONFIG)


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_no_longer_asked_for_is_left_as_well(theirs: Machine, change: Any) -> None:
    run(theirs, files=WANTED)
    change(theirs, THEIRS)
    before = theirs.tree()
    result = run(theirs)
    assert result["left"] == list(result["conflicts"]) == [THEIRS]
    assert not result["changed"]
    assert theirs.tree().get(THEIRS) == before.get(THEIRS)
    assert run(theirs)["left"] == []  # once
    if change not in (remove,):  # which settles it
        assert json.loads(theirs.text(RECORD))["left"][THEIRS]["content"] == "theirs\n"


def test_what_was_left_and_is_asked_for_again_is_what_the_next_revert_puts_back(theirs: Machine) -> None:
    run(theirs, files=WANTED)
    edit(theirs, THEIRS)
    run(theirs, state="absent", files=WANTED)
    run(theirs, files=WANTED)
    assert theirs.text(THEIRS) == "ours\n"
    assert run(theirs, state="absent", files=WANTED)["left"] == []
    assert theirs.text(THEIRS) == "edited\n"


def test_what_was_left_is_settled_by_its_removal(theirs: Machine) -> None:
    before = theirs.tree()
    run(theirs, files=WANTED)
    edit(theirs, CONFIG)
    assert run(theirs, state="absent", files=WANTED)["left"] == [CONFIG]
    remove(theirs, CONFIG)
    assert run(theirs, state="absent", files=WANTED)["left"] == []
    assert theirs.tree() == before


def test_a_run_in_between_overwrites_and_shows_it_and_keeps_the_original(theirs: Machine) -> None:
    before = theirs.tree()
    run(theirs, files=WANTED)
    edit(theirs, THEIRS)
    theirs.at(THEIRS).chmod(0o644)
    result = run(theirs, files=WANTED)
    assert result["diff"] == [
        {"before_header": THEIRS, "after_header": THEIRS, "before": "edited\n", "after": "ours\n"}
    ]
    run(theirs, state="absent", files=WANTED)
    assert theirs.tree() == before


def test_a_link_is_replaced_and_what_it_led_to_is_not_touched(theirs: Machine) -> None:
    theirs.write("/etc/elsewhere", "elsewhere\n")
    run(theirs, files=WANTED)
    theirs.at(THEIRS).unlink()
    theirs.at(THEIRS).symlink_to(theirs.at("/etc/elsewhere"))
    assert "-> " in run(theirs, files=WANTED)["diff"][0]["before"]
    assert theirs.text("/etc/elsewhere") == "elsewhere\n"
    assert not theirs.at(THEIRS).is_symlink()


def test_a_changed_mode_and_owner_are_shown(theirs: Machine) -> None:
    run(theirs, files=WANTED)
    theirs.at(CONFIG).chmod(0o666)
    assert f"{CONFIG} (mode 0666, " in run(theirs, files=WANTED)["diff"][0]["before_header"]


def test_a_value_that_somebody_else_set_is_left(machine: Machine) -> None:
    run(machine)
    machine.write(BACKLOG, "7\n")
    result = run(machine, state="absent")
    assert result["left"] == [BACKLOG]
    assert "'7'" in result["conflicts"][BACKLOG] and "'1000'" in result["conflicts"][BACKLOG]
    assert machine.value(BACKLOG) == "7" and machine.value(RMEM) == "4096 131072 6291456"
    assert not machine.at(RECORD).exists()


def test_a_value_that_is_no_longer_asked_for_is_left_as_well(machine: Machine) -> None:
    run(machine)
    machine.write(BACKLOG, "7\n")
    assert run(machine, values={})["left"] == [BACKLOG]
    assert machine.value(BACKLOG) == "7" and machine.value(RMEM) == "4096 131072 6291456"


def test_an_edit_after_a_killed_run_is_left_too(theirs: Machine) -> None:
    """Killed at any change between two contents of ours; an edit afterwards is neither of them."""
    for at in range(1, 200):
        machine = make_machine(Path(str(theirs.root), str(at)))
        machine.write(THEIRS, "theirs\n")
        run(machine, files=WANTED)
        finished = run_killed(machine, at, files={**WANTED, THEIRS: "ours too\n"})
        edit(machine, THEIRS)
        assert run(machine, state="absent")["left"] == [THEIRS]
        assert machine.text(THEIRS) == "edited\n"
        if finished:
            return
    pytest.fail("never came to the end")


# The tree of a host that the release before tuned, and what was there before it.
OLD = {
    "directories": ["/etc/hosttune", "/etc/hosttune/profile.d"],
    "files": {CONFIG: None, PROFILE: None, THEIRS: {"content": "theirs \udcff\n", "mode": "0640"}},
    "pending": False,
    "values": {BACKLOG: "1000", RMEM: "4096 131072 6291456"},
}


@pytest.fixture
def old(machine: Machine) -> Machine:
    for path, text in WANTED.items():
        machine.write(path, text)
    machine.write(BACKLOG, "16384\n")
    machine.write(RECORD, json.dumps(OLD, indent=1, sort_keys=True) + "\n")
    machine.at(RECORD).chmod(0o600)
    return machine


@pytest.mark.parametrize("again", [False, True])
def test_a_host_that_an_earlier_release_tuned_is_reverted(old: Machine, again: bool) -> None:
    if again:
        assert not run(old, files=WANTED, values={BACKLOG: 16384, RMEM: [4096, 131072, 6291456]})["changed"]
    assert run(old, state="absent", files=WANTED)["left"] == []
    assert old.at(THEIRS).read_bytes() == b"theirs \xff\n"
    assert old.at(THEIRS).stat().st_mode & 0o7777 == 0o640
    assert old.value(BACKLOG) == "1000"
    assert not [path for path in old.tree() if "hosttune" in path]


def test_an_edit_of_what_an_earlier_release_wrote_is_left_once_a_run_saw_it(old: Machine) -> None:
    run(old, files=WANTED, values={})
    edit(old, THEIRS)
    assert run(old, state="absent", files=WANTED)["left"] == [THEIRS]


def test_no_special_rights_are_given_where_the_owner_was_not_kept(old: Machine) -> None:
    record = json.loads(old.text(RECORD))
    record["files"][THEIRS]["mode"] = "4755"
    old.write(RECORD, json.dumps(record))
    run(old, state="absent", files=WANTED)
    assert old.at(THEIRS).stat().st_mode & 0o7777 == 0o755


PLACES = [CONFIG, PROFILE, THEIRS, "/etc/systemd/system/demo.service.d/a.conf", "/etc/default/links"]
CONTENTS = ["", "one\n", "two\n", {"link": "/dev/null"}]


class Settled(RuleBasedStateMachine):
    """The store and a model of it: per path what is there, what was there first, and what was written last."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.there: dict[str, Any] = {THEIRS: "theirs\n"}
        self.first: dict[str, Any] = {}
        self.written: dict[str, Any] = {}
        self.left: dict[str, Any] = {}

    @initialize()
    def begin(self) -> None:
        self.machine = make_machine(self.directory / "host")
        self.machine.write(THEIRS, "theirs\n")
        self.machine.at("/etc/systemd/system").mkdir(parents=True)
        self.untouched = self.machine.tree()

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    def drop(self, kept: dict[str, Any]) -> None:
        for path in [path for path in self.first if path not in kept]:
            first, written = self.first.pop(path), self.written.pop(path)
            if self.there.get(path) == first:
                continue
            if self.there.get(path) == written:
                self.there[path] = first
            else:
                self.left[path] = first
        for path, first in list(self.left.items()):
            if self.there.get(path) in (None, first):
                del self.left[path]

    def expect(self, wanted: dict[str, Any]) -> None:
        self.drop(wanted)
        for path, content in wanted.items():
            if path not in self.first:
                self.first[path] = self.there.get(path)
                self.left.pop(path, None)
            self.there[path] = self.written[path] = content

    wishes = st.dictionaries(st.sampled_from(PLACES), st.sampled_from(CONTENTS), min_size=1)

    @rule(wanted=wishes, at=st.none() | st.integers(1, 60))
    def ask(self, wanted: dict[str, Any], at: int | None) -> None:
        if at is not None:
            run_killed(self.machine, at, files=wanted, values={})
        run(self.machine, files=wanted, values={})
        self.expect(wanted)

    @rule(at=st.none() | st.integers(1, 60))
    def revert(self, at: int | None) -> None:
        if at is not None:
            run_killed(self.machine, at, state="absent", files={}, values={})
        left = run(self.machine, state="absent", files={}, values={})["left"]
        self.drop({})
        gone = [path for path in left if self.there.get(path) is None]
        assert sorted(set(left) - set(gone)) == sorted(self.left)

    @rule(path=st.sampled_from(PLACES), content=st.sampled_from(["edited\n", "one\n", {"link": "/dev/null"}, None]))
    def interfere(self, path: str, content: Any) -> None:
        # A file of our name where there is no record is taken for one that came with an image.
        if content is not None and "hosttune" in path and self.there.get(path) is None:
            return
        place = self.machine.at(path)
        if place.is_symlink() or place.exists():
            place.unlink()
        if isinstance(content, dict):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(content["link"])
        elif content is not None:
            self.machine.write(path, content)
        self.there[path] = content

    @precondition(lambda self: hasattr(self, "machine"))
    @invariant()
    def holds(self) -> None:
        for path in PLACES:
            entry = self.machine.look(path)
            content = self.there.get(path)
            if isinstance(content, dict):
                assert entry and entry.get("link") == content["link"], path
            else:
                assert (entry and entry.get("content")) == content, path
        assert not [path for path in self.machine.tree() if files.DRAFT.search(path) or path.endswith("/lock")]
        if not self.first and not self.left:
            assert not [path for path in self.machine.tree() if "/var/lib/hosttune" in path]


TestSettled = Settled.TestCase
TestSettled.settings = hypothesis_settings(max_examples=60, stateful_step_count=12, deadline=None)
