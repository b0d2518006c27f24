"""irq_affinity.irqbalance: what the process was told, and what the unit will tell it."""

from __future__ import annotations

import re
import subprocess

import pytest

from hosttune.checks import irq_affinity
from hosttune.checks.irq_affinity import Section

from .test_irq_affinity import ETC, files

UNIT = "[Service]\nEnvironmentFile=-/etc/default/irqbalance\nExecStart=/usr/sbin/irqbalance\n"
INSTALLED = {"/usr/lib/systemd/system/irqbalance.service": UNIT}
ENABLED = {**INSTALLED, f"{ETC}/multi-user.target.wants/irqbalance.service": UNIT}
RUNNING = {
    **ENABLED,
    "/proc/8/comm": "irqbalance\n",
    "/proc/8/status": "Name:\tirqbalance\nUid:\t0\t0\t0\t0\n",
    "/proc/8/cgroup": "0::/system.slice/irqbalance.service\n",
    "/proc/8/environ": "IRQBALANCE_BANNED_CPULIST=2-3\0",
}
# A process that any user can start.
STRANGER = {
    "/proc/9/comm": "irqbalance\n",
    "/proc/9/status": "Name:\tirqbalance\nUid:\t12345\t12345\t12345\t12345\n",
    "/proc/9/cgroup": "0::/user.slice/user-12345.slice/session-1.scope\n",
    "/proc/9/environ": "IRQBALANCE_BANNED_CPULIST=0-999999999\0",
}
TOLD = "IRQBALANCE_BANNED_CPULIST=2-3\0"
SILENT = {**RUNNING, "/proc/8/environ": "A=1\0"}
KEPT_FREE = {
    "/proc/sys/kernel/osrelease": "6.1.0-28-amd64\n",
    "/sys/devices/system/cpu/isolated": "2\n",
    "/sys/devices/system/cpu/nohz_full": "3\n",
    "/boot/grub/grub.cfg": "menuentry 'Linux' {\n linux /vmlinuz ro irqaffinity=0-1 isolcpus=2 nohz_full=3\n}\n",
}
BANNED = {"/etc/default/irqbalance": "IRQBALANCE_BANNED_CPULIST=2-3\n"}


@pytest.fixture
def run(fake_host):
    def run(changes, wanted, deny=()):
        contents = {**files(), **changes}
        host = fake_host({path: text for path, text in contents.items() if text is not None})
        for path in deny:
            host.deny(path)
        facts = irq_affinity.facts(host, wanted)
        return {f.id.removeprefix("irq_affinity."): f for f in irq_affinity.check(wanted, facts, None)}

    return run


