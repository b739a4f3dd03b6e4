"""The courier in front of real receivers: that fail at first, are slow, are closed, redirect, and the same over a restart."""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloud.driver import CloudConfig, GlobalPlanner
from cloud.notifying.driver import SIGNATURE, Courier, CourierPolicy
from cloud.notifying.inputs import Attempted, Deliver, Note
from coordination.breaker import BreakerPolicy
from sync.actors import SystemClock
from sync.inputs import FromPeer
from sync.values import stream_id
from tests.cloud.receiver import Receiver, receiving
from tests.free_ports import free_port
from tests.whole import until
from workflow.steering_events import RuleFired

FAST: dict[str, Any] = {"first_s": 0.01, "limit_s": 0.05}
NEVER_OPEN = BreakerPolicy(calls_min=20)


class Desk:
    """The core's side: what the courier has told."""

    def __init__(self, courier: Courier) -> None:
        self.courier = courier
        self.said: list[Attempted] = []
        courier.tell = self.said.append

    def give(self, url: str, id: str = "n1", secret: str = "", since_ms: int = 0) -> None:
        since_ms = since_ms or self.courier.clock.now().wall_ms
        note = Note(id, "incident.opened", "*", url, "r1", "pick@1", "harbour", "a", "torn", b'{"code":"jam"}', 7, since_ms, 7)
        self.courier.deliver(Deliver(note, secret))

    async def outcome(self, id: str = "n1") -> Attempted:
        """What became of it in the end."""

        async def is_over() -> bool:
            return any(said.id == id and said.outcome != "waiting" for said in self.said)

        await until(is_over)
        return next(said for said in self.said if said.id == id and said.outcome != "waiting")


@asynccontextmanager
async def desk(**policy: Any) -> AsyncIterator[Desk]:
    courier = Courier(lambda said: None, SystemClock(1), "http://cloud", CourierPolicy(**{**FAST, **policy}))
    task = asyncio.create_task(courier.run())
    try:
        yield Desk(courier)
    finally:
        assert not task.done(), "it was to go on"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_notification_arrives_whole() -> None:
    """As JSON, under its id, with links, signed over the very bytes."""
    async with receiving() as receiver, desk() as sender:
        sender.give(receiver.url, secret="s3")
        assert await sender.outcome() == Attempted("n1", 1, "delivered")
        (letter,) = receiver.letters
        assert letter.headers["idempotency-key"] == letter.body["id"] == "n1"
        assert letter.headers["content-type"] == "application/json"
        assert letter.headers[SIGNATURE.lower()] == "sha256=" + hmac.new(b"s3", letter.raw, hashlib.sha256).hexdigest()
        assert sorted(letter.body) == [
            *("definition", "detail", "event", "id", "links", "message", "run", "site", "task", "time", "to")
        ]
        assert (letter.body["time"], letter.body["detail"]) == (7, {"code": "jam"})


async def test_what_fails_at_first_is_tried_again() -> None:
    """Under the same id, and the core is told how it goes."""
    async with receiving(503, 500, 429) as receiver, desk(breaker=NEVER_OPEN) as sender:
        sender.give(receiver.url)
        assert await sender.outcome() == Attempted("n1", 4, "delivered")
        waiting = [said for said in sender.said if said.outcome == "waiting"]
        assert [said.error for said in waiting] == ["answered 503 So", "answered 500 So", "answered 429 So"]
        assert {letter.headers["idempotency-key"] for letter in receiver.letters} == {"n1"}


async def test_it_gives_up_after_a_bound() -> None:
    """With the last error; nobody is called any more."""
    async with receiving() as receiver, desk(attempts_max=3, breaker=NEVER_OPEN) as sender:
        receiver.always = 503
        sender.give(receiver.url)
        assert await sender.outcome() == Attempted("n1", 3, "failed", "answered 503 So")
        assert len(receiver.letters) == 3


async def test_what_is_late_is_given_up() -> None:
    """The time counts from when it was raised, so a restart does not begin it anew."""
    async with desk(give_up_s=60.0, breaker=NEVER_OPEN) as sender:
        sender.give(f"http://127.0.0.1:{free_port()}", since_ms=sender.courier.clock.now().wall_ms - 61_000)
        said = await sender.outcome()
        assert (said.attempts, said.outcome) == (1, "failed")
        assert said.error.startswith("not delivered within 60 s: cannot be reached: ")


async def test_a_refusal_is_final() -> None:
    """So is a redirect, to whatever host: what was meant is the address that was named."""
    async with receiving() as other, receiving(404, (302, f"location: {other.url}\r\n")) as receiver, desk() as sender:
        sender.give(receiver.url, "n1")
        assert (await sender.outcome("n1")).error == "answered 404 So"
        sender.give(receiver.url, "n2")
        assert (await sender.outcome("n2")).error == "answered 302 So: redirects are not followed, name the final address"
        assert not other.letters


