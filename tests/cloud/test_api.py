"""The API over a real socket: what clients send, what they get, and what happens when something is wrong."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

import cloud.api
from cloud.api import listen
from cloud.requests import BODY_BYTES_MAX
from cloud.views import RunSummary
from sync.actors import InboxFull
from sync.log_errors import CommitSuperseded, LogFull
from tests.cloud.memory_planner import MemoryPlanner, served

DEFINITION = "name: pick\nversion: '1'\ntasks: {t0: {}, t1: {}}\n"
YAML = {"Content-Type": "application/yaml"}


@pytest.fixture
def api() -> Iterator[tuple[httpx.Client, MemoryPlanner]]:
    with served() as (url, planner), httpx.Client(base_url=url, timeout=30) as client:
        assert client.post("/api/v1/definitions", content=DEFINITION, headers=YAML).status_code == 201
        yield client, planner


Api = tuple[httpx.Client, MemoryPlanner]


def start(client: httpx.Client, **body: object) -> str:
    answer = client.post("/api/v1/workflows", json={"definition": "pick", **body})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    """The problem document of a refusal, after checking that it is one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:tiercel:problem:{code}"
    assert document["title"]
    assert document["detail"]
    assert document["instance"] == answer.request.url.path
    return document


def told(planner: MemoryPlanner, runs: list[RunSummary], times: int = 1) -> None:
    """Let the planner tell its watchers, from its own loop."""

    async def tell() -> None:
        for _ in range(times):
            planner.tell(runs)

    asyncio.run_coroutine_threadsafe(tell(), planner.loop).result(10)


# Runs


def test_a_run_starts_and_can_be_looked_at(api: Api) -> None:
    """A started run is answered with its place, and shows its tasks there."""
    client, _ = api
    answer = client.post("/api/v1/workflows", json={"definition": "pick@1", "inputs": {"order": 7}, "labels": {"a": "b"}})
    assert answer.status_code == 201
    assert answer.json() == {"id": "r1", "state": "active", "definition": "pick@1"}
    view = client.get(answer.headers["location"]).json()
    assert view["inputs"] == {"order": 7}
    assert view["run"]["labels"] == {"a": "b"}
    assert [task["id"] for task in view["tasks"]] == ["t0", "t1", "last"]
    assert view["progress"]["remaining_ms"] == 12_000


@pytest.mark.parametrize("path", ["", ":batch"])
def test_a_run_is_given_its_place_in_line(api: Api, path: str) -> None:
    """With its priority and its key; what is usual is not shown."""
    client, planner = api
    place = {"priority": 9, "fairness_key": "ann"}
    body = {"definition": "pick"} | ({"runs": [place, {}]} if path else place)
    assert client.post(f"/api/v1/workflows{path}", json=body).is_success
    run = client.get("/api/v1/workflows/r1").json()["run"]
    assert (run["priority"], run["fairness_key"]) == (9, "ann")
    if path:
        assert not {"priority", "fairness_key"} & client.get("/api/v1/workflows/r2").json()["run"].keys()
    assert planner.known["r1"].run.priority == 9


def test_a_document_may_be_started_without_registering_it(api: Api) -> None:
    """A definition may be given in place of its name."""
    client, _ = api
    answer = client.post("/api/v1/workflows", json={"definition": {"name": "inline", "version": "3", "tasks": {"x": {}}}})
    assert answer.json()["definition"] == "inline@3"


def test_a_batch_answers_each_run_for_itself(api: Api) -> None:
    """One run that is refused does not keep the others of its batch from starting."""
    client, _ = api
    body = {"definition": "pick", "runs": [{}, {"inputs": {"refuse": True}}, {"inputs": {"instant": True}}]}
    answer = client.post("/api/v1/workflows:batch", json=body)
    assert answer.status_code == 200
    first, second, third = answer.json()["items"]
    assert (first["id"], third["id"]) == ("r1", "r2")
    assert second["error"]["code"] == "invalid_inputs"
    assert second["error"]["problems"] == ["inputs.refuse: must be false"]


