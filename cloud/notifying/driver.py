"""The courier: brings notifications to their addresses by HTTP POST, a few at a time, and tries again what did not arrive.

An address that takes a notification answers 2xx. What may go better later (no connection, no answer in time, 408, 425, 429,
5xx) is tried again after a growing, jittered wait; any other answer, a redirect too, is final. Who keeps failing is not called
for a while: one breaker for each host and port. The courier keeps nothing: what it has in its hands when the node dies is pending
in the log, and the core hands it out again.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import count

import httpx
import structlog

from cloud.notifying.inputs import Attempted, Deliver
from cloud.notifying.messages import body_of
from coordination.breaker import Breaker, BreakerPolicy, Breakers, Outcome
from sync.actors import InboxFull
from sync.ports.core import Clock
from tiercel.backoff import Backoff

SIGNATURE = "X-Tiercel-Signature"
RETRYABLE = frozenset({408, 425, 429})
ERROR_CHARACTERS_MAX = 500
INBOX_FULL_PAUSE_S = 0.2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CourierPolicy:
    """At most `attempts_max` attempts within `give_up_s`, the waits between them growing by `growth` from `first_s` to `limit_s`;
    each attempt has `answer_s`, and `at_once` of them are under way together."""

    attempts_max: int = 20
    give_up_s: float = 24 * 3600
    first_s: float = 1.0
    limit_s: float = 900.0
    growth: float = 2.0
    answer_s: float = 10.0
    at_once: int = 16
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)


@dataclass(slots=True, eq=False)
class _Parcel:
    """A notification in the courier's hands."""

    order: Deliver
    backoff: Backoff
    attempts: int = 0
    error: str = ""


