"""deploy/layout.py: what a local system is made of is checked before anything starts."""

import os
import socket
from pathlib import Path

import pytest

from deploy.layout import PortsTaken, SiteConfig, SystemConfig, check_ports
from sync.listen import ListenRefused


def system(*sites: SiteConfig, host: str = "127.0.0.1", insecure: bool = False, api_port: int = 8003) -> SystemConfig:
    return SystemConfig(Path("data"), sites, host=host, insecure=insecure, api_port=api_port)


@pytest.mark.parametrize("name", ["", "Harbour", "cloud", "logs", "../x", "a" * 41, "a>b"])
def test_a_bad_name_is_refused(name: str) -> None:
    """The name of a site is also that of a directory, a socket and a stream, so it is plain."""
    with pytest.raises(ValueError, match="a site has a name of its own"):
        system(SiteConfig(name, 7444)).validate()


def test_sites_are_told_apart() -> None:
    """Two sites of one name, or two uses of one port, are refused with what clashes."""
    with pytest.raises(ValueError, match="site 'harbour'"):
        system(SiteConfig("harbour", 7444), SiteConfig("harbour", 7445)).validate()
    with pytest.raises(ValueError, match="port 8003 is wanted for the API and for the gateway of harbour"):
        system(SiteConfig("harbour", 8003)).validate()
    with pytest.raises(ValueError, match="port 70000 for the gateway of harbour does not exist"):
        system(SiteConfig("harbour", 70_000)).validate()


def test_only_loopback_without_insecure() -> None:
    """An address that others can reach is refused unless --insecure is given."""
    with pytest.raises(ListenRefused, match="--insecure"):
        system(SiteConfig("harbour", 7444), host="0.0.0.0").validate()
    open_to_all = system(SiteConfig("harbour", 7444), host="0.0.0.0", insecure=True)
    open_to_all.validate()
    assert open_to_all.api_url == "http://127.0.0.1:8003"


def test_a_start_comes_to_its_end() -> None:
    """A site may not be told to wait for its cloud longer than a node may take to start."""
    for seconds in (-1.0, 31.0, float("nan")):
        with pytest.raises(ValueError, match="first link wait: 0 to 30 seconds"):
            SystemConfig(Path("data"), (SiteConfig("harbour", 7444),), first_link_wait_s=seconds).validate()


def test_a_taken_port_is_named() -> None:
    """A port in use is named with its purpose and its owner."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortsTaken) as refused:
            check_ports(system(api_port=port))
    assert f"127.0.0.1:{port} for the API: address already in use, by process {os.getpid()}" in str(refused.value)


def test_with_certificates_all_but_the_api_may_listen_anywhere() -> None:
    """The API asks nobody who he is, so it stays on this machine; names of directories that certificates need are no sites'."""
    sites = (SiteConfig("harbour", 7444),)
    config = SystemConfig(Path("data"), sites, host="0.0.0.0", tls=True)
    config.validate()
    assert (config.api_host, config.api_url) == ("127.0.0.1", "http://127.0.0.1:8003")
    assert SystemConfig(Path("data"), sites, host="0.0.0.0", tls=True, insecure=True).api_host == "0.0.0.0"
    with pytest.raises(ValueError, match="not cloud or logs or ca or tls"):
        SystemConfig(Path("data"), (SiteConfig("tls", 7444),), tls=True).validate()
    SystemConfig(Path("data"), (SiteConfig("tls", 7444),)).validate()


def test_the_boxes_of_a_site_have_ports_in_a_row() -> None:
    """Each has a name, a gateway and a port for the others, which is of this machine only; agents are told all gateways."""
    harbour = SiteConfig("harbour", 7444, nodes=3)
    config = system(harbour, SiteConfig("airport", 7447), host="0.0.0.0", insecure=True)
    config.validate()
    assert [box.name for box in harbour.boxes] == ["harbour-a", "harbour-b", "harbour-c"]
    assert harbour.peers == {"a": "127.0.0.1:7500", "b": "127.0.0.1:7501", "c": "127.0.0.1:7502"}
    assert config.gateways(harbour) == "127.0.0.1:7444,127.0.0.1:7445,127.0.0.1:7446"
    assert config.gateways(config.sites[1]) == "127.0.0.1:7447"
    assert [config.host_of(port) for port in (7446, 7502)] == ["0.0.0.0", "127.0.0.1"]


def test_boxes_that_cannot_be_are_refused() -> None:
    """Two boxes bear no more than one; a site may not be called like a box of another, nor have its port."""
    with pytest.raises(ValueError, match="site harbour: 2 boxes; allowed are 1, 3 and 5"):
        system(SiteConfig("harbour", 7444, nodes=2)).validate()
    with pytest.raises(ValueError, match="site 'harbour-b' has the name of box b of another site"):
        system(SiteConfig("harbour", 7444, nodes=3), SiteConfig("harbour-b", 7460)).validate()
    with pytest.raises(ValueError, match="port 7446 is wanted for the gateway of harbour-c and for the gateway of airport"):
        system(SiteConfig("harbour", 7444, nodes=3), SiteConfig("airport", 7446)).validate()
