"""The files that fixes add to: the desk's own. No role owns them, so the next run of one drops nothing of them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from hosttune.host.systemd_lines import Setting
from hosttune.output import quote_word

#: Those of the roles sort after it: what a role sets comes later.
SYSCTL = "/etc/sysctl.d/99-zz-desk.conf"
MODULES = "/etc/modules-load.d/desk.conf"
#: A fix adds a line for a path that no line is for. The role's file sorts before, and of two lines the first counts.
TMPFILES = "/etc/tmpfiles.d/zz-desk.conf"
#: The role's file sorts after it: of two lines for the user alone the last counts.
LIMITS = "/etc/security/limits.d/99-desk.conf"
#: In a directory of systemd's drop-ins. It sorts behind those of the roles.
DROP_IN = "zz-desk.conf"
#: It is read after the files of the roles.
GRUB = "/etc/default/grub.d/zz-desk.cfg"


def write_drop_in(
    directory: str, section: str, line: str, settings: Iterable[Setting], name: str = DROP_IN
) -> list[str]:
    """Returns commands that add a line to a drop-in that is applied after all others: those that set something.

    It has the name, or that behind as many `z` as it takes.
    """
    latest = max((posixpath.basename(each.source) for each in settings if ".d/" in each.source), default="")
    while name < latest:
        name = f"z{name}"
    place = quote_word(f"{directory}/{name}")
    return [f"mkdir -p {quote_word(directory)}", f"printf '\\n[{section}]\\n{line}\\n' >> {place}"]
