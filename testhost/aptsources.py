"""Where the guest's packages come from: the machine's own Debian mirror if it has one, else deb.debian.org.

Reads sources.list(5) in both forms, one-line and deb822. Only entries of the distribution itself are taken; the
packages are verified by apt with Debian's archive keyring (or the key that the machine's own entry names).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PARTS = ("", "-updates", "-security")


def _deb822(text: str) -> Iterator[tuple[list[str], list[str], list[str], str]]:
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[key] = fields.get(key, "") + " " + line.strip()
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() not in ("no", "false"):
            yield (
                fields.get("uris", "").split(),
                fields.get("suites", "").split(),
                fields.get("components", "").split(),
                fields.get("signed-by", ""),
            )


def _one_line(text: str) -> Iterator[tuple[list[str], list[str], list[str], str]]:
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        options = ""
        if not line.startswith("deb ") and not line.startswith("deb\t"):
            continue
        rest = line[3:].strip()
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        words = rest.split()
        if len(words) < 3:
            continue
        signed = dict(o.split("=", 1) for o in options.split() if "=" in o).get("signed-by", "")
        yield [words[0]], [words[1]], words[2:], signed


def _one_release(key: str) -> bool:
    """Whether a key file is Debian's own, with the keys of one release: those of another are not in it."""
    return Path(key).name.startswith("debian-archive-") and Path(key).stem != KEYRING.stem


def debian_sources(etc_apt: Path, os_release: Mapping[str, str], suite: str) -> list[str]:
    """One-line `deb` entries for a suite (a release's code name), its updates and its security archive.

    On a Debian machine the mirrors of its own suite are used, with the wanted suite in its place. Entries of other
    archives (a vendor's) are left out. `os_release` holds ID and VERSION_CODENAME as in os-release(5).
    """
    own = os_release.get("VERSION_CODENAME", "") if os_release.get("ID") == "debian" else ""
    found: list[str] = []
    if own:
        files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
        for file in files:
            if file.suffix not in (".list", ".sources") or not file.is_file():
                continue
            text = file.read_text(encoding="utf-8", errors="replace")
            for uris, suites, components, signed in (_deb822 if file.suffix == ".sources" else _one_line)(text):
                for own_suite in suites:
                    part = own_suite.removeprefix(own)
                    if not own_suite.startswith(own) or part not in _PARTS or "main" not in components:
                        continue
                    key = signed if signed.startswith("/") and not _one_release(signed) else str(KEYRING)
                    found += [f"deb [signed-by={key}] {uri} {suite}{part} main" for uri in uris]
    if any(line.endswith(f" {suite} main") for line in found):
        return list(dict.fromkeys(found))
    return [
        f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {suite} main",
        f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {suite}-updates main",
        f"deb [signed-by={KEYRING}] http://deb.debian.org/debian-security {suite}-security main",
    ]
