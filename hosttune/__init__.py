"""Verify that a Linux host is the trading host its roles intended, and launch the agent on it."""

__version__ = "0.1.0"
