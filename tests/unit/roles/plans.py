"""The modules of plugins/plugin_utils, as the action plugin loads them."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import hosttune  # noqa: F401  # the installed one, for the tests after these: the plugin takes it if it is there

pytest.importorskip("ansible.plugins.action")

ACTION = Path(__file__).resolve().parents[3] / "plugins" / "action" / "hosttune_plan.py"


def _action() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hosttune_plan", ACTION)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


action = _action()
cpu_isolation_plan = action.load("cpu_isolation")
hugepages_plan = action.load("hugepages")
irq_affinity_plan = action.load("irq_affinity")
cpu_lists = importlib.import_module("hosttune_plans.cpu_lists")
host_facts = importlib.import_module("hosttune_plans.host_facts")