@dataclass(slots=True)
class Courier:
    """Carries out `Deliver`. `tell` brings an `Attempted` to the core; `base_url` is how links to the API begin."""

    tell: Callable[[Attempted], None]
    clock: Clock
    base_url: str
    policy: CourierPolicy = field(default_factory=CourierPolicy)
    _parcels: dict[str, _Parcel] = field(default_factory=dict)
    _due: list[tuple[int, int, str]] = field(default_factory=list)  # When (monotonic ms), an own number, whose.
    _numbers: "count[int]" = field(default_factory=count)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _breakers: Breakers = field(init=False)

    def __post_init__(self) -> None:
        self._breakers = Breakers(self.policy.breaker)

    def deliver(self, order: Deliver) -> None:
        """Take a notification; one that is in its hands already goes on there, to where it goes now."""
        known = self._parcels.get(order.note.id)
        if known is not None:
            known.order = order
            return
        policy = self.policy
        self._parcels[order.note.id] = _Parcel(order, Backoff(policy.first_s, policy.limit_s, policy.growth))
        self._put_off(order.note.id, 0)

    async def run(self) -> None:
        """Deliver until cancelled."""
        parcel = await self._next()  # A client costs its TLS settings: none is made before it is needed.
        places = asyncio.Semaphore(self.policy.at_once)
        async with self._client() as client, asyncio.TaskGroup() as group:
            while True:
                await places.acquire()
                group.create_task(self._attempt(client, parcel)).add_done_callback(lambda _: places.release())
                parcel = await self._next()

    def _client(self) -> httpx.AsyncClient:
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        # Neither a proxy nor credentials of this machine's environment: the address is all that was meant.
        return httpx.AsyncClient(timeout=self.policy.answer_s, follow_redirects=False, cookies=no_cookies, trust_env=False)

    async def _next(self) -> _Parcel:
        """The next one whose time has come."""
        while True:
            self._wake.clear()
            now_ms = self.clock.now().mono_ms
            if self._due and self._due[0][0] <= now_ms:
                return self._parcels[heappop(self._due)[2]]
            wait_s = (self._due[0][0] - now_ms) / 1000 if self._due else None
            try:
                await asyncio.wait_for(self._wake.wait(), wait_s)
            except TimeoutError:
                continue

    async def _attempt(self, client: httpx.AsyncClient, parcel: _Parcel) -> None:
        note, now = parcel.order.note, self.clock.now()
        is_late = now.wall_ms - note.since_ms > self.policy.give_up_s * 1000
        breaker = self._breakers.of(_endpoint(note.url))
        ticket = None if is_late and parcel.attempts else breaker.admit(now.mono_ms)
        if ticket is None and is_late:
            await self._finish(parcel, f"not delivered within {self.policy.give_up_s:g} s: {parcel.error}")
        elif ticket is None:
            parcel.error = parcel.error or f"{_endpoint(note.url)} kept failing and is not called for a while"
            jitter_s = parcel.backoff.chance.uniform(0.0, self.policy.first_s)
            await self._wait(parcel, breaker.retry_after_ms(now.mono_ms) + int(jitter_s * 1000))
        else:
            await self._call(client, parcel, breaker, ticket)

    async def _call(self, client: httpx.AsyncClient, parcel: _Parcel, breaker: Breaker, ticket: int) -> None:
        parcel.attempts += 1
        outcome = Outcome.UNKNOWN
        try:
            parcel.error, is_final = await self._post(client, parcel)
            outcome = Outcome.FAILURE if parcel.error and not is_final else Outcome.SUCCESS
        finally:
            breaker.settle(ticket, outcome, self.clock.now().mono_ms)
        if not parcel.error or is_final or parcel.attempts >= self.policy.attempts_max:
            await self._finish(parcel, parcel.error)
        else:
            await self._wait(parcel, int(parcel.backoff.next_s() * 1000))

    async def _post(self, client: httpx.AsyncClient, parcel: _Parcel) -> tuple[str, bool]:
        """What went wrong, empty if nothing did, and whether that is final."""
        note, secret = parcel.order
        body = body_of(note, self.base_url)
        headers = {"Content-Type": "application/json", "Idempotency-Key": note.id, "User-Agent": "tiercel"}
        if secret:
            headers[SIGNATURE] = signature(secret, body)
        try:
            async with asyncio.timeout(self.policy.answer_s):
                async with client.stream("POST", note.url, content=body, headers=headers) as answer:
                    return _judge(answer)
        except (TimeoutError, httpx.TimeoutException):
            return f"no answer within {self.policy.answer_s:g} s", False
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            return f"{note.url} cannot be called: {error}", True
        except (httpx.HTTPError, OSError) as error:
            return f"cannot be reached: {str(error) or type(error).__name__}", False
        except Exception as error:  # noqa: BLE001 - Whatever one address brings about, the others get theirs.
            return f"cannot be called: {type(error).__name__}: {error}", True

    async def _wait(self, parcel: _Parcel, wait_ms: int) -> None:
        id = parcel.order.note.id
        await self._say(Attempted(id, parcel.attempts, "waiting", parcel.error, self.clock.now().wall_ms + wait_ms))
        self._put_off(id, wait_ms)

    async def _finish(self, parcel: _Parcel, error: str) -> None:
        id = parcel.order.note.id
        del self._parcels[id]
        if error:
            log.warning("a notification was given up", id=id, to=parcel.order.note.to, attempts=parcel.attempts, error=error)
        await self._say(Attempted(id, parcel.attempts, "failed" if error else "delivered", error[:ERROR_CHARACTERS_MAX]))

    async def _say(self, said: Attempted) -> None:
        while True:
            try:
                self.tell(said)
            except InboxFull:
                await asyncio.sleep(INBOX_FULL_PAUSE_S)
            else:
                return

    def _put_off(self, id: str, wait_ms: int) -> None:
        heappush(self._due, (self.clock.now().mono_ms + wait_ms, next(self._numbers), id))
        self._wake.set()


def signature(secret: str, body: bytes) -> str:
    """What the header says of a body: the receiver computes it over the bytes that it got, and compares."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _judge(answer: httpx.Response) -> tuple[str, bool]:
    if answer.is_success:
        return "", False
    said = f"answered {answer.status_code} {answer.reason_phrase}".rstrip()
    if answer.has_redirect_location:
        return f"{said}: redirects are not followed, name the final address", True
    return said, not (answer.is_server_error or answer.status_code in RETRYABLE)


def _endpoint(url: str) -> str:
    """Who is called: scheme, host and port."""
    scheme, _, host = "/".join(url.split("/", 3)[:3]).partition("//")
    return f"{scheme}//{host.rpartition('@')[2]}"
