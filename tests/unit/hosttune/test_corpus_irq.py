"""Hosts with something about interrupts, irqbalance or CPUs broken, or merely written otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Hosts, replace

ENVIRON = "/proc/500/environ"
DROP_IN = f"{golden.UNITS}/irqbalance.service.d/hosttune.conf"
LATER = f"{golden.UNITS}/irqbalance.service.d/zz.conf"
DEFAULT = "/etc/default/irqbalance"
IRQBALANCE = "irq_affinity.irqbalance"
WRONG, RIGHT = {IRQBALANCE: "fail"}, dict[str, str]()
AT_BOOT = {IRQBALANCE: "volatile"}
MASK, LIST = "IRQBALANCE_BANNED_CPUS", "IRQBALANCE_BANNED_CPULIST"
MLX5 = "mlx5_comp0@pci:0000:01:00.0"
UNSEEN = {"cpu_isolation.threads": "unknown", "cpu_isolation.rcu_nocbs": "unknown"}
NO_IRQBALANCE: Changes = {path: None for path in (*golden.FILES, *golden.LINKS) if path.startswith("/proc/500/")}
ENABLED = f"{golden.UNITS}/multi-user.target.wants/irqbalance.service"
SERVICE = "/usr/lib/systemd/system/irqbalance.service"


def run(*words: str) -> Changes:
    """irqbalance runs with these words in its environment."""
    return {ENVIRON: "PATH=/usr/bin\0" + "".join(f"{word}\0" for word in words)}


def drop_in(text: str) -> Changes:
    return {DROP_IN: f"[Service]\n{text}\n"}


def later(text: str) -> Changes:
    return {LATER: f"[Service]\n{text}\n"}


def row(number: int, line: str, actions: str | None, cpu: str = "2", effective: str | None = None) -> Changes:
    """One more interrupt."""
    counts = " ".join("9" if str(each) == cpu else "0" for each in range(8))
    table = golden.FILES["/proc/interrupts"].replace("NMI:", f"{number}: {counts}  {line}\nNMI:")
    changes: Changes = {
        "/proc/interrupts": table,
        f"/proc/irq/{number}/smp_affinity_list": f"{cpu}\n",
        f"/proc/irq/{number}/effective_affinity_list": f"{effective or cpu}\n",
    }
    return changes | ({f"/sys/kernel/irq/{number}/actions": f"{actions}\n"} if actions is not None else {})


def stray(number: int, status: str) -> dict[str, str]:
    return {f"irq_affinity.irq.{number}=": status}


def second_process(environ: str) -> Changes:
    """irqbalance runs twice."""
    files: Changes = {
        path.replace("/500/", "/501/"): text.replace("500", "501")
        for path, text in golden.FILES.items()
        if path.startswith("/proc/500/")
    }
    files = {path.replace("/task/500/", "/task/501/"): text for path, text in files.items()}
    return {**files, "/proc/501/environ": environ, "/proc/501/exe": "-> /usr/sbin/irqbalance"}


HOSTS: Hosts = {
    # --- what the running irqbalance was told ---
    "N": (run(f"{LIST}=2-N"), WRONG),
    "all": (run(f"{LIST}=all"), WRONG),
    "a stride": (run(f"{LIST}=2-3:1/1"), WRONG),
    "one and one": (run(f"{LIST}=2,3"), RIGHT),
    "more than needed": (run(f"{LIST}=2-4"), RIGHT),
    "one too few": (run(f"{LIST}=2"), WRONG),
    "a blank between": (run(f"{LIST}=2, 3"), WRONG),
    "blanks around": (run(f"{LIST}= 2-3"), RIGHT),
    "backwards": (run(f"{LIST}=3-2"), WRONG),
    "hexadecimal in a list": (run(f"{LIST}=0xc"), WRONG),
    "in quotes": (run(f'{LIST}="2-3"'), WRONG),
    "two dashes": (run(f"{LIST}=2--3"), WRONG),
    "zeros in front": (run(f"{LIST}=02-03"), RIGHT),
    "a comma at the end": (run(f"{LIST}=2-3,"), RIGHT),
    "words behind": (run(f"{LIST}=2-3 # isolated"), WRONG),
    "inverted": (run(f"{LIST}=^2-3"), WRONG),
    "semicolons": (run(f"{LIST}=2;3"), WRONG),
    "a mask": (run(f"{MASK}=c"), RIGHT),
    "a mask with zeros": (run(f"{MASK}=0000000c"), RIGHT),
    "a mask in capitals": (run(f"{MASK}=C"), RIGHT),
    "a mask in groups": (run(f"{MASK}=00000000,0000000c"), RIGHT),
    "a mask with 0x": (run(f"{MASK}=0xc"), WRONG),
    "a mask too small": (run(f"{MASK}=4"), WRONG),
    "a list in the mask": (run(f"{MASK}=2-3"), WRONG),
    "a mask before the list": (run(f"{LIST}=2-3", f"{MASK}=1"), WRONG),
    "a right mask before a wrong list": (run(f"{LIST}=0", f"{MASK}=c"), RIGHT),
    "an empty mask and a list": (run(f"{MASK}=", f"{LIST}=2-3"), RIGHT),
    "nothing: the isolated ones": (run(), RIGHT),
    "nothing and none isolated": (
        {**run(), f"{golden.CPUS}/isolated": "\n", f"{golden.CPUS}/nohz_full": "\n"},
        {**WRONG, "cpu_isolation.isolated": "fail", "cpu_isolation.nohz_full": "fail"},
    ),
    "another name": (run("IRQBALANCE_BANNED=2-3"), RIGHT),
    "small letters": (run("irqbalance_banned_cpulist=0"), RIGHT),
    "twice, the first counts": (run(f"{LIST}=2-3", f"{LIST}=0"), RIGHT),
    "twice, the first wrong": (run(f"{LIST}=0", f"{LIST}=2-3"), WRONG),
    "its environment refused": ({ENVIRON: "!EACCES"}, {IRQBALANCE: "unknown"}),
    "its program updated while it runs": ({"/proc/500/exe": "-> /usr/sbin/irqbalance (deleted)"}, RIGHT),
    "a second one, wrong": (second_process(f"PATH=/bin\0{LIST}=0\0"), WRONG),
    "a second one, right": (second_process(f"PATH=/bin\0{LIST}=2-3\0"), RIGHT),
    # --- what the unit will tell it ---
    "the unit: N": (drop_in(f"Environment={LIST}=2-N"), AT_BOOT),
    "the unit: in quotes": (drop_in(f'Environment="{LIST}=2-3"'), RIGHT),
    "the unit: the value in quotes": (drop_in(f'Environment={LIST}="2-3"'), RIGHT),
    "the unit: single quotes": (drop_in(f"Environment='{LIST}=2-3'"), RIGHT),
    "the unit: a blank outside of quotes": (drop_in(f"Environment={LIST}=2, 3"), AT_BOOT),
    "the unit: two in one line": (drop_in(f"Environment=A=b {LIST}=2-3"), RIGHT),
    "the unit: over two lines": (drop_in(f"Environment=A=b \\\n  {LIST}=2-3"), RIGHT),
    "the unit: reset": ({**drop_in(f"Environment={LIST}=0"), **later("Environment=")}, RIGHT),
    "the unit: the wrong section": ({DROP_IN: f"[Unit]\nEnvironment={LIST}=0\n"}, RIGHT),
    "the unit: small letters": (drop_in(f"environment={LIST}=0"), RIGHT),
    "the unit: a later drop-in": (later(f"Environment={LIST}=0"), AT_BOOT),
    "the unit: a mask in a later drop-in": (later(f"Environment={MASK}=1"), AT_BOOT),
    "the unit: a drop-in of all services": (
        {f"{golden.UNITS}/service.d/x.conf": f"[Service]\nEnvironment={LIST}=0\n"},
        RIGHT,
    ),
    "the unit: taken away again": (later(f"UnsetEnvironment={LIST}"), RIGHT),
    "the unit: taken away again, none isolated": (
        {
            **later(f"UnsetEnvironment={LIST}"),
            **replace("/boot/grub/grub.cfg", golden.BOOT, ""),
        },
        {
            **dict.fromkeys(("cpu_isolation.isolated", "cpu_isolation.managed", "cpu_isolation.nohz"), "volatile"),
            **dict.fromkeys(("cpu_isolation.rcu", "cpu_isolation.irqaffinity"), "volatile"),
            **AT_BOOT,
        },
    ),
    "the unit: below /run": ({DROP_IN: None, f"/run{DROP_IN[4:]}": f"[Service]\nEnvironment={LIST}=0\n"}, RIGHT),
    "the unit: below /usr/local/lib": (
        {"/usr/local/lib/systemd/system/irqbalance.service.d/zz.conf": f"[Service]\nEnvironment={LIST}=0\n"},
        AT_BOOT,
    ),
    "the unit: of the host's own": (
        {
            f"{golden.UNITS}/irqbalance.service": f"[Service]\nExecStart=/usr/sbin/irqbalance\n"
            f"Environment={LIST}=2-3\n",
            DROP_IN: None,
        },
        RIGHT,
    ),
    "the file: wrong": ({DEFAULT: f"{LIST}=2\n"}, AT_BOOT),
    "the file: right": ({DEFAULT: f"{LIST}=2-3\n", DROP_IN: None}, RIGHT),
    "the file: in quotes": ({DEFAULT: f'{LIST}="2-3"\n', DROP_IN: None}, RIGHT),
    "the file: exported": ({DEFAULT: f"export {LIST}=0\n"}, RIGHT),
    "the file: a comment": ({DEFAULT: f"#{LIST}=0\n; {LIST}=0\n"}, RIGHT),
    "the file: blanks around the sign": ({DEFAULT: f"{LIST} = 0\n"}, AT_BOOT),
    "the file: CRLF": ({DEFAULT: f"{LIST}=2-3\r\n", DROP_IN: None}, RIGHT),
    "the file: a remark behind": ({DEFAULT: f"{LIST}=2-3 # isolated\n"}, AT_BOOT),
    "the file: twice": ({DEFAULT: f"{LIST}=0\n{LIST}=2-3\n"}, RIGHT),
    "the file: a mask": ({DEFAULT: f"{MASK}=00000001\n"}, AT_BOOT),
    "the file: goes before Environment=": ({DEFAULT: f"{LIST}=0\n"}, AT_BOOT),
    "the file: goes before a later drop-in": ({DEFAULT: f"{LIST}=0\n", **later(f"Environment={LIST}=2-3")}, AT_BOOT),
    "the file: reset": ({DEFAULT: f"{LIST}=0\n", **later("EnvironmentFile=")}, RIGHT),
    "the file: another one": (
        {**later("EnvironmentFile=/etc/sysconfig/irqbalance"), "/etc/sysconfig/irqbalance": f"{LIST}=0\n"},
        AT_BOOT,
    ),
    "the file: below /run": (
        {**later("EnvironmentFile=-/run/irqbalance.env"), "/run/irqbalance.env": f"{LIST}=0\n"},
        RIGHT,
    ),
    "the file: right, below /run, and none isolated": (
        {
            **later(f"Environment={LIST}=0\nEnvironmentFile=-/run/irqbalance.env"),
            "/run/irqbalance.env": f"{LIST}=2-3\n",
        },
        AT_BOOT,
    ),
    "the file: a link to what is gone": (
        {**drop_in(f"Environment={LIST}=0"), DEFAULT: "-> /run/desk/irqb", "/run/desk/irqb": f"{LIST}=2-3\n"},
        AT_BOOT,
    ),
    "the file: a link to what is gone, and no need of it": (
        {DEFAULT: "-> ../../run/desk/irqb", "/run/desk/irqb": f"{LIST}=0\n"},
        RIGHT,
    ),
    "the file: a link to what stays": (
        {**drop_in(f"Environment={LIST}=0"), DEFAULT: "-> /etc/desk/irqb", "/etc/desk/irqb": f"{LIST}=2-3\n"},
        RIGHT,
    ),
    "the file: a link to nothing": ({DEFAULT: "-> /dev/null"}, RIGHT),
    "the manager's list": ({"/etc/systemd/system.conf.d/x.conf": f"[Manager]\nDefaultEnvironment={LIST}=0\n"}, RIGHT),
    "the manager's list alone": (
        {DROP_IN: None, "/etc/systemd/system.conf.d/x.conf": f"[Manager]\nDefaultEnvironment={LIST}=0\n"},
        AT_BOOT,
    ),
    "the manager's mask": ({"/etc/systemd/system.conf.d/x.conf": f"[Manager]\nDefaultEnvironment={MASK}=1\n"}, AT_BOOT),
    # --- whether it runs ---
    "it does not run and is not enabled": ({**NO_IRQBALANCE, ENABLED: None}, RIGHT),
    "it does not run and is masked": (
        {**NO_IRQBALANCE, DROP_IN: None, f"{golden.UNITS}/irqbalance.service": "-> /dev/null"},
        RIGHT,
    ),
    "it is not installed": ({**NO_IRQBALANCE, ENABLED: None, SERVICE: None, DROP_IN: None}, {IRQBALANCE: "na"}),
    "it runs and is not enabled": ({ENABLED: None, **run(f"{LIST}=0")}, WRONG),
    "it will run, wrongly": ({**NO_IRQBALANCE, **drop_in(f"Environment={LIST}=0")}, AT_BOOT),
    "enabled by another target": (
        {
            **NO_IRQBALANCE,
            ENABLED: None,
            f"{golden.UNITS}/graphical.target.wants/irqbalance.service": f"-> {SERVICE}",
            **drop_in(f"Environment={LIST}=0"),
        },
        AT_BOOT,
    ),
    # --- rows of /proc/interrupts ---
    "Hyper-V": (row(40, "Hyper-V PCIe MSI 536870913-edge      nvme0q1", "nvme0q1"), stray(40, "warn")),
    "Hyper-V, a card": (row(40, "Hyper-V PCIe MSI 536870913-edge      eth1", "eth1"), stray(40, "fail")),
    "remapped": (row(45, "IR-PCI-MSI-edge      eth1-TxRx-0", "eth1-TxRx-0"), stray(45, "fail")),
    "remapped, no file of the kernel": (row(45, "IR-PCI-MSI-edge      eth1-TxRx-0", None), stray(45, "fail")),
    "new names of chips": (
        row(46, f"IR-PCI-MSIX-0000:01:00.0    1-edge      {MLX5}", MLX5),
        stray(46, "fail"),
    ),
    "in place": (row(46, "PCI-MSIX-0000:01:00.0    1-edge      eth1-rx-1", "eth1-rx-1", cpu="5"), RIGHT),
    "shared": (
        row(47, "IO-APIC   16-fasteoi   ehci_hcd:usb1, i801_smbus", "ehci_hcd:usb1,i801_smbus"),
        stray(47, "fail"),
    ),
    "Arm": (row(48, "GICv3  97 Level     eth1", "eth1"), stray(48, "fail")),
    "Arm, each CPU's own": (row(48, "GICv3  27 Level     arch_timer", "arch_timer"), RIGHT),
    "Xen": (row(49, "xen-pirq    -msi-x     eth1-q0", "eth1-q0"), stray(49, "fail")),
    "Xen, each CPU's own": (row(49, "xen-percpu    -virq      timer0", "timer0"), RIGHT),
    "cannot be named": (row(50, "something odd", None), stray(50, "unknown")),
    "requested by nobody": (row(51, "PCI-MSI 5-edge", ""), RIGHT),
    "a name with blanks": (row(52, "IO-APIC   17-fasteoi   Intel(R) card 1", "Intel(R) card 1"), stray(52, "fail")),
    "managed": (row(53, "PCI-MSI 7-edge      nvme0q3", "nvme0q3"), stray(53, "warn")),
    "managed as the kernel says": (
        {
            **row(53, "PCI-MSI 7-edge      odd-q3", "odd-q3"),
            "/sys/kernel/debug/irq/irqs/53": "dstate: IRQD_AFFINITY_MANAGED\n",
        },
        stray(53, "warn"),
    ),
    "the effective one counts": (
        row(54, "PCI-MSI 8-edge      eth1", "eth1", cpu="0", effective="2"),
        stray(54, "warn"),
    ),
    "allowed on all, and delivered elsewhere": (
        {**row(55, "PCI-MSI 9-edge      eth1", "eth1", cpu="4"), "/proc/irq/55/smp_affinity_list": "0-7\n"},
        RIGHT,
    ),
    "allowed on all, delivered there": (
        {**row(55, "PCI-MSI 9-edge      eth1", "eth1", cpu="3"), "/proc/irq/55/smp_affinity_list": "0-7\n"},
        stray(55, "fail"),
    ),
    "its affinity refused": (
        {**row(57, "PCI-MSI 9-edge      eth1", "eth1", cpu="4"), "/proc/irq/57/smp_affinity_list": "!EIO"},
        stray(57, "unknown"),
    ),
    "a queue elsewhere": (
        {"/proc/irq/29/effective_affinity_list": "0\n", "/proc/irq/29/smp_affinity_list": "0\n"},
        {"irq_affinity.queues.eth0": "fail"},
    ),
    "the default": (
        {"/proc/irq/default_smp_affinity": "ff\n"},
        {"irq_affinity.default": "fail", "cpu_isolation.irqaffinity": "fail"},
    ),
    "the default in groups": ({"/proc/irq/default_smp_affinity": "00000000,000000f3\n"}, RIGHT),
    # --- CPUs ---
    "an isolated CPU is offline": (
        {f"{golden.CPUS}/online": "0-2,4-7\n", f"{golden.CPUS}/offline": "3\n", f"{golden.CPUS}/cpu3/online": "0\n"},
        {"cpu_isolation.isolated": "fail"},
    ),
    "another CPU is offline": (
        {f"{golden.CPUS}/online": "0-6\n", f"{golden.CPUS}/offline": "7\n", f"{golden.CPUS}/cpu7/online": "0\n"},
        RIGHT,
    ),
    "more CPUs are possible than present": (
        {f"{golden.CPUS}/possible": "0-15\n", f"{golden.CPUS}/offline": "8-15\n"},
        {IRQBALANCE: "fail"},
    ),
    "hardware threads share a core": (
        {
            f"{golden.CPUS}/cpu2/topology/thread_siblings_list": "2,6\n",
            f"{golden.CPUS}/cpu6/topology/thread_siblings_list": "2,6\n",
        },
        {"cpu_isolation.siblings": "warn"},
    ),
    # --- threads ---
    "a thread's directory refused": ({"/proc/900/task": "!EACCES"}, UNSEEN),
    "a thread refused": ({"/proc/900/task/901/status": "!EACCES"}, UNSEEN),
    "a thread that may run there": (
        replace("/proc/900/task/901/status", "Cpus_allowed_list:\t0-1,4-7", "Cpus_allowed_list:\t0-7"),
        {"cpu_isolation.threads": "warn"},
    ),
    "PID 1 may run there": (
        {
            **replace("/proc/1/status", "Cpus_allowed_list:\t0-1,4-7", "Cpus_allowed_list:\t0-7"),
            **replace("/proc/1/task/1/status", "Cpus_allowed_list:\t0-1,4-7", "Cpus_allowed_list:\t0-7"),
        },
        {"cpu_isolation.systemd": "fail", "cpu_isolation.threads": "warn"},
    ),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)
