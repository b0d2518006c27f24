"""Each fix of irqbalance, run as it is printed on the tuned host with something broken, makes the next boot right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hosttune.host.root import Tree
from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes

from .test_rt_limits_fixes import apply

FOLDER = f"{golden.UNITS}/irqbalance.service.d"
WRONG = {f"{FOLDER}/hosttune.conf": "[Service]\nEnvironment=IRQBALANCE_BANNED_CPULIST=0\n"}
DEFAULT = "/etc/default/irqbalance"
RESET = "[Service]\nEnvironmentFile=\n"
BROKEN: dict[str, Changes] = {
    "a drop-in": WRONG,
    "a drop-in behind that resets files": {**WRONG, f"{FOLDER}/zz.conf": RESET},
    "one that sorts last of all": {**WRONG, f"{FOLDER}/zzzz.conf": RESET},
    "the fix's own, and one behind": {
        **WRONG,
        f"{FOLDER}/zbanned.conf": "[Service]\nEnvironmentFile=/etc/default/irqbalance",
        f"{FOLDER}/zzz.conf": RESET,
    },
    "a mask": {**WRONG, DEFAULT: "IRQBALANCE_BANNED_CPUS=1"},
    "taken away": {
        **{path: text.replace(golden.BOOT, "") for path, text in golden.FILES.items() if path.endswith("grub.cfg")},
        f"{FOLDER}/zz.conf": "[Service]\nUnsetEnvironment=IRQBALANCE_BANNED_CPULIST\n",
    },
    "a link to what is gone": {
        **WRONG,
        "/run/desk/irqb": "IRQBALANCE_ARGS=\nIRQBALANCE_BANNED_CPULIST=2-3\n",
        DEFAULT: "-> ../../run/desk/irqb",
    },
    "a link to what is not there": {**WRONG, DEFAULT: "-> /run/desk/irqb"},
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_fix_turns_its_finding(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    def check() -> Any:
        return next(one for one in corpus.judge(Tree(str(tree))).findings if one.id == "irq_affinity.irqbalance")

    tree = tmp_path / "tree"
    golden.write_tree(corpus.make(fake_host, BROKEN[name]), tree)
    before = check()
    assert before.status == "volatile"
    apply(before.fix, tree, tmp_path / "tools")
    for place in (tree / FOLDER[1:]).iterdir():
        place.write_text(place.read_text().replace(str(tree), ""))  # a path in what the fix writes is the host's
    assert check().status == "pass", (before.fix, check())


def test_what_the_link_led_to_is_kept(fake_host: type[Any], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    golden.write_tree(corpus.make(fake_host, BROKEN["a link to what is gone"]), tree)
    found = corpus.judge(Tree(str(tree))).findings
    apply(next(one.fix for one in found if one.id == "irq_affinity.irqbalance"), tree, tmp_path / "tools")
    assert (tree / DEFAULT[1:]).read_text().startswith("IRQBALANCE_ARGS=\n")
