"""Where a node may listen. A listener that others can reach, and that asks nobody who he is, must be asked for by name."""

import ipaddress


class ListenRefused(ValueError):
    """An address that other machines can reach, without certificates or --insecure."""


def check_address(address: str, *, insecure: bool) -> str:
    """`host:port` if it is a loopback address or `insecure` is given. Raises ListenRefused."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not host:
        raise ListenRefused(f"{address!r} is not an address: give host:port, for example 127.0.0.1:7443")
    if not insecure and not is_loopback(host):
        raise ListenRefused(
            f"{address} can be reached from other machines, and whoever connects there is not authenticated: "
            "listen on 127.0.0.1, give nodes certificates with --tls-dir (tiercel cert), "
            "or --insecure if the network is yours alone"
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
