"""The compose file, the images and the systemd unit are in step with the commands that they call."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cloud.main import command as cloud
from deploy import papers
from deploy.up import command as up
from edge.group.values import Asked, box_of
from edge.main import run as edge
from sync.identity import main as certificates
from sync.identity.names import Identity
from sync.listen import ListenRefused, check_address

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMMANDS: dict[str, Callable[..., None]] = {"cloud": cloud, "edge": edge, "up": up}


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The options of `tiercel cloud ...` or `tiercel edge ...`; fails as the command itself would."""
    program, name, *rest = arguments
    assert program == "tiercel" or program.endswith("/bin/tiercel")
    app = typer.Typer()
    app.command(name)(COMMANDS[name])
    return typer.main.get_command(app).make_context(name, list(rest)).params


def entrypoint(dockerfile: str) -> list[str]:
    found = re.search(r"^ENTRYPOINT (\[.*\])$", (DEPLOY / dockerfile).read_text(), re.MULTILINE)
    assert found is not None
    return [str(word) for word in yaml.safe_load(found[1])]


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return document


def test_the_containers_run_commands_that_exist() -> None:
    """Image and compose file together make a command line that `tiercel` takes, and the sites dial the cloud's port."""
    started = {}
    for name, service in compose()["services"].items():
        if "entrypoint" in service:
            continue
        started[name] = parsed([*entrypoint(service["build"]["dockerfile"].removeprefix("deploy/")), *service["command"]])
    assert started.keys() == {"cloud", "harbour", "airport"}
    port = started["cloud"]["listen"].rpartition(":")[2]
    assert [(started[site]["site"], started[site]["cloud"]) for site in ("harbour", "airport")] == [
        ("harbour", f"cloud:{port}"),
        ("airport", f"cloud:{port}"),
    ]


def test_the_boxes_of_a_site_know_each_other() -> None:
    """The second file makes of one site three boxes that found one group, each published where it says that agents reach it."""
    document = yaml.safe_load((DEPLOY / "compose.group.yaml").read_text())
    boxes, tls = {}, {}
    for name, service in document["services"].items():
        if name == "certs":
            continue
        options = parsed([*entrypoint("Dockerfile.edge"), *service["command"]])
        fields = ("node", "peers", "join", "peer_listen", "advertise", "listen")
        asked = Asked(**{each: options[each] for each in fields}, is_secured=True)
        boxes[name] = box_of(asked)
        published = service.get("ports", compose()["services"]["harbour"]["ports"])
        assert [f"{options['advertise']}:7444"] == published
        assert options["tls_dir"] == Path("/tls")
        (tls[name],) = [each for each in service.get("volumes", compose()["services"]["harbour"]["volumes"]) if "/tls" in each]
    assert len(set(tls.values())) == len(tls), "each renews its own"
    assert {box.node: box.peers for box in boxes.values() if box is not None} == {
        node: {"a": "harbour:7500", "b": "harbour-b:7500", "c": "harbour-c:7500"} for node in "abc"
    }


def test_each_box_has_a_certificate_of_its_site(tmp_path: Path) -> None:
    """`certs` of the second file makes one for each, in the volume of that box, beside those of the first."""
    certs = yaml.safe_load((DEPLOY / "compose.group.yaml").read_text())["services"]["certs"]
    _, _, module, folder, *nodes = certs["entrypoint"]
    assert nodes[:3] == compose()["services"]["certs"]["entrypoint"][4:]
    papers.main(tmp_path, nodes)
    held = {name: certificates.read(tmp_path / name / "tls.crt") for name in ("harbour", "harbour-b", "harbour-c")}
    assert {found.identity for found in held.values()} == {Identity("harbour")}
    assert all(name in found.names for name, found in held.items()), "each is dialled by its own name"
    assert len({found.fingerprint for found in held.values()}) == 3
    assert (module, certs["volumes"]) == (
        "deploy.papers",
        [f"harbour-{box}-tls:{folder}/harbour-{box}" for box in "bc"],
    )


def test_only_loopback_ports_are_published() -> None:
    """The API alone asks nobody: it is reached from outside over loopback. All else listens with certificates."""
    for name, service in compose()["services"].items():
        assert ("--insecure" in service["command"]) == (name == "cloud")
        for published in service.get("ports", ()):
            check_address(published.rpartition(":")[0], insecure=False)
    with pytest.raises(ListenRefused):
        check_address("0.0.0.0:8003", insecure=False)


