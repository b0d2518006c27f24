"""The bill of materials of a wheelhouse: every wheel, with version, hash and licence. Pure, and of the same inputs the
same bytes.

By hand: a library for it would be one more package that could change what hosts get. Source: CycloneDX 1.6, JSON
(https://cyclonedx.org/docs/1.6/json/); package URLs: https://github.com/package-url/purl-spec, type pypi.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

FILE = "sbom.cdx.json"


class Part(NamedTuple):
    """One wheel: its normalised name, version, file name, SHA-256, the fields of its METADATA, and what it needs."""

    name: str
    version: str
    file: str
    sha256: str
    metadata: Mapping[str, list[str]]
    needs: tuple[str, ...]

    @property
    def purl(self) -> str:
        """The package's URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def write(own: Part, others: list[Part], epoch: str | None = None) -> str:
    """Returns the document. `own` is what the wheelhouse is for; `epoch`: $SOURCE_DATE_EPOCH, seconds, or None for a
    document without a time."""
    parts = {part.name: part for part in (own, *others)}
    metadata: dict[str, Any] = {"component": {**_describe(own), "type": "application"}}
    if epoch is not None:
        stamp = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
        metadata = {"timestamp": stamp.strftime("%Y-%m-%dT%H:%M:%SZ"), **metadata}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": [_describe(part) for part in sorted(others)],
        "dependencies": [
            {"ref": part.purl, "dependsOn": sorted(parts[name].purl for name in part.needs if name in parts)}
            for part in sorted(parts.values())
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _describe(part: Part) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "purl": part.purl,
        "hashes": [{"alg": "SHA-256", "content": part.sha256}],
        "properties": [{"name": "hosttune:wheel", "value": part.file}],
    }
    if licences := _find_licences(part.metadata):
        component["licenses"] = licences
    return component


def _find_licences(metadata: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Returns the licences as the wheel states them: an SPDX expression (PEP 639), else classifiers, else a name."""
    if expression := metadata.get("license-expression"):
        return [{"expression": expression[0]}]
    classifiers = [line.split(" :: ") for line in metadata.get("classifier", []) if line.startswith("License :: ")]
    named = sorted({words[-1] for words in classifiers if words[-1] != "OSI Approved"})
    # An old wheel may have the whole text of its licence in the field; its first line is no name then.
    stated = metadata.get("license", [""])[0].strip()
    names = named or ([stated] if stated and "\n" not in stated and len(stated) <= 80 else [])
    return [{"license": {"name": name}} for name in names]
