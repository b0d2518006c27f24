"""Lists of CPUs, and the files that hold them, read by irqbalance and by systemd themselves, and compared.

irqbalance prints what it bans before it does anything, and without root it can do nothing; systemd, in its test mode,
prints the units that it has read.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hosttune.host import cpu, cpulist, environment, irq_plan
from hosttune.host.cpulist import KernelList, SystemdList
from tests.examples import TIMES

NOBODY = 65534
# tools/setup unpacks it there: installed, it would run.
UNPACKED = f"{sys.prefix}/irqbalance/usr/sbin"
IRQBALANCE = shutil.which("irqbalance", path=f"{os.environ['PATH']}:/usr/sbin:{UNPACKED}")
SYSTEMD = next((path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.path.exists(path)), None)
GENERATOR = "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator"
USER = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}

needs_irqbalance = pytest.mark.skipif(IRQBALANCE is None, reason="irqbalance is neither installed nor unpacked")
needs_systemd = pytest.mark.skipif(SYSTEMD is None, reason="systemd is not installed")


def ask_irqbalance(variables: dict[str, str]) -> frozenset[int]:
    """Returns the CPUs that irqbalance bans when it is started with these variables."""
    command = [shutil.which("stdbuf") or "stdbuf", "-oL", str(IRQBALANCE), "--debug", "--oneshot"]
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8", cwd="/", **USER
    ) as started:
        assert started.stdout is not None
        banned = next((line for line in started.stdout if line.startswith("Banned CPUs: ")), "")
        started.kill()
    return cpulist.parse_mask(banned.removeprefix("Banned CPUs: "))


def find_banned(variables: dict[str, str]) -> frozenset[int]:
    """Returns the same as hosttune reads it; told nothing, irqbalance asks the kernel of this machine."""
    banned = irq_plan.read_banned(variables)
    if banned is not None:
        return banned.cpus
    free: frozenset[int] = frozenset()
    for name in ("isolated", "nohz_full"):
        path = Path(cpu.DIRECTORY, name)
        free |= cpu.parse_list(path.read_text()) if path.exists() else frozenset()
    return free


# Of nine digits at most: larger numbers overflow in irqbalance.
NUMBERS = st.integers(0, 4100).map(str) | st.from_regex(r"0{0,3}[0-9]{1,6}", fullmatch=True)
SPANS = NUMBERS | st.tuples(NUMBERS, NUMBERS).map("-".join)
ODD = st.text("0123456789,- \t\n:/NxXaléf.#", max_size=8)
LISTS = st.lists(SPANS | ODD | st.just(""), min_size=1, max_size=5).map(",".join)
MASKS = st.text("0123456789abcdefABCDEF", max_size=20) | st.text("0f1c,, x", max_size=24)


@needs_irqbalance
@settings(max_examples=60 * TIMES)
@given(LISTS)
@example("2-N")
@example("1,x")
@example("0-1 # isolated")
@example("1,,2")
@example("1, 2")
@example("0-3:1/2")
def test_irqbalances_list_as_irqbalance_reads_it(text: str) -> None:
    if text and not re.search("[0-9]{10}", text):
        variables = {irq_plan.BANNED_LIST: text}
        assert find_banned(variables) == ask_irqbalance(variables)


@needs_irqbalance
@settings(max_examples=60 * TIMES)
@given(MASKS, st.sampled_from([None, "1", "2-3"]))
@example("0", "1")
@example("", "1")
@example("", None)
@example("0xc", "1")
@example("c c", "1")
def test_irqbalances_mask_as_irqbalance_reads_it(mask: str, also: str | None) -> None:
    variables = {irq_plan.BANNED_MASK: mask, **({} if also is None else {irq_plan.BANNED_LIST: also})}
    assert find_banned(variables) == ask_irqbalance(variables)


# --- systemd ---


def ask_systemd(units: list[str]) -> list[str]:
    """Returns what systemd shows of each of the services, of which the text behind [Service] is given."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        names = [f"case{number}.service" for number in range(len(units))]
        (folder / "default.target").write_text(f"[Unit]\nWants={' '.join(names)}\n")
        for unit, text in zip(names, units, strict=True):
            head = "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/true\n"
            (folder / unit).write_text(f"{head}{text}\n")
        done = subprocess.run(
            [str(SYSTEMD), "--test", "--system", "--no-pager"],
            env={"SYSTEMD_UNIT_PATH": name, "HOME": "/", "SYSTEMD_LOG_LEVEL": "crit"},
            capture_output=True,
            cwd="/",
            timeout=60,
            **USER,
        )
    parts = re.split(r"^\t-> Unit (\S+):$", done.stdout.decode("utf-8", "replace"), flags=re.MULTILINE)
    shown = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(names) <= shown.keys(), done.stderr.decode()[-2000:]
    return [shown[unit] for unit in names]


