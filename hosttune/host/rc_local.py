"""/etc/rc.local, a script that systemd's rc-local.service runs at boot; a generator has it started where this may be
executed.

Source: systemd-rc-local-generator(8).
"""

from __future__ import annotations

from hosttune.host import masks
from hosttune.host.root import Root

PATH = "/etc/rc.local"
SERVICE = "rc-local.service"
# Where that generator puts its link, at boot and at each daemon-reload.
_GENERATED = "/run/systemd/generator"
_STARTED = "multi-user.target.wants"


def is_masked(root: Root) -> bool:
    """Returns whether the administrator masked the service, as far as that can be read."""
    return masks.read(root, SERVICE).value is True


def doubt_start(root: Root) -> str:
    """Returns why it may not be run: what is not executable is not, and no file says whether it is.

    The generator's link says so, if what it made can be read; else the script counts as executable.
    """
    generated = root.list(_GENERATED)
    if generated.state != "value" or SERVICE in (root.list(f"{_GENERATED}/{_STARTED}").value or ()):
        return ""
    return f"nothing in {_GENERATED} starts it: it is not executable, or was not at boot"
