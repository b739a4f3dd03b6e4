"""HTTP calls against a real server on this machine."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import quote, unquote

import pytest

from agents.http import Http, HttpPolicy
from coordination.breaker import BreakerPolicy
from tests.agents.attempts import context
from tiercel import RetryableError, TerminalError


class Service(BaseHTTPRequestHandler):
    """Answers by path; tells what it was asked."""

    protocol_version = "HTTP/1.1"
    calls: ClassVar[list[str]] = []
    well: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        path, _, query = self.path[1:].partition("?")
        kind, _, rest = path.partition("/")
        match kind:
            case "echo":
                told = {"method": self.command, "headers": dict(self.headers), "body": body, "query": query}
                self.answer(200, json.dumps(told).encode(), "application/json")
            case "status":
                self.answer(int(rest), b"because", "text/plain", Location="/echo")
            case "bytes":
                self.answer(200, b"x" * int(rest), "application/octet-stream")
            case "binary":
                self.answer(200, b"\xff\xfe\x00", "application/octet-stream")
            case "liar":
                self.answer(200, b"<html>", "application/json")
            case "cookie":
                self.answer(200, b"", "text/plain", **{"Set-Cookie": "session=mine"})
            case "slow":
                threading.Event().wait(30)
            case "later":
                self.answer(503, b"", "text/plain", **{"Retry-After": unquote(rest)})
            case "sick":
                self.calls.append(rest)
                self.answer(200 if rest in self.well else 500, b"", "text/plain")
            case "cut":
                self.close_connection = True

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server finds its methods by these names.

    def answer(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def call(*urls: str, policy: HttpPolicy | None = None, **more: Any) -> dict[str, Any]:
    """Call one after the other as one agent would; the last answer."""

    async def calls() -> dict[str, Any]:
        http = Http(policy or HttpPolicy(allowed_hosts=(urls[0].split("/")[2],)))
        try:
            answers = [await http.request(context(), url, **more) for url in urls]
        finally:
            await http.close()
        return answers[-1]

    return asyncio.run(calls())


def port_of(url: str) -> str:
    return url.split("/")[2].partition(":")[2]


def test_json_goes_both_ways(service: str) -> None:
    """A JSON body arrives as JSON, and a JSON answer comes back as a value."""
    answer = call(f"{service}/echo", method="POST", json={"sku": "A", "n": 2}, headers={"X-Site": "harbour"})
    assert (answer["status"], answer["json"]["method"]) == (200, "POST")
    assert json.loads(answer["json"]["body"]) == {"sku": "A", "n": 2}
    assert answer["json"]["headers"]["X-Site"] == "harbour"
    assert answer["headers"]["content-type"] == "application/json"


def test_changes_carry_the_idempotency_key(service: str) -> None:
    """What changes something tells the other side its key, unless the workflow chose one; a reading call does not."""
    key = "Idempotency-Key"
    assert call(f"{service}/echo", method="PUT", body="x")["json"]["headers"][key] == "run-1/write"
    chosen = call(f"{service}/echo", method="POST", headers={"idempotency-key": "mine"})["json"]["headers"]
    assert {name.lower(): value for name, value in chosen.items()}[key.lower()] == "mine"
    assert key not in call(f"{service}/echo")["json"]["headers"]


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 301, 308])
def test_statuses_that_will_not_change_are_terminal(service: str, status: int) -> None:
    """They end the task under a stable code, with what the other side said; redirects are not followed."""
    with pytest.raises(TerminalError) as caught:
        call(f"{service}/status/{status}")
    assert caught.value.code == f"http_{status}"
    assert ("redirected to /echo" if status < 400 else "because") in str(caught.value)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_statuses_that_may_pass_are_retryable(service: str, status: int) -> None:
    """They leave another attempt to the task's retry policy."""
    with pytest.raises(RetryableError) as caught:
        call(f"{service}/status/{status}")
    assert caught.value.code == f"http_{status}"


def test_a_status_may_be_accepted(service: str) -> None:
    """What the workflow expects is an answer and no failure."""
    assert call(f"{service}/status/404", accept_statuses=[404])["text"] == "because"


def test_bytes_come_as_base64(service: str) -> None:
    """An answer that is no text is still an answer."""
    assert call(f"{service}/binary")["base64"] == "//4A"


