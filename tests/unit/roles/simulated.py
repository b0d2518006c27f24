"""A host in memory that the roles tune: what they write takes effect as the kernel and the boot make it do.

The simulation knows what is needed of sysctl.d(5), tmpfiles.d(5), modules-load.d(5), GRUB's drop-ins (by the shell),
the boot arguments of the roles, and the program irq_affinity; nothing of it comes from hosttune.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from tests.unit.hosttune import golden
from tests.unit.hosttune.conftest import FakeHost
from tests.unit.roles.plans import host_facts

CPUS = 8
RELEASE = "6.1.0-28-amd64"
POOL = re.compile(r"/sys/devices/system/node/node(\d+)/hugepages/hugepages-(\d+)kB/nr_hugepages")
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
DEFAULTS = {"net.core.default_qdisc": "pfifo_fast", "net.ipv4.tcp_congestion_control": "cubic"}


def read_list(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(",") if text else []:
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def show_list(cpus: Iterable[int]) -> str:
    return ",".join(map(str, sorted(cpus)))


class Simulated:
    """Debian 12 with eight possible CPUs and two nodes, as nobody has tuned it yet.

    offline, absent: CPUs that are. lacks: of `thp`, `busy` (polling), `fq`, `bbr`, `1G`, `node1` (its memory),
    `nohz` (CONFIG_NO_HZ_FULL). builtin: of `fq` and `bbr`, what is no module. keys: the sysctls of the roles' defaults
    and more.
    """

    def __init__(
        self, keys: Iterable[str], offline: set[int], absent: set[int], lacks: set[str], builtin: set[str]
    ) -> None:
        self.host = FakeHost({path: text for path, text in golden.FILES.items() if "hosttune" not in path})
        self.host.links.update({path: to for path, to in golden.LINKS.items() if "hosttune" not in path})
        files = self.files = self.host.files
        for path in list(files):
            if path.startswith(("/proc/900/", "/proc/sys/net/")) or (re.search(r"/cpu[0-9]+/", path) and absent):
                del files[path]
        self.lacks, self.builtin = lacks, builtin
        self.online = set(range(CPUS)) - offline - absent
        cpus = "/sys/devices/system/cpu"
        files[f"{cpus}/present"] = f"{show_list(set(range(CPUS)) - absent)}\n"
        files[f"{cpus}/online"] = f"{show_list(self.online)}\n"
        files[f"{cpus}/offline"] = f"{show_list(set(range(CPUS)) - self.online)}\n"
        for cpu in set(range(CPUS)) - absent:
            files[f"{cpus}/cpu{cpu}/online"] = f"{int(cpu in self.online)}\n"
            if cpu in self.online:
                files[f"{cpus}/cpu{cpu}/topology/thread_siblings_list"] = f"{cpu}\n"
        for path in list(files):
            gone = ("node1" in lacks and "/node1/hugepages/" in path) or ("1G" in lacks and "-1048576kB" in path)
            if gone or ("thp" in lacks and "/transparent_hugepage/" in path):
                del files[path]
        for key in keys:
            if not ("busy" in lacks and key.startswith("net.core.busy_")):
                files[f"/proc/sys/{key.replace('.', '/')}"] = "1\n"
        files["/usr/sbin/update-grub"] = "#!/bin/sh\n"
        index = f"/lib/modules/{RELEASE}"
        self.modules = {"bbr": "tcp_bbr", "fq": "sch_fq"}
        for name, text in (("modules.builtin", builtin - lacks), ("modules.dep", {"bbr", "fq"} - builtin - lacks)):
            lines = [
                f"kernel/net/{self.modules[one]}.ko{':' if name.endswith('dep') else ''}\n" for one in sorted(text)
            ]
            files[f"{index}/{name}"] = files[f"/usr{index}/{name}"] = "kernel/x.ko:\n" + "".join(lines)
        self.boot()

    # --- the roles' side ----------------------------------------------------------------------------------

    def ask(self, names: Iterable[str], defaults: dict[str, Any]) -> Any:
        """Returns what a plan reads of the host."""
        found: dict[str, str | None] = {}
        for name in names:
            kind, _, rest = name.partition(":")
            if kind == "module":
                known = {module: one for one, module in self.modules.items() if one not in self.lacks}
                found[name] = "builtin" if known.get(rest) in self.builtin else "module" if rest in known else None
            elif kind == "files":
                found |= {path: text.rstrip() for path, text in self.files.items() if PurePath(path).match(rest)}
            elif name.startswith("/"):
                text = self.host.read(name).value
                if text is None and any(path.startswith(f"{name}/") for path in (*self.files, *self.host.links)):
                    text = ""  # a directory
                found[name] = None if text is None else text.rstrip()
        return host_facts.Host(found, defaults)

    def apply(self, files: dict[str, Any], values: dict[str, Any]) -> None:
        """What hosttune_settings does, and the tasks after it for interrupts and qdiscs."""
        for path, value in values.items():
            self.write_value(path, " ".join(map(str, value)) if isinstance(value, list) else str(value))
        for path, wanted in files.items():
            if isinstance(wanted, dict) and "link" in wanted:
                self.host.links[path] = wanted["link"]
                continue
            # Of no kind of text that is Ansible's own.
            self.files[path] = "".join([wanted if isinstance(wanted, str) else wanted["content"], ""])
            if path.startswith("/etc/hosttune/profile.d/"):
                self.files[path.replace("/etc/hosttune/profile.d/", "/var/lib/hosttune/stated/")] = self.files[path]
        self._tune_systemd()
        self._tune_interrupts()
        self._tune_qdiscs()
        self._write_menu()

    def write_value(self, path: str, value: str) -> None:
        assert path in self.files, f"the kernel has no {path}"
        if path.startswith(THP.removesuffix("enabled")) and path.endswith("/enabled"):
            some = ("always", "madvise", "never") if path == THP else ("always", "inherit", "madvise", "never")
            value = " ".join(f"[{word}]" if word == value else word for word in some)
        elif pool := POOL.fullmatch(path):
            self.files[path.replace("/nr_", "/free_")] = f"{value}\n"
            self.files[path] = f"{value}\n"
            self._count_pages(int(pool[2]))
        elif path.endswith("tcp_congestion_control"):
            available = "/proc/sys/net/ipv4/tcp_available_congestion_control"
            self.files[available] = " ".join(dict.fromkeys([*self.files[available].split(), value])) + "\n"
            self.files[available.replace("available", "allowed")] = self.files[available]
        self.files[path] = f"{value}\n" if path.endswith("/enabled") else "\t".join(value.split()) + "\n"

    def _count_pages(self, kb: int) -> None:
        for name in ("nr", "free", "surplus"):
            total = sum(
                int(text)
                for path, text in self.files.items()
                if path.endswith(f"-{kb}kB/{name}_hugepages") and "/node/" in path
            )
            self.files[f"/sys/kernel/mm/hugepages/hugepages-{kb}kB/{name}_hugepages"] = f"{total}\n"

    # --- the boot's side ----------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start anew from the files."""
        self._write_menu()
        line = re.search(r"^\tlinux\t\S+ (.*)", self.files["/boot/grub/grub.cfg"], re.M)
        assert line is not None
        self.files["/proc/cmdline"] = f"BOOT_IMAGE=/boot/vmlinuz-{RELEASE} {line[1]}\n"
        self._take_arguments(line[1].split())
        available = {"reno", "cubic"} | ({"bbr"} & self.builtin - self.lacks)
        loaded = {line for text in self._read_directory("modules-load.d") for line in text.split("\n")}
        modules = {module for one, module in self.modules.items() if one not in self.lacks | self.builtin} & loaded
        self.files["/proc/modules"] = (
            "".join(f"{name} 1 0 - Live 0x0\n" for name in sorted(modules)) or "x 1 0 - Live 0x0\n"
        )
        available |= {"bbr"} if "tcp_bbr" in modules else set()
        names = " ".join(sorted(available)) + "\n"
        for word in ("available", "allowed"):
            self.files[f"/proc/sys/net/ipv4/tcp_{word}_congestion_control"] = names
        for path in self.files:
            if path.startswith(("/proc/sys/net/core/", "/proc/sys/net/ipv4/tcp_rmem")):
                self.files[path] = "1\n"
        for key, value in DEFAULTS.items():
            self.files[f"/proc/sys/{key.replace('.', '/')}"] = f"{value}\n"
        self.files["/proc/sys/kernel/sched_rt_runtime_us"] = "950000\n"
        if "thp" not in self.lacks:
            self.write_value(THP, "always")
        for text in self._read_directory("sysctl.d"):
            for key, value in re.findall(r"^\s*([a-z][\w.]*)\s*=\s*(.*?)\s*$", text, re.M):
                if (path := f"/proc/sys/{key.replace('.', '/')}") in self.files:
                    self.write_value(path, value)
        writes: dict[str, str] = {}
        for text in self._read_directory("tmpfiles.d"):
            for path, value in re.findall(r"^w (/\S+) - - - - (\S+)$", text, re.M):
                writes.setdefault(path, value)  # "Duplicate line for path, ignoring"
        for path in writes.keys() & self.files.keys():
            self.write_value(path, writes[path])
        self._tune_systemd()
        self._tune_interrupts()
        self._tune_qdiscs()

    def _read_directory(self, name: str) -> list[str]:
        """Returns the texts of drop-ins in the order of their names; of two with one name that in /etc."""
        found: dict[str, str] = {}
        for top in ("/usr/lib", "/etc"):
            for path, text in self.files.items():
                if path.startswith(f"{top}/{name}/") and path.endswith(".conf"):
                    found[path.rpartition("/")[2]] = text
        return [found[key] for key in sorted(found)]

    def _write_menu(self) -> None:
        """update-grub, by the shell that reads the drop-ins."""
        drop_ins = sorted(path for path in self.files if re.fullmatch(r"/etc/default/grub\.d/[^/]+\.cfg", path))
        script = "\n".join(self.files[path] for path in ("/etc/default/grub", *drop_ins))
        script += '\nprintf "%s" "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"\n'
        shell = ["/bin/sh", "-euc", script]
        done = subprocess.run(shell, capture_output=True, text=True, check=True, env={"PATH": ""})
        line = f"/boot/vmlinuz-{RELEASE} root=UUID=1-2 ro {' '.join(done.stdout.split())}"
        self.files["/boot/grub/grub.cfg"] = (
            "set default=\"0\"\nmenuentry 'Debian GNU/Linux' --class debian {\n"
            f"\tlinux\t{line}\n\tinitrd\t/boot/i\n}}\n"
        )

    def _take_arguments(self, words: list[str]) -> None:
        cpus = "/sys/devices/system/cpu"
        isolated, full, start = set[int](), set[int](), set(range(CPUS))
        size = 2048
        taken: set[int] = set()
        for path in list(self.files):
            if POOL.fullmatch(path):
                self.write_value(path, "0")
        words = words[: words.index("--")] if "--" in words else words
        for word in words:
            name, _, value = word.partition("=")
            if name == "isolcpus":
                flags = [part for part in value.split(",") if not part[0].isdigit()]
                named = read_list(",".join(part for part in value.split(",") if part[0].isdigit()))
                if not flags or "domain" in flags:
                    isolated = isolated or named  # one that contradicts an earlier one is refused
                if "nohz" in flags and "nohz" not in self.lacks:
                    full = full or named
            elif name == "nohz_full":
                full = full or (read_list(value) if "nohz" not in self.lacks else set())
            elif name == "irqaffinity":
                start = read_list(value) | {0}  # the CPU that boots
            elif name == "hugepagesz":
                size = {"2M": 2048, "1G": 1048576, "1024M": 1048576}[value]
            elif name == "hugepages" and size not in taken:  # of pages of one size the first number counts
                taken.add(size)
                for node, count in re.findall(r"(\d+):(\d+)", value):
                    pool_path = f"/sys/devices/system/node/node{node}/hugepages/hugepages-{size}kB/nr_hugepages"
                    self.write_value(pool_path, count)
        rcu = next((read_list(word[10:]) for word in reversed(words) if word.startswith("rcu_nocbs=")), set()) | full
        self.files[f"{cpus}/isolated"] = f"{show_list(isolated)}\n"
        self.files[f"{cpus}/nohz_full"] = f"{show_list(full)}\n" if full else "  (null)\n"
        if "nohz" in self.lacks:
            del self.files[f"{cpus}/nohz_full"]
        self.files["/proc/irq/default_smp_affinity"] = f"{sum(1 << cpu for cpu in start):x}\n"
        # A kernel thread for the callbacks of each of these CPUs, and one for their groups.
        running = {30 + cpu for cpu in rcu} | ({20} if rcu else set())
        for pid in {20, *range(30, 30 + CPUS)}:
            own = {path: text for path, text in golden.FILES.items() if path.startswith(f"/proc/{pid}/")}
            for path, text in own.items():
                if pid in running:
                    self.files[path] = text
                else:
                    self.files.pop(path, None)

    def _tune_systemd(self) -> None:
        """The CPUs of services, and irqbalance's environment."""
        directory = "/etc/systemd/system.conf.d"
        texts = [self.files[path] for path in sorted(self.files) if path.startswith(f"{directory}/")]
        wanted: set[int] = set()
        for value in re.findall(r"^CPUAffinity=(.*)$", "\n".join(texts), re.M):  # an empty one takes back those before
            if not value.strip():
                wanted = set()
            elif re.fullmatch(r" *[0-9]+([, -][0-9]+)*", value):
                wanted = wanted | read_list(",".join(value.split()))
        isolated = read_list(self.files["/sys/devices/system/cpu/isolated"].strip())
        cpus = (wanted or set(range(CPUS)) - isolated) & self.online
        for path in list(self.files):
            if re.fullmatch(r"/proc/(1|2|20|3[0-7]|500)(/task/\d+)?/status", path):
                # Kernel threads that are bound to no CPU stay off isolated ones.
                where = cpus if "/500/" in path or "/1/" in path else self.online - isolated
                self.files[path] = re.sub(r"(Cpus_allowed_list:).*", rf"\1\t{show_list(where)}", self.files[path])
            elif re.fullmatch(r"/proc/12(/task/12)?/status", path) and 2 not in self.online:
                self.files[path] = re.sub(r"(Cpus_allowed_list:).*", r"\1\t0", self.files[path])
        drop_in = self.files.get("/etc/systemd/system/irqbalance.service.d/hosttune-irq_affinity.conf", "")
        file = re.search(r"^EnvironmentFile=(.*)$", drop_in, re.M)
        told = re.findall(r"^[A-Z].*$", self.files[file[1]], re.M) if file else []
        self.files["/proc/500/environ"] = "".join(f"{each}\0" for each in ("PATH=/usr/bin", *told))
        masked = self.host.links.get("/etc/systemd/system/irqbalance.service") == "/dev/null"
        for path in [path for path in self.files if path.startswith("/proc/500/") and masked]:
            del self.files[path]
        if masked:
            self.host.links.pop("/proc/500/exe", None)

    def _tune_interrupts(self) -> None:
        """The program irq_affinity: everything to housekeeping CPUs, queues to theirs."""
        text = self.files.get("/etc/hosttune/profile.d/irq_affinity.yml")
        if text is None:
            return
        housekeeping = re.search(r'"housekeeping": "([^"]*)"', text)
        queue = re.search(r'"eth0": "([^"]*)"', text)
        assert housekeeping is not None
        everywhere = read_list(housekeeping[1]) & self.online
        queues = [cpu for cpu in sorted(read_list(queue[1])) if cpu in self.online] if queue else []
        start = int(self.files["/proc/irq/default_smp_affinity"], 16)
        mask = sum(1 << cpu for cpu in read_list(housekeeping[1]))
        if not start or start & ~mask:
            self.files["/proc/irq/default_smp_affinity"] = f"{mask:x}\n"
        for number in (0, 9, 28, 29, 30):
            cpus = {queues[0]} if queues and number == 29 else everywhere
            first = show_list(sorted(cpus)[:1])
            self.files[f"/proc/irq/{number}/smp_affinity_list"] = f"{show_list(cpus)}\n"
            self.files[f"/proc/irq/{number}/effective_affinity_list"] = f"{first}\n"

    def _tune_qdiscs(self) -> None:
        """live_qdisc.sh, and interfaces that come up."""
        kind = self.files["/proc/sys/net/core/default_qdisc"].strip()
        for row in self.host.tables.setdefault("qdisc", [dict(row) for row in golden.TABLE]):
            if row["interface"] == "eth0" and row["kind"] != "mq":
                row["kind"] = kind