def test_a_single_run_that_is_refused_is_an_error(api: Api) -> None:
    """What a batch says of one item is the whole answer where one run was asked for."""
    client, _ = api
    answer = client.post("/api/v1/workflows", json={"definition": "pick", "inputs": {"refuse": True}})
    assert refused(answer, 422, "invalid_inputs")["problems"] == ["inputs.refuse: must be false"]


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("", {"definition": "pick", "input": {}}, "the body: Object contains unknown field `input`"),
        ("", {"definition": "pick", "input": {}}, "allowed: definition, inputs, labels"),
        ("", {}, "the body: Object missing required field `definition`"),
        ("", {"definition": 7}, "definition: Expected `str | object`, got `int`"),
        ("", {"definition": "pick", "priority": 10}, "priority: Expected `int` <= 9"),
        (
            ":batch",
            {"definition": "pick", "runs": [{"fairness_key": "x" * 256}]},
            "runs[0].fairness_key: Expected `str` of length",
        ),
        ("", {"definition": "pick", "labels": {"a": 1}}, "labels[...]: Expected `str`, got `int`"),
        (":batch", {"definition": "pick", "runs": [{}, {"x": 1}]}, "runs[1]: Object contains unknown field `x`"),
        (":batch", {"definition": "pick", "runs": [{}, {"x": 1}]}, "allowed: inputs, labels"),
        (":batch", {"definition": "pick", "runs": []}, "runs: Expected `array` of length >= 1"),
        (":batch", {"definition": "pick", "runs": [{}] * 1001}, "runs: Expected `array` of length <= 1000"),
    ],
)
def test_a_wrong_body_is_refused_by_place(api: Api, path: str, body: object, problem: str) -> None:
    """The refusal names the place in the body, and what is allowed there."""
    client, _ = api
    problems = refused(client.post(f"/api/v1/workflows{path}", json=body), 422, "invalid_request")["problems"]
    assert isinstance(problems, list)
    assert problem in problems[0]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b'{"definition": "\xff"}', 400, "malformed"),
        (b'{"definition":"pick","inputs":{"a":' + b"[" * 100_000, 422, "invalid_request"),
    ],
)
def test_what_is_no_json_is_refused(api: Api, body: bytes, status: int, code: str) -> None:
    """Bytes that are not JSON, or JSON as deep as a well, are refused and harm nothing."""
    client, _ = api
    refused(client.post("/api/v1/workflows", content=body), status, code)
    assert start(client) == "r1"


def test_a_body_above_the_limit_is_refused(api: Api) -> None:
    """8 MiB is the limit, whether the length was announced or not."""
    client, _ = api
    refused(client.post("/api/v1/workflows", content=b" " * (BODY_BYTES_MAX + 1)), 413, "body_too_large")
    pieces = (b" " * (1 << 20) for _ in range(9))
    refused(client.post("/api/v1/workflows:batch", content=pieces), 413, "body_too_large")
    padded = json.dumps({"definition": "pick"}).encode().ljust(BODY_BYTES_MAX)
    assert client.post("/api/v1/workflows", content=padded).status_code == 201


def test_the_idempotency_key_reaches_the_planner(api: Api) -> None:
    """The same key and body start one run; the same key with another body is refused."""
    client, planner = api
    key = {"Idempotency-Key": "order 7"}
    first = client.post("/api/v1/workflows", json={"definition": "pick"}, headers=key)
    second = client.post("/api/v1/workflows", json={"definition": "pick"}, headers=key)
    assert first.json() == second.json()
    assert len(planner.known) == 1
    other = client.post("/api/v1/workflows", json={"definition": "pick", "labels": {"a": "b"}}, headers=key)
    refused(other, 422, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["x" * 256, "caf\xe9"])
def test_an_unusable_key_is_refused(api: Api, key: str) -> None:
    """A key that is too long or not printable is refused before anything starts."""
    client, planner = api
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = client.post("/api/v1/workflows", json={"definition": "pick"}, headers=headers)
    refused(answer, 422, "invalid_idempotency_key")
    assert planner.known == {}


def test_a_list_is_read_page_by_page(api: Api) -> None:
    """`next` leads through all runs, each once."""
    client, _ = api
    for _ in range(5):
        start(client)
    seen, cursor = [], ""
    while True:
        page = client.get("/api/v1/workflows", params={"limit": 2, "cursor": cursor}).json()
        seen += [run["id"] for run in page["items"]]
        cursor = page["next"]
        if not cursor:
            break
    assert seen == ["r1", "r2", "r3", "r4", "r5"]
    assert client.get("/api/v1/workflows", params={"state": "failed"}).json() == {"items": [], "next": ""}


