"""The tokens with which sites get their first certificate, a Part of the planner. They are events of the cloud's own stream: a
site that joins asks the cloud, so nobody else has to know them.

A token is good for one key. Its use is recorded with the certificate before that leaves, so whoever lost the answer asks again
with his key and gets the same, and nobody else gets one.
"""

from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from cloud.joining.book import TOKENS_MAX, Recording, TokenPart, Words
from cloud.joining.inputs import MakeSiteToken, RevokeSiteToken, ShutOutSite, UseSiteToken
from cloud.part import Fold, Step
from cloud.port import Problem
from sync.outputs import Reply
from sync.values import Now
from workflow.event import Event
from workflow.token_events import SiteCertificatesRevoked, SiteTokenMade, SiteTokenRevoked, SiteTokenUsed


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    tokens: list[SiteTokenMade]
    used: list[SiteTokenUsed]
    shut_out: list[SiteCertificatesRevoked] = []


class SiteTokens(TokenPart[SiteTokenMade]):
    """`used` by the token's SHA-256: for which key, and what it got. `shut_out` by site: what is refused,
    though it was signed here."""

    name: ClassVar[str] = "site_tokens"
    words: ClassVar[Words] = Words("site token", "tiercel site token list")

    def __init__(self, planner: Recording) -> None:
        super().__init__(planner)
        self.used: dict[str, SiteTokenUsed] = {}
        self.shut_out: dict[str, SiteCertificatesRevoked] = {}

    def steps(self) -> dict[type, Step]:
        return {MakeSiteToken: self.make, RevokeSiteToken: self.revoke, UseSiteToken: self._use, ShutOutSite: self._shut_out}

    def own_folds(self) -> dict[type, Fold]:
        tokens: dict[type, Fold] = {SiteTokenMade: self._fold_made, SiteTokenUsed: self._fold_used}
        return {**tokens, SiteTokenRevoked: self._fold_revoked, SiteCertificatesRevoked: self._fold_shut_out}

    def refusal(self, sha256: str, site: str, key_sha256: str, wall_ms: int) -> Problem | None:
        """Why a token gives no certificate to a site with this key; None if it does."""
        if (made := self.tokens.get(sha256)) is None:
            return Problem(403, "token_unknown", f"the token is unknown to this cloud, or was revoked: {_again(site)}")
        if made.site != site:
            return Problem(403, "token_of_another_site", f"the token is for site {made.site}, not for {site}: {_again(site)}")
        if (used := self.used.get(sha256)) is not None:
            # The one who used it in time may ask again at any time: he gets what was signed then.
            return None if used.key_sha256 == key_sha256 else Problem(403, "token_used", _taken(used, site))
        if made.expires_ms <= wall_ms:
            return Problem(403, "token_expired", f"the token of site {site} expired at {_when(made.expires_ms)}: {_again(site)}")
        return None

    def certificate_refusal(self, site: str, signed_ms: int) -> str:
        """Why a certificate of a site is refused that was signed then; empty if it is not."""
        held = self.shut_out.get(site)
        if held is None or signed_ms >= held.before_ms:
            return ""
        reason = f" ({held.reason})" if held.reason else ""
        return (
            f"certificates of site {site} that were signed before {_when(held.before_ms)} are revoked{reason}: "
            f"{_again(site)}, and join again"
        )

    # Asked ------------------------------------------------------------------------------------------------------------

    def _use(self, input: UseSiteToken, now: Now, out: list[object]) -> None:
        if (refused := self.refusal(input.sha256, input.site, input.key_sha256, now.wall_ms)) is not None:
            out.append(Reply(input.token, refused))
            return
        if input.sha256 not in self.used:
            used = SiteTokenUsed(input.sha256, input.key_sha256, input.certificate, input.peer, now.wall_ms)
            self._recording.note("", used, now, out)
        out.append(Reply(input.token, self.used[input.sha256].certificate))

    def _shut_out(self, input: ShutOutSite, now: Now, out: list[object]) -> None:
        if input.site not in self.shut_out and len(self.shut_out) >= TOKENS_MAX:
            detail = f"{TOKENS_MAX:,} sites are shut out already: make a new CA"
            out.append(Reply(input.token, Problem(409, "revocations_full", detail)))
            return
        for sha256 in [sha256 for sha256, made in self.tokens.items() if made.site == input.site]:
            self._end(sha256, now, out)
        self._recording.note("", SiteCertificatesRevoked(input.site, now.wall_ms, input.reason), now, out)
        out.append(Reply(input.token, None))

    def revoked(self, sha256: str) -> Event:
        return SiteTokenRevoked(sha256)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_made(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, SiteTokenMade)
        self.tokens[event.sha256] = event

    def _fold_used(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, SiteTokenUsed)
        assert event.sha256 not in self.used, f"token {event.sha256[:12]} was used twice"
        self.used[event.sha256] = event

    def _fold_revoked(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, SiteTokenRevoked)
        self.tokens.pop(event.sha256, None)
        self.used.pop(event.sha256, None)

    def _fold_shut_out(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, SiteCertificatesRevoked)
        self.shut_out[event.site] = event

    def save(self) -> bytes:
        if not self.tokens and not self.shut_out:
            return b""
        tokens = [self.tokens[sha256] for sha256 in sorted(self.tokens)]
        used = [self.used[sha256] for sha256 in sorted(self.used)]
        return msgspec.msgpack.encode(Saved(tokens, used, [self.shut_out[site] for site in sorted(self.shut_out)]))

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.tokens = {made.sha256: made for made in saved.tokens}
        self.used = {used.sha256: used for used in saved.used}
        self.shut_out = {revoked.site: revoked for revoked in saved.shut_out}


def _taken(used: SiteTokenUsed, site: str) -> str:
    return (
        f"the token of site {site} was used for another key at {_when(used.at_ms)}, from {used.peer}, and is good for one: "
        f"{_again(site)}. If that was not you, somebody else has a certificate of this site (docs/security-link.md)"
    )


def _again(site: str) -> str:
    return f"tiercel site token create --site {site}"


def _when(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


_SAVED = msgspec.msgpack.Decoder(Saved)
