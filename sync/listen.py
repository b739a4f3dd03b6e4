"""Where a node may listen. Until identities exist, a listener that others can reach must be asked for by name."""

import ipaddress


class ListenRefused(ValueError):
    """An address that other machines can reach, without --insecure."""


def check_address(address: str, *, insecure: bool) -> str:
    """`host:port` if it is a loopback address or `insecure` is given. Raises ListenRefused."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not host:
        raise ListenRefused(f"{address!r} is not an address: give host:port, for example 127.0.0.1:7443")
    if not insecure and not is_loopback(host):
        raise ListenRefused(
            f"{address} can be reached from other machines, and connections are not authenticated yet: "
            "listen on 127.0.0.1, or give --insecure if the network is yours alone"
        )
    return address


def is_loopback(host: str) -> bool:
    """Is it an address of this machine only?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
