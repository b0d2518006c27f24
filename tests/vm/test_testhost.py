"""A real guest: has the hardware that was asked for, is reached by keys of its own, reboots, is restored, goes away."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import testhost
from testhost.cache import read_json
from testhost.process import Process
from testhost.ssh import Access

pytestmark = pytest.mark.vm

NAME = "testhost-test"
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def host() -> Iterator[testhost.Host]:
    testhost.Host(testhost.Cache(), NAME).stop()
    with testhost.running(NAME, cpus=4, memory=3072, numa=2, nic="vmxnet3", timeout=600, progress=print) as host:
        yield host


def out(host: testhost.Host, command: str) -> str:
    return host.run(command, check=True, timeout=120).stdout.strip()


def clock_offset(host: testhost.Host) -> float:
    """Seconds by which the guest's clock is ahead, up to the time that the ssh command takes."""
    before = time.time()
    guest = float(out(host, "date +%s.%N"))
    after = time.time()
    return 0.0 if before <= guest <= after else guest - (before if guest < before else after)


def cli(*args: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "testhost", *args]
    return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=timeout, check=False)


def test_hardware_is_what_was_asked_for(host: testhost.Host) -> None:
    assert out(host, "nproc --all") == "4"
    assert out(host, "cat /sys/devices/system/node/node0/cpulist /sys/devices/system/node/node1/cpulist") == "0-1\n2-3"
    assert out(host, "cat /sys/devices/system/node/node0/distance").split() == ["10", "21"]
    for node in (0, 1):
        total = int(out(host, f"awk '/MemTotal/ {{print $4}}' /sys/devices/system/node/node{node}/meminfo"))
        assert 1250 * 1024 < total < 1536 * 1024
    assert out(host, "ls /sys/class/net/eth0/queues").split() == [f"{d}-{n}" for d in ("rx", "tx") for n in range(4)]
    assert out(host, "grep -c eth0-rxtx /proc/interrupts") == "4"


def test_the_kernel_can_do_what_the_roles_need(host: testhost.Host) -> None:
    config = out(host, "cat /boot/config-$(uname -r)").splitlines()
    assert {"CONFIG_NO_HZ_FULL=y", "CONFIG_RCU_NOCB_CPU=y", "CONFIG_TCP_CONG_BBR=m", "CONFIG_NET_SCH_FQ=m"} <= set(
        config
    )


def test_everything_is_started_and_nobody_from_the_roles_is_there(host: testhost.Host) -> None:
    assert out(host, "systemctl is-system-running") == "running"
    assert "systemd-logind.service" in out(host, "systemctl list-units --state=running --no-legend")
    assert host.run(["id", "trader"]).returncode == 1
    assert host.run(["sudo", "-n", "id", "-u"], user="ops", check=True).stdout.strip() == "0"
    assert out(host, "python3 -m venv --without-pip /tmp/venv && /tmp/venv/bin/python -c 'print(1)'") == "1"