def test_whoever_waits_is_answered_when_the_run_ends(api: Api) -> None:
    """`?wait=` answers with the ended run."""
    client, planner = api
    run = start(client)
    planner.loop.call_soon_threadsafe(
        lambda: planner.loop.call_later(0.05, lambda: asyncio.ensure_future(planner.finish(run, "failed")))
    )
    view = client.get(f"/api/v1/workflows/{run}", params={"wait": 30}).json()
    assert view["run"]["state"] == "failed"


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "soon"])
def test_nobody_waits_for_ever(api: Api, wait: str) -> None:
    """`?wait=` takes 0 to 60 seconds."""
    client, _ = api
    run = start(client)
    for ask in (client.get, client.delete):
        answer = ask(f"/api/v1/workflows/{run}", params={"wait": wait})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")
    assert client.get(f"/api/v1/workflows/{run}").json()["run"]["state"] == "active"


def test_a_cancelled_run_is_shown(api: Api) -> None:
    """If the home answers in time, cancelling answers with the run."""
    client, _ = api
    answer = client.delete(f"/api/v1/workflows/{start(client)}", params={"reason": "sold out"})
    assert answer.status_code == 200
    assert answer.json()["run"]["state"] == "cancelled"


def test_a_home_that_is_cut_off_is_not_spoken_for(api: Api) -> None:
    """If the home does not answer, cancelling answers with the command, where to find it, and the state of the link."""
    client, planner = api
    planner.cut_off = True
    answer = client.delete(f"/api/v1/workflows/{start(client)}", params={"wait": 0})
    assert answer.status_code == 202
    assert answer.headers["location"] == "/api/v1/commands/c-r1"
    command = client.get(answer.headers["location"]).json()
    assert command == answer.json()
    assert (command["command"], command["state"], command["homes"]) == ("c-r1", "pending", ["harbour"])
    assert command["link"] == {"state": "down", "since": 1_700_000_000_000}


def test_history_is_read_page_by_page(api: Api) -> None:
    """`after` and `limit` lead through the events of a run."""
    client, _ = api
    path = f"/api/v1/workflows/{start(client)}/history"
    first = client.get(path, params={"limit": 3}).json()
    rest = client.get(path, params={"limit": 3, "after": first["next"]}).json()
    assert [entry["seq"] for entry in first["items"] + rest["items"]] == [1, 2, 3, 4, 5]
    assert rest["next"] == 0


# What the cloud knows


def test_definitions_come_as_yaml_or_json(api: Api) -> None:
    """Both kinds of text register, and are found under name@version."""
    client, _ = api
    answer = client.post("/api/v1/definitions", json={"name": "pack", "version": "2", "tasks": {}})
    assert answer.headers["location"] == "/api/v1/definitions/pack@2"
    assert client.get(answer.headers["location"]).json()["document"] == {"name": "pack", "tasks": {}, "version": "2"}
    listed = client.get("/api/v1/definitions").json()["items"]
    assert [definition["ref"] for definition in listed] == ["pick@1", "pack@2"]


def test_a_definition_is_validated_and_not_kept(api: Api) -> None:
    """The answer is that of registering, and nothing is registered; a refusal is the same, too."""
    client, _ = api
    answer = client.post("/api/v1/definitions:validate", json={"name": "pack", "version": "9", "tasks": {}})
    assert (answer.status_code, answer.json()["ref"], answer.json()["migrations"]) == (200, "pack@9", [])
    assert client.get("/api/v1/definitions/pack@9").status_code == 404
    answer = client.post("/api/v1/definitions:validate", content="[]", headers=YAML)
    assert refused(answer, 422, "invalid_definition")["problems"] == ["<request>:1: name: is missing"]


def test_a_refused_definition_names_the_file(api: Api) -> None:
    """The planner's lines reach the client, with the name that it gave its file."""
    client, _ = api
    answer = client.post("/api/v1/definitions", params={"source": "bad.yaml"}, content="[]", headers=YAML)
    assert refused(answer, 422, "invalid_definition")["problems"] == ["bad.yaml:1: name: is missing"]


