"""Our reading of units and drop-ins beside the real systemd, which loads the same generated files in its test mode.

It runs as an ordinary user in a mount namespace, in which the directories of units are the test's.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hosttune.host import limits, limits_lines, systemd, systemd_lines, units
from hosttune.host.root import Tree
from tests.examples import TIMES

HERE = Path(__file__).parent
ETC, RUN, LOCAL, LIB = systemd.UNITS[:4]
# One below /usr/local would lose its library to the mounts.
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
# In blocks that the manager itself fills in: what process 1 of this host hands down.
INHERITED = ("memlock", "nofile")


class RealSystemd:
    """systemd in its namespaces; one process for many cases."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        command = [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            PYTHON,
            HERE / "systemd_test_mode.py",
            tree,
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, unit, files, links=()):
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        # A listing that is there says that a directory is not.
        files = {"/usr/local/lib/systemd/x": "", "/run/systemd/x": "", "/etc/systemd/x": "", **files}
        self.process.stdin.write(json.dumps({"unit": unit, "files": files, "links": dict(links)}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    if not Path("/usr/lib/systemd/systemd").exists() or shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    if subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this kernel lets this user make no user namespace")
    tree = tmp_path_factory.mktemp("systemd")
    # The test mode runs as another user of the namespace.
    for each in (tree, tree.parent, tree.parent.parent):
        each.chmod(each.stat().st_mode | 0o055)
    (tree / "lib").symlink_to("usr/lib")
    (tree / "usr/local/lib").mkdir(parents=True)
    made = RealSystemd(tree)
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    made.process.wait(10)


class Reduced:
    """A tree through what a snapshot keeps of units."""

    def __init__(self, tree):
        self.tree, self.list, self.link = tree, tree.list, tree.link

    def read(self, path):
        return self.tree.read(path).map(lambda text: units.reduce(units.reduce(text)))


def judge(answer, root, unit):
    """Compare which files apply, the user and the limits."""
    found = answer["found"]
    ours = systemd.read_unit(root, unit, now=True).value
    if found.get("Unit Load State") != ["loaded"]:
        return  # a unit that systemd does not start
    assert ours.state == "installed", (ours, answer)
    sources = list(dict.fromkeys(setting.source for setting in ours.settings))
    applied = [*found.get("Fragment Path", []), *found.get("DropIn Path", [])]
    applied = [f"/usr{path}" if path.startswith("/lib/") else path for path in applied]
    # All that say something, and in systemd's order.
    assert [each for each in applied if systemd_lines.parse(root.read(each).value or "", each)] == sources
    user = systemd_lines.find_last(ours.settings, "Service", "User")
    wanted = systemd.expand(user.value, unit) if user else ""
    assert found.get("User", [""]) == [wanted]
    for item, key in limits_lines.ITEMS.items():
        limit = limits.find_limit(ours.settings, "Service", item).limit
        if limit is None:
            assert key not in found or item in INHERITED
        else:
            assert (limit.soft, limit.hard) == (int(found[f"{key}Soft"][0]), int(found[key][0])), key


NAMES = st.sampled_from(
    [
        "agent.service",
        "a-b-c.service",
        "agent@ldn.service",
        "a-b@x-y.service",
        "a--b-.service",
        "-a---b@-.service",
        "--a.service",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            "infinity",
            "64K",
            "64M",
            "1G",
            "1.5G",
            "1G 512M",
            "512M 1G",
            "64k",
            "64KB",
            "10B",
            "0x40",
            "0100",
            "0b11",
            "0o17",
            "+5",
            "-5",
            "-20",
            "+19",
            "+20",
            "-21",
            "20",
            "40",
            "41",
            "-0",
            "+0",
            " 7",
            "",
            "unlimited",
            "5:10",
            "10:5",
            "5:",
            ":5",
            "5:infinity",
            "infinity:5",
            "1:2:3",
            "5 : 10",
            "64 M",
            "1.M",
            ".5M",
            "18446744073709551615",
            "1e3",
            "1_0",
            "18446744073709551614",
            "99999999999999999999",
            "16E",
            "15E",
            "0.0000000001K",
            "5%",
            "1M1K",
            "1K1K",
            "0x",
            "0b2",
            "1.5.5M",
            "+1G",
            "-1G",
            "08",
            "0X1f",
            "0B1",
            "infinity ",
            "INFINITY",
            "1..5M",
            "9" * 30 + "K",
            "0" * 30 + "1K",
        ]
    ),
    st.integers(0, 100).map(str),
)
KEYS = st.sampled_from([*limits_lines.ITEMS.values(), "LimitNOFILE", "LimitMEMLOCK"])
SPACE = st.sampled_from(["", "", "", " ", "\t"])


@st.composite
def assignments(draw):
    kind = draw(st.integers(0, 11))
    if kind == 0:
        return draw(
            st.sampled_from(
                ["", "# LimitNICE=3", "; x", "=3", "nonsense", "[X]", "[Service]", "[Unit]", "[Service", " [Service]"]
            )
        )
    if kind == 1:
        return "User=" + draw(st.sampled_from(["trader", "other", "", "1001"]))
    key, value = draw(KEYS), draw(VALUES)
    text = f"{draw(SPACE)}{key}{draw(SPACE)}={draw(SPACE)}{value}{draw(SPACE)}"
    if kind == 2:
        at = draw(st.integers(0, len(text)))
        middle = draw(
            st.sampled_from(
                [
                    "\\\n",
                    "\\\n# c\n",
                    "\\ \n",
                    "\\\\\n",
                    "\\\n;x\\\n",
                    "\\\n\n",
                    "\r\n",
                    "\n\r",
                    "\r",
                    "\\\r\n",
                    "\\\n  ",
                ]
            )
        )
        text = text[:at] + middle + text[at:]
    return text


TEXT = st.lists(assignments(), max_size=5).map(lambda each: "[Service]\n" + "\n".join(each) + draw_end(each))


def draw_end(lines):
    """A file whose last line has no end, where it has an odd number of lines."""
    return "" if len(lines) % 2 else "\n"


@st.composite
def hosts(draw):
    unit = draw(NAMES)
    template = unit.partition("@")[0] + "@.service" if "@" in unit else unit
    fragment = draw(st.sampled_from([ETC, RUN, LOCAL, LIB])) + "/" + draw(st.sampled_from([unit, template]))
    files = {fragment: "[Service]\nExecStart=/bin/true\n" + draw(TEXT)}
    directories = [
        "agent.service",
        "agent@.service",
        "agent@ldn.service",
        "a-.service",
        "a-b-.service",
        "a-b-c.service",
    ]
    directories += [
        "a-b@.service",
        "a-b@x-y.service",
        "a-@.service",
        "a-@x-y.service",
        "service",
        "also.service",
        "a--.service",
    ]
    directories += ["also@.service", "also@ldn.service", "a--b-.service", "-.service", "-@.service"]
    directories += [
        "-a-.service",
        "-a--.service",
        "-a---.service",
        "-a---@.service",
        "-a---@-.service",
        "-@-.service",
        "--.service",
    ]
    if draw(st.booleans()):  # of those that may apply, more than chance would have
        directories = [each for each in directories if each[:2] == unit[:2] or each[0] == "-" == unit[0]]
    for _ in range(draw(st.integers(0, 5))):
        path = "/".join(
            [
                draw(st.sampled_from([ETC, RUN, LOCAL, LIB])),
                draw(st.sampled_from(directories)) + ".d",
                draw(st.sampled_from(["10.conf", "20.conf", "B.conf", "a.conf", ".x.conf", "y.confx"])),
            ]
        )
        files[path] = draw(st.one_of(TEXT, st.just("")))
    links = {}
    if draw(st.booleans()):
        links[f"{ETC}/also.service"] = draw(
            st.sampled_from(["agent.service", f"{LIB}/agent.service", "/dev/null", "other.service"])
        )
    if draw(st.booleans()):
        links[f"{ETC}/also@.service"] = "agent@.service"
    if draw(st.integers(0, 3)) == 0:
        links[f"{ETC}/{template}.d/10.conf"] = draw(st.sampled_from(["/dev/null", "20.conf"]))
    return unit, files, {path: target for path, target in links.items() if path not in files}


@settings(
    max_examples=40 * TIMES, deadline=None, phases=(Phase.generate,), suppress_health_check=[HealthCheck.too_slow]
)
@given(host=hosts())
def test_units_are_what_we_read(real, host):
    unit, files, links = host
    answer = real.ask(unit, files, links)
    tree = Tree(str(real.tree))
    judge(answer, tree, unit)
    judge(answer, Reduced(tree), unit)


@pytest.mark.parametrize("key", limits_lines.ITEMS.values())
@pytest.mark.parametrize("value", ["", " ", "''", "infinite"])
def test_what_is_no_limit_leaves_the_one_before(real, key, value):
    unit = "agent.service"
    text = f"[Service]\nExecStart=/bin/true\n{key}=13\n{key}={value}\n"
    answer = real.ask(unit, {f"{ETC}/{unit}": text}, {})
    judge(answer, Tree(str(real.tree)), unit)
    assert answer["found"][key] == ["13"]


MANAGER_FILES = st.dictionaries(
    st.sampled_from(
        [
            *(f"{top}/system.conf" for top in ("/etc/systemd",)),
            *(
                f"{top}/system.conf.d/{name}"
                for top in ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd")
                for name in ("10.conf", "B.conf", "a.conf", ".h.conf", "x.confx")
            ),
        ]
    ),
    st.sampled_from(["[Manager]\nDefaultLimitNICE=3\n", "", "[Manager]\n"]),
    max_size=5,
)


@settings(max_examples=15 * TIMES, deadline=None)
@given(files=MANAGER_FILES)
def test_the_managers_files_are_those_we_read(real, files):
    answer = real.ask(None, files)
    ours = systemd.read_manager(Tree(str(real.tree)), now=True).value
    sources = [setting.source for setting in ours]
    assert [path for path in answer["manager"] if path in sources] == sources
    assert sorted(sources) == sorted(path for path in answer["manager"] if "Limit" in files.get(path, ""))
