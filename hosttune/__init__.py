"""Verify that a Linux host is the trading host its roles intended, and launch the agent on it."""

from hosttune._build import VERSION as __version__

__all__ = ["__version__"]