def test_the_answer_is_bounded(service: str) -> None:
    """At the limit it is read, above it the call ends with `http_too_large`."""
    policy = HttpPolicy(allowed_hosts=(f"127.0.0.1:{port_of(service)}",), response_bytes_max=1000)
    assert call(f"{service}/bytes/1000", policy=policy)["bytes"] == 1000
    with pytest.raises(TerminalError) as caught:
        call(f"{service}/bytes/1001", policy=policy)
    assert caught.value.code == "http_too_large"


def test_a_false_json_is_named(service: str) -> None:
    """An answer that calls itself JSON and is none is `http_invalid`."""
    with pytest.raises(TerminalError) as caught:
        call(f"{service}/liar")
    assert caught.value.code == "http_invalid"


@pytest.mark.parametrize(("path", "code"), [("slow", "http_timeout"), ("cut", "http_unreachable")])
def test_weather_is_retryable(service: str, path: str, code: str) -> None:
    """No answer in time, and a connection that is cut, may pass."""
    with pytest.raises(RetryableError) as caught:
        call(f"{service}/{path}", timeout_s=0.3 if path == "slow" else 30)
    assert caught.value.code == code


def test_nobody_there_is_retryable() -> None:
    """A port on which nobody listens is `http_unreachable`."""
    with pytest.raises(RetryableError) as caught:
        call("http://127.0.0.1:1/x")
    assert caught.value.code == "http_unreachable"


@pytest.mark.parametrize(
    ("url", "allowed", "fine"),
    [
        ("http://{here}/echo", ("{here}",), True),
        ("http://{here}/echo", ("127.0.0.1",), False),
        ("http://{here}/echo", (), False),
        ("http://{here}/echo", ("*.0.0.1:{port}",), True),
        ("http://user@{here}/echo", ("user",), False),
        ("http://localhost:{port}/echo", ("{here}",), False),
        ("http://evil.example", ("*.good.example", "good.example"), False),
        ("http://notgood.example", ("*.good.example", "good.example"), False),
    ],
)
def test_only_allowed_hosts_are_called(service: str, url: str, allowed: tuple[str, ...], fine: bool) -> None:
    """A host must be listed, with its port if it is not the usual one."""
    here = service.removeprefix("http://")
    names = {"here": here, "port": port_of(service)}
    policy = HttpPolicy(allowed_hosts=tuple(entry.format(**names) for entry in allowed))
    if fine:
        assert call(url.format(**names), policy=policy)["status"] == 200
        return
    with pytest.raises(TerminalError) as caught:
        call(url.format(**names), policy=policy)
    assert caught.value.code == "http_refused"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "file:///etc/passwd", "/echo", "http://", "http://x:y/"])
def test_what_is_no_address_is_terminal(url: str) -> None:
    """Another scheme, or no host, can never be called."""
    with pytest.raises(TerminalError) as caught:
        call(url, policy=HttpPolicy(allowed_hosts=("127.0.0.1",)))
    assert caught.value.code == "http_invalid"


@pytest.mark.parametrize(
    ("expected", "status", "fine"),
    [(201, 201, True), ([200, 202], 202, True), (201, 200, False), (404, 404, True), ([], 200, False)],
)
def test_what_is_expected_and_nothing_else(service: str, expected: Any, status: int, fine: bool) -> None:
    """With `expected_status` a success that is not expected fails, and a failure that is expected succeeds."""
    if fine:
        assert call(f"{service}/status/{status}", expected_status=expected)["status"] == status
    else:
        with pytest.raises(TerminalError, match="expected") as caught:
            call(f"{service}/status/{status}", expected_status=expected)
        assert caught.value.code == f"http_{status}"


def test_the_answer_is_mapped(service: str) -> None:
    """`response` names what is wanted of the answer by JSON Pointers, and only that is the output."""
    mapped = {"asked": "/json/query", "status": "/status", "kind": "/headers/content-type"}
    answer = call(f"{service}/echo?a=1", query={"b": "x&y", "c": ["1", "2"]}, response=mapped)
    assert answer == {"asked": "a=1&b=x%26y&c=1&c=2", "status": 200, "kind": "application/json"}
    with pytest.raises(TerminalError) as caught:
        call(f"{service}/echo", response={"id": "/json/id"})
    assert caught.value.code == "validation"