async def test_a_slow_receiver_holds_up_nobody() -> None:
    """It has its time, and the others have theirs."""
    async with receiving() as slow, receiving() as quick, desk(answer_s=0.2, attempts_max=2) as sender:
        slow.always = None
        sender.give(slow.url, "n1")
        sender.give(quick.url, "n2")
        assert (await sender.outcome("n2")).outcome == "delivered"
        assert await sender.outcome("n1") == Attempted("n1", 2, "failed", "no answer within 0.2 s")


async def test_a_receiver_that_comes_back_gets_what_waits() -> None:
    """It was closed when the notification was raised."""
    port = free_port()
    async with desk(attempts_max=1_000, breaker=NEVER_OPEN) as sender:
        sender.give(f"http://127.0.0.1:{port}/hook")

        async def has_tried() -> bool:
            return bool(sender.said)

        await until(has_tried)
        assert sender.said[0].error.startswith("cannot be reached: ")
        async with receiving(port=port) as receiver:
            assert (await sender.outcome()).outcome == "delivered"
            assert len(receiver.letters) == 1


async def test_who_keeps_failing_is_left_alone_for_a_while() -> None:
    """A breaker for each host and port: what waits for one that is open is no attempt, and others are called."""
    opens = BreakerPolicy(window=4, calls_min=2, open_ms=200)
    async with receiving(500, 500) as bad, receiving() as good, desk(breaker=opens, at_once=1) as sender:
        for number in range(8):
            sender.give(bad.url, f"b{number}")
        sender.give(good.url, "g")
        assert (await sender.outcome("g")).outcome == "delivered"
        for number in range(8):
            assert (await sender.outcome(f"b{number}")).outcome == "delivered"
        assert any(said.attempts == 0 and "is not called for a while" in said.error for said in sender.said)
        assert len(bad.letters) == 10


async def test_an_address_that_is_none_stops_nobody() -> None:
    """It fails alone."""
    async with receiving() as receiver, desk() as sender:
        sender.give("http://[::1/hook", "n1")
        sender.give(receiver.url, "n2")
        assert (await sender.outcome("n1")).outcome == "failed"
        assert (await sender.outcome("n2")).outcome == "delivered"


async def test_the_same_given_twice_is_delivered_once() -> None:
    """The core hands out anew what is pending whenever it was folded anew."""
    async with receiving() as receiver, desk() as sender:
        for _ in range(3):
            sender.give(receiver.url)
        await sender.outcome()
        await asyncio.sleep(0.1)
        assert len(receiver.letters) == 1


@asynccontextmanager
async def cloud(folder: Path) -> AsyncIterator[GlobalPlanner]:
    node = GlobalPlanner(CloudConfig(folder, api_port=free_port(), sync_listen=f"127.0.0.1:{free_port()}"))
    ready = asyncio.Event()
    task = asyncio.create_task(node.serve(ready))
    await asyncio.wait_for(ready.wait(), 60)
    try:
        yield node
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_crash_between_delivery_and_record_repeats_it_under_the_same_id(tmp_path: Path) -> None:
    """At least once: what was delivered and is not on record is delivered again after the restart, and then never more."""
    async with receiving() as receiver:
        async with cloud(tmp_path) as node:
            node.courier.tell = lambda said: None  # It dies before it can say so.
            fired = RuleFired(0, "run.failed", "notify", receiver.url, b'{"outcome":"failed"}')
            node.post(FromPeer(stream_id("harbour", 1), "r1", fired, 7))
            await until(lambda: _has(receiver, 1))
        for expected in (2, 2):
            async with cloud(tmp_path) as node:
                await until(lambda: _has(receiver, 2))
                await until(lambda: _is_settled(node))
            assert len(receiver.letters) == expected
        assert len({letter.headers["idempotency-key"] for letter in receiver.letters}) == 1


async def _has(receiver: Receiver, count: int) -> bool:
    return len(receiver.letters) >= count


async def _is_settled(node: GlobalPlanner) -> bool:
    known = node.planner.notifications
    return not known.pending and [note.state for note in known.settled.values()] == ["delivered"]


@pytest.mark.parametrize("secret", ["", "s3"])
async def test_only_what_has_a_secret_is_signed(secret: str) -> None:
    """The header is there or it is not."""
    async with receiving() as receiver, desk() as sender:
        sender.give(receiver.url, secret=secret)
        await sender.outcome()
        assert (SIGNATURE.lower() in receiver.letters[0].headers) is bool(secret)
