"""Which Debian a guest has, and which of its kernels. Pure: no files, no processes."""

from __future__ import annotations

from dataclasses import dataclass

from testhost.errors import UsageError

RELEASES = {"bookworm": "Debian 12", "trixie": "Debian 13"}
# The Debian package of each kernel: `stock` is the one for virtual machines, `rt` is PREEMPT_RT.
KERNELS = {"stock": "linux-image-cloud-amd64", "rt": "linux-image-rt-amd64"}


@dataclass(frozen=True)
class System:
    """release: Debian's code name. kernel: `stock` or `rt`. Raises UsageError for any other."""

    release: str = "bookworm"
    kernel: str = "stock"

    def __post_init__(self) -> None:
        if self.release not in RELEASES:
            raise UsageError(f"--release {self.release}: allowed is {', '.join(RELEASES)}")
        if self.kernel not in KERNELS:
            raise UsageError(f"--kernel {self.kernel}: allowed is {', '.join(KERNELS)}")

    @property
    def kernel_package(self) -> str:
        return KERNELS[self.kernel]

    def __str__(self) -> str:
        return f"{RELEASES[self.release]}, {self.kernel} kernel"
