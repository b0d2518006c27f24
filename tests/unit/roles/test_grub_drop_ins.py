"""The drop-ins of /etc/default/grub.d: what the shell makes of them, and that the check reads the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jinja2
import pytest

from hosttune.host import grub_default
from tests.unit.roles.plans import hugepages_plan

ROLES = Path(__file__).resolve().parents[3] / "roles"


def render(role: str, **variables: object) -> str:
    return jinja2.Template((ROLES / role / "templates/grub.cfg.j2").read_text()).render(variables)


HUGEPAGES = render(
    "hugepages", __hugepages_plan=hugepages_plan.plan({"1G": {"node0": 2, "node1": 1}}, ["1G"], None, {})
)
CPU_ISOLATION = render("cpu_isolation", __cpu_isolation_arguments="isolcpus=domain,2-3 irqaffinity=0-1")


@pytest.mark.parametrize(
    ("drop_in", "before", "after"),
    [
        (HUGEPAGES, "hugepagesz=1G hugepages=7 splash", "splash"),
        (HUGEPAGES, "hugepagesz=1024M hugepages=0:7 hugepagesz=2M hugepages=9", "hugepagesz=2M hugepages=9"),
        (HUGEPAGES, "hugepagesz=1073741824 quiet hugepages=9", "quiet hugepages=9"),
        (HUGEPAGES, "default_hugepagesz=1g hugepages=7 quiet", "default_hugepagesz=1g quiet"),
        (HUGEPAGES, "hugepages=9 quiet", "hugepages=9 quiet"),
        (CPU_ISOLATION, "isolcpus=1 nohz_full=7 quiet irqaffinity=2 hugepages=9", "quiet hugepages=9"),
    ],
)
def test_what_was_set_before_is_taken_out(drop_in: str, before: str, after: str) -> None:
    default = f'GRUB_CMDLINE_LINUX="{before}"\nGRUB_CMDLINE_LINUX_DEFAULT="{before}"\n'
    script = f"{default}{drop_in}\necho $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"
    line = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout.split()
    ours = "hugepagesz=1G hugepages=0:2,1:1" if drop_in is HUGEPAGES else "isolcpus=domain,2-3 irqaffinity=0-1"
    assert line == f"{after} {after} {ours}".split()
    for text in (drop_in, grub_default.reduce(drop_in)):
        evaluated = grub_default.evaluate({"a": default, "b": text}).line
        assert evaluated is not None and evaluated.split() == line
