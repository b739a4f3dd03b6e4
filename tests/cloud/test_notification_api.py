"""Contacts and notifications over HTTP and from the command line, in front of a running cloud with a site."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.cloud.receiver import receiving
from tests.command_line import command
from tests.free_ports import free_port
from tests.whole import Whole, until, whole
from tiercel import TerminalError

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONTACTS, NOTIFICATIONS = "/api/v1/contacts", "/api/v1/notifications"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("notify"), "harbour") as running:
        agent = running.agent("worker-1", kind="service", capacity=8)

        @agent.capability("break")
        async def fail() -> None:
            raise TerminalError("the belt is torn")

        await running.join("harbour", agent)
        yield running


async def put(system: Whole, name: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await system.client.put(f"{CONTACTS}/{name}", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def about(system: Whole, run: str) -> list[dict[str, Any]]:
    found = (await system.client.get(NOTIFICATIONS, params={"limit": 1_000})).json()["items"]
    return [each for each in found if each["run"] == run]


async def settled(system: Whole, run: str, *states: str) -> list[dict[str, Any]]:
    async def is_so() -> bool:
        return sorted(each["state"] for each in await about(system, run)) == sorted(states)

    await until(is_so)
    return await about(system, run)


async def test_an_approval_request_reaches_who_may_decide(system: Whole) -> None:
    """From the definition to the webhook and back: what it says is enough to decide."""
    async with receiving() as receiver:
        await put(system, "ann", urls=[receiver.url], secret="s3")
        run = await system.start_run({"sign": {"approval": {"by": ["ann"], "request": {"sum": 7}}}})
        (told,) = await settled(system, run, "delivered")
        (letter,) = receiver.letters
    said = letter.body
    assert (said["id"], said["event"], said["to"], said["task"]) == (told["id"], "approval.requested", "ann", "sign")
    assert said["links"]["run"] == f"{str(system.client.base_url).rstrip('/')}/api/v1/workflows/{run}"
    order = {"task": "sign", "by": "ann", "approved": True, "hash": said["detail"]["hash"]}
    answer = await system.client.post(f"/api/v1/workflows/{run}/decide", json=order, params={"wait": 30})
    assert answer.status_code == 200, answer.text
    assert (await system.ended(run))["run"]["state"] == "completed"


async def test_a_rule_calls_its_address_and_a_name_without_contact_is_listed(system: Whole) -> None:
    """Both of the same run, which has ended by then."""
    async with receiving() as receiver:
        definition = {
            "name": "ruled",
            "version": "1",
            "tasks": {"a": {"capability": "break"}},
            "rules": [
                {"on": "run.failed", "do": {"notify": receiver.url}},
                {"on": "task.failed", "do": {"escalate": "role:nobody"}},
            ],
        }
        run = (await system.client.post("/api/v1/workflows", json={"definition": definition})).json()["id"]
        found = await settled(system, run, "delivered", "undeliverable")
        assert {each["to"]: each["definition"] for each in found} == {receiver.url: "ruled@1", "role:nobody": "ruled@1"}
        assert "the belt is torn" in receiver.letters[0].body["message"]
        await put(system, "role:nobody", urls=[receiver.url])
        id = next(each["id"] for each in found if each["to"] == "role:nobody")
        assert (await system.client.post(f"{NOTIFICATIONS}/{id}/retry")).status_code == 202
        await settled(system, run, "delivered", "delivered")
        again = await system.client.post(f"{NOTIFICATIONS}/{id}/retry")
        assert (again.status_code, again.json()["code"]) == (409, "notification_delivered")


async def test_an_incident_is_told_to_whoever_is_there_for_all(system: Whole) -> None:
    """The contact * takes what names nobody."""
    async with receiving() as receiver:
        await put(system, "*", urls=[receiver.url])
        run = await system.start_run({"a": {"capability": "break", "recovery": ["incident"]}})
        await settled(system, run, "delivered")
        assert receiver.letters[0].body["event"] == "incident.opened"
        assert (await system.client.delete(f"{CONTACTS}/*")).status_code == 200


async def test_a_secret_is_never_shown(system: Whole) -> None:
    """That there is one is all that is said."""
    view = await put(system, "eve", urls=["https://example.org/hook"], secret="top-secret")
    assert (view["name"], view["urls"], view["signed"]) == ("eve", ["https://example.org/hook"], True)
    for path in (f"{CONTACTS}/eve", CONTACTS):
        assert "top-secret" not in (await system.client.get(path)).text


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"urls": []}, "urls: 0 are given; allowed: 1 to 10"),
        ({"urls": ["ftp://example.org"]}, "urls[0]: 'ftp://example.org' is no address"),
        ({"urls": ["https://"]}, "urls[0]: 'https://' is no address"),
        ({"urls": ["https://a.b", "https://ann:pw@a.b"]}, "urls[1]: it holds a user or password"),
        ({"urls": ["http://a.b:99999/"]}, "urls[0]: 'http://a.b:99999/' is no address"),
        ({"urls": ["https://a.b"] * 11}, "urls: 11 are given; allowed: 1 to 10"),
        ({"urls": ["https://a.b"], "secret": "x" * 1_001}, "secret: it has 1,001 characters; allowed: 1,000"),
        ({"url": "https://a.b"}, "unknown field"),
    ],
)
async def test_a_contact_that_cannot_be_is_refused(system: Whole, body: dict[str, Any], line: str) -> None:
    """With the place, what stands there, and what is allowed."""
    refused = await put(system, "bob", 422, **body)
    assert any(line in each for each in refused["problems"]), refused


async def test_names_are_of_people_and_roles(system: Whole) -> None:
    """A name that no definition could say is refused; one that is not known is, too."""
    assert (await put(system, "a%20b", 422, urls=["https://a.b"]))["code"] == "invalid_contact"
    for answer in (await system.client.get(f"{CONTACTS}/nobody"), await system.client.delete(f"{CONTACTS}/nobody")):
        assert (answer.status_code, answer.json()["code"]) == (404, "contact_unknown")
    assert (await system.client.post(f"{NOTIFICATIONS}/n7/retry")).status_code == 404
    assert (await system.client.get(NOTIFICATIONS, params={"state": "lost"})).status_code == 422


async def test_the_command_line_keeps_the_book_and_lists(system: Whole) -> None:
    """contact set, list, remove; notification list, retry."""
    address = f"http://127.0.0.1:{free_port()}/hook"
    assert address in await command(system, "contact", "set", "role:smith", address, "--secret", "s3")
    listed = json.loads(await command(system, "contact", "list", "-o", "json"))
    assert next(each for each in listed if each["name"] == "role:smith")["signed"] is True
    run = await system.start_run({"sign": {"approval": {"by": ["role:smith", "carl"]}}})
    await settled(system, run, "pending", "undeliverable")
    told = await command(system, "notification", "list", "--state", "undeliverable")
    assert "no contact: nobody knows where to reach carl" in told
    assert "cannot be reached" not in told
    (pending,) = [each for each in await about(system, run) if each["state"] == "pending"]
    assert "is pending" in await command(system, "notification", "retry", pending["id"], code=1)
    assert "role:smith" in await command(system, "contact", "remove", "role:smith")
    assert "there is no contact role:smith" in await command(system, "contact", "remove", "role:smith", code=1)
