"""Leases of CPUs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hosttune.launch import lease


def test_a_lease_excludes_says_who_and_ends_with_its_descriptor(tmp_path: Path) -> None:
    run = str(tmp_path)
    assert lease.read_holder(run, 3) is None
    held = lease.acquire(run, 3, 4711, ["agent", "run"])
    assert os.get_inheritable(held)
    assert lease.read_holder(run, 3) == "PID 4711 (agent run)"
    with pytest.raises(lease.Taken, match=r"CPU 3 is leased to PID 4711 \(agent run\)"):
        lease.acquire(run, 3, 1, ["other"])
    os.close(lease.acquire(run, 2, 1, ["other"]))
    os.close(held)
    assert lease.read_holder(run, 3) is None