@pytest.mark.parametrize(
    ("content", "media", "status", "code"),
    [
        (b"name: x", "application/octet-stream", 415, "unsupported_media_type"),
        (b"name: x", "", 415, "unsupported_media_type"),
        (b"name: \xff", "text/yaml; charset=utf-8", 400, "malformed"),
    ],
)
def test_a_definition_is_text(api: Api, content: bytes, media: str, status: int, code: str) -> None:
    """Anything but YAML or JSON in UTF-8 is refused."""
    client, _ = api
    answer = client.post("/api/v1/definitions", content=content, headers={"Content-Type": media})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_fleet_is_shown(api: Api) -> None:
    """Agents, sites, their differences and the log are there to be read."""
    client, _ = api
    assert client.get("/api/v1/agents").json()["items"][0]["capabilities"] == ["pick-item"]
    assert client.get("/api/v1/sites").json()["items"][0]["link"] == {"state": "up", "since": 1_000}
    totals = client.get("/api/v1/metrics/runs").json()["items"]
    assert [(item["definition"], item["success_rate"]) for item in totals] == [("", 0.5), ("pick@1", 0.5)]
    assert client.get("/api/v1/sites/harbour/diff").json()["different"] == []
    assert client.get("/api/v1/log/verify").json()["items"][0]["ok"] is True


def test_ready_is_more_than_alive(api: Api) -> None:
    """Alive from the first moment; ready once nothing is missing."""
    client, planner = api
    assert client.get("/readyz").status_code == 200
    planner.waiting_for = ["the log is being read"]
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert refused(answer, 503, "not_ready")["problems"] == ["the log is being read"]
    assert answer.headers["retry-after"] == "1"


# Errors


def test_the_router_speaks_in_problems_too(api: Api) -> None:
    """Unknown paths, wrong methods and wrong parameters are problem documents like all others."""
    client, _ = api
    refused(client.get("/api/v2/workflows"), 404, "no_such_path")
    answer = client.put("/api/v1/workflows")
    refused(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]
    answer = client.get("/api/v1/workflows", params={"limit": 0, "state": "lost"})
    problems = refused(answer, 422, "invalid_parameter")["problems"]
    assert isinstance(problems, list)
    assert [line.partition(":")[0] for line in problems] == ["state", "limit"]
    refused(client.get("/api/v1/workflows/r9"), 404, "no_such_run")


@pytest.mark.parametrize(
    ("failure", "code", "retry_after"),
    [
        (InboxFull(8), "inbox_full", "1"),
        (LogFull("the disk is full"), "log_full", "10"),
        (CommitSuperseded("decided on a commit that failed"), "log_unavailable", "1"),
    ],
)
def test_a_full_cloud_says_so(api: Api, failure: Exception, code: str, retry_after: str) -> None:
    """If nothing more can be taken, nothing is acknowledged, and the answer says when to come back."""
    client, planner = api
    planner.failure = failure
    answer = client.post("/api/v1/workflows", json={"definition": "pick"})
    assert str(failure) in str(refused(answer, 503, code)["detail"])
    assert answer.headers["retry-after"] == retry_after
    planner.failure = None
    assert start(client) == "r1"