def test_each_container_has_its_own_certificate_and_the_cloud_alone_the_ca(tmp_path: Path) -> None:
    """What `certs` makes is in the volumes that the nodes look into, made once, and what each says is its node's name."""
    services = compose()["services"]
    _, _, module, folder, *nodes = services["certs"]["entrypoint"]
    assert (module, folder) == ("deploy.papers", "/certs")
    volumes = {name: dict(volume.split(":") for volume in service["volumes"]) for name, service in services.items()}
    papers.main(tmp_path, nodes)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    papers.main(tmp_path, nodes)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for name in nodes:
        (volume,) = [volume for volume, place in volumes[name].items() if place == "/tls"]
        assert volumes["certs"][volume] == f"/certs/{name}"
        assert certificates.read(tmp_path / name / "tls.crt").identity == Identity(name)
        assert parsed([*entrypoint(f"Dockerfile.{'cloud' if name == 'cloud' else 'edge'}"), *services[name]["command"]])[
            "tls_dir"
        ] == Path("/tls")
    assert [name for name in nodes if "ca" in volumes[name]] == ["cloud"]
    assert volumes["cloud"]["ca"] == "/ca"
    assert volumes["certs"]["ca"] == "/certs/ca"


def test_papers_are_made_anew_when_they_are_due_or_say_something_else(tmp_path: Path) -> None:
    """A name more, another capability, a third of its life left, another CA, half a pair: else they stay as they are."""
    ca, folder = tmp_path / "ca", tmp_path / "crane"
    papers.lay_ca(ca)
    crane = Identity("harbour", "crane-1")

    def is_new(*, hosts: Sequence[str] = (), capabilities: Sequence[str] = ("lift",), identity: Identity = crane) -> bool:
        before = (folder / "tls.crt").read_bytes() if (folder / "tls.crt").exists() else b""
        return papers.lay(ca, folder, identity, hosts, capabilities).cert.read_bytes() != before

    assert is_new()
    assert not is_new()
    assert is_new(capabilities=("lift", "weld"))
    assert is_new()
    certificates.issue(ca, folder, crane, days=0.001, capabilities=["lift"])
    assert is_new()
    (folder / "tls.key").write_bytes((ca / "ca.key").read_bytes())
    assert is_new()
    assert not is_new()
    assert is_new(identity=Identity("harbour"), capabilities=())
    assert is_new(identity=Identity("harbour"), capabilities=(), hosts=["gateway.example"])
    shutil.rmtree(ca)
    papers.lay_ca(ca)
    assert is_new(identity=Identity("harbour"), capabilities=(), hosts=["gateway.example"])


def test_the_images_hold_every_package() -> None:
    """Both images are built from the packages that the project names, as an ordinary user."""
    packages = {path.parent.name for path in DEPLOY.parent.glob("*/__init__.py")}
    for file in ("Dockerfile.cloud", "Dockerfile.edge"):
        text = (DEPLOY / file).read_text()
        copied = set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE))
        assert copied == packages | {"sdk"}
        assert "USER tiercel" in text
        assert "HEALTHCHECK" in text
    ignored = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} >= packages | {"sdk"}


def test_the_service_runs_a_command_that_exists() -> None:
    """The systemd unit calls `tiercel edge` with options that it has."""
    text = (DEPLOY / "tiercel-edge.service").read_text().replace("\\\n", " ")
    found = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert found is not None
    words = shlex.split(found[1])
    assert words.pop() == "$TIERCEL_GROUP"  # Split into words by systemd; without it there is none.
    options = parsed(words)
    assert options["site"] == "${TIERCEL_SITE}"
    assert options["insecure"] is False
    assert options["tls_dir"] == Path("/var/lib/tiercel/tls")


def test_the_commands_take_a_wait_for_the_first_link() -> None:
    """`tiercel edge` and `tiercel up` know the option that the README names."""
    assert "tiercel edge --first-link-wait 60" in (DEPLOY / "README.md").read_text()
    assert parsed(["tiercel", "edge", "--site", "harbour", "--first-link-wait", "60"])["first_link_wait"] == 60.0
    assert parsed(["tiercel", "up", "--first-link-wait", "5"])["first_link_wait"] == 5.0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_reads_the_unit() -> None:
    """systemd finds nothing unknown in the unit; that Tiercel is not installed in /opt here is no fault of it."""
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(DEPLOY / "tiercel-edge.service")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stderr
    about_it = [line for line in told.splitlines() if "tiercel-edge.service" in line and "is not executable" not in line]
    assert about_it == []


def has_compose() -> bool:
    return (
        shutil.which("docker") is not None
        and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=60).returncode == 0
    )


@pytest.mark.skipif(not has_compose(), reason="needs docker with its compose plugin")
def test_docker_reads_the_compose_file() -> None:
    """`docker compose config` accepts the file."""
    config = ["docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    assert subprocess.run(config, capture_output=True, check=False, timeout=60).returncode == 0
