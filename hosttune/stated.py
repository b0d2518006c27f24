"""What the roles last stated about a host, and what is no longer in its profile.

Each role writes its section to `/etc/hosttune/profile.d` and, to be remembered, to :data:`DIRECTORY`; its revert
removes both. A section that is there and not in the profile was removed by hand: fewer findings make no host ready.
"""

from __future__ import annotations

from collections.abc import Iterator

from hosttune.findings import READ_IT, Finding, Hop
from hosttune.hops import build_finding
from hosttune.host.root import NOT_CAPTURED, Fact, Root
from hosttune.output import quote_word
from hosttune.profile import PROFILE_D, Profile, list_sections

DIRECTORY = "/var/lib/hosttune/stated"


def read(root: Root, own: frozenset[str]) -> dict[str, Fact[list[str]]]:
    """Returns the sections that the roles stated, by file; an unreadable directory is the one entry.

    Of a role's file the name is that of its section: those in `own`, the sections of the host's profile, are not read.
    There is nothing to compare where no role has run, nor in a tree of files without /var.
    """
    names = root.list(DIRECTORY)
    if names.state == "absent" or names.reason == NOT_CAPTURED:
        return {}
    if names.value is None:
        return {DIRECTORY: names.drop_value()}
    lost = [name for name in names.value if name.endswith(".yml") and name.removesuffix(".yml") not in own]
    paths = [f"{DIRECTORY}/{name}" for name in lost]
    return {path: root.read(path).map(list_sections) for path in paths}


def check(profile: Profile, stated: dict[str, Fact[list[str]]]) -> Iterator[Finding]:
    """Yield a finding for each section that was stated and that the host's own profile does not have."""
    own = profile.own or frozenset()
    for path, sections in stated.items():
        name = path.rpartition("/")[2].removesuffix(".yml")
        if sections.state == "unreadable":
            yield build_finding(
                "profile" if path == DIRECTORY else name,
                f"what the roles stated is in {PROFILE_D}",
                {"intended": Hop("unknown", sections.reason, sections.source)},
                why="whether the roles stated more than the profile asks for is not known",
                fix=READ_IT,
                status="unknown",
            )
        for section in sections.value or []:
            if section not in own:
                place = f"{PROFILE_D}/{path.rpartition('/')[2]}"
                yield build_finding(
                    section,
                    f"as stated in {path}",
                    {"intended": Hop("absent", None, place)},
                    found=f"not in {PROFILE_D}",
                    why="a role tuned this host for it and nothing of it was judged: somebody removed the section",
                    fix=f"cp {quote_word(path)} {quote_word(place)}",
                    status="fail",
                )