def test_a_failure_of_ours_tells_nothing_of_the_inside(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is a 500 without its text; the log has it."""
    client, planner = api
    planner.failure = RuntimeError("the secret is 7")
    answer = client.post("/api/v1/workflows", json={"definition": "pick"})
    refused(answer, 500, "internal")
    assert "secret" not in answer.text
    client.get("/healthz")  # By the time that this is answered, the error is in the log.
    assert "the secret is 7" in caplog.text


def test_pages_of_other_sites_are_kept_out(api: Api) -> None:
    """A script of another origin can neither ask nor watch; one of the API's own address can."""
    client, _ = api
    headers = {"Origin": "https://elsewhere.example"}
    refused(client.post("/api/v1/workflows", json={"definition": "pick"}, headers=headers), 403, "foreign_origin")
    own = {"Origin": str(client.base_url).rstrip("/")}
    assert client.get("/api/v1/workflows", headers=own).json()["items"] == []
    with pytest.raises(InvalidStatus, match="403"):
        connect(ws(client), origin=Origin("https://elsewhere.example"))


# Watching


def ws(client: httpx.Client) -> str:
    return str(client.base_url).replace("http", "ws").rstrip("/") + "/ws/workflows"


def test_a_watcher_sees_the_whole_then_the_changes(api: Api) -> None:
    """The first frame is a snapshot; what changes afterwards comes as updates."""
    client, planner = api
    run = start(client)
    with connect(ws(client)) as watcher:
        snapshot = json.loads(watcher.recv(10))
        assert snapshot["type"] == "snapshot"
        assert [r["id"] for r in snapshot["runs"]] == [run]
        assert [site["id"] for site in snapshot["sites"]] == ["harbour"]
        asyncio.run_coroutine_threadsafe(planner.finish(run, "completed"), planner.loop).result(10)
        update = json.loads(watcher.recv(10))
        assert update["type"] == "update"
        assert [(r["id"], r["state"]) for r in update["runs"]] == [(run, "completed")]


def test_many_changes_make_few_frames(api: Api) -> None:
    """A thousand changes of one run between two frames are told once."""
    client, planner = api
    run = start(client)
    with connect(ws(client)) as watcher:
        watcher.recv(10)
        told(planner, [planner.known[run].run], times=1_000)
        assert len(json.loads(watcher.recv(10))["runs"]) == 1
        told(planner, [RunSummary("last", "pick@1", "active", 0, 1, 0)])
        # Had each change made a frame, a thousand would come before this one.
        assert [r["id"] for r in json.loads(watcher.recv(10))["runs"]] == ["last"]


def test_thousands_of_changes_reach_a_client_as_it_comes(api: Api) -> None:
    """A client with the usual limit (1 MiB a message) is told of all runs, in frames that it takes; `more` joins them."""
    client, planner = api
    client.post("/api/v1/workflows:batch", json={"definition": "pick", "runs": [{"labels": {"note": "x" * 5_000}}] * 500})
    changed = [RunSummary(f"x{n}", "pick@1", "active", 0, 1, 0, labels={"note": "x" * 1_000}) for n in range(4_500)]

    def told_at_once() -> tuple[int, set[str]]:
        count, seen, more = 0, set[str](), True
        while more:
            frame = json.loads(watcher.recv(10))
            assert (frame["type"] == "snapshot") == (count == 0 and not known)
            seen |= {run["id"] for run in frame["runs"]}
            count, more = count + 1, frame["more"]
        return count, seen

    known = set[str]()
    with connect(ws(client)) as watcher:
        count, known = told_at_once()
        assert (count > 1, len(known)) == (True, 500)
        told(planner, changed)
        count, seen = told_at_once()
        assert (count > 4, len(seen)) == (True, 4_500)


def test_a_watcher_that_reads_nothing_holds_up_nobody(api: Api) -> None:
    """While one client does not read, others are told; once it reads again, it learns how things stand."""
    client, planner = api
    run = start(client)

    def until_told(watcher: ClientConnection) -> str:
        """How the run ended, as soon as that is said."""
        while (said := {r["id"]: r["state"] for r in json.loads(watcher.recv(10))["runs"]}.get(run)) in (None, "active"):
            pass
        return str(said)

    with connect(ws(client), max_queue=1) as sleeper, connect(ws(client)) as watcher:
        watcher.recv(10)
        for n in range(20):
            told(planner, [RunSummary(f"x{n}-{i}", "pick@1", "active", 0, 1, 0, detail="x" * 500) for i in range(500)])
        asyncio.run_coroutine_threadsafe(planner.finish(run, "completed"), planner.loop).result(10)
        assert until_told(watcher) == "completed"
        assert until_told(sleeper) == "completed"


def test_there_is_room_for_so_many_watchers(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """One watcher more than the limit is asked to come back later; when one leaves there is room again."""
    monkeypatch.setattr(cloud.api, "WATCHERS_MAX", 1)
    client, planner = api
    with connect(ws(client)) as watcher:
        watcher.recv(10)
        with connect(ws(client)) as refused_one, pytest.raises(ConnectionClosed) as closed:
            refused_one.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
    while planner.changes:
        client.get("/healthz")
    with connect(ws(client)) as watcher:
        assert json.loads(watcher.recv(10))["type"] == "snapshot"


# The server


def test_the_end_of_the_server_is_told_to_watchers() -> None:
    """When the server stops, watchers get a close frame, the planner is no longer listened to, and serve returns."""
    with ExitStack() as watching:
        with served() as (url, planner):
            watcher = watching.enter_context(connect(url.replace("http", "ws") + "/ws/workflows"))
            watcher.recv(10)
            assert planner.changes
        with pytest.raises(ConnectionClosed) as closed:
            watcher.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert planner.changes == []


def test_an_address_in_use_is_named() -> None:
    """Whoever starts a second server on a port reads which port it is."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen("127.0.0.1", port)
