"""/etc/rc.local, a script that systemd's rc-local.service runs at boot; a generator has it started where this may be
executed.

Source: systemd-rc-local-generator(8).
"""

from __future__ import annotations

from hosttune.host import masks
from hosttune.host.root import Root
from hosttune.host.systemd import Unit
from hosttune.host.systemd_lines import Setting

PATH = "/etc/rc.local"
SERVICE = "rc-local.service"
# Where that generator puts its link, at boot and at each daemon-reload.
_GENERATED = "/run/systemd/generator"
_STARTED = "multi-user.target.wants"


def is_masked(root: Root) -> bool:
    """Returns whether the administrator masked the service, as far as that can be read."""
    return masks.read(root, SERVICE).value is True


def make_unit(root: Root) -> Unit:
    """Returns the script as a service: `started` unless it seems that the generator left it out.

    What is not executable is not run, and no file says whether it is. The generator's link says so, if what it made can
    be read; else the script counts as executable.
    """
    generated = root.list(_GENERATED)
    started = generated.state != "value" or SERVICE in (root.list(f"{_GENERATED}/{_STARTED}").value or ())
    return Unit(PATH, "installed", started, [Setting("Service", "ExecStart", PATH, PATH)], PATH)
