"""Whether a service that applies configuration at boot is masked: systemd does not start it then, whatever wants it.

Sources: systemctl(1), `mask`; systemd-debug-generator(8), `systemd.mask=`.
"""

from __future__ import annotations

from collections.abc import Iterable

from hosttune.host import boot, cmdline, systemd
from hosttune.host.root import Fact, Root


def read(root: Root, service: str) -> Fact[bool]:
    """Returns whether the administrator masked a service: by a file, or by the next boot's command line.

    Where that line cannot be read, this boot's is asked.
    """
    directory = systemd.UNITS[0]
    names = root.list(directory)
    if names.state == "unreadable":
        return names.drop_value()
    path = f"{directory}/{service}"
    if service in (names.value or []):
        link = root.link(path)
        if link.state == "unreadable":
            return link.drop_value()
        if link.value == "/dev/null" or root.read(path).value == "":
            return Fact("value", True, path)
    line = boot.read_line(root)
    masked = line.map(cmdline.split_arguments).map(_list_masked).value or ()
    return Fact("value", True, f"{line.source} (systemd.mask=)") if service in masked else Fact("value", False, path)


def _list_masked(arguments: Iterable[tuple[str, str | None]]) -> frozenset[str]:
    """Returns the names of the units that a command line masks; one without a type is a service's."""
    names = [value for key, value in arguments if key == "systemd.mask" and value]
    return frozenset(name if "." in name else f"{name}.service" for name in names)
