"""/etc/default/grub and its drop-ins: beside the shell that grub-mkconfig reads them with."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hosttune.host import grub_default
from tests.examples import TIMES

PATHS = ["/etc/default/grub", "/etc/default/grub.d/50-cloud.cfg", "/etc/default/grub.d/80-x.cfg"]
WITHOUT = """hosttune_without() {
    hosttune_kept=
    for hosttune_word in $1; do
        case $hosttune_word in
            isolcpus=* | nohz_full=* | rcu_nocbs=* | irqaffinity=*) ;;
            *) hosttune_kept="$hosttune_kept${hosttune_kept:+ }$hosttune_word" ;;
        esac
    done
}
hosttune_without "$GRUB_CMDLINE_LINUX"
GRUB_CMDLINE_LINUX=$hosttune_kept
hosttune_without "$GRUB_CMDLINE_LINUX_DEFAULT"
GRUB_CMDLINE_LINUX_DEFAULT="$hosttune_kept isolcpus=domain,2-3 nohz_full=2-3"
"""


def run(files: dict[str, str]) -> str:
    """The arguments that Debian's grub-mkconfig gives to a normal entry."""
    with tempfile.TemporaryDirectory() as name:
        for number, text in enumerate(files.values()):
            (Path(name) / str(number)).write_text(text)
        reading = "".join(f"[ ! -e ./{number} ] || . ./{number} >/dev/null 2>&1\n" for number in range(len(files)))
        script = f'{reading}printf "%s %s" "$GRUB_CMDLINE_LINUX" "$GRUB_CMDLINE_LINUX_DEFAULT"'
        done = subprocess.run(["sh", "-c", script], cwd=name, env={"PATH": "/usr/bin:/bin"}, capture_output=True,
                              text=True, timeout=20, check=False)  # fmt: skip
        return done.stdout


VALUES = st.sampled_from(
    ['"isolcpus=2-3"', "'nohz_full=2 quiet'", "isolcpus=1", "isolcpus=1\\ quiet", '"$GRUB_CMDLINE_LINUX isolcpus=3"',
     '"${GRUB_CMDLINE_LINUX_DEFAULT} nohz_full=3"', '"isolcpus=2-3$GRUB_CMDLINE_LINUX"', '"$X nohz_full=1"', '""', "",
     '"a \\"b c\\" isolcpus=2"', "'it'\"s\"", '"a\\\nb isolcpus=1"', "`echo isolcpus=1`", "$(echo nohz_full=1)",
     '"irqaffinity=0 # no comment"', "isolcpus=2 # comment", "'$GRUB_CMDLINE_LINUX isolcpus=2'", "quiet; X=isolcpus=3",
     '"${GRUB_CMDLINE_LINUX:-isolcpus=1}"', "a b=c", '"isolcpus=2', '"$HOME isolcpus=1"', '"rcu_nocbs=1"', "~/x"]
)  # fmt: skip
NAMES = st.sampled_from(
    ["GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_CMDLINE_LINUX_DEFAULT", "X",
     "export GRUB_CMDLINE_LINUX", "export X", " GRUB_CMDLINE_LINUX", "#GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX "]
)  # fmt: skip
LINES = st.tuples(NAMES, VALUES).map("=".join) | st.sampled_from(
    ["", "# a comment", "GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`",
     "GRUB_DISTRIBUTOR=`( . /etc/os-release; echo ${NAME:-Debian} ) 2>/dev/null || echo Debian`", "GRUB_DEFAULT=0",
     "if false; then", "fi", "if true; then GRUB_CMDLINE_LINUX=isolcpus=1; fi", "echo x", "unset GRUB_CMDLINE_LINUX",
     "export GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX+=x", "true && GRUB_CMDLINE_LINUX=isolcpus=3", "exit 0", "return",
     "f() {", "}", "X=isolcpus=3 true", "GRUB_CMDLINE_LINUX=isolcpus=3 true", "cd /nowhere || GRUB_CMDLINE_LINUX=a",
     "eval GRUB_CMDLINE_LINUX=a", "[ -z x ] || true", WITHOUT]
)  # fmt: skip
TEXTS = st.lists(LINES, max_size=5).map("\n".join)


def words(line: str) -> list[str]:
    return [word for word in line.split() if word.startswith(("isolcpus=", "nohz_full=", "rcu_nocbs=", "irqaffinity="))]


@settings(max_examples=150 * TIMES, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=3))
@example(['GRUB_CMDLINE_LINUX="isolcpus=1 quiet"', WITHOUT])
@example([WITHOUT, 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"'])
@example(["case a in a) GRUB_CMDLINE_LINUX=isolcpus=2;; esac"])
@example(["X=1\nX=2 && GRUB_CMDLINE_LINUX=isolcpus=2"])
@example(["GRUB_CMDLINE_LINUX=isolcpus=2 >/dev/null"])
def test_arguments_are_those_of_the_shell_or_unknown(texts: list[str]) -> None:
    files = dict(zip(PATHS, texts, strict=False))
    for read in (files, {path: grub_default.reduce(text) for path, text in files.items()}):
        found = grub_default.evaluate(read).line
        if found is not None:
            assert words(found) == words(run(files))


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (['GRUB_CMDLINE_LINUX_DEFAULT="quiet"', 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT isolcpus=2"'],
         ["isolcpus=2"]),
        (["GRUB_CMDLINE_LINUX='isolcpus=1'", WITHOUT], ["isolcpus=domain,2-3", "nohz_full=2-3"]),
        ([WITHOUT, "GRUB_CMDLINE_LINUX_DEFAULT='quiet'"], []),
        (["if true; then GRUB_CMDLINE_LINUX=isolcpus=1; fi"], None),
        ([". /etc/other", "GRUB_CMDLINE_LINUX=isolcpus=1"], None),
        (["GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\nGRUB_CMDLINE_LINUX='isolcpus=1'"],
         ["isolcpus=1"]),
    ],
)  # fmt: skip
def test_files_of_hosts(texts: list[str], line: list[str] | None) -> None:
    """What a hypothesis that finds nothing to compare would not show."""
    found = grub_default.evaluate(dict(zip(PATHS, texts, strict=False))).line
    assert (None if found is None else words(found)) == line
