"""Take a snapshot: read all that a profile of the built-in sections can ask for, and keep it."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from hosttune import profile as profiles
from hosttune import stated
from hosttune.checks import _owners
from hosttune.host import globs, identity
from hosttune.host.kept import Patterns
from hosttune.host.root import Once, Root
from hosttune.host.snapshot import Data, Recorder
from hosttune.profile import PROFILE_D, Profile


def take_snapshot(root: Root, profile: Profile, observe: float | None = None) -> Data:
    """Return a snapshot of the host that `root` shows.

    It holds what this profile and the built-in one ask for, the host's own profile, and what the `sweep`
    function of each section reads for profiles that nobody has written yet. With `observe`, also a second
    sample that many seconds later.
    """
    # Whatever raises below: a check that cannot cope with this host must not stop the snapshot that shows why.
    directories = (f"{PROFILE_D}/*.yml", f"{PROFILE_D}/*.yaml", f"{stated.DIRECTORY}/*.yml")
    profiles_kept = dict.fromkeys(directories, profiles.reduce_file)
    sections = [*profiles.load_built_in().sections, *profile.sections]
    recorder = Recorder(root, Patterns({**profiles.list_kept(sections), **profiles_kept}))
    # As a check does: each path once, so that the processes that are looked at are those of the one list that is kept.
    once = Once(recorder)
    modules = {name: importlib.import_module(f"hosttune.checks.{name}") for name in profiles.built_in_sections()}
    globs.read(once, *profiles_kept)
    for module in modules.values():
        if hasattr(module, "sweep"):
            with contextlib.suppress(Exception):
                module.sweep(once)
    identity.read(once)
    _owners.read(once)
    for section in sections:
        modules[section.name] = section.module
        with contextlib.suppress(Exception):
            section.module.facts(once, section.wanted)
    watchers = [module for module in modules.values() if hasattr(module, "sample")]
    if observe is not None and watchers:
        _sample_all(watchers, _Resampled(recorder, once))
        if second := recorder.later(observe):
            _sample_all(watchers, Once(second[0]))
    return recorder.data()


class _Resampled(Once):
    """Reads the files again, at the time of a sample, of the directories as they were listed before."""

    def __init__(self, root: Root, before: Once) -> None:
        super().__init__(root)
        self.list = before.list


def _sample_all(modules: list[Any], root: Root) -> None:
    for module in modules:
        with contextlib.suppress(Exception):
            module.sample(root)
