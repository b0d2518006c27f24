"""The error of a profile that cannot be used."""

from __future__ import annotations


class ProfileError(Exception):
    """A profile that cannot be used: file, line, what was found and what is allowed."""