SMALL = st.integers(0, 9000).map(str) | st.sampled_from(["0x10", "010", "0b11", "0o17", "+3", "-1", "08", ""])
SYSTEMD_SPANS = SMALL | st.tuples(SMALL, SMALL).map("-".join) | st.text("0123456789-,'\"\\xN: \t", max_size=6)
SYSTEMD_LISTS = st.lists(SYSTEMD_SPANS, max_size=5).flatmap(lambda spans: st.sampled_from([",", " ", ", "]).map(
    lambda between: between.join(spans)))  # fmt: skip
ASSIGNMENTS = st.lists(SYSTEMD_LISTS.filter(lambda text: not text.endswith("\\")), min_size=1, max_size=3)


@needs_systemd
@settings(max_examples=12 * TIMES)
@given(st.lists(ASSIGNMENTS, min_size=20, max_size=20))
@example(
    [["0-1,x", "7"], ["1", "", "2"], ["1", ","], ["3-2"], ["3-2", "1"], ["'0 1'"], ["\"0\"'-'1"], ["0\\-1"], ["0-N"]]
)
@example([["\\\\2\\1"], ["\\\\2-\\3"], ["2-\\\\3"], ["2\\\\-3"], ["2\\\\\\-3"], ["1\\\\"], ["'\\\\1'"], ["1\\\\\\\\"]])
def test_cpu_affinity_as_systemd_reads_it(units: list[list[str]]) -> None:
    shown = ask_systemd(["\n".join(f"CPUAffinity={text}" for text in unit) for unit in units])
    for unit, text in zip(units, shown, strict=True):
        found = re.search(r"^\t\tCPUAffinity:(.*)$", text, flags=re.MULTILINE)
        expected = None if found is None else cpulist.parse(KernelList(found[1]))
        assert (cpulist.merge_systemd(map(SystemdList, unit)) or None) == (expected or None), unit


WORDS = st.lists(
    st.builds("{}={}".format, st.sampled_from(["A", "B_1", "2C", "d-e", ""]), st.text("01-, '\"x=", max_size=8))
    | st.text("AB=1 '\"", max_size=8),
    max_size=4,
).map(" ".join)


@needs_systemd
@settings(max_examples=10 * TIMES)
@given(st.lists(WORDS, min_size=20, max_size=20))
@example(["A=1 B=2", "\"A=1 2\" B='3 4'", "A=1 'B=2", "A=1'2'\"3\" x 2B=1", "A=1 A=2"])
def test_environment_as_systemd_reads_it(units: list[str]) -> None:
    shown = ask_systemd([f"Environment={text}" for text in units])
    for unit, text in zip(units, shown, strict=True):
        found = dict(line.split("=", 1) for line in re.findall(r"^\t\tEnvironment: (.*)$", text, flags=re.MULTILINE))
        assert dict(environment.parse_words(unit)) == found, unit


FILES = st.lists(
    st.builds(
        "{}{}{}={}".format,
        st.sampled_from(["", " ", "export ", "# ", ";"]),
        st.sampled_from(["A", "B", "_C2", "3D", "A B", ""]),
        st.sampled_from(["", " ", "\t"]),
        st.text("01-, '\"x\\#;=", max_size=10),
    )
    | st.text("AB=1 '\"\\#", max_size=6),
    max_size=5,
).flatmap(lambda lines: st.sampled_from(["\n", "\r\n", "\n\n"]).map(lambda end: end.join([*lines, ""])))


@pytest.mark.skipif(not os.path.exists(GENERATOR), reason="systemd's reader of environment.d is not installed")
@settings(max_examples=80 * TIMES)
@given(FILES)
@example("A='1' \"2\" 3\nB=1 # 2\n")
@example("A=1\\\n2\n")
def test_an_environment_file_as_systemd_reads_it(text: str) -> None:
    try:
        pairs = environment.parse_file(text)
    except ValueError:
        return  # versions of systemd differ
    if any(set(value) & set("\n\r\t") for _, value in pairs):
        return  # the generator writes these in a way of its own
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "environment.d")
        folder.mkdir()
        (folder / "a.conf").write_text(text, newline="")
        done = subprocess.run(
            [GENERATOR], env={"XDG_CONFIG_HOME": name, "HOME": name}, capture_output=True, text=True, timeout=60
        )
        (folder / "a.conf").write_text("")
        none = subprocess.run(
            [GENERATOR], env={"XDG_CONFIG_HOME": name, "HOME": name}, capture_output=True, text=True, timeout=60
        )
    lines = done.stdout.removeprefix(none.stdout)
    found = [line.partition("=") for line in lines.splitlines()]
    # The generator, other than a service, leaves out empty values.
    expected = {name: value for name, value in pairs if value}
    assert expected == {name: "".join(shlex.split(value)) for name, _, value in found}
