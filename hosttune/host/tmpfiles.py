"""What systemd-tmpfiles writes to /proc and /sys at boot. Source: tmpfiles.d(5)."""

from __future__ import annotations

import msgspec

from hosttune.host import dropins, hugetlb
from hosttune.host.forms import DIGITS, NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.root import Fact, Root

DIRECTORIES = ("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d")

_POOL = f"{hugetlb.NODES}/node"


class Line(msgspec.Struct, frozen=True):
    """A line of type `w`: the text that is written to an existing file, and where it says so."""

    path: str
    value: str
    place: str


def read(root: Root) -> Fact[dict[str, Line]]:
    """Returns the writes below /proc and /sys by path. Of two lines for one path the first counts, by file name."""
    files = dropins.list_merged(root, DIRECTORIES, ".conf")
    if files.state == "unreadable":
        return files.drop_value()
    found: dict[str, Line] = {}
    for file in files.value or []:
        text = dropins.read_fragment(root, file)
        if text.state == "unreadable":
            return text.drop_value()
        for line in parse(text.value or "", file):
            found.setdefault(line.path, line)
    return Fact("value", found, DIRECTORIES[0])


def parse(text: str, file: str) -> list[Line]:
    """Returns the lines of one file that write below /proc or /sys: `w PATH - - - - VALUE`."""
    found = []
    for number, raw in enumerate(text.splitlines(), 1):
        fields = raw.split(None, 6)
        if len(fields) == 7 and fields[0][0] == "w":
            path, value = fields[1].strip("\"'"), fields[6].strip().strip("\"'")
            if path.startswith(("/proc/", "/sys/")):
                found.append(Line(path, value, f"{file}:{number}"))
    return found


def reduce(text: str) -> str:
    """Returns the lines of a file that write to pools of huge pages or to their policy, each where it was."""
    kept = [""] * len(text.splitlines())
    for line in parse(text, ""):
        if line.path == hugetlb.TRANSPARENT or (
            line.path.startswith(_POOL) and consists_of(line.path, f"{NAME}/", 120)
        ):
            known = line.value in hugetlb.POLICIES or consists_of(line.value, DIGITS, 20)
            value = line.value if known else UNINTELLIGIBLE
            kept[int(line.place.rpartition(":")[2]) - 1] = f"w {line.path} - - - - {value}"
    return "".join(f"{line}\n" for line in kept)
