"""A node's certificate is renewed while it is good, by whom it shows it to, and its end is warned of if that fails.

Nothing of this is in the way of the node's work: a failed renewal is said with its reason and tried again, and a certificate that
has ended stops the link and nothing else.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import grpc
import structlog

from sync.identity.expiry import expiry_problem, span
from sync.identity.files import TlsFiles
from sync.identity.renewing import due_ms, spread_s
from tiercel.backoff import Backoff
from tiercel.tls import State, state_of
from tiercel.v1 import join_pb2, join_pb2_grpc

if TYPE_CHECKING:
    from sync.identity.main import Certificate
    from sync.identity.signing.main import Signed

LOOK_S = 60.0
WARN_EVERY_S = 6 * 3_600.0
ASK_S_MAX = 20.0
LONG_AGO_S = float("-inf")
RETRY_S_MAX = 3_600.0
LASTING = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED)
"""What the cloud says so does not pass by itself: it is asked again when a warning is due, and when the files change."""

log = structlog.get_logger()

Ask = Callable[[bytes], Awaitable["Signed"]]


class NotRenewed(Exception):
    """There is no new certificate, and why; `lasting` until somebody does something about it."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Upkeep:
    """`ask` has a request answered with a certificate; without it, the end is warned of alone. Raises of it: NotRenewed."""

    def __init__(self, files: TlsFiles | None, ask: Ask | None = None) -> None:
        self._files, self._ask = files, ask
        self._state: State = ()
        self._warned_s = self._said_s = LONG_AGO_S
        self._said = ""
        self._at_s: float | None = None  # When the next attempt is due, once one is.
        self._backoff = Backoff(first_s=5.0, limit_s=RETRY_S_MAX)
        self._looking = asyncio.Event()

    def look(self) -> None:
        """The files may be others: look now, and if a renewal is due, do not wait for it."""
        self._said_s = self._at_s = LONG_AGO_S
        self._looking.set()

    async def keep(self) -> None:
        """Until cancelled."""
        while self._files is not None:
            pause_s = await self._turn(self._files)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._looking.wait(), min(pause_s, LOOK_S))
            self._looking.clear()

    async def _turn(self, files: TlsFiles) -> float:
        """Do what there is to do; how long nothing will be, in seconds."""
        from sync.identity import main  # noqa: PLC0415 - without TLS nothing needs `cryptography`.

        now_s = time.monotonic()
        if (state := state_of(files)) != self._state:
            self._state, self._warned_s, self._said_s, self._at_s = state, LONG_AGO_S, LONG_AGO_S, None
            self._backoff.reset()
        try:
            found = main.read(files.cert)
        except ValueError as error:
            self._warn(str(error), now_s)
            return LOOK_S
        now_ms = int(time.time() * 1000)
        left_ms = found.not_after_ms - now_ms
        self._warn_of_end(found, now_ms, now_s)
        if self._ask is None or found.identity is None or left_ms <= 0:
            return LOOK_S
        if (early_ms := due_ms(found.not_before_ms, found.not_after_ms) - now_ms) > 0:
            return early_ms / 1000
        if self._at_s is None:
            self._at_s = now_s + random.uniform(0.0, spread_s(left_ms))
        if now_s < self._at_s:
            return self._at_s - now_s
        return await self._renew(files, found, left_ms)

    async def _renew(self, files: TlsFiles, old: "Certificate", left_ms: int) -> float:
        try:
            ends_ms = await self._replace(files, old)
        except (NotRenewed, ValueError, OSError) as error:
            lasting = isinstance(error, NotRenewed) and error.lasting
            pause_s = WARN_EVERY_S if lasting else self._backoff.next_s()
            self._at_s = time.monotonic() + pause_s
            self._say(str(error), left_ms, pause_s)
            return pause_s
        log.info("the certificate is renewed", cert=str(files.cert), lasts=span(ends_ms - int(time.time() * 1000)))
        return 0.0

    async def _replace(self, files: TlsFiles, old: "Certificate") -> int:
        """A new key and certificate are in place; the end of the latter."""
        from sync.identity import main  # noqa: PLC0415 - as above.
        from sync.identity.signing.main import accepted, request_for  # noqa: PLC0415 - as above.

        assert self._ask is not None
        assert old.identity is not None
        key = main.new_key()
        answer = await self._ask(request_for(key))
        found = accepted(answer, old.identity, key.public_key(), await asyncio.to_thread(files.ca.read_bytes))
        await asyncio.to_thread(main.place, files, answer.ca, main.pem_of_key(key), answer.certificate)
        return found.not_after_ms

    def _say(self, reason: str, left_ms: int, pause_s: float) -> None:
        """Once for each reason, and again every few hours."""
        now_s = time.monotonic()
        if reason == self._said and now_s - self._said_s < WARN_EVERY_S:
            return
        self._said, self._said_s = reason, now_s
        log.warning(
            "the certificate could not be renewed: it is tried again, and local work goes on",
            reason=reason,
            ends_in=span(left_ms),
            again_s=round(pause_s, 1),
        )

    def _warn_of_end(self, found: "Certificate", now_ms: int, now_s: float) -> None:
        if found.identity is None:
            self._warn(f"{self._files.cert if self._files else ''} names no identity", now_s)
        elif problem := expiry_problem(found.identity, found.not_after_ms, now_ms, to_itself=True):
            self._warn(problem, now_s)

    def _warn(self, problem: str, now_s: float) -> None:
        if now_s - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now_s
            log.warning(problem)


async def renewed_over(channel: grpc.aio.Channel | None, request: bytes) -> "Signed":
    """What the cloud answers over a channel that shows our certificate. Raises NotRenewed."""
    from sync.identity.signing.main import Signed  # noqa: PLC0415 - as above.

    if channel is None:
        raise NotRenewed("the cloud cannot be reached")
    try:
        reply = await join_pb2_grpc.RenewalServiceStub(channel).Renew(join_pb2.RenewRequest(request=request), timeout=ASK_S_MAX)
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            raise NotRenewed("the cloud is of a version that renews no certificates", lasting=True) from error
        raise NotRenewed(error.details() or error.code().name, lasting=error.code() in LASTING) from error
    except (grpc.aio.UsageError, asyncio.CancelledError) as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        raise NotRenewed("the link broke on the way") from error
    return Signed(reply.ca, reply.certificate)
