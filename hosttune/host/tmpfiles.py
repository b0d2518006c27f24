"""What systemd-tmpfiles writes to the pools and policies of huge pages at boot.

Source: tmpfiles.d(5). The lines: tmpfiles_lines.py.
"""

from __future__ import annotations

import msgspec

from hosttune.host import dropins, hugetlb, masks, tmpfiles_lines
from hosttune.host.forms import DIGITS, NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.root import Fact, Root, make_unreadable
from hosttune.host.tmpfiles_lines import Line, order, parse

DIRECTORIES = ("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d")

#: It writes them at boot.
SERVICE = "systemd-tmpfiles-setup.service"

_PATTERN = NAME + "/*?[]{},!^:."


class Writes(msgspec.Struct, frozen=True):
    """All writes at boot, in the order in which they are done; `ignored`: lines that one before them keeps out.

    `masked`: where it says that SERVICE is masked, so that none of them is done; else empty.
    """

    lines: list[Line] = []
    ignored: list[Line] = []
    masked: str = ""

    def find(self, path: str) -> list[Line]:
        """Returns the writes to a path, the last of which counts."""
        return [] if self.masked else tmpfiles_lines.find(self.lines, path)


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
    masked = masks.read(root, SERVICE)
    return Fact("value", Writes(lines, ignored, masked.source if masked.value else ""), DIRECTORIES[0])


def reduce(text: str) -> str:
    """Returns the lines of a file that write to pools of huge pages or to their policies, each where it was.

    Raises ValueError.
    """
    kept = [""] * (text.count("\n") + 1)
    for line in parse(text, ""):
        if not consists_of(line.path, _PATTERN, 256):
            raise ValueError("a pattern in it is of unusual characters")
        value = line.value
        if value is None:
            value = "%m"
        elif value.strip("\n") not in (*hugetlb.POLICIES, "inherit") and not consists_of(value, DIGITS + "\n", 20):
            value = UNINTELLIGIBLE
        value = value.replace("\n", "\\n")
        kept[int(line.place.rpartition(":")[2]) - 1] = f"{line.kind} {line.path} - - - - {value}"
    return "".join(f"{line}\n" for line in kept)
