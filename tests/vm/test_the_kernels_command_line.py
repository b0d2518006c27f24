"""Kernel command lines beside the kernel that the guest's image has: booted, with no disk and one program."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hosttune.host import cmdline
from testhost import cache
from tests.kernel_reading import compare
from tests.vm.kernel_boots import ALWAYS, boot_twice, digest, make_initramfs
from tests.vm.kernel_lines import generate_lines, make_lines

pytestmark = pytest.mark.vm

#: Two at a time, a boot takes some five seconds on two cores. The table of the unit tests holds the other lines.
LINES = [*make_lines()[::4], *generate_lines(16, seed=2)]


def find_kernel() -> Path | None:
    """The kernel of a guest that was built here, of whichever system."""
    kernels = sorted(cache.Cache().images.glob("*/vmlinuz"), key=lambda path: path.stat().st_mtime)
    return kernels[-1] if kernels else None


def test_the_kernel_reads_lines_as_we_do(tmp_path: Path) -> None:
    kernel = find_kernel()
    if kernel is None:
        pytest.skip("no image of a guest is built yet: tests/vm/test_testhost.py builds one")
    initramfs = make_initramfs(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda line: boot_twice(kernel, initramfs, line), LINES))
    wrong = {}
    for line, each in zip(LINES, told, strict=True):
        release = each["/proc/sys/kernel/osrelease"].strip()
        for text in (f"{ALWAYS} {line}", cmdline.reduce(f"{ALWAYS} {line}")):
            if found := compare(text, digest(each), release):
                wrong[line] = found
    assert wrong == {}
