"""Addresses to listen at: whether a text is one, which a pattern cannot tell."""

import ipaddress


def check_address(text: str) -> None:
    """Raise ValueError, of the key address, for what is no address of IPv4 or IPv6."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"address: found {text!r}, allowed: an address of IPv4 or IPv6") from None


def check_ipv4(text: str) -> None:
    """Raise ValueError, of the key address, for what is no address of IPv4."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"address: found {text!r}, allowed: an address of IPv4") from None
