"""Before a configuration goes into force the role asks the release, as the agent's user, what keeps it from starting.

The programs of the release are stand-ins; the user, the script and Ansible's tasks are real.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles/trading_agent"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

USER, GROUP = "nobody", "nogroup"
UID = pwd.getpwnam(USER).pw_uid
CONFIG = "# managed\n[feed]\nport = 1\n"


class Release:
    """A release of root's in a directory that its user can read, with a Python that knows `agent check-config`."""

    def __init__(self, place: Path) -> None:
        self.place, self.cache = place / "releases/1.0-abc", place / "cache"
        (self.place / "bin").mkdir(parents=True)
        self.program("python", "exit 0")

    def program(self, name: str, script: str) -> None:
        path = self.place / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def check(self, *environment: str, user: str = USER, group: str = GROUP) -> subprocess.CompletedProcess[str]:
        before = set(Path("/run").glob("trading_agent.*"))
        done = subprocess.run(
            ["sh", ROLE / "files/check_config.sh", self.place, self.cache, user, group, *environment],
            input=CONFIG, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "SECRET": "root's"},
        )  # fmt: skip
        assert set(Path("/run").glob("trading_agent.*")) == before, "what was made is left"
        return done


@pytest.fixture
def release(open_place: Path) -> Release:
    return Release(open_place)


def test_it_is_the_user_with_the_units_environment(release: Release) -> None:
    """And can read the configuration, and write nowhere beside it; nothing of root's goes down."""
    release.cache.mkdir()
    os.chown(release.cache, UID, UID)
    release.program("agent", """
        echo "$*"; id -un; id -gn; cat "$2"
        ! touch "$2" "${2%/*}/x" 2>/dev/null || echo "can write"
        grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs):' /proc/self/status
        readlink /proc/self/fd/0; pwd; env""")  # fmt: skip
    done = release.check("PYTHONPATH=/srv/a b", "TZ=UTC", "TZ=Europe/Berlin")
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert said[:3] == ["check-config agent.toml", USER, GROUP]
    assert "\n".join(said[3:6]) + "\n" == CONFIG
    assert dict(line.split() for line in said[6:12]) == {
        **{f"Cap{name}:": "0" * 16 for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")},
        "NoNewPrivs:": "1",
    }
    assert said[12:14] == ["/dev/null", "/"]
    environment = dict(line.split("=", 1) for line in said[14:])
    assert environment["CACHE_DIRECTORY"] == str(release.cache)
    assert (environment["PYTHONPATH"], environment["TZ"]) == ("/srv/a b", "Europe/Berlin")
    assert "SECRET" not in environment
    for name, path in (("STATE_DIRECTORY", "/var/lib/trading_agent"), ("RUNTIME_DIRECTORY", "/run/trading_agent")):
        if not os.path.lexists(path):  # a host that has an agent
            assert environment[name] == path, "its own name, which stands for a stand-in"


@pytest.mark.parametrize("owner", [0, 12345, None])
def test_what_systemd_hands_to_the_user_is_not_judged_as_it_is(release: Release, owner: int | None) -> None:
    """A directory that the start gives to the user: one that is missing, or another user's."""
    if owner is not None:
        release.cache.mkdir()
        os.chown(release.cache, owner, owner)
    release.program("agent", 'test ! -e "$CACHE_DIRECTORY"')
    assert release.check().returncode == 0


def test_all_that_is_wrong_is_said_and_no_warning_about_the_credential(release: Release) -> None:
    release.program("agent", """
        echo "$2:2: feed.port: found 1"; echo "$2: feed.b: found 2"
        echo "warning: $2:1: exchange.password_file: missing, so the password is the systemd credential"
        echo "agent: broken" >&2; exit 1""")  # fmt: skip
    done = release.check()
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == [
        "agent.toml: feed.b: found 2", "agent.toml:2: feed.port: found 1", "agent: broken",
    ]  # fmt: skip


def test_a_release_from_before_is_not_asked(release: Release) -> None:
    release.program("python", 'test "$1" = -I && exit 1')
    release.program("agent", "exit 2")
    done = release.check()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("names", [{"user": "no-such-user"}, {"group": "no-such-group"}])
def test_a_user_that_is_still_to_be_made_is_nobody(release: Release, names: dict[str, str]) -> None:
    release.program("agent", "exit 2")
    assert release.check(**names).returncode == 0


@pytest.mark.skipif(not PLAYBOOK.exists(), reason="ansible-core is not installed beside this Python")
def test_the_play_ends_with_all_of_it_in_check_mode_too(release: Release, tmp_path: Path) -> None:
    """Hosts are this machine under other names: a configuration that holds, one that does not, a release that is not
    installed yet, and a variable that only the unit has."""
    release.program("agent", """grep -q 'port = 1$' "$2" || { echo "$2:3: a"; echo "$2:4: b"; exit 1; }""")

    def host(port: int, **changes: Any) -> dict[str, Any]:
        return {
            "__trading_agent_plan": {"config": f"[feed]\nport = {port}\n", "environment": ["A=1"]},
            "__hosttune_releases": {"complete": ["1.0-abc"]},
            **changes,
        }

    tasks = (
        (ROLE / "tasks/check_config.yml").read_text().replace("/opt/trading_agent/releases", f"{release.place.parent}")
    )
    for name in ("files", "templates"):
        (tmp_path / name).symlink_to(ROLE / name)
    (tmp_path / "tasks.yml").write_text(tasks)
    hosts = {
        "good": host(1), "bad": host(2), "unit": host(2, __trading_agent_plan={"config": "", "environment": None}),
        "new": host(2, __hosttune_releases={"complete": []}),
    }  # fmt: skip
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    play = {
        "hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.import_tasks": "tasks.yml"}],
        "vars": {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
            "trading_agent_user": USER, "trading_agent_group": GROUP, "__trading_agent_cache": str(release.cache),
            "__hosttune_release": "1.0-abc",
        },
    }  # fmt: skip
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))

    def run(*options: str) -> dict[str, list[str]]:
        done = subprocess.run(
            [PLAYBOOK, "-v", "--forks", "4", "-i", "hosts.yml", *options, "play.yml"], cwd=tmp_path,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(tmp_path / "home")},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert not re.search(r"changed=[1-9]", done.stdout)
        failed = re.findall(r"^fatal: \[(\w+)\].*?=> (\{.*?\})$", done.stdout, re.MULTILINE | re.DOTALL)
        assert failed, done.stdout + done.stderr
        return {name: json.loads(text)["msg"] for name, text in failed}

    refusal = ["trading_agent_config, as agent.toml:", "agent.toml:3: a", "agent.toml:4: b"]
    assert run() == {"bad": refusal, "new": refusal}
    assert run("--check") == {"bad": refusal}