def test_the_key_goes_where_it_is_wanted(service: str) -> None:
    """An interface that has another name for the idempotency key gets it under that name."""
    headers = call(f"{service}/echo", method="POST", body="x", idempotency_header="X-Request-Id")["json"]["headers"]
    assert {name.lower(): value for name, value in headers.items()}["x-request-id"] == "run-1/write"
    assert "Idempotency-Key" not in headers


def in_an_hour() -> str:
    return formatdate(time.time() + 3_600, usegmt=True)


@pytest.mark.parametrize(
    ("said", "least_ms", "most_ms"),
    [("7", 7_000, 7_000), (in_an_hour(), 60_000, 3_600_000), ("soon", 0, 0), ("999999999", 86_400_000, 86_400_000)],
    ids=["in seconds", "at a time", "soon", "in an age"],  # Of a time, the workers that share the tests would draw several names.
)
def test_the_other_side_says_when_to_come_again(service: str, said: str, least_ms: int, most_ms: int) -> None:
    """Retry-After, in seconds or as a date, reaches the task's retry; nonsense says nothing, a day is the most."""
    with pytest.raises(RetryableError) as caught:
        call(f"{service}/later/{quote(said)}")
    assert least_ms <= caught.value.retry_after_ms <= most_ms


def test_a_failing_endpoint_is_left_alone(service: str) -> None:
    """After enough failures nothing reaches it and the attempt fails at once, saying when to try again; one probe closes it."""
    patience = BreakerPolicy(window=3, calls_min=3, open_ms=300, open_ms_max=300)
    policy = HttpPolicy(allowed_hosts=(service.split("/")[2],), breaker=patience)

    async def calls() -> None:
        http = Http(policy)
        try:
            for _ in range(3):
                assert await code_of(http, "me") == ("http_500", 0)
            code, wait_ms = await code_of(http, "me")
            assert (code, len(Service.calls)) == ("circuit_open", 3)
            assert 0 < wait_ms <= 300
            Service.well.add("me")
            async with asyncio.timeout(30):
                while await code_of(http, "me") != ("", 0):  # noqa: ASYNC110 - The circuit rings no bell.
                    await asyncio.sleep(0.05)
            assert len(Service.calls) == 4, "what was let through was the probe"
            assert await code_of(http, "me") == ("", 0)
        finally:
            await http.close()

    async def code_of(http: Http, path: str) -> tuple[str, int]:
        try:
            await http.request(context(), f"{service}/sick/{path}")
        except RetryableError as error:
            return error.code, error.retry_after_ms
        return "", 0

    Service.calls.clear()
    asyncio.run(calls())


def test_endpoints_are_apart_and_cancelled_calls_count_for_nothing(service: str) -> None:
    """Another port is another endpoint; refusals and cancelled calls open nothing."""
    policy = HttpPolicy(
        allowed_hosts=("127.0.0.1:1", service.split("/")[2]), breaker=BreakerPolicy(window=1, calls_min=1, open_ms=60_000)
    )

    async def calls() -> None:
        http = Http(policy)
        try:
            for code in ("http_unreachable", "circuit_open"):
                with pytest.raises(RetryableError) as caught:
                    await http.request(context(), "http://127.0.0.1:1/x")
                assert caught.value.code == code
            for status in (404, 429):
                with pytest.raises((RetryableError, TerminalError)):
                    await http.request(context(), f"{service}/status/{status}")
            slow = asyncio.ensure_future(http.request(context(), f"{service}/slow"))
            await asyncio.sleep(0.1)
            slow.cancel()
            await asyncio.gather(slow, return_exceptions=True)
            assert (await http.request(context(), f"{service}/echo"))["status"] == 200
        finally:
            await http.close()

    asyncio.run(calls())


def test_its_names_are_one(service: str) -> None:
    """`http`, `api_call` and `http.request` are the same capability, with the same circuits."""
    offered = Http(HttpPolicy()).capabilities()
    assert sorted(offered) == ["api_call", "http", "http.request"]
    assert len({function.__func__ for function in offered.values()}) == 1  # type: ignore[attr-defined]


def test_no_cookie_is_kept(service: str) -> None:
    """What one call was given, the next does not carry: it may belong to another run."""
    assert "Cookie" not in call(f"{service}/cookie", f"{service}/echo")["json"]["headers"]


def test_a_body_is_given_once(service: str) -> None:
    """Two bodies are a mistake of the workflow."""
    with pytest.raises(TerminalError, match="not both"):
        call(f"{service}/echo", method="POST", json={}, body="x")
