"""`tiercel cert`, as an operator types it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cert import commands
from sync.identity import main as certificates
from sync.identity.driver import Credentials
from sync.identity.names import Identity, capabilities_among
from tiercel.tls import peer_host


def typed(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(commands, [str(word) for word in words])
    return done.exit_code, done.output


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    code, said = typed("init", "--ca-dir", tmp_path / "ca")
    assert (code, "sha256:" in said) == (0, True)
    return tmp_path / "ca"


def test_a_ca_is_never_overwritten(ca: Path) -> None:
    """A second init is refused by name and changes nothing; the key is its owner's alone."""
    before = (ca / "ca.key").read_bytes()
    code, said = typed("init", "--ca-dir", ca)
    assert (code, "exists already" in said) == (1, True)
    assert (ca / "ca.key").read_bytes() == before
    assert (ca / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_certificate_says_for_whom_it_is_and_stays_his_when_rotated(ca: Path, tmp_path: Path) -> None:
    """Identity, hosts and capabilities outlive a rotation; the key does not, and is its owner's alone."""
    out = tmp_path / "crane"
    issue = ("issue", "--ca-dir", ca, "--site", "harbour", "--agent", "crane/1", "--capability", "lift", "--out", out)
    assert typed(*issue)[0] == 0
    key = (out / "tls.key").read_bytes()
    code, said = typed("rotate", out, "--ca-dir", ca)
    assert (code, "for agent crane/1 of site harbour" in said, "may offer: lift" in said) == (0, True, True)
    found = certificates.read(out / "tls.crt")
    assert found.identity == Identity("harbour", "crane/1")
    assert capabilities_among(found.names) == {"lift"}
    assert (out / "tls.key").read_bytes() != key
    assert (out / "tls.key").stat().st_mode & 0o777 == 0o600


def test_an_agent_is_dialled_under_no_name_but_its_own(ca: Path, tmp_path: Path) -> None:
    """By its peers, with --peers, also after a rotation; a host that is asked for could be its gateway's, and is not given."""
    out = tmp_path / "crane"
    issue = ("issue", "--ca-dir", ca, "--site", "harbour", "--agent", "crane", "--out", out)
    assert typed(*issue, "--host", "gateway.example")[0] == 0
    assert certificates.read(out / "tls.crt").hosts == []
    assert typed(*issue, "--peers")[0] == 0
    assert typed("rotate", out, "--ca-dir", ca)[0] == 0
    assert certificates.read(out / "tls.crt").hosts == [peer_host("harbour", "crane")]
    assert "name it with --agent" in typed("issue", "--ca-dir", ca, "--site", "harbour", "--peers", "--out", out)[1]


def test_showing_warns_before_the_end_and_fails_after_it(ca: Path, tmp_path: Path) -> None:
    """With what to type, as scripts and people need it."""
    for days, code, warning in ((90, 0, ""), (3.5, 0, "expires soon"), (-1, 1, "has expired")):
        assert typed("issue", "--ca-dir", ca, "--node", "cloud", "--out", tmp_path / "c", f"--days={days}")[0] == 0
        shown, said = typed("show", tmp_path / "c")
        assert shown == code
        assert warning in said
        assert ("tiercel cert issue --node cloud" in said) == bool(warning)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--node", "harbour"), "--site harbour"),
        (("--agent", "crane-1"), "--site NAME --agent ID"),
        (("--node", "cloud", "--site", "harbour"), "give --node cloud"),
        (("--site", "Harbour!"), "cannot be a site's name"),
        (("--site", "harbour", "--capability", "lift"), "name it with --agent"),
    ],
)
def test_what_names_nobody_is_refused(ca: Path, words: tuple[str, ...], said: str) -> None:
    """Each in words that say what to give."""
    code, output = typed("issue", "--ca-dir", ca, *words)
    assert (code, said in output) == (1, True)


def test_a_key_of_another_certificate_is_not_taken(ca: Path, tmp_path: Path) -> None:
    """Half of a new pair is no pair; the message names the files, and never what is in them."""
    for name in ("a", "b"):
        certificates.issue(ca, tmp_path / name, Identity("harbour"))
    files = certificates.issue(ca, tmp_path / "a", Identity("harbour"))
    with pytest.raises(certificates.CertificateProblem, match=r"b/tls.key is not the key of .*a/tls.crt"):
        certificates.load(files._replace(key=tmp_path / "b" / "tls.key"))


def test_a_pair_that_was_left_half_in_place_is_mended_by_who_reads_it(ca: Path, tmp_path: Path) -> None:
    """Killed between the two renames, the key is the new one and its certificate lies beside: together they are a pair again, and
    what is no certificate for the key is left alone."""
    files = certificates.issue(ca, tmp_path / "a", Identity("harbour"))
    old = files.cert.read_bytes()
    certificates.rotate(ca, tmp_path / "a")
    files.cert.with_name("tls.crt.new").write_bytes(new := files.cert.read_bytes())
    files.cert.write_bytes(old)
    assert Credentials(files).pem[1] == new
    assert files.cert.read_bytes() == new
    files.cert.with_name("tls.crt.new").write_bytes(old)
    certificates.mend(files)
    assert files.cert.read_bytes() == new
