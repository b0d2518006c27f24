"""What systemd-tmpfiles writes at boot to the pools and policies of huge pages, to sysctls, and to affinities.

Source: tmpfiles.d(5). The lines: tmpfiles_lines.py.
"""

from __future__ import annotations

import msgspec

from hosttune.host import dropins, hugetlb, masks, sysctl_values, tmpfiles_lines
from hosttune.host.forms import CPU_LIST, DIGITS, NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.root import Fact, Root, make_unreadable
from hosttune.host.tmpfiles_lines import Line, order, parse

DIRECTORIES = ("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d")

#: It writes them at boot.
SERVICE = "systemd-tmpfiles-setup.service"

_PATTERN = NAME + "/*?[]{},!^:."


class Writes(msgspec.Struct, frozen=True):
    """All writes at boot, in the order in which they are done; `ignored`: lines that one before them keeps out.

    `masked`: where it says that SERVICE is masked, so that none of them is done; else empty. `doubt`: why it is not
    known whether any is, absent if nothing speaks against it.
    """

    lines: list[Line] = []
    ignored: list[Line] = []
    masked: str = ""
    doubt: Fact[bool] = Fact("absent")

    @property
    def done(self) -> list[Line]:
        """Those that are done."""
        return [] if self.masked else self.lines

    def find(self, path: str) -> list[Line]:
        """Returns the writes to a path, the last of which counts."""
        return tmpfiles_lines.find(self.done, path)


def read(root: Root) -> Fact[Writes]:
    """Returns what is written at boot. What `/run` holds the next boot does not find."""
    files = dropins.read_merged(root, DIRECTORIES, ".conf", lasting=True)
    if files.value is None:
        return files.drop_value()
    found: list[Line] = []
    for file, text in files.value:
        try:
            found += parse(text, file)
        except ValueError as error:
            return make_unreadable(file, f"not understood: {error}")
    lines = order(found)
    counted = {line.place for line in lines}
    ignored = [line for line in found if line.place not in counted]
    # Where that cannot be read, no unit can, and what services write is unknown (boot_writes.py).
    masked = masks.read_applier(root, SERVICE)
    doubt = masked if masks.is_changed(masked) else Fact[bool]("absent")
    return Fact("value", Writes(lines, ignored, masked.source if masked.value else "", doubt), DIRECTORIES[0])


def reduce(text: str) -> str:
    """Returns the lines of a file that write to what :mod:`tmpfiles_lines` looks for, each where it was.

    Raises ValueError.
    """
    kept = [""] * (text.count("\n") + 1)
    for line in parse(text, ""):
        if not consists_of(line.path, _PATTERN, 256):
            raise ValueError("a pattern in it is of unusual characters")
        value = line.value
        if value is None:
            value = "%m"
        elif not any(map(tmpfiles_lines.is_sought, tmpfiles_lines.expand(line.path))):
            value = _keep_setting(line.path, value)
        elif value.strip("\n") not in (*hugetlb.POLICIES, "inherit") and not consists_of(value, DIGITS + "\n", 20):
            value = UNINTELLIGIBLE
        value = value.replace("\n", "\\n")
        kept[int(line.place.rpartition(":")[2]) - 1] = f"{line.kind} {line.path} - - - - {value}"
    return "".join(f"{line}\n" for line in kept)


def _keep_setting(path: str, value: str) -> str:
    """Returns what is kept of what is written to a sysctl, or to an affinity of an interrupt."""
    if consists_of(value, CPU_LIST + "abcdefABCDEF:/", 256):
        return value
    if "\n" in value.strip("\n"):
        return UNINTELLIGIBLE
    return sysctl_values.keep_value(path.removeprefix("/proc/sys/"), value, frozenset())
