# SPDX-License-Identifier: Apache-2.0
"""What the roles' plans have to know of a host: read at once, before any role changes anything, in check mode too.

A plan names what it needs, and gets it as text, None for what the host does not have:

    /PATH          what the file holds, or an empty text for a directory
    module:NAME    `module` or `builtin`, from the index of the running kernel's modules
    service:NAME   lines of `systemctl show`: LoadState=, ActiveState=, UnitFileState=
    files:PATTERN  each file that fits a pattern of the shell's, under its own path

What was not read (an image, whose kernel is another one; a kernel without an index of modules) is not in it at all, and
nothing is refused for it. A file longer than MOST is not whole, and a plan that asks for it is refused.

What a kernel cannot have is left out with a word where the role's defaults ask for it, and refused where somebody asked
for it. A default is a value that equals the one in the role's defaults/main.yml, wherever it is written: nobody who
states it again gets anything else. Where a default is a dictionary, this holds for each key.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

PRESENT, POSSIBLE = "/sys/devices/system/cpu/present", "/sys/devices/system/cpu/possible"
ONLINE = "/sys/devices/system/cpu/online"
UPDATE_GRUB = "/usr/sbin/update-grub"
RELEASE = "/proc/sys/kernel/osrelease"

#: Bytes of a file.
MOST = 1 << 20

# Between what was asked for and what was found, before both, and in place of a file that is not whole: characters that
# no name and no such file has.
_ASKED, _FOUND, _CUT = "\x1e", "\x1f", "\x1d"
_SCRIPT = r"""
PATH=$PATH:/usr/sbin:/sbin
root=${HOSTTUNE_ROOT-}
index=$root/lib/modules/$(cat "$root/proc/sys/kernel/osrelease" 2>/dev/null)
asked() { printf '\036%s\037' "$1"; }
file() { asked "$1"; if [ -e "$root$1" ]; then printf +; head -c MOST "$root$1" 2>/dev/null; fi; }
files() {
    for path in $root$1; do
        # A link to it is there to have another file of its name not read.
        if [ -f "$path" ] || [ "$path" -ef /dev/null ]; then file "${path#"$root"}"; fi
    done
}
module() {
    [ -e "$index/modules.dep" ] || return 0
    asked "module:$1"
    name=/$(printf %s "$1" | sed 's/[-_]/[-_]/g')[.]ko
    if grep -q "$name" "$index/modules.builtin" 2>/dev/null; then printf +builtin
    elif grep -q "$name[^ ]*:" "$index/modules.dep"; then printf +module
    fi
}
service() {
    [ -z "$root" ] && [ -d /run/systemd/system ] || return 0
    asked "service:$1"
    printf +
    timeout 10 systemctl show --property=LoadState,ActiveState,UnitFileState -- "$1" 2>/dev/null
}
"""


class Host:
    """What was read, the role's defaults, and what of them this host cannot have, a line each."""

    def __init__(self, found: Mapping[str, str | None] | None = None, defaults: Mapping[str, Any] | None = None):
        self.found = dict(found or {})
        self.defaults = dict(defaults or {})
        self.left_out: list[str] = []

    def read(self, name: str) -> str | None:
        """Returns what was found; None if it is not there, or was not read. Raises ValueError for a file that is not
        whole."""
        text = self.found.get(name)
        if text == _CUT:
            raise ValueError(f"{name} has more than {MOST} bytes: it is not read whole, and what it sets is not known")
        return text

    def lacks(self, name: str) -> bool:
        """Tells whether the host was asked for it, and does not have it."""
        return name in self.found and self.found[name] is None

    def refuse_or_leave_out(self, problems: list[str], reason: str, variable: str, value: Any, key: Any = None) -> None:
        """Add a reason to the problems, or to what is left out where the value is the role's default.

        key: of a variable that is a dictionary, the key that the value is of.
        """
        default = self.defaults.get(variable)
        if key is not None:
            default = default.get(key) if isinstance(default, Mapping) else None
        if default is not None and value == default:
            self.left_out.append(f"{reason}: the role's default is left out")
        else:
            problems.append(f"{reason}: it was asked for, so it is refused; take it out, or boot a kernel that has it")


def build_interface_path(name: str) -> str:
    """Returns the directory that the kernel has for a network interface of the host."""
    return f"/sys/class/net/{name}"


def write_script(names: Iterable[str]) -> str:
    """Returns the shell script that finds out about the names."""
    calls = []
    for name in dict.fromkeys(names):
        kind, colon, rest = name.partition(":")
        if name.startswith("/"):
            calls.append(f"file {shlex.quote(name)}")
        elif colon and kind in ("files", "module", "service"):
            calls.append(f"{kind} {shlex.quote(rest)}")
        else:
            raise ValueError(f"{name!r} is neither a path, nor one of files:, module: and service:")
    return _SCRIPT.replace("MOST", str(MOST + 1)) + "\n".join([*calls, "printf '\\036'", ""])


def parse(output: str) -> dict[str, str | None]:
    """Returns what the script found. Raises ValueError for an output that does not end as the script's does."""
    parts = output.rstrip("\r\n").split(_ASKED)
    if len(parts) < 2 or parts[-1]:
        raise ValueError("the answer is cut short")
    found: dict[str, str | None] = {}
    for part in parts[1:-1]:
        name, separator, text = part.partition(_FOUND)
        if not separator:
            raise ValueError("the answer is not understood")
        cut = len(text.encode(errors="surrogatepass")) > 1 + MOST
        whole = _CUT if cut else text[1:].replace("\r\n", "\n").rstrip()  # a terminal's line ends
        found[name] = whole if text.startswith("+") else None
    return found
