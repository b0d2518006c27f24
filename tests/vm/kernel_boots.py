"""Boots a real kernel with a command line, and returns what the kernel made of it: no disk, one program, a few seconds.

python -m tests.vm.kernel_boots --kernel /path/vmlinuz-RELEASE    has the table of tests/unit hold what this one says
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.vm.kernel_lines import generate_lines, make_lines

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent / "unit/hosttune/host/kernel_lines.json"
MACHINE = ["-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "4", "-m", "7168"]
NODES = [
    "-object", "memory-backend-ram,id=m0,size=4096M", "-numa", "node,nodeid=0,cpus=0-1,memdev=m0",
    "-object", "memory-backend-ram,id=m1,size=3072M", "-numa", "node,nodeid=1,cpus=2-3,memdev=m1",
]  # fmt: skip
#: Comes before each line; of these the kernel makes nothing that is looked at. Virtual machines start in time so.
ALWAYS = "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check random.trust_cpu=on cryptomgr.notests"
TIMEOUT_S = 180

_IGNORED = re.compile(
    "ignoring|Ignoring|unsupported|Invalid|incorrect|must match|must include|cannot parse|Clearing|bad CPU"
)
_PADDING = b"\0"


def make_initramfs(directory: Path) -> Path:
    """Returns an initramfs whose only program is kernel_init.c."""
    program = directory / "init"
    subprocess.run(["gcc", "-O1", "-static", "-o", program, HERE / "kernel_init.c"], check=True)
    archive = b"".join(_make_entries(program.read_bytes()))
    made = directory / "initramfs"
    made.write_bytes(archive)
    return made


def _make_entries(program: bytes) -> Iterator[bytes]:
    """Yield a cpio archive of the kind newc, piece by piece. Source: initramfs buffer format of the Linux kernel."""
    entries = [("dev", 0o40755, b"", 0, 0), ("dev/console", 0o20600, b"", 5, 1), ("init", 0o100755, program, 0, 0)]
    for number, (name, mode, data, major, minor) in enumerate([*entries, ("TRAILER!!!", 0, b"", 0, 0)], 1):
        numbers = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % each for each in numbers) + name.encode() + b"\0"
        yield head + _PADDING * (-len(head) % 4) + data + _PADDING * (-len(data) % 4)


def boot_twice(kernel: Path, initramfs: Path, line: str) -> dict[str, str]:
    """Returns the same of a second boot where the first one failed, which emulation on a busy machine does at times."""
    try:
        return boot(kernel, initramfs, line)
    except (RuntimeError, subprocess.TimeoutExpired):
        return boot(kernel, initramfs, line)


def boot(kernel: Path, initramfs: Path, line: str) -> dict[str, str]:
    """Returns the text of each file that the guest printed; `log` for the kernel's log. Raises RuntimeError."""
    argv: list[str | bytes] = ["qemu-system-x86_64", *MACHINE, *NODES, "-nodefaults", "-no-reboot", "-display", "none"]
    argv += ["-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initramfs)]
    argv += ["-append", f"{ALWAYS} {line}".encode("latin-1")]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False)
    text = done.stdout.decode("latin-1").replace("\r", "")
    _, begin, rest = text.partition("\n@@ begin\n")
    told, end, _ = rest.partition("@@ end\n")
    if not begin or not end:
        raise RuntimeError(f"the kernel did not say what it made of {line!r}: {text[-2000:]}{done.stderr.decode()}")
    return dict(part.split("\n", 1) for part in told.split("@@ ")[1:])


def digest(told: dict[str, str]) -> dict[str, Any]:
    """Returns what a kernel said, in the form in which the table holds it."""
    nodes: dict[str, dict[str, int]] = {}
    for path, text in told.items():
        if match := re.fullmatch(r"/sys/devices/system/node/node(\d+)/hugepages/hugepages-(\d+)kB/nr_hugepages", path):
            nodes.setdefault(match[2], {})[match[1]] = int(text)
    policies = "/sys/kernel/mm/transparent_hugepage/"
    log = told["log"]
    offloaded = re.search(r"Offload RCU callbacks from CPUs: (.*?)\.?$", log, re.MULTILINE)
    return {
        "isolated": told["/sys/devices/system/cpu/isolated"].strip(),
        "nohz_full": told["/sys/devices/system/cpu/nohz_full"].strip(),
        "offloaded": offloaded[1].replace("(none)", "") if offloaded else "",
        "irqaffinity": told["/proc/irq/default_smp_affinity"].strip(),
        "pages": nodes,
        "transparent": {path.removeprefix(policies): re.findall(r"\[(\w+)\]", text)[0]
                        for path, text in told.items() if path.startswith(policies)},
        "ignored": [line for line in log.splitlines() if _IGNORED.search(line)],
    }  # fmt: skip


def record(kernel: Path, lines: list[str]) -> None:
    """Have the table hold what a kernel says to these lines: those that it does not hold yet are booted."""
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    release = re.sub("^vmlinuz-", "", kernel.name)
    known = table.get(release, {})
    missing = [line for line in lines if line not in known]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        initramfs = make_initramfs(Path(name))
        for line, told in zip(
            missing, pool.map(lambda line: boot_twice(kernel, initramfs, line), missing), strict=True
        ):
            if told["/proc/sys/kernel/osrelease"].strip() != release:
                raise ValueError(f"{kernel} says that it is {told['/proc/sys/kernel/osrelease'].strip()}")
            known[line] = digest(told)
    table[release] = {line: known[line] for line in lines}
    rows = [
        f"{json.dumps(release)}: {{\n"
        + ",\n".join(f"  {json.dumps(line)}: {json.dumps(said, sort_keys=True)}" for line, said in told.items())
        + "\n}"
        for release, told in sorted(table.items())
    ]
    TABLE.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--generate", type=int, default=30, help="how many generated lines beside the others")
    parser.add_argument("--few", action="store_true", help="only a few lines: for a kernel much like another")
    given = parser.parse_args()
    known = make_lines()
    record(given.kernel, known[:12] if given.few else [*known, *generate_lines(given.generate)])
