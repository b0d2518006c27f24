"""Debian 12 and 13 guests under QEMU for tests and demonstrations: built from packages, booted through their own GRUB,
snapshotted, restored, and always cleaned up. See docs/testhost.md."""

from testhost.cache import Cache
from testhost.errors import TesthostError, UsageError
from testhost.host import Host
from testhost.running import running
from testhost.systems import System
from testhost.topology import Topology

__all__ = ["Cache", "Host", "System", "TesthostError", "Topology", "UsageError", "running"]
