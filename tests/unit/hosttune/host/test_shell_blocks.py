"""Which parts of a script are run for sure, against dash and bash, which run it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune.host import shell
from tests.examples import TIMES

# Conditions that hold here and on any host, and others, of which some hold here.
HOLDING = ["[ -e /proc/sys ]", "test -d /proc/irq", "true", "[ -x /bin/sh ]"]
OTHER = [
    "[ -e /nowhere ]",
    "test -d /etc",
    "false",
    "! true",
    "[ ! -e /proc/sys ]",
    '[ -n "$NOTHING" ]',
    "grep -q no /etc/hostname",
]
CONDITIONS = st.sampled_from([*HOLDING, *OTHER])
SIMPLE = st.sampled_from(
    [
        "echo MARK",
        "echo MARK",
        "true",
        "cd /",
        "echo MARK; echo MARK",
        "( echo MARK )",
        "{ echo MARK; }",
        "echo 'if; case {'",
    ]
)
LEAVING = st.sampled_from(["exit 0", "exit", "return 0", "! exit 0"])


def nest(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(texts | SIMPLE, min_size=1, max_size=3).map("\n".join)
    last = st.tuples(several, st.none() | LEAVING).map(lambda pair: pair[0] + (f"\n{pair[1]}" if pair[1] else ""))
    return st.one_of(
        st.tuples(CONDITIONS, last).map("if {0[0]}; then\n{0[1]}\nfi".format),
        st.tuples(CONDITIONS, last, last).map("if {0[0]}; then\n{0[1]}\nelse\n{0[2]}\nfi".format),
        st.tuples(CONDITIONS, several, CONDITIONS, last).map(
            "if {0[0]}\nthen {0[1]}\nelif {0[2]}; then {0[3]}\nfi".format),
        st.tuples(CONDITIONS, st.sampled_from(["&&", "||"]), several).map("{0[0]} {0[1]} {{\n{0[2]}\n}}".format),
        st.tuples(CONDITIONS, st.sampled_from(["&&", "||"])).map("{0[0]} {0[1]} echo MARK".format),
        st.tuples(CONDITIONS, st.sampled_from(["&&", "||"]), LEAVING).map("{0[0]} {0[1]} {0[2]}".format),
        st.tuples(st.sampled_from(["a b", "/nowhere/*", "$NOTHING"]), several).map(
            "for x in {0[0]}; do\n{0[1]}\ndone".format),
        st.tuples(st.sampled_from(["x", "start"]), several, several).map(
            'case {0[0]} in\n start|x) {0[1]}\n ;;\n *)\n{0[2]}\n ;;\nesac'.format),
        several.map("while read -r x; do\n{0}\ndone < /dev/null".format),
        st.tuples(st.booleans(), last).map(lambda pair: f"f() {{\n{pair[1]}\n}}" + ("\nf" if pair[0] else "")),
        several.map("( cd /\n{0}\n)".format),
    )  # fmt: skip


SCRIPTS = st.lists(st.recursive(SIMPLE, nest, max_leaves=6), min_size=1, max_size=4).map("\n".join)


@pytest.mark.parametrize("program", ["dash", "bash"])
def test_what_is_run_for_sure_is_run(program: str, tmp_path: Path) -> None:
    shell_program = shutil.which(program)
    if shell_program is None:
        pytest.skip(f"{program} is not installed")
    file = tmp_path / "script"

    @settings(max_examples=150 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(SCRIPTS)
    def compare(text: str) -> None:
        numbers = iter(range(1000))
        script = re.sub("MARK", lambda _: f"m{next(numbers)}", text)
        file.write_text(f"#!/bin/sh\n{script}\n")
        run = subprocess.run(
            [shell_program, file],
            capture_output=True,
            text=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin"},
        )
        sure, maybe, doubtful = shell.split_sure(f"{script}\n")
        named = set(re.findall(r"echo (m[0-9]+)", sure))
        assert named <= set(re.findall(r"^m[0-9]+$", run.stdout, flags=re.MULTILINE)), (script, sure)
        every = set(re.findall(r"echo (m[0-9]+)", f"{sure}\n{maybe}\n{doubtful}"))
        assert set(re.findall(r"^m[0-9]+$", run.stdout, flags=re.MULTILINE)) <= every, (script, sure, maybe, doubtful)

    compare()