def test_keys_are_its_own_and_private(host: testhost.Host) -> None:
    access = host.access
    assert stat.S_IMODE(access.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(host.directory.stat().st_mode) == 0o700
    public = access.key.with_suffix(".pub").read_text().split()[1]
    assert out(host, "cat /root/.ssh/authorized_keys /home/ops/.ssh/authorized_keys").count(public) == 2
    assert out(host, "cat /root/.ssh/authorized_keys /home/ops/.ssh/authorized_keys").count("\n") == 1
    # The key that all guests of the image share opens nothing any more.
    image_key = host.cache.images / host.config()["image"] / "build_key"
    old = Access(access.port, image_key, access.known_hosts)
    refused = subprocess.run(old.argv("root", ["true"]), capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 255 and "Permission denied" in refused.stderr


def test_the_clock_is_right_after_the_start(host: testhost.Host) -> None:
    assert abs(clock_offset(host)) < 1.0
    rtc = int(out(host, 'date --utc --date "$(cat /sys/class/rtc/rtc0/date /sys/class/rtc/rtc0/time | xargs)" +%s'))
    assert abs(rtc - time.time()) < 20


def test_the_guest_cannot_reach_this_machine(host: testhost.Host) -> None:
    probe = "import socket; socket.create_connection(('10.0.2.2', 22), 5)"
    assert host.run(["python3", "-c", probe]).returncode == 1


def test_words_and_shell_text_arrive_as_they_are(host: testhost.Host) -> None:
    assert host.run(["printf", "%s|", "two words", "$HOME", "a'b"]).stdout == "two words|$HOME|a'b|"
    assert host.run("echo $((6 * 7)); exit 3").returncode == 3
    assert host.run(["cat"], input="from here").stdout == "from here"
    with pytest.raises(testhost.TesthostError, match="not over within"):
        host.run(["sleep", "60"], timeout=3)


def test_ssh_config_works_with_plain_ssh(host: testhost.Host, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(cli("ssh-config", NAME, "--user", "ops").stdout)
    done = subprocess.run(
        ["ssh", "-F", str(config), NAME, "id -un; hostname"], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.stdout.split() == ["ops", NAME]


def test_a_saved_state_comes_back_with_the_right_clock(host: testhost.Host) -> None:
    out(host, "echo before > /root/mark; sync")
    host.save("marked")
    assert host.tags() == ["marked"]
    boot = out(host, "cat /proc/sys/kernel/random/boot_id")
    out(host, "echo after > /root/mark; touch /root/later; sync")
    time.sleep(3)
    qemu = host.state()["qemu"]
    host.restore("marked")
    assert abs(clock_offset(host)) < 1.0
    assert out(host, "cat /root/mark; ls /root/later 2>&1 | grep -c 'No such'") == "before\n1"
    assert out(host, "cat /proc/sys/kernel/random/boot_id") == boot
    assert host.state()["qemu"] != qemu
    with pytest.raises(testhost.UsageError, match="no saved state 'other'; it has: marked"):
        host.restore("other")


def test_a_reboot_goes_through_the_boot_menu_that_update_grub_wrote(host: testhost.Host) -> None:
    boot, cmdline = out(host, "cat /proc/sys/kernel/random/boot_id"), out(host, "cat /proc/cmdline")
    qemu = host.state()["qemu"]
    extra = 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX isolcpus=managed_irq,domain,2-3 nohz_full=2-3"'
    out(host, f"echo '{extra}' > /etc/default/grub.d/50-test.cfg; update-grub 2>&1")
    host.reboot(600)
    assert out(host, "cat /proc/sys/kernel/random/boot_id") != boot
    assert host.state()["qemu"] != qemu and host.state()["kind"] == "reboot"
    # But for what was added, the menu gives what the image's first menu gave.
    assert out(host, "cat /proc/cmdline") == f"{cmdline} isolcpus=managed_irq,domain,2-3 nohz_full=2-3"
    assert out(host, "cat /sys/devices/system/cpu/isolated /sys/devices/system/cpu/nohz_full") == "2-3\n2-3"
    assert abs(clock_offset(host)) < 1.5


def test_a_second_start_of_the_name_is_refused(host: testhost.Host) -> None:
    done = cli("start", NAME)
    assert done.returncode == 2 and "already runs" in done.stderr


def test_a_panic_is_told_at_once(host: testhost.Host) -> None:
    host.save("well")
    with pytest.raises(testhost.TesthostError):
        host.run("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger", timeout=15)
    with pytest.raises(testhost.TesthostError, match=r"(?s)is panicked.*Kernel panic - not syncing: sysrq"):
        host.wait(60)
    # The saved state brings it back.
    host.restore("well")
    assert out(host, "echo well") == "well"


def test_stop_leaves_no_process_and_no_key(host: testhost.Host) -> None:
    """The last one that uses the shared host."""
    state = host.state()
    processes = [Process.from_json(state[which]) for which in ("supervisor", "qemu")]
    assert all(process is not None and process.alive() for process in processes)
    done = cli("stop", NAME)
    assert done.returncode == 0, done.stderr
    assert not any(process is not None and process.alive() for process in processes)
    assert not host.directory.exists()
    assert (host.cache.logs / f"{NAME}-serial.log").exists()


def qemu_of(host: testhost.Host) -> Process:
    state = read_json(host.directory / "state.json")
    assert state is not None
    process = Process.from_json(state["qemu"])
    assert process is not None
    return process


def test_a_killed_supervisor_takes_its_guest_along() -> None:
    with testhost.running(NAME, timeout=600) as host:
        qemu = qemu_of(host)
        supervisor = Process.from_json(host.state()["supervisor"])
        assert supervisor is not None and supervisor.end(signal.SIGKILL, 5)
        deadline = time.monotonic() + 10
        while qemu.alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not qemu.alive()
        with pytest.raises(testhost.TesthostError, match="its supervisor was killed"):
            host.wait(30)
        # A dead host's name can be taken again without a word.
        assert cli("start", NAME, "--no-wait").returncode == 0
        cli("wait", NAME)
        host.run(["systemctl", "--no-block", "poweroff"], check=True)
        with pytest.raises(testhost.TesthostError, match="the guest powered itself off"):
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                host.wait(30)
                time.sleep(0.5)
    assert not host.directory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["not yet recorded", "qemu runs"])
def test_a_signal_in_the_middle_of_a_start_leaves_nothing(number: signal.Signals, moment: str) -> None:
    host = testhost.Host(testhost.Cache(), NAME)
    process = subprocess.Popen(
        [sys.executable, "-m", "testhost", "start", NAME, "--fresh"],
        cwd=CHECKOUT,
        # A shell that runs the tests in its background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        wanted = host.directory / ("config.json" if moment == "not yet recorded" else "state.json")
        while not wanted.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        qemu = qemu_of(host) if moment == "qemu runs" else None
        process.send_signal(number)
        assert process.wait(60) != 0
        assert qemu is None or not qemu.alive()
        assert not host.directory.exists()
        assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and names(pid, str(host.directory))]
    finally:
        process.kill()
        process.wait()
        host.stop()


def names(pid: str, text: str) -> bool:
    """Whether a process has this text in its command line or works in that directory."""
    try:
        link = os.readlink(f"/proc/{pid}/cwd")
        return text.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() or link.startswith(text)
    except OSError:
        return False
