"""The configuration of a host names all its problems at once."""

from pathlib import Path

import msgspec
import pytest

from agents.config import AgentDescription, HostConfig, HostConfigError, load_agents, load_reach
from tiercel import Tls


def test_all_problems_at_once() -> None:
    """Every wrong id, capacity and double is named together."""
    agents = (
        AgentDescription(id="../x", capabilities=("a",)),
        AgentDescription(id="one", capacity=0, capabilities=("a",)),
        AgentDescription(id="two"),
        AgentDescription(id="two", capabilities=("a",)),
    )
    with pytest.raises(HostConfigError) as caught:
        HostConfig(gateway="", data_dir=Path("/d"), agents=agents).validate()
    assert len(caught.value.problems) == 5
    for words in ("'../x': an id has", "'one': capacity 0", "'two': it offers no", "'two' is described more", "gateway"):
        assert words in str(caught.value)


def test_agents_are_read_from_a_file(tmp_path: Path) -> None:
    """A YAML file gives the agents of each site; what is left out has a default."""
    file = tmp_path / "agents.yaml"
    file.write_text("harbour:\n  - {id: r1, kind: robot, capacity: 2, capabilities: [pick]}\nairport: []\n")
    assert load_agents(file) == {
        "harbour": (AgentDescription(id="r1", kind="robot", capacity=2, capabilities=("pick",)),),
        "airport": (),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("harbour: [{id: r1, kind: cat, capabilities: [a]}]", "Invalid enum value 'cat'"),
        ("harbour: [{id: r1, colour: red}]", "unknown field `colour`"),
        ("harbour: [{id: r1, capabilities: []}]", "harbour: agent 'r1': it offers no capability"),
        ("harbour: [", "agents.yaml"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    """The file and what is wrong in it are said."""
    file = tmp_path / "agents.yaml"
    file.write_text(text)
    with pytest.raises(HostConfigError) as caught:
        load_agents(file)
    assert str(file) in str(caught.value)
    assert expected in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is said by its name."""
    with pytest.raises(HostConfigError, match=r"nowhere\.yaml"):
        load_agents(tmp_path / "nowhere.yaml")


def test_a_configuration_is_a_value() -> None:
    """Equal configurations are equal, and none can be changed."""
    config = HostConfig(gateway="unix:/x", data_dir=Path("/d"), agents=())
    assert config == HostConfig(gateway="unix:/x", data_dir=Path("/d"), agents=())
    with pytest.raises(AttributeError):
        config.gateway = "unix:/y"  # type: ignore[misc]
    assert msgspec.structs.asdict(config)["http"].allowed_hosts == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [("http: {hosts: []}", "unknown field `hosts`"), ("databases: {a: {}}", "missing required field `url`"), ("- 1", "array")],
)
def test_what_may_be_reached_is_read_strictly(tmp_path: Path, text: str, said: str) -> None:
    """A mistake in actions.yaml is named with the file, and the agents do not start with less than was meant."""
    (tmp_path / "actions.yaml").write_text(text)
    with pytest.raises(HostConfigError, match=said) as caught:
        load_reach(tmp_path / "actions.yaml")
    assert "actions.yaml" in str(caught.value)


def test_a_host_has_one_kind_of_paper(tmp_path: Path) -> None:
    """A certificate for each agent, or one for all: with a directory, each agent's files are in it under its id."""
    agents = tuple(AgentDescription(id=name, capabilities=("lift",)) for name in ("a", "b"))
    host = HostConfig(
        gateway="harbour:7444", data_dir=tmp_path, agents=agents, tls_dir=tmp_path / "tls", tls_server="harbour.tiercel"
    )
    host.validate()
    folder = tmp_path / "tls" / "b"
    assert host.tls_of("b") == Tls(folder / "ca.crt", folder / "tls.crt", folder / "tls.key", "harbour.tiercel")
    with pytest.raises(HostConfigError, match="give it, or tls, or a token"):
        msgspec.structs.replace(host, tls=host.tls_of("a")).validate()