class TestIrqbalance:
    @pytest.mark.parametrize(
        ("wanted", "changes", "status"),
        [
            ("banned", INSTALLED, "pass"),  # neither running nor enabled
            ("banned", {**RUNNING, **BANNED}, "pass"),
            ("banned", RUNNING, "volatile"),
            ("banned", {**RUNNING, **BANNED, "/proc/8/environ": "A=1\0"}, "fail"),
            ("banned", {**RUNNING, **BANNED, "/proc/8/environ": "IRQBALANCE_BANNED_CPULIST=3\0"}, "fail"),
            ("banned", {**RUNNING, **BANNED, "/proc/8/environ": "IRQBALANCE_BANNED_CPUS=c\0"}, "pass"),
            ("banned", ENABLED, "volatile"),
            # What it does not understand bans nothing.
            ("banned", {**RUNNING, "/etc/default/irqbalance": "IRQBALANCE_BANNED_CPULIST=2-N\n"}, "volatile"),
            ("banned", {**RUNNING, **BANNED, "/proc/8/environ": "IRQBALANCE_BANNED_CPULIST=2-N\0"}, "fail"),
            ("banned", {**RUNNING, "/etc/default/irqbalance": "IRQBALANCE_BANNED_CPULIST=2-3 # quiet\n"}, "volatile"),
            ("banned", {**RUNNING, "/etc/default/irqbalance": "export IRQBALANCE_BANNED_CPULIST=2-3\n"}, "volatile"),
            ("banned", {**RUNNING, "/etc/default/irqbalance": "IRQBALANCE_BANNED_CPULIST='2-3'\n"}, "pass"),
            ("banned", {**RUNNING, "/etc/default/irqbalance": "IRQBALANCE_BANNED_CPULIST=\n"}, "unknown"),
            # The mask goes before the list.
            ("banned", {**RUNNING, **BANNED, "/proc/8/environ": "IRQBALANCE_BANNED_CPUS=0\0" + TOLD}, "fail"),
            # Told nothing, it leaves alone what is isolated or in nohz_full, now and after the next boot.
            ("banned", {**SILENT, **KEPT_FREE}, "pass"),
            ("banned", {**SILENT, **KEPT_FREE, "/boot/grub/grub.cfg": ""}, "unknown"),
            ("banned", {**SILENT, **KEPT_FREE, "/sys/devices/system/cpu/isolated": "\n"}, "fail"),
            ("stopped", INSTALLED, "pass"),
            ("stopped", {**RUNNING, **BANNED}, "fail"),
            ("stopped", ENABLED, "volatile"),
            ("stopped", {**INSTALLED, f"{ETC}/irqbalance.service": ""}, "pass"),  # masked
        ],
    )
    def test_status(self, run, wanted, changes, status):
        found = run(changes, wanted=Section(housekeeping="0-1", irqbalance=wanted))["irqbalance"]
        assert found.status == status
        assert bool(found.fix) == (status != "pass")

    def test_unreadable(self, run):
        changes = {**RUNNING, **BANNED}
        wanted = Section(housekeeping="0-1", irqbalance="banned")
        for path in ("/proc/8/environ", "/proc/8/status", "/etc/default/irqbalance", ETC):
            assert run(changes, wanted=wanted, deny=[path])["irqbalance"].status == "unknown"

    @pytest.mark.parametrize("environment", ["IRQBALANCE_BANNED_CPULIST=2-3\0", "A=1\0", None])
    @pytest.mark.parametrize("base", [INSTALLED, ENABLED, {**RUNNING, **BANNED}, {**RUNNING, "/proc/8/environ": ""}])
    @pytest.mark.parametrize("wanted", ["banned", "stopped"])
    def test_a_strangers_process_of_that_name_changes_nothing(self, run, wanted, base, environment):
        section = Section(housekeeping="0-1", irqbalance=wanted)
        stranger = STRANGER if environment is None else {**STRANGER, "/proc/9/environ": environment}
        # Also with a lower number than the true one's, where the first that is found would count.
        lower = {path.replace("/9/", "/3/"): text for path, text in stranger.items()}
        expected = run(base, wanted=section)["irqbalance"]
        assert run({**base, **stranger}, wanted=section)["irqbalance"] == expected
        assert run({**base, **lower}, wanted=section)["irqbalance"] == expected

    def test_processes_that_are_hidden(self, run):
        changes = {**INSTALLED, "/proc/1/comm": None, "/proc/9/comm": "sh\n"}
        assert run(changes, wanted=Section(housekeeping="0-1", irqbalance="stopped"))["irqbalance"].status == "unknown"

    @pytest.mark.parametrize(
        "text",
        ["", "IRQBALANCE_BANNED_CPULIST=2-N", "IRQBALANCE_BANNED_CPUS=1\nIRQBALANCE_BANNED_CPULIST='2-3'\n", None],
    )
    @pytest.mark.parametrize("unit", [UNIT, UNIT.replace("EnvironmentFile=-/etc/default/irqbalance\n", "")])
    def test_its_commands_tell_the_unit(self, run, tmp_path, text, unit):
        """But for those that restart it: what they write is what the next start reads."""
        wanted = Section(housekeeping="0-1", irqbalance="banned")
        changes = {path: unit if value == UNIT else value for path, value in RUNNING.items()}
        changes["/etc/default/irqbalance"] = text
        found = run(changes, wanted=wanted)["irqbalance"]
        (tmp_path / "etc/default").mkdir(parents=True)
        if text is not None:
            (tmp_path / "etc/default/irqbalance").write_text(text)
        lines = [line for line in found.fix.splitlines() if not line.startswith("systemctl ")]
        script = re.sub("(> |-p )(/etc/)", lambda match: f"{match[1]}{tmp_path}{match[2]}", "\n".join(lines))
        subprocess.run(["sh", "-euc", script], check=True)
        written = {f"/{path.relative_to(tmp_path)}": path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
        assert run({**changes, **written}, wanted=wanted)["irqbalance"].status == "pass"

    def test_ignore(self, run):
        assert "irqbalance" not in run({}, wanted=Section(housekeeping="0-1"))
