"""deploy/founding.py: what a data directory holds of a site's boxes is what every later start goes by."""

from pathlib import Path

import pytest

from deploy.founding import FoundedOtherwise, note_founding
from deploy.layout import SiteConfig, SystemConfig
from deploy.up import settle


def found(data: Path, *sites: SiteConfig) -> None:
    note_founding(SystemConfig(data, sites), data)


def test_boxes_of_all_sites_or_of_one() -> None:
    """What is said of one site goes before what is said of all; each box has the next ports."""
    sites = settle(Path("/nowhere"), ["harbour", "airport=9000", "depot"], ["airport=5", "3"], 7444, 7500)
    assert [(site.name, site.nodes, site.gateway_port, site.peer_port) for site in sites] == [
        ("harbour", 3, 7444, 7500),
        ("airport", 5, 9000, 7503),
        ("depot", 3, 7452, 7508),
    ]


@pytest.mark.parametrize("text", ["2", "three", "harbour=", "=3", "airport=3"])
def test_a_mistake_is_told(text: str) -> None:
    """A number that is none of a group's, or a site that is not there, is refused with what is allowed."""
    with pytest.raises(ValueError, match=r"allowed are 1, 3 and 5|there is no site"):
        settle(Path("/nowhere"), ["harbour"], [text], 7444, 7500)


def test_a_later_start_has_the_boxes_of_the_first(tmp_path: Path) -> None:
    """It need not say how many, and their ports among each other stay, whatever is asked for now."""
    (first,) = settle(tmp_path, ["harbour"], ["3"], 7444, 7500)
    found(tmp_path, first)
    (again,) = settle(tmp_path, ["harbour"], [], 8444, 8500)
    assert (again.nodes, again.gateway_port, again.peer_port) == (3, 8444, 7500)
    found(tmp_path, again)
    sites = settle(tmp_path, ["depot", "harbour", "airport"], ["3"], 8444, 7490)
    assert [site.peer_port for site in sites] == [7490, 7500, 7503]


def test_another_number_of_boxes_is_refused(tmp_path: Path) -> None:
    """A site of one box does not become three by an option, nor three one; what is there is not touched."""
    (tmp_path / "harbour").mkdir()
    (tmp_path / "harbour" / "edge.db").touch()
    with pytest.raises(FoundedOtherwise, match=r"harbour has one box in .*leave --nodes away"):
        settle(tmp_path, ["harbour"], ["3"], 7444, 7500)
    found(tmp_path, SiteConfig("airport", 7444, nodes=3))
    with pytest.raises(FoundedOtherwise, match="airport has 3 boxes"):
        settle(tmp_path, ["airport"], ["1"], 7444, 7500)
    with pytest.raises(FoundedOtherwise, match="by other ports"):
        found(tmp_path, SiteConfig("airport", 7444, nodes=3, peer_port=7600))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["boxes.json", "edge.db"]


def test_a_note_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Nothing is guessed from it."""
    (tmp_path / "harbour").mkdir()
    (tmp_path / "harbour" / "boxes.json").write_text('{"nodes": "three"}')
    with pytest.raises(ValueError, match=r"boxes\.json does not say how many boxes the site has"):
        settle(tmp_path, ["harbour"], [], 7444, 7500)
