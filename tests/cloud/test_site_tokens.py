"""Tokens of sites at the planner: one key for each, however it is asked, and over restarts."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.joining.book import TokenPart
from cloud.joining.inputs import MakeSiteToken, RevokeSiteToken, ShutOutSite, UseSiteToken
from cloud.joining.requests import host_problem
from cloud.port import Problem
from tests.cloud.control import Control
from workflow.token_events import SiteTokenMade

TTL_MS = 60_000
KEYS = ("key-a", "key-b")


def make(cloud: Control, sha256: str = "f" * 64, site: str = "harbour") -> None:
    assert cloud.ask(lambda token: MakeSiteToken(token, SiteTokenMade(sha256, site, [], 0, 0), TTL_MS)) is None


def use(cloud: Control, key: str, certificate: bytes, sha256: str = "f" * 64, site: str = "harbour") -> object:
    return cloud.ask(lambda token: UseSiteToken(token, sha256, site, key, certificate, "10.0.0.7"))


def code(answer: object) -> str:
    assert isinstance(answer, Problem), answer
    return answer.code


def test_the_first_key_takes_the_token_and_is_answered_the_same_again() -> None:
    """With what was signed then, also after the token's end and a restart; another key is told when and whence it was used."""
    cloud = Control()
    make(cloud)
    assert use(cloud, "key-a", b"first") == b"first"
    assert use(cloud, "key-a", b"second") == b"first"
    refused = use(cloud, "key-b", b"third")
    assert code(refused) == "token_used"
    assert "from 10.0.0.7" in str(refused)
    cloud.clock.pass_ms(2 * TTL_MS)
    cloud.restart()
    assert use(cloud, "key-a", b"fourth") == b"first"
    assert code(use(cloud, "key-b", b"fifth")) == "token_used"


def test_what_is_unknown_of_another_site_or_over_gives_nothing() -> None:
    """Nor does a refusal use the token up."""
    cloud = Control()
    make(cloud)
    assert code(use(cloud, "key-a", b"c", sha256="0" * 64)) == "token_unknown"
    assert code(use(cloud, "key-a", b"c", site="airport")) == "token_of_another_site"
    assert use(cloud, "key-b", b"c") == b"c"
    make(cloud, "e" * 64)
    cloud.clock.pass_ms(TTL_MS)
    assert code(use(cloud, "key-a", b"c", sha256="e" * 64)) == "token_expired"


def test_a_revoked_token_gives_nothing_to_its_first_key_neither() -> None:
    """And is gone from the list."""
    cloud = Control()
    make(cloud)
    assert use(cloud, "key-a", b"first") == b"first"
    assert cloud.ask(lambda token: RevokeSiteToken(token, "f" * 12)) is None
    assert code(use(cloud, "key-a", b"first")) == "token_unknown"
    assert code(cloud.ask(lambda token: RevokeSiteToken(token, "f" * 12))) == "token_unknown"
    assert cloud.planner.site_tokens.save() == b""


def test_a_site_that_is_shut_out_comes_back_with_what_is_signed_later() -> None:
    """What was signed before is refused, its tokens are gone, other sites are not concerned; so it is after restarts, too."""
    cloud = Control()
    make(cloud)
    make(cloud, "e" * 64, "airport")
    now_ms = cloud.clock.wall_ms
    assert cloud.ask(lambda token: ShutOutSite(token, "harbour", "stolen")) is None
    cloud.clock.pass_ms(1)
    make(cloud, "d" * 64)
    for happening in ("", "restart", "snapshot", "restart"):
        if happening:
            getattr(cloud, happening)()
            cloud.turn()
        held = cloud.planner.site_tokens
        assert sorted(sha256[0] for sha256 in held.tokens) == ["d", "e"]
        assert "(stolen): tiercel site token create --site harbour" in held.certificate_refusal("harbour", now_ms - 1)
        assert held.certificate_refusal("harbour", now_ms) == ""
        assert held.certificate_refusal("airport", now_ms - 1) == ""
    assert code(use(cloud, "key-a", b"c")) == "token_unknown"
    assert use(cloud, "key-a", b"c", "d" * 64) == b"c"


@dataclass
class Story:
    """What a naive notebook says of the tokens, beside the planner."""

    cloud: Control = field(default_factory=Control)
    known: dict[str, int] = field(default_factory=dict)
    taken: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    count: int = 0

    def live(self, what: str, number: int, key: str) -> None:
        sha256 = f"{number}" * 64
        self.count += 1
        match what:
            case "make" if sha256 not in self.known:
                make(self.cloud, sha256)
                self.known[sha256] = self.cloud.clock.wall_ms + TTL_MS
            case "use":
                offered = f"certificate {self.count}".encode()
                assert self.answer(use(self.cloud, key, offered, sha256)) == self.expected(sha256, key, offered)
            case "revoke":
                self.cloud.ask(lambda token: RevokeSiteToken(token, sha256[:12]))
                self.known.pop(sha256, None)
                self.taken.pop(sha256, None)
            case "wait":
                self.cloud.clock.pass_ms(TTL_MS // 3)
            case "snapshot":
                self.cloud.snapshot()
            case "restart":
                self.cloud.restart()

    def expected(self, sha256: str, key: str, offered: bytes) -> bytes | None:
        if sha256 not in self.known:
            return None
        if sha256 not in self.taken and self.cloud.clock.wall_ms < self.known[sha256]:
            self.taken[sha256] = (key, offered)
        owner, certificate = self.taken.get(sha256, ("", b""))
        return certificate if owner == key else None

    @staticmethod
    def answer(said: object) -> bytes | None:
        return said if isinstance(said, bytes) else None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("make", "make", "use", "use", "use", "revoke", "wait", "snapshot", "restart")),
            st.integers(0, 2),
            st.sampled_from(KEYS),
        ),
        max_size=40,
    )
)
def test_a_token_is_taken_once_and_stays_so(happenings: list[tuple[str, int, str]]) -> None:
    """Whatever is made, used, revoked and restarted when: one key gets one certificate, as a notebook says."""
    story = Story()
    for happening in happenings:
        story.live(*happening)
    held = story.cloud.planner.site_tokens
    assert {sha256: (used.key_sha256, used.certificate) for sha256, used in held.used.items()} == story.taken


def test_a_kind_of_tokens_says_what_its_end_is() -> None:
    """One that does not is never made, so no revocation finds out."""
    assert TokenPart.__abstractmethods__ == {"revoked"}


def test_no_token_is_for_the_name_of_a_node() -> None:
    """A site's certificate never passes for the cloud's, nor for that of another site, nor for all names."""
    for host in ("cloud.tiercel", "airport.tiercel", "*.example.org", "*", "Harbour", "a..b", "x" * 254, "a b"):
        assert host_problem(host) != "", host
    for host in ("gateway.harbour.example", "10.0.0.7", "::1", "localhost", "h4"):
        assert host_problem(host) == "", host
